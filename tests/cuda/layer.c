/* One layer of a model at its real shape, behind a full window, on a card against the CPU: the
 * flow of 64 sampled query tokens, and K and V of as many tokens of the window. Random weights,
 * embedding and head included (a layer's output is seen through them).
 *
 * Usage: layer MODEL [--plain] [--cpu-only]. The CPU computes with the kernels that test_ref and
 * the golden cases hold against plain C; --plain takes plain C itself (a minute on 16 cores at
 * 832x480). --cpu-only compares the two. Exits 77 without a card. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "tests/cuda/distance.h"
#include "tests/cuda/full_window.h"
#include "tests/kernels/tolerance.h"

enum { SAMPLES = 64, PARTS = 4 };

static const struct part {
    const char *name, *device;
    enum kt_precision precision;
    /* Relative L2. fp32: sums in another order. Else the bound of one pass of all layers. */
    double bound;
} PART[PARTS] = {{"cpu", "cpu", KT_PRECISION_FP32, 2e-5},
                 {"fp32", "cuda", KT_PRECISION_FP32, 2e-5},
                 {"bf16", "cuda", KT_PRECISION_BF16, CK_PASS_BF16},
                 {"fp8", "cuda", KT_PRECISION_FP8, CK_PASS_FP8}};

struct seen {
    float *flow;  /* [SAMPLES, out_dim, patch_h, patch_w] */
    float *kv[2]; /* [SAMPLES, dim] */
    size_t flow_count, kv_count;
};

/* The sample's token, the same for every part; a prime step visits rows, columns and frames. */
static int token_of(int sample, int tokens)
{
    return (int)((int64_t)sample * 7919 % tokens);
}

static int sample_flow(struct full_window *w, struct seen *s)
{
    const struct kt_dit_config *c = &w->config.dit;
    int across = c->latent_w / c->patch_w, tokens = kt_dit_tokens(w->e->dit);
    size_t plane = (size_t)c->latent_h * (size_t)c->latent_w, n = 0;
    size_t floats = (size_t)w->block * w->e->latent_floats;
    float *v = malloc(floats * sizeof(*v));
    s->flow_count = (size_t)SAMPLES * (size_t)(c->out_dim * c->patch_h * c->patch_w);
    s->flow = malloc(s->flow_count * sizeof(*s->flow));
    int rc = v && s->flow ? kt_device_download(w->e->dev, v, w->v, floats * sizeof(*v)) : -ENOMEM;
    for (int i = 0; i < SAMPLES && rc == 0; i++) {
        int token = token_of(i, w->block * tokens), at = token % tokens;
        const float *latent = v + (size_t)(token / tokens) * w->e->latent_floats;
        for (int p = 0; p < c->out_dim * c->patch_h * c->patch_w; p++) {
            int y = at / across * c->patch_h + p / c->patch_w % c->patch_h;
            int x = at % across * c->patch_w + p % c->patch_w;
            s->flow[n++] = latent[plane * (size_t)(p / c->patch_w / c->patch_h) +
                                  (size_t)(y * c->latent_w + x)];
        }
    }
    free(v);
    return rc;
}

static int sample_kv(struct full_window *w, struct seen *s, int which)
{
    int tokens = kt_dit_tokens(w->e->dit), rc = 0;
    size_t dim = (size_t)w->config.dit.dim, size = w->e->dev->kv_size;
    s->kv_count = SAMPLES * dim;
    s->kv[which] = malloc(s->kv_count * sizeof(float));
    for (int i = 0; i < SAMPLES && rc == 0; i++) {
        int token = token_of(i, w->window * tokens);
        const char *rows = kt_dit_page_rows(w->e->dit, w->pages[token / tokens], 0, which);
        const void *row = rows + (size_t)(token % tokens) * dim * size;
        float *to = s->kv[which] + (size_t)i * dim;
        rc = size == sizeof(float) ? kt_device_download(w->e->dev, to, row, dim * size)
                                   : kt_device_download_act(w->e->dev, to, row, dim);
    }
    return rc;
}

static int run_part(const char *model, const struct part *p, int plain, struct seen *s,
                    struct kt_error *err)
{
    struct full_window w;
    struct full_window_params params = {.model = model,
                                        .device = p->device,
                                        .precision = p->precision,
                                        .layers = 1,
                                        .plain = plain};
    int64_t start = kt_now_ns();
    int rc = full_window_open(&w, &params);
    rc = rc < 0 ? rc : full_window_pass(&w, w.block);
    rc = rc < 0 ? rc : sample_flow(&w, s);
    rc = rc < 0 ? rc : sample_kv(&w, s, 0);
    rc = rc < 0 ? rc : sample_kv(&w, s, 1);
    printf("%s%s: %.1f s\n", p->name, plain ? ", plain C" : "", kt_ms_since(start) / 1000);
    fflush(stdout);
    *err = w.err;
    full_window_close(&w);
    return rc;
}

static int compare(const struct part *p, const struct seen *want, const struct seen *got)
{
    double flow = relative_l2(want->flow, got->flow, want->flow_count);
    double k = relative_l2(want->kv[0], got->kv[0], want->kv_count);
    double v = relative_l2(want->kv[1], got->kv[1], want->kv_count);
    int ok = flow <= p->bound && k <= p->bound && v <= p->bound;
    printf("%-5s flow %.2e, keys %.2e, values %.2e (bound %.1e) %s\n", p->name, flow, k, v,
           p->bound, ok ? "ok" : "FAIL");
    return !ok;
}

static void free_seen(struct seen *s)
{
    free(s->flow);
    free(s->kv[0]);
    free(s->kv[1]);
}

int main(int argc, char **argv)
{
    struct seen want = {0};
    struct kt_error err = {{0}};
    const char *model = NULL;
    int plain = 0, cpu_only = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        plain |= strcmp(argv[i], "--plain") == 0;
        cpu_only |= strcmp(argv[i], "--cpu-only") == 0;
        model = argv[i][0] == '-' ? model : argv[i];
    }
    if (!model) {
        fprintf(stderr, "usage: layer MODEL [--plain] [--cpu-only]\n");
        return 2;
    }
    struct kt_device *card = NULL;
    struct kt_device_params cuda = {.kind = "cuda"};
    int rc = cpu_only ? 0 : kt_device_open(&card, &cuda, &err);
    kt_device_close(&card);
    rc = rc < 0 ? rc : run_part(model, &PART[0], plain || cpu_only, &want, &err);
    for (int i = cpu_only ? 0 : 1; i < (cpu_only ? 1 : PARTS) && rc == 0; i++) {
        struct seen got = {0};
        rc = run_part(model, &PART[i], 0, &got, &err);
        failed += rc == 0 && compare(&PART[i], &want, &got);
        free_seen(&got);
    }
    free_seen(&want);
    if (rc < 0) {
        printf("%s: %s\n", rc == -ENODEV || rc == -ENOTSUP ? "skipped" : "FAIL", err.text);
        return rc == -ENODEV || rc == -ENOTSUP ? 77 : 1;
    }
    return failed ? 1 : 0;
}
