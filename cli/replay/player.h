/* Does again what a decision log says was done: the same engine calls in the same order, and
 * compares what comes out with the hashes that the log has.
 *
 * Needs no lane and no clock: a job's pictures depend on the jobs of its session and of what it
 * forked, not on when they ran or what ran between (docs/design.md, invariant 1).
 *
 * Thread-safety: one thread. */
#ifndef KT_CLI_REPLAY_PLAYER_H
#define KT_CLI_REPLAY_PLAYER_H

#include "engine/engine.h"
#include "engine/record.h"

#include <stdint.h>

struct kt_player;

struct kt_player_params {
    struct kt_engine *engine; /* the caller's; with the log's timelines, snapshots and contexts */
    const struct kt_board_params *board;
    int session; /* whose pictures are wanted, or -1: nobody's */
    /* Pictures of that session that came to the screen, in order: when a new epoch replaces
     * pictures that were sent and not shown, those never come here. 0 or a negative errno. */
    int (*show)(void *arg, const uint8_t *i420, struct kt_error *err);
    void *arg;
};

int kt_player_open(struct kt_player **p, const struct kt_player_params *params,
                   struct kt_error *err);
void kt_player_close(struct kt_player **p);

/* The next record. 0, or a negative errno and what differs: -EILSEQ a hash, -EPROTO records that no
 * lane writes in this order, else what the engine said. */
int kt_player_feed(struct kt_player *p, const struct kt_record *r, struct kt_error *err);
/* After the last record: shows what is left. -EPROTO: the log ends within a job. */
int kt_player_finish(struct kt_player *p, struct kt_error *err);

struct kt_player_counts {
    uint64_t jobs, latents, pictures, published; /* hashes compared; pictures sent */
};
void kt_player_get_counts(const struct kt_player *p, struct kt_player_counts *out);

#endif
