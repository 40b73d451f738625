/* What the server says. Commands only change wishes, reports and settings, here and on the board;
 * the device is touched by jobs alone (work.c), except that closing a session lets everything of it
 * go.
 *
 * The decision log gets what the board is told, with the same times and after the lane has
 * completed the wish: a reset, a rewind and a fork are prompts there. Fed to another board, it
 * makes that one choose the same. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/lane/parts.h"
#include "engine/snapshot.h"

void kt_lane_forget_wish(struct lane_wish *w)
{
    kt_context_unref(&w->context);
    free(w->text);
    *w = (struct lane_wish){0};
}

static void fail(struct kt_lane *lane, const struct kt_command *c, int rc, const char *text)
{
    struct kt_error err = {{0}};
    kt_fail(&err, rc, "%s", text);
    kt_lane_put_failure(lane, (int)c->session, c->wish.revision, &err);
}

static int blank(const char *text)
{
    return !text || !text[0];
}

/* ---- prompts ---- */

/* The commit that `w` overtook waits in case that one fails; the board says whether it does. */
static void keep_spare(struct kt_lane *lane, int session, struct lane_wish *overtaken,
                       const struct kt_wish *w)
{
    struct lane_session *s = &lane->sessions[session];
    const struct lane_track *n = &s->next;
    struct kt_board_session_info now;
    kt_board_get_session(lane->board, session, 0, &now);
    if (now.spare && overtaken->text && overtaken->wish.key == w->key) {
        kt_lane_forget_wish(overtaken); /* the same again: what that one overtook waits on */
        return;
    }
    kt_lane_forget_wish(&s->spare);
    if (!now.spare) {
        kt_lane_forget_wish(overtaken);
    } else if (overtaken->text) {
        s->spare = *overtaken;
    } else {
        s->spare = (struct lane_wish){.text = strdup(n->text ? n->text : ""),
                                      .wish = n->wish,
                                      .context = kt_context_ref(n->context),
                                      .posted_ns = n->posted_ns};
    }
    *overtaken = (struct lane_wish){0};
}

/* Takes over c->text and `context` (which may be NULL). */
static void commit(struct kt_lane *lane, struct kt_command *c, struct kt_context *context,
                   double now)
{
    struct lane_session *s = &lane->sessions[c->session];
    c->wish.key = kt_wish_key(&c->wish, c->text);
    if (!context && s->draft.text && s->draft.wish.key == c->wish.key) {
        context = kt_context_ref(s->draft.context);
    }
    kt_lane_record_command(lane, c, KT_COMMAND_PROMPT, now);
    uint32_t overtaken = kt_board_commit(lane->board, (int)c->session, now, &c->wish);
    lane->mine.commands_dropped += overtaken != 0;
    keep_spare(lane, (int)c->session, &s->commit, &c->wish);
    kt_lane_forget_wish(&s->draft);
    if (s->next.timeline && s->next.wish.key == c->wish.key) { /* its branch is there */
        s->next.committed = 1;
        s->next.wish.revision = c->wish.revision;
        s->next.posted_ns = c->posted_ns;
        kt_context_unref(&context);
        return;
    }
    s->commit = (struct lane_wish){
        .text = c->text, .wish = c->wish, .context = context, .posted_ns = c->posted_ns};
    c->text = NULL;
}

static void draft(struct kt_lane *lane, struct kt_command *c, double now)
{
    struct lane_session *s = &lane->sessions[c->session];
    if (blank(c->text)) {
        kt_lane_record_command(lane, c, KT_COMMAND_DRAFT, now);
        kt_lane_forget_wish(&s->draft);
        kt_board_undraft(lane->board, (int)c->session);
        return;
    }
    c->wish.key = kt_wish_key(&c->wish, c->text);
    kt_lane_record_command(lane, c, KT_COMMAND_DRAFT, now);
    if (s->draft.text && s->draft.wish.key == c->wish.key) {
        s->draft.wish.revision = c->wish.revision;
    } else {
        kt_lane_forget_wish(&s->draft);
        s->draft = (struct lane_wish){.text = c->text, .wish = c->wish, .posted_ns = c->posted_ns};
        c->text = NULL;
    }
    kt_board_draft(lane->board, (int)c->session, now, &c->wish);
}

/* ---- streams ---- */

static void open_fork(struct kt_lane *lane, struct kt_command *c, double now)
{
    int from = c->wish.from;
    struct lane_session *s = &lane->sessions[c->session];
    const struct lane_session *other = from < lane->p.sessions_max ? &lane->sessions[from] : NULL;
    if (!other || !other->live.timeline) {
        fail(lane, c, -ENOENT, "fork: the other session has no stream");
        return;
    }
    char *text = strdup(other->live.text ? other->live.text : "");
    if (!text) {
        fail(lane, c, -ENOMEM, "fork: out of memory");
        return;
    }
    free(c->text);
    c->text = text;
    s->seed = other->seed;
    c->wish.encoded = 1;
    int64_t made = kt_timeline_latents(other->live.timeline);
    c->wish.at = c->wish.at >= 0 && c->wish.at < made ? c->wish.at : made;
    commit(lane, c, kt_context_ref(other->live.context), now);
}

static void open_session(struct kt_lane *lane, struct kt_command *c, double now)
{
    struct lane_session *s = &lane->sessions[c->session];
    if (s->in_use) {
        fail(lane, c, -EBUSY, "the session is open already");
        return;
    }
    s->in_use = 1;
    s->seed = c->wish.seed;
    s->settings = c->settings;
    s->steps_told = -1;
    kt_lane_record_command(lane, c, KT_COMMAND_OPEN, now);
    kt_board_open(lane->board, (int)c->session, now, &c->settings);
    if (c->wish.from >= 0) {
        open_fork(lane, c, now);
    } else if (!blank(c->text)) {
        c->wish.fresh = 1;
        commit(lane, c, NULL, now);
    }
}

/* The prompt in force, on another stream: a new one, or this one from an earlier latent on. */
static void restart(struct kt_lane *lane, struct kt_command *c, double now)
{
    struct lane_session *s = &lane->sessions[c->session];
    const struct lane_track *live = &s->live;
    c->wish.from = -1;
    c->wish.revision = s->revision;
    c->wish.cut = KT_CUT_NOW;
    if (c->kind == KT_COMMAND_RESET) {
        s->seed = c->wish.seed;
    }
    if (!live->timeline) {
        if (c->kind == KT_COMMAND_REWIND) {
            fail(lane, c, -EINVAL, "rewind: nothing has been shown yet");
        } else {
            /* Whoever replays needs the other seed. */
            kt_lane_record_command(lane, c, KT_COMMAND_RESET, now);
            s->commit.wish.seed = s->seed;
        }
        return;
    }
    char *text = strdup(live->text ? live->text : "");
    if (!text) {
        fail(lane, c, -ENOMEM, "out of memory");
        return;
    }
    free(c->text);
    c->text = text;
    c->wish.encoded = 1;
    c->wish.fresh = c->kind == KT_COMMAND_RESET;
    c->wish.at = -1;
    if (c->kind == KT_COMMAND_REWIND) {
        int64_t past = c->frame - lane->info.first_frames;
        c->wish.at = past < 0 ? 0 : 1 + past / lane->info.frames_per_latent;
    }
    commit(lane, c, kt_context_ref(live->context), now);
}

void kt_lane_close_session(struct kt_lane *lane, int session)
{
    struct lane_session *s = &lane->sessions[session];
    if (!s->in_use) {
        return;
    }
    for (int i = 0; i < lane->checkpoints_max; i++) {
        if (lane->checkpoints[i].session == session) {
            kt_snapshot_unref(&lane->checkpoints[i].snapshot);
        }
    }
    kt_lane_forget_track(&s->live);
    kt_lane_forget_track(&s->next);
    kt_lane_forget_wish(&s->draft);
    kt_lane_forget_wish(&s->commit);
    kt_lane_forget_wish(&s->spare);
    kt_board_close(lane->board, session);
    kt_lane_past_end(lane, session);
    pthread_mutex_lock(&lane->lock); /* `past` is read elsewhere */
    *s = (struct lane_session){.past = {-1, -1}};
    pthread_mutex_unlock(&lane->lock);
}

/* ---- reports ---- */

static void report(struct kt_lane *lane, const struct kt_command *c, double now)
{
    kt_lane_record_command(lane, c, c->kind, now);
    kt_board_report(lane->board, (int)c->session, now, c->epoch, c->sent, c->shown);
    kt_lane_release_passed(lane, (int)c->session);
}

static void change_settings(struct kt_lane *lane, const struct kt_command *c, double now)
{
    struct lane_session *s = &lane->sessions[c->session];
    kt_lane_record_command(lane, c, c->kind, now);
    s->settings = c->settings;
    kt_board_settings(lane->board, (int)c->session, &c->settings);
    kt_lane_tell_pace(lane, (int)c->session);
}

static void close_session(struct kt_lane *lane, const struct kt_command *c, double now)
{
    kt_lane_record_command(lane, c, c->kind, now);
    struct kt_event e = {
        .kind = KT_EVENT_CLOSED, .session = c->session, .epoch = lane->sessions[c->session].epoch};
    kt_lane_close_session(lane, (int)c->session);
    kt_lane_put_event(lane, &e);
}

/* A new stream is on its way: a prompt that overtakes it is for that one. */
static int restarts(const struct lane_session *s)
{
    return (s->commit.text && s->commit.wish.fresh) ||
           (s->next.timeline && s->next.committed && s->next.wish.fresh);
}

static void run_open_command(struct kt_lane *lane, struct kt_command *c, double now)
{
    struct lane_session *s = &lane->sessions[c->session];
    switch (c->kind) {
    case KT_COMMAND_DRAFT: draft(lane, c, now); break;
    case KT_COMMAND_PROMPT:
        c->wish.fresh = s->live.timeline == NULL || restarts(s);
        c->wish.seed = s->seed;
        commit(lane, c, NULL, now);
        break;
    case KT_COMMAND_REPORT: report(lane, c, now); break;
    case KT_COMMAND_PAUSE:
    case KT_COMMAND_RESUME:
        kt_lane_record_command(lane, c, c->kind, now);
        s->paused = c->kind == KT_COMMAND_PAUSE;
        kt_board_pause(lane->board, (int)c->session, s->paused);
        break;
    case KT_COMMAND_RESET:
    case KT_COMMAND_REWIND: restart(lane, c, now); break;
    case KT_COMMAND_SETTINGS: change_settings(lane, c, now); break;
    case KT_COMMAND_CLOSE: close_session(lane, c, now); break;
    case KT_COMMAND_OPEN: break;
    }
}

void kt_lane_run_command(struct kt_lane *lane, struct kt_command *c)
{
    double now = kt_lane_now(lane);
    if (c->kind == KT_COMMAND_OPEN) {
        open_session(lane, c, now);
    } else if (lane->sessions[c->session].in_use) { /* else overtaken by its own close */
        run_open_command(lane, c, now);
    }
    free(c->text);
    kt_lane_publish_stats(lane);
}
