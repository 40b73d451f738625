#include "engine/sched/timestep.h"

#include "engine/base/assert.h"

enum { KT_TRAIN_STEPS = 1000 };

static double sigma_at(int index, double shift)
{
    double s = (double)(KT_TRAIN_STEPS - index) / KT_TRAIN_STEPS;
    return shift * s / (1.0 + (shift - 1.0) * s);
}

void kt_schedule_init(struct kt_schedule *s, const struct kt_sampler_config *c)
{
    KT_ASSERT(c->steps >= 1 && c->steps <= KT_STEPS_MAX);
    s->steps = c->steps;
    for (int i = 0; i < c->steps; i++) {
        int index = KT_TRAIN_STEPS - c->denoising_step_list[i];
        int past_end =
            index >= KT_TRAIN_STEPS; /* timestep 0; its nearest table entry is the last */
        double sigma = sigma_at(past_end ? KT_TRAIN_STEPS - 1 : index, c->timestep_shift);
        s->sigma[i] = (float)sigma;
        s->timestep[i] = past_end ? 0.0f : (float)(sigma * KT_TRAIN_STEPS);
    }
}

void kt_schedule_pick(const struct kt_schedule *s, int steps, int picks[KT_STEPS_MAX])
{
    KT_ASSERT(steps >= 1 && steps <= s->steps);
    for (int i = 0; i < steps; i++) {
        picks[i] = i * s->steps / steps;
    }
}
