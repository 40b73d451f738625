/* From named tensors of a checkpoint to prepared filters, for both kinds of VAE. Each tensor is
 * checked against the exact shape that the configuration implies.
 *
 * Thread-safety: as vae.h. */
#ifndef KT_ENGINE_VAE_LAYERS_H
#define KT_ENGINE_VAE_LAYERS_H

#include "engine/device/device.h"
#include "engine/vae/scratch.h"
#include "engine/vae/tail.h"
#include "engine/weights/safetensors.h"

/* What building a decoder or encoder carries along. */
struct kt_vae_build {
    struct kt_device *dev;
    const struct kt_safetensors *weights;
    struct kt_tail_plan tail;   /* causal layers reserve their part of a tail here */
    struct kt_scratch *scratch; /* and state their working buffers here */
    struct kt_error *err;
    int f8; /* filters behind a norm in [f8] where the table takes them so */
};

/* A filter to load: `weight` and `bias` of `desc` are filled from `<name>.weight` and
 * `<name>.bias`. */
struct kt_vae_filter {
    const char *name;
    int rank; /* of the weight tensor: 5 [o, i, kt, kh, kw] or 4 [o, i, kh, kw] */
    int no_bias;
    /* TAEHV's memory: the tensor is [o, 2i, kh, kw] over concat(x, previous x), which is a causal
     * filter over two frames, [o, i, 2, kh, kw] with the previous frame first. */
    int memory;
    struct kt_conv_desc desc;
};

/* Errors of all three: those of kt_safetensors_expect, -ENOMEM. */
int kt_vae_load_conv(struct kt_vae_build *b, struct kt_conv **out, const struct kt_vae_filter *f);

/* A pointwise convolution `name` of n output and k input channels as a linear; its tensor is [n, k,
 * 1, 1] (rank 4) or [n, k, 1, 1, 1] (rank 5). */
int kt_vae_load_pointwise(struct kt_vae_build *b, struct kt_linear **out,
                          const struct kt_vae_filter *f);

/* `<name>.gamma` [c, 1, 1(, 1)] of rank 3 or 4, into new device memory. `reach` (or NULL): the
 * largest magnitude that the norm can leave. */
int kt_vae_load_gamma(struct kt_vae_build *b, float **out, int c, int rank, const char *name,
                      float *reach);

#endif
