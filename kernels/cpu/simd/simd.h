/* The SIMD level: the sources of this folder are compiled once per instruction set (KT_ISA, with
 * KT_LANES floats in a vector) and each compilation fills the table with its own functions.
 *
 * All products (linear, convolution, attention) run through one register tile, kt_tile (vec.h),
 * which adds up a sum over its depth in order and one at a time. So the bits of an output row
 * depend on that row alone, not on how many rows there are or on which thread computes it
 * (kernels.h, batch-invariant). */
#ifndef KT_KERNELS_CPU_SIMD_SIMD_H
#define KT_KERNELS_CPU_SIMD_SIMD_H

#include "kernels/cpu/queue.h"

/* Overwrite what the level does faster. The caller has checked that the machine has the
 * instructions. */
void kt_simd_fill_avx2(struct kt_kernels *k);
void kt_simd_fill_avx512(struct kt_kernels *k);

/* Eight-lane versions that the 16-lane compilation uses where its vectors would be half empty. */
int kt_simd_conv_create_avx2(struct kt_conv **c, struct kt_queue *q, const struct kt_conv_desc *d);
int kt_simd_conv_avx2(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a);
int kt_simd_channel_norm_avx2(struct kt_queue *q, const struct kt_channel_norm_args *a);

#ifdef KT_ISA
#define KT_CAT2(a, b) a##b
#define KT_CAT(a, b)  KT_CAT2(a, b)
#define KT_SIMD(name) KT_CAT(kt_simd_##name##_, KT_ISA)

int KT_SIMD(linear_create)(struct kt_linear **l, struct kt_queue *q,
                           const struct kt_linear_desc *d);
int KT_SIMD(linear)(struct kt_queue *q, const struct kt_linear *l, const struct kt_linear_args *a);
int KT_SIMD(conv_create)(struct kt_conv **c, struct kt_queue *q, const struct kt_conv_desc *d);
int KT_SIMD(conv)(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a);
/* 3x3 filters with fewer products (winograd.c). `takes` says which; `pack` prepares c->winograd
 * from the filter as checkpoints have it, fp32; the call needs c->bias too. */
int KT_SIMD(winograd_takes)(const struct kt_conv_desc *d);
int KT_SIMD(winograd_pack)(struct kt_conv *c, const float *weight);
int KT_SIMD(winograd)(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a);
int KT_SIMD(attention)(struct kt_queue *q, const struct kt_attention_args *a);
int KT_SIMD(layer_norm)(struct kt_queue *q, const struct kt_layer_norm_args *a);
int KT_SIMD(rms_norm)(struct kt_queue *q, const struct kt_rms_norm_args *a);
int KT_SIMD(channel_norm)(struct kt_queue *q, const struct kt_channel_norm_args *a);
int KT_SIMD(rope)(struct kt_queue *q, const struct kt_rope_args *a);
int KT_SIMD(residual)(struct kt_queue *q, const struct kt_residual_args *a);
int KT_SIMD(to_i420)(struct kt_queue *q, const struct kt_i420_args *a);
int KT_SIMD(mul_gelu)(struct kt_queue *q, void *y, const void *a, const void *b, size_t n);

/* The VAE's norm for channel counts that fill vectors (channel_norm.c). */
int KT_SIMD(channel_norm_takes)(int c);
void KT_SIMD(channel_norm_groups)(struct kt_queue *q, const struct kt_channel_norm_args *a);
#endif

#endif
