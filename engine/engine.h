/* The engine: one loaded model on one device, and timelines (streams) that it generates.
 *
 * Who owns what: an engine owns the model, the page pool, the tail pool and all scratch; a timeline
 * owns one stream's history by reference; contexts and snapshots are reference counted. Everything
 * here computes synchronously; who computes what next, and when, is engine/lane.h's business.
 *
 * Determinism (docs/design.md, invariant 1): the latents and frames of a timeline are a pure
 * function of model, seed and the sequence of calls that shaped it (prompts with their modes,
 * steps, restores); abandoned work leaves no trace.
 *
 * Thread-safety: an engine and all its objects belong to one thread at a time, except where stated.
 */
#ifndef KT_ENGINE_ENGINE_H
#define KT_ENGINE_ENGINE_H

#include "engine/base/error.h"
#include "engine/device/device.h"
#include "engine/model/config.h"

#include <stddef.h>
#include <stdint.h>

struct kt_engine;
struct kt_context;  /* an encoded prompt: per-layer cross-attention K/V */
struct kt_timeline; /* one stream's history: pages, latents, VAE tails, position, seed */
struct kt_snapshot; /* a timeline's state by reference */

enum { KT_PROMPT_BYTES_MAX = 8192 };

struct kt_engine_params {
    const char *model_dir;
    const struct kt_model_config
        *config; /* NULL: model_dir/config.json; else used instead (copied) */
    struct kt_device_params device;
    int timelines_max;        /* live timelines, branches included; 0: 2 */
    int snapshots_max;        /* snapshots alive at once; 0: 2 per timeline, -1: none */
    int contexts_max;         /* encoded prompts kept (LRU); 0: 16 */
    int unbounded_frames_max; /* pages for an unbounded window (local_attn_size -1); 0: 64 */
    int random_weights; /* no weight files (engine/weights/random.h), and an id for every 4 bytes */
    int window;         /* 0: the model's local_attn_size, else this many latents instead */
    int tiny_vae;       /* non-zero: the model's preview_vae decodes, not its vae */
};

struct kt_engine_info {
    int width, height, fps; /* decoded video; 0 without VAE */
    int first_frames, frames_per_latent;
    int block_latents, tokens_per_latent; /* latents per block, tokens per latent */
    size_t page_bytes, tail_bytes, latent_floats;
    int window, sink, slack; /* latents; a timeline can be rewound by `slack` at most */
    int pages_max, pages_used, tails_max, tails_used;
    int timelines_max, snapshots_max, snapshots_used, contexts_used, contexts_free;
    uint64_t encodings; /* texts that the encoder ran for; the other prompts were in the LRU */
    uint64_t snapshot_bytes_copied; /* by snapshot and restore since open: stays 0 */
};

/* Loads and checks the model, allocates every pool. Errors: -ENOENT, -EBADMSG, -ENOMEM. */
int kt_engine_open(struct kt_engine **e, const struct kt_engine_params *p, struct kt_error *err);
void kt_engine_close(struct kt_engine **e);

/* Runs every listed pass shape once, so that nothing is planned or allocated afterwards. */
int kt_engine_warm_up(struct kt_engine *e, struct kt_error *err);

/* Read-only after open, any thread. */
const struct kt_model_config *kt_engine_config(const struct kt_engine *e);
void kt_engine_get_info(const struct kt_engine *e, struct kt_engine_info *out);
struct kt_device *kt_engine_device(struct kt_engine *e);
int kt_engine_sync(struct kt_engine *e); /* waits until the device is done */

/* ---- contexts ---- */

/* Cleans, tokenizes and encodes `text` (n bytes of UTF-8) and computes its cross K/V; an LRU by
 * cleaned text answers repeats. One reference for the caller. Errors: -EILSEQ bad UTF-8, -EMSGSIZE
 * longer than KT_PROMPT_BYTES_MAX, -ENOTSUP no tokenizer or encoder, -ENOBUFS every context is in
 * use. */
int kt_context_from_text(struct kt_engine *e, struct kt_context **ctx, const char *text, size_t n,
                         struct kt_error *err);
/* From n encoder output rows [n, text_dim] (host, fp32): golden cases, tests. n <= text_len. */
int kt_context_from_rows(struct kt_engine *e, struct kt_context **ctx, const float *rows, int n,
                         struct kt_error *err);
/* From n token ids, 1 <= n <= the encoder's text_len: measuring, tests. Errors: as from_text. */
int kt_context_from_ids(struct kt_engine *e, struct kt_context **ctx, const int32_t *ids, int n,
                        struct kt_error *err);
/* `weight` (0..1) of b's encoder rows and the rest of a's, interpolated row by row (a missing row
 * counts as zero, as the model pads): one stage of a blend. a and b must come from text, ids or
 * rows. Errors: -EINVAL, -ENOBUFS. */
int kt_context_blend(struct kt_engine *e, struct kt_context **ctx, const struct kt_context *a,
                     const struct kt_context *b, float weight, struct kt_error *err);
struct kt_context *kt_context_ref(struct kt_context *c);
void kt_context_unref(struct kt_context **c);

/* ---- timelines ---- */

/* How a prompt takes effect on the frames that are there (engine/MODEL.md, K/V cache). */
enum kt_transition {
    KT_TRANSITION_MODEL = 0, /* as the model's config says (global_sink) */
    KT_TRANSITION_CUT = 1,   /* sink kept: global_sink true */
    KT_TRANSITION_SCENE = 2, /* re-sink: global_sink false */
};

/* An empty timeline (no frames). `context` gets a reference. Errors: -ENOBUFS. */
int kt_timeline_create(struct kt_engine *e, struct kt_timeline **t, uint64_t seed,
                       struct kt_context *context, struct kt_error *err);
void kt_timeline_destroy(struct kt_timeline **t);

/* Switches to `context` at the current position, which must be between blocks (-EBUSY otherwise):
 * recaches the window's latents at t = 0 under the new prompt. `recache_latents`: 0 for what the
 * model needs (exact), else only the last that many (an approximation).
 * An empty timeline only takes the context. On error the timeline is unchanged. */
int kt_timeline_switch(struct kt_timeline *t, struct kt_context *context, enum kt_transition tr,
                       int recache_latents, struct kt_error *err);

/* One block: begin, `steps` times step, publish, cache. Before publish it may be abandoned between
 * any two calls, which leaves the timeline as if begin had never been called. `steps`: 0 for the
 * model's list, else the first, evenly picked, that many of it (see sched/timestep.h). */
int kt_timeline_block_begin(struct kt_timeline *t, int steps, struct kt_error *err);
/* One denoising step. Returns 1 while steps remain, 0 after the last, or a negative errno. */
int kt_timeline_block_step(struct kt_timeline *t, struct kt_error *err);
/* The block's latents are finished: the position moves on by a block, and they can be decoded. What
 * comes after them needs their keys and values as well, which the t = 0 pass writes. Needs free
 * pages: -ENOBUFS leaves the block in flight. */
int kt_timeline_block_publish(struct kt_timeline *t, struct kt_error *err);
/* The t = 0 pass of a published block. Calls that need its keys and values (the next begin, a
 * switch, a snapshot, a branch or a rewind to within or behind the block) run it themselves, with
 * the same bits; this one chooses the time. Returns 1, or 0 where there is nothing to do. */
int kt_timeline_block_cache(struct kt_timeline *t, struct kt_error *err);
/* publish and cache. */
int kt_timeline_block_commit(struct kt_timeline *t, struct kt_error *err);
void kt_timeline_block_abandon(struct kt_timeline *t);

/* begin, all steps, commit. */
int kt_timeline_block(struct kt_timeline *t, int steps, struct kt_error *err);

int64_t kt_timeline_latents(const struct kt_timeline *t); /* finished latents of the stream */
int64_t kt_timeline_decoded(const struct kt_timeline *t); /* latents decoded so far */

struct kt_timeline_progress {
    int64_t latents, decoded;
    int block_active, steps_left; /* of the block in flight */
};
void kt_timeline_get_progress(const struct kt_timeline *t, struct kt_timeline_progress *out);

/* Copies finished latent `index` [out_dim, h, w] to the host. Only the last `window` latents (and
 * those not decoded yet) are kept: -ERANGE. */
int kt_timeline_latent(const struct kt_timeline *t, int64_t index, float *out);
/* Its kt_hash64 as host fp32: what the decision log says of a latent. Errors: as above. */
int kt_timeline_latent_hash(const struct kt_timeline *t, int64_t index, uint64_t *hash);

/* Decodes the next undecoded latent to I420 frames (frame_bytes apart, planes dense) in host memory
 * `i420`, at most frames_per_latent of them. Returns the number of frames, or -EAGAIN when nothing
 * is left to decode. */
int kt_timeline_decode(struct kt_timeline *t, uint8_t *i420, size_t frame_bytes,
                       struct kt_error *err);
/* Milliseconds the last kt_timeline_decode spent on colour conversion and copy-out. */
double kt_engine_convert_ms(const struct kt_engine *e);

/* Forgets every latent from `at` on, as if it had never been made: blocks need not start at
 * multiples of the block size, so a cut may fall inside one. A block in flight is abandoned.
 * Possible back to the last switch, by `slack` latents (three blocks) of which 5 may have been
 * decoded; a stream shorter than that, to its start. -ERANGE beyond, with the timeline unchanged.
 * Copies nothing. */
int kt_timeline_rewind(struct kt_timeline *t, int64_t at, struct kt_error *err);

/* A new timeline with the past of `t` up to latent `at` and its own future; t is unchanged, also
 * its block in flight. By reference: copies nothing. Errors: -ENOBUFS; -ERANGE as rewind. */
int kt_timeline_branch(struct kt_timeline *t, struct kt_timeline **branch, int64_t at,
                       struct kt_error *err);

/* A timeline from cold latents (docs/design.md, cold checkpoint; engine/kv/archive.h keeps them):
 * `window` [n, in_dim, h, w] (host, fp32) are the latents [at - n, at), n >= min(at, window);
 * `sink` the sink_size latents from sink_at on, made under `sink_context` (NULL: at <= sink_size).
 * The sink's pages are made under its own context, the rest recached under `context`, and the VAE's
 * tail by decoding the last latents again: close to, not the same bits as, never having stopped.
 * Cannot be rewound below `at`. Errors: -EINVAL, -ENOBUFS. */
struct kt_cold {
    int64_t at, sink_at;
    int n;
    const float *window, *sink;
    struct kt_context *context, *sink_context;
    uint64_t seed;
};
int kt_timeline_resume(struct kt_engine *e, struct kt_timeline **t, const struct kt_cold *cold,
                       struct kt_error *err);

/* The first latent of the block in flight as far as the last step knows it (x0 = x - sigma v),
 * decoded by the preview VAE where the model has one, else by its VAE, at the VAE's size, to I420.
 * Changes nothing. Returns the number of frames. Errors: -EINVAL before the first step, -ENOTSUP.
 */
int kt_timeline_preview(struct kt_timeline *t, uint8_t *i420, size_t frame_bytes,
                        struct kt_error *err);

#endif
