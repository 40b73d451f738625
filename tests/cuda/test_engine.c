/* A card's engine keeps the house's promises (docs/design.md, invariants 1, 2 and 4), at a model's
 * own shape with random weights, in bf16 and in fp8: the same decisions give the same bits alone,
 * beside another session, with drafts begun and abandoned in between and after a rollback;
 * snapshots copy nothing; after warm-up nothing is allocated, and a block's launches, waits and
 * copies to the host are what is listed here.
 *
 * Usage: test_engine MODEL (its config.json is enough). Exits 77 without a card. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/snapshot.h"

enum { BLOCKS = 7, SWITCH_AT = 5, ROWS = 12 };

struct test {
    struct kt_engine *e;
    struct kt_context *prompt[2];
    const char *what;
    size_t latent_floats, frame_bytes;
    int failed, passed;
    struct kt_error err;
};

static void verdict(struct test *t, int ok, const char *what)
{
    t->passed += ok;
    t->failed += !ok;
    printf("%s %s: %s%s%s\n", ok ? "ok  " : "FAIL", t->what, what, ok ? "" : ": ",
           ok ? "" : t->err.text);
}

static uint64_t hash(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ p[i]) * 1099511628211ull;
    }
    return h;
}

/* Decodes what is there and adds pixels and latents to the hash. */
static uint64_t look(struct test *t, struct kt_timeline *line, uint64_t h)
{
    struct kt_engine_info info;
    kt_engine_get_info(t->e, &info);
    uint8_t *frames = malloc(t->frame_bytes * (size_t)info.frames_per_latent);
    float *latent = malloc(t->latent_floats * sizeof(float));
    while (kt_timeline_decoded(line) < kt_timeline_latents(line)) {
        int64_t index = kt_timeline_decoded(line);
        int n = kt_timeline_decode(line, frames, t->frame_bytes, &t->err);
        if (n < 0 || kt_timeline_latent(line, index, latent) < 0) {
            verdict(t, 0, "decoding");
            break;
        }
        h = hash(h, frames, t->frame_bytes * (size_t)n);
        h = hash(h, latent, t->latent_floats * sizeof(float));
    }
    free(frames);
    free(latent);
    return h;
}

enum disturbance { NONE, DRAFTS, ROLLBACK };

/* Another future, begun and thrown away. */
static void disturb(struct test *t, struct kt_timeline *line, enum disturbance kind)
{
    struct kt_snapshot *s = NULL;
    struct kt_timeline *draft = NULL;
    int rc = kt_timeline_snapshot(line, &s, &t->err);
    if (rc == 0 && kind == DRAFTS) {
        rc = kt_timeline_fork(t->e, &draft, s, &t->err);
        if (rc == 0) {
            rc = kt_timeline_switch(draft, t->prompt[1], KT_TRANSITION_SCENE, 0, &t->err);
        }
        if (rc == 0) {
            rc = kt_timeline_block(draft, 2, &t->err);
        }
        kt_timeline_destroy(&draft);
    } else if (rc == 0 && kind == ROLLBACK) {
        rc = kt_timeline_switch(line, t->prompt[1], KT_TRANSITION_CUT, 0, &t->err);
        if (rc == 0) {
            rc = kt_timeline_block(line, 0, &t->err);
        }
        if (rc == 0) {
            rc = kt_timeline_restore(line, s, &t->err);
        }
    }
    kt_snapshot_unref(&s);
    if (rc < 0) {
        verdict(t, 0, "a disturbance");
    }
}

static uint64_t stream(struct test *t, enum disturbance kind, struct kt_timeline *beside)
{
    struct kt_timeline *line = NULL;
    uint64_t h = 14695981039346656037ull;
    int rc = kt_timeline_create(t->e, &line, 11, t->prompt[0], &t->err);
    for (int b = 0; b < BLOCKS && rc == 0; b++) {
        if (b == SWITCH_AT) {
            rc = kt_timeline_switch(line, t->prompt[1], KT_TRANSITION_CUT, 0, &t->err);
        }
        if (rc == 0 && kind != NONE) {
            disturb(t, line, kind);
        }
        rc = rc < 0 ? rc : kt_timeline_block_begin(line, 0, &t->err);
        while (rc >= 0 && (rc = kt_timeline_block_step(line, &t->err)) > 0) {
            if (beside) {
                kt_timeline_block(beside, 1, &t->err);
            }
        }
        rc = rc < 0 ? rc : kt_timeline_block_commit(line, &t->err);
        h = look(t, line, h);
        if (beside) {
            look(t, beside, 0);
        }
    }
    kt_timeline_destroy(&line);
    verdict(t, rc == 0, "a stream");
    return h;
}

static void same_bits(struct test *t)
{
    struct kt_timeline *beside = NULL;
    uint64_t alone = stream(t, NONE, NULL), again = stream(t, NONE, NULL);
    verdict(t, alone == again, "the same decisions give the same bits twice");
    verdict(t, alone == stream(t, DRAFTS, NULL), "abandoned drafts leave no trace");
    verdict(t, alone == stream(t, ROLLBACK, NULL), "rolled back is as never gone ahead");
    if (kt_timeline_create(t->e, &beside, 12, t->prompt[1], &t->err) == 0) {
        verdict(t, alone == stream(t, NONE, beside), "alone is as beside another session");
    }
    kt_timeline_destroy(&beside);
}

static void counts(struct test *t, int steps)
{
    struct kt_device *dev = kt_engine_device(t->e);
    struct kt_queue_stats a, b, c;
    struct kt_timeline *line = NULL;
    struct kt_engine_info info;
    kt_timeline_create(t->e, &line, 3, t->prompt[0], &t->err);
    for (int i = 0; i < 5; i++) {
        kt_timeline_block(line, 0, &t->err);
        look(t, line, 0);
    }
    uint64_t allocs = dev->stats.allocs;
    kt_device_queue_stats(dev, &a);
    int rc = kt_timeline_block(line, 0, &t->err);
    kt_device_queue_stats(dev, &b);
    look(t, line, 0);
    kt_device_queue_stats(dev, &c);
    kt_timeline_destroy(&line);
    kt_engine_get_info(t->e, &info);
    uint64_t frames = (uint64_t)(info.frames_per_latent * info.block_latents);
    printf("     block: %llu launches, %llu syncs, %llu uploads; its frames: %llu launches, %llu "
           "syncs, %llu downloads\n",
           (unsigned long long)(b.launches - a.launches), (unsigned long long)(b.syncs - a.syncs),
           (unsigned long long)(b.uploads - a.uploads),
           (unsigned long long)(c.launches - b.launches), (unsigned long long)(c.syncs - b.syncs),
           (unsigned long long)(c.downloads - b.downloads));
    verdict(t, rc == 0 && c.allocs == a.allocs && dev->stats.allocs == allocs,
            "nothing is allocated after warm-up");
    verdict(t, b.syncs == a.syncs && b.uploads == a.uploads && b.downloads == a.downloads,
            "a block waits for nothing and copies nothing to or from the host");
    verdict(t,
            c.downloads - b.downloads == frames + (uint64_t)info.block_latents &&
                c.uploads == b.uploads,
            "one copy to the host a frame (and one a latent, for this test)");
    /* 14 launches a layer and pass with fused ops: 5 linears of attention and cross attention, 2 of
     * the FFN, 2 attentions, 3 residuals, 1 norm, 1 store; 2 more in 8 bits (values, rounding). */
    const struct kt_dit_config *d = &kt_engine_config(t->e)->dit;
    uint64_t most = (uint64_t)(steps + 1) * (uint64_t)(d->num_layers * 17 + 12) +
                    (uint64_t)(2 * kt_engine_config(t->e)->sampler.local_attn_size * d->num_layers);
    if (kt_engine_device(t->e)->k.residual_norm) { /* the fp32 table makes them of simple ops */
        verdict(t, b.launches - a.launches <= most, "launches of a block stay within the list");
    }
    verdict(t, info.snapshot_bytes_copied == 0, "snapshots copied 0 bytes");
}

static int open_engine(struct test *t, const char *model, enum kt_precision precision)
{
    struct kt_engine_params p = {.model_dir = model,
                                 .timelines_max = 3,
                                 .random_weights = 1,
                                 .device = {.kind = "cuda", .precision = precision}};
    struct kt_engine_info info;
    int rc = kt_engine_open(&t->e, &p, &t->err);
    if (rc < 0) {
        return rc;
    }
    const struct kt_dit_config *d = &kt_engine_config(t->e)->dit;
    float *rows = calloc((size_t)ROWS * (size_t)d->text_dim, sizeof(*rows));
    for (int i = 0; i < 2 && rc == 0; i++) {
        for (int j = 0; j < ROWS * d->text_dim; j++) {
            rows[j] = (float)((j * 37 + i * 11) % 23) / 23.0f - 0.5f;
        }
        rc = kt_context_from_rows(t->e, &t->prompt[i], rows, ROWS, &t->err);
    }
    free(rows);
    kt_engine_get_info(t->e, &info);
    t->latent_floats = (size_t)(d->out_dim * d->latent_h * d->latent_w);
    t->frame_bytes = (size_t)info.width * (size_t)info.height * 3 / 2;
    return rc < 0 ? rc : kt_engine_warm_up(t->e, &t->err);
}

int main(int argc, char **argv)
{
    struct test test = {0}, *t = &test;
    static const char *const NAMES[] = {"fp32", "bf16", "fp8"};
    static const enum kt_precision PRECISIONS[] = {KT_PRECISION_FP32, KT_PRECISION_BF16,
                                                   KT_PRECISION_FP8};
    if (argc != 2) {
        fprintf(stderr, "usage: test_engine MODEL\n");
        return 2;
    }
    for (int i = 0; i < 3; i++) {
        t->what = NAMES[i];
        int rc = open_engine(t, argv[1], PRECISIONS[i]);
        if (rc == -ENODEV || rc == -ENOTSUP) {
            printf("skipped: %s\n", t->err.text);
            return 77;
        }
        verdict(t, rc == 0, "opening");
        if (rc == 0) {
            same_bits(t);
            counts(t, kt_engine_config(t->e)->sampler.steps);
        }
        kt_context_unref(&t->prompt[0]);
        kt_context_unref(&t->prompt[1]);
        kt_engine_close(&t->e);
    }
    printf("%d passed, %d failed\n", t->passed, t->failed);
    return t->failed ? 1 : 0;
}
