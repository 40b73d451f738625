/* What costs nothing and comes first: showing what is ready, letting go of what nobody wants, and
 * hot checkpoints. */
#include "engine/sched/choose.h"

static int may_promote(const struct kt_board *b, const struct kt_place *s)
{
    int64_t at = kt_place_takeover(b, s);
    return s->making_committed && kt_place_ready(s) && s->next.decoded > at &&
           (s->making.wish.cut == KT_CUT_NOW || s->making.wish.at >= 0 || s->making.wish.fresh ||
            !s->live.there || s->live.decoded >= at);
}

static struct kt_job promote_job(const struct kt_choice *o, const struct kt_place *s)
{
    const struct kt_board *b = o->b;
    const struct kt_wish *w = &s->making.wish;
    struct kt_job job = kt_job_of(b, s, KT_JOB_PROMOTE, KT_TRACK_NEXT);
    int64_t first = kt_board_frames_before(b, kt_place_takeover(b, s)), base = first;
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
static int is_stale(struct kt_choice *o, const struct kt_place *s)
{
    if (!s->next.there || s->making_committed) {
        return 0;
    }
    if (s->commit.there) {
        return 1;
    }
    double until = s->making.given_ms + o->b->p.policy.draft_keep_ms;
    kt_choice_wake_at(o, until);
    return o->now >= until;
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
        *drop = kt_job_of(b, &b->places[session], KT_JOB_UNCHECKPOINT, KT_TRACK_LIVE);
        drop->slot = oldest;
        return -1;
    }
    return free_slot;
}

static struct kt_job checkpoint_job(const struct kt_board *b, const struct kt_place *s)
{
    struct kt_job drop = kt_no_job, job = kt_job_of(b, s, KT_JOB_CHECKPOINT, KT_TRACK_LIVE);
    int every = b->p.policy.checkpoint_every;
    if (every <= 0 || !s->live.there || s->live.block_active || s->live.uncached ||
        s->live.latents < every || s->live.latents < s->checkpoint + every) {
        return kt_no_job;
    }
    job.slot = free_checkpoint(b, job.session, &drop);
    return job.slot >= 0 ? job : drop;
}

struct kt_job kt_upkeep_job(struct kt_choice *o)
{
    struct kt_board *b = o->b;
    for (int i = 0; i < b->p.sessions_max; i++) {
        struct kt_place *s = &b->places[i];
        if (!kt_place_active(s)) {
            continue;
        }
        if (may_promote(b, s)) {
            return promote_job(o, s);
        }
        if (is_stale(o, s)) {
            return kt_job_of(b, s, KT_JOB_DROP, KT_TRACK_NEXT);
        }
        struct kt_job job = checkpoint_job(b, s);
        if (job.kind != KT_JOB_NONE) {
            return job;
        }
    }
    return kt_no_job;
}
