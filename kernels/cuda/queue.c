#include "kernels/cuda/queue.h"

#include "kernels/cuda/attention.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/matmul.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int ktc_check(struct kt_queue *q, cudaError_t rc, const char *what)
{
    if (rc == cudaSuccess) {
        return 0;
    }
    snprintf(q->error, sizeof(q->error), "%s: %s", what, cudaGetErrorString(rc));
    switch (rc) {
    case cudaErrorMemoryAllocation: return -ENOMEM;
    case cudaErrorInvalidValue:
    case cudaErrorInvalidConfiguration: return -EINVAL;
    default: return -EIO;
    }
}

int ktc_check_lt(struct kt_queue *q, cublasStatus_t rc, const char *what)
{
    if (rc == CUBLAS_STATUS_SUCCESS) {
        return 0;
    }
    snprintf(q->error, sizeof(q->error), "%s: cublasLt status %d (%s)", what, (int)rc,
             cublasLtGetStatusString(rc));
    return rc == CUBLAS_STATUS_ALLOC_FAILED ? -ENOMEM : -EIO;
}

int ktc_enter(struct kt_queue *q)
{
    int device;
    if (cudaGetDevice(&device) == cudaSuccess && device == q->device) {
        return 0;
    }
    return ktc_check(q, cudaSetDevice(q->device), "choosing the card");
}

int ktc_launched(struct kt_queue *q, cudaError_t rc, const char *what)
{
    q->stats.launches++;
    return ktc_check(q, rc, what);
}

void *ktc_scratch(struct kt_queue *q, size_t bytes)
{
    if (bytes <= q->scratch_bytes) {
        return q->scratch;
    }
    void *grown = NULL;
    if (ktc_check(q, cudaStreamSynchronize(q->stream), "growing the scratch") < 0 ||
        ktc_check(q, cudaMalloc(&grown, bytes), "growing the scratch") < 0) {
        return NULL;
    }
    cudaFree(q->scratch);
    q->scratch = grown;
    q->stats.bytes_workspace += bytes - q->scratch_bytes;
    q->scratch_bytes = bytes;
    q->stats.allocs++;
    return grown;
}

static int open_card(struct kt_queue *q, size_t scratch_bytes)
{
    int rc;
    if ((rc = ktc_enter(q)) < 0 ||
        (rc = ktc_check(q, cudaStreamCreateWithFlags(&q->stream, cudaStreamNonBlocking),
                        "stream")) < 0 ||
        (rc = ktc_check_lt(q, cublasLtCreate(&q->lt), "cublasLt")) < 0 ||
        (rc = ktc_check(q, cudaMalloc(&q->lt_workspace, KTC_LT_WORKSPACE), "workspace")) < 0) {
        return rc;
    }
    cudaDeviceGetAttribute(&q->major, cudaDevAttrComputeCapabilityMajor, q->device);
    cudaDeviceGetAttribute(&q->minor, cudaDevAttrComputeCapabilityMinor, q->device);
    if (scratch_bytes > 0) {
        rc = ktc_check(q, cudaMalloc(&q->scratch, scratch_bytes), "scratch");
        q->scratch_bytes = rc == 0 ? scratch_bytes : 0;
    }
    return rc;
}

/* What the attention kernels of Hopper want beside their arguments. */
static int open_attention(struct kt_queue *q)
{
    float ones[KTC_ATTENTION_CHANNELS];
    const size_t bytes = ktc_attention_work_bytes();
    if (!q->bf16 || q->major != 9 || q->plain || bytes == 0) {
        return 0;
    }
    for (int i = 0; i < KTC_ATTENTION_CHANNELS; i++) {
        ones[i] = 1.0f;
    }
    int rc = ktc_check(q, cudaMalloc(&q->attention_work, bytes), "attention's workspace");
    if (rc == 0) {
        rc = ktc_check(q, cudaMemset(q->attention_work, 0, bytes), "attention's workspace");
    }
    if (rc == 0) {
        rc = ktc_check(q, cudaMalloc((void **)&q->ones, sizeof(ones)), "attention's scales");
    }
    return rc < 0 ? rc
                  : ktc_check(q, cudaMemcpy(q->ones, ones, sizeof(ones), cudaMemcpyHostToDevice),
                              "attention's scales");
}

static int create(struct kt_queue **q, const struct kt_queue_params *p, int bf16)
{
    if (!q || !p || p->device < 0) {
        return -EINVAL;
    }
    struct kt_queue *made = calloc(1, sizeof(*made));
    if (!made) {
        return -ENOMEM;
    }
    made->device = p->device;
    made->bf16 = bf16;
    made->plain = p->plain;
    int rc = open_card(made, p->workspace_bytes);
    if (rc == 0) {
        rc = open_attention(made);
    }
    made->stats.bytes_workspace = KTC_LT_WORKSPACE + made->scratch_bytes;
    made->stats.bytes_workspace += made->attention_work ? ktc_attention_work_bytes() : 0;
    made->stats.bytes_workspace += made->ones ? KTC_ATTENTION_CHANNELS * sizeof(float) : 0;
    if (rc < 0) {
        ktc_queue_destroy(&made);
        return rc;
    }
    *q = made;
    return 0;
}

int ktc_queue_create_f32(struct kt_queue **q, const struct kt_queue_params *p)
{
    return create(q, p, 0);
}

int ktc_queue_create_bf16(struct kt_queue **q, const struct kt_queue_params *p)
{
    return create(q, p, 1);
}

void ktc_queue_destroy(struct kt_queue **queue)
{
    if (!queue || !*queue) {
        return;
    }
    struct kt_queue *q = *queue;
    ktc_enter(q);
    if (q->stream) {
        cudaStreamSynchronize(q->stream);
    }
    ktc_plans_free(q);
    if (q->lt) {
        cublasLtDestroy(q->lt);
    }
    cudaFree(q->attention_work);
    cudaFree(q->ones);
    cudaFree(q->lt_workspace);
    cudaFree(q->scratch);
    if (q->stream) {
        cudaStreamDestroy(q->stream);
    }
    free(q);
    *queue = NULL;
}

void ktc_queue_stats(const struct kt_queue *q, struct kt_queue_stats *out)
{
    *out = q->stats;
}

int ktc_queue_sync(struct kt_queue *q)
{
    if (!q) {
        return -EINVAL;
    }
    q->stats.syncs++;
    return ktc_check(q, cudaStreamSynchronize(q->stream), "waiting for the queue");
}

const char *ktc_queue_error(const struct kt_queue *q)
{
    return q->error;
}
