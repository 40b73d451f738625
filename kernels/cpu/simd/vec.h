/* Vectors of KT_LANES floats in the vector extension of gcc and clang, and the register tile that
 * all products share. Private to kernels/cpu/simd; include after simd.h. */
#ifndef KT_KERNELS_CPU_SIMD_VEC_H
#define KT_KERNELS_CPU_SIMD_VEC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#ifndef KT_LANES
#define KT_LANES 8 /* only so that the header compiles alone, without vector registers too */
#pragma GCC diagnostic ignored "-Wpsabi"
#endif

typedef float kt_vf __attribute__((vector_size(KT_LANES * 4)));
typedef int32_t kt_vi __attribute__((vector_size(KT_LANES * 4)));  /* what comparisons give */
typedef uint32_t kt_vu __attribute__((vector_size(KT_LANES * 4))); /* bits: wraps around */
typedef float kt_vf_any __attribute__((vector_size(KT_LANES * 4), aligned(4), may_alias));

#define KT_INLINE static inline __attribute__((always_inline))

/* Rows of a tile: as many as leave registers for two vectors of the other operand and a broadcast.
 */
enum { KT_TILE_ROWS = KT_LANES == 16 ? 12 : 6, KT_TILE_COLS = 2 * KT_LANES };

KT_INLINE kt_vf kt_load(const float *p)
{
    return *(const kt_vf_any *)p;
}

KT_INLINE void kt_store(float *p, kt_vf v)
{
    *(kt_vf_any *)p = v;
}

/* The first n lanes (the rest are zero), n may be <= 0 or beyond a vector. */
KT_INLINE kt_vf kt_load_n(const float *p, int n)
{
    if (n >= KT_LANES) {
        return kt_load(p);
    }
    kt_vf v = {0};
    for (int i = 0; i < n; i++) {
        v[i] = p[i];
    }
    return v;
}

KT_INLINE void kt_store_n(float *p, kt_vf v, int n)
{
    if (n >= KT_LANES) {
        kt_store(p, v);
        return;
    }
    for (int i = 0; i < n; i++) {
        p[i] = v[i];
    }
}

KT_INLINE kt_vf kt_splat(float v)
{
    return (kt_vf){0} + v;
}

/* Lane by lane mask ? a : b; a mask lane is all ones or zero, as comparisons give it. */
KT_INLINE kt_vf kt_select(kt_vi mask, kt_vf a, kt_vf b)
{
    return (kt_vf)((mask & (kt_vi)a) | (~mask & (kt_vi)b));
}

/* The larger, b where either is NaN. */
KT_INLINE kt_vf kt_max(kt_vf a, kt_vf b)
{
#if defined(__AVX512F__) && KT_LANES == 16
    return (kt_vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX__) && KT_LANES == 8
    return (kt_vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return kt_select(a > b, a, b);
#endif
}

/* Folds by halves: lane i with lane i + 8, + 4, + 2, + 1. */
KT_INLINE float kt_sum_lanes(kt_vf v)
{
#if KT_LANES == 16
    v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3);
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1);
    v += __builtin_shufflevector(v, v, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0);
#else
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
    v += __builtin_shufflevector(v, v, 2, 3, 0, 1, 2, 3, 0, 1);
    v += __builtin_shufflevector(v, v, 1, 0, 1, 0, 1, 0, 1, 0);
#endif
    return v[0];
}

/* exp to 2 ulp on [-87, 88], undefined outside. x = n ln 2 + r, |r| <= ln(2)/2, Taylor to r^7 (its
 * rest is below 6e-9), times 2^n by adding n to the exponent. A NaN that an operation made stays
 * one. */
KT_INLINE kt_vf kt_exp_inside(kt_vf x)
{
    const kt_vf magic = kt_splat(0x1.8p23f); /* adding it leaves round(x) in the low bits */
    const kt_vf shifted = x * 1.44269504088896341f + magic;
    const kt_vf n = shifted - magic;
    const kt_vf r = (x - n * 0x1.62e4p-1f) - n * 1.42860682030941723e-6f; /* ln 2 in two parts */
    kt_vf p = r * (1.0f / 5040.0f) + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    return (kt_vf)((kt_vu)p + (((kt_vu)shifted - (kt_vu)magic) << 23));
}

/* exp of any x: 0 below -87, infinity above 88, NaN for NaN. */
KT_INLINE kt_vf kt_exp(kt_vf x)
{
    const kt_vf high = kt_select(x > 88.0f, kt_splat(__builtin_inff()), x); /* or NaN */
    const kt_vf inside = kt_select(x <= 88.0f, kt_exp_inside(x), high);
    return kt_select(x < -87.0f, (kt_vf){0}, inside);
}

/* exp of x <= 0, but never less than exp(-87) = 1.6e-38: softmax, where the largest term is 1. */
KT_INLINE kt_vf kt_exp_below(kt_vf x)
{
    return kt_exp_inside(kt_max(kt_splat(-87.0f), x));
}

KT_INLINE kt_vf kt_silu(kt_vf x)
{
    return x / (1.0f + kt_exp(-x));
}

/* 0.5 x (1 + tanh z) = x / (1 + exp(-2 z)), z = sqrt(2/pi) (x + 0.044715 x^3) */
KT_INLINE kt_vf kt_gelu_tanh(kt_vf x)
{
    const kt_vf z2 = x * 1.5957691216057308f * (1.0f + 0.044715f * x * x);
    return x / (1.0f + kt_exp(-z2));
}

/* acc[row][vec] += sum over depth of a[row * row_step + p * depth_step] * b[p][vec]; b is
 * [depth][vecs * KT_LANES], dense. `rows` and `vecs` are constants where it is inlined, so that acc
 * stays in registers. */
KT_INLINE void kt_tile(kt_vf *acc, const int rows, const int vecs, const float *a,
                       ptrdiff_t row_step, ptrdiff_t depth_step, const float *b, int depth)
{
    for (int p = 0; p < depth; p++) {
        kt_vf col[2];
        col[0] = kt_load(b);
        if (vecs == 2) {
            col[1] = kt_load(b + KT_LANES);
        }
#pragma GCC unroll 32
        for (int i = 0; i < rows; i++) {
            const float s = a[i * row_step];
            acc[i * vecs] += s * col[0];
            if (vecs == 2) {
                acc[i * vecs + 1] += s * col[1];
            }
        }
        a += depth_step;
        b += vecs * KT_LANES;
    }
}

/* Covers `count` rows with tiles of constant height: calls the always-inlined fn(ctx, row, rows)
 * for tiles of `most` rows, then for what is left. */
#define KT_FOR_TILES(fn, ctx, count, most)                                                         \
    do {                                                                                           \
        const int count_ = (count);                                                                \
        int row_ = 0;                                                                              \
        for (; row_ + (most) <= count_; row_ += (most)) {                                          \
            fn(ctx, row_, (most));                                                                 \
        }                                                                                          \
        if ((most) > 12 && row_ + 12 <= count_) {                                                  \
            fn(ctx, row_, 12);                                                                     \
            row_ += 12;                                                                            \
        }                                                                                          \
        if ((most) > 8 && row_ + 8 <= count_) {                                                    \
            fn(ctx, row_, 8);                                                                      \
            row_ += 8;                                                                             \
        }                                                                                          \
        if (row_ + 4 <= count_) {                                                                  \
            fn(ctx, row_, 4);                                                                      \
            row_ += 4;                                                                             \
        }                                                                                          \
        if (row_ + 2 <= count_) {                                                                  \
            fn(ctx, row_, 2);                                                                      \
            row_ += 2;                                                                             \
        }                                                                                          \
        if (row_ < count_) {                                                                       \
            fn(ctx, row_, 1);                                                                      \
        }                                                                                          \
    } while (0)

#endif
