/* Inside of the lane, shared by the files of engine/lane/; nobody else includes it.
 *
 * lane.c   the thread, the rings, the server's side
 * frames.c the pool of pictures
 * tell.c   commands: what the server says
 * work.c   jobs: what the board says
 * past.c   the archive of cold latents
 * note.c   what is told to the outside: events, statistics, the decision log */
#ifndef KT_ENGINE_LANE_PARTS_H
#define KT_ENGINE_LANE_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "engine/base/ring.h"
#include "engine/lane.h"

enum {
    KT_LANE_COMMANDS = 256,
    KT_LANE_EVENTS = 512,
    KT_LANE_EVENTS_PER_JOB = 64, /* the most one job or command puts */
    KT_LANE_LATENTS_NOTED = 16,  /* more than can wait for their decode */
    KT_LANE_HELD_LATENTS = 4,    /* a branch's pictures that wait for its promotion */
    KT_LANE_HELD_MAX = 64,
    KT_LANE_DEPTH_MAX = 8,
    KT_LANE_IDLE_MS = 100, /* an idle lane looks up this often, for stop and released frames */
};

struct lane_frame {
    struct kt_frame public; /* first: kt_frame pointers are these */
    struct kt_lane *lane;
    uint64_t hash;
    atomic_int refs; /* taken by the lane, dropped on any thread */
};

struct lane_track {
    struct kt_timeline *timeline; /* NULL: none */
    uint32_t serial;              /* of the timeline, in the decision log */
    struct kt_context *context;   /* the prompt it draws, or moves to */
    struct kt_context *blend_from;
    struct kt_wish wish; /* what it was made for */
    char *text;
    int64_t cut_at; /* the latent it began at */
    int resumed;    /* from the archive, with the sink that was kept */
    int committed;  /* NEXT: somebody waits for it */
    int told_ready;
    int64_t posted_ns; /* since then */
    struct kt_frame_timings ms;
    double block_ms;                         /* of the block in flight so far */
    int steps;                               /* of that block */
    float denoise_ms[KT_LANE_LATENTS_NOTED]; /* what latent i's block took, at i % noted */
    int64_t next_frame;                      /* index of the next decoded frame */
    struct lane_frame *held[KT_LANE_HELD_MAX];
    int held_count;
};

struct lane_wish { /* a text that has not become a track */
    char *text;    /* NULL: none */
    struct kt_wish wish;
    struct kt_context *context; /* when it is encoded */
    int64_t posted_ns;
    float text_ms;
};

struct lane_session {
    int in_use, paused;
    uint64_t seed;
    uint32_t epoch, revision;
    int first_of_epoch, flush;
    int retried; /* a cut that reached too far back is tried again, elsewhere */
    struct kt_session_settings settings;
    struct lane_wish draft, commit;
    struct lane_wish spare; /* what `commit` overtook, as the board keeps it */
    struct lane_track live, next;
    struct kt_lane_past past; /* guarded by the lane's lock */
    double fps_told;
    int steps_told;
};

struct lane_checkpoint {
    struct kt_snapshot *snapshot;
    int session;
};

struct kt_lane {
    struct kt_engine *engine;
    struct kt_engine_info info;
    struct kt_lane_params p;
    int steps_full, checkpoints_max;
    int64_t opened_ns;
    pthread_t thread;
    int thread_started;
    uint8_t *pictures, *decode_buffer;
    size_t picture_bytes;
    struct kt_board *board;
    struct lane_session *sessions;
    struct lane_checkpoint *checkpoints;
    struct kt_archive *archive; /* NULL: none */
    float *latent;              /* one, on its way there */
    uint32_t serials;
    double wake_ms;            /* when the board wants to be asked again */
    struct kt_lane_stats mine; /* the lane thread's own copy, published by kt_lane_publish_stats */

    pthread_mutex_t lock; /* guards from here on */
    pthread_cond_t woken;
    int stop;
    struct kt_ring commands, events;
    struct lane_frame *frames;
    int frame_count;
    struct kt_lane_stats stats;
};

double kt_lane_now(const struct kt_lane *lane); /* ms since it was opened */

/* ---- frames.c ---- */
int kt_lane_init_frames(struct kt_lane *lane); /* -ENOMEM */
struct lane_frame *kt_lane_take_frame(struct kt_lane *lane);
int kt_lane_free_frames(struct kt_lane *lane);
void kt_lane_release_passed(struct kt_lane *lane, int session);
int64_t kt_lane_frames_before(const struct kt_lane *lane, int64_t latent);

/* ---- tell.c ---- */
void kt_lane_run_command(struct kt_lane *lane, struct kt_command *c);
void kt_lane_close_session(struct kt_lane *lane, int session);
void kt_lane_forget_wish(struct lane_wish *w);

/* ---- work.c ---- */
void kt_lane_run_job(struct kt_lane *lane, const struct kt_job *job,
                     const struct kt_board_resources *r, double picked_ms);
void kt_lane_forget_track(struct lane_track *t);

/* ---- past.c ---- */
int kt_lane_open_past(struct kt_lane *lane, struct kt_error *err);
void kt_lane_close_past(struct kt_lane *lane);
void kt_lane_past_end(struct kt_lane *lane, int session);
void kt_lane_past_grow(struct kt_lane *lane, int session);
void kt_lane_past_promoted(struct kt_lane *lane, int session);
int kt_lane_past_resume(struct kt_lane *lane, const struct kt_job *job, struct kt_context *context,
                        struct kt_timeline **t, struct kt_error *err);
void kt_lane_past_note(struct kt_lane *lane, int session);

/* ---- note.c ---- */
void kt_lane_put_event(struct kt_lane *lane, const struct kt_event *e);
void kt_lane_put_failure(struct kt_lane *lane, int session, uint32_t revision,
                         const struct kt_error *err);
void kt_lane_note_stage(struct kt_lane *lane, enum kt_job_kind kind, double ms);
void kt_lane_publish_stats(struct kt_lane *lane);
void kt_lane_tell_pace(struct kt_lane *lane, int session);
/* `as`: what the board is told, when that is another command than came. */
void kt_lane_record_command(struct kt_lane *lane, const struct kt_command *c,
                            enum kt_command_kind as, double now);
void kt_lane_record(struct kt_lane *lane, struct kt_record *r);

#endif
