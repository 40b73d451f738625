/* A model's DiT with random weights, behind a full window of noise: what a pass costs and computes
 * at a real shape, without text encoder and VAE.
 *
 * Thread-safety: one thread. */
#ifndef KT_TESTS_CUDA_FULL_WINDOW_H
#define KT_TESTS_CUDA_FULL_WINDOW_H

#include "engine/parts.h"

struct full_window_params {
    const char *model; /* directory with config.json */
    const char *device;
    enum kt_precision precision;
    int layers;  /* 0: the model's */
    int plain;   /* the CPU's plain C kernels */
    int threads; /* 0: all cores */
};

struct full_window {
    struct kt_model_config config;
    struct kt_engine *e;
    struct kt_context *context;
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

/* A denoising pass over the last `frames` latents behind the others. w->v receives the flow. */
int full_window_pass(struct full_window *w, int frames);

#endif
