/* Properties of the scheduler in random small worlds and a large one, and mutants that break them.
 *
 * usage: test_sim [SEED [WORLDS]] */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/report.h"
#include "tests/sim/mutants.h"

static uint64_t seed = 20261122;
static int worlds = 200;

/* ---- random worlds ---- */

static double scaled(struct kt_sim_random *r, double ms, double by)
{
    return ms * by * kt_sim_random_between(r, 0.8, 1.25);
}

static void draw_costs(struct kt_sim_random *r, struct kt_sim_costs *c)
{
    int count = 0;
    while (kt_sim_costs_presets[count].name) {
        count++;
    }
    *c = kt_sim_costs_presets[kt_sim_random_below(r, count)];
    double by = kt_sim_random_between(r, 0.3, 1.5);
    c->text_ms = scaled(r, c->text_ms, by);
    c->step_ms = scaled(r, c->step_ms, by);
    c->commit_ms = scaled(r, c->commit_ms, by);
    c->recache_ms = scaled(r, c->recache_ms, by);
    c->decode_ms = scaled(r, c->decode_ms, by);
}

static void draw_policy(struct kt_sim_random *r, struct kt_policy *p)
{
    static const int every[] = {0, 3, 6, 12};
    p->decode_lead = 1 + kt_sim_random_below(r, 3);
    p->depth = kt_sim_random_below(r, 3);
    p->checkpoint_every = every[kt_sim_random_below(r, 4)];
    p->drafts = kt_sim_random_below(r, 4) > 0;
    p->text_after_ms = kt_sim_random_between(r, 0, 200);
    p->draft_after_ms = kt_sim_random_between(r, 0, 600);
    p->draft_keep_ms = kt_sim_random_between(r, 500, 5000);
    p->reserve_ms = kt_sim_random_between(r, 0, 200);
    p->drafts_first = kt_sim_random_below(r, 2);
    p->fifo = kt_sim_random_below(r, 10) == 0;
}

static void draw_people(struct kt_sim_random *r, struct kt_sim_people *p)
{
    p->enter_ms.low = kt_sim_random_between(r, 0, 300);
    p->enter_ms.high = p->enter_ms.low + kt_sim_random_between(r, 1, 1500);
    p->watch_ms.low = kt_sim_random_between(r, 0, 2000);
    p->watch_ms.high = p->watch_ms.low + kt_sim_random_between(r, 1, 4000);
    p->restless = kt_sim_random_between(r, 0, 0.4);
    p->words_max = 1 + kt_sim_random_below(r, 5);
    p->words_min = 1;
}

/* A commit or a stream may have to wait until everybody else had several turns, not longer. */
static double patience_s(const struct kt_sim_params *p)
{
    int each = p->door == KT_SIM_DOOR_ALL ? p->places : 4;
    double turn_ms =
        kt_sim_costs_block_ms(&p->costs, 4, 3) + p->costs.text_ms + 24 * p->costs.recache_ms;
    return (4 * each * turn_ms * (1 + p->jitter) + 4000) / 1000;
}

static void draw_world(struct kt_sim_params *p, uint64_t number)
{
    struct kt_sim_random r;
    struct kt_sim_costs costs;
    kt_sim_random_seed(&r, seed, number);
    draw_costs(&r, &costs);
    kt_sim_params_default(p, &costs);
    draw_policy(&r, &p->policy);
    draw_people(&r, &p->people);
    p->seed = kt_sim_random_u64(&r) >> 1;
    p->devices = 1 + kt_sim_random_below(&r, 3);
    p->places = 1 + kt_sim_random_below(&r, 6);
    p->sessions = 1 + kt_sim_random_below(&r, 2 * p->devices * p->places);
    p->seconds = kt_sim_random_between(&r, 8, 40);
    p->jitter = kt_sim_random_between(&r, 0, 0.3);
    p->cut = (enum kt_cut)kt_sim_random_below(&r, 3);
    p->recache = kt_sim_random_below(&r, 4) * 3;
    p->settings.preview = kt_sim_random_below(&r, 2);
    p->settings.steps = kt_sim_random_below(&r, 5);
    p->door = kt_sim_random_below(&r, 2) ? KT_SIM_DOOR_ALL : KT_SIM_DOOR_BOARD;
    p->stay_s = kt_sim_random_below(&r, 2) ? (struct kt_sim_span){2, 15} : (struct kt_sim_span){0};
    p->pages_percent = 60 + kt_sim_random_below(&r, 41);
    p->net.up_ms = kt_sim_random_between(&r, 0, 80);
    p->net.down_ms = kt_sim_random_between(&r, 0, 80);
    p->net.jitter_ms = kt_sim_random_between(&r, 0, 40);
    p->patience_s = patience_s(p);
}

/* ---- properties ---- */

static int same_time(double a, double b)
{
    double d = a - b;
    return d < 1e-6 * (a + 1) && d > -1e-6 * (a + 1);
}

/* The first property that does not hold, or NULL. */
static const char *broken(const struct kt_sim_report *r)
{
    const struct kt_sim_faults *f = &r->faults;
    return f->promoted    ? "promotion: nobody committed it, or its successor is shown"
           : f->memory    ? "memory: over the pool"
           : f->jobs      ? "jobs: one that makes no sense"
           : f->idle      ? "jobs: list work without an end"
           : r->stale     ? "screen: an old prompt after its successor"
           : r->backwards ? "screen: a picture twice, or an earlier one"
           : r->starved   ? "starvation: somebody waited too long"
           : f->lost      ? "commits: one was given up"
           : !same_time(r->busy_ms, r->useful_ms + r->wasted_ms + r->undecided_ms)
               ? "books: useful + wasted + undecided != busy"
           : !same_time(r->busy_ms, r->board_busy_ms)  ? "books: the board counts another time"
           : r->busy_ms > 1.0001 * r->device_ms + 1000 ? "books: more than there is"
                                                       : NULL;
}

static void run(const struct kt_sim_params *p, struct kt_sim_report *r)
{
    struct kt_error err = {{0}};
    if (kt_sim_run(p, r, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static char *in_json(const struct kt_sim_params *p)
{
    struct kt_sim_report r;
    run(p, &r);
    json_t *json = kt_sim_report_json(p, &r);
    assert_non_null(json);
    char *text = json_dumps(json, JSON_REAL_PRECISION(17));
    json_decref(json);
    kt_sim_report_finish(&r);
    return text;
}

static void test_small_worlds(void **state)
{
    uint64_t commits = 0, promoted = 0;
    int bad = 0;
    for (int i = 0; i < worlds; i++) {
        struct kt_sim_params p;
        struct kt_sim_report r;
        draw_world(&p, (uint64_t)i);
        run(&p, &r);
        const char *why = broken(&r);
        if (why) {
            bad++;
            print_error("seed %llu, world %d: %s (%s) [waited %.0f ms, patience %.0f]\n",
                        (unsigned long long)seed, i, why, r.faults.first, r.wait_max_ms,
                        p.patience_s * 1000);
        }
        commits += r.commits;
        promoted += r.applied;
        kt_sim_report_finish(&r);
    }
    print_message("%d worlds: %llu commits, %llu took effect\n", worlds,
                  (unsigned long long)commits, (unsigned long long)promoted);
    assert_int_equal(bad, 0);
    assert_true(promoted > (uint64_t)worlds);
}

static void test_same_seed_same_report(void **state)
{
    for (int i = 0; i < worlds; i += 10) {
        struct kt_sim_params p;
        draw_world(&p, (uint64_t)i);
        char *a = in_json(&p), *b = in_json(&p);
        if (strcmp(a, b) != 0) {
            fail_msg("seed %llu, world %d: two runs differ", (unsigned long long)seed, i);
        }
        free(a);
        free(b);
    }
}

/* A device at no more than this share of its time, with one person typing at a time in a while,
 * shows no holes at all. */
#define FEASIBLE 0.4

static void draw_feasible(struct kt_sim_params *p, uint64_t number)
{
    struct kt_sim_random r;
    struct kt_sim_costs costs;
    kt_sim_random_seed(&r, seed, UINT64_C(1) << 32 | number);
    draw_costs(&r, &costs);
    kt_sim_params_default(p, &costs);
    p->seed = kt_sim_random_u64(&r) >> 1;
    p->seconds = 40;
    p->policy.depth = 1 + kt_sim_random_below(&r, 4);
    p->settings.steps = 4;
    p->door = KT_SIM_DOOR_ALL;
    p->jitter = 0.1;
    double use = kt_sim_costs_block_ms(&costs, 4, 3) / 750;
    p->sessions = (int)(FEASIBLE / use);
    p->places = p->sessions < 1 ? 1 : p->sessions;
}

/* What is made ahead never takes a cut at the playhead out of reach: the picture goes on within a
 * block, whatever depth was asked for. */
enum { JUMP_MAX = 12 };

static void test_deadlines_are_met_when_feasible(void **state)
{
    int tried = 0, bad = 0, jump = 0;
    for (int i = 0; i < worlds / 4; i++) {
        struct kt_sim_params p;
        struct kt_sim_report r;
        draw_feasible(&p, (uint64_t)i);
        if (p.sessions < 1) {
            continue;
        }
        tried++;
        run(&p, &r);
        if (r.holes > 0) {
            bad++;
            print_error(
                "seed %llu, feasible world %d (%s, %d sessions): %llu holes, worst %.0f ms\n",
                (unsigned long long)seed, i, p.costs.name, p.sessions, (unsigned long long)r.holes,
                r.hole_max_ms);
        }
        jump = r.jump_max > jump ? (int)r.jump_max : jump;
        if (r.jump_max > JUMP_MAX) {
            bad++;
            print_error("seed %llu, feasible world %d (%s, %d sessions, depth %d): jumps of %d\n",
                        (unsigned long long)seed, i, p.costs.name, p.sessions, p.policy.depth,
                        (int)r.jump_max);
        }
        kt_sim_report_finish(&r);
    }
    print_message("%d feasible worlds, jumps of at most %d pictures\n", tried, jump);
    assert_int_equal(bad, 0);
    assert_true(tried > 0);
}

static void test_ten_thousand_sessions(void **state)
{
    struct kt_sim_params p;
    struct kt_sim_report r;
    kt_sim_params_default(&p, kt_sim_costs_find("demo-cpu"));
    p.seed = seed;
    p.devices = 1000;
    p.sessions = 10000;
    p.places = 10;
    p.door = KT_SIM_DOOR_ALL;
    p.arrive_s = 1;
    p.seconds = 6;
    p.people.watch_ms = (struct kt_sim_span){500, 2000};
    p.patience_s = patience_s(&p);
    run(&p, &r);
    print_message("%d sessions on %d devices: %llu events, %llu pictures\n", r.sessions_in,
                  p.devices, (unsigned long long)r.events, (unsigned long long)r.pictures);
    assert_int_equal(r.sessions_in, 10000);
    const char *why = broken(&r);
    if (why) {
        fail_msg("%s (%s)", why, r.faults.first);
    }
    kt_sim_report_finish(&r);
}

/* Half of what a cold commit waits for its preview is the recache: without six of nine latents both
 * preview and picture come earlier by what those cost. */
static void test_shorter_recache_shows_sooner(void **state)
{
    double preview[2], picture[2];
    struct kt_sim_params p;
    kt_sim_params_default(&p, kt_sim_costs_find("h200-fp8"));
    p.policy.drafts = 0;
    p.seconds = 900;
    for (int i = 0; i < 2; i++) {
        struct kt_sim_report r;
        p.recache = i ? 3 : KT_RECACHE_FULL;
        run(&p, &r);
        struct kt_sim_percentiles first = kt_sim_preview_latency(&r);
        assert_true(first.n > 0 && first.n == r.sample_count); /* none without */
        preview[i] = first.p50;
        picture[i] = kt_sim_latency(&r, 0, 0, 1e9, 0).p50;
        kt_sim_report_finish(&r);
    }
    double saved = 6 * p.costs.recache_ms;
    assert_true(preview[0] < picture[0] && preview[1] < picture[1]);
    assert_true(preview[0] - preview[1] > 0.9 * saved && preview[0] - preview[1] < 1.1 * saved);
    assert_true(picture[0] - picture[1] > 0.9 * saved && picture[0] - picture[1] < 1.1 * saved);
}

/* Counts promotions in the midst of a block: a stream whose cuts all lie between blocks has its
 * blocks at multiples of three latents for ever. */
static void count_uneven(void *arg, int device, double now, struct kt_job *job)
{
    int64_t latents = job->frame > 0 ? 1 + (job->frame - 1) / 4 : 0;
    int uneven = job->kind == KT_JOB_PROMOTE &&
                 (latents % 3 != 0 || (job->frame > 0 && (job->frame - 1) % 4 != 0));
    *(int *)arg += uneven;
}

/* Drafts are made under every rule, and under this one too the picture changes where a block ends.
 */
static void test_block_cuts_are_drafted_and_even(void **state)
{
    int uneven = 0;
    struct kt_sim_hooks hooks = {.arg = &uneven, .job = count_uneven};
    struct kt_sim_params p;
    struct kt_sim_report r;
    kt_sim_params_default(&p, kt_sim_costs_find("h200-fp8"));
    p.cut = KT_CUT_BLOCK;
    p.seconds = 900;
    p.hooks = &hooks;
    run(&p, &r);
    assert_null(broken(&r));
    assert_int_equal(uneven, 0);
    assert_int_equal(r.holes, 0);
    assert_true(kt_sim_hit_rate(&r) > 0.6);
    kt_sim_report_finish(&r);
}

/* ---- every property can fail ---- */

static uint64_t count_broken(const struct kt_sim_hooks *mutant, const char *as)
{
    uint64_t found = 0;
    for (int i = 0; i < 40 && found == 0; i++) {
        struct kt_sim_params p;
        struct kt_sim_report r;
        draw_world(&p, (uint64_t)i);
        p.hooks = mutant;
        p.pages_percent = 60;
        p.people.restless = 0.3;
        p.seconds = 60;
        p.stay_s = (struct kt_sim_span){0};
        run(&p, &r);
        const char *why = broken(&r);
        found += why && strncmp(why, as, strlen(as)) == 0;
        kt_sim_report_finish(&r);
    }
    return found;
}

static void test_mutants_are_found(void **state)
{
    assert_true(count_broken(&mutant_deaf, "starvation"));
    assert_true(count_broken(&mutant_greedy, "memory"));
    assert_true(count_broken(&mutant_restless, "jobs"));
    assert_true(count_broken(&mutant_nostalgic, "promotion"));
    assert_true(count_broken(&mutant_forgetful, "books"));
}

static void test_lazy_mutant_makes_holes(void **state)
{
    struct kt_sim_params p;
    struct kt_sim_report r;
    kt_sim_params_default(&p, kt_sim_costs_find("demo-cpu"));
    p.hooks = &mutant_lazy;
    run(&p, &r);
    assert_true(r.holes > 0);
    kt_sim_report_finish(&r);
}

static void test_moody_mutant_differs(void **state)
{
    struct kt_sim_params p;
    kt_sim_params_default(&p, kt_sim_costs_find("demo-cpu"));
    p.hooks = &mutant_moody;
    char *a = in_json(&p), *b = in_json(&p);
    assert_string_not_equal(a, b);
    free(a);
    free(b);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_worlds),
        cmocka_unit_test(test_same_seed_same_report),
        cmocka_unit_test(test_deadlines_are_met_when_feasible),
        cmocka_unit_test(test_ten_thousand_sessions),
        cmocka_unit_test(test_shorter_recache_shows_sooner),
        cmocka_unit_test(test_block_cuts_are_drafted_and_even),
        cmocka_unit_test(test_mutants_are_found),
        cmocka_unit_test(test_lazy_mutant_makes_holes),
        cmocka_unit_test(test_moody_mutant_differs),
    };
    seed = argc > 1 ? strtoull(argv[1], NULL, 10) : seed;
    worlds = argc > 2 ? atoi(argv[2]) : worlds;
    printf("seed %llu (give another one as argument)\n", (unsigned long long)seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
