/* How a filter becomes a stream of steps for the kernel (conv_kernel.cuh): which pixels a step
 * reads and which taps its weights are. Host only. */
#ifndef KT_KERNELS_CUDA_CONV_PLAN_H
#define KT_KERNELS_CUDA_CONV_PLAN_H

#include "kernels/kernels.h"

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { KTC_PLAN_FRAMES = 4, KTC_PLAN_STEPS = 9, KTC_PLAN_VARIANTS = 4 };

/* A pixel of the halo, from its upper left, and the taps that meet it: the sum over the rows and
 * columns of the filter named by the masks (several where the filter sees a doubled image: taps
 * that fall on the same stored pixel). */
struct ktc_step {
    int dy, dx;
    unsigned rows, cols;
};

struct ktc_filter_plan {
    int c_in, c_out, kt, kh, kw, pad_top, pad_left, up;
    int f8;
    int nt;        /* columns of a tile */
    int row_bytes; /* of channels in a row of shared memory */
    int chunks, chunk_channels;
    int frames, past_frames;
    int n_tiles, variants;
    int first_both,
        first_second; /* frames from which both halves take part, only the second does */
    int steps;        /* spatial taps of a frame */
    size_t n_bytes;   /* weights of an n-tile, in bytes */
};

/* 0, or -EINVAL for a filter that the kernel does not take. */
int ktc_filter_of(struct ktc_filter_plan *p, const struct kt_conv_desc *d, int f8);

/* The steps of n-tile `n`, the same for every frame and chunk: p->steps of them. */
void ktc_filter_steps(const struct ktc_filter_plan *p, int n, struct ktc_step *steps);

/* The weights as the kernel reads them: n_tiles * n_bytes at `out`, from fp32 [c_out, c_in, kt, kh,
 * kw]. 8-bit plans need `scale` [c_out] (ktc_filter_scales); others ignore it. */
void ktc_filter_pack(const struct ktc_filter_plan *p, const float *weight, const float *scale,
                     uint8_t *out);

/* Largest magnitude of an output channel's weights, sums of taps included, over e4m3's largest. */
void ktc_filter_scales(const struct ktc_filter_plan *p, const float *weight, float *scale);

uint16_t ktc_to_bf16(float v);
uint8_t ktc_to_e4m3(float v); /* to nearest even, saturating */

#ifdef __cplusplus
}
#endif

#endif
