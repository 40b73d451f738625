/* Jobs: what the board says, done with the engine. Every job ends with the device idle, so that its
 * time is its own and the next decision is made on what is really there.
 *
 * A job that fails is told to the board, which gives up the track or the wish; here its timeline is
 * let go and the server hears why. A draft's failure is nobody's business until Enter. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/lane/parts.h"
#include "engine/snapshot.h"

struct work { /* one job being done */
    struct kt_lane *lane;
    const struct kt_job *job;
    struct lane_session *s;
    struct lane_track *track;
    struct kt_job_result result;
    struct kt_record record;
    struct kt_error err;
};

void kt_lane_forget_track(struct lane_track *t)
{
    for (int i = 0; i < t->held_count; i++) {
        struct kt_frame *f = &t->held[i]->public;
        kt_frame_unref(&f);
    }
    kt_timeline_destroy(&t->timeline);
    kt_context_unref(&t->context);
    kt_context_unref(&t->blend_from);
    free(t->text);
    *t = (struct lane_track){0};
}

/* ---- texts ---- */

static void tell_drafted(struct work *w, uint32_t revision, enum kt_stage stage)
{
    struct kt_event e = {.kind = KT_EVENT_DRAFTED,
                         .session = (uint32_t)w->job->session,
                         .revision = revision,
                         .epoch = w->s->epoch,
                         .stage = (int)stage};
    kt_lane_put_event(w->lane, &e);
}

static uint64_t encodings(const struct kt_lane *lane)
{
    struct kt_engine_info info;
    kt_engine_get_info(lane->engine, &info);
    return info.encodings;
}

static int run_text(struct work *w)
{
    struct lane_wish *wish = w->job->committed ? &w->s->commit : &w->s->draft;
    uint64_t runs = encodings(w->lane);
    int64_t start = kt_now_ns();
    int rc = wish->text ? kt_context_from_text(w->lane->engine, &wish->context, wish->text,
                                               strlen(wish->text), &w->err)
                        : kt_fail(&w->err, -ENOMEM, "out of memory");
    rc = rc < 0 ? rc : kt_engine_sync(w->lane->engine);
    wish->text_ms = (float)kt_ms_since(start);
    w->result.cached = encodings(w->lane) == runs;
    if (rc == 0 && !w->job->committed) {
        tell_drafted(w, wish->wish.revision, KT_STAGE_TEXT);
    }
    return rc;
}

/* ---- cuts ---- */

static int begin_branch(struct work *w, const struct lane_wish *wish, struct kt_timeline **t)
{
    struct kt_lane *lane = w->lane;
    const struct kt_job *job = w->job;
    uint64_t seed = wish->wish.fresh ? wish->wish.seed : w->s->seed;
    struct kt_snapshot *snapshot = job->slot >= 0 ? lane->checkpoints[job->slot].snapshot : NULL;
    int rc;
    switch (job->source) {
    case KT_SOURCE_NOTHING:
        return kt_timeline_create(lane->engine, t, seed, wish->context, &w->err);
    case KT_SOURCE_LIVE:
        w->record.parent = lane->sessions[job->from].live.serial;
        return kt_timeline_branch(lane->sessions[job->from].live.timeline, t, job->at, &w->err);
    case KT_SOURCE_CHECKPOINT:
        w->record.parent = lane->sessions[job->from].live.serial;
        rc = kt_timeline_fork(lane->engine, t, snapshot, &w->err);
        if (rc == 0 && (rc = kt_timeline_rewind(*t, job->at, &w->err)) < 0) {
            kt_timeline_destroy(t);
        }
        return rc;
    case KT_SOURCE_ARCHIVE: return kt_lane_past_resume(lane, job, wish->context, t, &w->err);
    }
    return -EINVAL;
}

/* How many latents a switch at `at` recaches (engine/kv/history.c makes the plan). */
static int recached(const struct kt_lane *lane, const struct kt_job *job,
                    const struct kt_wish *wish)
{
    const struct kt_sampler_config *c = &kt_engine_config(lane->engine)->sampler;
    int keep = wish->transition == KT_TRANSITION_MODEL ? c->global_sink
                                                       : wish->transition == KT_TRANSITION_CUT;
    int window = c->local_attn_size > 0 ? c->local_attn_size : KT_LANE_HELD_MAX;
    int full = job->at > window ? window - (keep ? c->sink_size : 0) : (int)job->at;
    return job->recache > 0 && keep && job->recache < full ? job->recache : full;
}

/* The context of this stage, with a reference for the caller: the new prompt's, or on the way to
 * it. */
static int stage_context(struct work *w, struct kt_context *from, struct kt_context *to,
                         struct kt_context **out)
{
    if (w->job->weight >= 1 || !from) {
        *out = kt_context_ref(to);
        return 0;
    }
    return kt_context_blend(w->lane->engine, out, from, to, (float)w->job->weight, &w->err);
}

static int switch_branch(struct work *w, struct lane_wish *wish, struct kt_timeline *t)
{
    struct kt_context *from = w->lane->sessions[w->job->from].live.context, *context = NULL;
    if (w->job->source == KT_SOURCE_NOTHING || w->job->source == KT_SOURCE_ARCHIVE) {
        return 0; /* begun under the new prompt */
    }
    int rc = stage_context(w, from, wish->context, &context);
    if (rc == 0) {
        rc = kt_timeline_switch(t, context, wish->wish.transition, w->job->recache, &w->err);
    }
    kt_context_unref(&context);
    w->result.frames = rc == 0 ? recached(w->lane, w->job, &wish->wish) : 0;
    return rc;
}

/* A draft's text was encoded for this branch already; its context can only be missing when the
 * branch of a text typed again was dropped meanwhile. The LRU has it then. */
static int need_context(struct work *w, struct lane_wish *wish)
{
    return wish->context ? 0
                         : kt_context_from_text(w->lane->engine, &wish->context, wish->text,
                                                strlen(wish->text), &w->err);
}

static void install(struct work *w, struct lane_wish *wish, struct kt_timeline *t, double ms)
{
    struct lane_track *n = &w->s->next;
    const struct lane_track *live = &w->s->live;
    *n = (struct lane_track){.timeline = t,
                             .serial = ++w->lane->serials,
                             .context = kt_context_ref(wish->context),
                             .wish = wish->wish,
                             .committed = w->job->committed,
                             .posted_ns = wish->posted_ns};
    n->blend_from = wish->wish.blend > 1 ? kt_context_ref(live->context) : NULL;
    n->ms.text = wish->text_ms;
    n->ms.recache = (float)ms;
    n->ms.queue = w->job->committed
                      ? (float)((double)(kt_now_ns() - wish->posted_ns) * 1e-6 - ms - wish->text_ms)
                      : 0;
    n->cut_at = kt_timeline_latents(t);
    n->resumed = w->job->source == KT_SOURCE_ARCHIVE;
    /* Old latents before the cut that were not decoded yet are decoded by the branch too. */
    n->next_frame = kt_lane_frames_before(w->lane, kt_timeline_decoded(t));
    if (w->job->committed) {
        n->text = wish->text;
        wish->text = NULL;
        kt_lane_forget_wish(wish);
        kt_lane_forget_wish(&w->s->spare);
    } else {
        n->text = strdup(wish->text);
    }
    w->track = n;
}

static int run_cut(struct work *w)
{
    struct lane_wish *wish = w->job->committed ? &w->s->commit : &w->s->draft;
    struct kt_timeline *t = NULL;
    int64_t start = kt_now_ns();
    int rc = need_context(w, wish);
    if (rc == 0) {
        rc = begin_branch(w, wish, &t);
    }
    if (rc == 0) {
        rc = switch_branch(w, wish, t);
    }
    if (rc == 0) {
        rc = kt_engine_sync(w->lane->engine);
    }
    if (rc < 0) {
        kt_timeline_destroy(&t);
        return rc;
    }
    KT_ASSERT(!w->s->next.timeline);
    install(w, wish, t, kt_ms_since(start));
    w->s->retried = 0;
    return 0;
}

/* ---- blocks ---- */

static int run_blend(struct work *w)
{
    struct lane_track *t = w->track;
    struct kt_context *context = NULL;
    int rc = stage_context(w, t->blend_from, t->context, &context);
    if (rc == 0) {
        rc = kt_timeline_switch(t->timeline, context, t->wish.transition, w->job->recache, &w->err);
    }
    rc = rc < 0 ? rc : kt_engine_sync(w->lane->engine);
    kt_context_unref(&context);
    w->result.frames = w->job->recache;
    if (w->job->weight >= 1) {
        kt_context_unref(&t->blend_from);
    }
    return rc;
}

static int hash_latents(struct work *w)
{
    int64_t end = kt_timeline_latents(w->track->timeline);
    int n = w->lane->info.block_latents, rc = 0;
    w->record.hash_count = n < KT_RECORD_HASHES_MAX ? n : KT_RECORD_HASHES_MAX;
    for (int i = 0; i < w->record.hash_count && rc == 0; i++) {
        rc = kt_timeline_latent_hash(w->track->timeline, end - n + i, &w->record.hash[i]);
    }
    return rc;
}

static int run_block_part(struct work *w)
{
    struct lane_track *t = w->track;
    int64_t start = kt_now_ns();
    int rc;
    if (w->job->kind == KT_JOB_BEGIN) {
        t->block_ms = 0;
        t->steps = w->job->steps;
        rc = kt_timeline_block_begin(t->timeline, w->job->steps, &w->err);
    } else if (w->job->kind == KT_JOB_STEP) {
        rc = kt_timeline_block_step(t->timeline, &w->err);
        rc = rc > 0 ? 0 : rc;
    } else if (w->job->kind == KT_JOB_COMMIT) {
        rc = kt_timeline_block_publish(t->timeline, &w->err);
    } else {
        rc = kt_timeline_block_cache(t->timeline, &w->err);
        w->result.cached = rc == 0;
        rc = rc > 0 ? 0 : rc;
    }
    rc = rc < 0 ? rc : kt_engine_sync(w->lane->engine);
    t->block_ms += kt_ms_since(start);
    if (rc < 0 || w->job->kind != KT_JOB_COMMIT) {
        return rc;
    }
    for (int i = 1; i <= w->lane->info.block_latents; i++) {
        int64_t latent = kt_timeline_latents(t->timeline) - i;
        t->denoise_ms[latent % KT_LANE_LATENTS_NOTED] = (float)t->block_ms;
    }
    if (t == &w->s->live) {
        kt_lane_past_grow(w->lane, w->job->session);
    }
    return w->lane->p.record ? hash_latents(w) : 0;
}

/* ---- pictures ---- */

static void publish(struct work *w, struct lane_frame *f, struct lane_track *t)
{
    struct lane_session *s = w->s;
    f->public.epoch = s->epoch;
    f->public.revision = s->revision;
    f->public.first_of_epoch = s->first_of_epoch;
    f->public.flush = s->first_of_epoch && s->flush;
    if (s->first_of_epoch) {
        f->public.ms.queue = t->ms.queue;
        f->public.ms.text = t->ms.text;
        f->public.ms.recache = t->ms.recache;
    }
    s->first_of_epoch = 0;
    struct kt_record r = {.kind = KT_RECORD_PUBLISH,
                          .t_ms = kt_lane_now(w->lane),
                          .session = w->job->session,
                          .timeline = t->serial,
                          .epoch = s->epoch,
                          .revision = s->revision,
                          .frame = f->public.frame,
                          .picture = f->hash};
    kt_lane_record(w->lane, &r);
    struct kt_event e = {.kind = KT_EVENT_FRAME,
                         .session = (uint32_t)w->job->session,
                         .revision = s->revision,
                         .epoch = s->epoch,
                         .frame_index = f->public.frame,
                         .frame = &f->public};
    kt_lane_put_event(w->lane, &e);
}

static struct lane_frame *fill_frame(struct work *w, int i, int64_t index)
{
    struct kt_lane *lane = w->lane;
    struct lane_frame *f = kt_lane_take_frame(lane);
    KT_ASSERT(f); /* counted before the job was chosen */
    memcpy(f->public.data, lane->decode_buffer + lane->picture_bytes * (size_t)i,
           lane->picture_bytes);
    f->hash = lane->p.record ? kt_hash64(f->public.data, lane->picture_bytes, 0) : 0;
    f->public.session = (uint32_t)w->job->session;
    f->public.frame = index;
    f->public.first_of_epoch = f->public.flush = f->public.preview = 0;
    f->public.ms = (struct kt_frame_timings){.denoise = w->track->ms.denoise,
                                             .decode = w->track->ms.decode,
                                             .convert = w->track->ms.convert};
    f->public.steps = w->track->steps;
    f->public.decoded_ns = kt_now_ns();
    if (w->record.hash_count < KT_RECORD_HASHES_MAX) {
        w->record.hash[w->record.hash_count++] = f->hash;
    }
    return f;
}

static void hold(struct work *w, struct lane_frame *f)
{
    struct lane_track *t = w->track;
    KT_ASSERT(t->held_count < KT_LANE_HELD_MAX);
    t->held[t->held_count++] = f;
}

static int run_decode(struct work *w)
{
    struct kt_lane *lane = w->lane;
    struct lane_track *t = w->track;
    int64_t start = kt_now_ns(), decoded = kt_timeline_decoded(t->timeline);

    KT_ASSERT(t->next_frame == kt_lane_frames_before(lane, decoded));
    t->ms.denoise = t->denoise_ms[decoded % KT_LANE_LATENTS_NOTED];
    int frames = kt_timeline_decode(t->timeline, lane->decode_buffer, lane->picture_bytes, &w->err);
    if (frames < 0) {
        return frames;
    }
    t->ms.convert = (float)kt_engine_convert_ms(lane->engine);
    t->ms.decode = (float)kt_ms_since(start) - t->ms.convert;
    lane->mine.frames += (uint64_t)frames;
    for (int i = 0; i < frames; i++) {
        struct lane_frame *f = fill_frame(w, i, t->next_frame++);
        if (t == &w->s->live) {
            publish(w, f, t);
        } else {
            hold(w, f);
        }
    }
    kt_lane_release_passed(lane, w->job->session);
    w->result.frames = frames;

    return 0;
}

static int run_preview(struct work *w)
{
    struct kt_lane *lane = w->lane;
    struct lane_track *t = w->track;
    int64_t start = kt_now_ns();
    int64_t first = kt_lane_frames_before(lane, kt_timeline_latents(t->timeline));
    int frames =
        kt_timeline_preview(t->timeline, lane->decode_buffer, lane->picture_bytes, &w->err);
    if (frames < 0) { /* the full pictures come anyway */
        return frames == -ENOTSUP || frames == -ENOBUFS ? 0 : frames;
    }
    t->ms.decode = (float)kt_ms_since(start);
    for (int i = 0; i < frames; i++) {
        struct lane_frame *f = fill_frame(w, i, first + i);
        f->public.preview = 1;
        f->public.epoch = w->s->epoch + 1;
        f->public.revision = t->wish.revision;
        struct kt_event e = {.kind = KT_EVENT_FRAME,
                             .session = (uint32_t)w->job->session,
                             .revision = t->wish.revision,
                             .epoch = w->s->epoch + 1,
                             .frame_index = f->public.frame,
                             .frame = &f->public};
        lane->mine.previews++;
        kt_lane_put_event(lane, &e);
    }
    w->result.frames = frames;
    return 0;
}

/* ---- list work ---- */

static void tell_applied(struct work *w)
{
    struct kt_event e = {.kind = KT_EVENT_APPLIED,
                         .session = (uint32_t)w->job->session,
                         .revision = w->s->revision,
                         .epoch = w->s->epoch,
                         .frame_index = w->job->frame,
                         .hit = w->job->hit,
                         .flush = w->job->flush};
    kt_lane_put_event(w->lane, &e);
}

static int run_promote(struct work *w)
{
    struct lane_session *s = w->s;
    struct lane_track next = s->next;
    s->next = (struct lane_track){0};
    kt_lane_forget_track(&s->live);
    s->live = next;
    s->live.held_count = 0;
    s->epoch++;
    s->revision = next.wish.revision;
    s->first_of_epoch = 1;
    s->flush = w->job->flush;
    w->track = &s->live;
    if (w->job->hit > 0) {
        s->live.ms.queue = (float)((double)(kt_now_ns() - next.posted_ns) * 1e-6);
        s->live.ms.text = s->live.ms.recache = 0; /* nobody waited for them */
    }
    kt_lane_past_promoted(w->lane, w->job->session);
    tell_applied(w);
    for (int i = 0; i < next.held_count; i++) {
        struct kt_frame *f = &next.held[i]->public;
        if (f->frame >= w->job->frame) {
            publish(w, next.held[i], &s->live);
        } else {
            w->lane->mine.discarded_frames++;
            kt_frame_unref(&f);
        }
    }
    return 0;
}

/* Whoever was told that Enter would be instant hears that it no longer is. */
static int run_drop(struct work *w)
{
    struct lane_session *s = w->s;
    int told = s->next.told_ready && s->draft.text && s->draft.wish.key == s->next.wish.key;
    w->lane->mine.discarded_frames += (uint64_t)s->next.held_count;
    kt_lane_forget_track(&s->next);
    if (told) {
        tell_drafted(w, s->draft.wish.revision, KT_STAGE_TEXT);
    }
    return 0;
}

static int run_checkpoint(struct work *w)
{
    struct lane_checkpoint *c = &w->lane->checkpoints[w->job->slot];
    KT_ASSERT(!c->snapshot);
    c->session = w->job->session;
    w->track = &w->s->live;
    return kt_timeline_snapshot(w->s->live.timeline, &c->snapshot, &w->err);
}

static int run_trim(struct work *w)
{
    w->track = &w->s->live;
    return kt_timeline_rewind(w->s->live.timeline, w->job->at, &w->err);
}

/* ---- any job ---- */

static int run(struct work *w)
{
    switch (w->job->kind) {
    case KT_JOB_TEXT: return run_text(w);
    case KT_JOB_CUT: return run_cut(w);
    case KT_JOB_BEGIN:
    case KT_JOB_STEP:
    case KT_JOB_COMMIT:
    case KT_JOB_CACHE: return run_block_part(w);
    case KT_JOB_DECODE: return run_decode(w);
    case KT_JOB_BLEND: return run_blend(w);
    case KT_JOB_PREVIEW: return run_preview(w);
    case KT_JOB_PROMOTE: return run_promote(w);
    case KT_JOB_DROP: return run_drop(w);
    case KT_JOB_CHECKPOINT: return run_checkpoint(w);
    case KT_JOB_UNCHECKPOINT:
        kt_snapshot_unref(&w->lane->checkpoints[w->job->slot].snapshot);
        return 0;
    case KT_JOB_TRIM: return run_trim(w);
    default: return 0;
    }
}

/* The wish or the track is given up; who waited for it hears why. */
static void fail(struct work *w)
{
    const struct kt_job *job = w->job;
    struct lane_session *s = w->s;
    int wish_failed = job->kind == KT_JOB_TEXT || job->kind == KT_JOB_CUT;
    if (wish_failed) {
        if (job->kind == KT_JOB_CUT && w->result.rc == -ERANGE && !s->retried) {
            s->retried = 1; /* the board asks for another cut of the same wish */
            return;
        }
        s->retried = 0;
        if (job->committed) {
            kt_lane_put_failure(w->lane, job->session, s->commit.wish.revision, &w->err);
            kt_lane_forget_wish(&s->commit);
            s->commit = s->spare; /* what it overtook is a commit again */
            s->spare = (struct lane_wish){0};
        }
        return;
    }
    if (job->kind > KT_JOB_PREVIEW) {
        return;
    }
    if (job->track == KT_TRACK_LIVE) {
        kt_lane_put_failure(w->lane, job->session, s->revision, &w->err);
    } else if (s->next.committed) {
        kt_lane_put_failure(w->lane, job->session, s->next.wish.revision, &w->err);
    }
    kt_lane_forget_track(w->track);
}

static void record_job(struct work *w, const struct kt_board_resources *r, double picked_ms,
                       double now)
{
    w->record.kind = KT_RECORD_JOB;
    w->record.t_ms = now;
    w->record.picked_ms = picked_ms;
    w->record.session = w->job->session;
    w->record.job = *w->job;
    w->record.result = w->result;
    w->record.resources = *r;
    w->record.timeline = w->track ? w->track->serial : 0;
    kt_lane_record(w->lane, &w->record);
}

static void note_progress(struct work *w)
{
    struct kt_timeline_progress p = {0};
    if (w->track && w->track->timeline) {
        kt_timeline_get_progress(w->track->timeline, &p);
    }
    w->result.latents = p.latents;
    w->result.decoded = p.decoded;
}

/* The first picture of a draft is there, and not one of the old prompt's before its cut: Enter
 * would be instant. */
static void tell_if_ready(struct work *w)
{
    struct lane_track *n = &w->s->next;
    if (w->job->kind == KT_JOB_DECODE && w->track == n && w->result.rc == 0 && !n->committed &&
        w->result.decoded > n->cut_at && n->told_ready == 0) {
        n->told_ready = 1;
        tell_drafted(w, w->s->draft.text ? w->s->draft.wish.revision : n->wish.revision,
                     KT_STAGE_READY);
    }
}

void kt_lane_run_job(struct kt_lane *lane, const struct kt_job *job,
                     const struct kt_board_resources *r, double picked_ms)
{
    struct work w = {.lane = lane, .job = job, .s = &lane->sessions[job->session]};
    w.track = job->track == KT_TRACK_LIVE ? &w.s->live : &w.s->next;
    int64_t start = kt_now_ns();
    w.result.rc = run(&w);
    w.result.ms = kt_ms_since(start);
    note_progress(&w);
    double now = kt_lane_now(lane);
    tell_if_ready(&w);
    record_job(&w, r, picked_ms, now);
    if (w.result.rc < 0) {
        fail(&w);
    }
    kt_board_done(lane->board, now, job, &w.result);
    kt_lane_note_stage(lane, job->kind, w.result.ms);
    kt_lane_tell_pace(lane, job->session);
    kt_lane_past_note(lane, job->session);
    kt_lane_publish_stats(lane);
}
