/* The pure policies, on states written by hand and on a virtual clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sched/pace.h"
#include "engine/sched/pick.h"
#include "engine/sched/timestep.h"

static const struct kt_sched_limits limits = {
    .lead_ms_max = 500, .undecoded_max = 3, .frames_per_latent = 4};

static struct kt_sched_session playing(double lead_ms)
{
    return (struct kt_sched_session){
        .runnable = 1, .has_timeline = 1, .lead_ms = lead_ms, .frames_free = 16};
}

static void least_lead_first(void **state)
{
    struct kt_sched_session s[3] = {playing(300), playing(100), playing(200)};
    struct kt_job job = kt_sched_pick(s, 3, &limits);
    assert_int_equal(job.session, 1);
    assert_int_equal(job.kind, KT_JOB_BEGIN);
}

static void a_prompt_comes_first(void **state)
{
    struct kt_sched_session s[2] = {playing(100), playing(400)};
    s[0].block_active = 1, s[0].steps_left = 2;
    s[1].prompt_waiting = 1;
    struct kt_job job = kt_sched_pick(s, 2, &limits);
    assert_int_equal(job.session, 1);
    assert_int_equal(job.kind, KT_JOB_PROMPT);
}

static void order_within_a_session(void **state)
{
    struct kt_sched_session s = playing(100);
    s.block_active = 1, s.steps_left = 2, s.undecoded = 1;
    assert_int_equal(kt_sched_pick(&s, 1, &limits).kind, KT_JOB_DECODE);
    s.lead_ms = 500;
    assert_int_equal(kt_sched_pick(&s, 1, &limits).kind, KT_JOB_STEP);
    s.steps_left = 0;
    assert_int_equal(kt_sched_pick(&s, 1, &limits).kind, KT_JOB_COMMIT);
    s.block_active = 0, s.undecoded = 3;
    assert_int_equal(kt_sched_pick(&s, 1, &limits).kind, KT_JOB_NONE);
    s.lead_ms = 100, s.frames_free = 3; /* nowhere to put the frames */
    assert_int_equal(kt_sched_pick(&s, 1, &limits).kind, KT_JOB_NONE);
    s.runnable = 0, s.prompt_waiting = 1;
    assert_int_equal(kt_sched_pick(&s, 1, &limits).kind, KT_JOB_NONE);
}

/* Four sessions on a virtual clock, on a device just fast enough: none runs dry after the start. */
static void nobody_starves(void **state)
{
    enum { N = 4 };
    struct kt_sched_session s[N];
    double dry_ms[N] = {0}, now = 0;
    for (int i = 0; i < N; i++) {
        s[i] = playing(0);
    }
    while (now < 60000) {
        struct kt_job job = kt_sched_pick(s, N, &limits);
        double cost = job.kind == KT_JOB_STEP ? 25 : job.kind == KT_JOB_COMMIT ? 20 : 10;
        struct kt_sched_session *j = &s[job.session];
        switch (job.kind) {
        case KT_JOB_BEGIN: j->block_active = 1, j->steps_left = 4, cost = 0; break;
        case KT_JOB_STEP: j->steps_left--; break;
        case KT_JOB_COMMIT: j->block_active = 0, j->undecoded += 3; break;
        case KT_JOB_DECODE: j->undecoded--, j->lead_ms += 250; break;
        default: cost = 1; break;
        }
        now += cost;
        for (int i = 0; i < N; i++) {
            s[i].lead_ms -= cost;
            if (s[i].lead_ms < 0) {
                dry_ms[i] += now > 5000 ? -s[i].lead_ms : 0;
                s[i].lead_ms = 0;
            }
        }
    }
    for (int i = 0; i < N; i++) { /* 4 * 150 ms a 750 ms block: 80 % load */
        assert_true(dry_ms[i] == 0);
    }
}

/* A device too slow for anyone: whatever it makes is sent at once, all leads stay 0. */
static void equals_take_turns(void **state)
{
    struct kt_sched_session s[3] = {playing(0), playing(0), playing(0)};
    struct kt_sched_limits l = limits;
    int served[3] = {0};
    for (int n = 0; n < 30; n++) {
        struct kt_job job = kt_sched_pick(s, 3, &l);
        served[job.session]++;
        l.first = (job.session + 1) % 3;
    }
    assert_int_equal(served[0], 10);
    assert_int_equal(served[1], 10);
    assert_int_equal(served[2], 10);
}

static void pace_drops_steps_then_slows(void **state)
{
    struct kt_pace_params p = {
        .fps = 16, .steps_full = 4, .sessions = 1, .block_latents = 3, .frames_per_latent = 4};
    struct kt_costs fast = {.step_ms = 60, .commit_ms = 50, .decode_ms = 20};
    struct kt_costs slow = {.step_ms = 150, .commit_ms = 100, .decode_ms = 40};
    struct kt_costs slower = {.step_ms = 400, .commit_ms = 300, .decode_ms = 100};
    struct kt_pace now = {.fps = 16, .steps = 4};
    now = kt_pace_choose(&p, &fast, &now);
    assert_int_equal(now.steps, 4);
    assert_true(now.fps == 16);
    now = kt_pace_choose(&p, &slow, &now); /* 4 steps need 820 ms of 750, 2 need 520 */
    assert_int_equal(now.steps, 2);
    assert_true(now.fps == 16);
    now = kt_pace_choose(&p, &slower, &now);
    assert_int_equal(now.steps, 2);
    assert_true(now.fps > 5 && now.fps < 16);
    p.steps_wanted = 4;
    now = kt_pace_choose(&p, &slow, &now);
    assert_int_equal(now.steps, 4);
    assert_true(now.fps < 16);
}

/* Between the two thresholds the pace stays what it was: no flapping. */
static void pace_has_hysteresis(void **state)
{
    struct kt_pace_params p = {
        .fps = 16, .steps_full = 4, .sessions = 1, .block_latents = 3, .frames_per_latent = 4};
    struct kt_costs just_fits = {.step_ms = 120, .commit_ms = 100, .decode_ms = 30};
    struct kt_pace four = {.fps = 16, .steps = 4}, two = {.fps = 16, .steps = 2};
    assert_int_equal(kt_pace_choose(&p, &just_fits, &four).steps, 4);
    assert_int_equal(kt_pace_choose(&p, &just_fits, &two).steps, 2);
}

static void schedule_is_warped(void **state)
{
    struct kt_sampler_config c = {
        .steps = 4, .denoising_step_list = {1000, 750, 500, 250}, .timestep_shift = 5};
    struct kt_schedule s;
    int picks[KT_STEPS_MAX];
    kt_schedule_init(&s, &c);
    assert_float_equal(s.timestep[0], 1000, 1e-3);
    assert_float_equal(s.timestep[1], 937.5, 1e-3);
    assert_float_equal(s.timestep[2], 833.3333, 1e-3);
    assert_float_equal(s.timestep[3], 625, 1e-3);
    kt_schedule_pick(&s, 2, picks);
    assert_int_equal(picks[0], 0);
    assert_int_equal(picks[1], 2);
    kt_schedule_pick(&s, 3, picks);
    assert_int_equal(picks[2], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(least_lead_first),       cmocka_unit_test(a_prompt_comes_first),
        cmocka_unit_test(order_within_a_session), cmocka_unit_test(nobody_starves),
        cmocka_unit_test(equals_take_turns),      cmocka_unit_test(pace_drops_steps_then_slows),
        cmocka_unit_test(pace_has_hysteresis),    cmocka_unit_test(schedule_is_warped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
