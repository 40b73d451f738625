#include "tests/kernels/checkkern.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum kind { CAUSAL, MEMORY, FLAT, POINT, DOWN, UP, TIME, TIME_DOWN };

struct shape {
    enum kind kind;
    int c_in, c_out, t, h, w;
    int past, residual, relu;
    double per_block;
};

static const struct shape shapes[] = {
    {CAUSAL, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {CAUSAL, 3, 5, 2, 4, 7, 1, 1, 1, 0},
    {CAUSAL, 8, 8, 4, 9, 25, 1, 1, 0, 0},
    {CAUSAL, 8, 3, 2, 5, 13, 1, 0, 0, 0},
    {CAUSAL, 17, 33, 2, 3, 11, 1, 1, 0, 0},
    {CAUSAL, 16, 64, 1, 14, 24, 0, 0, 0, 0},
    {CAUSAL, 64, 40, 1, 7, 12, 1, 1, 0, 0},
    {FLAT, 16, 24, 3, 6, 10, 0, 1, 1, 0},
    {POINT, 10, 20, 2, 3, 5, 0, 0, 0, 0},
    {DOWN, 8, 16, 2, 6, 8, 0, 0, 0, 0},
    {UP, 16, 8, 2, 5, 6, 0, 0, 0, 0},
    {UP, 5, 19, 1, 1, 1, 0, 0, 0, 0},
    /* several pieces of a row, odd rows and frames, channels that fit the vectors or do not */
    {CAUSAL, 8, 8, 3, 7, 61, 1, 1, 1, 0},
    {CAUSAL, 16, 24, 2, 3, 100, 0, 1, 0, 0},
    {CAUSAL, 32, 3, 5, 4, 33, 1, 0, 0, 0},
    {CAUSAL, 24, 8, 2, 5, 20, 1, 0, 0, 0},
    {CAUSAL, 128, 16, 1, 2, 5, 1, 0, 0, 0},
    {CAUSAL, 136, 8, 2, 2, 5, 1, 0, 0, 0},
    {MEMORY, 16, 16, 3, 6, 18, 1, 0, 1, 0},
    {MEMORY, 8, 12, 1, 3, 40, 0, 1, 0, 0},
    {FLAT, 8, 7, 1, 1, 1, 0, 0, 0, 0},
    {UP, 8, 8, 2, 3, 53, 0, 1, 1, 0},
    {UP, 32, 16, 1, 4, 24, 0, 0, 0, 0},
    {UP, 16, 3, 1, 5, 49, 0, 0, 0, 0},
    {TIME, 12, 24, 2, 3, 4, 1, 0, 0, 0},
    {TIME_DOWN, 6, 6, 5, 3, 4, 0, 0, 0, 0},
};

/* One block of the demo decoder (dim 8, mult 1 2 4 8, 192x112): three latents after the first. */
static const struct shape demo[] = {
    {POINT, 16, 16, 1, 14, 24, 0, 0, 0, 3},      {CAUSAL, 16, 64, 1, 14, 24, 1, 0, 0, 3},
    {CAUSAL, 64, 64, 1, 14, 24, 1, 1, 0, 3 * 8}, {POINT, 64, 192, 1, 14, 24, 0, 0, 0, 3},
    {POINT, 64, 64, 1, 14, 24, 0, 1, 0, 3},      {TIME, 64, 128, 1, 14, 24, 1, 0, 0, 3},
    {UP, 64, 32, 2, 14, 24, 0, 0, 0, 3},         {CAUSAL, 32, 32, 2, 28, 48, 1, 1, 0, 3 * 4},
    {TIME, 32, 64, 2, 28, 48, 1, 0, 0, 3},       {UP, 32, 16, 4, 28, 48, 0, 0, 0, 3},
    {CAUSAL, 16, 16, 4, 56, 96, 1, 1, 0, 3 * 4}, {UP, 16, 8, 4, 56, 96, 0, 0, 0, 3},
    {CAUSAL, 8, 8, 4, 112, 192, 1, 1, 0, 3 * 4}, {CAUSAL, 8, 3, 4, 112, 192, 1, 0, 0, 3},
};

static struct kt_conv_desc desc_of(const struct shape *s)
{
    struct kt_conv_desc d = {.c_in = s->c_in,
                             .c_out = s->c_out,
                             .kt = 1,
                             .kh = 3,
                             .kw = 3,
                             .st = 1,
                             .sh = 1,
                             .sw = 1,
                             .pad_top = 1,
                             .pad_bottom = 1,
                             .pad_left = 1,
                             .pad_right = 1};
    switch (s->kind) {
    case CAUSAL: d.kt = 3, d.causal = 1; break;
    case MEMORY: d.kt = 2, d.causal = 1; break;
    case FLAT: break;
    case UP: d.upsample = 1; break;
    case DOWN: d.sh = d.sw = 2, d.pad_top = d.pad_left = 0; break;
    default:
        d.kh = d.kw = 1;
        d.pad_top = d.pad_bottom = d.pad_left = d.pad_right = 0;
        d.kt = s->kind == POINT ? 1 : 3;
        d.causal = s->kind == TIME;
        d.st = s->kind == TIME_DOWN ? 2 : 1;
    }
    return d;
}

struct made {
    struct kt_conv_desc d;
    struct kt_conv_args a;
    size_t out;
    double flop;
};

static void make(struct ck_run *r, const struct shape *s, struct made *m)
{
    struct kt_conv_desc d = desc_of(s);
    const int up = d.upsample ? 2 : 1, taps = d.kt * d.kh * d.kw;
    const int t_out = d.causal ? s->t : (s->t - d.kt) / d.st + 1;
    const int h_out = (up * s->h + d.pad_top + d.pad_bottom - d.kh) / d.sh + 1;
    const int w_out = (up * s->w + d.pad_left + d.pad_right - d.kw) / d.sw + 1;
    const size_t frame = (size_t)s->h * s->w * s->c_in;
    m->out = (size_t)t_out * h_out * w_out * s->c_out;
    m->flop = 2.0 * taps * s->c_in * (double)m->out;
    d.weight =
        ck_weights(r, (size_t)s->c_out * s->c_in * taps, 1.0f / sqrtf((float)(s->c_in * taps)));
    d.bias = s->kind == FLAT ? NULL : ck_weights(r, (size_t)s->c_out, 0.1f);
    m->d = d;
    m->a = (struct kt_conv_args){
        .x = ck_input(r, frame * s->t, 1.0f),
        .past = s->past ? ck_input(r, frame * (d.kt - 1), 1.0f) : NULL,
        .residual = s->residual ? ck_input(r, m->out, 1.0f) : NULL,
        .t_in = s->t,
        .h = s->h,
        .w = s->w,
        .relu = s->relu,
    };
}

static void name(char *text, size_t cap, const struct shape *s)
{
    static const char *const kinds[] = {"3x3x3", "2x3x3",  "3x3",   "1x1",
                                        "down",  "up 3x3", "3x1x1", "3x1x1/2"};
    snprintf(text, cap, "%s %d->%d t%d %dx%d", kinds[s->kind], s->c_in, s->c_out, s->t, s->h, s->w);
}

static void check_shape(struct ck *c, const struct shape *s, enum ck_fill fill)
{
    char text[64];
    name(text, sizeof(text), s);
    struct ck_run *r = ck_begin(c, "conv", text, fill);
    struct made m;
    make(r, s, &m);
    float *want = ck_floats(r, m.out), *got = ck_floats(r, m.out);
    struct kt_conv *ref = NULL, *conv = NULL;
    ck_status(r, c->ref.conv_create(&ref, c->ref_q, &m.d));
    ck_status(r, c->level.conv_create(&conv, c->q, &m.d));
    if (ref && conv) {
        m.a.y = want;
        ck_status(r, c->ref.conv(c->ref_q, ref, &m.a));
        m.a.y = got;
        ck_status(r, c->level.conv(c->q, conv, &m.a));
        ck_compare(r, want, got, m.out);
    }
    c->ref.conv_destroy(&ref);
    c->level.conv_destroy(&conv);
    ck_end(r);
}

struct timed {
    struct ck *c;
    struct kt_conv *conv;
    struct kt_conv_args a;
};

static void call(void *ctx)
{
    struct timed *t = ctx;
    t->c->level.conv(t->c->q, t->conv, &t->a);
}

static void time_shape(struct ck *c, const struct shape *s)
{
    char text[64];
    name(text, sizeof(text), s);
    struct ck_run *r = ck_begin(c, "conv", text, CK_NORMAL);
    struct made m;
    make(r, s, &m);
    m.a.y = ck_floats(r, m.out);
    struct timed t = {.c = c, .a = m.a};
    if (c->level.conv_create(&t.conv, c->q, &m.d) == 0) {
        ck_time(c, &(struct ck_bench){"conv", text, m.flop, s->per_block, call, &t});
        c->level.conv_destroy(&t.conv);
    }
    ck_end(r);
}

void check_conv(struct ck *c)
{
    if (c->bench) {
        for (size_t i = 0; i < sizeof(demo) / sizeof(demo[0]); i++) {
            time_shape(c, &demo[i]);
        }
        return;
    }
    for (size_t i = 0; !c->quick && i < sizeof(demo) / sizeof(demo[0]); i++) {
        check_shape(c, &demo[i], CK_NORMAL);
    }
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        for (int fill = 0; fill < ck_fills(c, 0); fill++) {
            check_shape(c, &shapes[i], (enum ck_fill)fill);
        }
    }
}
