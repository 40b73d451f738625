/* SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
#include "sim/random.h"

uint64_t kt_sim_random_u64(struct kt_sim_random *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void kt_sim_random_seed(struct kt_sim_random *r, uint64_t seed, uint64_t who)
{
    r->state = seed;
    r->state = kt_sim_random_u64(r) ^ (who * UINT64_C(0xd1342543de82ef95));
    r->state = kt_sim_random_u64(r);
}

double kt_sim_random_between(struct kt_sim_random *r, double low, double high)
{
    return low + (high - low) * ((double)(kt_sim_random_u64(r) >> 11) * 0x1p-53);
}

int kt_sim_random_below(struct kt_sim_random *r, int n)
{
    return (int)(kt_sim_random_u64(r) % (uint64_t)n);
}

int kt_sim_random_chance(struct kt_sim_random *r, double probability)
{
    return kt_sim_random_between(r, 0, 1) < probability;
}
