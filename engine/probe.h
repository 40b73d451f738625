/* What golden cases and tests look at and hand in; nothing in a stream's way needs it.
 *
 * Thread-safety: as engine.h. */
#ifndef KT_ENGINE_PROBE_H
#define KT_ENGINE_PROBE_H

#include "engine/engine.h"

/* Between begin and commit: the noise the block starts from and its fresh noises are the model's
 * counter-based ones unless given here (host, fp32, [block, in_dim, h, w]); `renoise` holds steps -
 * 1 of them. */
int kt_timeline_block_set_noise(struct kt_timeline *t, const float *noise, const float *renoise);

/* Layer `layer`'s cached K and V in slot order [slots * tokens, heads, head_dim] (host, fp32), keys
 * as cached: rotated when RoPE is absolute, unrotated when relative. Returns the number of slots.
 */
int kt_timeline_kv(struct kt_timeline *t, int layer, float *k, float *v);

/* kt_timeline_decode, but raw planar RGB (host, fp32), as golden cases list it. */
int kt_timeline_decode_rgb(struct kt_timeline *t, float *rgb, struct kt_error *err);

/* The last step's predicted flow v [block, out_dim, h, w] (host, fp32); -EINVAL
 * without one. */
int kt_timeline_flow(const struct kt_timeline *t, float *out);

#endif
