/* Everything that a run counts, over all its clients. Bounded: commits beyond KT_COMMITS_KEPT_MAX
 * are counted but not kept, samples are drawn (tally.h), error codes beyond the list fall under
 * "other".
 *
 * Thread-safety: plain data, one thread at a time. */
#ifndef KT_LOAD_RESULTS_H
#define KT_LOAD_RESULTS_H

#include "load/ledger.h"
#include "load/tally.h"

#include <stdint.h>

enum { KT_COMMITS_KEPT_MAX = 16384, KT_ERROR_CODES_MAX = 16 };

struct kt_error_count {
    char code[32];
    int64_t n;
};

struct kt_load_results {
    /* clients */
    int clients, opened, refused, queued, lost; /* lost: closed before the end */
    struct kt_tally queue_ms;                   /* from `queued` to `welcome` */
    /* commits */
    struct kt_commit *commits; /* owned */
    int commit_count;
    int64_t commits_sent, commits_ended[KT_COMMIT_END_COUNT], edits_sent, resyncs;
    /* pictures */
    int64_t received, previews, bytes, gaps, keys, late, missed, flushed, overflowed, outdated;
    int64_t decode_errors, bad_messages, key_requests, wrong_revision;
    int64_t disordered; /* pictures of an older epoch, or previews of one that is there, arrived */
    int64_t shown, stale, stalls, stall_us, stall_longest_us, rebased;
    struct kt_tally stage_ms[KT_TIMING_COUNT], transit_ms, decode_ms, fps, rtt_ms;
    struct kt_error_count errors[KT_ERROR_CODES_MAX];
    /* what the server is */
    char model[64], codec[16];
    int width, height, target_fps, steps; /* steps: 0 is automatic */
    int steps_lowest;                     /* that any client was told; 0: none */
    int64_t begin_us;
    double seconds;
    char problem[256]; /* the first broken thing, in words */
};

void kt_results_free(struct kt_load_results *r);
/* A ledger's `closed`; arg is the kt_load_results. */
void kt_results_commit(void *arg, const struct kt_commit *c);
void kt_results_error(struct kt_load_results *r, const char *code);
/* Keeps the first one. */
void kt_results_problem(struct kt_load_results *r, const char *text);

#endif
