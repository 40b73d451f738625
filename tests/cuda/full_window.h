/* A model's DiT with random weights, behind a full window of noise: what a pass costs and computes
 * at a real shape, without text encoder and VAE.
 *
 * Thread-safety: one thread. */
#ifndef KT_TESTS_CUDA_FULL_WINDOW_H
#define KT_TESTS_CUDA_FULL_WINDOW_H

#include "engine/parts.h"

enum { FULL_WINDOW_CONTEXTS = 2 };

struct full_window_params {
    const char *model; /* directory with config.json */
    const char *device;
    enum kt_precision precision;
    int layers;     /* 0: the model's */
    int plain;      /* the CPU's plain C kernels */
    int threads;    /* 0: all cores */
    float contrast; /* deviation of what each latent's channels are raised by: scenes differ */
};

struct full_window {
    struct kt_model_config config;
    struct kt_engine *e;
    struct kt_context *context[FULL_WINDOW_CONTEXTS];
    struct kt_slab_item *pages[KT_SLOTS_MAX]; /* of the whole window */
    const float *x[KT_SLOTS_MAX];             /* the latents in it, device */
    int64_t time[KT_SLOTS_MAX];
    float *latents, *v;
    int window, block;
    struct kt_error err;
};

/* 0 or a negative errno with a message in w->err. `w` is zeroed here; close it in either case. */
int full_window_open(struct full_window *w, const struct full_window_params *p);
void full_window_close(struct full_window *w);

/* Makes every page again, as a recache under context `number` does; 0 is the one it was opened
 * with. */
int full_window_recache(struct full_window *w, int number);

/* A denoising pass over the last `frames` latents behind the others. w->v receives the flow. */
int full_window_pass(struct full_window *w, int frames);

#endif
