#include "server/wishes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct kt_wish kt_wish_plain(uint32_t revision)
{
    return (struct kt_wish){.revision = revision, .at = -1, .from = -1};
}

int kt_text_wish_set(struct kt_text_wish *w, const struct kt_wish *wish, const char *text)
{
    char *copy = strdup(text);
    if (!copy) {
        return -ENOMEM;
    }
    free(w->text);
    *w = (struct kt_text_wish){1, copy, *wish};
    return 0;
}

void kt_text_wish_drop(struct kt_text_wish *w)
{
    free(w->text);
    *w = (struct kt_text_wish){0};
}

void kt_wishes_drop(struct kt_wishes *w)
{
    kt_text_wish_drop(&w->open);
    kt_text_wish_drop(&w->draft);
    kt_text_wish_drop(&w->prompt);
}

struct post {
    struct kt_wishes *w;
    struct kt_lane *lane;
    uint32_t session;
    const struct kt_log *log;
};

static int post(const struct post *p, struct kt_command *cmd)
{
    cmd->session = p->session;
    const int rc = kt_lane_post(p->lane, cmd);
    if (rc < 0 && rc != -EAGAIN) {
        kt_log(p->log, KT_LOG_ERROR, "session %u: the lane refused command %d", p->session,
               (int)cmd->kind);
        free(cmd->text);
        return 0; /* asking again would not help */
    }
    return rc;
}

static int post_text(const struct post *p, struct kt_text_wish *w, enum kt_command_kind kind)
{
    if (!w->due) {
        return 0;
    }
    struct kt_command cmd = {
        .kind = kind, .wish = w->wish, .settings = p->w->settings, .text = w->text};
    const int rc = post(p, &cmd);
    if (rc == 0) {
        *w = (struct kt_text_wish){0};
    }
    return rc;
}

static int post_flag(const struct post *p, int *due, struct kt_command cmd)
{
    const int rc = *due ? post(p, &cmd) : 0;
    *due = rc < 0 ? *due : 0;
    return rc;
}

static int post_open(const struct post *p)
{
    struct kt_wishes *w = p->w;
    const int due = w->open.due, rc = post_text(p, &w->open, KT_COMMAND_OPEN);
    if (due && rc == 0) {
        w->lane_open = 1;
        w->settings_due = 0; /* it had them */
    }
    return rc;
}

static int post_pause(const struct post *p)
{
    struct kt_wishes *w = p->w;
    if (w->paused == w->paused_told) {
        return 0;
    }
    struct kt_command cmd = {.kind = w->paused ? KT_COMMAND_PAUSE : KT_COMMAND_RESUME};
    const int rc = post(p, &cmd);
    w->paused_told = rc == 0 ? w->paused : w->paused_told;
    return rc;
}

static int post_report(const struct post *p)
{
    struct kt_wishes *w = p->w;
    return post_flag(
        p, &w->report_due,
        (struct kt_command){
            .kind = KT_COMMAND_REPORT, .epoch = w->epoch, .sent = w->sent, .shown = w->shown});
}

static int post_place(const struct post *p, struct kt_place_wish *w, enum kt_command_kind kind)
{
    return post_flag(p, &w->due,
                     (struct kt_command){.kind = kind, .wish = w->wish, .frame = w->frame});
}

/* Reports come before what is decided by them. A reset or a rewind goes on with the prompt that is
 * in force and overtakes what is not yet, so it waits for that. */
int kt_wishes_post(struct kt_wishes *w, struct kt_lane *lane, uint32_t session, int closing,
                   const struct kt_log *log)
{
    const struct post p = {w, lane, session, log};
    if (closing) {
        w->close_due = w->close_due && w->lane_open; /* else it never heard of us */
        return post_flag(&p, &w->close_due, (struct kt_command){.kind = KT_COMMAND_CLOSE});
    }
    int rc = post_open(&p);
    rc = rc < 0
             ? rc
             : post_flag(&p, &w->settings_due,
                         (struct kt_command){.kind = KT_COMMAND_SETTINGS, .settings = w->settings});
    rc = rc < 0 ? rc : post_report(&p);
    rc = rc < 0 ? rc : post_text(&p, &w->prompt, KT_COMMAND_PROMPT);
    if (!w->hold_restarts) {
        rc = rc < 0 ? rc : post_place(&p, &w->reset, KT_COMMAND_RESET);
        rc = rc < 0 ? rc : post_place(&p, &w->rewind, KT_COMMAND_REWIND);
    }
    rc = rc < 0 ? rc : post_text(&p, &w->draft, KT_COMMAND_DRAFT);
    return rc < 0 ? rc : post_pause(&p);
}
