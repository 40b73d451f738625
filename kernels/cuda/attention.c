/* Attention: the fast kernels take the shapes they know; heads too wide for them (the VAE's middle:
 * one head of 384, 6240 pixels squared) and everything large in fp32 go through two matrix products
 * with a softmax between; the rest goes to the generic kernel. */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/matmul.h"

#include <errno.h>

enum {
    WIDE_HEAD = 128,            /* beyond this, and in fp32, the generic kernel is slow */
    WIDE_PAIRS = 256 * 256,     /* and this is where that starts to matter */
    LOGIT_BYTES_MAX = 160 << 20 /* of logits kept at a time */
};

/* One head, `rows` queries from `row` on: logits in fp32 in the scratch, probabilities in [act]
 * behind them. */
static int wide_rows(struct kt_queue *q, const struct kt_attention_args *a, int head, int row,
                     int rows, char *scratch)
{
    const size_t act = ktc_act_size(q), at = (size_t)head * (size_t)a->head_dim;
    const int ld_p = (a->tk + 7) / 8 * 8;
    float *logits = (float *)(void *)scratch;
    void *p = q->bf16 ? (void *)(logits + (size_t)rows * (size_t)ld_p) : logits;
    const struct ktc_product qk = {.x = (const char *)a->q +
                                        ((size_t)row * (size_t)a->ld_q + at) * act,
                                   .w = (const char *)a->k + at * act,
                                   .y = logits,
                                   .m = rows,
                                   .n = a->tk,
                                   .k = a->head_dim,
                                   .ld_x = a->ld_q,
                                   .ld_w = a->ld_k,
                                   .ld_y = ld_p,
                                   .bf16 = q->bf16,
                                   .y_f32 = 1,
                                   .alpha = 1.0f};
    const struct ktc_product pv = {.x = p,
                                   .w = (const char *)a->v + at * act,
                                   .y = (char *)a->y + ((size_t)row * (size_t)a->ld_y + at) * act,
                                   .m = rows,
                                   .n = a->head_dim,
                                   .k = a->tk,
                                   .ld_x = ld_p,
                                   .ld_w = a->ld_v,
                                   .ld_y = a->ld_y,
                                   .bf16 = q->bf16,
                                   .w_is_kn = 1,
                                   .alpha = 1.0f};
    int rc = ktc_matmul(q, &qk);
    if (rc == 0) {
        rc = ktc_launched(
            q,
            ktc_softmax(q->stream, q->bf16, p, logits, rows, a->tk, ld_p, a->scale, a->tail_logit),
            "softmax");
    }
    return rc < 0 ? rc : ktc_matmul(q, &pv);
}

static int wide(struct kt_queue *q, const struct kt_attention_args *a)
{
    const size_t row_bytes = (size_t)((a->tk + 7) / 8 * 8) * (q->bf16 ? 6 : 4);
    const size_t fit = LOGIT_BYTES_MAX / row_bytes;
    int step = fit < (size_t)a->tq ? (int)fit / 16 * 16 : a->tq;
    step = step < 16 ? 16 : step;
    char *scratch = ktc_scratch(q, (size_t)step * row_bytes);
    int rc = scratch ? 0 : -ENOMEM;
    for (int h = 0; h < a->heads && rc == 0; h++) {
        for (int row = 0; row < a->tq && rc == 0; row += step) {
            rc = wide_rows(q, a, h, row, a->tq - row < step ? a->tq - row : step, scratch);
        }
    }
    return rc;
}

/* The matrix-unit kernels of Hopper; -EOPNOTSUPP where they do not serve. */
static int hopper(struct kt_queue *q, const struct kt_attention_args *a)
{
    const struct ktc_attention c = {.q = a->q,
                                    .k = a->k,
                                    .v = a->v,
                                    .y = a->y,
                                    .ld_q = a->ld_q,
                                    .ld_k = a->ld_k,
                                    .ld_v = a->ld_v,
                                    .ld_y = a->ld_y,
                                    .tq = a->tq,
                                    .tk = a->tk,
                                    .heads = a->heads,
                                    .head_dim = a->head_dim,
                                    .scale = a->scale,
                                    .tail_logit = a->tail_logit,
                                    .work = q->attention_work};
    if (!q->attention_work || a->bias) {
        return -EOPNOTSUPP;
    }
    int rc = ktc_attention_bf16(q->stream, &c);
    q->stats.launches += rc == 0;
    return rc == -EINVAL || rc == -ENOSYS ? -EOPNOTSUPP : rc;
}

static int hopper_f8(struct kt_queue *q, const struct kt_attention_args *a)
{
    const struct ktc_attention_f8 c = {.q = a->q,
                                       .k = a->k,
                                       .vt = a->v,
                                       .y = a->y,
                                       .ld_q = a->ld_q,
                                       .ld_k = a->ld_k,
                                       .ld_vt = a->ld_v,
                                       .ld_y = a->ld_y,
                                       .tq = a->tq,
                                       .tk = a->tk,
                                       .heads = a->heads,
                                       .head_dim = a->head_dim,
                                       .logit_scale = a->scale,
                                       .v_scale = q->ones, /* y is of v's scale */
                                       .y_scale = 1.0f,
                                       .work = q->attention_work};
    if (!q->attention_work || a->bias || a->heads * a->head_dim > KTC_ATTENTION_CHANNELS) {
        return -ENOTSUP;
    }
    int rc = ktc_attention_f8(q->stream, &c);
    q->stats.launches += rc == 0;
    return rc;
}

int ktc_attention(struct kt_queue *q, const struct kt_attention_args *given)
{
    struct kt_attention_args a = *given;
    const int dense = a.heads * a.head_dim;
    a.ld_q = a.ld_q ? a.ld_q : dense;
    a.ld_k = a.ld_k ? a.ld_k : dense;
    a.ld_v = a.ld_v || a.f8 ? a.ld_v : dense;
    a.ld_y = a.ld_y ? a.ld_y : dense;
    if (a.tq < 0 || a.tk < 1 || a.heads < 1 || a.head_dim < 1 || a.head_dim > KTC_HEAD_DIM_MAX ||
        a.ld_q < dense || a.ld_k < dense || a.ld_v < (a.f8 ? a.tk : dense) || a.ld_y < dense) {
        return -EINVAL;
    }
    int rc = ktc_enter(q);
    if (rc < 0 || a.tq == 0) {
        return rc;
    }
    if (a.f8) {
        return hopper_f8(q, &a);
    }
    rc = hopper(q, &a);
    if (rc != -EOPNOTSUPP) {
        return rc;
    }
    if ((a.head_dim > WIDE_HEAD || !q->bf16) && !a.bias && (int64_t)a.tq * a.tk >= WIDE_PAIRS) {
        rc = wide(q, &a);
        if (rc != -EOPNOTSUPP) {
            return rc;
        }
    }
    return ktc_launched(q, ktc_attention_generic(q->stream, q->bf16, &a), "attention");
}
