/* Inside of the DiT, shared by its loader (load.c) and its pass (pass.c); nobody else includes it.
 */
#ifndef KT_ENGINE_DIT_PARTS_H
#define KT_ENGINE_DIT_PARTS_H

#include "engine/dit/dit.h"
#include "engine/dit/modulation.h"
#include "engine/dit/rope.h"

struct kt_dit_layer {
    struct kt_linear *qkv, *o, *cross_q, *cross_kv, *cross_o, *ffn_up, *ffn_down;
    float *norm_q, *norm_k, *cross_norm_q, *cross_norm_k; /* [f32] [dim] */
    float *norm3_weight, *norm3_bias;                     /* [f32] [dim] */
};

struct kt_dit {
    struct kt_device *dev;
    struct kt_dit_config c;
    int relative_rope, block_frames, slots_max, rows_max;
    int tokens, tokens_h, tokens_w, head_dim;
    int clean_row;

    struct kt_linear *patch, *text0, *text2, *head;
    struct kt_dit_layer *layers;
    struct kt_modulation mod;

    /* Scratch, rows_max rows unless noted. */
    float *x;                            /* [f32] [dim], the residual stream */
    void *patches;                       /* [act] on the way in, [f32] on the way out */
    void *h, *y, *qkv, *ffn;             /* [act]; ffn: block_frames * tokens rows */
    void *text_in, *text_mid, *text_out; /* text rows, padded to a multiple of 16 */
    float *planar;                       /* [f32] latents of the pass, one after the other */

    /* Dense working copy of the window: [layers, slots_max * tokens, dim], keys rotated for their
     * slot. `loaded[slot]` is the serial of the page that a slot holds, 0 for none. */
    void *window_k, *window_v;
    uint64_t *loaded;

    struct kt_rope_grid grid;
    float *slot_cos, *slot_sin;             /* relative: [slots_max * tokens, head_dim / 2] */
    float *pass_cos, *pass_sin, *rope_host; /* absolute: of the frames in rope_time */
    int64_t *rope_time;
    int rope_frames;
};

#endif
