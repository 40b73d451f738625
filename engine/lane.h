/* A lane: the one thread that owns a device, and the two bounded rings through which the server
 * meets it.
 *
 * The server posts commands (never waits; -EAGAIN when the ring is full) and takes events when
 * woken. Frames travel as references to a fixed pool. What is computed next is the board's to say
 * (engine/sched/board.h); the lane does it and tells the board.
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
#include "engine/record.h"
#include "engine/sched/board.h"

#include <stdint.h>

struct kt_lane;

enum kt_command_kind {
    KT_COMMAND_OPEN,   /* wish (fresh; or `from` and `at`: a fork), text, settings; an empty text
                          waits   for the first prompt */
    KT_COMMAND_DRAFT,  /* wish, text: what stands in the editor now; an empty text forgets the draft
                        */
    KT_COMMAND_PROMPT, /* wish, text: commit; the latest wins */
    KT_COMMAND_REPORT, /* epoch, sent, shown: every frame before `sent` of `epoch` was handed to the
                          wire, every frame before `shown` was on the screen */
    KT_COMMAND_PAUSE,
    KT_COMMAND_RESUME,
    KT_COMMAND_RESET,  /* wish.seed: a new stream under the current prompt; epoch goes up */
    KT_COMMAND_REWIND, /* frame: the stream goes on from the latent of that frame; epoch goes up */
    KT_COMMAND_SETTINGS, /* settings */
    KT_COMMAND_CLOSE,    /* answered by CLOSED; the id may be used again after that */
};

struct kt_command {
    enum kt_command_kind kind;
    uint32_t session;    /* chosen by the server, 0 .. sessions_max - 1 */
    struct kt_wish wish; /* key is filled in by the lane */
    struct kt_session_settings settings;
    uint32_t epoch;
    int64_t sent, shown;
    int64_t frame;
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
    int flush;   /* first_of_epoch: replaces what was sent and not shown; else that plays out */
    int preview; /* a first idea of the coming epoch, for its own stream id */
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
    KT_EVENT_DRAFTED, /* session, revision, stage: the draft's text is encoded (again, when its
                         pictures were given up), or its first pictures are ready */
    KT_EVENT_APPLIED, /* session, revision, epoch, frame: the first frame under the prompt; hit;
                         flush. Decoded frames of older epochs from that index on are void */
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
    int stage; /* DRAFTED */
    int hit;   /* APPLIED: 2 the branch was ready at Enter, 1 begun, 0 cold */
    int flush; /* APPLIED */
    struct kt_error error;
};

struct kt_lane_params {
    struct kt_engine
        *engine;      /* stays the caller's; must not be used by it until the lane is closed */
    int sessions_max; /* 0: 1 */
    struct kt_policy policy;
    size_t archive_bytes; /* host memory for cold latents of all sessions; 0: none are kept */
    void (*wake)(void *arg);
    void *wake_arg;
    /* The decision log, or NULL; called on the lane's thread, must not wait. */
    void (*record)(void *arg, const struct kt_record *r);
    void *record_arg;
};

enum { KT_HISTOGRAM = 16 };

/* Device time of one kind of work: bucket i counts pieces of up to kt_stage_bound_ms(i). */
struct kt_stage_stats {
    uint64_t count, bucket[KT_HISTOGRAM];
    double sum_ms;
};

double kt_stage_bound_ms(int bucket); /* infinity for the last */

struct kt_lane_stats { /* counters since open, readable from the loop thread */
    struct kt_board_counters board;
    struct kt_costs costs;
    struct kt_stage_stats stage[KT_JOB_KINDS];   /* by job kind */
    uint64_t frames, previews, discarded_frames; /* decoded; decoded and never published */
    uint64_t commands_dropped, events_stalled, records;
    int commands_waiting, events_waiting;
    int frames_free, frames_total;
    int pages_used, pages_max, tails_used, contexts_used;
    size_t archive_bytes;
    int sessions_open, drafts_now, depth_now; /* latents made and not decoded, all sessions */
    int admit_steps;                          /* what kt_board_admit says now */
};

/* What the lane's board is made with: the decision log's head carries it. */
void kt_lane_board_params(const struct kt_lane_params *p, struct kt_board_params *out);

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

/* The frames of a session's stream that a rewind can reach: [first, end), -1 without a stream. A
 * rewind lands on the last position kept that is not after the frame asked for. */
struct kt_lane_past {
    int64_t first, end;
};
void kt_lane_get_past(struct kt_lane *lane, uint32_t session, struct kt_lane_past *out);

#endif
