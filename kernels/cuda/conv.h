/* Convolutions and the channel norm of the VAE decoders on Hopper's matrix unit, in bf16.
 *
 * Stride 1, channels-last, tensor cores, fp32 sums, one rounding. What a filter may be: kt 1..3
 * (causal when more than 1), kh and kw 1..3 with h_out = h and w_out = w, c_in a multiple of 8,
 * c_out a multiple of 128 or 192, or 96, or 64, or at most 8; `upsample` with 3x3 filters. All
 * other shapes are somebody else's work.
 *
 * The bits of an output value depend on its inputs and the filter only: not on t_in, not on where
 * in the call it lies, not on load (kernels.h, batch invariance).
 *
 * Device pointers are 16-byte aligned (x, past, y, residual); calls are asynchronous on `stream`,
 * allocate nothing and may be captured into a graph. Errors: -EINVAL (shape), -ENOMEM, -ENODEV (no
 * Hopper card, or its driver lacks tensor maps), -EIO (a CUDA call failed).
 *
 * Thread-safety: a filter is read-only after creation. */
#ifndef KT_KERNELS_CUDA_CONV_H
#define KT_KERNELS_CUDA_CONV_H

#include "kernels/kernels.h"

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ktc_filter; /* a filter in the order in which the kernel reads it, on the device */

/* Non-zero where this filter can be created (weights are not looked at). */
int ktc_filter_takes(const struct kt_conv_desc *d);

/* Copies the host weights (any float dtype) to the current device; synchronises the stream. */
int ktc_filter_create(struct ktc_filter **c, cudaStream_t stream, const struct kt_conv_desc *d);
size_t ktc_filter_bytes(const struct ktc_filter *c); /* of device memory */
void ktc_filter_destroy(struct ktc_filter **c); /* NULL and *NULL accepted; waits for the device */

/* The same with d->x_scale: 8-bit weights (e4m3, one scale an output channel) and 8-bit x and past
 * (e4m3 of value * x_scale); residual and y are bf16. */
int ktc_filter_takes_f8(const struct kt_conv_desc *d);
int ktc_filter_create_f8(struct ktc_filter **c, cudaStream_t stream, const struct kt_conv_desc *d);

/* As kernels.h, kt_conv_args, with [act] bf16 (x and past: e4m3 for an 8-bit filter). */
int ktc_filter_run(cudaStream_t stream, const struct ktc_filter *c, const struct kt_conv_args *a);

/* Benchmarks choose what is otherwise chosen here; 0 is "as it would be". */
struct ktc_filter_tune {
    int size;                /* 1: small tiles, 2: large */
    volatile unsigned *diag; /* host memory for the report of a wait that never ended */
};
int ktc_filter_run_tuned(cudaStream_t stream, const struct ktc_filter *c,
                         const struct kt_conv_args *a, const struct ktc_filter_tune *tune);

/* kernels.h, channel_norm, bf16 to bf16: fp32 inside. c a multiple of 8, at most 1024. */
int ktc_channel_norm_bf16(cudaStream_t stream, const struct kt_channel_norm_args *a);
/* The same with y e4m3 of value * a->y_scale. */
int ktc_channel_norm_f8(cudaStream_t stream, const struct kt_channel_norm_args *a);

#ifdef __cplusplus
}
#endif

#endif
