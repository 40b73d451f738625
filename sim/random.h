/* Random numbers that are the same on every machine: integer arithmetic and no libm.
 *
 * Everybody who draws has a generator of its own, seeded from the world's seed and who they are, so
 * that a person types the same under every policy.
 *
 * Thread-safety: plain data. */
#ifndef KT_SIM_RANDOM_H
#define KT_SIM_RANDOM_H

#include <stdint.h>

struct kt_sim_random {
    uint64_t state;
};

/* `who` is any number that tells generators of one seed apart. */
void kt_sim_random_seed(struct kt_sim_random *r, uint64_t seed, uint64_t who);
uint64_t kt_sim_random_u64(struct kt_sim_random *r);
/* Evenly from [low, high). */
double kt_sim_random_between(struct kt_sim_random *r, double low, double high);
/* From 0 .. n - 1; n >= 1. */
int kt_sim_random_below(struct kt_sim_random *r, int n);
/* Non-zero with this probability. */
int kt_sim_random_chance(struct kt_sim_random *r, double probability);

#endif
