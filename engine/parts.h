/* Inside of the engine, shared by engine.c, context.c, timeline.c and snapshot.c; nobody else
 * includes it. */
#ifndef KT_ENGINE_PARTS_H
#define KT_ENGINE_PARTS_H

#include "engine/dit/dit.h"
#include "engine/engine.h"
#include "engine/kv/history.h"
#include "engine/sched/timestep.h"
#include "engine/text/text_encoder.h"
#include "engine/text/tokenizer.h"
#include "engine/vae/vae.h"

enum { KT_SNAPSHOT_TAILS = 2 }; /* tails a snapshot keeps: at 832x480 one is 1.9 GB */

struct kt_context {
    struct kt_engine *engine;
    struct kt_dit_context dit;
    void *rows;    /* [act] [text_rows_max, text_dim] what the encoder said, zeros behind it */
    int row_count; /* of them that are the prompt's */
    int refs;      /* holders; 0: cached only, may be recycled */
    uint64_t used; /* LRU stamp */
    char *text;    /* cleaned text it encodes, KT_PROMPT_BYTES_MAX + 1 bytes, "" for none */
    int has_text;
};

struct kt_block { /* the block in flight */
    int active, steps, next;
    int picks[KT_STEPS_MAX];
    float *x, *v;    /* [f32] [block, in_dim, h, w] */
    float *noise;    /* [f32] fresh noise; given noises lie behind it */
    float *before;   /* [f32] [in_dim, h, w] the first latent as it was before the last step */
    int given_steps; /* renoise tensors given, -1: counter-based */
    /* A published block whose t = 0 pass has not been run: what that pass needs, by reference. */
    int uncached, prefix_count;
    int64_t first; /* its first latent */
    struct kt_slab_item *prefix[KT_SLOTS_MAX], *pages[KT_SLACK_MAX];
};

struct kt_timeline {
    struct kt_engine *engine;
    int in_use;
    uint64_t seed;
    struct kt_context *context;
    struct kt_history history;
    struct kt_block block;
};

struct kt_snapshot {
    struct kt_engine *engine;
    int refs;
    uint64_t seed;
    struct kt_context *context;
    struct kt_history history;
};

struct kt_engine {
    struct kt_model_config config;
    struct kt_schedule schedule;
    struct kt_window_shape shape;
    struct kt_device *dev;
    int random_weights, tiny_vae;
    struct kt_tokenizer *tokenizer;  /* NULL: no tokenizer */
    struct kt_text_encoder *encoder; /* NULL: no encoder */
    struct kt_dit *dit;
    struct kt_vae *vae; /* NULL: no VAE */
    struct kt_vae_info vae_info;
    struct kt_vae *preview_vae; /* NULL: the VAE decodes previews too */
    struct kt_vae_info preview_info;
    float *preview; /* [f32] [in_dim, h, w] the latent being previewed */
    struct kt_slab pages, clean;

    int contexts_max, timelines_max, snapshots_max, tails_kept;
    struct kt_context *contexts;
    int text_rows_max; /* the longer text_len of encoder and DiT */
    void *context_memory, *context_rows;
    void *text_rows;                /* [act] [text_rows_max, text_dim] */
    float *text_given, *text_mixed; /* [f32] of the same shape: rows as callers give them */
    char *context_texts;
    uint64_t lru_clock, encodings;
    struct kt_timeline *timelines;
    struct kt_snapshot *snapshots;
    float *rgb;           /* [f32] [frames_per_latent, 3, height, width], of the larger VAE */
    uint8_t *i420;        /* device, frames_per_latent frames */
    size_t latent_floats; /* in_dim * latent_h * latent_w */
    float *latent_host;   /* latent_floats, for hashing */
    uint64_t snapshot_bytes_copied;
    double convert_ms;
};

/* Takes `n` items or none: -ENOBUFS. */
int kt_engine_take_items(struct kt_slab *slab, struct kt_slab_item **out, int n);
void kt_engine_unref_items(struct kt_slab_item **items, int n);

/* Decodes the next latent into e->rgb. Returns the number of frames. */
int kt_timeline_decode_next(struct kt_timeline *t, struct kt_error *err);

/* Lets go of what a published block's t = 0 pass would need: its pages are gone, or written. */
void kt_timeline_forget_cache(struct kt_timeline *t);

/* A free timeline slot, cleared, or NULL. */
struct kt_timeline *kt_engine_take_timeline(struct kt_engine *e);

#endif
