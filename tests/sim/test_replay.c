/* The decision log of a real lane under random commands: a fresh board agrees with every line of
 * it, and notices one that was changed. */
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
#include "engine/journal.h"
#include "sim/random.h"
#include "sim/replay.h"
#include "tests/engine/tiny_model.h"
#include "tests/text/tmp_dir.h"

enum { SESSIONS = 3, ROUNDS = 300, WAIT_MS = 240000 };

struct live { /* a lane, and a server that sends everything at once */
    struct tmp_dir *dir;
    char log[4096];
    struct kt_engine *e;
    struct kt_lane *lane;
    struct kt_journal *journal;
    struct kt_sim_random random;
    int ready, applied;
    uint32_t revision;
    int64_t next_frame[SESSIONS];
};

static void wake(void *arg)
{
}

static void or_fail(int rc, const struct kt_error *err)
{
    if (rc < 0) {
        fail_msg("%s", err->text);
    }
}

static void open_live(struct live *l)
{
    struct tiny_model_options options = {.window = 12, .sink = 3, .block = 3};
    struct kt_error err = {{0}};
    struct kt_journal_head head;
    tmp_dir_make((void **)&l->dir);
    snprintf(l->log, sizeof(l->log), "%s/log.jsonl", l->dir->path);
    options.spiece = getenv("KT_SPIECE");
    assert_int_equal(tiny_model_write(l->dir->path, &options), 0);
    struct kt_engine_params p = {.model_dir = l->dir->path,
                                 .timelines_max = SESSIONS + 2,
                                 .contexts_max = 8 * SESSIONS + 8,
                                 .device = {.threads = 1}};
    or_fail(kt_engine_open(&l->e, &p, &err), &err);
    struct kt_lane_params lane = {
        .engine = l->e, .sessions_max = SESSIONS, .archive_bytes = 8 << 20, .wake = wake};
    or_fail(kt_journal_describe(&head, &lane, &p, &err), &err);
    struct kt_journal_params journal = {.path = l->log, .head = &head, .records_max = 65536};
    or_fail(kt_journal_open(&l->journal, &journal, &err), &err);
    lane.record = kt_journal_record;
    lane.record_arg = l->journal;
    or_fail(kt_lane_open(&l->lane, &lane, &err), &err);
}

static void post(struct live *l, enum kt_command_kind kind, uint32_t session,
                 struct kt_command fields, const char *text)
{
    fields.kind = kind;
    fields.session = session;
    fields.wish.at = fields.wish.from = -1;
    fields.settings.drafts = 1;
    fields.text = text ? strdup(text) : NULL;
    if (kt_lane_post(l->lane, &fields) < 0) {
        free(fields.text);
    }
}

static void drain(struct live *l)
{
    struct kt_event e;
    while (kt_lane_poll(l->lane, &e)) {
        l->ready |= e.kind == KT_EVENT_READY;
        l->applied += e.kind == KT_EVENT_APPLIED;
        if (e.kind == KT_EVENT_FRAME) {
            struct kt_command sent = {
                .epoch = e.frame->epoch, .sent = e.frame->frame + 1, .shown = e.frame->frame + 1};
            if (!e.frame->preview) {
                l->next_frame[e.session] = e.frame->frame + 1;
                post(l, KT_COMMAND_REPORT, e.session, sent, NULL);
            }
            kt_frame_unref(&e.frame);
        }
    }
}

static void act(struct live *l, int i)
{
    uint32_t session = (uint32_t)kt_sim_random_below(&l->random, SESSIONS);
    struct kt_command c = {.wish = {.revision = ++l->revision,
                                    .cut = (enum kt_cut)kt_sim_random_below(&l->random, 3),
                                    .seed = session}};
    char text[32];
    snprintf(text, sizeof(text), "prompt number %d", i / 4 % 23);
    switch (kt_sim_random_below(&l->random, 16)) {
    case 0: post(l, KT_COMMAND_RESET, session, c, NULL); break;
    case 1:
        c.frame = l->next_frame[session] > 30 ? l->next_frame[session] - 30 : 0;
        post(l, KT_COMMAND_REWIND, session, c, NULL);
        break;
    case 2: post(l, KT_COMMAND_PAUSE, session, c, NULL); break;
    case 3:
    case 4: post(l, KT_COMMAND_RESUME, session, c, NULL); break;
    case 5:
        c.settings.steps = i % 5;
        c.settings.depth = i % 3;
        post(l, KT_COMMAND_SETTINGS, session, c, NULL);
        break;
    case 6: post(l, KT_COMMAND_DRAFT, session, c, ""); break;
    case 7:
        post(l, KT_COMMAND_CLOSE, session, c, NULL);
        l->next_frame[session] = 0;
        post(l, KT_COMMAND_OPEN, session, c, text);
        break;
    case 8:
    case 9:
    case 10:
        post(l, KT_COMMAND_PROMPT, session, c, text);
        if (i % 3 == 0) { /* overtakes it, and cannot be used */
            c.wish.revision = ++l->revision;
            post(l, KT_COMMAND_PROMPT, session, c, "bad \xff utf-8");
        }
        break;
    default: post(l, KT_COMMAND_DRAFT, session, c, text); break;
    }
}

/* A log of three sessions. Ends with the lane and the journal closed. */
static void play(struct live *l)
{
    struct kt_journal_stats stats;
    int64_t start = kt_now_ns();
    while (!l->ready && kt_ms_since(start) < WAIT_MS) {
        drain(l);
        usleep(1000);
    }
    for (uint32_t s = 0; s < SESSIONS; s++) {
        struct kt_command c = {.wish = {.revision = ++l->revision, .seed = s},
                               .settings = {.depth = -1}};
        post(l, KT_COMMAND_OPEN, s, c, "a red circle");
    }
    for (int i = 0; i < ROUNDS; i++) {
        act(l, i);
        for (int n = kt_sim_random_below(&l->random, 6); n >= 0; n--) {
            usleep(2000);
            drain(l);
        }
    }
    kt_lane_close(&l->lane);
    kt_journal_close(&l->journal, &stats);
    assert_int_equal(stats.lost, 0);
    assert_int_equal(stats.error, 0);
}

static int setup(void **state)
{
    struct live *l = calloc(1, sizeof(*l));
    kt_sim_random_seed(&l->random, 20261122, 0);
    *state = l;
    return 0;
}

static int teardown(void **state)
{
    struct live *l = *state;
    kt_engine_close(&l->e);
    tmp_dir_remove((void **)&l->dir);
    free(l);
    return 0;
}

static void a_lane_writes_its_log(void **state)
{
    open_live(*state);
    play(*state);
}

static void the_policy_agrees_with_a_live_log(void **state)
{
    struct live *l = *state;
    struct kt_sim_replay r;
    struct kt_error err = {{0}};
    or_fail(kt_sim_replay(l->log, &r, &err), &err);
    print_message("%llu jobs, %llu commands, %llu pictures, %d prompts took effect\n",
                  (unsigned long long)r.jobs, (unsigned long long)r.commands,
                  (unsigned long long)r.pictures, l->applied);
    assert_true(r.jobs > 200 && r.commands > ROUNDS && r.pictures > 100 && l->applied > 10);
}

/* Copies the log with `old` replaced by `new` in the last line that has `mark`; returns its number,
 * from 1, or 0. `new` NULL: the line is left out. */
static int change(const struct live *l, char path[4200], const char *mark, const char *old,
                  const char *new)
{
    static char line[1 << 16];
    int last = 0, number = 0;
    FILE *in = fopen(l->log, "r");
    assert_non_null(in);
    for (int i = 1; fgets(line, sizeof(line), in); i++) {
        last = strstr(line, mark) && strstr(line, old) ? i : last;
    }
    rewind(in);
    snprintf(path, 4200, "%s.changed", l->log);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    while (fgets(line, sizeof(line), in)) {
        char *at = strstr(line, old);
        if (++number != last) {
            fputs(line, out);
        } else if (new) {
            fprintf(out, "%.*s%s%s", (int)(at - line), line, new, at + strlen(old));
        }
    }
    fclose(in);
    fclose(out);
    return last;
}

static void one_changed_line_is_noticed(void **state)
{
    static const char *const changes[][3] = {
        {"\"kind\": \"job\"", "\"job\": \"step\"", "\"job\": \"commit\""},
        {"\"job\": \"cut\"", "\"at\": ", "\"at\": 1"},
        {"\"job\": \"promote\"", "\"hit\": 0", "\"hit\": 1"},
        {"\"job\": \"begin\"", "\"track\": \"live\"", "\"track\": \"next\""},
    };
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        char path[4200], where[32];
        struct kt_sim_replay r;
        struct kt_error err = {{0}};
        int line = change(*state, path, changes[i][0], changes[i][1], changes[i][2]);
        assert_true(line > 0);
        assert_int_equal(kt_sim_replay(path, &r, &err), -ESTALE);
        assert_int_equal(r.line, line);
        snprintf(where, sizeof(where), "line %d:", line);
        assert_non_null(strstr(err.text, where));
    }
}

static void a_missing_line_is_noticed(void **state)
{
    char path[4200];
    struct kt_sim_replay r;
    struct kt_error err = {{0}};
    assert_true(change(*state, path, "\"command\"", "\"command\": \"open\"", NULL) > 0);
    assert_true(kt_sim_replay(path, &r, &err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lane_writes_its_log), /* the others read it */
        cmocka_unit_test(the_policy_agrees_with_a_live_log),
        cmocka_unit_test(one_changed_line_is_noticed),
        cmocka_unit_test(a_missing_line_is_noticed),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
