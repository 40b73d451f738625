/* Hot snapshots: a timeline's lists and references, copied; its tensors, not. Bytes of tensors
 * moved while one is taken or put back are measured at the device and must stay 0 (docs/design.md,
 * invariant 2). */
#include <errno.h>

#include "engine/base/assert.h"
#include "engine/parts.h"
#include "engine/snapshot.h"

int kt_timeline_snapshot(struct kt_timeline *t, struct kt_snapshot **out, struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    if (t->block.active) {
        return kt_fail(err, -EBUSY, "snapshot: a block is in flight");
    }
    int rc = kt_timeline_block_cache(t, err);
    if (rc < 0) {
        return rc;
    }
    uint64_t copied = e->dev->stats.bytes_copied;
    for (int i = 0; i < e->snapshots_max; i++) {
        struct kt_snapshot *s = &e->snapshots[i];
        if (s->refs == 0) {
            s->engine = e;
            s->refs = 1;
            s->seed = t->seed;
            s->context = kt_context_ref(t->context);
            kt_history_copy(&s->history, &t->history);
            kt_history_trim_tails(&s->history, KT_SNAPSHOT_TAILS);
            e->snapshot_bytes_copied += e->dev->stats.bytes_copied - copied;
            *out = s;
            return 0;
        }
    }
    return kt_fail(err, -ENOBUFS, "all %d snapshots are in use", e->snapshots_max);
}

struct kt_snapshot *kt_snapshot_ref(struct kt_snapshot *s)
{
    if (s) {
        KT_ASSERT(s->refs > 0);
        s->refs++;
    }
    return s;
}

void kt_snapshot_unref(struct kt_snapshot **s)
{
    if (!s || !*s) {
        return;
    }
    KT_ASSERT((*s)->refs > 0);
    if (--(*s)->refs == 0) {
        kt_history_clear(&(*s)->history);
        kt_context_unref(&(*s)->context);
    }
    *s = NULL;
}

int64_t kt_snapshot_latents(const struct kt_snapshot *s)
{
    return s->history.latents;
}

int kt_timeline_restore(struct kt_timeline *t, const struct kt_snapshot *s, struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    uint64_t copied = e->dev->stats.bytes_copied;
    struct kt_context *old = t->context;
    if (s->engine != e || s->refs < 1) {
        return kt_fail(err, -EINVAL, "restore: the snapshot is not of this engine");
    }
    kt_timeline_block_abandon(t);
    kt_timeline_forget_cache(t);
    kt_history_clear(&t->history);
    kt_history_copy(&t->history, &s->history);
    t->context = kt_context_ref(s->context);
    kt_context_unref(&old);
    t->seed = s->seed;
    e->snapshot_bytes_copied += e->dev->stats.bytes_copied - copied;
    return 0;
}

int kt_timeline_branch(struct kt_timeline *t, struct kt_timeline **out, int64_t at,
                       struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    struct kt_timeline *b = NULL;
    int rc = kt_timeline_create(e, &b, t->seed, t->context, err);
    if (rc == 0 && t->block.uncached && at > t->block.first) {
        rc = kt_timeline_block_cache(t, err);
    }
    if (rc < 0) {
        kt_timeline_destroy(&b);
        return rc;
    }
    uint64_t copied = e->dev->stats.bytes_copied;
    kt_history_copy(&b->history, &t->history);
    rc = kt_history_rewind(&b->history, &e->shape, at);
    e->snapshot_bytes_copied += e->dev->stats.bytes_copied - copied;
    if (rc < 0) {
        kt_timeline_destroy(&b);
        return kt_fail(err, rc,
                       "branch: latent %lld of %lld is not kept, or cannot be gone back to",
                       (long long)at, (long long)t->history.latents);
    }
    *out = b;
    return 0;
}

int kt_timeline_fork(struct kt_engine *e, struct kt_timeline **out, const struct kt_snapshot *s,
                     struct kt_error *err)
{
    struct kt_timeline *t = NULL;
    int rc = kt_timeline_create(e, &t, s->seed, s->context, err);
    if (rc == 0) {
        rc = kt_timeline_restore(t, s, err);
    }
    if (rc < 0) {
        kt_timeline_destroy(&t);
        return rc;
    }
    *out = t;
    return 0;
}
