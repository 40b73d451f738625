#include "kernels/cpu/ref.h"

#include <errno.h>
#include <stdlib.h>

void kt_ref_linear_destroy(struct kt_linear **l)
{
    if (!l || !*l) {
        return;
    }
    free((*l)->weight);
    free((*l)->bias);
    free(*l);
    *l = NULL;
}

/* [n, k] as checkpoints have it to [k, n] */
static int load_transposed(struct kt_linear *l, const struct kt_linear_desc *d)
{
    const size_t n = (size_t)d->n, k = (size_t)d->k;
    float *given = kt_cpu_alloc(n * k * sizeof(float));
    l->weight = kt_cpu_alloc(n * k * sizeof(float));
    int rc = given && l->weight ? kt_cpu_to_f32(given, d->weight, d->dtype, n * k) : -ENOMEM;
    for (size_t i = 0; rc == 0 && i < k; i++) {
        for (size_t j = 0; j < n; j++) {
            l->weight[i * n + j] = given[j * k + i];
        }
    }
    free(given);
    return rc;
}

int kt_ref_linear_create(struct kt_linear **l, struct kt_queue *q, const struct kt_linear_desc *d)
{
    if (!l || !q || !d || d->n < 1 || d->k < 1 || !d->weight) {
        return -EINVAL;
    }
    struct kt_linear *made = calloc(1, sizeof(*made));
    if (!made) {
        return -ENOMEM;
    }
    made->n = d->n;
    made->k = d->k;
    int rc = load_transposed(made, d);
    if (rc == 0 && d->bias) {
        made->bias = kt_cpu_alloc((size_t)d->n * sizeof(float));
        rc = made->bias ? kt_cpu_to_f32(made->bias, d->bias, d->dtype, (size_t)d->n) : -ENOMEM;
    }
    if (rc != 0) {
        kt_ref_linear_destroy(&made);
        return rc;
    }
    *l = made;
    return 0;
}

static float activate(double x, enum kt_act act)
{
    switch (act) {
    case KT_ACT_GELU_TANH: return (float)kt_ref_gelu_tanh(x);
    case KT_ACT_SILU: return (float)kt_ref_silu(x);
    default: return (float)x;
    }
}

int kt_ref_linear(struct kt_queue *q, const struct kt_linear *l, const struct kt_linear_args *a)
{
    const int n = l->n, k = l->k;
    const int ld_x = a->ld_x ? a->ld_x : k, ld_y = a->ld_y ? a->ld_y : n;
    if (a->m < 0 || ld_x < k || ld_y < n) {
        return -EINVAL;
    }
    double *sum = kt_queue_workspace(q, (size_t)n * sizeof(double));
    if (!sum) {
        return -ENOMEM;
    }
    q->stats.launches++;
    for (int r = 0; r < a->m; r++) {
        const float *x = (const float *)a->x + (size_t)r * ld_x;
        float *y = (float *)a->y + (size_t)r * ld_y;
        for (int j = 0; j < n; j++) {
            sum[j] = l->bias ? l->bias[j] : 0.0;
        }
        for (int i = 0; i < k; i++) {
            const float *w = l->weight + (size_t)i * n;
            for (int j = 0; j < n; j++) {
                sum[j] += (double)x[i] * w[j];
            }
        }
        for (int j = 0; j < n; j++) {
            y[j] = activate(sum[j], a->act);
        }
    }
    return 0;
}
