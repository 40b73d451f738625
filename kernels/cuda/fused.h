/* Launchers of the fused ops of the transformer (kernels.h: residual_norm, kv_store, to_f8) for
 * bf16 activations. Each returns -EOPNOTSUPP for a shape it does not take (the table then makes the
 * op of simple ones), else what the launch returned as 0 or -EIO. Private to kernels/cuda.
 *
 * Thread-safety: none has state. */
#ifndef KT_KERNELS_CUDA_FUSED_H
#define KT_KERNELS_CUDA_FUSED_H

#include "kernels/kernels.h"

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* dim a multiple of 128, at most 3072. One launch. */
int ktc_residual_norm(cudaStream_t s, const struct kt_residual_norm_args *a);

/* heads * head_dim a multiple of 256, at most 2048; head_dim a divisor of 256. [f8] values are
 * transposed for ktc_attention_f8, whose token order they have. *launches: how many it took. */
int ktc_kv_store(cudaStream_t s, const struct kt_kv_store_args *a, int *launches);

/* n a multiple of 8, 16-byte aligned (not for ktc_round_f8). ktc_f32_to_f8 takes fp32, the others
 * bf16. */
int ktc_to_f8(cudaStream_t s, void *y, const void *x, size_t n, float scale);
int ktc_f32_to_f8(cudaStream_t s, void *y, const float *x, size_t n, float scale);
/* As ktc_to_f8, but fp32 in and the rounded values as fp32 out; y may be x. */
int ktc_round_f8(cudaStream_t s, float *y, const float *x, size_t n, float scale);
int ktc_activate_f8(cudaStream_t s, void *y, const void *x, size_t n, enum kt_act act, float scale);

#ifdef __cplusplus
}
#endif

#endif
