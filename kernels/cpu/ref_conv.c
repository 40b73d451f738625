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
    free((*c)->winograd);
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

int kt_ref_conv_create(struct kt_conv **c, struct kt_queue *q, const struct kt_conv_desc *d)
{
    if (!c || !q || !d || !kt_conv_desc_is_valid(d)) {
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

/* Frame t of what the filter sees, counted from the first frame before x; NULL: zeros. */
static const float *frame_at(const struct kt_conv *c, const struct kt_conv_args *a, int past, int t)
{
    const size_t frame = (size_t)a->h * a->w * c->d.c_in;
    if (t >= past) {
        return (const float *)a->x + (size_t)(t - past) * frame;
    }
    return a->past ? (const float *)a->past + (size_t)t * frame : NULL;
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

/* Adds the filter's frame `dt` at output pixel (y, x), whose input frame is `frame`; taps outside
 * the picture are zero padding and add nothing. */
static void add_frame(double *sum, const struct kt_conv *c, const struct kt_conv_shape *s,
                      const float *frame, int dt, int y, int x)
{
    const struct kt_conv_desc *d = &c->d;
    const int shift = d->upsample ? 1 : 0, w_stored = s->w_in >> shift;
    const size_t tap_size = (size_t)d->c_in * d->c_out;
    const float *w = c->weight + (size_t)dt * d->kh * d->kw * tap_size;
    for (int dy = 0; dy < d->kh; dy++) {
        for (int dx = 0; dx < d->kw; dx++, w += tap_size) {
            const int iy = y * d->sh + dy - d->pad_top, ix = x * d->sw + dx - d->pad_left;
            if (iy < 0 || iy >= s->h_in || ix < 0 || ix >= s->w_in) {
                continue;
            }
            const size_t pixel = (size_t)(iy >> shift) * w_stored + (ix >> shift);
            add_tap(sum, frame + pixel * d->c_in, w, d->c_in, d->c_out);
        }
    }
}

static void sum_pixel(double *sum, const struct kt_conv *c, const struct kt_conv_args *a,
                      const struct kt_conv_shape *s, const int at[3])
{
    for (int o = 0; o < c->d.c_out; o++) {
        sum[o] = c->bias ? c->bias[o] : 0.0;
    }
    for (int dt = 0; dt < c->d.kt; dt++) {
        const float *frame = frame_at(c, a, s->past, at[0] * c->d.st + dt);
        if (frame) {
            add_frame(sum, c, s, frame, dt, at[1], at[2]);
        }
    }
}

int kt_ref_conv(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a)
{
    struct kt_conv_shape s;
    const int rc = kt_conv_shape_of(&s, &c->d, a), c_out = c->d.c_out;
    if (rc != 0) {
        return rc;
    }
    double *sum = kt_queue_workspace(q, (size_t)c_out * sizeof(double));
    if (!sum) {
        return -ENOMEM;
    }
    q->stats.launches++;
    float *out = a->y;
    const float *residual = a->residual;
    for (int t = 0; t < s.t_out; t++) {
        for (int y = 0; y < s.h_out; y++) {
            for (int x = 0; x < s.w_out; x++) {
                sum_pixel(sum, c, a, &s, (const int[3]){t, y, x});
                const size_t at = (((size_t)t * s.h_out + y) * s.w_out + x) * c_out;
                for (int o = 0; o < c_out; o++) {
                    const double v = sum[o] + (residual ? residual[at + o] : 0.0);
                    out[at + o] = (float)(a->relu && v < 0.0 ? 0.0 : v);
                }
            }
        }
    }
    return 0;
}
