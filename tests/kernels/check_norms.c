#include "tests/kernels/checkkern.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct shape {
    int m, dim, groups;
};

static const struct shape shapes[] = {
    {1, 1, 1}, {6, 10, 3}, {7, 33, 1}, {252, 256, 3}, {100, 1536, 1}, {5, 4096, 1}, {3, 9000, 1},
};

/* Layer norm in place too; the mean is 3 so that subtracting it matters. */
static void check_layer_norm(struct ck *c, const struct shape *s, enum ck_fill fill)
{
    char text[64];
    snprintf(text, sizeof(text), "m%d dim%d groups%d", s->m, s->dim, s->groups);
    struct ck_run *r = ck_begin(c, "layer_norm", text, fill);
    const size_t n = (size_t)s->m * s->dim;
    const int ld = 6 * s->dim;
    float *x = ck_input(r, n, 1.0f), *mod = ck_weights(r, (size_t)s->groups * ld, 0.5f);
    for (size_t i = 0; fill == CK_NORMAL && i < n; i++) {
        x[i] += 3.0f;
    }
    float *want = ck_floats(r, n), *got = ck_floats(r, n), *in_place = ck_copy(r, x, n);
    const int rows = (s->m + s->groups - 1) / s->groups;
    struct kt_layer_norm_args a = {x, want, mod, mod + s->dim, s->m, s->dim, rows, ld, 1.0f, 1e-6f};
    ck_status(r, c->ref.layer_norm(c->ref_q, &a));
    a.y = got;
    ck_status(r, c->level.layer_norm(c->q, &a));
    ck_compare(r, want, got, n);
    if (!c->bf16) { /* x and y have one type */
        a.x = a.y = in_place;
        ck_status(r, c->level.layer_norm(c->q, &a));
        ck_same(r, got, in_place, n * sizeof(float), "in place gives other bits");
    }
    ck_end(r);
}

static void check_rms_norm(struct ck *c, const struct shape *s, enum ck_fill fill)
{
    char text[64];
    snprintf(text, sizeof(text), "m%d dim%d", s->m, s->dim);
    struct ck_run *r = ck_begin(c, "rms_norm", text, fill);
    const int ld = s->dim + 3;
    const size_t n = (size_t)(s->m - 1) * ld + s->dim;
    float *x = ck_input(r, n, 1.0f), *w = ck_weights(r, (size_t)s->dim, 1.0f);
    float *want = ck_copy(r, x, n), *got = ck_copy(r, x, n); /* the gaps between rows must stay */
    ck_status(r, c->ref.rms_norm(c->ref_q, &(struct kt_rms_norm_args){x, want, w, s->m, s->dim, ld,
                                                                      ld, 1e-6f, 0}));
    ck_status(r, c->level.rms_norm(c->q, &(struct kt_rms_norm_args){got, got, w, s->m, s->dim, ld,
                                                                    ld, 1e-6f, 0}));
    ck_compare(r, want, got, n);
    ck_end(r);
}

static void check_channel_norm(struct ck *c, int pixels, int channels, enum ck_fill fill)
{
    char text[64];
    snprintf(text, sizeof(text), "%d pixels of %d", pixels, channels);
    struct ck_run *r = ck_begin(c, "channel_norm", text, fill);
    const size_t n = (size_t)pixels * channels;
    float *x = ck_input(r, n, 1.0f), *gamma = ck_weights(r, (size_t)channels, 1.0f);
    for (int silu = 0; silu < 2; silu++) {
        float *want = ck_floats(r, n), *got = ck_floats(r, n);
        ck_status(r, c->ref.channel_norm(c->ref_q, &(struct kt_channel_norm_args){
                                                       x, want, gamma, pixels, channels, silu, 0}));
        ck_status(r, c->level.channel_norm(c->q, &(struct kt_channel_norm_args){
                                                     x, got, gamma, pixels, channels, silu, 0}));
        ck_compare(r, want, got, n);
    }
    ck_end(r);
}

static void check_rope(struct ck *c, int m, int heads, int head_dim, enum ck_fill fill)
{
    char text[64];
    snprintf(text, sizeof(text), "m%d %dx%d", m, heads, head_dim);
    struct ck_run *r = ck_begin(c, "rope", text, fill);
    const int ld = heads * head_dim + 2;
    const size_t n = (size_t)(m - 1) * ld + heads * head_dim;
    float *x = ck_input(r, n, 1.0f), *cs = ck_weights(r, (size_t)m * head_dim / 2, 3.0f);
    float *sn = ck_floats(r, (size_t)m * head_dim / 2);
    for (int i = 0; i < m * head_dim / 2; i++) {
        sn[i] = sinf(cs[i]);
        cs[i] = cosf(cs[i]);
    }
    float *want = ck_copy(r, x, n), *got = ck_copy(r, x, n);
    ck_status(r, c->ref.rope(c->ref_q,
                             &(struct kt_rope_args){x, want, cs, sn, m, heads, head_dim, ld, ld}));
    ck_status(r, c->level.rope(
                     c->q, &(struct kt_rope_args){got, got, cs, sn, m, heads, head_dim, ld, ld}));
    ck_compare(r, want, got, n);
    ck_end(r);
}

struct timed {
    struct ck *c;
    struct kt_layer_norm_args ln;
    struct kt_rms_norm_args rms;
    struct kt_rope_args rope;
    struct kt_channel_norm_args norm;
};

static void call_layer_norm(void *ctx)
{
    struct timed *t = ctx;
    t->c->level.layer_norm(t->c->q, &t->ln);
}

static void call_rms_norm(void *ctx)
{
    struct timed *t = ctx;
    t->c->level.rms_norm(t->c->q, &t->rms);
}

static void call_rope(void *ctx)
{
    struct timed *t = ctx;
    t->c->level.rope(t->c->q, &t->rope);
}

static void call_channel_norm(void *ctx)
{
    struct timed *t = ctx;
    t->c->level.channel_norm(t->c->q, &t->norm);
}

static void time_all(struct ck *c)
{
    static const struct {
        int pixels, c, per_block;
    } norms[] = {
        {336, 64, 27},
        {2688, 32, 12},
        {21504, 16, 12},
        {86016, 8, 15},
    };
    struct ck_run *r = ck_begin(c, "layer_norm", "bench", CK_NORMAL);
    float *x = ck_input(r, 86016 * 8, 1.0f), *y = ck_input(r, 86016 * 8, 1.0f);
    float *w = ck_weights(r, 252 * 256, 1.0f);
    struct timed t = {.c = c,
                      .ln = {x, y, w, w + 256, 252, 256, 84, 1536, 1.0f, 1e-6f},
                      .rms = {x, y, w, 252, 256, 0, 0, 1e-6f, 0},
                      .rope = {x, y, w, w + 252 * 32, 252, 4, 64, 0, 0}};
    const double n = 252.0 * 256;
    ck_time(c,
            &(struct ck_bench){"layer_norm", "m252 dim256", 8 * n, 5 * 8 * 3, call_layer_norm, &t});
    ck_time(c, &(struct ck_bench){"rms_norm", "m252 dim256", 4 * n, 5 * 8 * 3, call_rms_norm, &t});
    ck_time(c, &(struct ck_bench){"rope", "m252 4x64", 3 * n, 5 * 8 * 2, call_rope, &t});
    for (size_t i = 0; i < sizeof(norms) / sizeof(norms[0]); i++) {
        char text[64];
        snprintf(text, sizeof(text), "%d pixels of %d, silu", norms[i].pixels, norms[i].c);
        t.norm = (struct kt_channel_norm_args){x, y, w, norms[i].pixels, norms[i].c, 1, 0};
        ck_time(c, &(struct ck_bench){"channel_norm", text, 20.0 * norms[i].pixels * norms[i].c,
                                      norms[i].per_block, call_channel_norm, &t});
    }
    ck_end(r);
}

void check_norms(struct ck *c)
{
    if (c->bench) {
        time_all(c);
        return;
    }
    for (int f = 0; f < ck_fills(c, 0); f++) {
        const enum ck_fill fill = (enum ck_fill)f;
        for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
            check_layer_norm(c, &shapes[i], fill);
            check_rms_norm(c, &shapes[i], fill);
        }
        for (int channels = 1; channels <= 64; channels += channels < 8    ? 7
                                                           : channels < 24 ? 8
                                                                           : 20) {
            check_channel_norm(c, 37, channels, fill);
        }
        check_channel_norm(c, 2048 + 5, 8, fill);
        check_channel_norm(c, 131, 96, fill);
        check_channel_norm(c, 67, 192, fill);
        check_channel_norm(c, 33, 384, fill);
        check_rope(c, 1, 1, 2, fill);
        check_rope(c, 5, 3, 10, fill);
        check_rope(c, 84, 4, 64, fill);
        check_rope(c, 70, 3, 128, fill);
    }
}
