/* The board alone, with an executor that only counts: where cuts land, and what becomes of wishes.
 * Its properties in whole worlds are tests/sim's. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/sched/board.h"

enum { BLOCK = 3, CHECKPOINTS = 8, SLACK = 9, JOB_MS = 10 };

struct world { /* one session that sends and shows pictures as soon as they are decoded */
    struct kt_board *board;
    struct kt_error err;
    double now;
    uint32_t epoch;
    int64_t latents[2], decoded[2]; /* by track */
    int64_t lag;                    /* frames between what is decoded and what is shown */
    int fail;                       /* a job kind that fails next, or 0 */
    struct kt_job last[KT_JOB_KINDS];
    int done[KT_JOB_KINDS];
};

static int64_t frames_before(int64_t latent)
{
    return latent <= 0 ? 0 : 1 + (latent - 1) * 4;
}

static int setup(void **state)
{
    static struct world w;
    struct kt_board_params p = {.sessions_max = 1,
                                .branches_max = 1,
                                .checkpoints_max = CHECKPOINTS,
                                .fps = 16,
                                .steps_full = 2,
                                .block_latents = BLOCK,
                                .first_frames = 1,
                                .frames_per_latent = 4,
                                .window = 12,
                                .sink = 3,
                                .slack = SLACK};
    const struct kt_session_settings settings = {.drafts = 1, .depth = -1};
    kt_policy_default(&p.policy);
    w = (struct world){.now = 1, .lag = 8};
    assert_int_equal(kt_board_create(&w.board, &p, &w.err), 0);
    *kt_board_costs(w.board) =
        (struct kt_costs){.text_ms = 1, .step_ms = 20, .commit_ms = 20, .decode_ms = 5};
    kt_board_open(w.board, 0, w.now, &settings);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    kt_board_destroy(&w->board);
    return 0;
}

static struct kt_wish wish(uint32_t revision, enum kt_cut cut, const char *text)
{
    struct kt_wish x = {.revision = revision, .cut = cut, .at = -1, .from = -1};
    x.key = kt_wish_key(&x, text);
    return x;
}

static void count(struct world *w, const struct kt_job *job, struct kt_job_result *r)
{
    int live = KT_TRACK_LIVE, next = KT_TRACK_NEXT;
    switch (job->kind) {
    case KT_JOB_CUT:
        w->latents[next] = job->at;
        w->decoded[next] = job->at;
        r->frames = job->recache ? job->recache : 9;
        break;
    case KT_JOB_COMMIT: w->latents[job->track] += BLOCK; break;
    case KT_JOB_DECODE: w->decoded[job->track]++; break;
    case KT_JOB_PROMOTE:
        w->latents[live] = w->latents[next];
        w->decoded[live] = w->decoded[next];
        w->epoch++;
        break;
    default: break;
    }
    r->latents = w->latents[job->track];
    r->decoded = w->decoded[job->track];
}

/* One job, and a report. 0: nothing to do. */
static int step(struct world *w)
{
    const struct kt_board_resources r = {.pages_free = 100, .frames_free = 100, .contexts_free = 8};
    struct kt_job job = kt_board_next(w->board, w->now, &r);
    struct kt_job_result result = {.ms = job.kind >= KT_JOB_PROMOTE ? 0 : JOB_MS};
    if (job.kind == KT_JOB_NONE) {
        w->now += JOB_MS;
    } else {
        w->now += result.ms;
        result.rc = (int)job.kind == w->fail ? -EIO : 0;
        w->fail = result.rc < 0 ? 0 : w->fail;
        if (result.rc == 0) {
            count(w, &job, &result);
        }
        w->last[job.kind] = job;
        w->done[job.kind]++;
        kt_board_done(w->board, w->now, &job, &result);
    }
    int64_t sent = frames_before(w->decoded[KT_TRACK_LIVE]) - w->lag / 2;
    if (w->epoch > 0 && sent > 0) {
        kt_board_report(w->board, 0, w->now, w->epoch, sent,
                        sent > w->lag / 2 ? sent - w->lag / 2 : 0);
    }
    return job.kind != KT_JOB_NONE;
}

static void play_until(struct world *w, enum kt_job_kind kind, int times)
{
    int before = w->done[kind];
    for (int i = 0; i < 5000 && w->done[kind] < before + times; i++) {
        step(w);
    }
    assert_int_equal(w->done[kind], before + times);
}

static void begin(struct world *w)
{
    struct kt_wish first = wish(1, KT_CUT_NOW, "one");
    first.fresh = 1;
    kt_board_commit(w->board, 0, w->now, &first);
    play_until(w, KT_JOB_PROMOTE, 1);
    play_until(w, KT_JOB_COMMIT, 7);
}

/* Of what a cut replaced nothing is left to go back to: the stream has other latents there. */
static void a_rewind_spares_checkpoints_of_what_was_replaced(void **state)
{
    struct world *w = *state;
    begin(w);
    play_until(w, KT_JOB_CHECKPOINT, 1);
    int64_t old = w->latents[KT_TRACK_LIVE];
    struct kt_wish second = wish(2, KT_CUT_NOW, "two");
    kt_board_commit(w->board, 0, w->now, &second);
    play_until(w, KT_JOB_PROMOTE, 1);
    int64_t cut = w->last[KT_JOB_CUT].at;
    assert_true(cut < old);
    while (w->latents[KT_TRACK_LIVE] - old <= SLACK) {
        play_until(w, KT_JOB_COMMIT, 1);
    }
    struct kt_wish back = wish(2, KT_CUT_NOW, "two");
    back.at = old; /* the old checkpoint is exactly there */
    back.encoded = 1;
    kt_board_commit(w->board, 0, w->now, &back);
    play_until(w, KT_JOB_CUT, 1);
    assert_int_equal(w->last[KT_JOB_CUT].at, old);
    assert_int_equal(w->last[KT_JOB_CUT].source, KT_SOURCE_ARCHIVE);
}

/* Enter on a text that turns out to be no good must not cost what was on its way before it: be that
 * a branch, or a wish that has none yet. */
static void a_commit_that_fails_gives_way_to_what_it_overtook(void **state)
{
    struct world *w = *state;
    static const enum kt_job_kind fails[] = {KT_JOB_TEXT, KT_JOB_CUT};
    begin(w);
    for (uint32_t i = 0; i < 4; i++) {
        struct kt_wish good = wish(10 * i + 2, KT_CUT_NOW, i % 2 ? "two" : "three");
        struct kt_wish bad = wish(10 * i + 3, KT_CUT_NOW, "bad");
        int promoted = w->done[KT_JOB_PROMOTE];
        assert_int_equal(kt_board_commit(w->board, 0, w->now, &good), 0);
        if (i < 2) {
            play_until(w, KT_JOB_CUT, 1); /* it has a branch */
        }
        assert_int_equal(kt_board_commit(w->board, 0, w->now, &bad), good.revision);
        w->fail = (int)fails[i % 2];
        play_until(w, KT_JOB_PROMOTE, 1);
        assert_int_equal(w->fail, 0);
        struct kt_wish again = wish(10 * i + 4, KT_CUT_NOW, i % 2 ? "two" : "three");
        kt_board_draft(w->board, 0, w->now, &again); /* what is shown needs no draft */
        play_until(w, KT_JOB_COMMIT, 6);
        assert_int_equal(w->done[KT_JOB_PROMOTE], promoted + 1);
        struct kt_board_session_info now;
        kt_board_get_session(w->board, 0, w->now, &now);
        assert_int_equal(now.next_stage, KT_STAGE_NONE);
        assert_int_equal(now.spare, 0);
    }
}

/* And one that is good leaves nothing behind. */
static void a_commit_that_is_good_stands(void **state)
{
    struct world *w = *state;
    struct kt_board_session_info now;
    begin(w);
    struct kt_wish one = wish(2, KT_CUT_NOW, "two"), other = wish(3, KT_CUT_NOW, "three");
    kt_board_commit(w->board, 0, w->now, &one);
    kt_board_commit(w->board, 0, w->now, &other);
    play_until(w, KT_JOB_CUT, 1);
    kt_board_get_session(w->board, 0, w->now, &now);
    assert_int_equal(now.spare, 0);
    w->fail = KT_JOB_STEP; /* too late: its branch was there */
    play_until(w, KT_JOB_COMMIT, 6);
    assert_int_equal(w->done[KT_JOB_PROMOTE], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_rewind_spares_checkpoints_of_what_was_replaced, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_commit_that_fails_gives_way_to_what_it_overtook, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_commit_that_is_good_stands, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
