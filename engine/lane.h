/* A lane: the one thread that owns a device, and the two bounded rings through which the server
 * meets it.
 *
 * The server posts commands (never waits; -EAGAIN when the ring is full) and takes events when
 * woken. Frames travel as references to a fixed pool. The lane decides what to compute next
 * (engine/sched); it generates for a session while less than `decode_lead` latents lie decoded
 * beyond what the server says it has sent.
 *
 * A session is one timeline plus its prompt state. Words as in docs/design.md: `epoch` goes up when
 * a prompt takes effect; `frame` is the timeline's video frame index; a cut may bring it back by a
 * few frames, never below what was sent.
 *
 * Thread-safety: post, poll, frame release and stats belong to the server's loop thread, except
 * kt_frame_ref/unref, which any thread may call. `wake` is called on the lane's thread and must
 * only signal (uv_async_send). */
#ifndef KT_ENGINE_LANE_H
#define KT_ENGINE_LANE_H

#include "engine/base/error.h"
#include "engine/base/nv12.h"
#include "engine/engine.h"
#include "engine/sched/wish.h"

#include <stdint.h>

struct kt_lane;

enum kt_command_kind {
    KT_COMMAND_OPEN,   /* session, seed, steps, text (may be empty: waits for the first prompt) */
    KT_COMMAND_PROMPT, /* session, revision, text, transition, cut: commit; the latest wins */
    KT_COMMAND_SENT,   /* session, epoch, frame: every frame before `frame` of `epoch` was handed to
                          the wire */
    KT_COMMAND_PAUSE,  /* session */
    KT_COMMAND_RESUME, /* session */
    KT_COMMAND_RESET,  /* session, seed: new timeline under the current prompt; epoch goes up */
    KT_COMMAND_STEPS,  /* session, steps: 0 automatic, else fixed */
    KT_COMMAND_CLOSE,  /* session: answered by CLOSED; its id may be used again after that */
};

struct kt_command {
    enum kt_command_kind kind;
    uint32_t session; /* chosen by the server, 0 .. sessions_max - 1 */
    uint32_t revision;
    uint32_t epoch;
    int64_t frame;
    uint64_t seed;
    int steps;
    enum kt_transition transition;
    enum kt_cut cut;
    char *text; /* malloc'ed, NUL-terminated; the lane takes it when post returns 0; NULL where none
                   is due */
    int64_t posted_ns; /* filled by post */
};

/* One decoded picture in host memory, I420, planes dense: y [h][w], u [h/2][w/2], v. A lane whose
 * device can hand the picture to an encoder there fills in `nv12` (beside data, or data is NULL);
 * no lane does yet. */
struct kt_frame {
    uint8_t *data;
    struct kt_nv12 nv12;
    int width, height;
    uint32_t session, epoch, revision;
    int64_t frame; /* timeline frame index */
    int first_of_epoch;
    struct kt_frame_timings { /* milliseconds of the work this frame came from */
        float queue, text, recache, denoise, decode, convert;
    } ms;
    int steps;
    int64_t decoded_ns; /* kt_now_ns when the picture was ready */
};

struct kt_frame *kt_frame_ref(struct kt_frame *f);
void kt_frame_unref(struct kt_frame **f); /* NULL and *NULL accepted */

enum kt_event_kind {
    KT_EVENT_READY,   /* warm-up is over (ms: how long it took), or failed (error set) */
    KT_EVENT_FRAME,   /* frame: one reference for the receiver */
    KT_EVENT_APPLIED, /* session, revision, epoch, frame: the first frame under the prompt */
    KT_EVENT_FAILED,  /* session, revision, error: a prompt or the session failed; old frames go on
                       */
    KT_EVENT_PACE,    /* session, fps, steps: what the device sustains for it now (sent when it
                         changes) */
    KT_EVENT_CLOSED,  /* session */
};

struct kt_event {
    enum kt_event_kind kind;
    uint32_t session, revision, epoch;
    int64_t frame_index;
    struct kt_frame *frame;
    float fps, ms;
    int steps;
    struct kt_error error;
};

struct kt_lane_params {
    struct kt_engine
        *engine;      /* stays the caller's; must not be used by it until the lane is closed */
    int sessions_max; /* 0: 1 */
    int decode_lead_latents; /* 0: 2 */
    void (*wake)(void *arg);
    void *wake_arg;
};

struct kt_lane_stats { /* counters since open, readable from the loop thread */
    uint64_t blocks, steps, recaches, decodes, frames, abandoned_blocks, discarded_frames;
    uint64_t commands_dropped, events_stalled;
    double busy_ms, last_text_ms, last_recache_ms, last_decode_ms;
    int frames_free, frames_total;
};

/* Starts the thread; warm-up runs there and ends in a READY event. */
int kt_lane_open(struct kt_lane **lane, const struct kt_lane_params *p, struct kt_error *err);
/* Stops at the next step boundary, joins; undelivered events are dropped and their frames released.
 * Frames still referenced elsewhere must have been released before. */
void kt_lane_close(struct kt_lane **lane);

/* 0, -EAGAIN when the ring is full (the caller keeps cmd->text), -EINVAL. */
int kt_lane_post(struct kt_lane *lane, const struct kt_command *cmd);
/* 1 and an event, or 0. */
int kt_lane_poll(struct kt_lane *lane, struct kt_event *out);
void kt_lane_get_stats(struct kt_lane *lane, struct kt_lane_stats *out);

#endif
