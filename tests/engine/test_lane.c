/* The lane over a tiny model: what the server relies on. Time is only waited for, never asserted.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/base/clock.h"
#include "engine/lane.h"
#include "tests/engine/tiny_model.h"
#include "tests/text/tmp_dir.h"

#ifdef __SANITIZE_THREAD__
enum { ROUNDS = 60 }; /* everything takes twenty times as long */
#else
enum { ROUNDS = 400 };
#endif
enum { SESSIONS = 3, WAIT_MS = 240000 };

struct seen { /* what arrived for one session */
    uint32_t epoch, applied_revision;
    int64_t next_frame, frames;
    int applied, failed, closed;
    char error[512];
};

struct fixture {
    struct tmp_dir *dir;
    struct kt_engine *e;
    struct kt_lane *lane;
    struct seen seen[SESSIONS];
    int ready;
    uint64_t random;
};

static void wake(void *arg)
{
}

static int setup_model(void **state, struct tiny_model_options options)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct kt_error err = {{0}};
    tmp_dir_make((void **)&f->dir);
    options.spiece = getenv("KT_SPIECE");
    assert_int_equal(tiny_model_write(f->dir->path, &options), 0);
    struct kt_engine_params p = {
        .model_dir = f->dir->path, .timelines_max = SESSIONS + 1, .device = {.threads = 1}};
    if (kt_engine_open(&f->e, &p, &err) < 0) {
        fail_msg("%s", err.text);
    }
    struct kt_lane_params lp = {.engine = f->e, .sessions_max = SESSIONS, .wake = wake};
    assert_int_equal(kt_lane_open(&f->lane, &lp, &err), 0);
    f->random = 88172645463325252ull;
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_model(state, (struct tiny_model_options){0});
}

static int setup_sink3(void **state)
{
    return setup_model(state, (struct tiny_model_options){.window = 12, .sink = 3, .block = 3});
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct kt_engine_info info;
    kt_lane_close(&f->lane);
    kt_engine_get_info(f->e, &info);
    assert_int_equal(info.pages_used, 0);
    assert_int_equal(info.tails_used, 0);
    kt_engine_close(&f->e);
    tmp_dir_remove((void **)&f->dir);
    free(f);
    return 0;
}

static int post(struct fixture *f, struct kt_command c, const char *text)
{
    c.text = text ? strdup(text) : NULL;
    int rc = kt_lane_post(f->lane, &c);
    if (rc < 0) {
        free(c.text);
    }
    return rc;
}

static void see_frame(struct fixture *f, struct kt_event *e)
{
    struct seen *s = &f->seen[e->session];
    const struct kt_frame *frame = e->frame;
    /* After the first frame of an epoch none of an older one follows, and frames count up by one.
     */
    assert_true(frame->epoch == s->epoch);
    assert_true(frame->frame == s->next_frame);
    assert_int_equal(frame->revision, s->applied_revision);
    s->next_frame++;
    s->frames++;
    struct kt_command sent = {.kind = KT_COMMAND_SENT,
                              .session = e->session,
                              .epoch = frame->epoch,
                              .frame = frame->frame + 1};
    assert_int_equal(post(f, sent, NULL), 0); /* sent at once: the lane runs as fast as it can */
    kt_frame_unref(&e->frame);
}

static int drain(struct fixture *f)
{
    struct kt_event e;
    int n = 0;
    while (kt_lane_poll(f->lane, &e)) {
        struct seen *s = &f->seen[e.session];
        n++;
        switch (e.kind) {
        case KT_EVENT_READY: f->ready = e.error.text[0] ? -1 : 1; break;
        case KT_EVENT_FRAME: see_frame(f, &e); break;
        case KT_EVENT_APPLIED:
            assert_true(e.epoch > s->epoch);
            s->epoch = e.epoch;
            s->applied_revision = e.revision;
            s->next_frame = e.frame_index;
            s->applied++;
            break;
        case KT_EVENT_FAILED:
            s->failed++;
            snprintf(s->error, sizeof(s->error), "%s", e.error.text);
            break;
        case KT_EVENT_PACE: assert_true(e.steps >= 1 && e.fps > 0); break;
        case KT_EVENT_CLOSED: s->closed++; break;
        }
    }
    return n;
}

/* Drains until *what >= value. */
static void until(struct fixture *f, const int64_t *what64, const int *what, int64_t value)
{
    int64_t start = kt_now_ns();
    while ((what64 ? *what64 : *what) < value) {
        if (kt_ms_since(start) > WAIT_MS) {
            fail_msg("waited %d ms for %lld, have %lld", WAIT_MS, (long long)value,
                     (long long)(what64 ? *what64 : *what));
        }
        if (!drain(f)) {
            usleep(500);
        }
    }
}

static void a_session_plays(void **state)
{
    struct fixture *f = *state;
    until(f, NULL, &f->ready, 1);
    assert_int_equal(post(f, (struct kt_command){.kind = KT_COMMAND_OPEN, .seed = 1, .revision = 1},
                          "a red circle"),
                     0);
    until(f, &f->seen[0].frames, NULL, 40);
    assert_int_equal(f->seen[0].epoch, 1);
    assert_int_equal(f->seen[0].applied_revision, 1);
    assert_int_equal(post(f, (struct kt_command){.kind = KT_COMMAND_CLOSE}, NULL), 0);
    until(f, NULL, &f->seen[0].closed, 1);
}

/* Unsent video stops at the decode lead: what the server does not send is not made. */
static void generation_stops_at_the_lead(void **state)
{
    struct fixture *f = *state;
    struct kt_event e;
    struct kt_frame *held[64];
    int count = 0;
    until(f, NULL, &f->ready, 1);
    post(f, (struct kt_command){.kind = KT_COMMAND_OPEN, .session = 1, .seed = 1, .revision = 1},
         "a red circle");
    for (int i = 0; i < 600; i++) {
        while (kt_lane_poll(f->lane, &e)) {
            if (e.kind == KT_EVENT_FRAME) {
                assert_true(count < 64);
                held[count++] = e.frame;
            }
        }
        if (i == 300) { /* of an epoch that is not: says nothing about this one */
            post(
                f,
                (struct kt_command){.kind = KT_COMMAND_SENT, .session = 1, .epoch = 9, .frame = 99},
                NULL);
        }
        usleep(1000);
    }
    assert_true(count >= 8 && count < 8 + 4);
    while (count > 0) {
        kt_frame_unref(&held[--count]);
    }
}

static void prompts_random_timing(void **state)
{
    struct fixture *f = *state;
    uint32_t revision[SESSIONS];
    until(f, NULL, &f->ready, 1);
    for (uint32_t s = 0; s < SESSIONS; s++) {
        revision[s] = 1;
        post(f,
             (struct kt_command){.kind = KT_COMMAND_OPEN, .session = s, .seed = s, .revision = 1},
             "a red circle");
    }
    for (int i = 0; i < ROUNDS; i++) {
        char text[64];
        f->random ^= f->random << 13, f->random ^= f->random >> 7, f->random ^= f->random << 17;
        uint32_t s = (uint32_t)(f->random % SESSIONS);
        enum kt_transition tr = (enum kt_transition)(f->random / 7 % 3);
        enum kt_cut cut = (enum kt_cut)(f->random / 31 % 2);
        int action = (int)(f->random / 101 % 20);
        snprintf(text, sizeof(text), "prompt number %d", i % 23);
        if (action == 0) {
            post(f,
                 (struct kt_command){.kind = KT_COMMAND_RESET, .session = s, .seed = (uint64_t)i},
                 NULL);
        } else if (action == 1) {
            post(f, (struct kt_command){.kind = KT_COMMAND_STEPS, .session = s, .steps = i % 5},
                 NULL);
        } else {
            assert_int_equal(post(f,
                                  (struct kt_command){.kind = KT_COMMAND_PROMPT,
                                                      .session = s,
                                                      .revision = ++revision[s],
                                                      .transition = tr,
                                                      .cut = cut},
                                  text),
                             0);
        }
        usleep((useconds_t)(f->random / 1009 % 8000));
        drain(f);
    }
    for (uint32_t s = 0; s < SESSIONS;
         s++) { /* in the end the last prompt is in force and video flows */
        int64_t start = kt_now_ns();
        while (f->seen[s].applied_revision != revision[s] && kt_ms_since(start) < WAIT_MS) {
            drain(f);
            usleep(500);
        }
        assert_int_equal(f->seen[s].applied_revision, revision[s]);
        assert_int_equal(f->seen[s].failed, 0);
        until(f, &f->seen[s].frames, NULL, f->seen[s].frames + 12);
    }
}

/* One picture was sent when the prompt comes: the cut keeps the sink whole (3 latents, 9 pictures)
 * and nothing more. */
static void an_early_cut_keeps_the_sink(void **state)
{
    struct fixture *f = *state;
    struct kt_lane_stats stats = {0};
    struct kt_event e;
    int64_t start = kt_now_ns(), applied_at = -1;
    until(f, NULL, &f->ready, 1);
    post(f, (struct kt_command){.kind = KT_COMMAND_OPEN, .seed = 1, .revision = 1}, "a red circle");
    while (stats.blocks < 2 && kt_ms_since(start) < WAIT_MS) {
        while (kt_lane_poll(f->lane, &e)) {
            kt_frame_unref(&e.frame);
        }
        kt_lane_get_stats(f->lane, &stats);
        usleep(500);
    }
    assert_true(stats.blocks >= 2);
    post(f, (struct kt_command){.kind = KT_COMMAND_SENT, .epoch = 1, .frame = 1}, NULL);
    post(f, (struct kt_command){.kind = KT_COMMAND_PROMPT, .revision = 2}, "a blue square");
    while (applied_at < 0 && kt_ms_since(start) < 2 * WAIT_MS) {
        while (kt_lane_poll(f->lane, &e)) {
            kt_frame_unref(&e.frame);
            applied_at = e.kind == KT_EVENT_APPLIED && e.epoch == 2 ? e.frame_index : applied_at;
        }
        usleep(500);
    }
    assert_int_equal(applied_at, 9);
}

static void bad_commands_are_refused(void **state)
{
    struct fixture *f = *state;
    until(f, NULL, &f->ready, 1);
    assert_int_equal(
        post(f, (struct kt_command){.kind = KT_COMMAND_OPEN, .session = SESSIONS}, NULL), -EINVAL);
    assert_int_equal(post(f, (struct kt_command){.kind = KT_COMMAND_PROMPT}, NULL), -EINVAL);
    assert_int_equal(post(f, (struct kt_command){.kind = KT_COMMAND_PROMPT}, ""), -EINVAL);
    assert_int_equal(post(f, (struct kt_command){.kind = KT_COMMAND_STEPS, .steps = 5}, NULL),
                     -EINVAL);
    post(f, (struct kt_command){.kind = KT_COMMAND_OPEN, .seed = 1, .revision = 1}, "a red circle");
    post(f, (struct kt_command){.kind = KT_COMMAND_OPEN, .seed = 1, .revision = 2}, "a red circle");
    until(f, NULL, &f->seen[0].failed, 1);
    assert_non_null(strstr(f->seen[0].error, "open already"));
    post(f, (struct kt_command){.kind = KT_COMMAND_PROMPT, .revision = 3}, "bad \xff utf-8");
    until(f, NULL, &f->seen[0].failed, 2);
    assert_non_null(strstr(f->seen[0].error, "UTF-8"));
    until(f, &f->seen[0].frames, NULL, 24); /* and the video goes on */
}

/* A full command ring answers -EAGAIN; nothing is lost or leaked. */
static void a_full_ring_says_so(void **state)
{
    struct fixture *f = *state;
    int rc = 0, accepted = 0;
    /* Before READY the lane does not take commands. */
    while (rc == 0 && accepted < 100000) {
        rc = post(f, (struct kt_command){.kind = KT_COMMAND_PROMPT, .revision = 1}, "x");
        accepted += rc == 0;
    }
    if (rc == 0) {
        skip(); /* the warm-up was over too soon to see it */
    }
    assert_int_equal(rc, -EAGAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_ring_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(a_session_plays, setup, teardown),
        cmocka_unit_test_setup_teardown(generation_stops_at_the_lead, setup, teardown),
        cmocka_unit_test_setup_teardown(prompts_random_timing, setup, teardown),
        cmocka_unit_test_setup_teardown(an_early_cut_keeps_the_sink, setup_sink3, teardown),
        cmocka_unit_test_setup_teardown(bad_commands_are_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
