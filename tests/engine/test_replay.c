/* A live run under load, replayed: several sessions that type, commit, draft, go back, fork and
 * leave at random times, on a real lane; its log makes the same pictures again, and a log that was
 * tampered with does not. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/replay/player.h"
#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/journal.h"
#include "engine/lane.h"
#include "tests/engine/tiny_model.h"
#include "tests/text/tmp_dir.h"

enum {
    SESSIONS = 3,
    TEXTS = 6,
    LOG_MAX = 64 << 20,
    PICTURE = 48 * 32 * 3 / 2,
    LINES_MAX = 1 << 17
};

static const char *const k_texts[TEXTS] = {"a red ball",    "a red ball over the sea",
                                           "a blue ring",   "a star in a forest at night",
                                           "a green heart", "snow"};

struct live_session {
    int open;
    uint32_t epoch, revision;
    int64_t frame; /* the next */
};

struct run {
    struct tmp_dir *dir;
    struct kt_engine *e;
    struct kt_lane *lane;
    struct kt_journal *journal;
    struct kt_engine_params params;
    struct live_session s[SESSIONS];
    uint64_t random, frames, frames_of_1;
    int ready;
    char log[4200];
};

static void wake(void *arg)
{
}

static uint64_t roll(struct run *r, uint64_t n)
{
    r->random = r->random * 6364136223846793005u + 1442695040888963407u;
    return (r->random >> 33) % n;
}

static void open_run(struct run *r, uint64_t seed)
{
    struct kt_error err = {{0}};
    struct tiny_model_options o = {.window = 12, .sink = 3, .block = 3};
    *r = (struct run){.random = seed};
    assert_int_equal(tmp_dir_make((void **)&r->dir), 0);
    o.spiece = getenv("KT_SPIECE");
    assert_int_equal(tiny_model_write(r->dir->path, &o), 0);
    r->params = (struct kt_engine_params){.model_dir = r->dir->path,
                                          .timelines_max = SESSIONS + 2,
                                          .contexts_max = 8 * SESSIONS + 8,
                                          .device = {.threads = 1}};
    if (kt_engine_open(&r->e, &r->params, &err) < 0) {
        fail_msg("%s", err.text);
    }
    struct kt_lane_params lane = {.engine = r->e, .sessions_max = SESSIONS, .wake = wake};
    kt_policy_default(&lane.policy);
    lane.policy.text_after_ms = 1; /* much drafting in little time */
    lane.policy.draft_after_ms = 3;
    lane.policy.reserve_ms = 0;
    lane.policy.depth = 2;
    lane.policy.checkpoint_every = seed % 2 ? 4 : 0;
    lane.archive_bytes = 24 << 20;
    struct kt_journal_head head;
    assert_int_equal(kt_journal_describe(&head, &lane, &r->params, &err), 0);
    snprintf(r->log, sizeof(r->log), "%s/live.jsonl", r->dir->path);
    struct kt_journal_params jp = {.path = r->log, .head = &head, .records_max = 1 << 16};
    assert_int_equal(kt_journal_open(&r->journal, &jp, &err), 0);
    lane.record = kt_journal_record;
    lane.record_arg = r->journal;
    if (kt_lane_open(&r->lane, &lane, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void close_run(struct run *r)
{
    if (r->e) {
        kt_engine_close(&r->e);
    }
    tmp_dir_remove((void **)&r->dir);
}

static void post(struct run *r, struct kt_command c, const char *text)
{
    c.text = text ? strdup(text) : NULL;
    if (kt_lane_post(r->lane, &c) < 0) {
        free(c.text);
    }
}

static struct kt_command say(struct run *r, enum kt_command_kind kind, int session)
{
    return (struct kt_command){
        .kind = kind,
        .session = (uint32_t)session,
        .wish = {.revision = ++r->s[session].revision, .seed = roll(r, 1000), .at = -1, .from = -1},
        .settings = {.drafts = 1, .depth = -1, .preview = 1}};
}

/* ---- the server's side ---- */

static void see(struct run *r, struct kt_event *e)
{
    struct live_session *s = &r->s[e->session];
    r->ready |= e->kind == KT_EVENT_READY;
    if (e->kind == KT_EVENT_APPLIED) {
        s->epoch = e->epoch;
        s->frame = e->frame_index;
    }
    if (e->kind == KT_EVENT_CLOSED) {
        s->open = 0;
    }
    if (e->kind != KT_EVENT_FRAME) {
        return;
    }
    if (!e->frame->preview) {
        s->frame = e->frame->frame + 1;
        r->frames++;
        r->frames_of_1 += e->session == 1;
        if (roll(r, 8) > 0) { /* else the report is late */
            struct kt_command c = say(r, KT_COMMAND_REPORT, (int)e->session);
            c.epoch = e->frame->epoch;
            c.sent = s->frame;
            c.shown = s->frame > 3 ? s->frame - (int64_t)roll(r, 3) : 0;
            post(r, c, NULL);
        }
    }
    kt_frame_unref(&e->frame);
}

static void drain(struct run *r)
{
    struct kt_event e;
    while (kt_lane_poll(r->lane, &e)) {
        see(r, &e);
    }
}

static void wish_something(struct run *r, struct kt_command *c)
{
    c->wish.cut = (enum kt_cut)roll(r, 3);
    c->wish.transition = (enum kt_transition)roll(r, 3);
    c->wish.recache = (int)roll(r, 4);
    c->wish.blend = roll(r, 4) == 0 ? 3 : 0;
}

static void do_something(struct run *r)
{
    int session = (int)roll(r, SESSIONS), what = (int)roll(r, 24);
    struct live_session *s = &r->s[session];
    struct kt_command c = say(r, KT_COMMAND_OPEN, session);
    const char *text = k_texts[roll(r, TEXTS)];
    wish_something(r, &c);
    if (!s->open) {
        int from = (int)roll(r, SESSIONS);
        c.wish.from = roll(r, 3) == 0 && from != session && r->s[from].open ? from : -1;
        c.wish.fresh = c.wish.from < 0;
        *s = (struct live_session){.open = 1, .revision = s->revision};
        post(r, c, c.wish.from < 0 && roll(r, 4) ? text : "");
        return;
    }
    switch (what) {
    case 0:
        c.kind = KT_COMMAND_CLOSE;
        post(r, c, NULL);
        break;
    case 1:
        c.kind = KT_COMMAND_RESET;
        post(r, c, NULL);
        break;
    case 2:
    case 3:
        c.kind = KT_COMMAND_REWIND;
        c.frame = s->frame - (int64_t)roll(r, roll(r, 2) ? 40 : 400);
        c.frame = c.frame < 0 ? 0 : c.frame;
        post(r, c, NULL);
        break;
    case 4:
        c.kind = KT_COMMAND_SETTINGS;
        c.settings.steps = (int)roll(r, 5);
        post(r, c, NULL);
        break;
    case 5:
        c.kind = KT_COMMAND_PAUSE;
        post(r, c, NULL);
        c.kind = KT_COMMAND_RESUME;
        post(r, c, NULL);
        break;
    case 6:
    case 7:
    case 8:
    case 9:
    case 10:
    case 11:
    case 12: { /* a draft, and perhaps its commit */
        c.kind = KT_COMMAND_DRAFT;
        post(r, c, text);
        int64_t until = kt_now_ns() + (int64_t)roll(r, 60) * 1000000;
        while (kt_now_ns() < until) {
            drain(r);
            usleep(500);
        }
        c.kind = KT_COMMAND_PROMPT;
        if (roll(r, 3)) {
            post(r, c, text);
        }
        break;
    }
    default:
        c.kind = KT_COMMAND_PROMPT;
        post(r, c, text);
        if (what % 3 == 0) { /* overtakes it, and cannot be used */
            c.wish.revision = ++s->revision;
            post(r, c, "bad \xff utf-8");
        }
        break;
    }
}

static void live_run(struct run *r, int actions)
{
    struct kt_journal_stats stats;
    while (!r->ready) {
        drain(r);
        usleep(1000);
    }
    for (int i = 0; i < actions || ((r->frames <= 100 || r->frames_of_1 < 20) && i < 10000); i++) {
        do_something(r);
        int64_t until = kt_now_ns() + (int64_t)roll(r, 30) * 1000000;
        while (kt_now_ns() < until) {
            drain(r);
            usleep(500);
        }
    }
    drain(r);
    kt_lane_close(&r->lane);
    kt_journal_close(&r->journal, &stats);
    assert_int_equal(stats.lost, 0);
    assert_int_equal(stats.error, 0);
    kt_engine_close(&r->e);
    assert_true(r->frames > 100 && r->frames_of_1 >= 20);
}

/* ---- the replay ---- */

struct count {
    int jobs[KT_JOB_KINDS], sources[4], hits[3];
    struct kt_player_counts player;
};

static int replay(struct run *r, const char *log, struct count *count, struct kt_error *err)
{
    struct kt_journal_reader *reader;
    struct kt_journal_head head;
    struct kt_player *player = NULL;
    struct kt_record record;
    struct kt_engine *e = NULL;
    memset(count, 0, sizeof(*count));
    int rc = kt_journal_reader_open(&reader, log, &head, err);
    if (rc < 0) {
        return rc;
    }
    assert_int_equal(kt_engine_open(&e, &r->params, err), 0);
    struct kt_player_params p = {.engine = e, .board = &head.board, .session = -1};
    assert_int_equal(kt_player_open(&player, &p, err), 0);
    while (rc == 0 && (rc = kt_journal_reader_next(reader, &record, err)) == 1) {
        if (record.kind == KT_RECORD_JOB && record.result.rc == 0) {
            count->jobs[record.job.kind]++;
            count->sources[record.job.source] += record.job.kind == KT_JOB_CUT;
            count->hits[record.job.hit] += record.job.kind == KT_JOB_PROMOTE;
        }
        rc = kt_player_feed(player, &record, err);
        if (rc < 0) {
            kt_fail_prefix(err, rc, "line %d", kt_journal_reader_line(reader));
        }
    }
    rc = rc < 0 ? rc : kt_player_finish(player, err);
    kt_player_get_counts(player, &count->player);
    kt_player_close(&player);
    kt_journal_reader_close(&reader);
    kt_engine_close(&e);
    return rc;
}

static void a_live_run_is_made_again(void **state)
{
    struct count total = {0};
    for (uint64_t seed = 1; seed <= 4 || (total.sources[KT_SOURCE_ARCHIVE] == 0 && seed <= 16);
         seed++) {
        struct run r;
        struct count count;
        struct kt_error err = {{0}};
        open_run(&r, seed);
        live_run(&r, 60);
        if (replay(&r, r.log, &count, &err) < 0) {
            fail_msg("run %d: %s", (int)seed, err.text);
        }
        assert_true(count.player.published >= r.frames); /* the last went out unseen */
        for (int i = 0; i < KT_JOB_KINDS; i++) {
            total.jobs[i] += count.jobs[i];
        }
        for (int i = 0; i < 4; i++) {
            total.sources[i] += count.sources[i];
        }
        for (int i = 0; i < 3; i++) {
            total.hits[i] += count.hits[i];
        }
        close_run(&r);
    }
    for (int i = KT_JOB_TEXT; i < KT_JOB_KINDS; i++) {
        print_message("%s %d, ", kt_job_name((enum kt_job_kind)i), total.jobs[i]);
    }
    print_message("cuts of nothing %d, live %d, checkpoints %d, archive %d; hits %d %d %d\n",
                  total.sources[0], total.sources[1], total.sources[2], total.sources[3],
                  total.hits[0], total.hits[1], total.hits[2]);
    static const int needed[] = {KT_JOB_CUT,     KT_JOB_STEP, KT_JOB_DECODE,    KT_JOB_BLEND,
                                 KT_JOB_PROMOTE, KT_JOB_DROP, KT_JOB_CHECKPOINT};
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        assert_true(total.jobs[needed[i]] > 0);
    }
    assert_true(total.sources[KT_SOURCE_NOTHING] > 0 && total.sources[KT_SOURCE_LIVE] > 0 &&
                total.sources[KT_SOURCE_ARCHIVE] > 0);
}

/* ---- tampering ---- */

struct text { /* a log's lines */
    char *all, *line[LINES_MAX];
    int count;
};

static void read_lines(struct text *t, const char *path)
{
    t->all = malloc(LOG_MAX);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(t->all, 1, LOG_MAX - 1, f);
    fclose(f);
    t->all[n] = '\0';
    t->count = 0;
    for (char *s = strtok(t->all, "\n"); s; s = strtok(NULL, "\n")) {
        assert_true(t->count < LINES_MAX);
        t->line[t->count++] = s;
    }
}

static void write_lines(const struct text *t, const char *path, int without)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (int i = 0; i < t->count; i++) {
        if (i != without) {
            fprintf(f, "%s\n", t->line[i]);
        }
    }
    fclose(f);
}

/* The n-th line with `what` in it, from the log's middle on. */
static int find_line(const struct text *t, const char *what)
{
    for (int i = t->count / 2; i < t->count; i++) {
        if (strstr(t->line[i], what)) {
            return i;
        }
    }
    fail_msg("no line has %s", what);
    return 0;
}

/* The beginning of a block that was finished: another one leaves no trace to compare. */
static int find_begin(const struct text *t)
{
    char timeline[64];
    int commit = find_line(t, "\"job\": \"commit\"");
    const char *key = strstr(t->line[commit], "\"timeline\": ");
    assert_non_null(key);
    snprintf(timeline, sizeof(timeline), "%.*s,", (int)strcspn(key, ",}"), key);
    for (int i = commit; i >= 0; i--) {
        if (strstr(t->line[i], "\"job\": \"begin\"") && strstr(t->line[i], timeline)) {
            return i;
        }
    }
    fail_msg("no beginning of the block of line %d", commit + 1);
    return 0;
}

/* Runs the command as people do. Returns its exit status, and what it printed. */
static int run_command(struct run *r, const char *log, const char *more, char out[4096])
{
    char command[12000];
    snprintf(command, sizeof(command), "'%s' replay '%s' --model '%s' %s 2>&1", getenv("KINETYPE"),
             log, r->dir->path, more);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    size_t n = fread(out, 1, 4095, f);
    out[n] = '\0';
    return WEXITSTATUS(pclose(f));
}

static void expect_refusal(struct run *r, const char *log, const char *expected)
{
    char out[4096];
    int status = run_command(r, log, "--check", out);
    if (status != 1 || !strstr(out, expected)) {
        fail_msg("expected ...%s..., found %d: %s", expected, status, out);
    }
}

static void flip(char *line, const char *key)
{
    char *at = strstr(line, key);
    assert_non_null(at);
    at += strlen(key);
    *at = *at == '7' ? '8' : '7';
}

static void a_log_that_was_changed_is_found_out(void **state)
{
    struct run r;
    struct text t;
    char out[4096], log[4200], said[64];
    if (!getenv("KINETYPE")) {
        skip();
    }
    open_run(&r, 11);
    live_run(&r, 40);
    snprintf(log, sizeof(log), "%s/changed.jsonl", r.dir->path);
    assert_int_equal(run_command(&r, r.log, "--check", out), 0);
    assert_non_null(strstr(out, "equal"));
    static const struct {
        const char *line, *key, *expected;
    } flips[] = {
        {"\"job\": \"commit\"", "\"hashes\": [\"", "latent "},
        {"\"job\": \"decode\"", "\"hashes\": [\"", "picture "},
        {"\"kind\": \"publish\"", "\"picture\": \"", "published picture "},
    };
    for (size_t i = 0; i < 3; i++) {
        read_lines(&t, r.log);
        int line = find_line(&t, flips[i].line);
        flip(t.line[line], flips[i].key);
        write_lines(&t, log, -1);
        expect_refusal(&r, log, flips[i].expected);
        /* A publish line is compared when its job's line has come. */
        snprintf(said, sizeof(said), "line %d", line + 1);
        if (i < 2) {
            expect_refusal(&r, log, said);
        }
        free(t.all);
    }
    read_lines(&t, r.log);
    int begin = find_begin(&t);
    char *steps = strstr(t.line[begin], "\"steps\": ") + 9;
    *steps = *steps == '1' ? '2' : '1';
    write_lines(&t, log, -1);
    expect_refusal(&r, log, "line ");
    free(t.all);
    read_lines(&t, r.log);
    write_lines(&t, log, find_line(&t, "\"job\": \"step\""));
    expect_refusal(&r, log, "a line is missing");
    write_lines(&t, log, 0);
    expect_refusal(&r, log, "no head");
    t.line[t.count - 1][20] = '\0';
    write_lines(&t, log, -1);
    expect_refusal(&r, log, "expected one JSON object");
    free(t.all);
    close_run(&r);
}

static void another_machine_or_model_is_refused(void **state)
{
    struct run r;
    struct text t;
    char log[4200], out[4096], change[4096];
    static const struct {
        const char *find, *put, *expected;
    } heads[] = {
        {"\"model\": \"tiny\"", "\"model\": \"huge\"", "model 'huge', here it is 'tiny'"},
        {"\"library\": \"", "\"library\": \"9", "kinetype '9"},
        {"\"kernels\": \"", "\"kernels\": \"x", "kernels 'x"},
        {"\"threads\": 1", "\"threads\": 2", "here it is|threads"},
        {"\"precision\": \"fp32\"", "\"precision\": \"fp8\"", "fp8"},
        {"\"weights\": \"", "\"weights\": \"", "other weights"},
        {"\"sessions_max\": 3", "\"sessions_max\": 1000000", "not what a lane has"},
        {"\"device\": \"cpu\"", "\"device\": \"abacus\"", "abacus"},
    };
    if (!getenv("KINETYPE")) {
        skip();
    }
    open_run(&r, 12);
    live_run(&r, 12);
    snprintf(log, sizeof(log), "%s/changed.jsonl", r.dir->path);
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        read_lines(&t, r.log);
        char *at = strstr(t.line[0], heads[i].find);
        assert_non_null(at);
        snprintf(change, sizeof(change), "%.*s%s%s", (int)(at - t.line[0]), t.line[0], heads[i].put,
                 at + strlen(heads[i].find));
        t.line[0] = change;
        if (strcmp(heads[i].find, heads[i].put) == 0) {
            flip(change, heads[i].find);
        }
        write_lines(&t, log, -1);
        if (strchr(heads[i].expected,
                   '|')) { /* as many threads as asked for: other sums, or none */
            assert_true(run_command(&r, log, "--check", out) <= 1);
        } else {
            expect_refusal(&r, log, heads[i].expected);
        }
        free(t.all);
    }
    read_lines(&t, r.log);
    t.line[t.count++] = change;
    snprintf(change, sizeof(change), "{\"kind\": \"gap\", \"n\": %d, \"count\": \"3\"}",
             t.count - 2);
    write_lines(&t, log, -1);
    expect_refusal(&r, log, "3 records are missing here");
    free(t.all);
    close_run(&r);
}

static void what_was_shown_is_written(void **state)
{
    struct run r;
    char out[4096], more[4400], file[4300];
    if (!getenv("KINETYPE")) {
        skip();
    }
    open_run(&r, 13);
    live_run(&r, 25);
    snprintf(file, sizeof(file), "%s/out.y4m", r.dir->path);
    snprintf(more, sizeof(more), "--session 1 -o '%s'", file);
    int status = run_command(&r, r.log, more, out);
    if (status != 0 && strstr(out, "not in this build")) {
        close_run(&r);
        skip();
    }
    if (status != 0) {
        fail_msg("%s", out);
    }
    assert_non_null(strstr(out, "of session 1"));
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    const char *said = strstr(out, "y4m: "); /* "wrote FILE: N pictures"; a flush replaces some */
    assert_non_null(said);
    long pictures = strtol(said + 5, NULL, 10);
    assert_true(pictures > 0 && ftell(f) > pictures * PICTURE);
    assert_true(ftell(f) < pictures * (PICTURE + 16) + 256);
    fclose(f);
    assert_int_equal(run_command(&r, r.log, "--session 3 -o x.y4m", out), 1);
    assert_int_equal(run_command(&r, "no.jsonl", "", out), 1);
    assert_int_equal(run_command(&r, r.log, "--check -o x.y4m", out), 2);
    close_run(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_live_run_is_made_again),
        cmocka_unit_test(a_log_that_was_changed_is_found_out),
        cmocka_unit_test(another_machine_or_model_is_refused),
        cmocka_unit_test(what_was_shown_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
