/* Inside of the DiT, shared by its loader (load.c) and its pass (pass.c); nobody else includes it.
 */
#ifndef KT_ENGINE_DIT_PARTS_H
#define KT_ENGINE_DIT_PARTS_H

#include "engine/dit/dit.h"
#include "engine/dit/modulation.h"
#include "engine/dit/rope.h"

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        int rc_ = (expr);                                                                          \
        if (rc_ < 0) {                                                                             \
            return rc_;                                                                            \
        }                                                                                          \
    } while (0)

/* Scales of what a layer keeps in [f8] (scales.c says how they are found); all 0 in a layer that
 * does not; q and k 0 where only the linears do. */
struct kt_dit_scales {
    float qkv_in, q, k, v; /* v: attention's output too */
    float ffn_in, ffn_mid;
};

enum { KT_CHUNK_BLOCKS = 3 }; /* rows of a linear at most: a recache behind a kept sink is one */

struct kt_dit_layer {
    struct kt_dit_scales scales;
    struct kt_linear *qkv, *o, *cross_q, *cross_kv, *cross_o, *ffn_up, *ffn_down;
    float *norm_q, *norm_k, *cross_norm_q, *cross_norm_k; /* [f32] [dim] */
    float *norm3_weight, *norm3_bias;                     /* [f32] [dim] */
};

struct kt_dit {
    struct kt_device *dev;
    struct kt_dit_config c;
    int relative_rope, block_frames, slots_max, rows_max;
    int window_rows, tokens, tokens_h, tokens_w, head_dim;
    int clean_row;

    struct kt_linear *patch, *text0, *text2, *head;
    struct kt_dit_layer *layers;
    struct kt_modulation mod;

    /* Scratch, rows_max rows unless noted. */
    float *x;                            /* [f32] [dim], the residual stream */
    void *patches;                       /* [act] on the way in, [f32] on the way out */
    void *h, *y, *qkv, *ffn;             /* [act] or [f8]; ffn: a chunk's rows */
    void *text_in, *text_mid, *text_out; /* text rows, padded to a multiple of 16 */
    float *planar;                       /* [f32] latents of the pass, one after the other */

    /* Dense working copy of the window: [layers, window_rows, dim], keys rotated for their slot
     * (window.c); window_rows is rows_max rounded up to 16. `loaded[slot]` is the serial of the
     * page that a slot holds, 0 for none. */
    void *window_k, *window_v;
    uint64_t *loaded;

    struct kt_rope_grid grid;
    float *slot_cos, *slot_sin;             /* relative: [slots_max * tokens, head_dim / 2] */
    float *pass_cos, *pass_sin, *rope_host; /* absolute: of the frames in rope_time */
    int64_t *rope_time;
    int rope_frames;
};

/* context.c */
void *kt_dit_context_rows(const struct kt_dit *d, const struct kt_dit_context *ctx, int layer,
                          int which);
int kt_dit_rms_norm(struct kt_dit *d, void *x, int ld, const float *weight, int rows);

/* window.c */
const void *kt_dit_window_keys(const struct kt_dit *d, int layer);
const void *kt_dit_window_values(const struct kt_dit *d, int layer);
/* Brings the slots of the pass's prefix up to date. */
int kt_dit_load_window(struct kt_dit *d, const struct kt_dit_pass *p);
/* cos and sin of the pass's own frames. */
int kt_dit_pass_rope(struct kt_dit *d, const struct kt_dit_pass *p, const float **cos,
                     const float **sin);
/* From d->qkv: turned queries into d->h, keys and values into the window and into p->pages. */
int kt_dit_store(struct kt_dit *d, const struct kt_dit_pass *p, int layer, const float *cos,
                 const float *sin);

/* scales.c: fills layers[].scales from the weights; before the linears are made. */
int kt_dit_find_scales(struct kt_dit *d, const struct kt_safetensors *st, struct kt_error *err);

#endif
