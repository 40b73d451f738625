/* The device thread: commands in, one piece of work at a time, events out.
 *
 * Locking: one mutex guards the two rings, the frame pool and the published statistics; it is held
 * for copies of a few words, never across work, so the loop thread cannot wait for the device.
 * Everything else (engine, sessions) belongs to the lane's thread alone.
 *
 * Full rings. Commands: post answers -EAGAIN and the server keeps the command. Events: the lane
 * begins no work that could produce more events than fit, so the ring cannot overflow; a server
 * that does not poll stops generation, not memory. Frames: a fixed pool; without free frames
 * nothing is decoded until the server releases some. */
#include "engine/lane.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/clock.h"
#include "engine/base/ring.h"
#include "engine/sched/pace.h"
#include "engine/sched/pick.h"

enum {
    KT_LANE_COMMANDS = 256,
    KT_LANE_EVENTS = 512,
    KT_LANE_EVENTS_PER_JOB = 32, /* the most one job or command puts */
    KT_LANE_LEAD_DEFAULT = 2,
    KT_LANE_LATENTS_NOTED = 16, /* more than can wait for their decode */
    KT_LANE_IDLE_MS = 100,      /* an idle lane looks up this often, for stop and released frames */
};

struct lane_frame {
    struct kt_frame public; /* first: kt_frame pointers are these */
    struct kt_lane *lane;
    atomic_int refs; /* taken by the lane, dropped on any thread */
};

struct lane_session {
    int in_use, paused;
    struct kt_timeline *timeline; /* NULL until the first prompt */
    struct kt_context *context;
    uint64_t seed;
    uint32_t epoch, revision;
    int steps_wanted;
    struct kt_pace pace;
    struct kt_command prompt; /* the latest commit that has not taken effect; text NULL: none */
    int64_t sent;             /* frames of this epoch before it were handed to the wire */
    int64_t next_frame;       /* timeline index of the next decoded frame */
    int first_of_epoch;
    int entering; /* a new epoch begins at latent `enter_at`; before it, the old one's are decoded
                   */
    int64_t enter_at;
    uint32_t enter_revision;
    struct kt_frame_timings ms;
    double block_ms;                         /* of the block in flight so far */
    float denoise_ms[KT_LANE_LATENTS_NOTED]; /* what latent i's block took, at i % noted */
};

struct kt_lane {
    struct kt_engine *engine;
    struct kt_engine_info info;
    struct kt_lane_params p;
    int steps_full;
    pthread_t thread;
    int thread_started;
    uint8_t *pictures, *decode_buffer;
    size_t picture_bytes;
    struct lane_session *sessions;
    struct kt_sched_session *views;
    int first; /* after the session served last */
    struct kt_costs costs;

    pthread_mutex_t lock; /* guards from here on */
    pthread_cond_t woken;
    int stop;
    struct kt_ring commands, events;
    struct lane_frame *frames;
    int frame_count;
    struct kt_lane_stats stats;
};

/* ---- frames ---- */

struct kt_frame *kt_frame_ref(struct kt_frame *f)
{
    /* Relaxed: the caller already holds a reference, so the frame cannot be recycled meanwhile. */
    atomic_fetch_add_explicit(&((struct lane_frame *)f)->refs, 1, memory_order_relaxed);
    return f;
}

void kt_frame_unref(struct kt_frame **f)
{
    if (!f || !*f) {
        return;
    }
    struct lane_frame *frame = (struct lane_frame *)*f;
    struct kt_lane *lane = frame->lane;
    *f = NULL;
    /* Release: this thread's reads of the picture come before the lane's next write into it (which
     * acquires in take_frame). */
    if (atomic_fetch_sub_explicit(&frame->refs, 1, memory_order_release) == 1) {
        pthread_mutex_lock(&lane->lock);
        pthread_cond_signal(&lane->woken);
        pthread_mutex_unlock(&lane->lock);
    }
}

static struct lane_frame *take_frame(struct kt_lane *lane)
{
    for (int i = 0; i < lane->frame_count; i++) {
        int none = 0;
        if (atomic_compare_exchange_strong_explicit(&lane->frames[i].refs, &none, 1,
                                                    memory_order_acquire, memory_order_relaxed)) {
            return &lane->frames[i];
        }
    }
    return NULL;
}

static int count_free_frames(struct kt_lane *lane)
{
    int n = 0;
    for (int i = 0; i < lane->frame_count; i++) {
        n += atomic_load_explicit(&lane->frames[i].refs, memory_order_relaxed) == 0;
    }
    return n;
}

/* ---- events ---- */

static void put_event(struct kt_lane *lane, const struct kt_event *e)
{
    pthread_mutex_lock(&lane->lock);
    int rc = kt_ring_put(&lane->events, e);
    pthread_mutex_unlock(&lane->lock);
    KT_ASSERT(rc == 0); /* room was checked before the job began */
    lane->p.wake(lane->p.wake_arg);
}

static void put_failure(struct kt_lane *lane, int session, uint32_t revision,
                        const struct kt_error *err)
{
    struct kt_event e = {.kind = KT_EVENT_FAILED,
                         .session = (uint32_t)session,
                         .revision = revision,
                         .epoch = lane->sessions[session].epoch,
                         .error = *err};
    put_event(lane, &e);
}

static int events_have_room(struct kt_lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    int room = lane->events.cap - lane->events.count >= KT_LANE_EVENTS_PER_JOB;
    lane->stats.events_stalled += !room;
    pthread_mutex_unlock(&lane->lock);
    return room;
}

static void count(struct kt_lane *lane, uint64_t *counter, uint64_t n)
{
    pthread_mutex_lock(&lane->lock);
    *counter += n;
    pthread_mutex_unlock(&lane->lock);
}

static void note_busy(struct kt_lane *lane, double ms)
{
    pthread_mutex_lock(&lane->lock);
    lane->stats.busy_ms += ms;
    pthread_mutex_unlock(&lane->lock);
}

static void note_ms(struct kt_lane *lane, double *last, double ms)
{
    note_busy(lane, ms);
    pthread_mutex_lock(&lane->lock);
    *last = ms;
    pthread_mutex_unlock(&lane->lock);
}

/* ---- position: latents <-> video frames ---- */

static int64_t frames_before(const struct kt_lane *lane, int64_t latent)
{
    return latent == 0 ? 0 : lane->info.first_frames + (latent - 1) * lane->info.frames_per_latent;
}

/* The first latent all of whose frames lie at or after `frame`. */
static int64_t latent_at_or_after(const struct kt_lane *lane, int64_t frame)
{
    int64_t past = frame - lane->info.first_frames, each = lane->info.frames_per_latent;
    if (frame <= 0) {
        return 0;
    }
    return past <= 0 ? 1 : 1 + (past + each - 1) / each;
}

/* ---- pace ---- */

static int active_sessions(const struct kt_lane *lane)
{
    int n = 0;
    for (int i = 0; i < lane->p.sessions_max; i++) {
        n += lane->sessions[i].in_use && !lane->sessions[i].paused && lane->sessions[i].timeline;
    }
    return n ? n : 1;
}

static void update_pace(struct kt_lane *lane, int index)
{
    struct lane_session *s = &lane->sessions[index];
    struct kt_pace_params p = {.fps = lane->info.fps,
                               .steps_full = lane->steps_full,
                               .steps_wanted = s->steps_wanted,
                               .sessions = active_sessions(lane),
                               .block_latents = lane->info.block_latents,
                               .frames_per_latent = lane->info.frames_per_latent};
    struct kt_pace pace = kt_pace_choose(&p, &lane->costs, &s->pace);
    double change = pace.fps > s->pace.fps ? pace.fps - s->pace.fps : s->pace.fps - pace.fps;
    int at_full = pace.fps >= p.fps && s->pace.fps < p.fps;
    if (pace.steps == s->pace.steps && change < 0.05 * p.fps && !at_full) {
        return;
    }
    s->pace = pace;
    struct kt_event e = {.kind = KT_EVENT_PACE,
                         .session = (uint32_t)index,
                         .epoch = s->epoch,
                         .fps = (float)pace.fps,
                         .steps = pace.steps};
    put_event(lane, &e);
}

/* ---- jobs ---- */

static void enter_epoch(struct kt_lane *lane, int index)
{
    struct lane_session *s = &lane->sessions[index];
    s->entering = 0;
    s->epoch++;
    s->revision = s->enter_revision;
    s->first_of_epoch = 1;
    struct kt_event e = {.kind = KT_EVENT_APPLIED,
                         .session = (uint32_t)index,
                         .revision = s->revision,
                         .epoch = s->epoch,
                         .frame_index = s->next_frame};
    put_event(lane, &e);
}

/* From latent `at` on the stream is made under the new prompt. What lies before it and is not
 * decoded yet still belongs to the old epoch. Nothing counts as lead now: the first new picture is
 * wanted at once. */
static void begin_epoch(struct kt_lane *lane, int index, uint32_t revision, int64_t at)
{
    struct lane_session *s = &lane->sessions[index];
    s->entering = 1;
    s->enter_at = at;
    s->enter_revision = revision;
    s->next_frame = frames_before(lane, kt_timeline_decoded(s->timeline));
    s->sent = s->next_frame;
    if (kt_timeline_decoded(s->timeline) >= at) {
        enter_epoch(lane, index);
    }
}

/* Where the new prompt takes over: the first latent whose frames will not have been sent by the
 * time its first picture is ready, as far as that is known, but not later than what is decoded:
 * pictures of the old prompt are not decoded any more. Later latents are forgotten. */
static int64_t choose_cut(const struct kt_lane *lane, const struct lane_session *s,
                          const struct kt_command *prompt)
{
    int64_t latents = kt_timeline_latents(s->timeline);
    int64_t sink = kt_engine_config(lane->engine)->sampler.sink_size;
    if (prompt->cut == KT_CUT_BLOCK) {
        return latents;
    }
    double wait_ms = lane->stats.last_recache_ms + s->pace.steps * lane->costs.step_ms +
                     lane->costs.commit_ms + lane->costs.decode_ms;
    int64_t by_then = s->sent + (int64_t)(wait_ms * s->pace.fps / 1000.0);
    int64_t at = s->sent == 0 ? 0 : latent_at_or_after(lane, by_then);
    int64_t decoded = kt_timeline_decoded(s->timeline);
    at = at < decoded ? at : decoded;
    if (at > 0 && at < sink) {
        at = sink; /* the sink must be whole */
    }
    return at < latents ? at : latents;
}

static int restart_timeline(struct kt_lane *lane, struct lane_session *s, struct kt_error *err)
{
    kt_timeline_destroy(&s->timeline);
    return kt_timeline_create(lane->engine, &s->timeline, s->seed, s->context, err);
}

static int cut_to(struct kt_lane *lane, struct lane_session *s, const struct kt_command *prompt,
                  struct kt_context *context, struct kt_error *err)
{
    struct kt_context *old = s->context;
    s->context = kt_context_ref(context);
    kt_context_unref(&old);
    int64_t at = s->timeline ? choose_cut(lane, s, prompt) : 0;
    if (at == 0) { /* nothing of the stream was sent: begin it under the new prompt */
        return restart_timeline(lane, s, err);
    }
    count(lane, &lane->stats.discarded_frames,
          (uint64_t)(s->next_frame > frames_before(lane, at)
                         ? s->next_frame - frames_before(lane, at)
                         : 0));
    if (kt_timeline_rewind(s->timeline, at, err) < 0) { /* too far back: go on from the end */
        kt_timeline_block_abandon(s->timeline);
    }
    count(lane, &lane->stats.recaches, 1);
    return kt_timeline_switch(s->timeline, context, prompt->transition, 0, err);
}

/* Commits since the last piece of work are already folded into one: the latest wins. */
static void run_prompt(struct kt_lane *lane, int index)
{
    struct lane_session *s = &lane->sessions[index];
    struct kt_command prompt = s->prompt;
    struct kt_context *context = NULL;
    struct kt_error err = {{0}};
    int64_t start = kt_now_ns();
    s->prompt.text = NULL;
    s->ms = (struct kt_frame_timings){.queue = (float)((double)(start - prompt.posted_ns) * 1e-6)};
    int rc = kt_context_from_text(lane->engine, &context, prompt.text, strlen(prompt.text), &err);
    s->ms.text = (float)kt_ms_since(start);
    note_ms(lane, &lane->stats.last_text_ms, s->ms.text);
    if (rc == 0) {
        start = kt_now_ns();
        rc = cut_to(lane, s, &prompt, context, &err);
        s->ms.recache = (float)kt_ms_since(start);
        note_ms(lane, &lane->stats.last_recache_ms, s->ms.recache);
    }
    kt_context_unref(&context);
    free(prompt.text);
    if (rc < 0) {
        put_failure(lane, index, prompt.revision, &err);
        return;
    }
    s->block_ms = 0;
    begin_epoch(lane, index, prompt.revision, kt_timeline_latents(s->timeline));
}

static void fail_session(struct kt_lane *lane, int index, const struct kt_error *err)
{
    struct lane_session *s = &lane->sessions[index];
    put_failure(lane, index, s->revision, err);
    kt_timeline_destroy(&s->timeline);
}

static int run_block_part(struct kt_lane *lane, struct lane_session *s, enum kt_job_kind kind,
                          struct kt_error *err)
{
    int64_t start = kt_now_ns();
    int rc = 0;
    if (kind == KT_JOB_BEGIN) {
        s->block_ms = 0;
        rc = kt_timeline_block_begin(s->timeline, s->pace.steps, err);
    } else if (kind == KT_JOB_STEP) {
        rc = kt_timeline_block_step(s->timeline, err);
        kt_costs_add(&lane->costs.step_ms, kt_ms_since(start));
        count(lane, &lane->stats.steps, 1);
    } else {
        rc = kt_timeline_block_commit(s->timeline, err);
        kt_costs_add(&lane->costs.commit_ms, kt_ms_since(start));
        count(lane, &lane->stats.blocks, 1);
    }
    s->block_ms += kt_ms_since(start);
    note_busy(lane, kt_ms_since(start));
    for (int i = 1; rc == 0 && kind == KT_JOB_COMMIT && i <= lane->info.block_latents; i++) {
        int64_t latent = kt_timeline_latents(s->timeline) - i;
        s->denoise_ms[latent % KT_LANE_LATENTS_NOTED] = (float)s->block_ms;
    }
    return rc;
}

static void publish_frame(struct kt_lane *lane, int index, const uint8_t *picture)
{
    struct lane_session *s = &lane->sessions[index];
    struct lane_frame *f = take_frame(lane);
    KT_ASSERT(f); /* counted before the decode began */
    memcpy(f->public.data, picture, lane->picture_bytes);
    f->public.session = (uint32_t)index;
    f->public.epoch = s->epoch;
    f->public.revision = s->revision;
    f->public.frame = s->next_frame++;
    f->public.first_of_epoch = s->first_of_epoch;
    f->public.ms = s->ms;
    f->public.steps = s->pace.steps;
    f->public.decoded_ns = kt_now_ns();
    s->first_of_epoch = 0;
    struct kt_event e = {.kind = KT_EVENT_FRAME,
                         .session = (uint32_t)index,
                         .revision = s->revision,
                         .epoch = s->epoch,
                         .frame_index = f->public.frame,
                         .frame = &f->public};
    put_event(lane, &e);
}

static int run_decode(struct kt_lane *lane, int index, struct kt_error *err)
{
    struct lane_session *s = &lane->sessions[index];
    int64_t start = kt_now_ns();
    if (s->entering && kt_timeline_decoded(s->timeline) >= s->enter_at) {
        enter_epoch(lane, index);
    }
    s->ms.denoise = s->denoise_ms[kt_timeline_decoded(s->timeline) % KT_LANE_LATENTS_NOTED];
    int frames = kt_timeline_decode(s->timeline, lane->decode_buffer, lane->picture_bytes, err);
    if (frames < 0) {
        return frames;
    }
    double ms = kt_ms_since(start);
    s->ms.convert = (float)kt_engine_convert_ms(lane->engine);
    s->ms.decode = (float)ms - s->ms.convert;
    kt_costs_add(&lane->costs.decode_ms, ms);
    note_ms(lane, &lane->stats.last_decode_ms, ms);
    count(lane, &lane->stats.decodes, 1);
    count(lane, &lane->stats.frames, (uint64_t)frames);
    for (int f = 0; f < frames; f++) {
        publish_frame(lane, index, lane->decode_buffer + lane->picture_bytes * (size_t)f);
    }
    /* What follows was not waited for by anybody: only the first frames of an epoch carry its
     * queue, text and recache. */
    s->ms.queue = s->ms.text = s->ms.recache = 0;
    return 0;
}

static void run_job(struct kt_lane *lane, struct kt_job job)
{
    struct lane_session *s = &lane->sessions[job.session];
    struct kt_error err = {{0}};
    int rc = 0;
    if (job.kind == KT_JOB_PROMPT) {
        run_prompt(lane, job.session);
    } else if (job.kind == KT_JOB_DECODE) {
        rc = run_decode(lane, job.session, &err);
    } else {
        rc = run_block_part(lane, s, job.kind, &err);
    }
    if (rc < 0) {
        fail_session(lane, job.session, &err);
    }
    if (job.kind == KT_JOB_COMMIT || job.kind == KT_JOB_PROMPT) {
        update_pace(lane, job.session);
    }
}

/* ---- commands ---- */

static void open_session(struct kt_lane *lane, const struct kt_command *c)
{
    struct lane_session *s = &lane->sessions[c->session];
    if (s->in_use) {
        struct kt_error err;
        kt_fail(&err, -EBUSY, "session %u is open already", c->session);
        put_failure(lane, (int)c->session, c->revision, &err);
        free(c->text);
        return;
    }
    *s = (struct lane_session){.in_use = 1, .seed = c->seed, .steps_wanted = c->steps};
    s->pace =
        (struct kt_pace){.fps = lane->info.fps, .steps = c->steps ? c->steps : lane->steps_full};
    if (c->text && c->text[0]) {
        s->prompt = *c;
    } else {
        free(c->text);
    }
}

static void close_session(struct kt_lane *lane, uint32_t index)
{
    struct lane_session *s = &lane->sessions[index];
    kt_timeline_destroy(&s->timeline);
    kt_context_unref(&s->context);
    free(s->prompt.text);
    *s = (struct lane_session){0};
}

static void reset_session(struct kt_lane *lane, const struct kt_command *c)
{
    struct lane_session *s = &lane->sessions[c->session];
    struct kt_error err = {{0}};
    s->seed = c->seed;
    if (!s->context) {
        return; /* no prompt yet: the seed is all there is to reset */
    }
    if (restart_timeline(lane, s, &err) < 0) {
        put_failure(lane, (int)c->session, s->revision, &err);
        return;
    }
    begin_epoch(lane, (int)c->session, s->revision, 0);
}

static void take_prompt(struct kt_lane *lane, const struct kt_command *c)
{
    struct lane_session *s = &lane->sessions[c->session];
    if (s->prompt.text) {
        count(lane, &lane->stats.commands_dropped, 1); /* overtaken before it took effect */
        free(s->prompt.text);
    }
    s->prompt = *c;
    if (s->timeline) { /* the block in flight is history: stop at this step boundary */
        if (c->cut == KT_CUT_LATENT) {
            kt_timeline_block_abandon(s->timeline);
            count(lane, &lane->stats.abandoned_blocks, 1);
        }
    }
}

static void run_command(struct kt_lane *lane, const struct kt_command *c)
{
    struct lane_session *s = &lane->sessions[c->session];
    if (c->kind == KT_COMMAND_OPEN) {
        open_session(lane, c);
        return;
    }
    if (!s->in_use) { /* overtaken by its own close */
        free(c->text);
        return;
    }
    switch (c->kind) {
    case KT_COMMAND_PROMPT: take_prompt(lane, c); break;
    case KT_COMMAND_SENT:
        if (c->epoch == s->epoch && c->frame > s->sent) {
            s->sent = c->frame < s->next_frame ? c->frame : s->next_frame;
        }
        break;
    case KT_COMMAND_PAUSE: s->paused = 1; break;
    case KT_COMMAND_RESUME: s->paused = 0; break;
    case KT_COMMAND_RESET: reset_session(lane, c); break;
    case KT_COMMAND_STEPS:
        s->steps_wanted = c->steps;
        update_pace(lane, (int)c->session);
        break;
    case KT_COMMAND_CLOSE: {
        struct kt_event e = {.kind = KT_EVENT_CLOSED, .session = c->session, .epoch = s->epoch};
        close_session(lane, c->session);
        put_event(lane, &e);
        break;
    }
    case KT_COMMAND_OPEN: break;
    }
}

/* ---- the thread ---- */

static void fill_views(struct kt_lane *lane)
{
    int frames_free = count_free_frames(lane);
    for (int i = 0; i < lane->p.sessions_max; i++) {
        struct lane_session *s = &lane->sessions[i];
        struct kt_sched_session *v = &lane->views[i];
        *v = (struct kt_sched_session){0};
        if (!s->in_use || s->paused) {
            continue;
        }
        v->runnable = 1;
        v->prompt_waiting = s->prompt.text != NULL;
        v->has_timeline = s->timeline != NULL;
        v->frames_free = frames_free;
        if (s->timeline) {
            struct kt_timeline_progress progress;
            kt_timeline_get_progress(s->timeline, &progress);
            v->block_active = progress.block_active;
            v->steps_left = progress.steps_left;
            if (s->prompt.cut == KT_CUT_BLOCK && progress.block_active) {
                v->prompt_waiting =
                    0; /* LongLive's own cut: the block in flight is finished first */
            }
            v->undecoded = progress.latents - progress.decoded;
            v->lead_ms = (double)(s->next_frame - s->sent) * 1000.0 / lane->info.fps;
        }
    }
}

/* Returns 1 when a command or a job was done. */
static int turn(struct kt_lane *lane)
{
    struct kt_command c;
    if (!events_have_room(lane)) {
        return 0;
    }
    pthread_mutex_lock(&lane->lock);
    int have = kt_ring_take(&lane->commands, &c);
    pthread_mutex_unlock(&lane->lock);
    if (have) {
        run_command(lane, &c);
        return 1;
    }
    struct kt_sched_limits limits = {
        .lead_ms_max =
            lane->p.decode_lead_latents * lane->info.frames_per_latent * 1000.0 / lane->info.fps,
        .undecoded_max = lane->info.block_latents,
        .frames_per_latent = lane->info.frames_per_latent,
        .first = lane->first,
    };
    fill_views(lane);
    struct kt_job job = kt_sched_pick(lane->views, lane->p.sessions_max, &limits);
    if (job.kind == KT_JOB_NONE) {
        return 0;
    }
    lane->first = (job.session + 1) % lane->p.sessions_max;
    run_job(lane, job);
    return 1;
}

static void wait_for_work(struct kt_lane *lane)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += KT_LANE_IDLE_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&lane->lock);
    if (!lane->stop && lane->commands.count == 0) {
        pthread_cond_timedwait(&lane->woken, &lane->lock, &until);
    }
    pthread_mutex_unlock(&lane->lock);
}

static int stopping(struct kt_lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    int stop = lane->stop;
    pthread_mutex_unlock(&lane->lock);
    return stop;
}

static void *run_thread(void *arg)
{
    struct kt_lane *lane = arg;
    int64_t start = kt_now_ns();
    struct kt_event ready = {.kind = KT_EVENT_READY};
    int rc = kt_engine_warm_up(lane->engine, &ready.error);
    ready.ms = (float)kt_ms_since(start);
    put_event(lane, &ready);
    while (!stopping(lane)) {
        if (rc < 0 || !turn(lane)) {
            wait_for_work(lane);
        }
    }
    return NULL;
}

/* ---- the server's side ---- */

int kt_lane_post(struct kt_lane *lane, const struct kt_command *cmd)
{
    struct kt_command c = *cmd;
    if (c.session >= (uint32_t)lane->p.sessions_max ||
        (c.kind == KT_COMMAND_PROMPT && (!c.text || !c.text[0])) || c.steps < 0 ||
        c.steps > lane->steps_full) {
        return -EINVAL;
    }
    c.posted_ns = kt_now_ns();
    pthread_mutex_lock(&lane->lock);
    int rc = kt_ring_put(&lane->commands, &c);
    pthread_cond_signal(&lane->woken);
    pthread_mutex_unlock(&lane->lock);
    return rc;
}

int kt_lane_poll(struct kt_lane *lane, struct kt_event *out)
{
    pthread_mutex_lock(&lane->lock);
    int have = kt_ring_take(&lane->events, out);
    if (have) {
        pthread_cond_signal(&lane->woken); /* it may wait for room */
    }
    pthread_mutex_unlock(&lane->lock);
    return have;
}

void kt_lane_get_stats(struct kt_lane *lane, struct kt_lane_stats *out)
{
    pthread_mutex_lock(&lane->lock);
    *out = lane->stats;
    pthread_mutex_unlock(&lane->lock);
    out->frames_free = count_free_frames(lane);
    out->frames_total = lane->frame_count;
}

/* Per session: the decode lead, one latent more in the decoder, one in the encoder's hands, and the
 * frames of an epoch that is being flushed. */
static int init_frames(struct kt_lane *lane)
{
    int each = (lane->p.decode_lead_latents + 3) * lane->info.frames_per_latent;
    lane->frame_count = each * lane->p.sessions_max;
    lane->picture_bytes = (size_t)lane->info.width * (size_t)lane->info.height * 3 / 2;
    lane->frames = calloc((size_t)lane->frame_count, sizeof(*lane->frames));
    lane->pictures = malloc(lane->picture_bytes * (size_t)lane->frame_count);
    lane->decode_buffer = malloc(lane->picture_bytes * (size_t)lane->info.frames_per_latent);
    if (!lane->frames || !lane->pictures || !lane->decode_buffer) {
        return -ENOMEM;
    }
    for (int i = 0; i < lane->frame_count; i++) {
        lane->frames[i].lane = lane;
        lane->frames[i].public.data = lane->pictures + lane->picture_bytes * (size_t)i;
        lane->frames[i].public.width = lane->info.width;
        lane->frames[i].public.height = lane->info.height;
    }
    return 0;
}

static int init_lane(struct kt_lane *lane, const struct kt_lane_params *p)
{
    pthread_condattr_t attr;
    lane->engine = p->engine;
    lane->p = *p;
    lane->p.sessions_max = p->sessions_max ? p->sessions_max : 1;
    lane->p.decode_lead_latents =
        p->decode_lead_latents ? p->decode_lead_latents : KT_LANE_LEAD_DEFAULT;
    lane->steps_full = kt_engine_config(p->engine)->sampler.steps;
    kt_engine_get_info(p->engine, &lane->info);
    pthread_mutex_init(&lane->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lane->woken, &attr);
    pthread_condattr_destroy(&attr);
    lane->sessions = calloc((size_t)lane->p.sessions_max, sizeof(*lane->sessions));
    lane->views = calloc((size_t)lane->p.sessions_max, sizeof(*lane->views));
    if (!lane->sessions || !lane->views ||
        kt_ring_init(&lane->commands, sizeof(struct kt_command), KT_LANE_COMMANDS) < 0 ||
        kt_ring_init(&lane->events, sizeof(struct kt_event), KT_LANE_EVENTS) < 0) {
        return -ENOMEM;
    }
    return init_frames(lane);
}

int kt_lane_open(struct kt_lane **out, const struct kt_lane_params *p, struct kt_error *err)
{
    struct kt_engine_info info;
    kt_engine_get_info(p->engine, &info);
    if (info.width == 0 || info.fps <= 0) {
        return kt_fail(err, -EINVAL, "lane: the model has no VAE or no frame rate");
    }
    struct kt_lane *lane = calloc(1, sizeof(*lane));
    if (!lane) {
        return kt_fail(err, -ENOMEM, "lane: out of memory");
    }
    int rc = init_lane(lane, p);
    if (rc == 0) {
        rc = -pthread_create(&lane->thread, NULL, run_thread, lane);
        lane->thread_started = rc == 0;
    }
    if (rc < 0) {
        kt_lane_close(&lane);
        return kt_fail(err, rc, "lane: cannot start (%s)", strerror(-rc));
    }
    *out = lane;
    return 0;
}

static void drain(struct kt_lane *lane)
{
    struct kt_command c;
    struct kt_event e;
    while (lane->commands.data && kt_ring_take(&lane->commands, &c)) {
        free(c.text);
    }
    while (lane->events.data && kt_ring_take(&lane->events, &e)) {
        kt_frame_unref(&e.frame);
    }
    for (int i = 0; lane->sessions && i < lane->p.sessions_max; i++) {
        close_session(lane, (uint32_t)i);
    }
}

void kt_lane_close(struct kt_lane **out)
{
    if (!out || !*out) {
        return;
    }
    struct kt_lane *lane = *out;
    if (lane->thread_started) {
        pthread_mutex_lock(&lane->lock);
        lane->stop = 1;
        pthread_cond_signal(&lane->woken);
        pthread_mutex_unlock(&lane->lock);
        pthread_join(lane->thread, NULL);
    }
    drain(lane);
    KT_ASSERT(!lane->frames || count_free_frames(lane) == lane->frame_count);
    kt_ring_finish(&lane->commands);
    kt_ring_finish(&lane->events);
    pthread_cond_destroy(&lane->woken);
    pthread_mutex_destroy(&lane->lock);
    free(lane->frames);
    free(lane->pictures);
    free(lane->decode_buffer);
    free(lane->sessions);
    free(lane->views);
    free(lane);
    *out = NULL;
}
