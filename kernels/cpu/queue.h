/* The CPU queue and the prepared weights as the levels of the CPU table see them. Private to
 * kernels/cpu.
 *
 * Thread-safety: as in kernels.h, one thread at a time. */
#ifndef KT_KERNELS_CPU_QUEUE_H
#define KT_KERNELS_CPU_QUEUE_H

#include "kernels/conv_shape.h"
#include "kernels/kernels.h"

struct kt_queue {
    int threads;
    void *workspace; /* scratch of the op that runs; nothing in it outlives an op */
    size_t workspace_bytes;
    struct kt_queue_stats stats;
    struct kt_pool *pool; /* NULL with one thread */
};

/* The workspace, at least `bytes` long, 64-byte aligned, contents undefined. Growing counts as an
 * allocation and moves it: one request per op. NULL when out of memory. */
void *kt_queue_workspace(struct kt_queue *q, size_t bytes);

/* 64-byte aligned memory, not cleared; freed with free(). NULL when out of memory or bytes is 0. */
void *kt_cpu_alloc(size_t bytes);

int kt_cpu_queue_create(struct kt_queue **q, const struct kt_queue_params *p);
void kt_cpu_queue_destroy(struct kt_queue **q);
void kt_cpu_queue_stats(const struct kt_queue *q, struct kt_queue_stats *out);
int kt_cpu_queue_sync(struct kt_queue *q);
const char *kt_cpu_queue_error(const struct kt_queue *q);

/* Weights are [inputs, outputs], outputs contiguous: a sum over inputs then runs over neighbouring
 * outputs at once without changing the order of any single sum. */
struct kt_linear {
    int n, k;
    float *weight;              /* [k, n] */
    float *bias;                /* [n] or NULL */
    struct kt_dnnl_plans *dnnl; /* of the oneDNN level (dnnl.c), else NULL */
};

struct kt_conv {
    struct kt_conv_desc d;      /* weight and bias pointers NULL: not kept */
    float *weight;              /* [kt, kh, kw, c_in, c_out] */
    float *bias;                /* [c_out] or NULL */
    float *winograd;            /* filter sums of the SIMD level (simd/winograd.c), or NULL */
    struct kt_dnnl_plans *dnnl; /* of the oneDNN level (dnnl.c), else NULL */
};

/* n values of dtype F32, F16 or BF16 into fp32. -EINVAL for another dtype. */
int kt_cpu_to_f32(float *dst, const void *src, enum kt_dtype dtype, size_t n);

#endif
