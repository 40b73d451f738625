/* What the simple kernels share: [act] values as floats, eight at a time where rows allow it.
 * Private to kernels/cuda. */
#ifndef KT_KERNELS_CUDA_VEC_CUH
#define KT_KERNELS_CUDA_VEC_CUH

#include "kernels/cuda/launch.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

typedef __nv_bfloat16 ktc_bf16;

__device__ __forceinline__ float ktc_float(float x)
{
    return x;
}

__device__ __forceinline__ float ktc_float(ktc_bf16 x)
{
    return __bfloat162float(x);
}

__device__ __forceinline__ float ktc_float(__half x)
{
    return __half2float(x);
}

__device__ __forceinline__ void ktc_put(float *p, float x)
{
    *p = x;
}

__device__ __forceinline__ void ktc_put(ktc_bf16 *p, float x)
{
    *p = __float2bfloat16_rn(x);
}

__device__ __forceinline__ void ktc_put(__half *p, float x)
{
    *p = __float2half_rn(x);
}

/* N values at p, N 1 or 8; with 8, p is 16-byte aligned. */
template <int N> __device__ __forceinline__ void ktc_load(float *v, const float *p)
{
    if (N == 8) {
        const float4 a = reinterpret_cast<const float4 *>(p)[0];
        const float4 b = reinterpret_cast<const float4 *>(p)[1];
        v[0] = a.x, v[1 % N] = a.y, v[2 % N] = a.z, v[3 % N] = a.w;
        v[4 % N] = b.x, v[5 % N] = b.y, v[6 % N] = b.z, v[7 % N] = b.w;
    } else {
        v[0] = *p;
    }
}

template <int N> __device__ __forceinline__ void ktc_load(float *v, const ktc_bf16 *p)
{
    if (N == 8) {
        const uint4 raw = *reinterpret_cast<const uint4 *>(p);
        const uint32_t words[4] = {raw.x, raw.y, raw.z, raw.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            v[2 * i % N] = __uint_as_float(words[i] << 16);
            v[(2 * i + 1) % N] = __uint_as_float(words[i] & 0xffff0000u);
        }
    } else {
        v[0] = __bfloat162float(*p);
    }
}

template <int N> __device__ __forceinline__ void ktc_store(float *p, const float *v)
{
    if (N == 8) {
        reinterpret_cast<float4 *>(p)[0] = make_float4(v[0], v[1 % N], v[2 % N], v[3 % N]);
        reinterpret_cast<float4 *>(p)[1] = make_float4(v[4 % N], v[5 % N], v[6 % N], v[7 % N]);
    } else {
        *p = v[0];
    }
}

template <int N> __device__ __forceinline__ void ktc_store(ktc_bf16 *p, const float *v)
{
    if (N == 8) {
        uint32_t words[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const __nv_bfloat162 two = __floats2bfloat162_rn(v[2 * i % N], v[(2 * i + 1) % N]);
            words[i] = *reinterpret_cast<const uint32_t *>(&two);
        }
        *reinterpret_cast<uint4 *>(p) = make_uint4(words[0], words[1], words[2], words[3]);
    } else {
        *p = __float2bfloat16_rn(v[0]);
    }
}

/* x / (1 + exp(-2u)) is gelu's 0.5 x (1 + tanh u) without its cancellation. */
__device__ __forceinline__ float ktc_gelu_tanh(float x)
{
    const float u = 0.7978845608028654f * (x + 0.044715f * x * x * x);
    return x / (1.0f + expf(-2.0f * u));
}

__device__ __forceinline__ float ktc_silu(float x)
{
    return x / (1.0f + expf(-x));
}

__device__ __forceinline__ float ktc_act(float x, enum kt_act act)
{
    return act == KT_ACT_GELU_TANH ? ktc_gelu_tanh(x) : act == KT_ACT_SILU ? ktc_silu(x) : x;
}

/* The sum over the block, given to every thread; blockDim.x a multiple of 32. The order of the sum
 * is fixed by the number of threads. */
__device__ __forceinline__ float ktc_block_sum(float x, float *shared)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int i = 16; i > 0; i /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, i);
    }
    __syncthreads(); /* whoever still reads the sum before */
    if (lane == 0) {
        shared[warp] = x;
    }
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < warps; i++) {
        sum += shared[i];
    }
    return sum;
}

/* Whether addresses and strides (in bytes) all allow 16-byte accesses. */
static inline bool ktc_aligned(uintptr_t all)
{
    return all % 16 == 0;
}

static inline unsigned ktc_blocks(size_t items, int per_block)
{
    return (unsigned)((items + (size_t)per_block - 1) / (size_t)per_block);
}

/* Runs `call` with T as the type of [act]. */
#define KTC_WITH_ACT(bf16, call)                                                                   \
    do {                                                                                           \
        if (bf16) {                                                                                \
            typedef ktc_bf16 T;                                                                    \
            call;                                                                                  \
        } else {                                                                                   \
            typedef float T;                                                                       \
            call;                                                                                  \
        }                                                                                          \
    } while (0)

#endif
