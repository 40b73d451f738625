/* A simulated device's memory: the engine's own lists (engine/kv/history.c) over its own pools,
 * with items of one byte. What does not fit here would not fit on the device.
 *
 * Thread-safety: one thread at a time. */
#ifndef KT_SIM_MEMORY_H
#define KT_SIM_MEMORY_H

#include "engine/kv/history.h"
#include "engine/vae/tail.h"

enum { KT_SIM_SNAPSHOT_TAILS = 2 }; /* as many as the engine's snapshots keep */

struct kt_sim_memory_params {
    struct kt_window_shape shape;
    int block_latents;
    int timelines_max, snapshots_max; /* what the pools are sized for, as kt_engine_open does it */
    int tails_kept;                   /* per timeline */
    int percent;                      /* of those pages; 0: 100 */
};

struct kt_sim_memory {
    struct kt_sim_memory_params p;
    struct kt_slab pages, clean;
    struct kt_tail_pool *tails;
    int pages_used_max, tails_used_max; /* high-water marks */
    uint64_t refused; /* work that found no memory: a good policy never asks for it */
};

struct kt_sim_stream { /* one timeline, or a snapshot of one */
    int there;
    struct kt_history h;
};

/* `host` gives the bytes; it may be shared. -ENOMEM, -EINVAL. */
int kt_sim_memory_init(struct kt_sim_memory *m, const struct kt_sim_memory_params *p,
                       struct kt_device *host, struct kt_error *err);
/* Every stream must have been cleared. Accepts a zeroed one. */
void kt_sim_memory_finish(struct kt_sim_memory *m);

void kt_sim_stream_clear(struct kt_sim_stream *s);
/* `dst` (not there) becomes a copy of `src`, rewound to `at`. -ERANGE. */
int kt_sim_stream_fork(struct kt_sim_memory *m, struct kt_sim_stream *dst,
                       const struct kt_sim_stream *src, int64_t at);
void kt_sim_stream_snapshot(struct kt_sim_stream *dst, const struct kt_sim_stream *src);
/* Under another prompt: the last `limit` latents (0: what the model needs). Returns how many were
 * recached, or -ENOBUFS. */
int kt_sim_stream_recache(struct kt_sim_memory *m, struct kt_sim_stream *s, int keep_sink,
                          int limit);
/* A block's latents at the end. -ENOBUFS. */
int kt_sim_stream_append(struct kt_sim_memory *m, struct kt_sim_stream *s);
/* The next latent. 0, -EAGAIN: all are decoded, -ENOBUFS. */
int kt_sim_stream_decode(struct kt_sim_memory *m, struct kt_sim_stream *s);
/* From cold latents before `at`. Returns how many were recached, or -ENOBUFS. */
int kt_sim_stream_resume(struct kt_sim_memory *m, struct kt_sim_stream *s, int64_t at);

#endif
