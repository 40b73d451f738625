/* The device thread: commands in, one piece of work at a time, events out. What is worked on next
 * is the board's to say.
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
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/clock.h"
#include "engine/lane/parts.h"

double kt_lane_now(const struct kt_lane *lane)
{
    return (double)(kt_now_ns() - lane->opened_ns) * 1e-6;
}

/* ---- the thread ---- */

static int events_have_room(struct kt_lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    int room = lane->events.cap - lane->events.count >= KT_LANE_EVENTS_PER_JOB;
    lane->stats.events_stalled += !room;
    pthread_mutex_unlock(&lane->lock);
    return room;
}

/* Returns 1 when a command or a job was done. */
static int turn(struct kt_lane *lane)
{
    struct kt_command c;
    lane->wake_ms = INFINITY;
    if (!events_have_room(lane)) {
        return 0;
    }
    pthread_mutex_lock(&lane->lock);
    int have = kt_ring_take(&lane->commands, &c);
    pthread_mutex_unlock(&lane->lock);
    if (have) {
        kt_lane_run_command(lane, &c);
        return 1;
    }
    struct kt_engine_info info;
    kt_engine_get_info(lane->engine, &info);
    struct kt_board_resources left = {.pages_free = info.pages_max - info.pages_used,
                                      .frames_free = kt_lane_free_frames(lane),
                                      .contexts_free = info.contexts_free};
    double now = kt_lane_now(lane);
    struct kt_job job = kt_board_next(lane->board, now, &left);
    if (job.kind == KT_JOB_NONE) {
        lane->wake_ms = job.wake_ms;
        return 0;
    }
    kt_lane_run_job(lane, &job, &left, now);
    return 1;
}

static void wait_for_work(struct kt_lane *lane)
{
    struct timespec until;
    double ms = lane->wake_ms - kt_lane_now(lane);
    ms = ms < 0 ? 0 : ms > KT_LANE_IDLE_MS ? KT_LANE_IDLE_MS : ms;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(ms * 1e6);
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
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
    kt_lane_publish_stats(lane);
    kt_lane_put_event(lane, &ready);
    while (!stopping(lane)) {
        if (rc < 0 || !turn(lane)) {
            wait_for_work(lane);
        }
    }
    return NULL;
}

/* ---- the server's side ---- */

/* What the lane could not take without breaking a promise of its own. */
static int is_valid(const struct kt_lane *lane, const struct kt_command *c)
{
    const struct kt_wish *w = &c->wish;
    const struct kt_session_settings *s = &c->settings;
    return c->session < (uint32_t)lane->p.sessions_max && s->steps >= 0 &&
           s->steps <= lane->steps_full && s->steps_cap >= 0 && s->depth <= KT_LANE_DEPTH_MAX &&
           w->blend >= 0 && w->blend <= KT_BLEND_MAX && w->recache >= KT_RECACHE_CHECKPOINT &&
           w->from < lane->p.sessions_max &&
           (c->kind != KT_COMMAND_PROMPT || (c->text && c->text[0]));
}

int kt_lane_post(struct kt_lane *lane, const struct kt_command *cmd)
{
    struct kt_command c = *cmd;
    if (!is_valid(lane, &c)) {
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
    out->commands_waiting = lane->commands.count;
    out->events_waiting = lane->events.count;
    pthread_mutex_unlock(&lane->lock);
    out->frames_free = kt_lane_free_frames(lane);
    out->frames_total = lane->frame_count;
}

void kt_lane_board_params(const struct kt_lane_params *p, struct kt_board_params *out)
{
    const struct kt_sampler_config *c = &kt_engine_config(p->engine)->sampler;
    struct kt_engine_info info;
    kt_engine_get_info(p->engine, &info);
    int sessions = p->sessions_max ? p->sessions_max : 1;
    *out = (struct kt_board_params){.sessions_max = sessions,
                                    .branches_max = info.timelines_max - sessions,
                                    .checkpoints_max = info.snapshots_max,
                                    .fps = info.fps,
                                    .steps_full = c->steps,
                                    .block_latents = info.block_latents,
                                    .first_frames = info.first_frames,
                                    .frames_per_latent = info.frames_per_latent,
                                    .window = info.window,
                                    .sink = c->local_attn_size > 0 ? c->sink_size : 0,
                                    .slack = info.slack,
                                    .has_preview = 1,
                                    .policy = p->policy};
    if (p->policy.decode_lead == 0) {
        kt_policy_default(&out->policy);
    }
}

static int init_board(struct kt_lane *lane, struct kt_error *err)
{
    struct kt_board_params p;
    kt_lane_board_params(&lane->p, &p);
    return kt_board_create(&lane->board, &p, err);
}

static int init_lane(struct kt_lane *lane, const struct kt_lane_params *p, struct kt_error *err)
{
    pthread_condattr_t attr;
    lane->engine = p->engine;
    lane->p = *p;
    lane->p.sessions_max = p->sessions_max ? p->sessions_max : 1;
    if (p->policy.decode_lead == 0) {
        kt_policy_default(&lane->p.policy);
    }
    lane->steps_full = kt_engine_config(p->engine)->sampler.steps;
    lane->opened_ns = kt_now_ns();
    kt_engine_get_info(p->engine, &lane->info);
    KT_ASSERT((KT_HELD_LATENTS_MAX + 3) * lane->info.frames_per_latent <= KT_LANE_HELD_MAX);
    lane->checkpoints_max = lane->info.snapshots_max;
    pthread_mutex_init(&lane->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&lane->woken, &attr);
    pthread_condattr_destroy(&attr);
    lane->sessions = calloc((size_t)lane->p.sessions_max, sizeof(*lane->sessions));
    lane->checkpoints = calloc((size_t)lane->checkpoints_max + 1, sizeof(*lane->checkpoints));
    if (!lane->sessions || !lane->checkpoints ||
        kt_ring_init(&lane->commands, sizeof(struct kt_command), KT_LANE_COMMANDS) < 0 ||
        kt_ring_init(&lane->events, sizeof(struct kt_event), KT_LANE_EVENTS) < 0 ||
        kt_lane_init_frames(lane) < 0) {
        return kt_fail(err, -ENOMEM, "lane: out of memory");
    }
    for (int i = 0; i < lane->p.sessions_max; i++) {
        lane->sessions[i].past = (struct kt_lane_past){-1, -1};
    }
    int rc = kt_lane_open_past(lane, err);
    return rc < 0 ? rc : init_board(lane, err);
}

static int start_thread(struct kt_lane *lane, struct kt_error *err)
{
    int rc = -pthread_create(&lane->thread, NULL, run_thread, lane);
    lane->thread_started = rc == 0;
    return rc < 0 ? kt_fail(err, rc, "lane: cannot start a thread (%s)", strerror(-rc)) : 0;
}

int kt_lane_open(struct kt_lane **out, const struct kt_lane_params *p, struct kt_error *err)
{
    struct kt_engine_info info;
    kt_engine_get_info(p->engine, &info);
    if (info.width == 0 || info.fps <= 0) {
        return kt_fail(err, -EINVAL, "lane: the model has no VAE or no frame rate");
    }
    if (info.timelines_max <= (p->sessions_max ? p->sessions_max : 1)) {
        return kt_fail(err, -EINVAL,
                       "lane: %d timelines for %d sessions: expected more, for branches",
                       info.timelines_max, p->sessions_max);
    }
    struct kt_lane *lane = calloc(1, sizeof(*lane));
    if (!lane) {
        return kt_fail(err, -ENOMEM, "lane: out of memory");
    }
    int rc = init_lane(lane, p, err);
    if (rc == 0) {
        rc = start_thread(lane, err);
    }
    if (rc < 0) {
        kt_lane_close(&lane);
        return rc;
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
        kt_lane_close_session(lane, i);
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
    KT_ASSERT(!lane->frames || kt_lane_free_frames(lane) == lane->frame_count);
    kt_ring_finish(&lane->commands);
    kt_ring_finish(&lane->events);
    pthread_cond_destroy(&lane->woken);
    pthread_mutex_destroy(&lane->lock);
    free(lane->frames);
    free(lane->pictures);
    free(lane->decode_buffer);
    kt_board_destroy(&lane->board);
    kt_lane_close_past(lane);
    free(lane->sessions);
    free(lane->checkpoints);
    free(lane);
    *out = NULL;
}
