/* Snapshots: a timeline's pages, latents, tail and position by reference; 0 bytes of tensors are
 * copied (docs/design.md, invariant 2).
 *
 * Thread-safety: as engine.h. */
#ifndef KT_ENGINE_SNAPSHOT_H
#define KT_ENGINE_SNAPSHOT_H

#include "engine/engine.h"

/* Takes the state between blocks (after the t = 0 pass, which is run where it was not yet);
 * decoding can be taken back by one latent from it, not more. Errors: -EBUSY while a block is in
 * flight; -ENOBUFS when every snapshot is in use. */
int kt_timeline_snapshot(struct kt_timeline *t, struct kt_snapshot **s, struct kt_error *err);
struct kt_snapshot *kt_snapshot_ref(struct kt_snapshot *s);
void kt_snapshot_unref(struct kt_snapshot **s);
int64_t kt_snapshot_latents(const struct kt_snapshot *s);

/* Puts the timeline back (a block in flight is abandoned). Afterwards it generates bit for bit what
 * it would have, had it never gone on. The snapshot stays valid. */
int kt_timeline_restore(struct kt_timeline *t, const struct kt_snapshot *s, struct kt_error *err);
/* A new timeline from a snapshot, with its own future. */
int kt_timeline_fork(struct kt_engine *e, struct kt_timeline **t, const struct kt_snapshot *s,
                     struct kt_error *err);

#endif
