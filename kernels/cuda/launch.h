/* The kernels, each behind a plain function that picks the instantiation and launches it on a
 * stream. Shapes were checked by the caller (table.c). `bf16` says what [act] is; what the
 * arguments mean is in kernels.h. They return what the launch returned. Private to kernels/cuda.
 *
 * Thread-safety: none has state. */
#ifndef KT_KERNELS_CUDA_LAUNCH_H
#define KT_KERNELS_CUDA_LAUNCH_H

#include "kernels/kernels.h"

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

cudaError_t ktc_layer_norm(cudaStream_t s, int bf16, const struct kt_layer_norm_args *a);
cudaError_t ktc_rms_norm(cudaStream_t s, int bf16, const struct kt_rms_norm_args *a);
cudaError_t ktc_channel_norm(cudaStream_t s, int bf16, const struct kt_channel_norm_args *a);
cudaError_t ktc_rope(cudaStream_t s, int bf16, const struct kt_rope_args *a);
cudaError_t ktc_residual(cudaStream_t s, int bf16, const struct kt_residual_args *a);

cudaError_t ktc_mul_gelu(cudaStream_t s, int bf16, void *y, const void *a, const void *b, size_t n);
cudaError_t ktc_tanh3(cudaStream_t s, int bf16, void *y, const void *x, size_t n);
cudaError_t ktc_relu(cudaStream_t s, int bf16, void *y, const void *x, size_t n);
cudaError_t ktc_sample_step(cudaStream_t s, const struct kt_sample_step_args *a);
/* y[r, 0..n) = act(y[r, .] + bias) in place, rows ld apart; bias may be NULL. */
cudaError_t ktc_activate(cudaStream_t s, int bf16, void *y, const float *bias, int m, int n, int ld,
                         enum kt_act act);

cudaError_t ktc_patchify(cudaStream_t s, int bf16, const struct kt_patch_args *a);
cudaError_t ktc_unpatchify(cudaStream_t s, const struct kt_patch_args *a);
/* `size`: bytes of an element. */
cudaError_t ktc_upsample2x(cudaStream_t s, int size, void *y, const void *x, int t, int h, int w,
                           int c);
cudaError_t ktc_split_frames(cudaStream_t s, int size, void *y, const void *x, int t, int pixels,
                             int c, int f);
cudaError_t ktc_copy_rows(cudaStream_t s, void *dst, size_t dst_stride, const void *src,
                          size_t src_stride, int rows, size_t row_bytes);
cudaError_t ktc_to_channels_last(cudaStream_t s, int bf16, void *y, const float *x, int t, int c,
                                 int pixels, const float *scale, const float *shift);
cudaError_t ktc_to_planar(cudaStream_t s, int bf16, float *y, const void *x, int t, int pixels,
                          int c);
cudaError_t ktc_distance_bias(cudaStream_t s, float *y, const float *table, int heads, int n,
                              int reach);
cudaError_t ktc_to_i420(cudaStream_t s, const struct kt_i420_args *a);
cudaError_t ktc_noise(cudaStream_t s, float *out, int n, uint64_t seed, uint64_t stream);

/* Between F32, F16 and BF16. */
cudaError_t ktc_convert(cudaStream_t s, void *dst, enum kt_dtype to, const void *src,
                        enum kt_dtype from, size_t n);
/* [rows, a, b] -> [b, a, rows]: a filter as checkpoints have it to [taps, c_in, c_out]. */
cudaError_t ktc_turn_filter(cudaStream_t s, int size, void *dst, const void *src, int c_out,
                            int c_in, int taps);

/* Any head_dim up to KTC_HEAD_DIM_MAX. */
enum { KTC_HEAD_DIM_MAX = 512 };
cudaError_t ktc_attention_generic(cudaStream_t s, int bf16, const struct kt_attention_args *a);
/* p[r, .] = softmax(scale * x[r, .]), tail_logit on the last; p [act], ld_p apart, may be x where
 * [act] is fp32. */
cudaError_t ktc_softmax(cudaStream_t s, int bf16, void *p, const float *x, int rows, int n, int ld,
                        float scale, float tail_logit);

struct ktc_conv_call {
    const struct kt_conv_desc *d;
    const struct kt_conv_args *a;
    const void *weight; /* [act] [kt, kh, kw, c_in, c_out] */
    const float *bias;
    int past, h_in, w_in, t_out, h_out, w_out; /* past: frames before x */
};
cudaError_t ktc_conv_generic(cudaStream_t s, int bf16, const struct ktc_conv_call *c);

/* y = act(x w^T + bias) for shapes that cublasLt has no code for. */
struct ktc_linear_call {
    const void *x, *w;
    void *y;
    const float *bias;
    int m, n, k, ld_x, ld_y, y_f32;
    enum kt_act act;
};
cudaError_t ktc_linear_generic(cudaStream_t s, int bf16, const struct ktc_linear_call *c);

#ifdef __cplusplus
}
#endif

#endif
