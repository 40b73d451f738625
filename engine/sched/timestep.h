/* The warped few-step schedule of flow matching (engine/MODEL.md, Sampler; LongLive/Self-Forcing's
 * scheduler).
 *
 * sigma(s) = shift * s / (1 + (shift - 1) * s) on the grid s = 1, 0.999, ... 0.001; timestep = 1000
 * * sigma. A value v of `denoising_step_list` is an index: 1000 - v into the table of timesteps (v
 * = 0: timestep 0).
 *
 * Thread-safety: plain data. */
#ifndef KT_ENGINE_SCHED_TIMESTEP_H
#define KT_ENGINE_SCHED_TIMESTEP_H

#include "engine/model/config.h"

struct kt_schedule {
    int steps;
    float timestep[KT_STEPS_MAX]; /* 0..1000, warped */
    float sigma[KT_STEPS_MAX];
};

void kt_schedule_init(struct kt_schedule *s, const struct kt_sampler_config *c);

/* Which of the schedule's steps a run with `steps` steps takes: picks[i] for i < steps, evenly from
 * the first (4 of 4: 0 1 2 3; 2 of 4: 0 2; 1 of 4: 0). `steps` must be in 1..s->steps. */
void kt_schedule_pick(const struct kt_schedule *s, int steps, int picks[KT_STEPS_MAX]);

#endif
