/* Streaming VAE: latents to pixels one latent at a time, with the causal state in an immutable
 * tail.
 *
 * Two kinds behind one interface: Wan 2.1's decoder (and encoder) and the TAEHV-style tiny decoder
 * (engine/MODEL.md, VAE). A tail is what decoding so far left behind (two input frames per causal
 * convolution, or one frame per memory block). It is written out of place into a slot of a fixed
 * pool, published, and never changed again: a snapshot holds a reference, restoring copies nothing
 * (docs/design.md, invariant 2).
 *
 * Thread-safety: belongs to its device's thread; references are counted without atomics. */
#ifndef KT_ENGINE_VAE_VAE_H
#define KT_ENGINE_VAE_VAE_H

#include "engine/device/device.h"
#include "engine/model/config.h"
#include "engine/weights/safetensors.h"

struct kt_vae;
struct kt_vae_tail;

struct kt_vae_params {
    const struct kt_vae_config *config;
    const struct kt_safetensors *weights; /* not kept */
    int latent_h, latent_w;
    int tails_max;    /* size of the tail pool, >= 2 */
    int with_encoder; /* wan only: load the encoder too */
};

struct kt_vae_info {
    int width, height;     /* pixels of a decoded frame */
    int first_frames;      /* frames the first latent of a stream gives */
    int frames_per_latent; /* frames every later latent gives, also the most a call writes */
    float scale, offset;   /* pixel in [0,1] = raw * scale + offset, then clamp */
    size_t tail_bytes;     /* one tail in the pool */
};

int kt_vae_open(struct kt_vae **vae, struct kt_device *dev, const struct kt_vae_params *p,
                struct kt_error *err);
void kt_vae_close(struct kt_vae **vae);
void kt_vae_get_info(const struct kt_vae *vae, struct kt_vae_info *out);

/* Decodes one latent [z, latent_h, latent_w] ([f32], device) after `tail` (NULL: start of a stream)
 * into raw RGB [frames, 3, height, width] ([f32], device), and publishes the new tail in *next with
 * one reference for the caller. `tail` itself is unchanged and keeps its references. *frames: how
 * many were written (the TAEHV trim at the start of a stream is applied here: first_frames). No
 * allocation after warm-up. Errors: -ENOBUFS when the tail pool is full (nothing changed), -EINVAL.
 */
int kt_vae_decode(struct kt_vae *vae, const struct kt_vae_tail *tail, const float *latent,
                  float *rgb, int *frames, struct kt_vae_tail **next, struct kt_error *err);

/* `out` receives the raw frames of a whole latent without the trim (golden case `taehv-small` lists
 * them). Same as kt_vae_decode for wan. */
int kt_vae_decode_untrimmed(struct kt_vae *vae, const struct kt_vae_tail *tail, const float *latent,
                            float *rgb, int *frames, struct kt_vae_tail **next,
                            struct kt_error *err);

struct kt_vae_tail *kt_vae_tail_ref(struct kt_vae_tail *t); /* NULL accepted */
void kt_vae_tail_unref(struct kt_vae_tail **t); /* NULL and *NULL accepted; back to the pool at 0 */
int kt_vae_tails_in_use(const struct kt_vae *vae);
int kt_vae_tails_max(const struct kt_vae *vae);

/* Wan encoder, 1 + k * frames_per_latent frames of RGB [frames, 3, height, width] in [-1, 1]
 * ([f32], device) into latents [1 + k, z, latent_h, latent_w] ([f32], device), normalised (mean,
 * std). One stream from its start; not for the frame loop. Errors: -ENOTSUP without encoder,
 * -EINVAL for another frame count. */
int kt_vae_encode(struct kt_vae *vae, const float *rgb, int frames, float *latents,
                  struct kt_error *err);

#endif
