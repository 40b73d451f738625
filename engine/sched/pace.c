#include "engine/sched/pace.h"

/* Full steps come back only when they would fit with this much to spare. */
#define MARGIN 1.15

static double sustained_fps(const struct kt_pace_params *p, const struct kt_costs *c, int steps)
{
    double block_ms = steps * c->step_ms + c->commit_ms + p->block_latents * c->decode_ms;
    double frames = (double)p->block_latents * p->frames_per_latent;
    return block_ms > 0 ? p->share * 1000.0 * frames / block_ms : p->fps;
}

struct kt_pace kt_pace_choose(const struct kt_pace_params *p, const struct kt_costs *c,
                              const struct kt_pace *now)
{
    int most = p->steps_cap && p->steps_cap < p->steps_full ? p->steps_cap : p->steps_full;
    int steps = p->steps_wanted ? p->steps_wanted : most;
    double fps = sustained_fps(p, c, steps);
    double needed = now->steps && now->steps < steps ? p->fps * MARGIN : p->fps;
    if (!p->steps_wanted && steps > 1 && fps < needed) {
        steps = steps / 2;
        fps = sustained_fps(p, c, steps);
    }
    return (struct kt_pace){.fps = fps < p->fps ? fps : p->fps, .steps = steps};
}
