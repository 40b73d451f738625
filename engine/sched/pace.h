/* How fast a session's video can play, and with how many steps, on a device as fast as it was
 * measured to be.
 *
 * Thread-safety: plain data, pure functions. */
#ifndef KT_ENGINE_SCHED_PACE_H
#define KT_ENGINE_SCHED_PACE_H

#include "engine/model/config.h"

/* Running means of what pieces of work cost here, milliseconds; 0 until measured. */
struct kt_costs {
    double step_ms, commit_ms, decode_ms;
};

/* Mixes a new measurement in; slow pieces (a preempted thread) move the mean as little as fast
 * ones. */
void kt_costs_add(double *mean_ms, double ms);

struct kt_pace_params {
    double fps;       /* the model's frame rate */
    int steps_full;   /* the model's step count */
    int steps_wanted; /* 0: automatic, else fixed */
    int sessions;     /* active sessions sharing the device, >= 1 */
    int block_latents, frames_per_latent;
};

struct kt_pace {
    double fps; /* what the video can sustain, <= params.fps */
    int steps;
};

/* Automatic: full steps while they sustain the frame rate, else half as many (at least 1), and
 * evenly slower when that is not enough either. `now` is the pace in force: to go back up, full
 * steps must fit with a margin. */
struct kt_pace kt_pace_choose(const struct kt_pace_params *p, const struct kt_costs *c,
                              const struct kt_pace *now);

#endif
