#include "kernels/cpu/queue.h"

#include "kernels/cpu/parallel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { KT_CPU_ALIGN = 64 }; /* a cache line, and the widest vector */

void *kt_cpu_alloc(size_t bytes)
{
    if (bytes == 0 || bytes > SIZE_MAX - KT_CPU_ALIGN) {
        return NULL;
    }
    return aligned_alloc(KT_CPU_ALIGN, (bytes + KT_CPU_ALIGN - 1) & ~(size_t)(KT_CPU_ALIGN - 1));
}

void *kt_queue_workspace(struct kt_queue *q, size_t bytes)
{
    if (bytes <= q->workspace_bytes) {
        return q->workspace;
    }
    void *grown = kt_cpu_alloc(bytes);
    if (!grown) {
        return NULL;
    }
    free(q->workspace);
    q->workspace = grown;
    q->workspace_bytes = bytes;
    q->stats.allocs++;
    return grown;
}

int kt_cpu_queue_create(struct kt_queue **q, const struct kt_queue_params *p)
{
    if (!q || !p || p->threads < 1) {
        return -EINVAL;
    }
    struct kt_queue *made = calloc(1, sizeof(*made));
    if (!made) {
        return -ENOMEM;
    }
    made->threads = p->threads;
    int rc = p->threads > 1 ? kt_pool_create(&made->pool, p->threads) : 0;
    if (rc == 0 && p->workspace_bytes > 0) {
        made->workspace = kt_cpu_alloc(p->workspace_bytes);
        made->workspace_bytes = p->workspace_bytes;
        rc = made->workspace ? 0 : -ENOMEM;
    }
    if (rc != 0) {
        kt_cpu_queue_destroy(&made);
        return rc;
    }
    *q = made;
    return 0;
}

void kt_cpu_queue_destroy(struct kt_queue **q)
{
    if (!q || !*q) {
        return;
    }
    kt_pool_destroy(&(*q)->pool);
    free((*q)->workspace);
    free(*q);
    *q = NULL;
}

void kt_cpu_queue_stats(const struct kt_queue *q, struct kt_queue_stats *out)
{
    *out = q->stats;
}

int kt_cpu_queue_sync(struct kt_queue *q)
{
    return q ? 0 : -EINVAL;
}

const char *kt_cpu_queue_error(const struct kt_queue *q)
{
    (void)q;
    return "";
}

static float f32_from_f16(uint16_t bits)
{
    const uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    const uint32_t exponent = (bits >> 10) & 0x1fu;
    const uint32_t mantissa = bits & 0x3ffu;
    if (exponent == 0) { /* zero and subnormals: mantissa * 2^-24, exact in fp32 */
        const float magnitude = (float)mantissa * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    /* 112 = 127 - 15 rebiases the exponent; 31 (infinity, NaN) becomes 255 */
    const uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
    const uint32_t value = sign | wide << 23 | mantissa << 13;
    float out;
    memcpy(&out, &value, sizeof(out));
    return out;
}

static float f32_from_bf16(uint16_t bits)
{
    const uint32_t value = (uint32_t)bits << 16;
    float out;
    memcpy(&out, &value, sizeof(out));
    return out;
}

int kt_cpu_to_f32(float *dst, const void *src, enum kt_dtype dtype, size_t n)
{
    const uint16_t *half = src;
    switch (dtype) {
    case KT_F32: memcpy(dst, src, n * sizeof(float)); return 0;
    case KT_F16:
        for (size_t i = 0; i < n; i++) {
            dst[i] = f32_from_f16(half[i]);
        }
        return 0;
    case KT_BF16:
        for (size_t i = 0; i < n; i++) {
            dst[i] = f32_from_bf16(half[i]);
        }
        return 0;
    default: return -EINVAL;
    }
}
