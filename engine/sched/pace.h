/* How fast a session's video can play, and with how many steps, on a device as fast as it was
 * measured to be.
 *
 * Thread-safety: plain data, pure functions. */
#ifndef KT_ENGINE_SCHED_PACE_H
#define KT_ENGINE_SCHED_PACE_H

#include "engine/sched/costs.h"

struct kt_pace_params {
    double fps;       /* the model's frame rate */
    int steps_full;   /* the model's step count */
    int steps_wanted; /* 0: automatic, else fixed */
    int steps_cap;    /* automatic: at most so many; 0: all */
    double share;     /* of the device's time, 0..1, that this session may plan with */
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
