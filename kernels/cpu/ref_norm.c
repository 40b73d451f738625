#include "kernels/cpu/ref.h"

#include <errno.h>
#include <math.h>

static double sum_of_squares(const float *x, int n, double mean)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) {
        sum += (x[i] - mean) * (x[i] - mean);
    }
    return sum;
}

int kt_ref_layer_norm(struct kt_queue *q, const struct kt_layer_norm_args *a)
{
    if (a->m < 0 || a->dim < 1 || a->rows_per_group < 1 || !a->scale || !a->shift) {
        return -EINVAL;
    }
    q->stats.launches++;
    for (int r = 0; r < a->m; r++) {
        const float *x = (const float *)a->x + (size_t)r * a->dim;
        float *y = (float *)a->y + (size_t)r * a->dim;
        const size_t group = (size_t)(r / a->rows_per_group) * a->ld_mod;
        double mean = 0.0;
        for (int i = 0; i < a->dim; i++) {
            mean += x[i];
        }
        mean /= a->dim;
        const double inv = 1.0 / sqrt(sum_of_squares(x, a->dim, mean) / a->dim + a->eps);
        for (int i = 0; i < a->dim; i++) {
            const double scale = (double)a->scale_one + a->scale[group + i];
            y[i] = (float)((x[i] - mean) * inv * scale + a->shift[group + i]);
        }
    }
    return 0;
}

int kt_ref_rms_norm(struct kt_queue *q, const struct kt_rms_norm_args *a)
{
    const int ld_x = a->ld_x ? a->ld_x : a->dim, ld_y = a->ld_y ? a->ld_y : a->dim;
    if (a->m < 0 || a->dim < 1 || ld_x < a->dim || ld_y < a->dim || !a->weight) {
        return -EINVAL;
    }
    q->stats.launches++;
    for (int r = 0; r < a->m; r++) {
        const float *x = (const float *)a->x + (size_t)r * ld_x;
        float *y = (float *)a->y + (size_t)r * ld_y;
        const double inv = 1.0 / sqrt(sum_of_squares(x, a->dim, 0.0) / a->dim + a->eps);
        for (int i = 0; i < a->dim; i++) {
            y[i] = (float)(x[i] * inv * a->weight[i]);
        }
    }
    return 0;
}

int kt_ref_channel_norm(struct kt_queue *q, const struct kt_channel_norm_args *a)
{
    if (a->pixels < 0 || a->c < 1 || !a->gamma) {
        return -EINVAL;
    }
    q->stats.launches++;
    for (int p = 0; p < a->pixels; p++) {
        const float *x = (const float *)a->x + (size_t)p * a->c;
        float *y = (float *)a->y + (size_t)p * a->c;
        const double norm = sqrt(sum_of_squares(x, a->c, 0.0));
        const double factor = sqrt((double)a->c) / (norm > 1e-12 ? norm : 1e-12);
        for (int i = 0; i < a->c; i++) {
            const double v = x[i] * factor * a->gamma[i];
            y[i] = (float)(a->silu ? kt_ref_silu(v) : v);
        }
    }
    return 0;
}
