/* Multiply-adds on registers alone, per instruction set: what "% of peak" in --bench is relative
 * to. */
/* C17 mode would not fuse a * b + c. */
#ifdef __clang__
#pragma clang fp contract(fast)
#else
#pragma GCC optimize("fp-contract=fast")
#endif
#include "tests/kernels/checkkern.h"

#include <string.h>
#include <time.h>

#define KT_PEAK(name, attribute, lanes)                                                            \
    typedef float name##_vec __attribute__((vector_size(lanes * 4)));                              \
    attribute static float name(long rounds)                                                       \
    {                                                                                              \
        name##_vec acc[10], a, b;                                                                  \
        for (int i = 0; i < lanes; i++) {                                                          \
            a[i] = 0.999f;                                                                         \
            b[i] = 1e-3f;                                                                          \
        }                                                                                          \
        for (int i = 0; i < 10; i++) { /* ten different chains: equal ones would be merged */      \
            acc[i] = b * (float)i;                                                                 \
        }                                                                                          \
        for (long r = 0; r < rounds; r++) {                                                        \
            _Pragma("GCC unroll 10") for (int i = 0; i < 10; i++)                                  \
            {                                                                                      \
                acc[i] = acc[i] * a + b;                                                           \
            }                                                                                      \
        }                                                                                          \
        float sum = 0.0f;                                                                          \
        for (int i = 0; i < 10; i++) {                                                             \
            sum += acc[i][0];                                                                      \
        }                                                                                          \
        return sum;                                                                                \
    }

#ifdef __x86_64__
KT_PEAK(peak_avx512, __attribute__((target("avx512f"))), 16)
KT_PEAK(peak_avx2, __attribute__((target("avx2,fma"))), 8)
#endif
KT_PEAK(peak_plain, , 4)

static volatile float sink;

static int run(const char *level, long rounds)
{
#ifdef __x86_64__
    const int dnnl = strcmp(level, "dnnl") == 0; /* takes the widest that there is */
    if (strcmp(level, "avx512") == 0 || (dnnl && __builtin_cpu_supports("avx512f"))) {
        sink = peak_avx512(rounds);
        return 16;
    }
    if (strcmp(level, "avx2") == 0 || (dnnl && __builtin_cpu_supports("avx2"))) {
        sink = peak_avx2(rounds);
        return 8;
    }
#endif
    sink = peak_plain(rounds);
    return 4;
}

double ck_peak(const char *level)
{
    const long rounds = 100000;
    double best = 0.0;
    for (int i = 0; i < 50; i++) { /* the best of many short runs: the machine may be busy */
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        const int lanes = run(level, rounds);
        clock_gettime(CLOCK_MONOTONIC, &end);
        const double s =
            (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
        const double gflops = 20.0 * (double)rounds * lanes / s * 1e-9;
        best = gflops > best ? gflops : best;
    }
    return best;
}
