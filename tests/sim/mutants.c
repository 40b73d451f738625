#include "tests/sim/mutants.h"

#include <math.h>

static int deaf_command(void *arg, int device, const struct kt_sim_command *c)
{
    return c->kind != KT_SIM_COMMIT || c->wish.fresh;
}
const struct kt_sim_hooks mutant_deaf = {.command = deaf_command};

static void lazy_job(void *arg, int device, double now, struct kt_job *job)
{
    if (job->kind == KT_JOB_DECODE && fmod(now, 2000) < 900) {
        *job = (struct kt_job){.kind = KT_JOB_NONE, .wake_ms = now + 50};
    }
}
const struct kt_sim_hooks mutant_lazy = {.job = lazy_job};

static void greedy_resources(void *arg, struct kt_board_resources *r)
{
    r->pages_free += 1000;
}
const struct kt_sim_hooks mutant_greedy = {.resources = greedy_resources};

static int mood; /* on purpose: what no policy may have */

static void moody_job(void *arg, int device, double now, struct kt_job *job)
{
    mood = (mood * 5 + 1) % 1024;
    if (job->kind == KT_JOB_STEP && mood % 7 == 0) {
        *job = (struct kt_job){.kind = KT_JOB_NONE, .wake_ms = now + 1};
    }
}
const struct kt_sim_hooks mutant_moody = {.job = moody_job};

static int restless_command(void *arg, int device, const struct kt_sim_command *c)
{
    return c->kind != KT_SIM_PAUSED;
}
const struct kt_sim_hooks mutant_restless = {.command = restless_command};

static void nostalgic_job(void *arg, int device, double now, struct kt_job *job)
{
    if (job->kind == KT_JOB_DROP) {
        job->kind = KT_JOB_PROMOTE;
        job->frame = 0;
        job->flush = 1;
    }
}
const struct kt_sim_hooks mutant_nostalgic = {.job = nostalgic_job};

static void forgetful_result(void *arg, const struct kt_job *job, struct kt_job_result *r)
{
    r->ms /= 2;
}
const struct kt_sim_hooks mutant_forgetful = {.result = forgetful_result};
