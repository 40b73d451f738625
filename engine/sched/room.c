/* What to forget. Work that needs pages and finds none makes the board look for what to forget, in
 * this order: a draft's branch (the one untouched for longest), an old hot checkpoint, speculative
 * blocks of the session that has most. Latents that are decoded or on their way to a screen are
 * never touched. Work from slack evicts nothing but hot checkpoints, which hold pages that a stream
 * has long moved on from, and must leave a block's pages for every stream. */
#include "engine/sched/choose.h"

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
    return oldest ? kt_job_of(b, oldest, KT_JOB_DROP, KT_TRACK_NEXT) : kt_no_job;
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
        return kt_no_job;
    }
    struct kt_job job = kt_job_of(b, &b->places[b->checkpoints[oldest].session],
                                  KT_JOB_UNCHECKPOINT, KT_TRACK_LIVE);
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
        return kt_no_job;
    }
    struct kt_job job = kt_job_of(b, most, KT_JOB_TRIM, KT_TRACK_LIVE);
    job.at = most->live.decoded;
    return job;
}

/* What to forget so that `job` finds its memory: NONE with *fits set when nothing is needed. */
struct kt_job kt_room_for(const struct kt_choice *o, const struct kt_job *job, int *fits)
{
    struct kt_board *b = o->b;
    const struct kt_place *s = &b->places[job->session];
    int no_branch = job->kind == KT_JOB_CUT && branches(b) >= b->p.branches_max;
    struct kt_job room = kt_no_job;
    int pages = o->r->pages_free >= pages_needed(b, s, job);
    *fits = !no_branch && pages && o->r->contexts_free >= contexts_needed(b, job);
    if (*fits) {
        return kt_no_job;
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

int kt_room_fits_slack(const struct kt_choice *o, const struct kt_job *job)
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

struct kt_job kt_room_from_slack(const struct kt_choice *o, const struct kt_job *job)
{
    struct kt_job room = kt_no_job;
    if (job->kind != KT_JOB_CUT || branches(o->b) < o->b->p.branches_max) {
        room = drop_oldest_checkpoint(o->b);
        room.evict = 1;
    }
    return room;
}
