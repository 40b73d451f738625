#include "tests/cuda/full_window.h"

#include <errno.h>
#include <stdlib.h>

enum { ROWS = 40, SEED = 17 };

static float next_uniform(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return (float)(*state >> 40) / (float)(1 << 24) - 0.5f;
}

static int fill_contexts(struct full_window *w)
{
    size_t dim = (size_t)w->config.dit.text_dim, n = ROWS * dim;
    float *rows = malloc(n * sizeof(*rows));
    uint64_t state = 99;
    int rc = rows ? 0 : -ENOMEM;
    for (int c = 0; c < FULL_WINDOW_CONTEXTS && rc == 0; c++) {
        for (size_t i = 0; i < n; i++) { /* a prompt's rows have much in common */
            rows[i] = next_uniform(&state) * 0.7f + (i >= dim ? 2 * rows[i % dim] : 0);
        }
        rc = kt_context_from_rows(w->e, &w->context[c], rows, ROWS, &w->err);
    }
    free(rows);
    return rc;
}

/* Raises each channel of a latent by an amount of its own. */
static int raise_channels(struct full_window *w, float *x, float contrast, uint64_t *state)
{
    size_t floats = w->e->latent_floats, plane = floats / (size_t)w->config.dit.in_dim;
    float *host = malloc(floats * sizeof(*host));
    int rc = host ? kt_device_download(w->e->dev, host, x, floats * sizeof(*host)) : -ENOMEM;
    for (int c = 0; c < w->config.dit.in_dim && rc == 0; c++) {
        float by = next_uniform(state) * 3.4641016f * contrast;
        for (size_t i = 0; i < plane; i++) {
            host[(size_t)c * plane + i] += by;
        }
    }
    rc = rc < 0 ? rc : kt_device_upload(w->e->dev, x, host, floats * sizeof(*host));
    rc = rc < 0 ? rc : kt_engine_sync(w->e);
    free(host);
    return rc;
}

static int fill_latents(struct full_window *w, float contrast)
{
    struct kt_device *dev = w->e->dev;
    size_t floats = w->e->latent_floats;
    uint64_t state = 5;
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
        if (rc == 0 && contrast > 0) {
            rc = raise_channels(w, x, contrast, &state);
        }
    }
    return rc;
}

int full_window_recache(struct full_window *w, int number)
{
    struct kt_dit_pass pass = {.x = w->x,
                               .time_index = w->time,
                               .frames = w->window,
                               .row = kt_dit_clean_row(w->e->dit),
                               .context = &w->context[number]->dit,
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
                                      .contexts_max = FULL_WINDOW_CONTEXTS,
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
    rc = fill_contexts(w);
    rc = rc < 0 ? rc : fill_latents(w, p->contrast);
    return rc < 0 ? rc : full_window_recache(w, 0);
}

void full_window_close(struct full_window *w)
{
    if (w->e) {
        for (int i = 0; i < w->window; i++) {
            kt_slab_unref(&w->pages[i]);
        }
        kt_device_free(w->e->dev, w->latents);
        kt_device_free(w->e->dev, w->v);
        for (int i = 0; i < FULL_WINDOW_CONTEXTS; i++) {
            kt_context_unref(&w->context[i]);
        }
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
                               .context = &w->context[0]->dit,
                               .v = w->v};
    return kt_dit_run(w->e->dit, &pass, &w->err);
}
