#include "engine/sched/job.h"

const char *kt_job_name(enum kt_job_kind kind)
{
    static const char *const names[KT_JOB_KINDS] = {
        [KT_JOB_NONE] = "none",
        [KT_JOB_TEXT] = "text",
        [KT_JOB_CUT] = "cut",
        [KT_JOB_BEGIN] = "begin",
        [KT_JOB_STEP] = "step",
        [KT_JOB_COMMIT] = "commit",
        [KT_JOB_CACHE] = "cache",
        [KT_JOB_DECODE] = "decode",
        [KT_JOB_BLEND] = "blend",
        [KT_JOB_PREVIEW] = "preview",
        [KT_JOB_PROMOTE] = "promote",
        [KT_JOB_DROP] = "drop",
        [KT_JOB_CHECKPOINT] = "checkpoint",
        [KT_JOB_UNCHECKPOINT] = "uncheckpoint",
        [KT_JOB_TRIM] = "trim",
    };
    return (int)kind >= 0 && kind < KT_JOB_KINDS ? names[kind] : "?";
}
