/* The pieces of work that a device's time is cut into.
 *
 * Thread-safety: plain data. */
#ifndef KT_ENGINE_SCHED_JOB_H
#define KT_ENGINE_SCHED_JOB_H

#include <stdint.h>

enum kt_job_kind {
    KT_JOB_NONE,
    /* device work */
    KT_JOB_TEXT,  /* encode the prompt of the session's wish */
    KT_JOB_CUT,   /* make NEXT: see kt_job.source; recache `recache` latents under the new prompt */
    KT_JOB_BEGIN, /* start a block of `steps` steps on `track` */
    KT_JOB_STEP,  /* one denoising step */
    KT_JOB_COMMIT, /* the block's latents are finished: they can be decoded */
    KT_JOB_CACHE, /* the t = 0 pass: keys and values of a finished block, for what comes after it */
    KT_JOB_DECODE, /* one latent to frames; NEXT's frames are held until it is promoted */
    KT_JOB_BLEND, /* the next stage of a blend between blocks: another context, few latents recached
                   */
    KT_JOB_PREVIEW, /* the first latent of NEXT's block as far as it is known, as preview frames */
    /* list work, at no cost */
    KT_JOB_PROMOTE,      /* NEXT becomes LIVE, shown from `frame` on */
    KT_JOB_DROP,         /* NEXT is thrown away */
    KT_JOB_CHECKPOINT,   /* hot snapshot of LIVE, numbered `slot` */
    KT_JOB_UNCHECKPOINT, /* drop snapshot `slot` */
    KT_JOB_TRIM,         /* LIVE forgets its latents from `at` on */
    KT_JOB_KINDS,
};

const char *kt_job_name(enum kt_job_kind kind);

enum kt_track {
    KT_TRACK_LIVE, /* what is shown */
    KT_TRACK_NEXT, /* a branch: a draft, or a commit on its way to the screen */
};

enum kt_source {                       /* where a CUT begins */
                 KT_SOURCE_NOTHING,    /* a new stream */
                 KT_SOURCE_LIVE,       /* session `from`'s LIVE, rewound to `at` */
                 KT_SOURCE_CHECKPOINT, /* snapshot `slot`, rewound to `at` */
                 KT_SOURCE_ARCHIVE,    /* session `from`'s cold latents before `at` */
};

struct kt_job {
    enum kt_job_kind kind;
    int session;
    enum kt_track track;
    enum kt_source source;
    int from, slot, steps;
    int recache;    /* CUT, BLEND: latents; 0: all that the model needs */
    int64_t at;     /* CUT, TRIM: latent */
    int64_t frame;  /* PROMOTE: first frame shown */
    int flush;      /* PROMOTE: pictures sent and not shown are replaced */
    int hit;        /* PROMOTE: 2 ready at Enter, 1 begun, 0 cold */
    int committed;  /* TEXT, CUT: somebody waits for it */
    int evict;      /* DROP, UNCHECKPOINT, TRIM: somebody else needs the memory */
    double weight;  /* BLEND, CUT: of the new context, 0..1 */
    double wake_ms; /* NONE */
};

struct kt_job_result {
    int rc;     /* 0, or a negative errno: the track (TEXT, CUT: the wish) is given up */
    double ms;  /* device time it took */
    int cached; /* TEXT: the LRU had it; CACHE: other work had done it */
    int frames; /* DECODE: how many; CUT, BLEND: latents recached */
    int64_t latents, decoded; /* of the track afterwards */
};

#endif
