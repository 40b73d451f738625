/* T5's relative position bias: what each head of each layer adds to the logit of a (query, key)
 * pair, by their distance (engine/MODEL.md, Text encoder).
 *
 * A bias is [heads, n, n]. Those made are kept, by layer and n, as far as a fixed budget goes
 * (least recently used out first): a small model keeps all it ever needs, the XXL encoder keeps one
 * and fills it anew for each layer, which is nothing beside its matrices. Nothing is allocated
 * after open.
 *
 * Thread-safety: belongs to its device's thread. */
#ifndef KT_ENGINE_TEXT_POSITION_BIAS_H
#define KT_ENGINE_TEXT_POSITION_BIAS_H

#include "engine/device/device.h"
#include "engine/model/config.h"
#include "engine/weights/safetensors.h"

struct kt_position_bias;

/* Bucket of key position minus query position: num_buckets / 2 for keys at or before the query, as
 * many for those after it; exact for near keys, then logarithmic up to max_distance. */
int kt_position_bucket(int key_minus_query, int num_buckets, int max_distance);

/* Reads blocks.N.pos_embedding.embedding.weight [num_buckets, num_heads] of every layer. Errors: as
 * kt_safetensors_load_f32. */
int kt_position_bias_open(struct kt_position_bias **bias, struct kt_device *dev,
                          const struct kt_text_config *cfg, const struct kt_safetensors *st,
                          struct kt_error *err);
void kt_position_bias_close(struct kt_position_bias **bias);

/* Layer `layer`'s bias for n tokens (1..text_len), [f32] [heads, n, n] on the device, valid until
 * the next call. NULL when the upload failed. */
const float *kt_position_bias_get(struct kt_position_bias *bias, int layer, int n);

#endif
