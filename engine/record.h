/* One line of the decision log: what a lane was told, what it decided, and what came out.
 *
 * The records of a run, in order, are enough to make every picture that was shown again, bit for
 * bit (docs/design.md, invariant 1: `kinetype replay`), and to ask the policy again (invariant 5:
 * the simulator).
 *
 * Thread-safety: plain data. */
#ifndef KT_ENGINE_RECORD_H
#define KT_ENGINE_RECORD_H

#include "engine/sched/board.h"

#include <stdint.h>

enum { KT_RECORD_HASHES_MAX = 8 };

enum kt_record_kind {
    KT_RECORD_COMMAND, /* what the lane was told */
    KT_RECORD_JOB,     /* what it did then */
    KT_RECORD_PUBLISH, /* a picture on its way to the screen */
    KT_RECORD_GAP,     /* `count` records were lost: the log's queue was full */
};

struct kt_record {
    enum kt_record_kind kind;
    double t_ms; /* of the lane's clock, 0 when it was opened; JOB: when it ended */
    int session;
    /* COMMAND */
    int command; /* enum kt_command_kind */
    struct kt_wish wish;
    struct kt_session_settings settings;
    int64_t sent, shown;
    const char *text; /* OPEN, DRAFT, COMMIT: the lane's, valid during the call */
    /* JOB */
    struct kt_job job;
    struct kt_job_result result;
    struct kt_board_resources resources; /* as the policy saw them when it chose the job */
    double picked_ms;                    /* the clock that it saw */
    uint32_t timeline,
        parent;     /* serial numbers of the track's timeline; CUT: and of what it forked */
    int hash_count; /* COMMIT: one a latent; DECODE: one a frame */
    uint64_t hash[KT_RECORD_HASHES_MAX];
    /* PUBLISH (and which timeline) */
    uint32_t epoch, revision;
    int64_t frame;
    uint64_t picture; /* its hash */
    int preview;
    uint64_t count; /* GAP */
};

#endif
