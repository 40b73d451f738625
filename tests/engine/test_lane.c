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
    int64_t next_frame, applied_at, frames;
    int applied, failed, closed, flushed, hits, drafted_text, drafted_ready, previews;
    char error[512];
};

struct fixture {
    struct tmp_dir *dir;
    struct kt_engine *e;
    struct kt_lane *lane;
    struct seen seen[SESSIONS];
    int ready, sends;
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
    struct kt_engine_params p = {.model_dir = f->dir->path,
                                 .timelines_max = SESSIONS + 2,
                                 .contexts_max = 8 * SESSIONS + 8,
                                 .device = {.threads = 1}};
    if (kt_engine_open(&f->e, &p, &err) < 0) {
        fail_msg("%s", err.text);
    }
    struct kt_lane_params lp = {
        .engine = f->e, .sessions_max = SESSIONS, .archive_bytes = 8 << 20, .wake = wake};
    if (kt_lane_open(&f->lane, &lp, &err) < 0) {
        fail_msg("%s", err.text);
    }
    f->random = 88172645463325252ull;
    f->sends = 1;
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

static struct kt_command say(enum kt_command_kind kind, uint32_t session, uint32_t revision)
{
    return (struct kt_command){
        .kind = kind,
        .session = session,
        .wish = {.revision = revision, .seed = 1 + session, .at = -1, .from = -1},
        .settings = {.drafts = 1, .depth = -1, .preview = 1}};
}

static struct kt_command sent(uint32_t session, uint32_t epoch, int64_t frame)
{
    struct kt_command c = say(KT_COMMAND_REPORT, session, 0);
    c.epoch = epoch;
    c.sent = c.shown = frame;
    return c;
}

static void see_frame(struct fixture *f, struct kt_event *e)
{
    struct seen *s = &f->seen[e->session];
    const struct kt_frame *frame = e->frame;
    if (frame->preview) {
        s->previews++;
        assert_int_equal(frame->epoch, s->epoch + 1);
        kt_frame_unref(&e->frame);
        return;
    }
    /* After the first frame of an epoch none of an older one follows, and frames count up by one.
     */
    assert_true(frame->epoch == s->epoch);
    assert_true(frame->frame == s->next_frame);
    assert_int_equal(frame->revision, s->applied_revision);
    s->next_frame++;
    s->frames++;
    if (f->sends) { /* sent and shown at once: the lane runs as fast as it can */
        assert_int_equal(post(f, sent(e->session, frame->epoch, frame->frame + 1), NULL), 0);
    }
    kt_frame_unref(&e->frame);
}

static void see_applied(struct fixture *f, const struct kt_event *e)
{
    struct seen *s = &f->seen[e->session];
    assert_true(e->epoch > s->epoch);
    s->epoch = e->epoch;
    s->applied_revision = e->revision;
    s->next_frame = s->applied_at = e->frame_index;
    s->applied++;
    s->flushed += e->flush;
    s->hits += e->hit == 2;
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
        case KT_EVENT_DRAFTED:
            s->drafted_text += e.stage == KT_STAGE_TEXT;
            s->drafted_ready += e.stage == KT_STAGE_READY;
            break;
        case KT_EVENT_APPLIED: see_applied(f, &e); break;
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

static void open_playing(struct fixture *f, uint32_t session, int64_t frames)
{
    until(f, NULL, &f->ready, 1);
    assert_int_equal(post(f, say(KT_COMMAND_OPEN, session, 1), "a red circle"), 0);
    until(f, &f->seen[session].frames, NULL, frames);
}

static void a_session_plays(void **state)
{
    struct fixture *f = *state;
    open_playing(f, 0, 40);
    assert_int_equal(f->seen[0].epoch, 1);
    assert_int_equal(f->seen[0].applied_revision, 1);
    assert_int_equal(post(f, say(KT_COMMAND_CLOSE, 0, 0), NULL), 0);
    until(f, NULL, &f->seen[0].closed, 1);
}

/* Unsent video stops at the decode lead: what the server does not send is not made. */
static void generation_stops_at_the_lead(void **state)
{
    struct fixture *f = *state;
    f->sends = 0;
    open_playing(f, 1, 8);
    for (int i = 0; i < 600; i++) {
        drain(f);
        if (i == 300) { /* of an epoch that is not: says nothing about this one */
            post(f, sent(1, 9, 99), NULL);
        }
        usleep(1000);
    }
    assert_true(f->seen[1].frames >= 8 && f->seen[1].frames < 8 + 4);
}

static uint64_t draw(struct fixture *f, uint64_t n)
{
    f->random ^= f->random << 13, f->random ^= f->random >> 7, f->random ^= f->random << 17;
    return f->random / 7 % n;
}

static void act(struct fixture *f, uint32_t s, int i, uint32_t *revision)
{
    struct kt_command c = say(KT_COMMAND_PROMPT, s, *revision);
    char text[64];
    snprintf(text, sizeof(text), "prompt number %d", i % 23);
    c.wish.transition = (enum kt_transition)draw(f, 3);
    c.wish.cut = (enum kt_cut)draw(f, 3);
    c.wish.blend = draw(f, 4) == 0 ? (int)draw(f, 4) : 0;
    c.wish.recache = (int)draw(f, 4) - 1;
    switch (draw(f, 24)) {
    case 0: c.kind = KT_COMMAND_RESET; break;
    case 1:
        c.kind = KT_COMMAND_SETTINGS;
        c.settings.steps = i % 5;
        c.settings.depth = i % 4 - 1;
        break;
    case 2: /* may be refused when that is not kept any more: the old stream goes on then */
        c.kind = KT_COMMAND_REWIND;
        c.frame = f->seen[s].next_frame - (int64_t)draw(f, 12);
        c.frame = c.frame < 0 ? 0 : c.frame;
        break;
    case 3: c.kind = KT_COMMAND_PAUSE; break;
    case 4: c.kind = KT_COMMAND_RESUME; break;
    case 5:
    case 6:
    case 7:
    case 8:
    case 9:
    case 10: c.kind = KT_COMMAND_DRAFT; break;
    default: c.wish.revision = ++*revision; break;
    }
    int has_text = c.kind == KT_COMMAND_PROMPT || c.kind == KT_COMMAND_DRAFT;
    assert_int_equal(post(f, c, has_text ? text : NULL), 0);
}

static void prompts_random_timing(void **state)
{
    struct fixture *f = *state;
    uint32_t revision[SESSIONS];
    until(f, NULL, &f->ready, 1);
    for (uint32_t s = 0; s < SESSIONS; s++) {
        revision[s] = 1;
        post(f, say(KT_COMMAND_OPEN, s, 1), "a red circle");
    }
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t s = (uint32_t)draw(f, SESSIONS);
        act(f, s, i, &revision[s]);
        usleep((useconds_t)draw(f, 8000));
        drain(f);
    }
    for (uint32_t s = 0; s < SESSIONS; s++) { /* in the end the last prompt is in force and flows */
        struct kt_command last = say(KT_COMMAND_PROMPT, s, ++revision[s]);
        int64_t start = kt_now_ns();
        post(f, say(KT_COMMAND_RESUME, s, 0), NULL);
        assert_int_equal(post(f, last, "the last prompt"), 0);
        while (f->seen[s].applied_revision != revision[s] && kt_ms_since(start) < WAIT_MS) {
            drain(f);
            usleep(500);
        }
        if (f->seen[s].applied_revision != revision[s]) {
            fail_msg("session %u: revision %u applied, wanted %u; %d failed (%s)", s,
                     f->seen[s].applied_revision, revision[s], f->seen[s].failed, f->seen[s].error);
        }
        until(f, &f->seen[s].frames, NULL, f->seen[s].frames + 12);
    }
}

/* A text that rests is drawn ahead; Enter then shows it at once, from the playhead on. */
static void a_draft_is_ready_at_enter(void **state)
{
    struct fixture *f = *state;
    struct kt_lane_stats stats;
    struct kt_command c = say(KT_COMMAND_DRAFT, 0, 2);
    c.wish.cut = KT_CUT_NOW;
    f->sends = 0; /* the playhead stands still, so the branch does not roll */
    open_playing(f, 0, 8);
    assert_int_equal(post(f, sent(0, 1, 6), NULL), 0);
    assert_int_equal(post(f, c, "a blue square"), 0);
    until(f, NULL, &f->seen[0].drafted_ready, 1);
    assert_int_equal(f->seen[0].drafted_text, 1);
    assert_int_equal(f->seen[0].epoch, 1); /* not shown */
    c.kind = KT_COMMAND_PROMPT;
    c.wish.revision = 3;
    assert_int_equal(post(f, c, "a blue square"), 0);
    until(f, NULL, &f->seen[0].applied, 2);
    assert_int_equal(f->seen[0].applied_revision, 3);
    assert_int_equal(f->seen[0].hits, 1);
    assert_int_equal(f->seen[0].flushed, 2);
    until(f, &f->seen[0].frames, NULL, 9);
    assert_int_equal(f->seen[0].previews, 0);
    kt_lane_get_stats(f->lane, &stats);
    assert_int_equal(stats.board.hits, 1);
    assert_int_equal(stats.stage[KT_JOB_CUT].count, 2);
}

/* Under the block rule a branch may begin behind what is decoded, and decodes up to there first:
 * ready is told when its own pictures are there, not when any are. */
static void a_draft_of_a_block_cut_is_ready_when_told(void **state)
{
    struct fixture *f = *state;
    struct seen *s = &f->seen[0];
    f->sends = 0;
    open_playing(f, 0, 8);
    for (uint32_t i = 0; i < 12; i++) {
        struct kt_command c = say(KT_COMMAND_DRAFT, 0, 10 * i + 2);
        char text[64];
        int64_t frame = s->next_frame - 1 - i % 6;
        c.wish.cut = KT_CUT_BLOCK;
        snprintf(text, sizeof(text), "a blue square %u", i);
        assert_int_equal(post(f, sent(0, s->epoch, frame > 1 ? frame : 1), NULL), 0);
        assert_int_equal(post(f, c, text), 0);
        until(f, NULL, &s->drafted_ready, (int64_t)i + 1);
        c.kind = KT_COMMAND_PROMPT;
        c.wish.revision++;
        assert_int_equal(post(f, c, text), 0);
        until(f, NULL, &s->applied, (int64_t)i + 2);
        assert_int_equal(s->hits, i + 1);
        assert_int_equal(s->flushed, 1); /* the first pictures of all */
        until(f, &s->next_frame, NULL, s->applied_at + 1);
    }
}

/* A draft is not kept for ever; who was told that it is ready hears that it no longer is. */
static void a_draft_that_is_given_up_is_told(void **state)
{
    struct fixture *f = *state;
    struct kt_command c = say(KT_COMMAND_DRAFT, 0, 2);
    c.wish.cut = KT_CUT_NOW;
    f->sends = 0;
    open_playing(f, 0, 8);
    assert_int_equal(post(f, sent(0, 1, 6), NULL), 0);
    assert_int_equal(post(f, c, "a blue square"), 0);
    until(f, NULL, &f->seen[0].drafted_ready, 1);
    until(f, NULL, &f->seen[0].drafted_text, 2);
}

/* What was drawn for a text that changed is thrown away, and the stream under the old prompt is the
 * one it would have been. */
static void an_abandoned_draft_leaves_no_trace(void **state)
{
    struct fixture *f = *state;
    struct kt_lane_stats stats;
    struct kt_command c = say(KT_COMMAND_DRAFT, 0, 2);
    c.wish.cut = KT_CUT_NOW;
    open_playing(f, 0, 24);
    for (int i = 0; i < 6; i++) {
        char text[32];
        snprintf(text, sizeof(text), "thought number %d", i);
        c.wish.revision++;
        post(f, c, text);
        until(f, NULL, &f->seen[0].drafted_ready, i + 1);
    }
    post(f, c, "");
    until(f, &f->seen[0].frames, NULL, f->seen[0].frames + 100);
    kt_lane_get_stats(f->lane, &stats);
    assert_int_equal(f->seen[0].epoch, 1);
    assert_int_equal(f->seen[0].applied, 1);
    assert_true(stats.board.drops >= 5);
    assert_true(stats.board.wasted_ms > 0);
}

/* An undrafted commit gets a first idea before the full pictures, on the coming epoch. */
static void a_cold_commit_shows_a_preview(void **state)
{
    struct fixture *f = *state;
    struct kt_command c = say(KT_COMMAND_PROMPT, 0, 2);
    c.wish.cut = KT_CUT_NOW;
    open_playing(f, 0, 30);
    post(f, c, "a blue square");
    until(f, NULL, &f->seen[0].applied, 2);
    assert_true(f->seen[0].previews > 0);
}

/* A prompt right behind a reset overtakes it, and still begins the new stream. */
static void a_prompt_behind_a_reset_begins_anew(void **state)
{
    struct fixture *f = *state;
    open_playing(f, 0, 40);
    post(f, say(KT_COMMAND_RESET, 0, 0), NULL);
    assert_int_equal(post(f, say(KT_COMMAND_PROMPT, 0, 2), "a blue square"), 0);
    int64_t start = kt_now_ns();
    while (f->seen[0].applied_revision != 2 && kt_ms_since(start) < WAIT_MS) {
        drain(f);
        usleep(500);
    }
    assert_int_equal(f->seen[0].applied_revision, 2);
    assert_int_equal(f->seen[0].applied_at, 0);
}

static void a_stream_can_be_rewound(void **state)
{
    struct fixture *f = *state;
    struct kt_command c = say(KT_COMMAND_REWIND, 0, 0);
    f->sends = 0;
    open_playing(f, 0, 8);
    assert_int_equal(post(f, sent(0, 1, 6), NULL), 0);
    c.frame = 4;
    assert_int_equal(post(f, c, NULL), 0);
    until(f, NULL, &f->seen[0].applied, 2);
    assert_int_equal(f->seen[0].applied_at, 1); /* from the latent of frame 4 on */
    assert_int_equal(f->seen[0].applied_revision, 1);
    c.session = 1;
    post(f, say(KT_COMMAND_OPEN, 1, 1), NULL);
    assert_int_equal(post(f, c, NULL), 0);
    until(f, NULL, &f->seen[1].failed, 1);
    assert_non_null(strstr(f->seen[1].error, "nothing has been shown"));
}

/* Far behind what pages and snapshots hold: from the cold latents. */
static void a_rewind_reaches_the_beginning(void **state)
{
    struct fixture *f = *state;
    struct kt_command c = say(KT_COMMAND_REWIND, 0, 0);
    struct kt_lane_past past;
    open_playing(f, 0, 400);
    kt_lane_get_past(f->lane, 0, &past);
    assert_true(past.first >= 0 && past.first < 40 && past.end >= 400);
    c.frame = 60;
    assert_int_equal(post(f, c, NULL), 0);
    until(f, NULL, &f->seen[0].applied, 2);
    assert_int_equal(f->seen[0].failed, 0);
    assert_true(f->seen[0].applied_at <= 60 && f->seen[0].applied_at > 0);
    until(f, &f->seen[0].frames, NULL, f->seen[0].frames + 40);
    c.kind = KT_COMMAND_PROMPT; /* and a prompt finds its way from there */
    c.wish.revision = 2;
    assert_int_equal(post(f, c, "a blue square"), 0);
    until(f, NULL, &f->seen[0].applied, 3);
    until(f, &f->seen[0].frames, NULL, f->seen[0].frames + 20);
}

static void a_fork_goes_its_own_way(void **state)
{
    struct fixture *f = *state;
    struct kt_command c = say(KT_COMMAND_OPEN, 1, 7);
    open_playing(f, 0, 40);
    c.wish.from = 0;
    assert_int_equal(post(f, c, NULL), 0);
    until(f, &f->seen[1].frames, NULL, 12);
    assert_int_equal(f->seen[1].epoch, 1);
    assert_true(f->seen[1].next_frame > 30); /* it began where the other was */
    until(f, &f->seen[0].frames, NULL, f->seen[0].frames + 12);
    assert_int_equal(f->seen[0].epoch, 1);
    c.session = 2;
    c.wish.from = 2;
    assert_int_equal(post(f, c, NULL), 0);
    until(f, NULL, &f->seen[2].failed, 1);
}

/* One picture was sent when the prompt comes: the cut keeps the sink whole (3 latents, 9 pictures)
 * and nothing more. */
static void an_early_cut_keeps_the_sink(void **state)
{
    struct fixture *f = *state;
    struct kt_lane_stats stats = {0};
    int64_t start = kt_now_ns();
    f->sends = 0;
    open_playing(f, 0, 8);
    while (stats.stage[KT_JOB_COMMIT].count < 2 && kt_ms_since(start) < WAIT_MS) {
        drain(f);
        kt_lane_get_stats(f->lane, &stats);
        usleep(500);
    }
    assert_true(stats.stage[KT_JOB_COMMIT].count >= 2);
    post(f, sent(0, 1, 1), NULL);
    post(f, say(KT_COMMAND_PROMPT, 0, 2), "a blue square");
    until(f, NULL, &f->seen[0].applied, 2);
    assert_int_equal(f->seen[0].applied_at, 9);
}

static void bad_commands_are_refused(void **state)
{
    struct fixture *f = *state;
    struct kt_command c = say(KT_COMMAND_SETTINGS, 0, 0);
    until(f, NULL, &f->ready, 1);
    assert_int_equal(post(f, say(KT_COMMAND_OPEN, SESSIONS, 1), NULL), -EINVAL);
    assert_int_equal(post(f, say(KT_COMMAND_PROMPT, 0, 1), NULL), -EINVAL);
    assert_int_equal(post(f, say(KT_COMMAND_PROMPT, 0, 1), ""), -EINVAL);
    c.settings.steps = 5;
    assert_int_equal(post(f, c, NULL), -EINVAL);
    c = say(KT_COMMAND_PROMPT, 0, 1);
    c.wish.blend = KT_BLEND_MAX + 1;
    assert_int_equal(post(f, c, "x"), -EINVAL);
    open_playing(f, 0, 8);
    post(f, say(KT_COMMAND_OPEN, 0, 2), "a red circle");
    until(f, NULL, &f->seen[0].failed, 1);
    assert_non_null(strstr(f->seen[0].error, "open already"));
    post(f, say(KT_COMMAND_PROMPT, 0, 3), "bad \xff utf-8");
    until(f, NULL, &f->seen[0].failed, 2);
    assert_non_null(strstr(f->seen[0].error, "UTF-8"));
    until(f, &f->seen[0].frames, NULL, f->seen[0].frames + 24); /* and the video goes on */
}

/* A commit that cannot be used costs nobody the one that it overtook, not even the first of all. */
static void a_bad_prompt_gives_way_to_the_one_before(void **state)
{
    struct fixture *f = *state;
    until(f, NULL, &f->ready, 1);
    assert_int_equal(post(f, say(KT_COMMAND_OPEN, 0, 1), "a red circle"), 0);
    assert_int_equal(post(f, say(KT_COMMAND_PROMPT, 0, 2), "bad \xff utf-8"), 0);
    until(f, NULL, &f->seen[0].failed, 1);
    until(f, &f->seen[0].frames, NULL, 12);
    assert_int_equal(f->seen[0].applied_revision, 1);
    for (uint32_t i = 0; i < 6; i++) {
        struct kt_command good = say(KT_COMMAND_PROMPT, 0, 10 * i + 10);
        char text[64];
        good.wish.cut = (enum kt_cut)(i % 3);
        snprintf(text, sizeof(text), "good prompt %u", i);
        assert_int_equal(post(f, good, text), 0);
        usleep((useconds_t)draw(f, i < 3 ? 1 : 3000)); /* at once, or when its branch is begun */
        assert_int_equal(post(f, say(KT_COMMAND_PROMPT, 0, 10 * i + 11), "bad \xff utf-8"), 0);
        until(f, NULL, &f->seen[0].failed, (int64_t)i + 2);
        until(f, NULL, &f->seen[0].applied, (int64_t)i + 2);
        assert_int_equal(f->seen[0].applied_revision, 10 * i + 10);
    }
}

/* A full command ring answers -EAGAIN; nothing is lost or leaked. */
static void a_full_ring_says_so(void **state)
{
    struct fixture *f = *state;
    int rc = 0, accepted = 0;
    /* Before READY the lane does not take commands. */
    while (rc == 0 && accepted < 100000) {
        rc = post(f, say(KT_COMMAND_PROMPT, 0, 1), "x");
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
        cmocka_unit_test_setup_teardown(a_draft_is_ready_at_enter, setup, teardown),
        cmocka_unit_test_setup_teardown(a_draft_of_a_block_cut_is_ready_when_told, setup_sink3,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_draft_that_is_given_up_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(an_abandoned_draft_leaves_no_trace, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cold_commit_shows_a_preview, setup, teardown),
        cmocka_unit_test_setup_teardown(a_prompt_behind_a_reset_begins_anew, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_can_be_rewound, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rewind_reaches_the_beginning, setup, teardown),
        cmocka_unit_test_setup_teardown(a_fork_goes_its_own_way, setup, teardown),
        cmocka_unit_test_setup_teardown(an_early_cut_keeps_the_sink, setup_sink3, teardown),
        cmocka_unit_test_setup_teardown(bad_commands_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_prompt_gives_way_to_the_one_before, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
