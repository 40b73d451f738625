/* The board: everything the scheduler knows about one device and its sessions, and the policy that
 * reads it. Events go in (commands, reports, finished jobs), the next job comes out. The essay is
 * in board.c.
 *
 * Pure: no clock, no device, no allocation after create; the same events at the same times give the
 * same jobs. A lane executes the jobs with an engine; a simulator executes them with a cost model;
 * a recorded log can be fed again and must give the same jobs.
 *
 * Times are milliseconds of the caller's clock; positions are latents or frames of a stream.
 * Thread-safety: one thread at a time. */
#ifndef KT_ENGINE_SCHED_BOARD_H
#define KT_ENGINE_SCHED_BOARD_H

#include "engine/sched/costs.h"
#include "engine/sched/job.h"
#include "engine/sched/wish.h"

#include <stdint.h>

/* A branch nobody has committed is rolled at most so far past the playhead that was reported last:
 * its pictures wait in memory. */
enum { KT_HELD_LATENTS_MAX = 12 };

struct kt_board;

struct kt_board_params {
    int sessions_max;
    int branches_max;    /* timelines beyond one a session, for drafts and switches; >= 1 */
    int checkpoints_max; /* hot snapshots in all */
    double fps;
    int steps_full, block_latents, first_frames, frames_per_latent;
    int window, sink; /* of the model, latents: what a full recache makes */
    int slack;        /* how far back a stream can be rewound without a snapshot, latents */
    int has_preview;
    struct kt_policy {
        int decode_lead;       /* latents decoded ahead of what was sent */
        int depth;             /* blocks made ahead of the decode lead, at most */
        int checkpoint_every;  /* latents between hot checkpoints; 0: none */
        int drafts;            /* 0: texts are encoded ahead, nothing is drawn ahead */
        double text_after_ms;  /* pause in typing before the text is encoded */
        double draft_after_ms; /* pause before a branch is begun */
        double draft_keep_ms;  /* a branch nobody commits is dropped after so long */
        double reserve_ms;     /* slack that work from slack must leave everybody */
        int drafts_first;      /* work from slack goes before filling a lead that is in no danger */
        int fifo;              /* the peers' way, for comparison: no drafts, no flush, prompts wait
                                  for the block in flight, sessions in turn */
    } policy;
};

void kt_policy_default(struct kt_policy *p);

/* -ENOMEM, -EINVAL. */
int kt_board_create(struct kt_board **b, const struct kt_board_params *p, struct kt_error *err);
void kt_board_destroy(struct kt_board **b);

/* ---- events ---- */

/* How far NEXT has come. */
enum kt_stage {
    KT_STAGE_NONE,
    KT_STAGE_TEXT,  /* a text waits to be encoded */
    KT_STAGE_CUT,   /* encoded; no branch yet */
    KT_STAGE_BLOCK, /* branched; its first block is being made */
    KT_STAGE_READY, /* first latent decoded: can be shown at once */
};

struct kt_session_settings {
    int steps;     /* 0: automatic */
    int steps_cap; /* at most so many when automatic (admission); 0: all */
    int drafts;    /* 0: none for this session */
    int depth;     /* speculative blocks; -1: the policy's */
    int preview;
};

void kt_board_open(struct kt_board *b, int session, double now,
                   const struct kt_session_settings *s);
void kt_board_settings(struct kt_board *b, int session, const struct kt_session_settings *s);
/* The text as it stands while somebody types; the latest wins. */
void kt_board_draft(struct kt_board *b, int session, double now, const struct kt_wish *w);
/* The text is blank or drafting was switched off: forget the draft. */
void kt_board_undraft(struct kt_board *b, int session);
/* Enter. Overtakes an earlier commit that has not taken effect (returned as its revision, or 0).
 * That one is kept until the new one has a branch of its own: should its text or its cut fail, the
 * earlier one is a commit again. */
uint32_t kt_board_commit(struct kt_board *b, int session, double now, const struct kt_wish *w);
/* Frames of `epoch` before `sent` were handed to the wire; before `shown`, shown. Reports about
 * other epochs are ignored. */
void kt_board_report(struct kt_board *b, int session, double now, uint32_t epoch, int64_t sent,
                     int64_t shown);
void kt_board_pause(struct kt_board *b, int session, int paused);
/* The executor drops what it holds for the session; the board forgets it. Not while a job of it is
 * out. */
void kt_board_close(struct kt_board *b, int session);

/* ---- jobs ---- */

struct kt_board_resources { /* what the executor has left */
    int pages_free, frames_free;
    int contexts_free; /* prompts that could be forgotten */
};

/* What to do now; KT_JOB_NONE: nothing until `wake_ms` (infinity: until an event). */
struct kt_job kt_board_next(struct kt_board *b, double now, const struct kt_board_resources *r);
/* The job is done; `now` is after it. */
void kt_board_done(struct kt_board *b, double now, const struct kt_job *job,
                   const struct kt_job_result *result);

/* ---- reading ---- */

struct kt_board_counters {
    uint64_t commits, hits, warm, cold,
        overtaken; /* hit: the branch was ready at Enter; warm: begun */
    uint64_t drafts, promotions, drops, evicted_drafts, evicted_checkpoints, evicted_blocks;
    double busy_ms, wasted_ms; /* device time in all; of branches and blocks never shown */
};
void kt_board_get_counters(const struct kt_board *b, struct kt_board_counters *out);

struct kt_board_session_info {
    int open, runnable, steps;
    double fps;     /* what the device sustains for it */
    double lead_ms; /* video decoded and not sent */
    int ahead;      /* latents made and not decoded */
    int next_stage; /* enum kt_stage */
    int checkpoints;
    int spare; /* an overtaken commit is kept */
    int64_t
        shown; /* frames before it were reported as shown, or lie before the cut that is shown */
    uint32_t epoch;
};
void kt_board_get_session(const struct kt_board *b, int session, double now,
                          struct kt_board_session_info *out);

/* May one more session be let in? Steps per block it can have (at most steps_full) without anybody
 * falling below the frame rate, or 0: not now. Costs never measured count as free. */
int kt_board_admit(const struct kt_board *b);

/* Running means, kept by kt_board_done; a simulator or a test may set them. */
struct kt_costs *kt_board_costs(struct kt_board *b);

#endif
