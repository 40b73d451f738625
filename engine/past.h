/* How a stream's life is written into the archive of cold latents, and how a timeline comes back
 * from it. The lane and the replay of its log both do this, and must do the same: a replay that
 * archived otherwise would resume otherwise.
 *
 * Thread-safety: as the archive. */
#ifndef KT_ENGINE_PAST_H
#define KT_ENGINE_PAST_H

#include "engine/engine.h"
#include "engine/kv/archive.h"
#include "engine/sched/wish.h"

/* A branch that has just become what is shown. */
struct kt_past_branch {
    const struct kt_timeline *timeline;
    const struct kt_wish *wish; /* what it was made for */
    const char *text;
    uint64_t seed;  /* of the session */
    int64_t cut_at; /* the latent it began at */
    int resumed;    /* from the archive, with the sink that was kept */
};

/* Archives it under `stream`, with its latents from `cut_at` on. `latent` holds one of them. */
void kt_past_promoted(const struct kt_engine *e, struct kt_archive *a, int stream,
                      const struct kt_past_branch *b, float *latent);
/* Archives latents [from, end) of `t`. One that cannot be read leaves a gap, which the archive
 * knows. */
void kt_past_put(struct kt_archive *a, int stream, const struct kt_timeline *t, int64_t from,
                 float *latent);
/* A timeline under `context` from the reachable position `at`. Errors: -ERANGE when it is not
 * reachable; those of kt_context_from_text and kt_timeline_resume. */
int kt_past_resume(struct kt_engine *e, struct kt_archive *a, int stream, int64_t at,
                   struct kt_context *context, struct kt_timeline **t, struct kt_error *err);

#endif
