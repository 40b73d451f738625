/* What pieces of work cost on devices that were measured: the cost models a simulation runs with.
 *
 * Thread-safety: plain data, read only. */
#ifndef KT_SIM_COSTS_H
#define KT_SIM_COSTS_H

#include "engine/sched/costs.h"

struct kt_sim_costs {
    const char *name, *what;
    double text_ms, cached_text_ms; /* a prompt; one that the LRU has */
    double step_ms, commit_ms;      /* one denoising step; the t = 0 pass */
    double recache_ms, decode_ms;   /* per latent */
    double preview_ms;
    int recache_all; /* a full recache takes the whole window, the sink too */
    double page_mb, tail_mb;
};

extern const struct kt_sim_costs kt_sim_costs_presets[]; /* ends with a NULL name */

/* By name, or NULL. */
const struct kt_sim_costs *kt_sim_costs_find(const char *name);
/* As a lane knows them after its warm-up. */
struct kt_costs kt_sim_costs_means(const struct kt_sim_costs *c);
/* A block of `latents`, decoded. */
double kt_sim_costs_block_ms(const struct kt_sim_costs *c, int steps, int latents);

#endif
