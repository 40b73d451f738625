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
 * a hiccup), and by default also before filling a lead that is in no danger.
 *
 * Memory. Work that needs pages and finds none makes the board look for what to forget, in this
 * order: a draft's branch (the one untouched for longest), an old hot checkpoint, speculative
 * blocks of the session that has most. Latents that are decoded or on their way to a screen are
 * never touched. Work from slack evicts nothing but hot checkpoints, which hold pages that a stream
 * has long moved on from, and must leave a block's pages for every stream. */
#include <math.h>

#include "engine/sched/places.h"

/* Held frames of a branch: how far past the playhead it is rolled, in latents. */
enum { KT_COVER_LATENTS = 2 };
/* A wish that waited for so long goes before streams that run dry. */
#define KT_WISH_PATIENCE_MS 1500.0

static const struct kt_job nothing = {.kind = KT_JOB_NONE};

struct options { /* of one choice */
    struct kt_board *b;
    const struct kt_board_resources *r;
    double now;
    double wake_ms;
};

static void wake_at(struct options *o, double when)
{
    if (when > o->now && when < o->wake_ms) {
        o->wake_ms = when;
    }
}

static struct kt_job job_of(const struct kt_board *b, const struct kt_place *s,
                            enum kt_job_kind kind, enum kt_track track)
{
    return (struct kt_job){.kind = kind,
                           .session = (int)(s - b->places),
                           .track = track,
                           .from = (int)(s - b->places),
                           .slot = -1,
                           .at = -1,
                           .weight = 1};
}

static int active(const struct kt_place *s)
{
    return s->open && !s->paused;
}

/* ---- the next piece of a track ---- */

static struct kt_job block_part(const struct kt_board *b, const struct kt_place *s,
                                enum kt_track track)
{
    const struct kt_track_state *t = track == KT_TRACK_LIVE ? &s->live : &s->next;
    struct kt_job job = job_of(b, s, KT_JOB_BEGIN, track);
    if (t->block_active) {
        job.kind = t->steps_left > 0 ? KT_JOB_STEP : KT_JOB_COMMIT;
    } else if (t->blend_left > 0 && t->latents > t->floor) {
        job.kind = KT_JOB_BLEND;
        job.recache = b->p.block_latents;
        job.weight = 1.0 - (double)(t->blend_left - 1) / t->blend;
    }
    job.steps = s->pace.steps;
    return job;
}

static double lead_max_ms(const struct kt_board *b)
{
    return b->p.policy.decode_lead * b->p.frames_per_latent * 1000.0 / b->p.fps;
}

static int depth_latents(const struct kt_board *b, const struct kt_place *s)
{
    int depth = s->settings.depth >= 0 ? s->settings.depth : b->p.policy.depth;
    return depth > 0 ? depth * b->p.block_latents : 1;
}

static struct kt_job live_job(const struct options *o, const struct kt_place *s)
{
    const struct kt_board *b = o->b;
    int64_t undecoded = s->live.latents - s->live.decoded;
    if (!s->live.there) {
        return nothing;
    }
    if (undecoded > 0 && kt_place_lead_ms(b, s) < lead_max_ms(b) &&
        o->r->frames_free >= b->p.frames_per_latent) {
        return job_of(b, s, KT_JOB_DECODE, KT_TRACK_LIVE);
    }
    if (s->live.block_active || undecoded < depth_latents(b, s)) {
        return block_part(b, s, KT_TRACK_LIVE);
    }
    return nothing;
}

/* A picture of this session hangs on its live job; else the job is speculation. */
static int live_is_needed(const struct options *o, const struct kt_place *s,
                          const struct kt_job *job)
{
    return job->kind != KT_JOB_NONE && kt_place_lead_ms(o->b, s) < lead_max_ms(o->b) &&
           (job->kind == KT_JOB_DECODE || s->live.latents == s->live.decoded);
}

/* Device time until LIVE has another latent decoded. */
static double live_work_ms(const struct kt_board *b, const struct kt_place *s)
{
    const struct kt_costs *c = &b->costs;
    int steps = s->live.block_active ? s->live.steps_left : s->pace.steps;
    if (s->live.latents > s->live.decoded) {
        return c->decode_ms;
    }
    return steps * c->step_ms + c->commit_ms + c->decode_ms;
}

static double slack_ms(const struct kt_board *b, const struct kt_place *s)
{
    return kt_place_lead_ms(b, s) - live_work_ms(b, s);
}

static struct kt_job next_job(const struct options *o, const struct kt_place *s)
{
    const struct kt_board *b = o->b;
    if (s->next.latents > s->next.decoded) {
        return o->r->frames_free >= b->p.frames_per_latent
                   ? job_of(b, s, KT_JOB_DECODE, KT_TRACK_NEXT)
                   : nothing;
    }
    if (s->making_committed && s->making.hit == 0 && b->p.has_preview && s->settings.preview &&
        s->live.there && !s->previewed && s->next.block_active &&
        s->next.steps_left < s->next.steps && s->next.steps_left > 1 &&
        o->r->frames_free >= 2 * b->p.frames_per_latent) {
        return job_of(b, s, KT_JOB_PREVIEW, KT_TRACK_NEXT);
    }
    return block_part(b, s, KT_TRACK_NEXT);
}

/* ---- where to cut ---- */

/* The newest checkpoint of session `from` that can be rewound to `at`, or -1. */
static int checkpoint_for(const struct kt_board *b, int from, int64_t at)
{
    int best = -1;
    for (int i = 0; i < b->p.checkpoints_max; i++) {
        const struct kt_checkpoint *c = &b->checkpoints[i];
        if (c->used && c->session == from && c->latents >= at && c->floor <= at &&
            c->decoded <= at && /* it holds no older tail */
            c->latents - at <= b->p.slack &&
            (best < 0 || c->latents < b->checkpoints[best].latents)) {
            best = i;
        }
    }
    return best;
}

static void choose_source(const struct kt_board *b, const struct kt_place *s,
                          const struct kt_wish *w, struct kt_job *job)
{
    const struct kt_place *from = w->from >= 0 ? &b->places[w->from] : s;
    const struct kt_track_state *live = &from->live;
    job->from = (int)(from - b->places);
    job->source = KT_SOURCE_LIVE;
    if (w->fresh || !live->there || job->at == 0) {
        job->source = KT_SOURCE_NOTHING;
        job->at = 0;
        return;
    }
    if (!s->at_end && job->at <= live->latents && job->at >= live->floor &&
        live->latents - job->at <= b->p.slack) {
        return;
    }
    if (w->at < 0) { /* nobody asked for this very latent: as near as references reach */
        job->at = s->at_end ? live->latents : job->at < live->floor ? live->floor : job->at;
        job->at = live->latents - job->at > b->p.slack ? live->latents - b->p.slack : job->at;
        return;
    }
    job->slot = s->at_end ? -1 : checkpoint_for(b, job->from, job->at);
    job->source = job->slot >= 0 ? KT_SOURCE_CHECKPOINT : KT_SOURCE_ARCHIVE;
}

/* The first latent under the new prompt: the one whose pictures will be due when its first is
 * ready, as far as that is known, and none whose old pictures were not decoded. */
static int64_t choose_latent(const struct options *o, const struct kt_place *s,
                             const struct kt_wanted *w)
{
    const struct kt_board *b = o->b;
    double fps = s->pace.fps > 0 ? s->pace.fps : b->p.fps;
    int64_t ahead = (int64_t)(kt_place_ready_in_ms(b, s, w) * fps / 1000.0), at;
    if (w->wish.at >= 0) {
        return w->wish.at;
    }
    if (!s->live.there || s->sent == 0) {
        return 0;
    }
    if (w->wish.cut == KT_CUT_BLOCK) {
        return s->live.latents;
    }
    if (w->wish.cut == KT_CUT_NOW) {
        at = kt_board_latent_of(b, kt_place_shown(b, s, o->now) + ahead);
    } else {
        at = kt_board_latent_of(b, s->sent + ahead);
        at += kt_board_frames_before(b, at) < s->sent + ahead;
    }
    at = at < s->live.decoded ? at : s->live.decoded;
    if (at < b->p.sink) { /* the sink must be whole */
        at = b->p.sink < s->live.latents ? b->p.sink : s->live.latents;
    }
    return at < s->live.latents ? at : s->live.latents;
}

static struct kt_job cut_job(const struct options *o, const struct kt_place *s,
                             const struct kt_wanted *w, int committed)
{
    struct kt_job job = job_of(o->b, s, KT_JOB_CUT, KT_TRACK_NEXT);
    job.committed = committed;
    job.at = choose_latent(o, s, w);
    choose_source(o->b, s, &w->wish, &job);
    job.steps = s->pace.steps;
    job.weight = w->wish.blend > 0 ? 1.0 / w->wish.blend : 1.0;
    if (job.source != KT_SOURCE_NOTHING && (w->wish.recache != KT_RECACHE_FULL || w->wish.blend)) {
        job.recache = kt_place_recache(o->b, s, &w->wish, job.at);
    }
    return job;
}

/* ---- memory ---- */

static int pages_needed(const struct kt_board *b, const struct kt_place *s,
                        const struct kt_job *job)
{
    if (job->kind == KT_JOB_COMMIT) {
        return b->p.block_latents;
    }
    if (job->kind == KT_JOB_BLEND) {
        return job->recache;
    }
    if (job->kind != KT_JOB_CUT || job->source == KT_SOURCE_NOTHING) {
        return 0;
    }
    return b->p.window;
}

/* A text is one more prompt; so is a stage of a blend. */
static int contexts_needed(const struct kt_board *b, const struct kt_job *job)
{
    int blends = (job->kind == KT_JOB_CUT || job->kind == KT_JOB_BLEND) && job->weight < 1;
    int cold = job->kind == KT_JOB_CUT && job->source == KT_SOURCE_ARCHIVE; /* the sink's prompt */
    return blends || cold || job->kind == KT_JOB_TEXT;
}

static int branches(const struct kt_board *b)
{
    int n = 0;
    for (int i = 0; i < b->p.sessions_max; i++) {
        n += b->places[i].open && b->places[i].next.there;
    }
    return n;
}

/* The uncommitted branch untouched for longest, `but` not this session's. */
static struct kt_job drop_oldest_draft(struct kt_board *b, const struct kt_place *but)
{
    const struct kt_place *oldest = NULL;
    for (int i = 0; i < b->p.sessions_max; i++) {
        const struct kt_place *s = &b->places[i];
        if (s != but && s->open && s->next.there && !s->making_committed &&
            (!oldest || s->making.given_ms < oldest->making.given_ms)) {
            oldest = s;
        }
    }
    return oldest ? job_of(b, oldest, KT_JOB_DROP, KT_TRACK_NEXT) : nothing;
}

static struct kt_job drop_oldest_checkpoint(struct kt_board *b)
{
    int oldest = -1;
    for (int i = 0; i < b->p.checkpoints_max; i++) {
        if (b->checkpoints[i].used &&
            (oldest < 0 || b->checkpoints[i].stamp < b->checkpoints[oldest].stamp)) {
            oldest = i;
        }
    }
    if (oldest < 0) {
        return nothing;
    }
    struct kt_job job =
        job_of(b, &b->places[b->checkpoints[oldest].session], KT_JOB_UNCHECKPOINT, KT_TRACK_LIVE);
    job.slot = oldest;
    return job;
}

/* Latents made and not decoded are nobody's picture yet. */
static struct kt_job trim_speculation(struct kt_board *b)
{
    const struct kt_place *most = NULL;
    int64_t found = 0;
    for (int i = 0; i < b->p.sessions_max; i++) {
        const struct kt_place *s = &b->places[i];
        int64_t ahead = s->live.latents - s->live.decoded;
        if (s->open && s->live.there && !s->next.there && s->live.decoded >= s->live.floor &&
            ahead > found && s->live.decoded >= b->p.sink) {
            most = s;
            found = ahead;
        }
    }
    if (!most) {
        return nothing;
    }
    struct kt_job job = job_of(b, most, KT_JOB_TRIM, KT_TRACK_LIVE);
    job.at = most->live.decoded;
    return job;
}

/* What to forget so that `job` finds its memory: NONE with *fits set when nothing is needed. */
static struct kt_job make_room(const struct options *o, const struct kt_job *job, int *fits)
{
    struct kt_board *b = o->b;
    const struct kt_place *s = &b->places[job->session];
    int no_branch = job->kind == KT_JOB_CUT && branches(b) >= b->p.branches_max;
    struct kt_job room = nothing;
    int pages = o->r->pages_free >= pages_needed(b, s, job);
    *fits = !no_branch && pages && o->r->contexts_free >= contexts_needed(b, job);
    if (*fits) {
        return nothing;
    }
    room = drop_oldest_draft(b, s);
    if (room.kind == KT_JOB_NONE && !no_branch) {
        room = drop_oldest_checkpoint(b);
    }
    if (room.kind == KT_JOB_NONE && !no_branch && !pages) {
        room = trim_speculation(b);
    }
    room.evict = 1;
    return room;
}

static int fits_from_slack(const struct options *o, const struct kt_job *job)
{
    const struct kt_board *b = o->b;
    const struct kt_place *s = &b->places[job->session];
    int reserve = 0;
    for (int i = 0; i < b->p.sessions_max; i++) {
        reserve += b->places[i].open ? b->p.block_latents : 0;
    }
    if (job->kind == KT_JOB_CUT && branches(b) >= b->p.branches_max) {
        return 0;
    }
    if (contexts_needed(b, job) && o->r->contexts_free <= contexts_needed(b, job)) {
        return 0;
    }
    return pages_needed(b, s, job) == 0 || o->r->pages_free >= pages_needed(b, s, job) + reserve;
}

static struct kt_job room_from_slack(const struct options *o, const struct kt_job *job)
{
    struct kt_job room = nothing;
    if (job->kind != KT_JOB_CUT || branches(o->b) < o->b->p.branches_max) {
        room = drop_oldest_checkpoint(o->b);
        room.evict = 1;
    }
    return room;
}

/* ---- candidates ---- */

static int is_making(const struct kt_place *s, const struct kt_wanted *w)
{
    return s->next.there && s->making.wish.key == w->wish.key;
}

/* Old pictures before the cut that still have to be shown (a cut that does not flush), or NONE. */
static struct kt_job decode_up_to_cut(const struct options *o, const struct kt_place *s)
{
    return s->live.there && s->live.decoded < s->next.floor && s->live.decoded < s->live.latents &&
                   o->r->frames_free >= o->b->p.frames_per_latent
               ? job_of(o->b, s, KT_JOB_DECODE, KT_TRACK_LIVE)
               : nothing;
}

/* The next piece of what Enter was pressed for, or NONE. */
static struct kt_job committed_job(const struct options *o, const struct kt_place *s)
{
    const struct kt_board *b = o->b;
    const struct kt_wanted *w = &s->commit;
    if (s->next.there && s->making_committed && kt_place_ready(s)) {
        return decode_up_to_cut(o, s); /* else it would have been promoted */
    }
    if (s->next.there) {
        return s->making_committed ? next_job(o, s) : nothing;
    }
    if (!w->there) {
        return nothing;
    }
    if (!w->encoded) {
        struct kt_job job = job_of(b, s, KT_JOB_TEXT, KT_TRACK_NEXT);
        job.committed = 1;
        return job;
    }
    if (w->wish.cut == KT_CUT_BLOCK && w->wish.at < 0 && s->live.there && !w->wish.fresh) {
        if (s->live.block_active) {
            return block_part(b, s, KT_TRACK_LIVE);
        }
        if (s->live.latents > s->live.decoded) { /* all of it is shown before the new prompt is */
            return o->r->frames_free >= b->p.frames_per_latent
                       ? job_of(b, s, KT_JOB_DECODE, KT_TRACK_LIVE)
                       : nothing;
        }
    }
    return cut_job(o, s, w, 1);
}

static int waits_for_commit(const struct kt_place *s)
{
    return s->commit.there || (s->next.there && s->making_committed);
}

/* LIVE work of a session whose own wish is being made: only what keeps it from running dry. */
static int live_helps(const struct options *o, const struct kt_place *s)
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
static void offer_in_turn(const struct options *o, const struct kt_place *s, struct candidate *best)
{
    struct kt_job live = live_job(o, s);
    if (waits_for_commit(s)) {
        offer(best, committed_job(o, s), 0);
    } else if (live_is_needed(o, s, &live)) {
        offer(best, live, 0);
    }
}

struct most_pressed {
    struct candidate wish;   /* by age */
    struct candidate stream; /* by slack */
};

/* `mine`, or what must be forgotten first to make room for it. */
static void offer_with_room(const struct options *o, struct candidate *best, struct kt_job mine,
                            double key)
{
    int fits = 1;
    if (mine.kind != KT_JOB_NONE) {
        struct kt_job room = make_room(o, &mine, &fits);
        offer(best, fits ? mine : room, key);
    }
}

/* Kinds 1 and 2 of one session. */
static void offer_needed(const struct options *o, const struct kt_place *s, struct most_pressed *m)
{
    struct kt_job live = live_job(o, s);
    double slack = slack_ms(o->b, s);
    if (o->b->p.policy.fifo) {
        struct candidate mine = {.job = nothing};
        offer_in_turn(o, s, &mine);
        offer_with_room(o, &m->stream, mine.job, 0);
        return;
    }
    if (!waits_for_commit(s)) {
        if (live_is_needed(o, s, &live)) {
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
static struct kt_job draft_job(struct options *o, const struct kt_place *s)
{
    const struct kt_board *b = o->b;
    const struct kt_policy *p = &b->p.policy;
    const struct kt_wanted *w = &s->draft;
    if (!w->there || w->failed || !s->settings.drafts || waits_for_commit(s) || !s->live.there) {
        return nothing;
    }
    if (!w->encoded) {
        wake_at(o, w->given_ms + p->text_after_ms);
        return o->now >= w->given_ms + p->text_after_ms ? job_of(b, s, KT_JOB_TEXT, KT_TRACK_NEXT)
                                                        : nothing;
    }
    if (is_making(s, w)) {
        int64_t end = kt_board_frames_before(b, s->next.decoded);
        int64_t wanted = kt_place_shown(b, s, o->now) + KT_COVER_LATENTS * b->p.frames_per_latent;
        if (kt_place_ready(s) && end >= wanted) {
            wake_at(o, o->now + ((double)(end - wanted) + 1) * 1000.0 / b->p.fps);
            return nothing;
        }
        return next_job(o, s);
    }
    if (!p->drafts || w->wish.cut == KT_CUT_BLOCK || s->sent == 0) {
        return nothing;
    }
    wake_at(o, w->given_ms + p->draft_after_ms);
    if (o->now < w->given_ms + p->draft_after_ms) {
        return nothing;
    }
    return s->next.there ? job_of(b, s, KT_JOB_DROP, KT_TRACK_NEXT) : cut_job(o, s, w, 0);
}

static double cost_ms(const struct kt_board *b, const struct kt_job *job)
{
    const struct kt_costs *c = &b->costs;
    switch (job->kind) {
    case KT_JOB_TEXT: return c->text_ms;
    case KT_JOB_CUT: return c->recache_ms * (job->recache ? job->recache : b->p.window);
    case KT_JOB_BLEND: return c->recache_ms * job->recache;
    case KT_JOB_STEP: return c->step_ms;
    case KT_JOB_COMMIT: return c->commit_ms;
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
        if (active(s) && s->live.there && !waits_for_commit(s)) {
            double ms = slack_ms(b, s);
            least = ms < least ? ms : least;
        }
    }
    return least;
}

static struct kt_job from_slack(struct options *o)
{
    struct kt_board *b = o->b;
    if (b->p.policy.fifo) {
        return nothing;
    }
    struct candidate draft = {.job = nothing}, ahead = {.job = nothing};
    double spare = least_slack_ms(b) - b->p.policy.reserve_ms;
    for (int n = 0; n < b->p.sessions_max; n++) {
        struct kt_place *s = &b->places[(b->first + n) % b->p.sessions_max];
        if (!active(s)) {
            continue;
        }
        struct kt_job job = draft_job(o, s);
        if (cost_ms(b, &job) <= spare) {
            int fits = fits_from_slack(o, &job);
            offer(&draft, fits ? job : room_from_slack(o, &job),
                  -s->draft.given_ms); /* the latest keystroke */
        }
        job = live_job(o, s);
        if (!waits_for_commit(s) && !live_is_needed(o, s, &job) && cost_ms(b, &job) <= spare &&
            fits_from_slack(o, &job)) {
            offer(&ahead, job, (double)(s->live.latents - s->live.decoded));
        }
    }
    return draft.job.kind != KT_JOB_NONE ? draft.job : ahead.job;
}

/* ---- list work ---- */

static int may_promote(const struct kt_place *s)
{
    return s->making_committed && kt_place_ready(s) &&
           (s->making.wish.cut == KT_CUT_NOW || s->making.wish.at >= 0 || s->making.wish.fresh ||
            !s->live.there || s->live.decoded >= s->next.floor);
}

static struct kt_job promote_job(const struct options *o, const struct kt_place *s)
{
    const struct kt_board *b = o->b;
    const struct kt_wish *w = &s->making.wish;
    struct kt_job job = job_of(b, s, KT_JOB_PROMOTE, KT_TRACK_NEXT);
    int64_t first = kt_board_frames_before(b, s->next.floor), base = first;
    job.flush = w->cut == KT_CUT_NOW || w->at >= 0 || w->fresh;
    if (s->live.there && w->at < 0 && !w->fresh) {
        base = job.flush ? kt_place_shown(b, s, o->now) : s->sent;
    }
    job.frame = base > first ? base : first;
    if (job.frame >= kt_board_frames_before(b, s->next.decoded)) { /* all of it has been passed */
        job.frame = kt_board_frames_before(b, s->next.decoded - 1);
    }
    job.hit = s->making.hit;
    return job;
}

/* A branch nobody wants any more: overtaken, its text given up, or kept for too long. */
static int is_stale(struct options *o, struct kt_place *s)
{
    if (!s->next.there || s->making_committed) {
        return 0;
    }
    if (s->commit.there) {
        return 1;
    }
    double until = s->making.given_ms + o->b->p.policy.draft_keep_ms;
    wake_at(o, until);
    if (o->now < until) {
        return 0;
    }
    if (s->draft.there && is_making(s, &s->draft)) {
        s->draft.failed = 1; /* not begun again before the text changes */
    }
    return 1;
}

static int free_checkpoint(const struct kt_board *b, int session, struct kt_job *drop)
{
    int each = b->p.checkpoints_max / b->p.sessions_max, mine = 0, oldest = -1, free_slot = -1;
    for (int i = 0; i < b->p.checkpoints_max; i++) {
        const struct kt_checkpoint *c = &b->checkpoints[i];
        if (!c->used) {
            free_slot = i;
        } else if (c->session == session) {
            mine++;
            oldest = oldest < 0 || c->stamp < b->checkpoints[oldest].stamp ? i : oldest;
        }
    }
    if (mine > 0 && mine >= (each > 0 ? each : 1)) {
        *drop = job_of(b, &b->places[session], KT_JOB_UNCHECKPOINT, KT_TRACK_LIVE);
        drop->slot = oldest;
        return -1;
    }
    return free_slot;
}

static struct kt_job checkpoint_job(const struct kt_board *b, const struct kt_place *s)
{
    struct kt_job drop = nothing, job = job_of(b, s, KT_JOB_CHECKPOINT, KT_TRACK_LIVE);
    int every = b->p.policy.checkpoint_every;
    if (every <= 0 || !s->live.there || s->live.block_active || s->live.latents < every ||
        s->live.latents < s->checkpoint + every) {
        return nothing;
    }
    job.slot = free_checkpoint(b, job.session, &drop);
    return job.slot >= 0 ? job : drop;
}

static struct kt_job list_work(struct options *o)
{
    struct kt_board *b = o->b;
    for (int i = 0; i < b->p.sessions_max; i++) {
        struct kt_place *s = &b->places[i];
        if (!active(s)) {
            continue;
        }
        if (may_promote(s)) {
            return promote_job(o, s);
        }
        if (is_stale(o, s)) {
            return job_of(b, s, KT_JOB_DROP, KT_TRACK_NEXT);
        }
        struct kt_job job = checkpoint_job(b, s);
        if (job.kind != KT_JOB_NONE) {
            return job;
        }
    }
    return nothing;
}

/* ---- the choice ---- */

static struct kt_job needed(struct options *o)
{
    struct kt_board *b = o->b;
    struct most_pressed m = {{.job = nothing}, {.job = nothing}};
    for (int n = 0; n < b->p.sessions_max; n++) {
        const struct kt_place *s = &b->places[(b->first + n) % b->p.sessions_max];
        if (active(s)) {
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
    struct options o = {.b = b, .r = r, .now = now, .wake_ms = INFINITY};
    struct kt_job job = list_work(&o);
    if (job.kind == KT_JOB_NONE && b->p.policy.drafts_first) {
        struct kt_job need = needed(&o), slack = from_slack(&o);
        /* Work from slack is only offered when nobody is in danger; a waiting Enter still wins. */
        int pressed = need.kind != KT_JOB_NONE && waits_for_commit(&b->places[need.session]);
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
