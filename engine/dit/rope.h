/* Tables of the 3-D rotary embedding (engine/MODEL.md, DiT): head_dim d splits into d - 4*(d/6)
 * channels for time and 2*(d/6) each for height and width; pair i of an axis with c channels turns
 * by position * 10000^(-2i/c). Computed in double, kept in fp32.
 *
 * Thread-safety: pure function. */
#ifndef KT_ENGINE_DIT_ROPE_H
#define KT_ENGINE_DIT_ROPE_H

#include <stdint.h>

struct kt_rope_grid {
    int head_dim; /* even */
    int h, w;     /* tokens per latent frame: h * w */
};

/* Fills cos and sin [frames * h * w, head_dim / 2] for frames whose time positions are
 * `time[0..frames)`. */
void kt_rope_fill(const struct kt_rope_grid *g, const int64_t *time, int frames, float *cos_out,
                  float *sin_out);

#endif
