/* Ops that move values, and noise: the same bits on every level. to_i420 may differ by one step. */
#include "tests/kernels/checkkern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_patches(struct ck *c, int inverse, const int dim[4])
{
    struct ck_run *r = ck_begin(c, "exact", inverse ? "unpatchify" : "patchify", CK_NORMAL);
    const size_t n = (size_t)dim[0] * dim[1] * dim[2] * dim[3];
    float *x = ck_input(r, n, 1.0f), *want = ck_floats(r, n), *got = ck_floats(r, n);
    struct kt_patch_args a = {x, want, dim[0], dim[1], dim[2], dim[3], 2, 2};
    ck_status(r, inverse ? c->ref.unpatchify(c->ref_q, &a) : c->ref.patchify(c->ref_q, &a));
    a.dst = got;
    ck_status(r, inverse ? c->level.unpatchify(c->q, &a) : c->level.patchify(c->q, &a));
    ck_same(r, want, got, n * sizeof(float), "patches differ");
    ck_end(r);
}

static void check_moves(struct ck *c, int t, int h, int w, int ch)
{
    struct ck_run *r = ck_begin(c, "exact", "moves", CK_MIXED);
    const size_t n = (size_t)t * h * w * ch;
    float *x = ck_input(r, 2 * n, 1.0f), *want = ck_floats(r, 4 * n), *got = ck_floats(r, 4 * n);
    ck_status(r, c->ref.upsample2x(c->ref_q, want, x, t, h, w, ch));
    ck_status(r, c->level.upsample2x(c->q, got, x, t, h, w, ch));
    ck_same(r, want, got, 4 * n * sizeof(float), "upsample2x");
    ck_status(r, c->ref.split_frames(c->ref_q, want, x, t, h, w, ch, 2));
    ck_status(r, c->level.split_frames(c->q, got, x, t, h, w, ch, 2));
    ck_same(r, want, got, 2 * n * sizeof(float), "split_frames");
    ck_status(r, c->ref.concat_channels(c->ref_q, want, x, x + n, t * h * w, ch, ch));
    ck_status(r, c->level.concat_channels(c->q, got, x, x + n, t * h * w, ch, ch));
    ck_same(r, want, got, 2 * n * sizeof(float), "concat_channels");
    ck_status(r, c->ref.to_planar(c->ref_q, want, x, t, h, w, ch));
    ck_status(r, c->level.to_planar(c->q, got, x, t, h, w, ch));
    ck_same(r, want, got, n * sizeof(float), "to_planar");
    ck_status(r, c->ref.to_channels_last(c->ref_q, want, x, t, ch, h, w, NULL, NULL));
    ck_status(r, c->level.to_channels_last(c->q, got, x, t, ch, h, w, NULL, NULL));
    ck_same(r, want, got, n * sizeof(float), "to_channels_last");
    const size_t row = (size_t)w * ch * sizeof(float);
    ck_status(r, c->ref.copy_rows(c->ref_q, want, row + 4, x, row, t * h, row));
    ck_status(r, c->level.copy_rows(c->q, got, row + 4, x, row, t * h, row));
    ck_same(r, want, got, 4 * n * sizeof(float), "copy_rows");
    ck_end(r);
}

static void check_distance_bias(struct ck *c, int heads, int n, int reach)
{
    struct ck_run *r = ck_begin(c, "exact", "distance bias", CK_NORMAL);
    const size_t count = (size_t)heads * n * n;
    float *table = ck_input(r, (size_t)heads * (2 * reach + 1), 1.0f);
    float *want = ck_floats(r, count), *got = ck_floats(r, count);
    ck_status(r, c->ref.distance_bias(c->ref_q, want, table, heads, n, reach));
    ck_status(r, c->level.distance_bias(c->q, got, table, heads, n, reach));
    ck_same(r, want, got, count * sizeof(float), "distance bias");
    ck_end(r);
}

static void check_noise(struct ck *c, int n)
{
    struct ck_run *r = ck_begin(c, "exact", "noise", CK_NORMAL);
    float *want = ck_floats(r, (size_t)n), *got = ck_floats(r, (size_t)n);
    ck_status(r, c->ref.noise(c->ref_q, want, n, c->seed, 77));
    ck_status(r, c->level.noise(c->q, got, n, c->seed, 77));
    ck_same(r, want, got, (size_t)n * sizeof(float), "noise");
    ck_end(r);
}

static void check_i420(struct ck *c, int frames, int w, int h, enum ck_fill fill)
{
    char text[64];
    snprintf(text, sizeof(text), "%d of %dx%d", frames, w, h);
    struct ck_run *r = ck_begin(c, "to_i420", text, fill);
    const size_t frame_bytes = (size_t)w * h * 3 / 2 + 10, n = (size_t)frames * frame_bytes;
    float *rgb = ck_input(r, (size_t)frames * 3 * w * h, 0.5f);
    uint8_t *want = (uint8_t *)ck_floats(r, n / 4 + 1), *got = (uint8_t *)ck_floats(r, n / 4 + 1);
    struct kt_i420_args a = {rgb, want, frame_bytes, frames, w, h, 0.5f, 0.5f};
    ck_status(r, c->ref.to_i420(c->ref_q, &a));
    a.out = got;
    ck_status(r, c->level.to_i420(c->q, &a));
    size_t off = 0;
    for (size_t i = 0; i < n; i++) {
        off += abs((int)want[i] - got[i]) > 1;
    }
    ck_status(r, off > 0 ? -1 : 0);
    ck_end(r);
}

struct timed {
    struct ck *c;
    float *x, *y;
    uint8_t *bytes;
};

static void call_planar(void *ctx)
{
    struct timed *t = ctx;
    t->c->level.to_planar(t->c->q, t->y, t->x, 4, 112, 192, 3);
}

static void call_i420(void *ctx)
{
    struct timed *t = ctx;
    const struct kt_i420_args a = {t->x, t->bytes, 192 * 112 * 3 / 2, 4, 192, 112, 0.5f, 0.5f};
    t->c->level.to_i420(t->c->q, &a);
}

static void call_noise(void *ctx)
{
    struct timed *t = ctx;
    t->c->level.noise(t->c->q, t->y, 3 * 16 * 14 * 24, 1, 2);
}

static void call_split(void *ctx)
{
    struct timed *t = ctx;
    t->c->level.split_frames(t->c->q, t->y, t->x, 2, 28, 48, 32, 2);
}

static void time_all(struct ck *c)
{
    struct ck_run *r = ck_begin(c, "exact", "bench", CK_NORMAL);
    struct timed t = {c, ck_input(r, 86016 * 3, 1.0f), ck_floats(r, 86016 * 3),
                      (uint8_t *)ck_floats(r, 86016)};
    ck_time(c, &(struct ck_bench){"to_planar", "4 x 192x112 x 3", 0, 3, call_planar, &t});
    ck_time(c, &(struct ck_bench){"to_i420", "4 x 192x112", 0, 3, call_i420, &t});
    ck_time(c, &(struct ck_bench){"noise", "n16128", 0, 4, call_noise, &t});
    ck_time(c, &(struct ck_bench){"split_frames", "2 x 48x28 x 64", 0, 3, call_split, &t});
    ck_end(r);
}

void check_layouts(struct ck *c)
{
    if (c->bench) {
        time_all(c);
        return;
    }
    for (int inverse = 0; inverse < 2; inverse++) {
        check_patches(c, inverse, (const int[4]){3, 16, 14, 24});
        check_patches(c, inverse, (const int[4]){1, 3, 2, 6});
    }
    check_moves(c, 1, 1, 1, 1);
    check_moves(c, 2, 5, 7, 3);
    check_moves(c, 4, 28, 48, 32);
    check_distance_bias(c, 1, 1, 0);
    check_distance_bias(c, 3, 7, 6);
    check_distance_bias(c, 64, 40, 511);
    for (int n = 1; n < 9; n++) {
        check_noise(c, n);
    }
    check_noise(c, 16128);
    for (int fill = 0; fill < ck_fills(c, 0); fill++) {
        check_i420(c, 1, 2, 2, (enum ck_fill)fill);
        check_i420(c, 2, 38, 6, (enum ck_fill)fill);
        check_i420(c, 3, 192, 112, (enum ck_fill)fill);
    }
}
