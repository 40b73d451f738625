/* The CUDA queue and the prepared weights as the files of kernels/cuda see them. Private to it.
 *
 * A queue is one stream of one card, a cublasLt handle and its plans, and two pieces of memory: the
 * workspace that cublasLt may use, of a fixed size, and a scratch for ops that go in several steps,
 * which grows while shapes are new. Nothing in either outlives an op.
 *
 * Thread-safety: as in kernels.h, one thread at a time. */
#ifndef KT_KERNELS_CUDA_QUEUE_H
#define KT_KERNELS_CUDA_QUEUE_H

#include "kernels/kernels.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

struct ktc_plan;   /* a matrix product of one shape (matmul.h) */
struct ktc_filter; /* a convolution for the tensor cores (conv.h) */

struct kt_queue {
    int device, bf16; /* bf16: [act] is bf16, else fp32 */
    int plain;        /* kt_queue_params */
    int major, minor; /* compute capability */
    cudaStream_t stream;
    cublasLtHandle_t lt;
    void *lt_workspace;
    void *attention_work; /* of ktc_attention_*; NULL where they do not run */
    float *ones;          /* [KTC_ATTENTION_CHANNELS], likewise */
    void *scratch;
    size_t scratch_bytes;
    struct ktc_plan *plans;
    struct kt_queue_stats stats;
    char error[256]; /* of the last op that failed */
};

enum { KTC_LT_WORKSPACE = 32 << 20, KTC_ATTENTION_CHANNELS = 4096 };

/* 2 or 4. */
static inline size_t ktc_act_size(const struct kt_queue *q)
{
    return q->bf16 ? 2 : 4;
}

/* Makes the queue's card the calling thread's; every op begins with it. */
int ktc_enter(struct kt_queue *q);

/* The scratch, at least `bytes` long, 256-byte aligned, contents undefined. Growing waits for the
 * stream, counts as an allocation and moves it: one request per op. NULL when out of memory. */
void *ktc_scratch(struct kt_queue *q, size_t bytes);

/* 0, or a negative errno with q->error set. */
int ktc_check(struct kt_queue *q, cudaError_t rc, const char *what);
int ktc_check_lt(struct kt_queue *q, cublasStatus_t rc, const char *what);

/* Ends an op that launched one kernel. */
int ktc_launched(struct kt_queue *q, cudaError_t rc, const char *what);

int ktc_queue_create_f32(struct kt_queue **q, const struct kt_queue_params *p);
int ktc_queue_create_bf16(struct kt_queue **q, const struct kt_queue_params *p);
void ktc_queue_destroy(struct kt_queue **q);
void ktc_queue_stats(const struct kt_queue *q, struct kt_queue_stats *out);
int ktc_queue_sync(struct kt_queue *q);
const char *ktc_queue_error(const struct kt_queue *q);

/* Device memory for weights; not counted (weights are made before warm-up ends). */
int ktc_weights_alloc(struct kt_queue *q, void **out, size_t bytes);

/* Host values of any dtype to new device memory: as [act], and as fp32. */
int ktc_upload_act(struct kt_queue *q, void **out, const void *src, enum kt_dtype dtype, size_t n);
int ktc_upload_f32(struct kt_queue *q, float **out, const void *src, enum kt_dtype dtype, size_t n);
size_t ktc_dtype_size(enum kt_dtype dtype); /* 0: not a dtype of weights */

/* The memory verbs of the table (memory.c). */
void *ktc_mem_alloc(struct kt_queue *q, size_t bytes);
void ktc_mem_free(struct kt_queue *q, void *p);
void *ktc_host_alloc(struct kt_queue *q, size_t bytes);
void ktc_host_free(struct kt_queue *q, void *p);
int ktc_upload(struct kt_queue *q, void *dst, const void *src, size_t bytes);
int ktc_download(struct kt_queue *q, void *dst, const void *src, size_t bytes);
int ktc_copy(struct kt_queue *q, void *dst, const void *src, size_t bytes);
int ktc_zero(struct kt_queue *q, void *dst, size_t bytes);

/* The ops that choose between kernels. */
int ktc_linear_create(struct kt_linear **l, struct kt_queue *q, const struct kt_linear_desc *d);
void ktc_linear_destroy(struct kt_linear **l);
int ktc_linear(struct kt_queue *q, const struct kt_linear *l, const struct kt_linear_args *a);
int ktc_conv_create(struct kt_conv **c, struct kt_queue *q, const struct kt_conv_desc *d);
void ktc_conv_destroy(struct kt_conv **c);
int ktc_conv(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a);
int ktc_attention(struct kt_queue *q, const struct kt_attention_args *a);

struct kt_linear {
    int n, k;
    float f8_unit;  /* > 0: weight and x are e4m3, and this is what their product's 1 is worth */
    void *weight;   /* [act] or e4m3 [n, k] */
    float *bias;    /* [f32] [n] or NULL */
    void *bias_act; /* [act] [n] or NULL: what cublasLt adds to an [act] result */
};

struct kt_conv {
    struct kt_conv_desc d;   /* weight and bias pointers NULL: not kept */
    void *weight;            /* [act] [kt, kh, kw, c_in, c_out] */
    float *bias;             /* [f32] [c_out] or NULL */
    struct ktc_filter *fast; /* where the tensor cores take it (conv.h): then the two are NULL */
};

#endif
