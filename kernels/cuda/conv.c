/* Convolutions: the fast kernels take the shapes they know; everything else goes to the generic
 * one. */
#include "kernels/cuda/conv.h"
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

static int desc_is_valid(const struct kt_conv_desc *d)
{
    return d->c_in > 0 && d->c_out > 0 && d->kt > 0 && d->kh > 0 && d->kw > 0 && d->st > 0 &&
           d->sh > 0 && d->sw > 0 && d->pad_top >= 0 && d->pad_bottom >= 0 && d->pad_left >= 0 &&
           d->pad_right >= 0 && d->weight && (!d->causal || d->st == 1) && ktc_dtype_size(d->dtype);
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
    if (!c || !q || !d || !desc_is_valid(d)) {
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
    *c = made;
    return 0;
}

/* -EINVAL where the input is too small for the filter. */
static int call_of(struct ktc_conv_call *s, const struct kt_conv *c, const struct kt_conv_args *a)
{
    const struct kt_conv_desc *d = &c->d;
    if (a->t_in < 1 || a->h < 1 || a->w < 1 || (a->past && !d->causal)) {
        return -EINVAL;
    }
    *s = (struct ktc_conv_call){.d = d,
                                .a = a,
                                .weight = c->weight,
                                .bias = c->bias,
                                .past = d->causal ? d->kt - 1 : 0,
                                .h_in = d->upsample ? 2 * a->h : a->h,
                                .w_in = d->upsample ? 2 * a->w : a->w};
    const int t = a->t_in + s->past - d->kt, h = s->h_in + d->pad_top + d->pad_bottom - d->kh;
    const int w = s->w_in + d->pad_left + d->pad_right - d->kw;
    if (t < 0 || h < 0 || w < 0) {
        return -EINVAL;
    }
    s->t_out = t / d->st + 1;
    s->h_out = h / d->sh + 1;
    s->w_out = w / d->sw + 1;
    return 0;
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
