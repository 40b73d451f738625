/* Turning pixels x channels into one vector of pixels per channel and back, for ops that work
 * across pixels. Private to kernels/cpu/simd; include after vec.h. */
#ifndef KT_KERNELS_CPU_SIMD_TURN_H
#define KT_KERNELS_CPU_SIMD_TURN_H

#include "kernels/cpu/simd/vec.h"

/* KT_EVEN: every second element of a, then of b (odd 1: the odd ones). KT_LOW: the lower halves of
 * a and b, element by element (from KT_LANES / 2: the upper halves). Macros, because gcc and clang
 * share only the shuffle whose indices are constants. */
#if KT_LANES == 16
#define KT_EVEN(a, b, odd)                                                                         \
    __builtin_shufflevector(a, b, 0 + odd, 2 + odd, 4 + odd, 6 + odd, 8 + odd, 10 + odd, 12 + odd, \
                            14 + odd, 16 + odd, 18 + odd, 20 + odd, 22 + odd, 24 + odd, 26 + odd,  \
                            28 + odd, 30 + odd)
#define KT_LOW(a, b, from)                                                                         \
    __builtin_shufflevector(a, b, from, 16 + from, 1 + from, 17 + from, 2 + from, 18 + from,       \
                            3 + from, 19 + from, 4 + from, 20 + from, 5 + from, 21 + from,         \
                            6 + from, 22 + from, 7 + from, 23 + from)
#else
#define KT_EVEN(a, b, odd)                                                                         \
    __builtin_shufflevector(a, b, 0 + odd, 2 + odd, 4 + odd, 6 + odd, 8 + odd, 10 + odd, 12 + odd, \
                            14 + odd)
#define KT_LOW(a, b, from)                                                                         \
    __builtin_shufflevector(a, b, from, 8 + from, 1 + from, 9 + from, 2 + from, 10 + from,         \
                            3 + from, 11 + from)
#endif

/* n vectors holding KT_LANES pixels of n channels, pixel after pixel, become one vector per
 * channel: log2(n) times, all even elements move to the front. */
KT_INLINE void kt_unzip(kt_vf *r, const int n)
{
    for (int step = 1; step < n; step *= 2) {
        kt_vf t[KT_LANES];
#pragma GCC unroll 16
        for (int i = 0; i < n / 2; i++) {
            t[i] = KT_EVEN(r[2 * i], r[2 * i + 1], 0);
            t[i + n / 2] = KT_EVEN(r[2 * i], r[2 * i + 1], 1);
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
            t[2 * i] = KT_LOW(r[i], r[i + n / 2], 0);
            t[2 * i + 1] = KT_LOW(r[i], r[i + n / 2], KT_LANES / 2);
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
            r[i] = KT_EVEN(r[2 * i], r[2 * i + 1], 0) + KT_EVEN(r[2 * i], r[2 * i + 1], 1);
        }
    }
    return r[0];
}

#endif
