/* The encoder that the demo model's VAE was trained with (tools/train/vae.py): pictures to latents.
 * A latent comes from its own four pictures alone, the first of a stream from its one picture four
 * times. Not part of the shipped model; its weights lie in tools/train/state.
 *
 * Thread-safety: belongs to its device's thread. */
#ifndef KT_CLI_PREVIEWS_ENCODER_H
#define KT_CLI_PREVIEWS_ENCODER_H

#include "engine/device/device.h"
#include "engine/model/config.h"

enum { KT_PREVIEWS_CLIP = 4 }; /* pictures of a latent */

struct kt_previews_encoder;

/* `path`: safetensors with the members "encoder.*", "mean" and "std"; pictures of width x height,
 * multiples of 8. `z`: channels of a latent. Errors: those of kt_safetensors_open and _expect. */
int kt_previews_encoder_open(struct kt_previews_encoder **e, struct kt_device *dev,
                             const char *path, int width, int height, int z, struct kt_error *err);
void kt_previews_encoder_close(struct kt_previews_encoder **e);

/* Four pictures `rgb` [4, 3, height, width] in [-1, 1] (host) into one normalised latent [z, height
 * / 8, width / 8] (host). */
int kt_previews_encode(struct kt_previews_encoder *e, const float *rgb, float *latent,
                       struct kt_error *err);

#endif
