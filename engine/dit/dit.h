/* The causal DiT (engine/MODEL.md, DiT): one forward pass over consecutive latent frames that
 * attend to themselves in full and to a prefix of finished pages.
 *
 * Denoising steps, the t = 0 cache pass and the recache of a prompt switch are all this one pass:
 * they differ in the frames given, the modulation row, and whether pages are written.
 *
 * Thread-safety: belongs to its device's thread. */
#ifndef KT_ENGINE_DIT_DIT_H
#define KT_ENGINE_DIT_DIT_H

#include "engine/device/device.h"
#include "engine/kv/slab.h"
#include "engine/model/config.h"
#include "engine/sched/timestep.h"
#include "engine/weights/safetensors.h"

struct kt_dit;

struct kt_dit_params {
    const struct kt_dit_config *config;
    const struct kt_sampler_config *sampler;
    const struct kt_schedule *schedule;
    const struct kt_safetensors *weights; /* not kept */
    int slots_max;                        /* latent frames of prefix + pass, at most */
};

/* A prompt's cross-attention keys and values, owned by whoever made `kv`. */
struct kt_dit_context {
    void *kv;         /* [act] [layers, 2, rows_max, dim], rows_max = text_len */
    int rows;         /* keys in use: n real rows and, when n < text_len, one for all padding */
    float tail_logit; /* log(text_len - n) for that row, else 0 */
};

struct kt_dit_pass {
    struct kt_slab_item *const *prefix; /* pages before the pass's frames, slot order */
    int prefix_count;
    const float *const *x;     /* [frames] pointers to [f32] [in_dim, h, w] device latents */
    const int64_t *time_index; /* [frames] absolute latent indices (absolute RoPE) */
    int frames;
    int unseen; /* leading frames that see the window but are not in it: upstream's recache of a
                   whole window with a kept sink. They change nothing that is kept (tests prove it);
                   0 in use */
    int row;    /* modulation row: schedule step, or kt_dit_clean_row */
    const struct kt_dit_context *context;
    float *v; /* [f32] [frames, out_dim, h, w], or NULL: only K/V are wanted */
    struct kt_slab_item *const *pages; /* [frames] pages to write (none for the unseen), or NULL */
};

/* Loads and checks every tensor. Errors: of kt_safetensors_expect, -EINVAL (geometry), -ENOMEM. */
int kt_dit_open(struct kt_dit **dit, struct kt_device *dev, const struct kt_dit_params *p,
                struct kt_error *err);
void kt_dit_close(struct kt_dit **dit);

int kt_dit_clean_row(const struct kt_dit *dit);        /* the row of t = context_noise */
int kt_dit_tokens(const struct kt_dit *dit);           /* per latent frame */
size_t kt_dit_page_bytes(const struct kt_dit *dit);    /* [kv] [layers, 2, tokens, dim] */
size_t kt_dit_context_bytes(const struct kt_dit *dit); /* of kt_dit_context.kv */

/* Fills ctx (whose kv is set) from n encoder rows ([f32] or [act]: `rows` [n, text_dim] in [act],
 * device), 0 <= n <= text_len. Padding rows all have the same key and value; they are folded into
 * one (engine/MODEL.md, Exact savings). */
int kt_dit_context_fill(struct kt_dit *dit, struct kt_dit_context *ctx, const void *rows, int n,
                        struct kt_error *err);

/* One forward pass. With v NULL the last layer stops after its K/V and there is no head. Keys in
 * pages are rotated at their absolute index, or unrotated in the relative variant, whose queries
 * and keys turn by slot. */
int kt_dit_run(struct kt_dit *dit, const struct kt_dit_pass *pass, struct kt_error *err);

/* K or V (`which` 0 or 1) of `layer` inside a page: [kv] [tokens, dim]. */
const void *kt_dit_page_rows(const struct kt_dit *dit, const struct kt_slab_item *page, int layer,
                             int which);

#endif
