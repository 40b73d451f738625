/* Matrix products by cublasLt, one plan per shape. Private to kernels/cuda.
 *
 * A plan's algorithm is picked once, by the library's heuristic, when a shape is first seen; it is
 * kept as long as the queue. So the bits of a product depend on its shape and inputs alone. Row
 * counts up to 256 share an algorithm with their multiple of 16. Other row counts may get other
 * algorithms, and then other bits for the same row: callers that need equal bits call with equal
 * row counts (the DiT does: chunks of one block or one latent).
 *
 * Thread-safety: as the queue. */
#ifndef KT_KERNELS_CUDA_MATMUL_H
#define KT_KERNELS_CUDA_MATMUL_H

#include "kernels/cuda/queue.h"

/* y[m, n] = alpha * x[m, k] * w, w either [n, k] (transposed, as weights are) or [k, n]. x and w
 * are bf16 or fp32, y bf16 or fp32; sums are fp32 and never TF32. With f8, x and w are e4m3 (w
 * [n, k] only, k and ld multiples of 16), sums are the matrix unit's of about 14 bits, added up in
 * fp32 by the library as it sees fit, and y is bf16, or e4m3 of the result * y_scale. */
struct ktc_product {
    const void *x, *w;
    void *y;
    int m, n, k;
    int ld_x, ld_w, ld_y;
    int bf16, y_f32; /* x and w bf16, else fp32; y fp32 whatever they are */
    int w_is_kn;     /* w is [k, n] */
    int f8;
    float y_scale; /* > 0: y is e4m3 */
    float alpha;
    const void *bias; /* [n] of y's type (bf16 for e4m3), or NULL */
    int gelu;         /* tanh form, after the bias */
};

/* -EOPNOTSUPP: no code for this shape; nothing was done. */
int ktc_matmul(struct kt_queue *q, const struct ktc_product *p);

void ktc_plans_free(struct kt_queue *q);

#endif
