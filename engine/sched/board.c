/* What happened: events change the board, nothing else does.
 *
 * One mechanism serves everything that changes what people see. A session has at most two tracks:
 * LIVE, a timeline whose pictures are shown, and NEXT, a branch of it. A draft, a commit, a reset,
 * a rewind, a fork and the first prompt are all wishes; a wish is encoded (TEXT), becomes a branch
 * (CUT), gets its first block and its first pictures, and is READY. Enter on a ready draft promotes
 * it at once; on a draft that is being made, its work goes on with urgency; on anything else the
 * work begins. LIVE plays on until NEXT takes its place, so nobody ever looks at a frozen picture,
 * and what was begun for a text that changed is dropped between two pieces of work.
 *
 *            draft()                    commit()
 *   editor ----------> draft wish    -------------> commit wish
 *                          |  typing pauses, slack        |  at once
 *                          v                              v
 *                        TEXT, CUT: NEXT <--same key-- becomes committed
 *                          |                              |
 *                          v  rolls with the playhead     v  first latent decoded
 *                        READY -------- commit() ----> PROMOTE: NEXT is LIVE, epoch + 1
 *
 * Typing faster than pictures can be made must not keep the screen on the old prompt for ever: of
 * commits that overtake each other, the first is given up, the one after that is finished. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/sched/places.h"

/* Share of the device that generation may plan with: encoding and the loop need the rest. */
#define USABLE 0.92
/* Share that may be promised when somebody new is let in: recaches and drafts need the rest. */
#define PROMISED 0.80

void kt_policy_default(struct kt_policy *p)
{
    *p = (struct kt_policy){.decode_lead = 2,
                            .depth = 1,
                            .checkpoint_every = 6,
                            .drafts = 1,
                            .text_after_ms = 40,
                            .draft_after_ms = 220,
                            .draft_keep_ms = 4000,
                            .reserve_ms = 80,
                            .drafts_first = 1};
}

int kt_board_create(struct kt_board **out, const struct kt_board_params *p, struct kt_error *err)
{
    if (p->sessions_max < 1 || p->branches_max < 1 || p->checkpoints_max < 0 || p->fps <= 0 ||
        p->steps_full < 1 || p->block_latents < 1 || p->frames_per_latent < 1 ||
        p->policy.decode_lead < 1 || p->policy.depth < 0) {
        return kt_fail(
            err, -EINVAL,
            "board: sessions %d, branches %d, fps %g, steps %d, block %d, frames %d, lead "
            "%d, depth %d: out of range",
            p->sessions_max, p->branches_max, p->fps, p->steps_full, p->block_latents,
            p->frames_per_latent, p->policy.decode_lead, p->policy.depth);
    }
    struct kt_board *b = calloc(1, sizeof(*b));
    struct kt_place *places = calloc((size_t)p->sessions_max, sizeof(*places));
    struct kt_checkpoint *checkpoints =
        calloc((size_t)p->checkpoints_max + 1, sizeof(*checkpoints));
    if (!b || !places || !checkpoints) {
        free(b);
        free(places);
        free(checkpoints);
        return kt_fail(err, -ENOMEM, "board: out of memory");
    }
    b->p = *p;
    b->places = places;
    b->checkpoints = checkpoints;
    *out = b;
    return 0;
}

void kt_board_destroy(struct kt_board **b)
{
    if (b && *b) {
        free((*b)->places);
        free((*b)->checkpoints);
        free(*b);
        *b = NULL;
    }
}

static struct kt_place *place(struct kt_board *b, int session)
{
    KT_ASSERT(session >= 0 && session < b->p.sessions_max);
    return &b->places[session];
}

/* ---- pace and admission ---- */

static double block_ms(const struct kt_board *b, int steps)
{
    return steps * b->costs.step_ms + b->costs.commit_ms + b->p.block_latents * b->costs.decode_ms;
}

/* Share of the device that a session at `steps` steps takes while it plays at the stream's rate. */
static double use(const struct kt_board *b, int steps)
{
    double video_ms = b->p.block_latents * b->p.frames_per_latent * 1000.0 / b->p.fps;
    return block_ms(b, steps) / video_ms;
}

static int plays(const struct kt_place *s)
{
    return s->open && !s->paused && (s->live.there || s->commit.there || s->next.there);
}

static void update_pace(struct kt_board *b, struct kt_place *s)
{
    double others = 0;
    int count = 0;
    for (int i = 0; i < b->p.sessions_max; i++) {
        if (plays(&b->places[i])) {
            count++;
            others += &b->places[i] == s ? 0 : use(b, b->places[i].pace.steps);
        }
    }
    double equal = USABLE / (count ? count : 1), left = USABLE - others;
    struct kt_pace_params p = {.fps = b->p.fps,
                               .steps_full = b->p.steps_full,
                               .steps_wanted = s->settings.steps,
                               .steps_cap = s->settings.steps_cap,
                               .share = left > equal ? left : equal,
                               .block_latents = b->p.block_latents,
                               .frames_per_latent = b->p.frames_per_latent};
    s->pace = kt_pace_choose(&p, &b->costs, &s->pace);
}

int kt_board_admit(const struct kt_board *b)
{
    double taken = 0;
    int open = 0;
    for (int i = 0; i < b->p.sessions_max; i++) {
        const struct kt_place *s = &b->places[i];
        open += s->open;
        taken += s->open ? use(b, s->pace.steps) : 0;
    }
    if (open == 0) {
        return b->p.steps_full; /* alone, it plays as fast as it can */
    }
    for (int steps = b->p.steps_full; steps > 0 && open < b->p.sessions_max; steps--) {
        if (taken + use(b, steps) <= PROMISED) {
            return steps;
        }
    }
    return 0;
}

/* ---- commands ---- */

void kt_board_open(struct kt_board *b, int session, double now, const struct kt_session_settings *t)
{
    struct kt_place *s = place(b, session);
    KT_ASSERT(!s->open);
    *s = (struct kt_place){.open = 1, .settings = *t, .shown_ms = now, .checkpoint = -1};
    s->pace = (struct kt_pace){.fps = b->p.fps, .steps = t->steps ? t->steps : b->p.steps_full};
    update_pace(b, s);
}

void kt_board_settings(struct kt_board *b, int session, const struct kt_session_settings *t)
{
    struct kt_place *s = place(b, session);
    s->settings = *t;
    update_pace(b, s);
}

static void want(struct kt_wanted *w, double now, const struct kt_wish *wish)
{
    *w = (struct kt_wanted){.there = 1, .encoded = wish->encoded, .wish = *wish, .given_ms = now};
}

void kt_board_draft(struct kt_board *b, int session, double now, const struct kt_wish *wish)
{
    struct kt_place *s = place(b, session);
    int same = s->draft.there && s->draft.wish.key == wish->key;
    if (!s->open || b->p.policy.fifo || wish->key == s->live_key ||
        (s->commit.there && s->commit.wish.key == wish->key) ||
        (s->next.there && s->making_committed && s->making.wish.key == wish->key)) {
        s->draft.there = 0; /* that is what is shown, or will be anyway */
        return;
    }
    if (same) {
        s->draft.wish.revision = wish->revision;
        return;
    }
    want(&s->draft, now, wish);
    b->counters.drafts++;
    if (s->next.there &&
        s->making.wish.key == wish->key) { /* typed back: its branch is still here */
        s->draft.encoded = 1;
        s->making.given_ms = now;
    }
}

void kt_board_undraft(struct kt_board *b, int session)
{
    place(b, session)->draft = (struct kt_wanted){0};
}

/* Enter on the text of a branch: it only changes what the branch is for. */
static void take_over(struct kt_board *b, struct kt_place *s, double now,
                      const struct kt_wish *wish)
{
    int ready = kt_place_ready(s);
    s->making.wish.revision = wish->revision;
    s->making.given_ms = now;
    s->making.hit = ready ? 2 : 1;
    s->making_committed = 1;
    b->counters.hits += (uint64_t)ready;
    b->counters.warm += (uint64_t)!ready;
    s->draft = (struct kt_wanted){0};
}

static uint32_t overtake(struct kt_board *b, struct kt_place *s, const struct kt_wish *by)
{
    uint32_t revision = 0;
    if (s->commit.there) {
        revision = s->commit.wish.revision;
        s->spare = s->commit.wish.key == by->key ? s->spare : s->commit;
    } else if (s->next.there && s->making_committed && !s->overtaken) {
        revision = s->making.wish.revision;
        s->spare = s->making;
        s->making_committed = 0; /* dropped when the device looks up */
        s->overtaken = 1;
    } else {
        return 0;
    }
    b->counters.overtaken++;
    return revision;
}

uint32_t kt_board_commit(struct kt_board *b, int session, double now, const struct kt_wish *wish)
{
    struct kt_place *s = place(b, session);
    int made = s->next.there && s->making.wish.key == wish->key;
    if (!s->open) {
        return 0;
    }
    if (made && s->making_committed) { /* Enter again on the same text */
        uint32_t other = s->commit.there ? overtake(b, s, wish) : 0;
        s->commit = s->spare = (struct kt_wanted){0};
        s->making.wish.revision = wish->revision;
        return other;
    }
    uint32_t overtaken = overtake(b, s, wish);
    b->counters.commits++;
    s->at_end = 0;
    s->commit = (struct kt_wanted){0};
    if (made && !s->making_committed) {
        s->spare = (struct kt_wanted){0};
        take_over(b, s, now, wish);
        return overtaken;
    }
    b->counters.cold++;
    int encoded = s->draft.there && s->draft.wish.key == wish->key && s->draft.encoded;
    want(&s->commit, now, wish);
    s->commit.encoded |= encoded;
    s->commit.wish.cut = b->p.policy.fifo ? KT_CUT_BLOCK : wish->cut;
    s->draft = (struct kt_wanted){0};
    return overtaken;
}

void kt_board_report(struct kt_board *b, int session, double now, uint32_t epoch, int64_t sent,
                     int64_t shown)
{
    struct kt_place *s = place(b, session);
    int64_t made = kt_board_frames_before(b, s->live.decoded);
    if (!s->open || epoch != s->epoch || !s->live.there) {
        return;
    }
    sent = sent < made ? sent : made;
    s->sent = sent > s->sent ? sent : s->sent;
    shown = shown < s->sent ? shown : s->sent;
    if (shown > s->shown) {
        s->shown = shown;
        s->shown_ms = now;
    }
}

void kt_board_pause(struct kt_board *b, int session, int paused)
{
    place(b, session)->paused = paused;
}

void kt_board_close(struct kt_board *b, int session)
{
    struct kt_place *s = place(b, session);
    b->counters.wasted_ms += s->next.there ? s->next.ms : 0;
    *s = (struct kt_place){0};
    for (int i = 0; i < b->p.checkpoints_max; i++) {
        if (b->checkpoints[i].session == session) {
            b->checkpoints[i].used = 0;
        }
    }
}

/* ---- finished jobs ---- */

static void drop_next(struct kt_board *b, struct kt_place *s)
{
    b->counters.drops++;
    b->counters.wasted_ms += s->next.ms;
    s->next = (struct kt_track_state){0};
    s->making = (struct kt_wanted){0};
    s->making_committed = 0;
    s->previewed = 0;
}

/* A commit cannot be used: the one that it overtook can. */
static void give_up_commit(struct kt_place *s)
{
    s->commit = s->spare;
    s->spare = (struct kt_wanted){0};
}

static void done_text(struct kt_board *b, struct kt_place *s, const struct kt_job *job,
                      const struct kt_job_result *r)
{
    struct kt_wanted *w = job->committed ? &s->commit : &s->draft;
    if (r->rc == 0 && !r->cached) {
        kt_costs_add(&b->costs.text_ms, r->ms);
    }
    w->encoded = r->rc == 0;
    if (r->rc < 0 && job->committed) {
        give_up_commit(s);
    } else if (r->rc < 0) {
        w->failed = 1;
    }
}

static void done_cut(struct kt_board *b, struct kt_place *s, const struct kt_job *job,
                     const struct kt_job_result *r)
{
    struct kt_wanted *w = job->committed ? &s->commit : &s->draft;
    if (r->rc == -ERANGE && !s->at_end && job->source != KT_SOURCE_NOTHING) {
        s->at_end = 1; /* too far back for references: choose_source has another answer then */
        return;
    }
    if (r->rc < 0) {
        s->at_end = 0;
        if (job->committed) {
            give_up_commit(s);
        } else {
            w->failed = 1;
        }
        return;
    }
    if (r->frames > 0) {
        kt_costs_add(&b->costs.recache_ms, r->ms / r->frames);
    }
    s->at_end = 0;
    s->next = (struct kt_track_state){.there = 1,
                                      .latents = r->latents,
                                      .decoded = r->decoded,
                                      .cut = r->latents,
                                      .floor = r->latents,
                                      .blend = w->wish.blend,
                                      .blend_left = w->wish.blend > 1 ? w->wish.blend - 1 : 0,
                                      .ms = r->ms};
    s->making = *w;
    s->making_committed = job->committed;
    s->previewed = 0;
    if (job->committed) {
        s->commit = s->spare = (struct kt_wanted){0};
    }
}

/* Device time of what LIVE made and nobody will see: the block in flight and latents that were not
 * sent. */
static double unseen_ms(const struct kt_board *b, const struct kt_place *s, int64_t from)
{
    double each = (block_ms(b, s->live.steps) / b->p.block_latents) - b->costs.decode_ms;
    int64_t first = kt_board_latent_of(b, from > s->sent ? from : s->sent);
    int64_t made = s->live.latents - first, decoded = s->live.decoded - first;
    double ms = s->live.block_active ? s->live.block_ms : 0;
    ms += made > 0 ? (double)made * each : 0;
    return ms + (decoded > 0 ? (double)decoded * b->costs.decode_ms : 0);
}

/* Checkpoints of what LIVE was go on being good up to the cut. */
static void cut_checkpoints(struct kt_board *b, const struct kt_place *s)
{
    for (int i = 0; i < b->p.checkpoints_max; i++) {
        struct kt_checkpoint *c = &b->checkpoints[i];
        if (&b->places[c->session] == s && c->ours > s->next.cut) {
            c->ours = s->next.cut;
        }
    }
}

static void promote(struct kt_board *b, struct kt_place *s, double now, const struct kt_job *job)
{
    int64_t skipped = kt_board_latent_of(b, job->frame) - s->next.cut;
    if (s->live.there) {
        b->counters.wasted_ms += unseen_ms(b, s, job->flush ? 0 : job->frame);
    }
    if (skipped > 0) { /* rolled past before anybody looked */
        b->counters.wasted_ms += (double)skipped * block_ms(b, s->next.steps) / b->p.block_latents;
    }
    b->counters.promotions++;
    cut_checkpoints(b, s);
    s->live = s->next;
    s->live_key = s->making.wish.key;
    s->next = (struct kt_track_state){0};
    s->making = (struct kt_wanted){0};
    s->making_committed = s->previewed = s->overtaken = 0;
    s->epoch++;
    /* Without a flush what lies before the cut is still to be sent: it counts as lead. */
    s->sent = job->flush || s->sent > job->frame ? job->frame : s->sent;
    s->shown = job->flush || s->shown > job->frame ? job->frame : s->shown;
    s->shown_ms = now;
    if (s->checkpoint > s->live.latents) {
        s->checkpoint = -1;
    }
    update_pace(b, s);
}

static void done_block_part(struct kt_board *b, struct kt_place *s, struct kt_track_state *t,
                            const struct kt_job *job, const struct kt_job_result *r)
{
    t->block_ms += r->ms;
    if (job->kind == KT_JOB_BEGIN) {
        t->block_active = 1;
        t->steps = t->steps_left = job->steps;
        t->block_ms = r->ms;
    } else if (job->kind == KT_JOB_STEP) {
        t->steps_left--;
        kt_costs_add(&b->costs.step_ms, r->ms);
    } else if (job->kind == KT_JOB_COMMIT) {
        t->block_active = 0;
        t->uncached = 1;
        t->latents = r->latents;
        update_pace(b, s);
    } else {
        t->uncached = 0;
        if (!r->cached) {
            kt_costs_add(&b->costs.commit_ms, r->ms);
        }
    }
}

/* A track that failed is given up; the executor has let it go. */
static void give_up(struct kt_board *b, struct kt_place *s, enum kt_track track)
{
    if (track == KT_TRACK_LIVE) {
        s->live = (struct kt_track_state){0};
        s->live_key = 0;
        return;
    }
    s->draft.failed |= !s->making_committed;
    drop_next(b, s);
}

static void done_checkpoint(struct kt_board *b, const struct kt_job *job, int failed)
{
    struct kt_place *s = place(b, job->session);
    b->checkpoints[job->slot] = (struct kt_checkpoint){.used = !failed,
                                                       .session = job->session,
                                                       .latents = s->live.latents,
                                                       .decoded = s->live.decoded,
                                                       .floor = s->live.floor,
                                                       .ours = s->live.latents,
                                                       .stamp = ++b->stamp};
    s->checkpoint = s->live.latents;
}

static void done_list_work(struct kt_board *b, double now, const struct kt_job *job,
                           const struct kt_job_result *r)
{
    struct kt_place *s = place(b, job->session);
    switch (job->kind) {
    case KT_JOB_PROMOTE: promote(b, s, now, job); break;
    case KT_JOB_DROP:
        b->counters.evicted_drafts += (uint64_t)job->evict;
        if (!job->evict && s->draft.wish.key == s->making.wish.key) {
            s->draft.failed = 1; /* kept for too long; not begun again before the text changes */
        }
        drop_next(b, s);
        break;
    case KT_JOB_CHECKPOINT: done_checkpoint(b, job, r->rc < 0); break;
    case KT_JOB_UNCHECKPOINT:
        b->counters.evicted_checkpoints += (uint64_t)job->evict;
        b->checkpoints[job->slot].used = 0;
        break;
    case KT_JOB_TRIM:
        b->counters.wasted_ms +=
            (double)(s->live.latents - job->at) * (block_ms(b, s->live.steps) / b->p.block_latents);
        b->counters.evicted_blocks++;
        s->live.latents = r->rc == 0 ? job->at : s->live.latents;
        s->live.block_active = s->live.uncached = 0;
        break;
    default: break;
    }
}

static void done_track_work(struct kt_board *b, const struct kt_job *job,
                            const struct kt_job_result *r)
{
    struct kt_place *s = place(b, job->session);
    struct kt_track_state *t = job->track == KT_TRACK_LIVE ? &s->live : &s->next;
    t->ms += r->ms;
    if (r->rc < 0) {
        give_up(b, s, job->track);
        return;
    }
    switch (job->kind) {
    case KT_JOB_BEGIN:
    case KT_JOB_STEP:
    case KT_JOB_COMMIT:
    case KT_JOB_CACHE: done_block_part(b, s, t, job, r); break;
    case KT_JOB_DECODE:
        kt_costs_add(&b->costs.decode_ms, r->ms);
        t->decoded = r->decoded;
        break;
    case KT_JOB_BLEND:
        t->blend_left--;
        t->floor = t->latents;
        break;
    case KT_JOB_PREVIEW: s->previewed = 1; break;
    default: break;
    }
}

void kt_board_done(struct kt_board *b, double now, const struct kt_job *job,
                   const struct kt_job_result *r)
{
    struct kt_place *s = place(b, job->session);
    b->counters.busy_ms += r->ms;
    if (job->kind == KT_JOB_TEXT) {
        done_text(b, s, job, r);
    } else if (job->kind == KT_JOB_CUT) {
        done_cut(b, s, job, r);
    } else if (job->kind >= KT_JOB_PROMOTE) {
        done_list_work(b, now, job, r);
    } else {
        done_track_work(b, job, r);
    }
    /* The peers' way keeps to a session until its block is made. */
    if (job->kind < KT_JOB_PROMOTE && (!b->p.policy.fifo || job->kind == KT_JOB_CACHE)) {
        b->first = (job->session + 1) % b->p.sessions_max;
    }
}

/* ---- reading ---- */

void kt_board_get_counters(const struct kt_board *b, struct kt_board_counters *out)
{
    *out = b->counters;
}

void kt_board_get_session(const struct kt_board *b, int session, double now,
                          struct kt_board_session_info *out)
{
    const struct kt_place *s = &b->places[session];
    *out = (struct kt_board_session_info){.open = s->open,
                                          .runnable = plays(s),
                                          .steps = s->pace.steps,
                                          .fps = s->pace.fps,
                                          .lead_ms = kt_place_lead_ms(b, s),
                                          .ahead = (int)(s->live.latents - s->live.decoded),
                                          .next_stage = (int)kt_place_stage(b, s),
                                          .spare = s->spare.there,
                                          .shown = s->shown,
                                          .epoch = s->epoch};
    for (int i = 0; i < b->p.checkpoints_max; i++) {
        out->checkpoints += b->checkpoints[i].used && b->checkpoints[i].session == session;
    }
}

struct kt_costs *kt_board_costs(struct kt_board *b)
{
    return &b->costs;
}
