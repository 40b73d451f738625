/* What bf16 and fp8 cost at a model's real shape, against fp32 on the same card (which the golden
 * cases prove): first one recache and one denoising pass over equal inputs, then a stream of ten
 * blocks with two prompt switches, drift reported block by block.
 *
 * Usage: drift MODEL [--blocks N] [--files]. MODEL needs its config.json only: weights are random
 * unless --files. Exits 77 without a card. The bounds of the single pass: see `BOUNDS`. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/parts.h" /* passes from given latents: what no public call offers */
#include "engine/probe.h"
#include "tests/cuda/distance.h"
#include "tests/kernels/tolerance.h"

enum {
    BLOCKS_MAX = 40,
    PROMPTS = 3,
    ROWS = 40,
    FIRST_SWITCH = 4,
    SECOND_SWITCH = 7,
    PARTS = 4,
    EMULATED = 2
};

static const struct precision {
    const char *name;
    enum kt_precision precision;
    double bound; /* relative L2 of one pass from equal inputs; fp8: by what emulation gives */
} BOUNDS[PARTS] = {{"fp32", KT_PRECISION_FP32, 0},
                   {"bf16", KT_PRECISION_BF16, CK_PASS_BF16},
                   {"fp8-emulated", KT_PRECISION_FP8_EMULATED, 1},
                   {"fp8", KT_PRECISION_FP8, 0}};

static const double FP8_OVER_EMULATED = 1.5;

struct run {
    float *flow;                /* of the stream's first pass: equal inputs, empty window */
    float *full;                /* of a pass behind a full window of equal latents */
    float *latents[BLOCKS_MAX]; /* of each block */
    size_t block_floats;
};

struct drift {
    struct kt_model_config config;
    const char *model;
    int blocks, files;
    float *rows; /* [PROMPTS, ROWS, text_dim] */
    struct run run[PARTS];
    struct kt_error err;
};

static void fill_rows(struct drift *d)
{
    size_t n = (size_t)PROMPTS * ROWS * (size_t)d->config.dit.text_dim;
    uint64_t state = 99;
    d->rows = malloc(n * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        d->rows[i] = ((float)(state >> 40) / (float)(1 << 24) - 0.5f) * 0.7f;
    }
}

static int make_block(struct drift *d, struct kt_timeline *t, struct run *r, int number)
{
    int latents = d->config.sampler.num_frame_per_block;
    size_t floats = r->block_floats / (size_t)latents;
    int rc = kt_timeline_block_begin(t, 0, &d->err);
    if (rc == 0) {
        rc = kt_timeline_block_step(t, &d->err);
    }
    if (rc >= 0 && number == 0) {
        r->flow = malloc(r->block_floats * sizeof(float));
        kt_timeline_flow(t, r->flow);
    }
    while (rc > 0) {
        rc = kt_timeline_block_step(t, &d->err);
    }
    if (rc == 0) {
        rc = kt_timeline_block_commit(t, &d->err);
    }
    r->latents[number] = malloc(r->block_floats * sizeof(float));
    for (int i = 0; i < latents && rc == 0; i++) {
        rc = kt_timeline_latent(t, (int64_t)number * latents + i,
                                r->latents[number] + floats * (size_t)i);
    }
    return rc;
}

/* Nine given latents recached, then a first denoising pass of a given block behind them. */
static int run_full(struct drift *d, struct kt_engine *e, struct kt_context *c, struct run *r)
{
    struct kt_slab_item *pages[KT_SLOTS_MAX];
    const float *x[KT_SLOTS_MAX];
    int64_t time[KT_SLOTS_MAX];
    int block = d->config.sampler.num_frame_per_block, window = e->shape.window, rc = 0;
    float *latents =
        kt_device_alloc(e->dev, (size_t)window * e->latent_floats * sizeof(float), "given latents");
    float *v = kt_device_alloc(e->dev, r->block_floats * sizeof(float), "flow");
    for (int i = 0; i < window; i++) {
        x[i] = latents + e->latent_floats * (size_t)i;
        time[i] = i;
        pages[i] = kt_slab_take(&e->pages);
        e->dev->k.noise(e->dev->q, latents + e->latent_floats * (size_t)i, (int)e->latent_floats,
                        17, (uint64_t)i);
    }
    struct kt_dit_pass pass = {.x = x,
                               .time_index = time,
                               .frames = window - block,
                               .row = kt_dit_clean_row(e->dit),
                               .context = &c->dit,
                               .pages = pages};
    rc = kt_dit_run(e->dit, &pass, &d->err);
    if (rc == 0) {
        pass = (struct kt_dit_pass){.prefix = pages,
                                    .prefix_count = window - block,
                                    .x = x + window - block,
                                    .time_index = time + window - block,
                                    .frames = block,
                                    .context = &c->dit,
                                    .v = v};
        rc = kt_dit_run(e->dit, &pass, &d->err);
    }
    r->full = malloc(r->block_floats * sizeof(float));
    if (rc == 0) {
        rc = kt_device_download(e->dev, r->full, v, r->block_floats * sizeof(float));
    }
    for (int i = 0; i < window; i++) {
        kt_slab_unref(&pages[i]);
    }
    kt_device_free(e->dev, latents);
    kt_device_free(e->dev, v);
    return rc;
}

static int run_stream(struct drift *d, struct kt_engine *e, struct run *r, int blocks)
{
    struct kt_context *c[PROMPTS] = {NULL};
    struct kt_timeline *t = NULL;
    size_t prompt = (size_t)ROWS * (size_t)d->config.dit.text_dim;
    int rc = 0;
    for (int i = 0; i < PROMPTS && rc == 0; i++) {
        rc = kt_context_from_rows(e, &c[i], d->rows + prompt * (size_t)i, ROWS, &d->err);
    }
    if (rc == 0) {
        rc = run_full(d, e, c[0], r);
    }
    if (rc == 0) {
        rc = kt_timeline_create(e, &t, 7, c[0], &d->err);
    }
    for (int b = 0; b < blocks && rc == 0; b++) {
        if (b == FIRST_SWITCH) {
            rc = kt_timeline_switch(t, c[1], KT_TRANSITION_CUT, 0, &d->err);
        } else if (b == SECOND_SWITCH) {
            rc = kt_timeline_switch(t, c[2], KT_TRANSITION_SCENE, 0, &d->err);
        }
        if (rc == 0) {
            rc = make_block(d, t, r, b);
        }
    }
    kt_timeline_destroy(&t);
    for (int i = 0; i < PROMPTS; i++) {
        kt_context_unref(&c[i]);
    }
    return rc;
}

static int run_precision(struct drift *d, int part)
{
    struct kt_engine *e = NULL;
    struct run *r = &d->run[part];
    const struct kt_dit_config *c = &d->config.dit;
    struct kt_engine_params p = {.model_dir = d->model,
                                 .config = &d->config,
                                 .timelines_max = 1,
                                 .snapshots_max = 1,
                                 .contexts_max = PROMPTS,
                                 .random_weights = !d->files,
                                 .device = {.kind = "cuda", .precision = BOUNDS[part].precision}};
    int blocks = part == EMULATED ? 1 : d->blocks; /* as slow as fp32 */
    int64_t start = kt_now_ns();
    int rc = kt_engine_open(&e, &p, &d->err);
    r->block_floats = (size_t)d->config.sampler.num_frame_per_block * (size_t)c->in_dim *
                      (size_t)c->latent_h * (size_t)c->latent_w;
    double open_ms = kt_ms_since(start);
    start = kt_now_ns();
    if (rc == 0) {
        rc = run_stream(d, e, r, blocks);
    }
    printf("%s: opened in %.1f s, %d blocks in %.1f s\n", BOUNDS[part].name, open_ms / 1000, blocks,
           kt_ms_since(start) / 1000);
    fflush(stdout);
    kt_engine_close(&e);
    return rc;
}

static double bound_of(const struct drift *d, int part, double emulated)
{
    return BOUNDS[part].bound > 0 ? BOUNDS[part].bound : FP8_OVER_EMULATED * emulated;
}

static int report(const struct drift *d)
{
    const struct run *want = &d->run[0], *emulated = &d->run[EMULATED];
    double flow = relative_l2(want->flow, emulated->flow, want->block_floats);
    double full_flow = relative_l2(want->full, emulated->full, want->block_floats);
    int failed = 0;
    for (int part = 1; part < PARTS; part++) {
        const struct run *got = &d->run[part];
        double alone = relative_l2(want->flow, got->flow, want->block_floats);
        double full = relative_l2(want->full, got->full, want->block_floats);
        int ok = alone <= bound_of(d, part, flow) && full <= bound_of(d, part, full_flow);
        failed += !ok;
        printf("%s  one pass: empty window %.2e (bound %.1e), full window %.2e (bound %.1e) %s\n",
               BOUNDS[part].name, alone, bound_of(d, part, flow), full,
               bound_of(d, part, full_flow), ok ? "ok" : "FAIL");
        printf("%s  drift by block, switches before %d and %d:", BOUNDS[part].name, FIRST_SWITCH,
               SECOND_SWITCH);
        for (int b = 0; b < d->blocks && got->latents[b]; b++) {
            printf(" %.1e", relative_l2(want->latents[b], got->latents[b], want->block_floats));
        }
        printf("\n");
    }
    return failed;
}

int main(int argc, char **argv)
{
    struct drift *d = calloc(1, sizeof(*d));
    d->blocks = 10;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--files") == 0) {
            d->files = 1;
        } else if (strcmp(argv[i], "--blocks") == 0 && i + 1 < argc) {
            d->blocks = atoi(argv[++i]);
        } else {
            d->model = argv[i];
        }
    }
    if (!d->model || d->blocks < 1 || d->blocks > BLOCKS_MAX) {
        fprintf(stderr, "usage: drift MODEL [--blocks 1..%d] [--files]\n", BLOCKS_MAX);
        return 2;
    }
    int rc = kt_model_config_load(&d->config, d->model, &d->err);
    d->config.vae.kind = KT_VAE_NONE;
    d->config.text.vocab = 0;
    fill_rows(d);
    for (int part = 0; part < PARTS && rc == 0; part++) {
        rc = run_precision(d, part);
    }
    if (rc < 0) {
        printf("%s: %s\n", rc == -ENODEV || rc == -ENOTSUP ? "skipped" : "FAIL", d->err.text);
        return rc == -ENODEV || rc == -ENOTSUP ? 77 : 1;
    }
    return report(d) ? 1 : 0;
}
