#include "sim/parts.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { REPORT_MS = 100 };

static struct kt_sim_lane *lane_of(struct kt_sim_world *w, const struct kt_sim_session *s)
{
    return &w->lanes[s->device];
}

static double spread(struct kt_sim_session *s, double ms, double by)
{
    return ms * kt_sim_random_between(&s->random, 1 - by, 1 + by);
}

/* ---- to the device ---- */

static void tell(struct kt_sim_world *w, struct kt_sim_session *s, struct kt_sim_command *c)
{
    c->session = s->slot;
    if (kt_sim_device_command(&lane_of(w, s)->device, w->now, c) < 0) {
        w->failed = -ENOMEM;
    }
    kt_sim_look(w, s->device);
}

static void tell_position(struct kt_sim_world *w, struct kt_sim_session *s, int64_t shown)
{
    const struct kt_sim_viewer *v = &s->viewer;
    int64_t sent = v->sent_epoch == v->epoch ? v->sent : 0;
    struct kt_sim_command c = {
        .kind = KT_SIM_REPORT, .epoch = v->epoch, .sent = sent, .shown = shown};
    if (v->epoch > 0) {
        tell(w, s, &c);
    }
}

/* ---- pictures ---- */

static void plan_send(struct kt_sim_world *w, int who)
{
    struct kt_sim_session *s = &w->sessions[who];
    double at = kt_sim_viewer_send_at(&s->viewer, w->now);
    if (at < s->send_at_ms) { /* an earlier one than planned; the planned one is void */
        s->send_at_ms = at;
        kt_sim_later(w, at, KT_SIM_SENDS, who, ++s->send_stamp, 0);
    }
}

static void take_pace(struct kt_sim_world *w, struct kt_sim_session *s)
{
    struct kt_board_session_info info;
    kt_board_get_session(lane_of(w, s)->device.board, s->slot, w->now, &info);
    s->viewer.interval_ms = 1000.0 / (info.fps > 2 ? info.fps : 2);
}

static void send(struct kt_sim_world *w, int who)
{
    struct kt_sim_session *s = &w->sessions[who];
    double full_ms = 1000.0 / lane_of(w, s)->device.p.board.fps;
    s->send_at_ms = INFINITY;
    if (kt_sim_viewer_send_at(&s->viewer, w->now) > w->now) {
        plan_send(w, who);
        return;
    }
    take_pace(w, s);
    kt_sim_viewer_send(&s->viewer, w->now,
                       kt_sim_random_between(&s->random, 0, s->viewer.net.jitter_ms));
    w->r->playing_ms += s->viewer.interval_ms;
    w->r->slow_ms += s->viewer.interval_ms > 1.02 * full_ms ? s->viewer.interval_ms : 0;
    kt_sim_device_release(&lane_of(w, s)->device, 1);
    tell_position(w, s, 0);
    plan_send(w, who);
}

/* A preview that comes after the pictures is not shown. */
static float preview_ms(const struct kt_sim_entered *e, const struct kt_sim_picture *p)
{
    return e->preview_at_ms < p->shown_ms ? (float)(e->preview_at_ms - e->at_ms) : -1;
}

static void take_sample(struct kt_sim_world *w, const struct kt_sim_entered *e,
                        const struct kt_sim_picture *p)
{
    struct kt_sim_report *r = w->r;
    if (r->sample_count == r->sample_cap) {
        size_t cap = r->sample_cap ? 2 * r->sample_cap : 256;
        struct kt_sim_sample *more = realloc(r->samples, cap * sizeof(*more));
        if (!more) {
            w->failed = -ENOMEM;
            return;
        }
        r->samples = more;
        r->sample_cap = cap;
    }
    r->samples[r->sample_count++] =
        (struct kt_sim_sample){.shown_ms = (float)(p->shown_ms - e->at_ms),
                               .received_ms = (float)(p->received_ms - e->at_ms),
                               .pause_ms = (float)e->pause_ms,
                               .preview_ms = preview_ms(e, p),
                               .hit = (uint8_t)e->hit};
}

struct showing {
    struct kt_sim_world *w;
    struct kt_sim_session *s;
};

/* The first picture of an epoch is on the screen. */
static void first_shown(void *arg, const struct kt_sim_picture *p)
{
    struct showing *at = arg;
    struct kt_sim_session *s = at->s;
    int kept = 0;
    for (int i = 0; i < s->entered_count; i++) {
        const struct kt_sim_entered *e = &s->entered[i];
        if (e->revision == p->revision && e->pause_ms >= 0 &&
            e->at_ms >= at->w->p->warm_seconds * 1000) {
            take_sample(at->w, e, p);
        }
        if (e->revision > p->revision) {
            s->entered[kept++] = *e;
        }
    }
    s->entered_count = kept;
}

static void wait_of(struct kt_sim_world *w, double ms)
{
    w->r->wait_max_ms = ms > w->r->wait_max_ms ? ms : w->r->wait_max_ms;
    w->r->starved += w->p->patience_s > 0 && ms > w->p->patience_s * 1000;
}

static void show(struct kt_sim_world *w, struct kt_sim_session *s)
{
    struct showing at = {w, s};
    uint64_t pictures = s->viewer.pictures;
    kt_sim_viewer_show(&s->viewer, w->now, first_shown, &at);
    if (s->viewer.pictures > pictures) {
        double since = s->viewer.shown.shown_ms - s->still_since_ms;
        wait_of(w, since);
        s->still_since_ms = s->viewer.shown.shown_ms;
    }
    if (w->now < w->p->warm_seconds * 1000) {
        s->warm_holes = s->viewer.holes;
        s->warm_hole_ms = s->viewer.hole_ms;
        s->viewer.hole_max_ms = 0;
    }
}

static void notice(struct kt_sim_world *w, int who)
{
    struct kt_sim_session *s = &w->sessions[who];
    const struct kt_sim_picture *on = &s->viewer.shown;
    show(w, s);
    if (s->viewer.shown_any && !s->viewer.paused) {
        kt_sim_later(w, w->now + s->viewer.net.up_ms, KT_SIM_REPORTED, who, on->epoch,
                     on->frame + 1);
    }
    kt_sim_later(w, w->now + REPORT_MS, KT_SIM_NOTICES, who, 0, 0);
}

/* ---- deeds ---- */

static struct kt_wish wish_of(const struct kt_sim_world *w, const struct kt_sim_session *s,
                              const char *text)
{
    struct kt_wish wish = {.revision = s->person.revision,
                           .cut = w->p->cut,
                           .recache = w->p->recache,
                           .at = -1,
                           .from = -1,
                           .seed = s->stream_seed};
    wish.key = kt_wish_key(&wish, text);
    return wish;
}

static void say(struct kt_sim_world *w, int who, const struct kt_sim_command *c)
{
    struct kt_sim_session *s = &w->sessions[who];
    double at = w->now + s->viewer.net.up_ms +
                kt_sim_random_between(&s->random, 0, s->viewer.net.jitter_ms);
    if (s->message_count == KT_SIM_MESSAGES_MAX) {
        return; /* faster than hands */
    }
    at = at > s->last_heard_ms ? at : s->last_heard_ms;
    s->last_heard_ms = at;
    s->messages[(s->message_head + s->message_count++) % KT_SIM_MESSAGES_MAX] = *c;
    kt_sim_later(w, at, KT_SIM_HEARD, who, 0, 0);
}

static void note_entered(struct kt_sim_world *w, struct kt_sim_session *s, double pause_ms)
{
    if (s->entered_count == KT_SIM_ENTERED_MAX) {
        memmove(s->entered, s->entered + 1, sizeof(s->entered[0]) * (KT_SIM_ENTERED_MAX - 1));
        s->entered_count--;
        w->r->starved++;
    }
    s->entered[s->entered_count++] = (struct kt_sim_entered){.revision = s->person.revision,
                                                             .hit = -1,
                                                             .at_ms = w->now,
                                                             .pause_ms = pause_ms,
                                                             .preview_at_ms = INFINITY};
    w->r->commits++;
}

/* Enter, or something that works like one (a reset, a rewind): pause_ms < 0. */
static void commit(struct kt_sim_world *w, int who, struct kt_wish wish, double pause_ms)
{
    struct kt_sim_session *s = &w->sessions[who];
    struct kt_sim_command c = {.kind = KT_SIM_COMMIT, .wish = wish};
    c.wish.key = kt_wish_key(&c.wish, s->prompt);
    note_entered(w, s, pause_ms);
    say(w, who, &c);
}

static void reset(struct kt_sim_world *w, int who)
{
    struct kt_sim_session *s = &w->sessions[who];
    s->person.revision++;
    struct kt_wish wish = wish_of(w, s, s->prompt);
    wish.fresh = wish.encoded = 1;
    wish.seed = ++s->stream_seed;
    commit(w, who, wish, -1);
}

static void rewind_stream(struct kt_sim_world *w, int who)
{
    struct kt_sim_session *s = &w->sessions[who];
    int64_t latents = s->viewer.shown.frame / 4, back = 1 + kt_sim_random_below(&s->random, 40);
    if (latents - back < 1) {
        return;
    }
    s->person.revision++;
    struct kt_wish wish = wish_of(w, s, s->prompt);
    wish.encoded = 1;
    wish.at = latents - back;
    commit(w, who, wish, -1);
}

static void set_paused(struct kt_sim_world *w, int who, int on)
{
    struct kt_sim_command c = {.kind = KT_SIM_PAUSED, .on = on};
    say(w, who, &c);
}

static void do_deed(struct kt_sim_world *w, int who)
{
    struct kt_sim_session *s = &w->sessions[who];
    struct kt_sim_command c = {.kind = KT_SIM_DRAFT};
    switch (s->deed) {
    case KT_SIM_TYPE:
        if (s->person.n == 0) {
            c.kind = KT_SIM_UNDRAFT;
        }
        c.wish = wish_of(w, s, s->person.text);
        say(w, who, &c);
        break;
    case KT_SIM_ENTER:
        memcpy(s->prompt, s->person.text, sizeof(s->prompt));
        commit(w, who, wish_of(w, s, s->prompt), s->person.entered_after_ms);
        break;
    case KT_SIM_PAUSE: set_paused(w, who, 1); break;
    case KT_SIM_RESUME: set_paused(w, who, 0); break;
    case KT_SIM_RESET: reset(w, who); break;
    case KT_SIM_REWIND: rewind_stream(w, who); break;
    }
}

static void plan_deed(struct kt_sim_world *w, int who)
{
    struct kt_sim_session *s = &w->sessions[who];
    double after;
    s->deed = kt_sim_person_next(&s->person, &w->p->people, &after);
    kt_sim_later(w, w->now + after, KT_SIM_DOES, who, 0, 0);
}

/* ---- at the server ---- */

static void hear(struct kt_sim_world *w, int who)
{
    struct kt_sim_session *s = &w->sessions[who];
    struct kt_sim_command c = s->messages[s->message_head];
    s->message_head = (s->message_head + 1) % KT_SIM_MESSAGES_MAX;
    s->message_count--;
    if (c.kind == KT_SIM_PAUSED) {
        show(w, s);
        kt_sim_viewer_pause(&s->viewer, c.on);
        s->still_since_ms = c.on ? INFINITY : w->now;
        for (int i = 0; i < s->entered_count; i++) { /* nobody waits meanwhile */
            s->entered[i].at_ms = w->now;
        }
    }
    tell(w, s, &c);
    plan_send(w, who);
}

void kt_sim_session_enter(struct kt_sim_world *w, int who, int lane, int slot, int steps_cap)
{
    const struct kt_sim_params *p = w->p;
    struct kt_sim_session *s = &w->sessions[who];
    s->state = KT_SIM_INSIDE;
    s->device = lane;
    s->slot = slot;
    s->let_in_ms = s->still_since_ms = w->now;
    s->send_at_ms = INFINITY;
    s->viewer.net = p->net;
    s->viewer.net.up_ms = spread(s, p->net.up_ms, p->net_spread);
    s->viewer.net.down_ms = spread(s, p->net.down_ms, p->net_spread);
    s->viewer.interval_ms = 1000.0 / 16;
    kt_sim_person_first(&s->person, &p->people);
    s->person.revision = 1;
    memcpy(s->prompt, s->person.text, sizeof(s->prompt));
    struct kt_sim_command open = {.kind = KT_SIM_OPEN, .settings = p->settings};
    open.settings.steps_cap = steps_cap;
    tell(w, s, &open);
    struct kt_wish wish = wish_of(w, s, s->prompt);
    wish.fresh = 1;
    wish.key = kt_wish_key(&wish, s->prompt);
    note_entered(w, s, -1);
    tell(w, s, &(struct kt_sim_command){.kind = KT_SIM_COMMIT, .wish = wish});
    kt_sim_later(w, w->now + kt_sim_random_between(&s->random, 0, REPORT_MS), KT_SIM_NOTICES, who,
                 0, 0);
    plan_deed(w, who);
    if (p->stay_s.high > 0) {
        double stay = 1000 * kt_sim_random_between(&s->random, p->stay_s.low, p->stay_s.high);
        kt_sim_later(w, w->now + stay, KT_SIM_LEAVES, who, 0, 0);
    }
}

static void leave(struct kt_sim_world *w, int who)
{
    struct kt_sim_session *s = &w->sessions[who];
    show(w, s);
    kt_sim_session_end(w, who);
    s->state = KT_SIM_GONE;
    w->r->sessions_left++;
    kt_sim_device_release(&lane_of(w, s)->device, kt_sim_viewer_drop(&s->viewer));
    tell(w, s, &(struct kt_sim_command){.kind = KT_SIM_CLOSE});
}

void kt_sim_session_happens(struct kt_sim_world *w, const struct kt_sim_appointment *a)
{
    struct kt_sim_session *s = &w->sessions[a->who];
    if (s->state != KT_SIM_INSIDE) {
        return;
    }
    switch (a->kind) {
    case KT_SIM_LEAVES: leave(w, a->who); break;
    case KT_SIM_DOES:
        do_deed(w, a->who);
        plan_deed(w, a->who);
        break;
    case KT_SIM_HEARD: hear(w, a->who); break;
    case KT_SIM_NOTICES: notice(w, a->who); break;
    case KT_SIM_REPORTED:
        if (a->stamp == s->viewer.epoch) {
            tell_position(w, s, a->value);
        }
        break;
    case KT_SIM_SENDS:
        if (a->stamp == s->send_stamp) {
            send(w, a->who);
        }
        break;
    default: break;
    }
}

/* ---- from the device ---- */

static int session_at(struct kt_sim_world *w, int lane, int slot)
{
    int who = w->lanes[lane].sessions[slot];
    return who >= 0 && w->sessions[who].state == KT_SIM_INSIDE ? who : -1;
}

static void on_pictures(void *arg, int lane, int slot, double now, uint32_t epoch, int64_t frame,
                        int count)
{
    struct kt_sim_world *w = arg;
    int who = session_at(w, lane, slot);
    int freed =
        who < 0 ? count : kt_sim_viewer_pictures(&w->sessions[who].viewer, epoch, frame, count);
    kt_sim_device_release(&w->lanes[lane].device, freed);
    if (who >= 0) {
        plan_send(w, who);
    }
}

static void on_applied(void *arg, int lane, int slot, double now, const struct kt_job *promote,
                       uint32_t epoch, uint32_t revision)
{
    struct kt_sim_world *w = arg;
    int who = session_at(w, lane, slot);
    if (who < 0) {
        return;
    }
    struct kt_sim_session *s = &w->sessions[who];
    if (promote->flush && s->viewer.shown_any && promote->frame > s->viewer.shown.frame) {
        show(w, s);
        int64_t jump = promote->frame - s->viewer.shown.frame - 1;
        w->r->jump_frames += jump;
        w->r->jump_max = jump > w->r->jump_max ? jump : w->r->jump_max;
        w->r->flushes++;
    }
    int freed = kt_sim_viewer_applied(&s->viewer, epoch, revision, promote->frame, promote->flush);
    kt_sim_device_release(&w->lanes[lane].device, freed);
    for (int i = 0; i < s->entered_count; i++) {
        struct kt_sim_entered *e = &s->entered[i];
        if (e->hit < 0 && e->revision == revision) {
            e->hit = promote->hit;
            w->r->applied++;
            if (e->pause_ms >= 0) {
                *(e->hit == 2 ? &w->r->hits : e->hit ? &w->r->warm : &w->r->cold) += 1;
                wait_of(w, now - e->at_ms);
            }
        } else if (e->hit < 0 && e->revision < revision) {
            e->hit = 0;
            w->r->overtaken++;
        }
    }
}

/* A preview is sent at once and shown when it comes. */
static void on_preview(void *arg, int lane, int slot, double now, uint32_t revision)
{
    struct kt_sim_world *w = arg;
    int who = session_at(w, lane, slot);
    if (who < 0) {
        return;
    }
    struct kt_sim_session *s = &w->sessions[who];
    const struct kt_sim_network *n = &s->viewer.net;
    for (int i = 0; i < s->entered_count; i++) {
        if (s->entered[i].revision == revision && s->entered[i].preview_at_ms == INFINITY) {
            s->entered[i].preview_at_ms = now + n->encode_ms + n->down_ms +
                                          kt_sim_random_between(&s->random, 0, n->jitter_ms);
        }
    }
}

static void on_closed(void *arg, int lane, int slot, double now)
{
    kt_sim_door_left(arg, lane, slot);
}

const struct kt_sim_sink kt_sim_session_sink = {
    .pictures = on_pictures, .applied = on_applied, .preview = on_preview, .closed = on_closed};

/* ---- the end ---- */

void kt_sim_session_end(struct kt_sim_world *w, int who)
{
    struct kt_sim_session *s = &w->sessions[who];
    struct kt_sim_report *r = w->r;
    const struct kt_sim_viewer *v = &s->viewer;
    if (s->state != KT_SIM_INSIDE) {
        return;
    }
    r->pictures += v->pictures;
    r->holes += v->holes - s->warm_holes;
    r->holey_sessions += v->holes > s->warm_holes;
    r->hole_ms += v->hole_ms - s->warm_hole_ms;
    r->hole_max_ms = v->hole_max_ms > r->hole_max_ms ? v->hole_max_ms : r->hole_max_ms;
    r->stale += v->stale;
    r->backwards += v->backwards;
    r->unshown += v->unshown;
    r->start_ms_mean += v->shown_any ? v->first_ms - s->arrived_ms : 0;
    for (int i = 0; i < s->entered_count; i++) {
        r->open_commits += s->entered[i].hit < 0;
        if (s->entered[i].hit < 0 && !v->paused) {
            wait_of(w, w->now - s->entered[i].at_ms);
        }
    }
    if (!v->paused && s->still_since_ms < w->now) {
        wait_of(w, w->now - s->still_since_ms);
    }
}
