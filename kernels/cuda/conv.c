/* Convolutions: the fast kernels take the shapes they know; everything else goes to the generic
 * one. */
#include "kernels/cuda/conv.h"
#include "kernels/conv_shape.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/queue.h"

#include <errno.h>
#include <stdlib.h>

void ktc_conv_destroy(struct kt_conv **c)
{
    if (!c || !*c) {
        return;
    }
    ktc_filter_destroy(&(*c)->fast);
    cudaFree((*c)->weight);
    cudaFree((*c)->bias);
    free(*c);
    *c = NULL;
}

/* [c_out, c_in, taps] as checkpoints have it to [taps, c_in, c_out] */
static int load_filter(struct kt_conv *c, struct kt_queue *q, const struct kt_conv_desc *d)
{
    const int taps = d->kt * d->kh * d->kw;
    const size_t n = (size_t)taps * (size_t)d->c_in * (size_t)d->c_out;
    void *given = NULL;
    int rc = ktc_upload_act(q, &given, d->weight, d->dtype, n);
    if (rc == 0) {
        rc = ktc_weights_alloc(q, &c->weight, n * ktc_act_size(q));
    }
    if (rc == 0) {
        rc = ktc_check(q,
                       ktc_turn_filter(q->stream, (int)ktc_act_size(q), c->weight, given, d->c_out,
                                       d->c_in, taps),
                       "preparing a filter");
    }
    rc = rc < 0 ? rc : ktc_queue_sync(q);
    cudaFree(given);
    return rc;
}

/* -EINVAL: the fast kernels do not take this filter. */
static int load_fast(struct kt_conv *c, struct kt_queue *q, const struct kt_conv_desc *d)
{
    int rc = ktc_enter(q);
    if (rc == 0 && (!q->bf16 || q->major != 9 || q->plain || !ktc_filter_takes(d))) {
        rc = -EINVAL;
    }
    if (rc < 0) {
        return rc;
    }
    return d->x_scale > 0 ? ktc_filter_create_f8(&c->fast, q->stream, d)
                          : ktc_filter_create(&c->fast, q->stream, d);
}

int ktc_conv_create(struct kt_conv **c, struct kt_queue *q, const struct kt_conv_desc *d)
{
    if (!c || !q || !d || !kt_conv_desc_is_valid(d) || !ktc_dtype_size(d->dtype)) {
        return -EINVAL;
    }
    struct kt_conv *made = calloc(1, sizeof(*made));
    if (!made) {
        return -ENOMEM;
    }
    made->d = *d;
    made->d.weight = made->d.bias = NULL;
    int rc = load_fast(made, q, d);
    if (rc == -EINVAL && d->x_scale <= 0) {
        rc = load_filter(made, q, d);
    }
    if (rc == 0 && d->bias && !made->fast) {
        rc = ktc_upload_f32(q, &made->bias, d->bias, d->dtype, (size_t)d->c_out);
    }
    if (rc < 0) {
        ktc_conv_destroy(&made);
        return rc;
    }
    const size_t values = (size_t)d->kt * (size_t)d->kh * (size_t)d->kw * (size_t)d->c_in;
    q->stats.bytes_weights +=
        made->fast ? ktc_filter_bytes(made->fast) : values * (size_t)d->c_out * ktc_act_size(q);
    q->stats.bytes_weights += made->bias ? (size_t)d->c_out * sizeof(float) : 0;
    *c = made;
    return 0;
}

static int call_of(struct ktc_conv_call *call, const struct kt_conv *c,
                   const struct kt_conv_args *a)
{
    struct kt_conv_shape s;
    int rc = kt_conv_shape_of(&s, &c->d, a);
    if (rc == 0) {
        *call = (struct ktc_conv_call){.d = &c->d,
                                       .a = a,
                                       .weight = c->weight,
                                       .bias = c->bias,
                                       .past = s.past,
                                       .h_in = s.h_in,
                                       .w_in = s.w_in,
                                       .t_out = s.t_out,
                                       .h_out = s.h_out,
                                       .w_out = s.w_out};
    }
    return rc;
}

int ktc_conv(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a)
{
    struct ktc_conv_call call;
    int rc = call_of(&call, c, a);
    if (rc == 0) {
        rc = ktc_enter(q);
    }
    if (rc == 0 && c->fast) {
        rc = ktc_filter_run(q->stream, c->fast, a);
        return rc < 0 ? rc : ktc_launched(q, cudaSuccess, "convolution");
    }
    return rc < 0 ? rc
                  : ktc_launched(q, ktc_conv_generic(q->stream, q->bf16, &call), "convolution");
}
