/* What to do: the policy.
 *
 * A device serves all sessions of its lane. It does one piece of work at a time (a step, a pass,
 * one latent's decode; a few ms to some tens) and asks again after each, so a decision is never
 * older than one piece. Four kinds of work compete:
 *
 *   1. What somebody pressed Enter for and waits to see.
 *   2. LIVE work that the next picture of a session hangs on. Its slack is the video that lies
 * decoded minus the work until there is more: negative means that a hole is coming.
 *   3. Drafts: pictures for a text that may be committed.
 *   4. Speculation: blocks ahead of the decode lead.
 *
 * Among wishes the oldest goes first, among streams the one with the least slack. A wish overtakes
 * every stream that can spare its next piece; a stream that cannot is served before it, because a
 * hole is seen by somebody who did nothing to cause it. But on a device that is too slow for
 * everybody no stream can ever spare anything: a wish that has waited for a second and a half goes
 * first whatever it costs, so nobody starves. A session's own stream is not drawn any further while
 * its wish is being made (that would be thrown away), except to decode what is there when it would
 * run dry before.
 *
 * 3 and 4 are work from slack: done when every stream of the device would keep `reserve_ms` after
 * it. Drafts come before speculation (a hit saves a person half a second, a block ahead only hides
 * a hiccup), and by default also before filling a lead that is in no danger. */
#include "engine/sched/choose.h"

#include <math.h>

/* How far past the playhead a branch is rolled, in latents. */
enum { KT_COVER_LATENTS = 2 };
/* A wish that waited for so long goes before streams that run dry. */
#define KT_WISH_PATIENCE_MS 1500.0

void kt_choice_wake_at(struct kt_choice *o, double when)
{
    if (when > o->now && when < o->wake_ms) {
        o->wake_ms = when;
    }
}

struct kt_job kt_job_of(const struct kt_board *b, const struct kt_place *s, enum kt_job_kind kind,
                        enum kt_track track)
{
    return (struct kt_job){.kind = kind,
                           .session = (int)(s - b->places),
                           .track = track,
                           .from = (int)(s - b->places),
                           .slot = -1,
                           .at = -1,
                           .weight = 1};
}

int kt_place_active(const struct kt_place *s)
{
    return s->open && !s->paused;
}

int kt_place_waits(const struct kt_place *s)
{
    return s->commit.there || (s->next.there && s->making_committed);
}

int kt_place_makes(const struct kt_place *s, const struct kt_wanted *w)
{
    return s->next.there && s->making.wish.key == w->wish.key;
}

/* ---- candidates ---- */

/* Old pictures before the cut that still have to be shown (a cut that does not flush), or NONE. */
static struct kt_job decode_up_to_cut(const struct kt_choice *o, const struct kt_place *s)
{
    return s->live.there && s->live.decoded < kt_place_takeover(o->b, s) &&
                   s->live.decoded < s->live.latents &&
                   o->r->frames_free >= o->b->p.frames_per_latent
               ? kt_job_of(o->b, s, KT_JOB_DECODE, KT_TRACK_LIVE)
               : kt_no_job;
}

/* The next piece of what Enter was pressed for, or NONE. */
static struct kt_job committed_job(const struct kt_choice *o, const struct kt_place *s)
{
    const struct kt_board *b = o->b;
    const struct kt_wanted *w = &s->commit;
    if (s->next.there && s->making_committed && kt_place_ready(s)) { /* not promoted yet */
        return s->next.decoded > kt_place_takeover(b, s) ? decode_up_to_cut(o, s)
                                                         : kt_track_next_job(o, s);
    }
    if (s->next.there) {
        return s->making_committed ? kt_track_next_job(o, s) : kt_no_job;
    }
    if (!w->there) {
        return kt_no_job;
    }
    if (!w->encoded) {
        struct kt_job job = kt_job_of(b, s, KT_JOB_TEXT, KT_TRACK_NEXT);
        job.committed = 1;
        return job;
    }
    if (b->p.policy.fifo && w->wish.at < 0 && s->live.there && !w->wish.fresh) {
        if (s->live.block_active || s->live.uncached) {
            return kt_track_block_part(b, s, KT_TRACK_LIVE);
        }
        if (s->live.latents > s->live.decoded) { /* all of it is shown before the new prompt is */
            return o->r->frames_free >= b->p.frames_per_latent
                       ? kt_job_of(b, s, KT_JOB_DECODE, KT_TRACK_LIVE)
                       : kt_no_job;
        }
    }
    return kt_cut_job(o, s, w, 1);
}

/* LIVE work of a session whose own wish is being made: only what keeps it from running dry. */
static int live_helps(const struct kt_choice *o, const struct kt_place *s)
{
    const struct kt_wanted *w = s->commit.there ? &s->commit : &s->making;
    return s->live.latents > s->live.decoded &&
           kt_place_lead_ms(o->b, s) < kt_place_ready_in_ms(o->b, s, w);
}

struct candidate {
    struct kt_job job;
    double key; /* the least goes first */
};

static void offer(struct candidate *best, struct kt_job job, double key)
{
    if (job.kind != KT_JOB_NONE && (best->job.kind == KT_JOB_NONE || key < best->key)) {
        *best = (struct candidate){job, key};
    }
}

/* The peers' way, for comparison: sessions in turn, a block at a time, prompts at block boundaries.
 */
static void offer_in_turn(const struct kt_choice *o, const struct kt_place *s,
                          struct candidate *best)
{
    struct kt_job live = kt_track_live_job(o, s);
    if (kt_place_waits(s)) {
        offer(best, committed_job(o, s), 0);
    } else if (kt_track_live_needed(o, s, &live)) {
        offer(best, live, 0);
    }
}

struct most_pressed {
    struct candidate wish;   /* by age */
    struct candidate stream; /* by slack */
};

/* `mine`, or what must be forgotten first to make room for it. */
static void offer_with_room(const struct kt_choice *o, struct candidate *best, struct kt_job mine,
                            double key)
{
    int fits = 1;
    if (mine.kind != KT_JOB_NONE) {
        struct kt_job room = kt_room_for(o, &mine, &fits);
        offer(best, fits ? mine : room, key);
    }
}

/* Kinds 1 and 2 of one session. */
static void offer_needed(const struct kt_choice *o, const struct kt_place *s,
                         struct most_pressed *m)
{
    struct kt_job live = kt_track_live_job(o, s);
    double slack = kt_track_slack_ms(o->b, s);
    if (o->b->p.policy.fifo) {
        struct candidate mine = {.job = kt_no_job};
        offer_in_turn(o, s, &mine);
        offer_with_room(o, &m->stream, mine.job, 0);
        return;
    }
    if (!kt_place_waits(s)) {
        if (kt_track_live_needed(o, s, &live)) {
            offer_with_room(o, &m->stream, live, slack);
        }
        return;
    }
    const struct kt_wanted *w = s->commit.there && !s->next.there ? &s->commit : &s->making;
    if (live.kind == KT_JOB_DECODE && live_helps(o, s)) {
        offer_with_room(o, &m->stream, live, slack);
    } else {
        offer_with_room(o, &m->wish, committed_job(o, s), w->given_ms - o->now);
    }
}

/* Kind 3 of one session. */
static struct kt_job draft_job(struct kt_choice *o, const struct kt_place *s)
{
    const struct kt_board *b = o->b;
    const struct kt_policy *p = &b->p.policy;
    const struct kt_wanted *w = &s->draft;
    if (!w->there || w->failed || !s->settings.drafts || kt_place_waits(s) || !s->live.there) {
        return kt_no_job;
    }
    if (!w->encoded) {
        kt_choice_wake_at(o, w->given_ms + p->text_after_ms);
        return o->now >= w->given_ms + p->text_after_ms
                   ? kt_job_of(b, s, KT_JOB_TEXT, KT_TRACK_NEXT)
                   : kt_no_job;
    }
    if (kt_place_makes(s, w)) {
        int64_t end = kt_board_frames_before(b, s->next.decoded);
        if (kt_place_ready(s) && end - s->shown > KT_HELD_LATENTS_MAX * b->p.frames_per_latent) {
            return kt_no_job; /* the playhead is guessed: wait for a report */
        }
        int64_t wanted = kt_place_shown(b, s, o->now) + KT_COVER_LATENTS * b->p.frames_per_latent;
        int64_t begins = kt_board_frames_before(b, kt_place_takeover(b, s) + 1);
        wanted = wanted > begins ? wanted : begins;
        if (kt_place_ready(s) && end >= wanted) {
            kt_choice_wake_at(o, o->now + ((double)(end - wanted) + 1) * 1000.0 / b->p.fps);
            return kt_no_job;
        }
        return kt_track_next_job(o, s);
    }
    if (!p->drafts || s->sent == 0) {
        return kt_no_job;
    }
    kt_choice_wake_at(o, w->given_ms + p->draft_after_ms);
    if (o->now < w->given_ms + p->draft_after_ms) {
        return kt_no_job;
    }
    return s->next.there ? kt_job_of(b, s, KT_JOB_DROP, KT_TRACK_NEXT) : kt_cut_job(o, s, w, 0);
}

static double cost_ms(const struct kt_board *b, const struct kt_job *job)
{
    const struct kt_costs *c = &b->costs;
    switch (job->kind) {
    case KT_JOB_TEXT: return c->text_ms;
    case KT_JOB_CUT: return c->recache_ms * (job->recache ? job->recache : b->p.window);
    case KT_JOB_BLEND: return c->recache_ms * job->recache;
    case KT_JOB_STEP: return c->step_ms;
    case KT_JOB_CACHE: return c->commit_ms;
    case KT_JOB_DECODE:
    case KT_JOB_PREVIEW: return c->decode_ms;
    default: return 0;
    }
}

/* What every stream of the device can spare. A stream that waits for its own wish, or has shown
 * nothing yet, is not asked: its pictures hang on other work. */
static double least_slack_ms(const struct kt_board *b)
{
    double least = INFINITY;
    for (int i = 0; i < b->p.sessions_max; i++) {
        const struct kt_place *s = &b->places[i];
        if (kt_place_active(s) && s->live.there && !kt_place_waits(s)) {
            double ms = kt_track_slack_ms(b, s);
            least = ms < least ? ms : least;
        }
    }
    return least;
}

static struct kt_job from_slack(struct kt_choice *o)
{
    struct kt_board *b = o->b;
    if (b->p.policy.fifo) {
        return kt_no_job;
    }
    struct candidate draft = {.job = kt_no_job}, ahead = {.job = kt_no_job};
    double spare = least_slack_ms(b) - b->p.policy.reserve_ms;
    for (int n = 0; n < b->p.sessions_max; n++) {
        struct kt_place *s = &b->places[(b->first + n) % b->p.sessions_max];
        if (!kt_place_active(s)) {
            continue;
        }
        struct kt_job job = draft_job(o, s);
        if (cost_ms(b, &job) <= spare) {
            int fits = kt_room_fits_slack(o, &job);
            offer(&draft, fits ? job : kt_room_from_slack(o, &job),
                  -s->draft.given_ms); /* the latest keystroke */
        }
        job = kt_track_live_job(o, s);
        if (!kt_place_waits(s) && !kt_track_live_needed(o, s, &job) && cost_ms(b, &job) <= spare &&
            kt_room_fits_slack(o, &job)) {
            offer(&ahead, job, (double)(s->live.latents - s->live.decoded));
        }
    }
    return draft.job.kind != KT_JOB_NONE ? draft.job : ahead.job;
}

/* ---- the choice ---- */

static struct kt_job needed(struct kt_choice *o)
{
    struct kt_board *b = o->b;
    struct most_pressed m = {{.job = kt_no_job}, {.job = kt_no_job}};
    for (int n = 0; n < b->p.sessions_max; n++) {
        const struct kt_place *s = &b->places[(b->first + n) % b->p.sessions_max];
        if (kt_place_active(s)) {
            offer_needed(o, s, &m);
        }
    }
    if (m.wish.job.kind == KT_JOB_NONE || m.stream.job.kind == KT_JOB_NONE) {
        return m.wish.job.kind == KT_JOB_NONE ? m.stream.job : m.wish.job;
    }
    int spared = m.stream.key >= cost_ms(b, &m.wish.job), old = -m.wish.key > KT_WISH_PATIENCE_MS;
    return spared || old ? m.wish.job : m.stream.job;
}

struct kt_job kt_board_next(struct kt_board *b, double now, const struct kt_board_resources *r)
{
    struct kt_choice o = {.b = b, .r = r, .now = now, .wake_ms = INFINITY};
    struct kt_job job = kt_upkeep_job(&o);
    if (job.kind == KT_JOB_NONE && b->p.policy.drafts_first) {
        struct kt_job need = needed(&o), slack = from_slack(&o);
        /* Work from slack is only offered when nobody is in danger; a waiting Enter still wins. */
        int pressed = need.kind != KT_JOB_NONE && kt_place_waits(&b->places[need.session]);
        job = slack.kind != KT_JOB_NONE && slack.track == KT_TRACK_NEXT && !pressed ? slack : need;
        job = job.kind == KT_JOB_NONE ? slack : job;
    } else if (job.kind == KT_JOB_NONE) {
        job = needed(&o);
        job = job.kind == KT_JOB_NONE ? from_slack(&o) : job;
    }
    if (job.kind == KT_JOB_NONE) {
        job.wake_ms = o.wake_ms;
    }
    return job;
}
