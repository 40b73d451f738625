/* The pieces that Wan's decoder and encoder are made of (engine/MODEL.md, VAE): causal filters that
 * keep their last frames in a tail, and the stages: residual block, per-frame attention, up- and
 * down-sampling.
 *
 * Activations are channels-last, [frames, h, w, c]. A stage reads scratch X and leaves its result
 * there.
 *
 * Thread-safety: as vae.h. */
#ifndef KT_ENGINE_VAE_WAN_BLOCKS_H
#define KT_ENGINE_VAE_WAN_BLOCKS_H

#include "engine/vae/layers.h"

/* A 3x3x3 causal filter behind an optional norm + SiLU. The two frames before the next call's are
 * in a tail. */
struct kt_wan_causal {
    struct kt_conv *conv;
    float *gamma; /* [f32] [c_in] or NULL: no norm */
    int c_in, c_out, h, w;
    float scale;    /* > 0: its input, the tail's frames too, is in [f8] of this scale */
    size_t tail_at; /* two frames [2, h, w, c_in] in a tail */
};

enum kt_wan_stage_kind { KT_WAN_RESIDUAL, KT_WAN_ATTENTION, KT_WAN_UP, KT_WAN_DOWN };

struct kt_wan_stage {
    enum kt_wan_stage_kind kind;
    int c_in, c_out;
    int h, w;                               /* of the input */
    int frames;                             /* entering at most */
    int time;                               /* up, down: in time too */
    struct kt_wan_causal first, second;     /* residual */
    struct kt_linear *shortcut;             /* residual where channels change, else NULL */
    float *gamma;                           /* attention */
    struct kt_linear *qkv, *proj;           /* attention */
    struct kt_conv *time_conv, *space_conv; /* up, down */
    size_t tail_at; /* time: the filter's input frames before the next call's; two (up) or one
                       (down) */
};

/* The geometry between stages while they are being added. */
struct kt_wan_shape {
    int c, h, w, frames;
};

/* One call. `past` NULL: the first call of a stream. `frames` [n, ...] in X change as stages are
 * run. */
struct kt_wan_call {
    struct kt_device *dev;
    struct kt_scratch *scratch;
    const char *past; /* tail of the call before, device memory */
    char *next;       /* tail being written */
    int frames;
};

/* Where the new frames of a causal filter have to be written: the last ones right into the new
 * tail, the others, if any, into scratch. */
struct kt_wan_feed {
    char *head; /* [n_head, h, w, c_in] */
    char *tail; /* [n_tail, h, w, c_in] */
    int n_head, n_tail;
};

int kt_wan_causal_build(struct kt_vae_build *b, struct kt_wan_causal *c, const char *name,
                        const char *norm_name, const struct kt_wan_shape *in, int c_out);
void kt_wan_causal_free(struct kt_wan_causal *c, struct kt_device *dev);

/* Opens the filter's input: moves the newest cached frame down where the call brings a single
 * frame, and says where to write. After the frames are there, kt_wan_causal_close filters them into
 * y. */
int kt_wan_causal_open(const struct kt_wan_call *call, const struct kt_wan_causal *c,
                       struct kt_wan_feed *feed);
int kt_wan_causal_close(const struct kt_wan_call *call, const struct kt_wan_causal *c,
                        const struct kt_wan_feed *feed, void *y, const void *residual);
/* Both, with the frames of `x` normalised in between. */
int kt_wan_causal_run(const struct kt_wan_call *call, const struct kt_wan_causal *c, const void *x,
                      void *y, const void *residual);

/* Loads stage `name` behind shape `*s` and advances `*s` to its output. `st->kind`, `c_out` and
 * `time` are set by the caller. */
int kt_wan_stage_build(struct kt_vae_build *b, struct kt_wan_stage *st, const char *name,
                       struct kt_wan_shape *s);
void kt_wan_stage_free(struct kt_wan_stage *st, struct kt_device *dev);
int kt_wan_stage_run(struct kt_wan_call *call, const struct kt_wan_stage *st);

/* The part of a call after its input: the stages in order. */
int kt_wan_stages_run(struct kt_wan_call *call, const struct kt_wan_stage *stages, int n);

#endif
