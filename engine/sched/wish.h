/* What somebody wants next, in the words that the policy, the lane and the decision log share.
 *
 * Thread-safety: plain data. */
#ifndef KT_ENGINE_SCHED_WISH_H
#define KT_ENGINE_SCHED_WISH_H

#include "engine/engine.h"

#include <stdint.h>

/* Where the new prompt's pictures take over (docs/design.md, What happens when someone types). */
enum kt_cut {
    KT_CUT_LATENT = 0, /* at the first latent not yet sent: sent pictures play out */
    KT_CUT_BLOCK = 1,  /* at the first boundary of the stream's blocks not yet sent */
    KT_CUT_NOW = 2,    /* at the playhead: sent pictures not yet shown are replaced */
};

enum {
    KT_RECACHE_FULL = 0,        /* what the model needs; n > 0: the last n latents */
    KT_RECACHE_CHECKPOINT = -1, /* the latents since the nearest checkpoint before the cut */
    KT_BLEND_MAX = 16,
};

struct kt_wish {
    /* Equal keys want the same pictures: a commit takes over the branch of a draft with its key.
     * Made by kt_wish_key. */
    uint64_t key;
    uint32_t revision;
    enum kt_cut cut;
    enum kt_transition transition;
    int blend;     /* 0, or over how many blocks the context moves from the old prompt to the new */
    int recache;   /* KT_RECACHE_* or a count */
    int64_t at;    /* latent to cut at, for a rewind or a fork; -1: as `cut` says */
    int from;      /* session whose stream goes on here (fork), or -1: its own */
    int encoded;   /* its context is there already (reset, rewind: the prompt in force) */
    int fresh;     /* a new stream from nothing (open, reset) */
    uint64_t seed; /* of a fresh stream; forks and cuts keep theirs */
};

/* 64 bits over the prompt text and every field that shapes pictures. */
uint64_t kt_wish_key(const struct kt_wish *w, const char *text);

#endif
