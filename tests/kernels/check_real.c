/* The shapes of LongLive-1.3B and UMT5-XXL at 832x480. All rows run on the card; the reference
 * computes some of them: the first, the last, those at tile borders, and some between. */
#include "tests/kernels/checkkern.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SAMPLES = 24 };

static int sample_rows(int rows[SAMPLES], int m)
{
    static const int wanted[] = {0, 1, 15, 16, 31, 63, 64, 127, 128, 129, 191, 255, 256, 511};
    int n = 0;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        if (wanted[i] < m) {
            rows[n++] = wanted[i];
        }
    }
    for (int i = 0; n < SAMPLES && i < 8 && m > 512; i++) {
        rows[n++] = 600 + (int)((int64_t)(m - 601) * i / 7);
    }
    if (n < SAMPLES && rows[n - 1] != m - 1) {
        rows[n++] = m - 1;
    }
    return n;
}

static float *gather(struct ck_run *r, const float *x, const int *rows, int n, size_t width)
{
    float *y = ck_floats(r, (size_t)n * width);
    for (int i = 0; i < n; i++) {
        memcpy(y + (size_t)i * width, x + (size_t)rows[i] * width, width * sizeof(*x));
    }
    return y;
}

struct matrix {
    int m, k, n, y_f32;
    enum kt_act act;
};

static const struct matrix matrices[] = {
    {4680, 1536, 4608, 0, KT_ACT_NONE}, {1560, 1536, 4608, 0, KT_ACT_NONE},
    {4680, 1536, 1536, 0, KT_ACT_NONE}, {4680, 1536, 8960, 0, KT_ACT_GELU_TANH},
    {4680, 8960, 1536, 0, KT_ACT_NONE}, {4680, 64, 1536, 1, KT_ACT_NONE},
    {4680, 1536, 64, 1, KT_ACT_NONE},   {48, 4096, 1536, 0, KT_ACT_GELU_TANH},
    {1, 4096, 4096, 0, KT_ACT_NONE},    {17, 4096, 4096, 0, KT_ACT_NONE},
    {40, 4096, 3072, 0, KT_ACT_NONE},   {41, 10240, 1024, 0, KT_ACT_NONE},
    {6240, 384, 1152, 0, KT_ACT_NONE},
};

static void check_matrix(struct ck *c, const struct matrix *s)
{
    char text[64];
    int rows[SAMPLES];
    snprintf(text, sizeof(text), "m%d k%d n%d act%d%s", s->m, s->k, s->n, (int)s->act,
             s->y_f32 ? " to fp32" : "");
    struct ck_run *r = ck_begin(c, "linear", text, CK_NORMAL);
    const int n = sample_rows(rows, s->m);
    float *x = ck_uniform(r, (size_t)s->m * s->k, 1.7f);
    float *w = ck_uniform(r, (size_t)s->n * s->k, 1.7f / sqrtf((float)s->k));
    float *b = ck_uniform(r, (size_t)s->n, 0.2f), *got = ck_floats(r, (size_t)s->m * s->n);
    float *few = gather(r, x, rows, n, (size_t)s->k), *want = ck_floats(r, (size_t)n * s->n);
    const struct kt_linear_desc d = {.n = s->n, .k = s->k, .dtype = KT_F32, .weight = w, .bias = b};
    struct kt_linear *ref = NULL, *l = NULL;
    ck_status(r, c->ref.linear_create(&ref, c->ref_q, &d));
    ck_status(r, c->level.linear_create(&l, c->q, &d));
    ck_status(r,
              c->ref.linear(c->ref_q, ref,
                            &(struct kt_linear_args){.x = few, .y = want, .m = n, .act = s->act}));
    ck_status(r,
              c->level.linear(c->q, l,
                              &(struct kt_linear_args){
                                  .x = x, .y = got, .m = s->m, .act = s->act, .y_f32 = s->y_f32}));
    ck_compare(r, want, gather(r, got, rows, n, (size_t)s->n), (size_t)n * s->n);
    size_t unwritten = 0;
    for (size_t i = 0; i < (size_t)s->m * s->n; i++) {
        unwritten += isnan(got[i]) != 0;
    }
    ck_status(r, unwritten > 0 ? -1 : 0);
    c->ref.linear_destroy(&ref);
    c->level.linear_destroy(&l);
    ck_end(r);
}

struct heads {
    int tq, tk, heads, head_dim, packed; /* packed: q, k and v are parts of one row */
    float tail_logit;
};

static const struct heads attentions[] = {
    {4680, 18720, 2, 128, 0, 0},  {4680, 4680, 2, 128, 0, 0}, {1560, 14040, 1, 128, 0, 0},
    {4680, 41, 2, 128, 0, 6.15f}, {4680, 512, 1, 128, 0, 0},  {4680, 2, 1, 128, 0, 6.23f},
    {1560, 1560, 1, 384, 1, 0},   {6240, 6240, 1, 384, 1, 0},
};

static void check_heads(struct ck *c, const struct heads *s)
{
    char text[64];
    int rows[SAMPLES];
    snprintf(text, sizeof(text), "q%d k%d %dx%d", s->tq, s->tk, s->heads, s->head_dim);
    struct ck_run *r = ck_begin(c, "attention", text, CK_NORMAL);
    const int n = sample_rows(rows, s->tq), dense = s->heads * s->head_dim;
    const int ld = s->packed ? 3 * dense : dense;
    const int most = s->tq > s->tk ? s->tq : s->tk;
    float *q = ck_uniform(r, (size_t)(s->packed ? most : s->tq) * ld, 1.7f);
    float *k = s->packed ? q + dense : ck_uniform(r, (size_t)s->tk * ld, 1.7f);
    float *v = s->packed ? q + 2 * dense : ck_uniform(r, (size_t)s->tk * ld, 1.7f);
    float *got = ck_floats(r, (size_t)s->tq * dense), *want = ck_floats(r, (size_t)n * dense);
    struct kt_attention_args a = {.q = gather(r, q, rows, n, (size_t)ld),
                                  .k = k,
                                  .v = v,
                                  .y = want,
                                  .tq = n,
                                  .tk = s->tk,
                                  .heads = s->heads,
                                  .head_dim = s->head_dim,
                                  .ld_q = ld,
                                  .ld_k = ld,
                                  .ld_v = ld,
                                  .scale = 1.0f / sqrtf((float)s->head_dim),
                                  .tail_logit = s->tail_logit};
    ck_status(r, c->ref.attention(c->ref_q, &a));
    a.q = q, a.y = got, a.tq = s->tq;
    ck_status(r, c->level.attention(c->q, &a));
    ck_compare(r, want, gather(r, got, rows, n, (size_t)dense), (size_t)n * dense);
    size_t unwritten = 0;
    for (size_t i = 0; i < (size_t)s->tq * dense; i++) {
        unwritten += isnan(got[i]) != 0;
    }
    ck_status(r, unwritten > 0 ? -1 : 0);
    float *again = ck_floats(r, (size_t)s->tq * dense);
    a.y = again;
    ck_status(r, c->level.attention(c->q, &a));
    ck_same(r, got, again, (size_t)s->tq * dense * sizeof(float), "a second run gives other bits");
    ck_end(r);
}

void check_real(struct ck *c)
{
    if (c->bench) {
        return;
    }
    for (size_t i = 0; i < sizeof(matrices) / sizeof(matrices[0]); i++) {
        check_matrix(c, &matrices[i]);
    }
    for (size_t i = 0; i < sizeof(attentions) / sizeof(attentions[0]); i++) {
        check_heads(c, &attentions[i]);
    }
}
