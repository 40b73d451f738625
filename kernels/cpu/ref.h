/* The reference level: fp32 in and out, plain C, sums in double, one thread, the simplest code that
 * is right. Every faster level is compared with it and falls back to it for shapes it does not
 * take. Contracts: kernels.h. */
#ifndef KT_KERNELS_CPU_REF_H
#define KT_KERNELS_CPU_REF_H

#include "kernels/cpu/queue.h"

double kt_ref_gelu_tanh(double x);
double kt_ref_silu(double x);

int kt_ref_linear_create(struct kt_linear **l, struct kt_queue *q, const struct kt_linear_desc *d);
void kt_ref_linear_destroy(struct kt_linear **l);
int kt_ref_linear(struct kt_queue *q, const struct kt_linear *l, const struct kt_linear_args *a);
int kt_ref_conv_create(struct kt_conv **c, struct kt_queue *q, const struct kt_conv_desc *d);
void kt_ref_conv_destroy(struct kt_conv **c);
int kt_ref_conv(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a);

int kt_ref_layer_norm(struct kt_queue *q, const struct kt_layer_norm_args *a);
int kt_ref_rms_norm(struct kt_queue *q, const struct kt_rms_norm_args *a);
int kt_ref_channel_norm(struct kt_queue *q, const struct kt_channel_norm_args *a);
int kt_ref_rope(struct kt_queue *q, const struct kt_rope_args *a);
int kt_ref_attention(struct kt_queue *q, const struct kt_attention_args *a);

int kt_ref_residual(struct kt_queue *q, const struct kt_residual_args *a);
int kt_ref_mul_gelu(struct kt_queue *q, void *y, const void *a, const void *b, size_t n);
int kt_ref_distance_bias(struct kt_queue *q, float *y, const float *table, int heads, int n,
                         int reach);
int kt_ref_tanh3(struct kt_queue *q, void *y, const void *x, size_t n);
int kt_ref_relu(struct kt_queue *q, void *y, const void *x, size_t n);
int kt_ref_sample_step(struct kt_queue *q, const struct kt_sample_step_args *a);

int kt_ref_patchify(struct kt_queue *q, const struct kt_patch_args *a);
int kt_ref_unpatchify(struct kt_queue *q, const struct kt_patch_args *a);
int kt_ref_upsample2x(struct kt_queue *q, void *y, const void *x, int t, int h, int w, int c);
int kt_ref_split_frames(struct kt_queue *q, void *y, const void *x, int t, int h, int w, int c,
                        int f);
int kt_ref_concat_channels(struct kt_queue *q, void *y, const void *a, const void *b, int pixels,
                           int ca, int cb);
int kt_ref_to_channels_last(struct kt_queue *q, void *y, const float *x, int t, int c, int h, int w,
                            const float *scale, const float *shift);
int kt_ref_to_planar(struct kt_queue *q, float *y, const void *x, int t, int h, int w, int c);
int kt_ref_copy_rows(struct kt_queue *q, void *dst, size_t dst_stride, const void *src,
                     size_t src_stride, int rows, size_t row_bytes);

int kt_ref_to_f8(struct kt_queue *q, void *y, const void *x, size_t n, float scale);
int kt_ref_to_i420(struct kt_queue *q, const struct kt_i420_args *a);
int kt_ref_noise(struct kt_queue *q, float *out, int n, uint64_t seed, uint64_t stream);

#endif
