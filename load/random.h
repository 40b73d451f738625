/* Small seeded random numbers (splitmix64): what is typed, and when, must be the same in every run
 * with the same seed, on every machine.
 *
 * Thread-safety: plain data. */
#ifndef KT_LOAD_RANDOM_H
#define KT_LOAD_RANDOM_H

#include <stdint.h>

struct kt_random {
    uint64_t state;
};

/* An independent stream for each (seed, stream). */
static inline struct kt_random kt_random_init(uint64_t seed, uint64_t stream)
{
    return (struct kt_random){seed * UINT64_C(0x9e3779b97f4a7c15) ^
                              (stream + 1) * UINT64_C(0xd1b54a32d192ed03)};
}

static inline uint64_t kt_random_next(struct kt_random *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* From low to high, both included; the bias of the remainder does not matter for these ranges. */
static inline int64_t kt_random_between(struct kt_random *r, int64_t low, int64_t high)
{
    return low + (int64_t)(kt_random_next(r) % (uint64_t)(high - low + 1));
}

#endif
