/* A world: devices, sessions that come and go and type, a front door that places them, and a
 * virtual clock. The same parameters give the same report, bit for bit.
 *
 * Thread-safety: one thread at a time. */
#ifndef KT_SIM_WORLD_H
#define KT_SIM_WORLD_H

#include "sim/device.h"
#include "sim/person.h"
#include "sim/viewer.h"

enum kt_sim_door {
    KT_SIM_DOOR_BOARD, /* kt_board_admit, the least loaded device first; others queue */
    KT_SIM_DOOR_ALL,   /* everybody is let in while there are places */
};

struct kt_sim_params {
    int devices, sessions;
    int places; /* a device has; 0: 16 */
    double seconds;
    double warm_seconds; /* at the start, that latencies and holes are not counted for */
    uint64_t seed;
    struct kt_sim_costs costs;
    double jitter;
    struct kt_policy policy;
    struct kt_session_settings settings; /* {0}: automatic steps, drafts by policy */
    enum kt_cut cut;
    int recache; /* as kt_wish.recache */
    struct kt_sim_people people;
    struct kt_sim_network net;
    double net_spread; /* each session's delays are these times 1 - spread .. 1 + spread */
    enum kt_sim_door door;
    double arrive_s;           /* sessions come within so long, evenly; 0: all at once */
    struct kt_sim_span stay_s; /* how long they stay; {0}: to the end */
    int pages_percent;         /* of the memory that an engine would have; 0: 100 */
    double patience_s;         /* a commit or a stream that waits longer starves; 0: no check */
    const struct kt_sim_hooks *hooks;
};

void kt_sim_params_default(struct kt_sim_params *p, const struct kt_sim_costs *costs);

struct kt_sim_sample {           /* one Enter that was shown */
    float shown_ms, received_ms; /* since Enter */
    float pause_ms;              /* before Enter */
    float preview_ms;            /* its preview was there, since Enter; negative: it had none */
    uint8_t hit;                 /* 2 ready, 1 begun, 0 cold */
};

struct kt_sim_report {
    double seconds;
    int sessions_in, sessions_queued, sessions_left; /* let in ever; still waiting; gone */
    int queued_ever, at_once_max;                    /* on one device at once, at most */
    double queue_ms_mean, queue_ms_max;
    struct kt_sim_sample *samples;
    size_t sample_count, sample_cap;
    uint64_t commits, applied, overtaken, open_commits; /* open: neither, at the end */
    uint64_t hits, warm, cold;                          /* of applied ones */
    int64_t jump_max;                                   /* of one of them */
    int64_t jump_frames; /* that cuts at the playhead skipped of the stream, in all */
    uint64_t flushes;
    uint64_t pictures, holes, holey_sessions, stale, backwards, unshown;
    double hole_ms, hole_max_ms, playing_ms, start_ms_mean;
    double slow_ms; /* of playing_ms, below the full frame rate */
    double busy_ms, useful_ms, wasted_ms, undecided_ms, device_ms;
    double board_busy_ms, board_wasted_ms;
    uint64_t jobs[KT_JOB_KINDS];
    double job_ms[KT_JOB_KINDS];
    uint64_t starved;
    double wait_max_ms; /* the longest that a commit or a stream waited */
    int pages_used_max, pages_max, tails_used_max, tails_max, frames_used_max, frames_max;
    struct kt_sim_faults faults;
    uint64_t events;
};

/* 0 and a report (finish it), -EINVAL, -ENOMEM. */
int kt_sim_run(const struct kt_sim_params *p, struct kt_sim_report *out, struct kt_error *err);
void kt_sim_report_finish(struct kt_sim_report *r);

#endif
