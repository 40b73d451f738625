/* Asking the policy again: a decision log (docs/log.md) is fed to a fresh board, with the commands,
 * reports and job results at the times at which the live lane had them, and the board must choose
 * the same jobs.
 *
 * Thread-safety: one thread at a time. */
#ifndef KT_SIM_REPLAY_H
#define KT_SIM_REPLAY_H

#include "engine/base/error.h"

#include <stdint.h>

struct kt_sim_replay {
    uint64_t commands, jobs, pictures; /* agreed with, up to the end or the first disagreement */
    int sessions_max;
    double seconds; /* of the lane's clock */
    int line;       /* of the first disagreement, 0: none */
};

/* 0: the board agrees with every line. -ESTALE: it does not; the message names the first line and
 * what differs. -EBADMSG and others: the log cannot be used (a gap in it, too). */
int kt_sim_replay(const char *path, struct kt_sim_replay *out, struct kt_error *err);

#endif
