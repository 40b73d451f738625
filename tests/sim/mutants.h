/* Spoiled policies and executors, to show that each property of test_sim.c can fail. */
#ifndef KT_TESTS_SIM_MUTANTS_H
#define KT_TESTS_SIM_MUTANTS_H

#include "sim/device.h"

extern const struct kt_sim_hooks mutant_deaf;      /* never hears of a commit after the first */
extern const struct kt_sim_hooks mutant_lazy;      /* puts decoding off, again and again */
extern const struct kt_sim_hooks mutant_greedy;    /* believes in endless memory */
extern const struct kt_sim_hooks mutant_moody;     /* decides by what it did in earlier runs */
extern const struct kt_sim_hooks mutant_restless;  /* never hears of a pause */
extern const struct kt_sim_hooks mutant_nostalgic; /* shows what should be thrown away */
extern const struct kt_sim_hooks mutant_forgetful; /* reports half of the device time */

#endif
