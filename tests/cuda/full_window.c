#include "tests/cuda/full_window.h"

#include <errno.h>
#include <stdlib.h>

enum { ROWS = 40, SEED = 17 };

static int fill_context(struct full_window *w)
{
    size_t n = (size_t)ROWS * (size_t)w->config.dit.text_dim;
    float *rows = malloc(n * sizeof(*rows));
    uint64_t state = 99;
    for (size_t i = 0; rows && i < n; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        rows[i] = ((float)(state >> 40) / (float)(1 << 24) - 0.5f) * 0.7f;
    }
    int rc = rows ? kt_context_from_rows(w->e, &w->context, rows, ROWS, &w->err) : -ENOMEM;
    free(rows);
    return rc;
}

static int fill_latents(struct full_window *w)
{
    struct kt_device *dev = w->e->dev;
    size_t floats = w->e->latent_floats;
    w->latents = kt_device_alloc(dev, (size_t)w->window * floats * sizeof(float), "given latents");
    w->v = kt_device_alloc(dev, (size_t)w->window * floats * sizeof(float), "flow");
    if (!w->latents || !w->v) {
        return kt_fail(&w->err, -ENOMEM, "latents: out of device memory");
    }
    int rc = 0;
    for (int i = 0; i < w->window && rc == 0; i++) {
        float *x = w->latents + floats * (size_t)i;
        w->x[i] = x;
        w->time[i] = i;
        w->pages[i] = kt_slab_take(&w->e->pages);
        rc = w->pages[i] ? dev->k.noise(dev->q, x, (int)floats, SEED, (uint64_t)i) : -ENOBUFS;
    }
    return rc;
}

/* Every latent's page, seen together as a recache does it. */
static int fill_pages(struct full_window *w)
{
    struct kt_dit_pass pass = {.x = w->x,
                               .time_index = w->time,
                               .frames = w->window,
                               .row = kt_dit_clean_row(w->e->dit),
                               .context = &w->context->dit,
                               .pages = w->pages};
    return kt_dit_run(w->e->dit, &pass, &w->err);
}

int full_window_open(struct full_window *w, const struct full_window_params *p)
{
    *w = (struct full_window){0};
    struct kt_engine_params engine = {.model_dir = p->model,
                                      .config = &w->config,
                                      .timelines_max = 1,
                                      .snapshots_max = -1,
                                      .contexts_max = 2,
                                      .random_weights = 1,
                                      .device = {.kind = p->device,
                                                 .precision = p->precision,
                                                 .threads = p->threads,
                                                 .cpu_mask_set = p->plain}};
    int rc = kt_model_config_load(&w->config, p->model, &w->err);
    if (rc < 0) {
        return rc;
    }
    w->config.vae.kind = KT_VAE_NONE;
    w->config.text.vocab = 0;
    w->config.dit.num_layers = p->layers ? p->layers : w->config.dit.num_layers;
    rc = kt_engine_open(&w->e, &engine, &w->err);
    if (rc < 0) {
        return rc;
    }
    w->window = w->e->shape.window;
    w->block = w->config.sampler.num_frame_per_block;
    rc = fill_context(w);
    rc = rc < 0 ? rc : fill_latents(w);
    return rc < 0 ? rc : fill_pages(w);
}

void full_window_close(struct full_window *w)
{
    if (w->e) {
        for (int i = 0; i < w->window; i++) {
            kt_slab_unref(&w->pages[i]);
        }
        kt_device_free(w->e->dev, w->latents);
        kt_device_free(w->e->dev, w->v);
        kt_context_unref(&w->context);
    }
    kt_engine_close(&w->e);
    kt_model_config_free(&w->config);
}

int full_window_pass(struct full_window *w, int frames)
{
    int prefix = w->window - frames;
    struct kt_dit_pass pass = {.prefix = w->pages,
                               .prefix_count = prefix,
                               .x = w->x + prefix,
                               .time_index = w->time + prefix,
                               .frames = frames,
                               .context = &w->context->dit,
                               .v = w->v};
    return kt_dit_run(w->e->dit, &pass, &w->err);
}
