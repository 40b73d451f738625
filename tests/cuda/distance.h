/* How far one result is from another.
 *
 * Thread-safety: pure. */
#ifndef KT_TESTS_CUDA_DISTANCE_H
#define KT_TESTS_CUDA_DISTANCE_H

#include <math.h>
#include <stddef.h>

/* Relative L2: |got - want| / |want|. NaN where either has one. */
static inline double relative_l2(const float *want, const float *got, size_t n)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        size += (double)want[i] * want[i];
    }
    return sqrt(error / size);
}

#endif
