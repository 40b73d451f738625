#include "tests/kernels/checkkern.h"

#include <stdio.h>
#include <string.h>

static void check_residual(struct ck *c, int m, int dim, int gated, enum ck_fill fill)
{
    char text[64];
    snprintf(text, sizeof(text), "m%d dim%d%s", m, dim, gated ? " gated" : "");
    struct ck_run *r = ck_begin(c, "residual", text, fill);
    const size_t n = (size_t)m * dim;
    float *x = ck_input(r, n, 1.0f), *y = ck_input(r, n, 1.0f), *got = ck_copy(r, x, n);
    float *gate = gated ? ck_weights(r, (size_t)m * (dim + 1), 1.0f) : NULL;
    struct kt_residual_args a = {x, y, gate, m, dim, 2, dim + 1, 0};
    ck_status(r, c->ref.residual(c->ref_q, &a));
    a.x = got;
    ck_status(r, c->level.residual(c->q, &a));
    ck_compare(r, x, got, n);
    ck_end(r);
}

static void check_mul_gelu(struct ck *c, size_t n, enum ck_fill fill)
{
    char text[64];
    snprintf(text, sizeof(text), "n%zu", n);
    struct ck_run *r = ck_begin(c, "mul_gelu", text, fill);
    float *a = ck_input(r, n, 1.0f), *b = ck_input(r, n, 2.0f), *want = ck_floats(r, n),
          *got = ck_floats(r, n);
    ck_status(r, c->ref.mul_gelu(c->ref_q, want, a, b, n));
    ck_status(r, c->level.mul_gelu(c->q, got, a, b, n));
    ck_compare(r, want, got, n);
    ck_end(r);
}

static void check_unary(struct ck *c, size_t n, enum ck_fill fill)
{
    char text[64];
    snprintf(text, sizeof(text), "n%zu", n);
    struct ck_run *r = ck_begin(c, "tanh3", text, fill);
    float *x = ck_input(r, n, 2.0f), *want = ck_floats(r, n), *got = ck_floats(r, n);
    ck_status(r, c->ref.tanh3(c->ref_q, want, x, n));
    ck_status(r, c->level.tanh3(c->q, got, x, n));
    ck_compare(r, want, got, n);
    ck_end(r);
    r = ck_begin(c, "exact", "relu", fill);
    x = ck_input(r, n, 2.0f), want = ck_floats(r, n), got = ck_copy(r, x, n);
    ck_status(r, c->ref.relu(c->ref_q, want, x, n));
    ck_status(r, c->level.relu(c->q, got, got, n));
    ck_same(r, want, got, n * sizeof(float), "relu");
    ck_end(r);
}

static void check_sample_step(struct ck *c, int n, int noisy, enum ck_fill fill)
{
    char text[64];
    snprintf(text, sizeof(text), "n%d%s", n, noisy ? " noise" : "");
    struct ck_run *r = ck_begin(c, "sample_step", text, fill);
    float *x = ck_input(r, (size_t)n, 1.0f), *v = ck_input(r, (size_t)n, 1.0f);
    float *got = ck_copy(r, x, (size_t)n), *noise = noisy ? ck_input(r, (size_t)n, 1.0f) : NULL;
    struct kt_sample_step_args a = {x, v, noise, 0.9375f, 0.8333f, n};
    ck_status(r, c->ref.sample_step(c->ref_q, &a));
    a.x = got;
    ck_status(r, c->level.sample_step(c->q, &a));
    ck_compare(r, x, got, (size_t)n);
    ck_end(r);
}

struct timed {
    struct ck *c;
    struct kt_residual_args a;
};

static void call_residual(void *ctx)
{
    struct timed *t = ctx;
    t->c->level.residual(t->c->q, &t->a);
}

void check_elementwise(struct ck *c)
{
    if (c->bench) {
        struct ck_run *r = ck_begin(c, "residual", "bench", CK_NORMAL);
        struct timed t = {c,
                          {ck_weights(r, 252 * 256, 1e-3f), ck_weights(r, 252 * 256, 1e-3f),
                           ck_weights(r, 1536 * 3, 1e-3f), 252, 256, 84, 1536, 0}};
        ck_time(c, &(struct ck_bench){"residual", "m252 dim256 gated", 2.0 * 252 * 256, 5 * 8 * 3,
                                      call_residual, &t});
        ck_end(r);
        return;
    }
    for (int f = 0; f < ck_fills(c, 0); f++) {
        const enum ck_fill fill = (enum ck_fill)f;
        for (int gated = 0; gated < 2; gated++) {
            check_residual(c, 1, 1, gated, fill);
            check_residual(c, 7, 35, gated, fill);
            check_residual(c, 130, 256, gated, fill);
            check_sample_step(c, 1001, gated, fill);
        }
        check_mul_gelu(c, 1, fill);
        check_mul_gelu(c, 33001, fill);
        check_unary(c, 1, fill);
        check_unary(c, 33001, fill);
    }
}
