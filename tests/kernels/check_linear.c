#include "tests/kernels/checkkern.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct shape {
    int m, k, n, pad; /* pad: elements between rows of x and y */
    enum kt_act act;
    double per_block; /* calls in one block of the demo model, 0: not timed */
};

static const struct shape shapes[] = {
    {1, 1, 1, 0, KT_ACT_NONE, 0},
    {1, 256, 256, 0, KT_ACT_SILU, 0},
    {16, 7, 5, 2, KT_ACT_GELU_TANH, 0},
    {13, 33, 31, 1, KT_ACT_NONE, 0},
    {17, 513, 47, 0, KT_ACT_SILU, 0}, /* a depth block and one */
    {85, 1025, 100, 3, KT_ACT_GELU_TANH, 0},
    {40, 128, 256, 0, KT_ACT_NONE, 0},
    {252, 64, 256, 0, KT_ACT_NONE, 4},
    {252, 256, 64, 0, KT_ACT_NONE, 4},
    {252, 256, 256, 0, KT_ACT_NONE, 5 * 8 * 3},
    {252, 256, 768, 0, KT_ACT_NONE, 5 * 8},
    {252, 256, 1024, 0, KT_ACT_GELU_TANH, 5 * 8},
    {252, 1024, 256, 0, KT_ACT_NONE, 5 * 8},
    {96, 1536, 1536, 0, KT_ACT_NONE, 0},
};

/* A row must not depend on how many rows come with it, nor on the thread count. */
static void check_invariance(struct ck *c, struct ck_run *r, const struct kt_linear *l,
                             const struct kt_linear_args *a, int n)
{
    const int ld = a->ld_y ? a->ld_y : n, row = a->m / 2;
    const int ld_x = a->ld_x;
    float *one = ck_floats(r, (size_t)n);
    struct kt_linear_args single = *a;
    single.x = (const float *)a->x + (size_t)row * ld_x;
    single.y = one;
    single.m = 1;
    single.ld_y = 0;
    ck_status(r, c->level.linear(c->q, l, &single));
    ck_same(r, (const float *)a->y + (size_t)row * ld, one, (size_t)n * sizeof(float),
            "a row alone has other bits than among others");
}

/* All rows at once: in a single short row of large values cancellation may leave only rounding. */
static void compare_rows(struct ck_run *r, const float *want, const float *got,
                         const struct shape *s, int ld)
{
    const size_t n = (size_t)s->n;
    float *dense[2] = {ck_floats(r, n * s->m), ck_floats(r, n * s->m)};
    for (int i = 0; i < s->m; i++) {
        memcpy(dense[0] + n * i, want + (size_t)i * ld, n * sizeof(float));
        memcpy(dense[1] + n * i, got + (size_t)i * ld, n * sizeof(float));
        if (i + 1 < s->m) { /* the gap between rows stays poisoned in both */
            ck_same(r, want + (size_t)i * ld + n, got + (size_t)i * ld + n,
                    (size_t)s->pad * sizeof(float), "wrote between rows");
        }
    }
    ck_compare(r, dense[0], dense[1], n * s->m);
}

static void check_shape(struct ck *c, const struct shape *s, enum ck_fill fill)
{
    char text[64];
    snprintf(text, sizeof(text), "m%d k%d n%d act%d", s->m, s->k, s->n, (int)s->act);
    struct ck_run *r = ck_begin(c, "linear", text, fill);
    const int ld_x = s->k + s->pad, ld_y = s->n + s->pad;
    const size_t out = (size_t)(s->m - 1) * ld_y + s->n;
    float *x = ck_input(r, (size_t)(s->m - 1) * ld_x + s->k, 1.0f);
    float *w = ck_weights(r, (size_t)s->n * s->k, 1.0f / sqrtf((float)s->k));
    float *b = s->n % 2 ? NULL : ck_weights(r, (size_t)s->n, 0.1f);
    float *want = ck_floats(r, out), *got = ck_floats(r, out);
    const struct kt_linear_desc d = {s->n, s->k, KT_F32, w, b, 0};
    struct kt_linear *ref = NULL, *l = NULL;
    ck_status(r, c->ref.linear_create(&ref, c->ref_q, &d));
    ck_status(r, c->level.linear_create(&l, c->q, &d));
    struct kt_linear_args a = {x, want, s->m, ld_x, ld_y, s->act, 0, 0};
    ck_status(r, c->ref.linear(c->ref_q, ref, &a));
    a.y = got;
    ck_status(r, c->level.linear(c->q, l, &a));
    compare_rows(r, want, got, s, ld_y);
    if (strcmp(c->level_name, "dnnl") != 0 &&
        !c->cuda) { /* promises the same bits for the same shape only */
        check_invariance(c, r, l, &a, s->n);
    }
    c->ref.linear_destroy(&ref);
    c->level.linear_destroy(&l);
    ck_end(r);
}

struct timed {
    struct ck *c;
    struct kt_linear *l;
    struct kt_linear_args a;
};

static void call(void *ctx)
{
    struct timed *t = ctx;
    t->c->level.linear(t->c->q, t->l, &t->a);
}

static void time_shape(struct ck *c, const struct shape *s)
{
    char text[64];
    snprintf(text, sizeof(text), "m%d k%d n%d%s", s->m, s->k, s->n, s->act ? " gelu" : "");
    struct ck_run *r = ck_begin(c, "linear", text, CK_NORMAL);
    float *w = ck_weights(r, (size_t)s->n * s->k, 0.1f), *b = ck_weights(r, (size_t)s->n, 0.1f);
    const struct kt_linear_desc d = {s->n, s->k, KT_F32, w, b, 0};
    struct timed t = {.c = c,
                      .a = {.x = ck_input(r, (size_t)s->m * s->k, 1.0f),
                            .y = ck_floats(r, (size_t)s->m * s->n),
                            .m = s->m,
                            .act = s->act}};
    if (c->level.linear_create(&t.l, c->q, &d) == 0) {
        ck_time(c, &(struct ck_bench){"linear", text, 2.0 * s->m * s->k * s->n, s->per_block, call,
                                      &t});
        c->level.linear_destroy(&t.l);
    }
    ck_end(r);
}

void check_linear(struct ck *c)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        if (c->bench) {
            if (shapes[i].m >= 96) {
                time_shape(c, &shapes[i]);
            }
            continue;
        }
        const double products = (double)shapes[i].m * shapes[i].k * shapes[i].n;
        for (int fill = 0; fill < ck_fills(c, products); fill++) {
            check_shape(c, &shapes[i], (enum ck_fill)fill);
        }
    }
}
