/* Turning pixels x channels into one vector of pixels per channel and back, for ops that work
 * across pixels. Private to kernels/cpu/simd; include after vec.h. */
#ifndef KT_KERNELS_CPU_SIMD_TURN_H
#define KT_KERNELS_CPU_SIMD_TURN_H

#include "kernels/cpu/simd/vec.h"

/* For __builtin_shuffle(a, b, ..): every second element of a then b (+1: the odd ones); the lower
 * halves of a and b element by element (+ KT_LANES / 2: the upper halves). */
#if KT_LANES == 16
#define KT_EVEN                                                                                    \
    (kt_vi)                                                                                        \
    {                                                                                              \
        0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30                                  \
    }
#define KT_LOW                                                                                     \
    (kt_vi)                                                                                        \
    {                                                                                              \
        0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23                                     \
    }
#else
#define KT_EVEN                                                                                    \
    (kt_vi)                                                                                        \
    {                                                                                              \
        0, 2, 4, 6, 8, 10, 12, 14                                                                  \
    }
#define KT_LOW                                                                                     \
    (kt_vi)                                                                                        \
    {                                                                                              \
        0, 8, 1, 9, 2, 10, 3, 11                                                                   \
    }
#endif

/* n vectors holding KT_LANES pixels of n channels, pixel after pixel, become one vector per
 * channel: log2(n) times, all even elements move to the front. */
KT_INLINE void kt_unzip(kt_vf *r, const int n)
{
    for (int step = 1; step < n; step *= 2) {
        kt_vf t[KT_LANES];
#pragma GCC unroll 16
        for (int i = 0; i < n / 2; i++) {
            t[i] = __builtin_shuffle(r[2 * i], r[2 * i + 1], KT_EVEN);
            t[i + n / 2] = __builtin_shuffle(r[2 * i], r[2 * i + 1], KT_EVEN + 1);
        }
#pragma GCC unroll 16
        for (int i = 0; i < n; i++) {
            r[i] = t[i];
        }
    }
}

/* The way back. */
KT_INLINE void kt_zip(kt_vf *r, const int n)
{
    for (int step = 1; step < n; step *= 2) {
        kt_vf t[KT_LANES];
#pragma GCC unroll 16
        for (int i = 0; i < n / 2; i++) {
            t[2 * i] = __builtin_shuffle(r[i], r[i + n / 2], KT_LOW);
            t[2 * i + 1] = __builtin_shuffle(r[i], r[i + n / 2], KT_LOW + KT_LANES / 2);
        }
#pragma GCC unroll 16
        for (int i = 0; i < n; i++) {
            r[i] = t[i];
        }
    }
}

/* Sums neighbours until one vector is left: element p is the sum of the p-th of KT_LANES runs of n.
 */
KT_INLINE kt_vf kt_sum_runs(kt_vf *r, const int n)
{
    for (int left = n; left > 1; left /= 2) {
#pragma GCC unroll 16
        for (int i = 0; i < left / 2; i++) {
            r[i] = __builtin_shuffle(r[2 * i], r[2 * i + 1], KT_EVEN) +
                   __builtin_shuffle(r[2 * i], r[2 * i + 1], KT_EVEN + 1);
        }
    }
    return r[0];
}

#endif
