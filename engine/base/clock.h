/* Monotonic time in nanoseconds; the only clock the engine and the server measure with. */
#ifndef KT_ENGINE_BASE_CLOCK_H
#define KT_ENGINE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t kt_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline double kt_ms_since(int64_t start_ns)
{
    return (double)(kt_now_ns() - start_ns) * 1e-6;
}

#endif
