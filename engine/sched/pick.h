/* What a lane computes next. Pure: states in, a job out; no clock of its own, no side effect.
 *
 * Thread-safety: pure function. */
#ifndef KT_ENGINE_SCHED_PICK_H
#define KT_ENGINE_SCHED_PICK_H

#include <stdint.h>

enum kt_job_kind {
    KT_JOB_NONE,
    KT_JOB_PROMPT, /* encode the committed text, cut, recache */
    KT_JOB_BEGIN,  /* start a block */
    KT_JOB_STEP,   /* one denoising step */
    KT_JOB_COMMIT, /* the t = 0 pass */
    KT_JOB_DECODE, /* one latent to frames */
};

struct kt_sched_session {
    int runnable;       /* has a timeline or a prompt to make one from, not paused */
    int prompt_waiting; /* a commit that has not taken effect */
    int has_timeline;
    int block_active, steps_left;
    int64_t undecoded; /* finished latents not decoded yet */
    double lead_ms;    /* decoded video not yet sent: time until this session shows a hole */
    int frames_free;   /* pool frames this session may still take */
};

struct kt_sched_limits {
    double lead_ms_max; /* decode lead: no decode beyond it */
    int undecoded_max;  /* no new block while that many latents wait */
    int frames_per_latent;
    int first; /* the session that wins among equals: the one after the last that was served */
};

struct kt_job {
    enum kt_job_kind kind;
    int session;
};

struct kt_job kt_sched_pick(const struct kt_sched_session *sessions, int count,
                            const struct kt_sched_limits *limits);

#endif
