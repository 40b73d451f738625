/* Where a branch begins: at which latent, and from what. */
#include "engine/sched/choose.h"

/* The newest checkpoint of session `from` that can be rewound to `at`, or -1. */
static int checkpoint_for(const struct kt_board *b, int from, int64_t at)
{
    int best = -1;
    for (int i = 0; i < b->p.checkpoints_max; i++) {
        const struct kt_checkpoint *c = &b->checkpoints[i];
        if (c->used && c->session == from && c->latents >= at && c->ours >= at && c->floor <= at &&
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

/* The first end of one of LIVE's blocks at or behind `frame`, of those that are made; the peers'
 * way is the last. */
static int64_t choose_boundary(const struct kt_board *b, const struct kt_place *s, int64_t frame)
{
    int64_t at = s->live.latents, block = b->p.block_latents;
    while (!b->p.policy.fifo && at - block >= b->p.sink && at - block > s->live.floor &&
           kt_board_frames_before(b, at - block) >= frame) {
        at -= block;
    }
    return at;
}

/* The first latent under the new prompt: the one whose pictures will be due when its first is
 * ready, as far as that is known, and none whose old pictures were not decoded. */
static int64_t choose_latent(const struct kt_choice *o, const struct kt_place *s,
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
        return choose_boundary(b, s, s->sent + ahead);
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

struct kt_job kt_cut_job(const struct kt_choice *o, const struct kt_place *s,
                         const struct kt_wanted *w, int committed)
{
    struct kt_job job = kt_job_of(o->b, s, KT_JOB_CUT, KT_TRACK_NEXT);
    job.committed = committed;
    job.at = choose_latent(o, s, w);
    choose_source(o->b, s, &w->wish, &job);
    if (job.source == KT_SOURCE_LIVE && job.from == job.session && s->live.uncached &&
        job.at > s->live.latents - o->b->p.block_latents) { /* the cut would have to do it */
        return kt_job_of(o->b, s, KT_JOB_CACHE, KT_TRACK_LIVE);
    }
    job.steps = s->pace.steps;
    job.weight = w->wish.blend > 0 ? 1.0 / w->wish.blend : 1.0;
    if (job.source != KT_SOURCE_NOTHING && (w->wish.recache != KT_RECACHE_FULL || w->wish.blend)) {
        job.recache = kt_place_recache(o->b, s, &w->wish, job.at);
    }
    return job;
}
