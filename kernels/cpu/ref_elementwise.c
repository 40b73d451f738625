#include "kernels/cpu/ref.h"

#include <errno.h>
#include <math.h>

double kt_ref_gelu_tanh(double x)
{
    const double sqrt_2_over_pi = 0.79788456080286535588;
    return 0.5 * x * (1.0 + tanh(sqrt_2_over_pi * (x + 0.044715 * x * x * x)));
}

double kt_ref_silu(double x)
{
    return x / (1.0 + exp(-x));
}

int kt_ref_residual(struct kt_queue *q, const struct kt_residual_args *a)
{
    if (a->m < 0 || a->dim < 1 || (a->gate && a->rows_per_group < 1)) {
        return -EINVAL;
    }
    q->stats.launches++;
    for (int r = 0; r < a->m; r++) {
        float *x = (float *)a->x + (size_t)r * a->dim;
        const float *y = (const float *)a->y + (size_t)r * a->dim;
        const float *gate = a->gate ? a->gate + (size_t)(r / a->rows_per_group) * a->ld_mod : NULL;
        for (int i = 0; i < a->dim; i++) {
            x[i] = (float)(x[i] + (gate ? gate[i] : 1.0) * y[i]);
        }
    }
    return 0;
}

int kt_ref_mul_gelu(struct kt_queue *q, void *y, const void *a, const void *b, size_t n)
{
    q->stats.launches++;
    for (size_t i = 0; i < n; i++) {
        ((float *)y)[i] = (float)(((const float *)a)[i] * kt_ref_gelu_tanh(((const float *)b)[i]));
    }
    return 0;
}

int kt_ref_tanh3(struct kt_queue *q, void *y, const void *x, size_t n)
{
    q->stats.launches++;
    for (size_t i = 0; i < n; i++) {
        ((float *)y)[i] = (float)(tanh(((const float *)x)[i] / 3.0) * 3.0);
    }
    return 0;
}

int kt_ref_relu(struct kt_queue *q, void *y, const void *x, size_t n)
{
    q->stats.launches++;
    for (size_t i = 0; i < n; i++) {
        const float v = ((const float *)x)[i];
        ((float *)y)[i] = v < 0.0f ? 0.0f : v;
    }
    return 0;
}

int kt_ref_sample_step(struct kt_queue *q, const struct kt_sample_step_args *a)
{
    if (a->n < 0) {
        return -EINVAL;
    }
    q->stats.launches++;
    for (int i = 0; i < a->n; i++) {
        const double x0 = a->x[i] - (double)a->sigma * a->v[i];
        const double next = (double)a->sigma_next;
        a->x[i] = (float)(a->noise ? (1.0 - next) * x0 + next * a->noise[i] : x0);
    }
    return 0;
}
