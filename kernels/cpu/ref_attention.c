#include "kernels/cpu/ref.h"

#include <errno.h>
#include <math.h>

struct row { /* one query of one head */
    const float *q, *k, *v, *bias;
    float *y;
};

/* p[tk] = softmax of the row's logits */
static void softmax_logits(double *p, const struct row *row, const struct kt_attention_args *a,
                           int ld_k)
{
    double max = -INFINITY, sum = 0.0;
    for (int j = 0; j < a->tk; j++) {
        double dot = 0.0;
        for (int i = 0; i < a->head_dim; i++) {
            dot += (double)row->q[i] * row->k[(size_t)j * ld_k + i];
        }
        p[j] = dot * a->scale + (row->bias ? row->bias[j] : 0.0);
        p[j] += j == a->tk - 1 ? a->tail_logit : 0.0;
        max = p[j] > max ? p[j] : max;
    }
    for (int j = 0; j < a->tk; j++) {
        p[j] = exp(p[j] - max);
        sum += p[j];
    }
    for (int j = 0; j < a->tk; j++) {
        p[j] /= sum;
    }
}

/* y[head_dim] = p[tk] v[tk, head_dim]; `sum` is head_dim doubles of scratch */
static void weigh_values(const struct row *row, double *sum, const double *p,
                         const struct kt_attention_args *a, int ld_v)
{
    for (int i = 0; i < a->head_dim; i++) {
        sum[i] = 0.0;
    }
    for (int j = 0; j < a->tk; j++) {
        for (int i = 0; i < a->head_dim; i++) {
            sum[i] += p[j] * row->v[(size_t)j * ld_v + i];
        }
    }
    for (int i = 0; i < a->head_dim; i++) {
        row->y[i] = (float)sum[i];
    }
}

int kt_ref_attention(struct kt_queue *q, const struct kt_attention_args *a)
{
    const int dense = a->heads * a->head_dim;
    const int ld_q = a->ld_q ? a->ld_q : dense, ld_k = a->ld_k ? a->ld_k : dense;
    const int ld_v = a->ld_v ? a->ld_v : dense, ld_y = a->ld_y ? a->ld_y : dense;
    if (a->tq < 0 || a->tk < 1 || a->heads < 1 || a->head_dim < 1 || ld_q < dense || ld_k < dense ||
        ld_v < dense || ld_y < dense) {
        return -EINVAL;
    }
    double *p = kt_queue_workspace(q, ((size_t)a->tk + a->head_dim) * sizeof(double));
    if (!p) {
        return -ENOMEM;
    }
    q->stats.launches++;
    for (int h = 0; h < a->heads; h++) {
        const size_t head = (size_t)h * a->head_dim;
        for (int r = 0; r < a->tq; r++) {
            const size_t bias_row = ((size_t)h * a->tq + r) * a->tk;
            const struct row row = {
                .q = (const float *)a->q + (size_t)r * ld_q + head,
                .k = (const float *)a->k + head,
                .v = (const float *)a->v + head,
                .bias = a->bias ? a->bias + bias_row : NULL,
                .y = (float *)a->y + (size_t)r * ld_y + head,
            };
            softmax_logits(p, &row, a, ld_k);
            weigh_values(&row, p + a->tk, p, a, ld_v);
        }
    }
    return 0;
}
