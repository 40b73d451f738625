/* What pieces of work cost on this device: running means, measured where they are done.
 *
 * Thread-safety: plain data. */
#ifndef KT_ENGINE_SCHED_COSTS_H
#define KT_ENGINE_SCHED_COSTS_H

/* Milliseconds; 0 until measured. */
struct kt_costs {
    double text_ms, step_ms, commit_ms, decode_ms;
    double recache_ms; /* per latent */
};

/* Mixes a new measurement in; slow pieces (a preempted thread) move the mean as little as fast
 * ones. */
void kt_costs_add(double *mean_ms, double ms);

#endif
