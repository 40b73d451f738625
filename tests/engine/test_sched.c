/* Pace and schedule: pure, on numbers written by hand. The board has a test of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sched/pace.h"
#include "engine/sched/timestep.h"

static void pace_drops_steps_then_slows(void **state)
{
    struct kt_pace_params p = {
        .fps = 16, .steps_full = 4, .share = 0.92, .block_latents = 3, .frames_per_latent = 4};
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
        .fps = 16, .steps_full = 4, .share = 0.92, .block_latents = 3, .frames_per_latent = 4};
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

static void a_cap_holds_for_automatic_steps(void **state)
{
    struct kt_pace_params p = {.fps = 16,
                               .steps_full = 4,
                               .steps_cap = 2,
                               .share = 0.92,
                               .block_latents = 3,
                               .frames_per_latent = 4};
    struct kt_costs fast = {.step_ms = 60, .commit_ms = 50, .decode_ms = 20};
    struct kt_pace now = {.fps = 16, .steps = 4};
    assert_int_equal(kt_pace_choose(&p, &fast, &now).steps, 2);
    p.steps_wanted = 3;
    assert_int_equal(kt_pace_choose(&p, &fast, &now).steps, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pace_drops_steps_then_slows),
        cmocka_unit_test(pace_has_hysteresis),
        cmocka_unit_test(a_cap_holds_for_automatic_steps),
        cmocka_unit_test(schedule_is_warped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
