#include "engine/sched/pace.h"

/* A mean over about the last 16 measurements. A single piece counts at most twice the mean, so that
 * one preemption does not halve the frame rate. */
#define MEAN_WEIGHT (1.0 / 16.0)
#define OUTLIER     2.0

/* Share of the device that generation may plan with: encoding and the loop need the rest. */
#define USABLE 0.92
/* Full steps come back only when they would fit with this much to spare. */
#define MARGIN 1.15

void kt_costs_add(double *mean_ms, double ms)
{
    if (*mean_ms <= 0) {
        *mean_ms = ms;
        return;
    }
    double limited = ms < OUTLIER * *mean_ms ? ms : OUTLIER * *mean_ms;
    *mean_ms += (limited - *mean_ms) * MEAN_WEIGHT;
}

static double sustained_fps(const struct kt_pace_params *p, const struct kt_costs *c, int steps)
{
    double block_ms = steps * c->step_ms + c->commit_ms + p->block_latents * c->decode_ms;
    double frames = (double)p->block_latents * p->frames_per_latent;
    return block_ms > 0 ? USABLE * 1000.0 * frames / (block_ms * p->sessions) : p->fps;
}

struct kt_pace kt_pace_choose(const struct kt_pace_params *p, const struct kt_costs *c,
                              const struct kt_pace *now)
{
    int steps = p->steps_wanted ? p->steps_wanted : p->steps_full;
    double fps = sustained_fps(p, c, steps);
    double needed = now->steps && now->steps < steps ? p->fps * MARGIN : p->fps;
    if (!p->steps_wanted && steps > 1 && fps < needed) {
        steps = steps / 2;
        fps = sustained_fps(p, c, steps);
    }
    return (struct kt_pace){.fps = fps < p->fps ? fps : p->fps, .steps = steps};
}
