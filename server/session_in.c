/* What a client's messages do to its session.
 *
 * Typing: the text changes with every edit, and each edit makes it the draft; a commit copies it
 * into a wish. Both are places of one for the lane (the latest wins), so typing faster than the
 * device thinks piles nothing up. */
#include "server/session_parts.h"

#include "server/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The text as it stands, to be drawn ahead; a blank one forgets the draft. */
static int draft(struct kt_session *s, struct kt_fault *fault)
{
    const int wanted = s->settings.draft && !kt_text_blank(&s->text);
    const struct kt_wish wish = kt_change_wish(&s->settings.change, (uint32_t)s->text.rev);
    if (kt_text_wish_set(&s->wishes.draft, &wish, wanted ? s->text.bytes : "") < 0) {
        return kt_fault_set(fault, KT_FAULT_INTERNAL, "out of memory");
    }
    return 0;
}

static int handle_edit(struct kt_session *s, const struct kt_client_message *m, int64_t now_us,
                       struct kt_fault *fault)
{
    int rc;
    if (m->edit.text) {
        rc = kt_text_replace(&s->text, (int)m->edit.rev, m->edit.text, strlen(m->edit.text), fault);
    } else {
        const struct kt_splice splice = {(int)m->edit.rev, (int)m->edit.base, m->edit.at,
                                         m->edit.del,      m->edit.ins,       strlen(m->edit.ins)};
        rc = kt_text_splice(&s->text, &splice, fault);
    }
    if (rc == -ESTALE) {
        char reason[96];
        snprintf(reason, sizeof(reason), "base is %lld, the text here is revision %d",
                 (long long)m->edit.base, s->text.rev);
        kt_session_resync(s, reason);
        return 0;
    }
    if (rc == 0) {
        kt_session_send_received(s, 0, now_us);
        rc = draft(s, fault);
    }
    return rc;
}

static int check_commit(const struct kt_session *s, const struct kt_client_message *m,
                        struct kt_fault *fault)
{
    if (m->commit.rev != s->text.rev) {
        char expected[48], found[32];
        snprintf(expected, sizeof(expected), "the current revision, %d", s->text.rev);
        snprintf(found, sizeof(found), "%lld", (long long)m->commit.rev);
        kt_fault_set(fault, KT_FAULT_WRONG_REV, "commit: another revision than the text's");
        return kt_fault_detail(fault, "rev", expected, found);
    }
    if (kt_text_blank(&s->text)) {
        kt_fault_set(fault, KT_FAULT_EMPTY_PROMPT, "commit: the prompt is empty");
        return kt_fault_detail(fault, "rev", "at least one word", "nothing but blanks");
    }
    return kt_change_check(&m->commit.change, s->live->window, "commit", fault);
}

static int handle_commit(struct kt_session *s, const struct kt_client_message *m, int64_t now_us,
                         struct kt_fault *fault)
{
    const int rc = check_commit(s, m, fault);
    if (rc < 0) {
        return rc;
    }
    const struct kt_change change = kt_change_merge(&s->settings.change, &m->commit.change);
    const struct kt_wish wish = kt_change_wish(&change, (uint32_t)s->text.rev);
    char *copy = strdup(s->text.bytes);
    if (!copy || kt_text_wish_set(&s->wishes.prompt, &wish, s->text.bytes) < 0) {
        free(copy);
        return kt_fault_set(fault, KT_FAULT_INTERNAL, "out of memory");
    }
    s->committed = s->text.rev;
    kt_text_wish_drop(&s->wishes.draft); /* the lane has heard enough of it */
    kt_session_note_cut(s, s->committed, (enum kt_cut_name)change.cut, copy);
    kt_session_send_received(s, 1, now_us);
    kt_log(s->live->log, KT_LOG_DEBUG, "session %u commits revision %d: %s", s->index, s->text.rev,
           s->text.bytes);
    return 0;
}

static int handle_set(struct kt_session *s, const struct kt_client_message *m,
                      struct kt_fault *fault)
{
    const struct kt_settings before = s->settings;
    int rc = kt_settings_set(&s->settings, m, s->live->window, fault);
    if (rc < 0) {
        return rc;
    }
    struct kt_session_settings *told = &s->wishes.settings;
    told->drafts = s->settings.draft;
    told->depth = s->settings.depth;
    told->preview = s->settings.preview;
    s->wishes.settings_due = 1;
    kt_session_send_settings(s);
    const int reshaped = before.draft != s->settings.draft ||
                         memcmp(&before.change, &s->settings.change, sizeof(before.change)) != 0;
    return reshaped && s->text.rev != s->committed ? draft(s, fault) : 0;
}

static int handle_rewind(struct kt_session *s, int64_t frame, struct kt_fault *fault)
{
    struct kt_history h;
    const int any = kt_session_history(s, &h);
    if (any && frame >= h.from && frame <= h.to) {
        s->wishes.rewind = (struct kt_place_wish){
            .due = 1, .wish = kt_wish_plain((uint32_t)s->committed), .frame = frame};
        s->wishes.rewind.wish.cut = KT_CUT_NOW;
        kt_session_note_cut(s, s->committed, KT_NAME_NOW, NULL);
        return 0;
    }
    char expected[64] = "a stream that has begun", found[32];
    if (any) {
        snprintf(expected, sizeof(expected), "%lld to %lld", (long long)h.from, (long long)h.to);
    }
    snprintf(found, sizeof(found), "%lld", (long long)frame);
    kt_fault_set(fault, KT_FAULT_OUT_OF_RANGE, "rewind: nothing is kept of that frame");
    return kt_fault_detail(fault, "frame", expected, found);
}

static int handle_steps(struct kt_session *s, int64_t steps, struct kt_fault *fault)
{
    if (steps > s->live->steps_max) {
        char expected[48], found[32];
        snprintf(expected, sizeof(expected), "0 to %d", s->live->steps_max);
        snprintf(found, sizeof(found), "%lld", (long long)steps);
        kt_fault_set(fault, KT_FAULT_OUT_OF_RANGE, "steps: more than the model has");
        return kt_fault_detail(fault, "steps", expected, found);
    }
    s->steps = (int)steps;
    s->wishes.settings.steps = s->steps;
    s->wishes.settings_due = 1;
    return 0;
}

static int handle_keyframe(struct kt_session *s, int64_t now_us, struct kt_fault *fault)
{
    const int wait_ms = kt_bucket_take(&s->keyframes, now_us);
    if (wait_ms > 0) {
        kt_fault_set(fault, KT_FAULT_RATE_LIMITED, "keyframe: too many requests");
        fault->limit = KT_KEYFRAMES_PER_S;
        fault->retry_ms = wait_ms;
        return -EBADMSG;
    }
    s->want_key = 1;
    return 0;
}

/* Reports arrive in any order of magnitude; what was on the screen stays so. */
static void report_shown(struct kt_session *s, const struct kt_sent *sent)
{
    struct kt_wishes *w = &s->wishes;
    if (s->reported && sent->epoch == w->epoch && sent->frame + 1 > w->shown) {
        w->shown = sent->frame + 1;
        w->report_due = 1;
    }
}

static void handle_playhead(struct kt_session *s, const struct kt_client_message *m, int64_t now_us)
{
    s->last_report_us = now_us;
    if (s->hidden) {
        s->hidden = 0;
        kt_pacer_restart(&s->pacer);
    }
    if (s->next_seq == 0) {
        return;
    }
    uint32_t seq = (uint32_t)m->playhead.seq;
    seq = seq >= s->next_seq ? s->next_seq - 1 : seq;
    while (seq > 0 && s->sent[seq % KT_SENT_MAX].preview) {
        seq--; /* the reports are about the video */
    }
    const struct kt_sent *sent = &s->sent[seq % KT_SENT_MAX];
    const int64_t rtt = m->playhead.rtt_us > KT_RTT_US_MAX ? KT_RTT_US_MAX : m->playhead.rtt_us;
    if (sent->seq == seq && !sent->preview) {
        kt_pacer_report(&s->pacer, now_us, sent->number, sent->pts_us, rtt);
        report_shown(s, sent);
    }
}

static void set_client_paused(struct kt_session *s, int on, int64_t now_us)
{
    if (s->client_paused && !on) {
        kt_pacer_restart(&s->pacer);
        s->last_report_us = now_us;
    }
    s->client_paused = on;
}

static void reset(struct kt_session *s)
{
    const int revision = s->committed < 0 ? 0 : s->committed;
    struct kt_place_wish *w = &s->wishes.reset;
    *w = (struct kt_place_wish){.due = 1, .wish = kt_wish_plain((uint32_t)revision)};
    w->wish.cut = KT_CUT_NOW;
    w->wish.fresh = 1;
    w->wish.seed = s->seed;
    kt_session_note_cut(s, revision, KT_NAME_NOW, NULL);
}

int kt_session_message(struct kt_session *s, const struct kt_client_message *m, int64_t now_us,
                       struct kt_fault *fault)
{
    switch (m->kind) {
    case KT_CLIENT_EDIT: return handle_edit(s, m, now_us, fault);
    case KT_CLIENT_COMMIT: return handle_commit(s, m, now_us, fault);
    case KT_CLIENT_SET: return handle_set(s, m, fault);
    case KT_CLIENT_REWIND: return handle_rewind(s, m->rewind.frame, fault);
    case KT_CLIENT_PAUSE: set_client_paused(s, 1, now_us); return 0;
    case KT_CLIENT_RESUME: set_client_paused(s, 0, now_us); return 0;
    case KT_CLIENT_RESET:
        s->seed = m->reset.seed.given ? m->reset.seed.value : s->seed;
        reset(s);
        return 0;
    case KT_CLIENT_STEPS: return handle_steps(s, m->steps.steps, fault);
    case KT_CLIENT_KEYFRAME: return handle_keyframe(s, now_us, fault);
    case KT_CLIENT_PLAYHEAD: handle_playhead(s, m, now_us); return 0;
    default: return 0;
    }
}
