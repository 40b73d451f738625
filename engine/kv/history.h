/* A timeline's past, by reference: which pages, clean latents and VAE tails it stands on.
 *
 * Thread-safety: belongs to its device's thread. */
#ifndef KT_ENGINE_KV_HISTORY_H
#define KT_ENGINE_KV_HISTORY_H

#include "engine/kv/slab.h"
#include "engine/vae/vae.h"

#include <stdint.h>

enum {
    KT_SINK_MAX = 16,
    KT_SLOTS_MAX = 256,  /* window, or the cap of an unbounded one */
    KT_SLACK_BLOCKS = 3, /* playhead to the newest latent: send lead 2, decode lead 2, a block
                            ahead of that; and one more */
    KT_SLACK_MAX = 16,   /* pages kept beyond the window, so that a stream can be rewound */
    KT_TAILS_KEPT = 12,  /* VAE tails kept at undecided positions */
};

struct kt_window_shape {
    int window; /* slots, the block being made included; for an unbounded window the cap */
    int sink;   /* 0 for an unbounded window */
    int slack;  /* pages and latents kept beyond the window */
};

struct kt_history {
    int64_t latents; /* finished latents of the stream */
    int64_t floor;   /* cannot be rewound below: the position of the last recache */
    int sink_count;
    struct kt_slab_item *sink[KT_SINK_MAX];
    int page_count; /* rolling pages, of latents [latents - page_count, latents) */
    struct kt_slab_item *pages[KT_SLOTS_MAX + KT_SLACK_MAX];
    int clean_count; /* clean latents [latents - clean_count, latents) */
    struct kt_slab_item *clean[KT_SLOTS_MAX + KT_SLACK_MAX];
    int64_t decoded; /* latents decoded; tails[tail_count - 1] is the state after them */
    int tail_count; /* of positions [decoded - tail_count + 1, decoded]; position 0 has tail NULL */
    struct kt_vae_tail *tails[KT_TAILS_KEPT];
};

/* References everything that `src` references; `dst` must be zeroed or cleared. No tensor is
 * copied. */
void kt_history_copy(struct kt_history *dst, const struct kt_history *src);
/* Drops every reference and zeroes. */
void kt_history_clear(struct kt_history *h);

/* Appends a finished latent and its page; takes over one reference to each; drops what left the
 * window and its slack. */
void kt_history_append(struct kt_history *h, const struct kt_window_shape *w,
                       struct kt_slab_item *page, struct kt_slab_item *clean);

/* The slots that a pass of `frames` new latents sees before itself, in order: the sink, then the
 * newest rolling pages that fit. Returns how many were written to `out`. */
int kt_history_window(const struct kt_history *h, const struct kt_window_shape *w, int frames,
                      struct kt_slab_item **out);

/* What a prompt switch recaches (engine/MODEL.md, K/V cache). */
struct kt_recache_plan {
    int prefix_count; /* slots kept before the recached range */
    struct kt_slab_item *prefix[KT_SLOTS_MAX];
    int frames; /* recached latents: the last `frames` of the stream */
    struct kt_slab_item *clean[KT_SLOTS_MAX];
    int rewrites_sink; /* the range starts the window: its first latents are the sink from now on */
};

/* keep_sink: global_sink true. `limit` > 0 recaches only the last that many where the plan allows
 * it (keep_sink). */
void kt_history_plan_recache(const struct kt_history *h, const struct kt_window_shape *w,
                             int keep_sink, int limit, struct kt_recache_plan *plan);

/* Puts the plan's freshly written pages in place; takes over one reference to each. */
void kt_history_apply_recache(struct kt_history *h, const struct kt_window_shape *w,
                              const struct kt_recache_plan *plan, struct kt_slab_item **pages);

/* Forgets every latent from `at` on. -ERANGE when `at` lies below the floor, or so far back that
 * pages or the tail it needs are gone; the history is unchanged then. */
int kt_history_rewind(struct kt_history *h, const struct kt_window_shape *w, int64_t at);

/* The clean latent `index`, or NULL when it is no longer (or not yet) kept. */
struct kt_slab_item *kt_history_clean(const struct kt_history *h, int64_t index);

/* The tail that the next decode starts from (NULL at the start of a stream), and how to append the
 * one it made (takes over the reference). */
struct kt_vae_tail *kt_history_tail(const struct kt_history *h);
void kt_history_push_tail(struct kt_history *h, struct kt_vae_tail *tail, int kept);
/* Drops all but the newest `kept` tails: how far decoding can be taken back is what tails cost. */
void kt_history_trim_tails(struct kt_history *h, int kept);

#endif
