/* The lane takes one command or does one job at a time, and writes each down with the clock that
 * the board was told. So the order of the lines is the order of the board's events, and nothing
 * else is needed: a board that is pure, given these, is in the same state at every line. Between
 * lines the lane may have asked for work and got none; asking changes nothing. */
#include "sim/replay.h"

#include <errno.h>
#include <string.h>

#include "engine/journal.h"

struct replay {
    struct kt_board *board;
    struct kt_journal_reader *reader;
    struct kt_journal_head head;
    struct kt_sim_replay *out;
    struct kt_error *err;
    char open[1024]; /* by session */
};

static int disagree(struct replay *r, const char *what, double ours, double theirs)
{
    r->out->line = kt_journal_reader_line(r->reader);
    return kt_fail(r->err, -ESTALE, "line %d: %s: the board says %.15g, the log says %.15g",
                   r->out->line, what, ours, theirs);
}

/* ---- commands ---- */

static int refuse(struct replay *r, const char *what, int session)
{
    r->out->line = kt_journal_reader_line(r->reader);
    return kt_fail(r->err, -ESTALE, "line %d: %s (session %d)", r->out->line, what, session);
}

static void tell_text(struct replay *r, const struct kt_record *c)
{
    if (c->command == KT_COMMAND_PROMPT) {
        kt_board_commit(r->board, c->session, c->t_ms, &c->wish);
    } else if (c->text && c->text[0]) {
        kt_board_draft(r->board, c->session, c->t_ms, &c->wish);
    } else {
        kt_board_undraft(r->board, c->session);
    }
}

static int tell(struct replay *r, const struct kt_record *c)
{
    char *open = &r->open[c->session];
    if (*open == (c->command == KT_COMMAND_OPEN)) {
        return refuse(r, *open ? "opened twice" : "a command for a session that is not open",
                      c->session);
    }
    if (c->wish.from >= r->head.board.sessions_max) {
        return kt_fail(r->err, -EBADMSG, "line %d: from: expected a session, found %d",
                       kt_journal_reader_line(r->reader), c->wish.from);
    }
    switch (c->command) {
    case KT_COMMAND_OPEN:
        kt_board_open(r->board, c->session, c->t_ms, &c->settings);
        *open = 1;
        break;
    case KT_COMMAND_DRAFT:
    case KT_COMMAND_PROMPT: tell_text(r, c); break;
    case KT_COMMAND_REPORT:
        kt_board_report(r->board, c->session, c->t_ms, c->epoch, c->sent, c->shown);
        break;
    case KT_COMMAND_PAUSE:
    case KT_COMMAND_RESUME:
        kt_board_pause(r->board, c->session, c->command == KT_COMMAND_PAUSE);
        break;
    case KT_COMMAND_SETTINGS: kt_board_settings(r->board, c->session, &c->settings); break;
    case KT_COMMAND_CLOSE:
        kt_board_close(r->board, c->session);
        *open = 0;
        break;
    default: break; /* a reset or a rewind was logged as the prompt that it is */
    }
    r->out->commands++;
    return 0;
}

/* ---- jobs ---- */

static int compare_kind(struct replay *r, const struct kt_job *ours, const struct kt_job *theirs)
{
    if (ours->kind == theirs->kind && ours->session == theirs->session &&
        ours->track == theirs->track) {
        return 0;
    }
    r->out->line = kt_journal_reader_line(r->reader);
    return kt_fail(r->err, -ESTALE,
                   "line %d: the board says %s of session %d's %s, the log says %s of session "
                   "%d's %s",
                   r->out->line, kt_job_name(ours->kind), ours->session,
                   ours->track == KT_TRACK_LIVE ? "live" : "next", kt_job_name(theirs->kind),
                   theirs->session, theirs->track == KT_TRACK_LIVE ? "live" : "next");
}

static int compare(struct replay *r, const struct kt_job *ours, const struct kt_job *theirs)
{
    const struct {
        const char *name;
        double ours, theirs;
    } fields[] = {
        {"source", ours->source, theirs->source},
        {"from", ours->from, theirs->from},
        {"slot", ours->slot, theirs->slot},
        {"steps", ours->steps, theirs->steps},
        {"recache", ours->recache, theirs->recache},
        {"at", (double)ours->at, (double)theirs->at},
        {"frame", (double)ours->frame, (double)theirs->frame},
        {"flush", ours->flush, theirs->flush},
        {"hit", ours->hit, theirs->hit},
        {"committed", ours->committed, theirs->committed},
        {"evict", ours->evict, theirs->evict},
        {"weight", ours->weight, theirs->weight},
    };
    int rc = compare_kind(r, ours, theirs);
    for (size_t i = 0; rc == 0 && i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (fields[i].ours != fields[i].theirs) {
            rc = disagree(r, fields[i].name, fields[i].ours, fields[i].theirs);
        }
    }
    return rc;
}

static int ask(struct replay *r, const struct kt_record *log)
{
    struct kt_job theirs = log->job;
    theirs.session = log->session;
    if (!r->open[log->session]) {
        return refuse(r, "a job for a session that is not open", log->session);
    }
    struct kt_job ours = kt_board_next(r->board, log->picked_ms, &log->resources);
    int rc = compare(r, &ours, &theirs);
    if (rc == 0) {
        kt_board_done(r->board, log->t_ms, &ours, &log->result);
        r->out->jobs++;
    }
    return rc;
}

/* ---- the log ---- */

static int take(struct replay *r, const struct kt_record *record)
{
    if (record->kind == KT_RECORD_GAP) {
        return kt_fail(r->err, -EBADMSG, "line %d: %llu records are missing here",
                       kt_journal_reader_line(r->reader), (unsigned long long)record->count);
    }
    if (record->session < 0 || record->session >= r->head.board.sessions_max) {
        return kt_fail(r->err, -EBADMSG, "line %d: session: expected 0 to %d, found %d",
                       kt_journal_reader_line(r->reader), r->head.board.sessions_max - 1,
                       record->session);
    }
    r->out->seconds = record->t_ms / 1000;
    if (record->kind == KT_RECORD_COMMAND) {
        return tell(r, record);
    }
    if (record->kind == KT_RECORD_JOB) {
        return ask(r, record);
    }
    r->out->pictures++;
    return 0;
}

static int run(struct replay *r)
{
    struct kt_record record;
    int rc;
    if (r->head.board.sessions_max > (int)sizeof(r->open)) {
        return kt_fail(r->err, -EBADMSG, "sessions_max: expected at most %zu, found %d",
                       sizeof(r->open), r->head.board.sessions_max);
    }
    rc = kt_board_create(&r->board, &r->head.board, r->err);
    while (rc == 0 && (rc = kt_journal_reader_next(r->reader, &record, r->err)) > 0) {
        rc = take(r, &record);
    }
    return rc;
}

int kt_sim_replay(const char *path, struct kt_sim_replay *out, struct kt_error *err)
{
    struct replay r = {.out = out, .err = err};
    *out = (struct kt_sim_replay){0};
    int rc = kt_journal_reader_open(&r.reader, path, &r.head, err);
    if (rc == 0) {
        out->sessions_max = r.head.board.sessions_max;
        rc = run(&r);
    }
    kt_board_destroy(&r.board);
    kt_journal_reader_close(&r.reader);
    return rc;
}
