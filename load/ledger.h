/* One client's commits, from Enter to the first picture of the prompt on the screen.
 *
 * A commit is open until its first picture was shown, a later commit was applied in its place, it
 * failed, or the run ends. Pictures are told apart by epoch, which `applied` gives to a revision;
 * previews by revision, since they come before it. At most KT_COMMITS_OPEN_MAX are open: the oldest
 * is closed as unanswered when there is one more.
 *
 * Thread-safety: plain data, one thread at a time. */
#ifndef KT_LOAD_LEDGER_H
#define KT_LOAD_LEDGER_H

#include "proto/media.h"

#include <stdint.h>

enum { KT_COMMITS_OPEN_MAX = 32 };

enum kt_commit_end {
    KT_COMMIT_OPEN,
    KT_COMMIT_SHOWN,
    KT_COMMIT_PASSED,    /* applied, but a later one was on the screen before its first picture */
    KT_COMMIT_OVERTAKEN, /* a later one was applied, this one never */
    KT_COMMIT_FAILED,
    KT_COMMIT_UNANSWERED, /* when the run ended */
    KT_COMMIT_END_COUNT
};

/* How far the draft of the text was when it was committed. */
enum kt_hit { KT_HIT_COLD, KT_HIT_BEGUN, KT_HIT_READY, KT_HIT_COUNT };

/* Moments are microseconds of the client's clock; 0: has not happened. */
struct kt_commit {
    enum kt_commit_end end;
    int client, rev, pause_ms;
    int opening; /* nothing was on the screen yet: this is no switch */
    int applied;
    enum kt_hit hit;
    uint32_t epoch;
    char cut[8]; /* the rule that the server followed; "" where it does not say */
    int64_t sent_us, applied_us, received_us, decoded_us, shown_us;
    int64_t preview_received_us, preview_shown_us;
    int64_t transit_us;                /* of the first picture, by the best pings; -1 unknown */
    uint16_t timings[KT_TIMING_COUNT]; /* of the first picture, 0.1 ms */
};

struct kt_ledger {
    struct kt_commit open[KT_COMMITS_OPEN_MAX]; /* in the order sent */
    int count;
    void *arg;
    void (*closed)(void *arg, const struct kt_commit *c);
};

void kt_ledger_add(struct kt_ledger *l, const struct kt_commit *c);
/* The same commit travels under another revision (it was sent again behind a whole text). */
void kt_ledger_rename(struct kt_ledger *l, int from, int to);
void kt_ledger_applied(struct kt_ledger *l, const struct kt_commit *news, int64_t now_us);
void kt_ledger_failed(struct kt_ledger *l, int rev);
/* The open commit that waits for the first picture of this epoch to arrive or be decoded or shown;
 * NULL when none does. */
struct kt_commit *kt_ledger_of_epoch(struct kt_ledger *l, uint32_t epoch);
struct kt_commit *kt_ledger_of_revision(struct kt_ledger *l, uint32_t revision);
/* A picture of this epoch is on the screen. */
void kt_ledger_shown(struct kt_ledger *l, uint32_t epoch, int64_t now_us);
void kt_ledger_end(struct kt_ledger *l);

#endif
