#include "sim/execute.h"

#include <errno.h>

#include "sim/books.h"

/* ---- does it make sense? ---- */

static struct kt_sim_track *track_of(struct kt_sim_device *d, const struct kt_job *job)
{
    struct kt_sim_place *s = &d->places[job->session];
    return job->track == KT_TRACK_LIVE ? &s->live : &s->next;
}

static int is_list_work(enum kt_job_kind kind)
{
    return kind >= KT_JOB_PROMOTE;
}

static const char *why_not(struct kt_sim_device *d, const struct kt_job *job)
{
    const struct kt_sim_place *s = &d->places[job->session];
    const struct kt_sim_track *t = track_of(d, job);
    int there = t->stream.there;
    if (!s->open) {
        return "the session is closed";
    }
    if (s->paused && !is_list_work(job->kind)) {
        return "the session is paused";
    }
    switch (job->kind) {
    case KT_JOB_TEXT: return NULL;
    case KT_JOB_CUT: return there ? "there is a branch already" : NULL;
    case KT_JOB_BEGIN:
        return !there            ? "there is no timeline"
               : t->block_active ? "a block is in flight"
               : t->uncached     ? "the block before lacks its keys and values"
               : job->steps < 1  ? "no steps"
                                 : NULL;
    case KT_JOB_STEP:
        return !there || !t->block_active || !t->steps_left ? "no step is left" : NULL;
    case KT_JOB_COMMIT:
        return !there || !t->block_active || t->steps_left ? "steps are left" : NULL;
    case KT_JOB_CACHE: return !there || t->block_active ? "a block is in flight" : NULL;
    case KT_JOB_DECODE:
        return !there || t->stream.h.decoded >= t->stream.h.latents ? "all is decoded" : NULL;
    case KT_JOB_BLEND: return !there || t->block_active ? "a block is in flight" : NULL;
    case KT_JOB_PREVIEW: return !there || !t->block_active ? "no block is in flight" : NULL;
    case KT_JOB_PROMOTE: return !there || s->next.held_count == 0 ? "nothing to show" : NULL;
    case KT_JOB_DROP: return !there ? "there is no branch" : NULL;
    case KT_JOB_CHECKPOINT: return !there || t->block_active ? "a block is in flight" : NULL;
    case KT_JOB_UNCHECKPOINT:
        return !d->checkpoints[job->slot].stream.there ? "there is no such checkpoint" : NULL;
    case KT_JOB_TRIM: return !there ? "there is no timeline" : NULL;
    default: return "there is no such work";
    }
}

/* ---- text ---- */

static int cached(struct kt_sim_device *d, uint64_t key)
{
    int oldest = 0;
    for (int i = 0; i < d->p.contexts_max; i++) {
        if (d->contexts[i].used && d->contexts[i].key == key) {
            d->contexts[i].used = ++d->context_clock;
            return 1;
        }
        oldest = d->contexts[i].used < d->contexts[oldest].used ? i : oldest;
    }
    d->contexts[oldest].key = key;
    d->contexts[oldest].used = ++d->context_clock;
    return 0;
}

static void run_text(struct kt_sim_device *d, const struct kt_job *job, struct kt_job_result *r)
{
    const struct kt_sim_place *s = &d->places[job->session];
    r->cached = cached(d, job->committed ? s->commit.key : s->draft.key);
    r->ms = r->cached ? d->p.costs->cached_text_ms : d->p.costs->text_ms;
}

/* ---- branches ---- */

static int recache(struct kt_sim_device *d, struct kt_sim_track *t, const struct kt_job *job)
{
    int keep_sink = t->wish.transition != KT_TRANSITION_SCENE && !d->p.costs->recache_all;
    return kt_sim_stream_recache(&d->memory, &t->stream, keep_sink, job->recache);
}

static int make_branch(struct kt_sim_device *d, const struct kt_job *job, struct kt_sim_track *t)
{
    const struct kt_sim_stream *from = &d->places[job->from].live.stream;
    if (job->source == KT_SOURCE_NOTHING) {
        t->stream.there = 1;
        return 0;
    }
    if (job->source == KT_SOURCE_ARCHIVE) {
        return job->at < 1 ? -ERANGE : kt_sim_stream_resume(&d->memory, &t->stream, job->at);
    }
    if (job->source == KT_SOURCE_CHECKPOINT) {
        from = &d->checkpoints[job->slot].stream;
    }
    if (!from->there) {
        return -ERANGE;
    }
    int rc = kt_sim_stream_fork(&d->memory, &t->stream, from, job->at);
    if (rc < 0) {
        return rc;
    }
    rc = recache(d, t, job);
    if (rc < 0) {
        kt_sim_stream_clear(&t->stream);
    }
    return rc;
}

static void run_cut(struct kt_sim_device *d, const struct kt_job *job, struct kt_job_result *r)
{
    struct kt_sim_place *s = &d->places[job->session];
    struct kt_sim_track *t = &s->next;
    *t = (struct kt_sim_track){.wish = job->committed ? s->commit : s->draft,
                               .committed = job->committed};
    r->rc = make_branch(d, job, t);
    if (r->rc < 0) {
        return;
    }
    r->frames = r->rc;
    r->rc = 0;
    r->ms = r->frames * d->p.costs->recache_ms;
    t->unseen = t->stream.h.decoded < job->at ? t->stream.h.decoded : job->at;
    t->held = kt_sim_frames_before(d, t->stream.h.decoded);
}

static void run_blend(struct kt_sim_device *d, const struct kt_job *job, struct kt_job_result *r)
{
    r->rc = recache(d, track_of(d, job), job);
    if (r->rc >= 0) {
        r->frames = r->rc;
        r->ms = r->frames * d->p.costs->recache_ms;
        r->rc = 0;
    }
}

/* ---- blocks and pictures ---- */

static void run_decode(struct kt_sim_device *d, double now, const struct kt_job *job,
                       struct kt_job_result *r)
{
    const struct kt_board_params *p = &d->p.board;
    struct kt_sim_track *t = track_of(d, job);
    int frames = t->stream.h.decoded == 0 ? p->first_frames : p->frames_per_latent;
    r->ms = d->p.costs->decode_ms;
    if (d->frames_used + frames > d->p.frames_max) {
        kt_sim_fault(&d->faults, &d->faults.memory, now, "device %d: no free pictures", d->p.id);
        r->rc = -ENOBUFS;
        return;
    }
    r->rc = kt_sim_stream_decode(&d->memory, &t->stream);
    if (r->rc == 0) {
        r->frames = frames;
        d->frames_used += frames;
        d->frames_used_max =
            d->frames_used > d->frames_used_max ? d->frames_used : d->frames_used_max;
    }
}

static void run_track_work(struct kt_sim_device *d, double now, const struct kt_job *job,
                           struct kt_job_result *r)
{
    const struct kt_sim_costs *c = d->p.costs;
    struct kt_sim_track *t = track_of(d, job);
    switch (job->kind) {
    case KT_JOB_BEGIN:
        t->block_active = 1;
        t->steps = t->steps_left = job->steps;
        break;
    case KT_JOB_STEP:
        t->steps_left--;
        r->ms = c->step_ms;
        break;
    case KT_JOB_COMMIT:
        r->rc = kt_sim_stream_append(&d->memory, &t->stream);
        t->block_active = 0;
        t->uncached = 1;
        break;
    case KT_JOB_CACHE:
        r->ms = t->uncached ? c->commit_ms : 0;
        r->cached = !t->uncached;
        t->uncached = 0;
        break;
    case KT_JOB_DECODE: run_decode(d, now, job, r); break;
    case KT_JOB_BLEND: run_blend(d, job, r); break;
    default: r->ms = c->preview_ms; break;
    }
}

/* ---- list work ---- */

static void check_promotion(struct kt_sim_device *d, double now, const struct kt_job *job)
{
    struct kt_sim_place *s = &d->places[job->session];
    uint32_t revision = s->next.wish.revision;
    int known = 0;
    for (int i = 0; i < s->pending_count; i++) {
        known |= s->pending[i].revision == revision && s->pending[i].key == s->next.wish.key;
    }
    if (!s->next.committed || !known) {
        kt_sim_fault(&d->faults, &d->faults.promoted, now,
                     "device %d session %d: revision %u is shown, which nobody committed", d->p.id,
                     job->session, revision);
    } else if (s->epoch > 0 && revision <= s->applied_revision) {
        kt_sim_fault(&d->faults, &d->faults.promoted, now,
                     "device %d session %d: revision %u is shown after its successor %u", d->p.id,
                     job->session, revision, s->applied_revision);
    }
}

static void forget_pending(struct kt_sim_place *s, uint32_t revision)
{
    int kept = 0;
    for (int i = 0; i < s->pending_count; i++) {
        if (s->pending[i].revision > revision) {
            s->pending[kept++] = s->pending[i];
        }
    }
    s->pending_count = kept;
}

static void promote(struct kt_sim_device *d, double now, const struct kt_job *job)
{
    struct kt_sim_place *s = &d->places[job->session];
    int64_t end = s->next.held + s->next.held_count;
    int64_t first = job->frame > s->next.held ? job->frame : s->next.held;
    first = first < end ? first : end;
    check_promotion(d, now, job);
    kt_sim_promoted(d, s, job->frame, job->flush);
    kt_sim_stream_clear(&s->live.stream);
    s->live = s->next;
    s->next = (struct kt_sim_track){0};
    s->epoch++;
    s->applied_revision = s->live.wish.revision;
    forget_pending(s, s->applied_revision);
    d->p.sink.applied(d->p.sink.arg, d->p.id, job->session, now, job, s->epoch,
                      s->applied_revision);
    kt_sim_device_release(d, (int)(first - s->live.held));
    s->live.held_count = 0;
    if (end > first) {
        d->p.sink.pictures(d->p.sink.arg, d->p.id, job->session, now, s->epoch, first,
                           (int)(end - first));
    }
}

static void drop(struct kt_sim_device *d, struct kt_sim_track *t)
{
    kt_sim_dropped(d, t);
    kt_sim_device_release(d, (int)t->held_count);
    kt_sim_stream_clear(&t->stream);
    *t = (struct kt_sim_track){0};
}

void kt_sim_forget_checkpoints(struct kt_sim_device *d, int session)
{
    for (int i = 0; i < d->p.board.checkpoints_max; i++) {
        if (d->checkpoints[i].stream.there && d->checkpoints[i].session == session) {
            kt_sim_stream_clear(&d->checkpoints[i].stream);
        }
    }
}

static void run_list_work(struct kt_sim_device *d, double now, const struct kt_job *job,
                          struct kt_job_result *r)
{
    struct kt_sim_track *t = track_of(d, job);
    struct kt_sim_checkpoint *c = job->slot >= 0 ? &d->checkpoints[job->slot] : NULL;
    switch (job->kind) {
    case KT_JOB_PROMOTE: promote(d, now, job); break;
    case KT_JOB_DROP: drop(d, t); break;
    case KT_JOB_CHECKPOINT:
        kt_sim_stream_clear(&c->stream);
        kt_sim_stream_snapshot(&c->stream, &t->stream);
        c->session = job->session;
        break;
    case KT_JOB_UNCHECKPOINT: kt_sim_stream_clear(&c->stream); break;
    default: /* TRIM */
        kt_sim_trimmed(d, t, job->at);
        t->block_active = t->uncached = 0;
        r->rc = kt_history_rewind(&t->stream.h, &d->memory.p.shape, job->at);
        break;
    }
}

/* ---- both ends ---- */

void kt_sim_execute(struct kt_sim_device *d, double now, const struct kt_job *job,
                    struct kt_job_result *r)
{
    const char *why = why_not(d, job);
    uint64_t refused = d->memory.refused;
    *r = (struct kt_job_result){0};
    if (why) {
        kt_sim_fault(&d->faults, &d->faults.jobs, now, "device %d session %d: %s of %s, but %s",
                     d->p.id, job->session, kt_job_name(job->kind),
                     job->track == KT_TRACK_LIVE ? "LIVE" : "NEXT", why);
        r->rc = -EINVAL;
        r->ms = 1; /* so that asking for it again and again does not stop the clock */
        return;
    }
    if (is_list_work(job->kind)) {
        return; /* done when it is delivered: nothing comes between */
    }
    if (job->kind == KT_JOB_TEXT) {
        run_text(d, job, r);
    } else if (job->kind == KT_JOB_CUT) {
        run_cut(d, job, r);
    } else {
        run_track_work(d, now, job, r);
    }
    if (d->memory.refused > refused) {
        kt_sim_fault(&d->faults, &d->faults.memory, now,
                     "device %d session %d: %s found no memory (%d of %d pages in use)", d->p.id,
                     job->session, kt_job_name(job->kind), d->memory.pages.used,
                     d->memory.pages.count);
    }
    if (d->p.jitter > 0) {
        r->ms *= kt_sim_random_between(&d->random, 1 - d->p.jitter, 1 + d->p.jitter);
    }
    r->latents = track_of(d, job)->stream.h.latents;
    r->decoded = track_of(d, job)->stream.h.decoded;
}

static void deliver_decoded(struct kt_sim_device *d, double now, const struct kt_job *job,
                            const struct kt_job_result *r)
{
    struct kt_sim_place *s = &d->places[job->session];
    if (job->track == KT_TRACK_NEXT) {
        s->next.held_count += r->frames;
        return;
    }
    d->p.sink.pictures(d->p.sink.arg, d->p.id, job->session, now, s->epoch,
                       kt_sim_frames_before(d, r->decoded - 1), r->frames);
}

void kt_sim_deliver(struct kt_sim_device *d, double now, const struct kt_job *job,
                    struct kt_job_result *r)
{
    struct kt_sim_track *t = track_of(d, job);
    if (r->rc == 0 && is_list_work(job->kind)) {
        run_list_work(d, now, job, r);
        return;
    }
    if (r->rc == 0 && job->kind == KT_JOB_DECODE) {
        deliver_decoded(d, now, job, r);
    }
    if (r->rc == 0 && job->kind == KT_JOB_PREVIEW) {
        d->p.sink.preview(d->p.sink.arg, d->p.id, job->session, now, t->wish.revision);
    }
    if (r->rc < 0 && r->rc != -EINVAL && job->kind != KT_JOB_TEXT && job->kind != KT_JOB_CUT) {
        drop(d, t); /* the track is given up */
    }
    if (r->rc < 0 && job->committed && r->rc != -ERANGE) {
        d->places[job->session].commit = d->places[job->session].spare;
        d->faults.lost++;
    }
}
