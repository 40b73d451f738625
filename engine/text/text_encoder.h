/* UMT5 encoder (engine/MODEL.md, Text encoder): ids -> context rows. Only the n real tokens are
 * computed: the key padding mask makes the rest irrelevant.
 *
 * Thread-safety: belongs to its device's thread. */
#ifndef KT_ENGINE_TEXT_TEXT_ENCODER_H
#define KT_ENGINE_TEXT_TEXT_ENCODER_H

#include "engine/device/device.h"
#include "engine/model/config.h"
#include "engine/weights/safetensors.h"

struct kt_text_encoder;

/* Loads and checks every tensor; scratch for text_len tokens is allocated here. The encoder keeps
 * `dev`, not `st`. Errors: as kt_safetensors_expect, -ENOMEM. */
int kt_text_encoder_open(struct kt_text_encoder **enc, struct kt_device *dev,
                         const struct kt_text_config *cfg, const struct kt_safetensors *st,
                         struct kt_error *err);
void kt_text_encoder_close(struct kt_text_encoder **enc);

/* Encodes n ids (1..text_len, each in 0..vocab-1) into out [n, dim] ([act], device memory). No
 * allocation after the first call with that n. Errors: -EINVAL. */
int kt_text_encoder_run(struct kt_text_encoder *enc, const int32_t *ids, int n, void *out,
                        struct kt_error *err);

#endif
