#include "tests/kernels/checkkern.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct shape {
    int tq, tk, heads, head_dim, pad, bias;
    float tail_logit;
    double per_block;
};

static const struct shape shapes[] = {
    {1, 1, 1, 1, 0, 0, 0, 0},         {1, 5, 2, 4, 0, 1, 0, 0},
    {3, 7, 2, 10, 3, 1, 2.5f, 0},     {31, 143, 2, 32, 0, 0, 0, 0},
    {33, 145, 1, 128, 5, 0, 0, 0},    {17, 289, 3, 64, 0, 0, 6.2f, 0},
    {40, 40, 4, 32, 0, 1, 0, 0},      {252, 41, 4, 64, 0, 0, 4.6f, 5 * 8},
    {252, 252, 4, 64, 512, 0, 0, 0},  {252, 1008, 4, 64, 0, 0, 0, 5 * 8},
    {336, 336, 1, 64, 128, 0, 0, 3}, /* the VAE's middle block reads one packed qkv */
    {20, 31, 1, 384, 0, 0, 0, 0},     {33, 70, 2, 200, 8, 0, 1.5f, 0},
    {300, 290, 1, 384, 768, 0, 0, 0},
};

static void make(struct ck_run *r, const struct shape *s, struct kt_attention_args *a)
{
    const int dense = s->heads * s->head_dim, ld = dense + s->pad;
    *a = (struct kt_attention_args){
        .q = ck_input(r, (size_t)(s->tq - 1) * ld + dense, 1.0f),
        .k = ck_input(r, (size_t)(s->tk - 1) * ld + dense, 1.0f),
        .v = ck_input(r, (size_t)(s->tk - 1) * ld + dense, 1.0f),
        .tq = s->tq,
        .tk = s->tk,
        .heads = s->heads,
        .head_dim = s->head_dim,
        .ld_q = ld,
        .ld_k = ld,
        .ld_v = ld,
        .bias = s->bias ? ck_weights(r, (size_t)s->heads * s->tq * s->tk, 1.0f) : NULL,
        .scale = 1.0f / sqrtf((float)s->head_dim),
        .tail_logit = s->tail_logit,
    };
}

/* A query must not depend on how many come with it. */
static void check_invariance(struct ck *c, struct ck_run *r, const struct kt_attention_args *a)
{
    if (a->bias || c->cuda) { /* on cards the kernel is chosen by the number of queries */
        return;
    }
    const int row = a->tq / 2, dense = a->heads * a->head_dim;
    float *one = ck_floats(r, (size_t)dense);
    struct kt_attention_args single = *a;
    single.q = (const float *)a->q + (size_t)row * a->ld_q;
    single.tq = 1;
    single.y = one;
    ck_status(r, c->level.attention(c->q, &single));
    ck_same(r, (const float *)a->y + (size_t)row * dense, one, (size_t)dense * sizeof(float),
            "a query alone has other bits than among others");
}

static void check_shape(struct ck *c, const struct shape *s, enum ck_fill fill)
{
    char text[64];
    snprintf(text, sizeof(text), "q%d k%d %dx%d", s->tq, s->tk, s->heads, s->head_dim);
    struct ck_run *r = ck_begin(c, "attention", text, fill);
    struct kt_attention_args a;
    make(r, s, &a);
    if (fill == CK_LARGE) {
        a.scale *= 2e-8f; /* logits to 10: beyond, one sees only how a logit was rounded */
    } else if (fill == CK_MIXED) {
        a.scale *= 1e-3f;
    }
    const size_t n = (size_t)s->tq * s->heads * s->head_dim;
    float *want = ck_floats(r, n), *got = ck_floats(r, n);
    a.y = want;
    ck_status(r, c->ref.attention(c->ref_q, &a));
    a.y = got;
    ck_status(r, c->level.attention(c->q, &a));
    ck_compare(r, want, got, n);
    check_invariance(c, r, &a);
    ck_end(r);
}

struct timed {
    struct ck *c;
    struct kt_attention_args a;
};

static void call(void *ctx)
{
    struct timed *t = ctx;
    t->c->level.attention(t->c->q, &t->a);
}

static void time_shape(struct ck *c, const struct shape *s)
{
    char text[64];
    snprintf(text, sizeof(text), "q%d k%d %dx%d", s->tq, s->tk, s->heads, s->head_dim);
    struct ck_run *r = ck_begin(c, "attention", text, CK_NORMAL);
    struct timed t = {.c = c};
    make(r, s, &t.a);
    t.a.y = ck_floats(r, (size_t)s->tq * s->heads * s->head_dim);
    const double flop = 4.0 * s->tq * (double)s->tk * s->heads * s->head_dim;
    ck_time(c, &(struct ck_bench){"attention", text, flop, s->per_block, call, &t});
    ck_end(r);
}

void check_attention(struct ck *c)
{
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        if (c->bench) {
            if (shapes[i].per_block > 0) {
                time_shape(c, &shapes[i]);
            }
            continue;
        }
        const struct shape *s = &shapes[i];
        const double products = 2.0 * s->tq * s->tk * s->heads * s->head_dim;
        for (int fill = 0; fill < ck_fills(c, products); fill++) {
            check_shape(c, &shapes[i], (enum ck_fill)fill);
        }
    }
}
