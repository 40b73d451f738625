#include "kernels/cpu/ref.h"

#include <errno.h>
#include <stdlib.h>

void kt_ref_conv_destroy(struct kt_conv **c)
{
    if (!c || !*c) {
        return;
    }
    free((*c)->weight);
    free((*c)->bias);
    free(*c);
    *c = NULL;
}

/* [c_out, c_in, taps] as checkpoints have it to [taps, c_in, c_out] */
static int load_channels_last(struct kt_conv *c, const struct kt_conv_desc *d)
{
    const size_t taps = (size_t)d->kt * d->kh * d->kw, n = taps * d->c_in * d->c_out;
    float *given = kt_cpu_alloc(n * sizeof(float));
    c->weight = kt_cpu_alloc(n * sizeof(float));
    int rc = given && c->weight ? kt_cpu_to_f32(given, d->weight, d->dtype, n) : -ENOMEM;
    for (size_t tap = 0; rc == 0 && tap < taps; tap++) {
        for (size_t i = 0; i < (size_t)d->c_in; i++) {
            for (size_t o = 0; o < (size_t)d->c_out; o++) {
                c->weight[(tap * d->c_in + i) * d->c_out + o] =
                    given[(o * d->c_in + i) * taps + tap];
            }
        }
    }
    free(given);
    return rc;
}

static int desc_is_valid(const struct kt_conv_desc *d)
{
    return d->c_in > 0 && d->c_out > 0 && d->kt > 0 && d->kh > 0 && d->kw > 0 && d->st > 0 &&
           d->sh > 0 && d->sw > 0 && d->pad_top >= 0 && d->pad_bottom >= 0 && d->pad_left >= 0 &&
           d->pad_right >= 0 && d->weight;
}

int kt_ref_conv_create(struct kt_conv **c, struct kt_queue *q, const struct kt_conv_desc *d)
{
    if (!c || !q || !d || !desc_is_valid(d)) {
        return -EINVAL;
    }
    struct kt_conv *made = calloc(1, sizeof(*made));
    if (!made) {
        return -ENOMEM;
    }
    made->d = *d;
    made->d.weight = made->d.bias = NULL;
    int rc = load_channels_last(made, d);
    if (rc == 0 && d->bias) {
        made->bias = kt_cpu_alloc((size_t)d->c_out * sizeof(float));
        rc = made->bias ? kt_cpu_to_f32(made->bias, d->bias, d->dtype, (size_t)d->c_out) : -ENOMEM;
    }
    if (rc != 0) {
        kt_ref_conv_destroy(&made);
        return rc;
    }
    *c = made;
    return 0;
}

/* Adds one tap of one output pixel: sum[c_out] += x[c_in] * w[c_in, c_out]. */
static void add_tap(double *sum, const float *x, const float *w, int c_in, int c_out)
{
    for (int i = 0; i < c_in; i++) {
        for (int o = 0; o < c_out; o++) {
            sum[o] += (double)x[i] * w[(size_t)i * c_out + o];
        }
    }
}

/* The window of output pixel (t, y, x); taps outside the picture are zero padding and add nothing.
 */
static void sum_pixel(double *sum, const struct kt_conv *c, const struct kt_conv_args *a, int t,
                      int y, int x)
{
    const struct kt_conv_desc *d = &c->d;
    const size_t tap_size = (size_t)d->c_in * d->c_out;
    for (int o = 0; o < d->c_out; o++) {
        sum[o] = c->bias ? c->bias[o] : 0.0;
    }
    const float *w = c->weight;
    for (int dt = 0; dt < d->kt; dt++) {
        for (int dy = 0; dy < d->kh; dy++) {
            for (int dx = 0; dx < d->kw; dx++, w += tap_size) {
                const int it = t * d->st + dt;
                const int iy = y * d->sh + dy - d->pad_top, ix = x * d->sw + dx - d->pad_left;
                if (iy < 0 || iy >= a->h || ix < 0 || ix >= a->w) {
                    continue;
                }
                const size_t pixel = ((size_t)it * a->h + iy) * a->w + ix;
                add_tap(sum, (const float *)a->x + pixel * d->c_in, w, d->c_in, d->c_out);
            }
        }
    }
}

int kt_ref_conv(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a)
{
    const int t_out = kt_conv_out_t(&c->d, a), h_out = kt_conv_out_h(&c->d, a);
    const int w_out = kt_conv_out_w(&c->d, a), c_out = c->d.c_out;
    if (t_out < 1 || h_out < 1 || w_out < 1) {
        return -EINVAL;
    }
    double *sum = kt_queue_workspace(q, (size_t)c_out * sizeof(double));
    if (!sum) {
        return -ENOMEM;
    }
    q->stats.launches++;
    float *out = a->y;
    const float *residual = a->residual;
    for (int t = 0; t < t_out; t++) {
        for (int y = 0; y < h_out; y++) {
            for (int x = 0; x < w_out; x++) {
                sum_pixel(sum, c, a, t, y, x);
                const size_t at = (((size_t)t * h_out + y) * w_out + x) * c_out;
                for (int o = 0; o < c_out; o++) {
                    const double v = sum[o] + (residual ? residual[at + o] : 0.0);
                    out[at + o] = (float)(a->relu && v < 0.0 ? 0.0 : v);
                }
            }
        }
    }
    return 0;
}
