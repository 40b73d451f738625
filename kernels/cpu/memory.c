#include "kernels/cpu/memory.h"

#include "kernels/cpu/queue.h"

#include <stdlib.h>
#include <string.h>

void *kt_cpu_mem_alloc(struct kt_queue *q, size_t bytes)
{
    (void)q;
    return kt_cpu_alloc(bytes ? bytes : 1);
}

void kt_cpu_mem_free(struct kt_queue *q, void *p)
{
    (void)q;
    free(p);
}

int kt_cpu_upload(struct kt_queue *q, void *dst, const void *src, size_t bytes)
{
    q->stats.uploads++;
    q->stats.bytes_uploaded += bytes;
    memcpy(dst, src, bytes);
    return 0;
}

int kt_cpu_download(struct kt_queue *q, void *dst, const void *src, size_t bytes)
{
    q->stats.downloads++;
    q->stats.bytes_downloaded += bytes;
    memcpy(dst, src, bytes);
    return 0;
}

int kt_cpu_copy(struct kt_queue *q, void *dst, const void *src, size_t bytes)
{
    (void)q;
    memcpy(dst, src, bytes);
    return 0;
}

int kt_cpu_zero(struct kt_queue *q, void *dst, size_t bytes)
{
    (void)q;
    memset(dst, 0, bytes);
    return 0;
}

int kt_cpu_to_act(struct kt_queue *q, void *y, const float *x, size_t n)
{
    q->stats.launches++;
    memcpy(y, x, n * sizeof(*x));
    return 0;
}

int kt_cpu_from_act(struct kt_queue *q, float *y, const void *x, size_t n)
{
    q->stats.launches++;
    memcpy(y, x, n * sizeof(*y));
    return 0;
}
