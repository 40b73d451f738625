/* The next piece of work of one track. Within LIVE decoding comes first, when its lead is short and
 * a latent is there: it turns finished work into video; then the block in flight; a new block only
 * while few latents wait, because what is made ahead is thrown away at the next prompt. On a branch
 * decoding comes first too: somebody may be waiting for its first picture, and the t = 0 pass of
 * its block is wanted only for the block after it. (The peers' policy keeps LongLive's order, the
 * pass before the pictures.) */
#include "engine/sched/choose.h"

struct kt_job kt_track_block_part(const struct kt_board *b, const struct kt_place *s,
                                  enum kt_track track)
{
    const struct kt_track_state *t = track == KT_TRACK_LIVE ? &s->live : &s->next;
    struct kt_job job = kt_job_of(b, s, KT_JOB_BEGIN, track);
    if (t->block_active) {
        job.kind = t->steps_left > 0 ? KT_JOB_STEP : KT_JOB_COMMIT;
    } else if (t->uncached) {
        job.kind = KT_JOB_CACHE;
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

/* How far ahead LIVE is made. A block ahead must leave the playhead within reach of a cut (slack:
 * of three blocks one is for what lies sent and decoded), or the picture would jump by the
 * difference.
 */
static int depth_latents(const struct kt_board *b, const struct kt_place *s)
{
    int depth = s->settings.depth >= 0 ? s->settings.depth : b->p.policy.depth;
    int reach = b->p.slack / b->p.block_latents - 1;
    depth = depth < reach ? depth : reach;
    return depth > 0 ? depth * b->p.block_latents : 1;
}

/* A latent of a track that may be decoded now. */
static int decodable(const struct kt_board *b, const struct kt_track_state *t)
{
    return t->latents > t->decoded && !(b->p.policy.fifo && t->uncached);
}

struct kt_job kt_track_live_job(const struct kt_choice *o, const struct kt_place *s)
{
    const struct kt_board *b = o->b;
    int64_t undecoded = s->live.latents - s->live.decoded;
    if (!s->live.there) {
        return kt_no_job;
    }
    if (decodable(b, &s->live) && kt_place_lead_ms(b, s) < lead_max_ms(b) &&
        o->r->frames_free >= b->p.frames_per_latent) {
        return kt_job_of(b, s, KT_JOB_DECODE, KT_TRACK_LIVE);
    }
    if (s->live.block_active || s->live.uncached || undecoded < depth_latents(b, s)) {
        return kt_track_block_part(b, s, KT_TRACK_LIVE);
    }
    return kt_no_job;
}

/* A picture of this session hangs on its live job; else the job is speculation. */
int kt_track_live_needed(const struct kt_choice *o, const struct kt_place *s,
                         const struct kt_job *job)
{
    return job->kind != KT_JOB_NONE && kt_place_lead_ms(o->b, s) < lead_max_ms(o->b) &&
           (job->kind == KT_JOB_DECODE || !decodable(o->b, &s->live));
}

/* Device time until LIVE has another latent decoded. */
static double live_work_ms(const struct kt_board *b, const struct kt_place *s)
{
    const struct kt_costs *c = &b->costs;
    int steps = s->live.block_active ? s->live.steps_left : s->pace.steps;
    if (s->live.latents > s->live.decoded) {
        return c->decode_ms;
    }
    return (s->live.uncached ? c->commit_ms : 0) + steps * c->step_ms + c->decode_ms;
}

double kt_track_slack_ms(const struct kt_board *b, const struct kt_place *s)
{
    return kt_place_lead_ms(b, s) - live_work_ms(b, s);
}

struct kt_job kt_track_next_job(const struct kt_choice *o, const struct kt_place *s)
{
    const struct kt_board *b = o->b;
    if (decodable(b, &s->next)) {
        return o->r->frames_free >= b->p.frames_per_latent
                   ? kt_job_of(b, s, KT_JOB_DECODE, KT_TRACK_NEXT)
                   : kt_no_job;
    }
    if (s->making_committed && s->making.hit == 0 && b->p.has_preview && s->settings.preview &&
        s->live.there && !s->previewed && s->next.block_active &&
        s->next.steps_left < s->next.steps && s->next.steps_left > 1 &&
        o->r->frames_free >= 2 * b->p.frames_per_latent) {
        return kt_job_of(b, s, KT_JOB_PREVIEW, KT_TRACK_NEXT);
    }
    return kt_track_block_part(b, s, KT_TRACK_NEXT);
}
