/* Memory of a card, copies, and weights on their way to it. */
#include "kernels/cuda/launch.h"
#include "kernels/cuda/queue.h"

#include <errno.h>

enum { UPLOAD_CHUNK = 64 << 20 }; /* bytes of weights converted at a time */

void *ktc_mem_alloc(struct kt_queue *q, size_t bytes)
{
    void *p = NULL;
    int rc = ktc_enter(q);
    if (rc == 0) {
        rc = ktc_check(q, cudaMalloc(&p, bytes ? bytes : 1), "device memory");
    }
    return rc < 0 ? NULL : p;
}

void ktc_mem_free(struct kt_queue *q, void *p)
{
    (void)q;
    cudaFree(p);
}

void *ktc_host_alloc(struct kt_queue *q, size_t bytes)
{
    void *p = NULL;
    return ktc_check(q, cudaMallocHost(&p, bytes ? bytes : 1), "host memory") < 0 ? NULL : p;
}

void ktc_host_free(struct kt_queue *q, void *p)
{
    (void)q;
    cudaFreeHost(p);
}

/* From ordinary host memory the driver takes a copy of `src` before it returns. */
int ktc_upload(struct kt_queue *q, void *dst, const void *src, size_t bytes)
{
    int rc = ktc_enter(q);
    if (rc < 0 || bytes == 0) {
        return rc;
    }
    q->stats.uploads++;
    q->stats.bytes_uploaded += bytes;
    return ktc_check(q, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, q->stream),
                     "upload");
}

int ktc_download(struct kt_queue *q, void *dst, const void *src, size_t bytes)
{
    int rc = ktc_enter(q);
    if (rc < 0) {
        return rc;
    }
    q->stats.downloads++;
    q->stats.bytes_downloaded += bytes;
    if (bytes > 0) {
        rc = ktc_check(q, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, q->stream),
                       "download");
    }
    return rc < 0 ? rc : ktc_queue_sync(q);
}

int ktc_copy(struct kt_queue *q, void *dst, const void *src, size_t bytes)
{
    int rc = ktc_enter(q);
    if (rc < 0 || bytes == 0) {
        return rc;
    }
    q->stats.launches++;
    return ktc_check(q, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, q->stream),
                     "copy");
}

int ktc_zero(struct kt_queue *q, void *dst, size_t bytes)
{
    int rc = ktc_enter(q);
    if (rc < 0 || bytes == 0) {
        return rc;
    }
    q->stats.launches++;
    return ktc_check(q, cudaMemsetAsync(dst, 0, bytes, q->stream), "zero");
}

int ktc_weights_alloc(struct kt_queue *q, void **out, size_t bytes)
{
    int rc = ktc_enter(q);
    return rc < 0 ? rc : ktc_check(q, cudaMalloc(out, bytes), "memory for weights");
}

size_t ktc_dtype_size(enum kt_dtype dtype)
{
    return dtype == KT_F32 ? 4 : dtype == KT_F16 || dtype == KT_BF16 ? 2 : 0;
}

/* Raw values go up in chunks and are converted there. */
static int upload_as(struct kt_queue *q, void **out, const void *src, enum kt_dtype from,
                     enum kt_dtype to, size_t n)
{
    const size_t size = ktc_dtype_size(from), wide = ktc_dtype_size(to);
    if (size == 0) {
        return -EINVAL;
    }
    int rc = ktc_weights_alloc(q, out, n * wide);
    if (rc < 0) {
        return rc;
    }
    if (from == to) {
        rc = ktc_check(q, cudaMemcpyAsync(*out, src, n * size, cudaMemcpyHostToDevice, q->stream),
                       "uploading weights");
        return rc < 0 ? rc : ktc_queue_sync(q);
    }
    const size_t step = UPLOAD_CHUNK / size;
    void *raw = NULL;
    rc = ktc_weights_alloc(q, &raw, (n < step ? n : step) * size);
    for (size_t at = 0; at < n && rc == 0; at += step) {
        const size_t count = n - at < step ? n - at : step;
        rc = ktc_check(q,
                       cudaMemcpyAsync(raw, (const char *)src + at * size, count * size,
                                       cudaMemcpyHostToDevice, q->stream),
                       "uploading weights");
        if (rc == 0) {
            rc =
                ktc_check(q, ktc_convert(q->stream, (char *)*out + at * wide, to, raw, from, count),
                          "converting weights");
        }
    }
    rc = rc < 0 ? rc : ktc_queue_sync(q);
    cudaFree(raw);
    return rc;
}

int ktc_upload_act(struct kt_queue *q, void **out, const void *src, enum kt_dtype dtype, size_t n)
{
    return upload_as(q, out, src, dtype, q->bf16 ? KT_BF16 : KT_F32, n);
}

int ktc_upload_f32(struct kt_queue *q, float **out, const void *src, enum kt_dtype dtype, size_t n)
{
    void *p = NULL;
    int rc = upload_as(q, &p, src, dtype, KT_F32, n);
    *out = p;
    return rc;
}
