/* What vae.c asks of a decoder of either kind. A decoder holds filters and scratch; the causal
 * state of a stream is the caller's (tail.h).
 *
 * Thread-safety: as vae.h. */
#ifndef KT_ENGINE_VAE_DECODER_H
#define KT_ENGINE_VAE_DECODER_H

#include "engine/vae/vae.h"

/* One call: a latent behind `past` (NULL: first of a stream), new state into `next`. */
struct kt_decode_args {
    const float *latent; /* [f32] [z, latent_h, latent_w] */
    const char *past;    /* [tail_bytes] */
    char *next;          /* [tail_bytes], all of it written */
    int skip_frames;     /* frames at the front not wanted in rgb */
    float *rgb;          /* [f32] [frames - skip_frames, 3, height, width] */
    int frames;          /* out: frames decoded, skipped ones included */
};

struct kt_wan_decoder;
struct kt_wan_encoder;
struct kt_taehv;

/* Open: builds filters and scratch; *info and its tail_bytes are filled. Errors: those of
 * kt_vae_open. */
int kt_wan_decoder_open(struct kt_wan_decoder **out, struct kt_device *dev,
                        const struct kt_vae_params *p, struct kt_vae_info *info,
                        struct kt_error *err);
void kt_wan_decoder_close(struct kt_wan_decoder **d);
int kt_wan_decoder_run(struct kt_wan_decoder *d, struct kt_decode_args *a);

int kt_taehv_open(struct kt_taehv **out, struct kt_device *dev, const struct kt_vae_params *p,
                  struct kt_vae_info *info, struct kt_error *err);
void kt_taehv_close(struct kt_taehv **t);
int kt_taehv_run(struct kt_taehv *t, struct kt_decode_args *a);

/* The encoder keeps its causal state itself, for the length of one call of kt_vae_encode. */
int kt_wan_encoder_open(struct kt_wan_encoder **out, struct kt_device *dev,
                        const struct kt_vae_params *p, struct kt_error *err);
void kt_wan_encoder_close(struct kt_wan_encoder **e);
int kt_wan_encoder_run(struct kt_wan_encoder *e, const float *rgb, int frames, float *latents,
                       struct kt_error *err);

#endif
