/* The working buffers of one decoder or encoder: sized while its layers are being built, then
 * carved from one device allocation, so that a call allocates nothing. Their content lives for one
 * call at most.
 *
 * Thread-safety: as vae.h. */
#ifndef KT_ENGINE_VAE_SCRATCH_H
#define KT_ENGINE_VAE_SCRATCH_H

#include "engine/device/device.h"

enum kt_scratch_buffer {
    KT_SCRATCH_X,    /* activations between stages: input of the stage... */
    KT_SCRATCH_Y,    /* ...and its output; then they change places */
    KT_SCRATCH_MID,  /* inside a stage */
    KT_SCRATCH_NORM, /* normalised frames that no tail keeps */
    KT_SCRATCH_SKIP, /* a shortcut with a filter of its own */
    KT_SCRATCH_COUNT
};

struct kt_scratch {
    size_t bytes[KT_SCRATCH_COUNT];
    char *at[KT_SCRATCH_COUNT];
    char *memory;
};

/* States, before kt_scratch_alloc, that `buffer` must hold at least `bytes`. */
void kt_scratch_need(struct kt_scratch *s, enum kt_scratch_buffer buffer, size_t bytes);

/* Errors: -ENOMEM. */
int kt_scratch_alloc(struct kt_scratch *s, struct kt_device *dev, const char *name,
                     struct kt_error *err);
void kt_scratch_free(struct kt_scratch *s, struct kt_device *dev);

/* X and Y change places. */
void kt_scratch_swap(struct kt_scratch *s);

#endif
