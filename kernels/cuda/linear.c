/* Linears: cublasLt where it has code for the shape, else a kernel of our own. In bf16 the bias and
 * GELU are the library's epilogue; in fp32 the activation is a kernel of ours, because the proof
 * path wants its exact exponential. */
#include "kernels/cuda/fused.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/matmul.h"

#include <errno.h>
#include <stdlib.h>

void ktc_linear_destroy(struct kt_linear **l)
{
    if (!l || !*l) {
        return;
    }
    cudaFree((*l)->weight);
    cudaFree((*l)->bias);
    cudaFree((*l)->bias_act);
    free(*l);
    *l = NULL;
}

/* Weights in e4m3, one scale for all: the largest becomes e4m3's. */
static int load_f8(struct kt_queue *q, struct kt_linear *l, const struct kt_linear_desc *d)
{
    const size_t count = (size_t)d->n * (size_t)d->k;
    const float *given = d->weight;
    float *wide = NULL;
    if (!q->bf16 || d->dtype != KT_F32 || d->k % 16 || d->n % 16) {
        return -EINVAL;
    }
    const float scale = kt_f8_scale_of(given, count);
    int rc = ktc_upload_f32(q, &wide, given, KT_F32, count);
    if (rc == 0) {
        rc = ktc_weights_alloc(q, &l->weight, count);
    }
    if (rc == 0) {
        rc = ktc_f32_to_f8(q->stream, l->weight, wide, count, scale);
    }
    if (rc == 0) {
        rc = ktc_queue_sync(q);
    }
    cudaFree(wide);
    l->f8_unit = 1.0f / (scale * d->x_scale);
    return rc;
}

int ktc_linear_create(struct kt_linear **l, struct kt_queue *q, const struct kt_linear_desc *d)
{
    if (!l || !q || !d || d->n < 1 || d->k < 1 || !d->weight || !ktc_dtype_size(d->dtype)) {
        return -EINVAL;
    }
    struct kt_linear *made = calloc(1, sizeof(*made));
    if (!made) {
        return -ENOMEM;
    }
    *made = (struct kt_linear){.n = d->n, .k = d->k};
    int rc = d->x_scale > 0 ? load_f8(q, made, d)
                            : ktc_upload_act(q, &made->weight, d->weight, d->dtype,
                                             (size_t)d->n * (size_t)d->k);
    if (rc == 0 && d->bias) {
        rc = ktc_upload_f32(q, &made->bias, d->bias, d->dtype, (size_t)d->n);
    }
    if (rc == 0 && d->bias && q->bf16) {
        rc = ktc_upload_act(q, &made->bias_act, d->bias, d->dtype, (size_t)d->n);
    }
    if (rc < 0) {
        ktc_linear_destroy(&made);
        return rc;
    }
    q->stats.bytes_weights += (size_t)d->n * (size_t)d->k * (d->x_scale > 0 ? 1 : ktc_act_size(q));
    q->stats.bytes_weights += made->bias ? (size_t)d->n * sizeof(float) : 0;
    q->stats.bytes_weights += made->bias_act ? (size_t)d->n * ktc_act_size(q) : 0;
    *l = made;
    return 0;
}

static int generic(struct kt_queue *q, const struct kt_linear *l, const struct kt_linear_args *a,
                   int ld_x, int ld_y)
{
    const struct ktc_linear_call c = {.x = a->x,
                                      .w = l->weight,
                                      .y = a->y,
                                      .bias = l->bias,
                                      .m = a->m,
                                      .n = l->n,
                                      .k = l->k,
                                      .ld_x = ld_x,
                                      .ld_y = ld_y,
                                      .y_f32 = a->y_f32,
                                      .act = a->act};
    return ktc_launched(q, ktc_linear_generic(q->stream, q->bf16, &c), "linear");
}

/* The product in bf16, then activation and rounding, where the library has no epilogue for it. */
static int f8_in_steps(struct kt_queue *q, const struct kt_linear *l,
                       const struct kt_linear_args *a, const struct ktc_product *whole)
{
    const size_t n = (size_t)a->m * (size_t)l->n;
    struct ktc_product p = *whole;
    if (a->y_scale <= 0 && !p.gelu) {
        return -EOPNOTSUPP;
    }
    p.gelu = 0;
    p.y_scale = 0;
    if (a->y_scale > 0) {
        p.ld_y = l->n;
        p.y = ktc_scratch(q, n * 2);
    }
    int rc = p.y ? ktc_matmul(q, &p) : -ENOMEM;
    if (rc == 0 && a->y_scale <= 0) {
        return ktc_launched(q, ktc_activate(q->stream, 1, p.y, NULL, a->m, l->n, p.ld_y, a->act),
                            "activation");
    }
    q->stats.launches += rc == 0;
    return rc < 0 ? rc : ktc_activate_f8(q->stream, a->y, p.y, n, a->act, a->y_scale);
}

int ktc_linear(struct kt_queue *q, const struct kt_linear *l, const struct kt_linear_args *a)
{
    const int ld_x = a->ld_x ? a->ld_x : l->k, ld_y = a->ld_y ? a->ld_y : l->n;
    if (a->m < 0 || ld_x < l->k || ld_y < l->n) {
        return -EINVAL;
    }
    int rc = ktc_enter(q);
    if (rc < 0 || a->m == 0) {
        return rc;
    }
    const int wide = !q->bf16 || a->y_f32; /* y is fp32 */
    const int gelu = a->act == KT_ACT_GELU_TANH && !wide && l->bias;
    if (a->y_scale > 0 && (l->f8_unit <= 0 || wide)) {
        return -EINVAL; /* e4m3 comes out of e4m3 products only */
    }
    const struct ktc_product p = {.x = a->x,
                                  .w = l->weight,
                                  .y = a->y,
                                  .m = a->m,
                                  .n = l->n,
                                  .k = l->k,
                                  .ld_x = ld_x,
                                  .ld_w = l->k,
                                  .ld_y = ld_y,
                                  .bf16 = q->bf16,
                                  .y_f32 = a->y_f32,
                                  .f8 = l->f8_unit > 0,
                                  .y_scale = a->y_scale,
                                  .alpha = l->f8_unit > 0 ? l->f8_unit : 1.0f,
                                  .bias = wide ? (const void *)l->bias : l->bias_act,
                                  .gelu = gelu};
    rc = ktc_matmul(q, &p);
    if (rc == -EOPNOTSUPP && l->f8_unit > 0) {
        return f8_in_steps(q, l, a, &p);
    }
    if (rc == -EOPNOTSUPP) {
        return generic(q, l, a, ld_x, ld_y);
    }
    if (rc < 0 || a->act == KT_ACT_NONE || gelu) {
        return rc;
    }
    return ktc_launched(q, ktc_activate(q->stream, !wide, a->y, NULL, a->m, l->n, ld_y, a->act),
                        "activation");
}
