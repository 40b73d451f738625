/* The VAE's norm. With few channels, one pixel at a time would spend its time on adding up the
 * lanes of a vector and on one root and one division per pixel. So KT_LANES pixels go together:
 * their sums meet in one vector (the same tree of neighbours for every pixel, so that a pixel's
 * bits do not depend on its place), and root and division are done once for all of them. */
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/simd.h"
#include "kernels/cpu/simd/turn.h"

#include <immintrin.h>
#include <math.h>

enum {
    TASK_VALUES = 16384, /* work of one task; less is not worth waking a thread for */
    CHANNELS_MAX = 512   /* the last few pixels go through a buffer on the stack */
};

KT_INLINE kt_vf root(kt_vf v)
{
#if KT_LANES == 16
    return (kt_vf)_mm512_sqrt_ps((__m512)v);
#else
    return (kt_vf)_mm256_sqrt_ps((__m256)v);
#endif
}

KT_INLINE kt_vf apply(kt_vf x, kt_vf factor, kt_vf gamma, const int silu)
{
    const kt_vf v = x * factor * gamma;
    return silu ? kt_silu(v) : v;
}

/* sqrt(c) / max(|x|, 1e-12) of each lane, from sums of squares */
KT_INLINE kt_vf factors(kt_vf squares, int c)
{
    const kt_vf norm = root(squares), least = kt_splat(1e-12f);
    return sqrtf((float)c) / kt_select(norm > least, norm, least);
}

/* One pixel in whole vectors: lane by lane sums of squares. */
KT_INLINE kt_vf pixel_squares(const float *x, int c)
{
    kt_vf sum = {0};
    for (int i = 0; i < c; i += KT_LANES) {
        const kt_vf v = kt_load(x + i);
        sum += v * v;
    }
    return sum;
}

/* KT_LANES pixels of c channels, c a multiple of KT_LANES. */
KT_INLINE void wide_group(float *y, const float *x, const float *gamma, const int c, const int silu)
{
    kt_vf sums[KT_LANES];
    float factor[KT_LANES];
#pragma GCC unroll 16
    for (int p = 0; p < KT_LANES; p++) {
        sums[p] = pixel_squares(x + (size_t)p * c, c);
    }
    kt_store(factor, factors(kt_sum_runs(sums, KT_LANES), c));
    for (int i = 0; i < c; i += KT_LANES) {
        const kt_vf g = kt_load(gamma + i);
#pragma GCC unroll 4
        for (int p = 0; p < KT_LANES; p++) {
            const size_t at = (size_t)p * c + i;
            kt_store(y + at, apply(kt_load(x + at), kt_splat(factor[p]), g, silu));
        }
    }
}

#if KT_LANES == 16
/* Of one value per pixel, those of pixels 2 i and 2 i + 1, eight times each. */
#define TWO_OF(f, i)                                                                               \
    __builtin_shufflevector(f, f, 2 * i, 2 * i, 2 * i, 2 * i, 2 * i, 2 * i, 2 * i, 2 * i,          \
                            2 * i + 1, 2 * i + 1, 2 * i + 1, 2 * i + 1, 2 * i + 1, 2 * i + 1,      \
                            2 * i + 1, 2 * i + 1)

/* 16 pixels of eight channels, two to a vector. */
KT_INLINE void narrow_group(float *y, const float *x, const float *gamma, const int silu)
{
    const kt_vf once = kt_load_n(gamma, 8);
    const kt_vf g =
        __builtin_shufflevector(once, once, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7);
    kt_vf v[8], sums[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        v[i] = kt_load(x + 16 * i);
        sums[i] = v[i] * v[i];
    }
    const kt_vf factor = factors(kt_sum_runs(sums, 8), 8);
    kt_store(y, apply(v[0], TWO_OF(factor, 0), g, silu));
    kt_store(y + 16, apply(v[1], TWO_OF(factor, 1), g, silu));
    kt_store(y + 32, apply(v[2], TWO_OF(factor, 2), g, silu));
    kt_store(y + 48, apply(v[3], TWO_OF(factor, 3), g, silu));
    kt_store(y + 64, apply(v[4], TWO_OF(factor, 4), g, silu));
    kt_store(y + 80, apply(v[5], TWO_OF(factor, 5), g, silu));
    kt_store(y + 96, apply(v[6], TWO_OF(factor, 6), g, silu));
    kt_store(y + 112, apply(v[7], TWO_OF(factor, 7), g, silu));
}
#endif

KT_INLINE void group(float *y, const float *x, const struct kt_channel_norm_args *a, const int silu)
{
#if KT_LANES == 16
    if (a->c == 8) {
        narrow_group(y, x, a->gamma, silu);
        return;
    }
#endif
    wide_group(y, x, a->gamma, a->c, silu);
}

static int groups_per_task(int c)
{
    const int groups = TASK_VALUES / (c * KT_LANES);
    return groups < 1 ? 1 : groups;
}

/* The last pixels, fewer than a group: through a buffer, so that they take the same path. */
static void last_group(float *y, const float *x, const struct kt_channel_norm_args *a, int pixels)
{
    float buffer[KT_LANES * CHANNELS_MAX];
    const size_t given = (size_t)pixels * a->c * sizeof(float);
    memset(buffer, 0, (size_t)KT_LANES * a->c * sizeof(float));
    memcpy(buffer, x, given);
    a->silu ? group(buffer, buffer, a, 1) : group(buffer, buffer, a, 0);
    memcpy(y, buffer, given);
}

static void channel_norm_task(void *ctx, int item, int worker)
{
    const struct kt_channel_norm_args *a = ctx;
    const int per_task = groups_per_task(a->c) * KT_LANES;
    int p = item * per_task;
    const int end = a->pixels - p < per_task ? a->pixels : p + per_task;
    for (; p + KT_LANES <= end; p += KT_LANES) {
        float *y = (float *)a->y + (size_t)p * a->c;
        const float *x = (const float *)a->x + (size_t)p * a->c;
        a->silu ? group(y, x, a, 1) : group(y, x, a, 0);
    }
    if (p < end) {
        last_group((float *)a->y + (size_t)p * a->c, (const float *)a->x + (size_t)p * a->c, a,
                   end - p);
    }
    (void)worker;
}

int KT_SIMD(channel_norm_takes)(int c)
{
    return c <= CHANNELS_MAX && (c % KT_LANES == 0 || (KT_LANES == 16 && c == 8));
}

void KT_SIMD(channel_norm_groups)(struct kt_queue *q, const struct kt_channel_norm_args *a)
{
    struct kt_channel_norm_args copy = *a;
    const int per_task = groups_per_task(a->c) * KT_LANES;
    kt_parallel(q, (a->pixels + per_task - 1) / per_task, channel_norm_task, &copy);
}
