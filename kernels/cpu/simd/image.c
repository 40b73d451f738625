/* RGB to I420 by the formulas of ref_image.c, a pair of rows at a time: luma, then the 2x2 means
 * for chroma. Plain loops over rows of floats; the compiler makes the vectors. */
#include "kernels/cpu/simd/simd.h"
#include "kernels/cpu/simd/vec.h"

#include "kernels/cpu/parallel.h"

#include <errno.h>

struct job {
    const struct kt_i420_args *a;
    float *scratch; /* per worker: three planes of a pair of rows */
};

static void load_pair(float *restrict dst, const float *restrict src, int n, float scale,
                      float offset)
{
    for (int i = 0; i < n; i++) {
        const float v = src[i] * scale + offset;
        const float above = v > 0.0f ? v : 0.0f; /* NaN too */
        dst[i] = above < 1.0f ? above : 1.0f;
    }
}

static void store_luma(uint8_t *restrict y, const float *restrict r, const float *restrict g,
                       const float *restrict b, int n)
{
    for (int i = 0; i < n; i++) {
        y[i] = (uint8_t)(int)(16.5f + 219.0f * (0.2126f * r[i] + 0.7152f * g[i] + 0.0722f * b[i]));
    }
}

/* The first half of each row pair becomes its 2x2 means. */
static void average(float *restrict p, int w)
{
    for (int i = 0; i < w / 2; i++) {
        p[i] = 0.25f * (p[2 * i] + p[2 * i + 1] + p[w + 2 * i] + p[w + 2 * i + 1]);
    }
}

static void store_chroma(uint8_t *restrict u, uint8_t *restrict v, const float *restrict r,
                         const float *restrict g, const float *restrict b, int n)
{
    for (int i = 0; i < n; i++) {
        const float luma = 0.2126f * r[i] + 0.7152f * g[i] + 0.0722f * b[i];
        u[i] = (uint8_t)(int)(128.5f + (224.0f / 1.8556f) * (b[i] - luma));
        v[i] = (uint8_t)(int)(128.5f + (224.0f / 1.5748f) * (r[i] - luma));
    }
}

static void pair_task(void *ctx, int item, int worker)
{
    const struct job *job = ctx;
    const struct kt_i420_args *a = job->a;
    const int pairs = a->h / 2, frame = item / pairs, pair = item % pairs, n = 2 * a->w;
    const size_t plane = (size_t)a->w * a->h;
    float *rgb = job->scratch + (size_t)worker * 3 * n;
    for (int c = 0; c < 3; c++) {
        load_pair(rgb + (size_t)c * n,
                  (const float *)a->rgb + ((size_t)frame * 3 + c) * plane + (size_t)pair * n, n,
                  a->scale, a->offset);
    }
    uint8_t *y = a->out + (size_t)frame * a->frame_bytes;
    store_luma(y + (size_t)pair * n, rgb, rgb + n, rgb + 2 * n, n);
    for (int c = 0; c < 3; c++) {
        average(rgb + (size_t)c * n, a->w);
    }
    uint8_t *u = y + plane + (size_t)pair * (a->w / 2);
    store_chroma(u, u + plane / 4, rgb, rgb + n, rgb + 2 * n, a->w / 2);
}

int KT_SIMD(to_i420)(struct kt_queue *q, const struct kt_i420_args *a)
{
    if (a->frames < 0 || a->w < 2 || a->h < 2 || a->w % 2 || a->h % 2 ||
        a->frame_bytes < (size_t)a->w * a->h * 3 / 2) {
        return -EINVAL;
    }
    struct job job = {a, kt_queue_workspace(q, (size_t)q->threads * 6 * a->w * sizeof(float))};
    if (!job.scratch) {
        return -ENOMEM;
    }
    q->stats.launches++;
    kt_parallel(q, a->frames * (a->h / 2), pair_task, &job);
    return 0;
}
