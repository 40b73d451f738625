/* The VAE's norm: each pixel's channels to unit RMS, times gamma, optionally SiLU. Memory-bound:
 * one read, one write, sixteen bytes a lane. G neighbouring lanes hold a pixel, V pieces each, so
 * that a load of a warp touches whole sectors; two pixels a lane keep enough loads in flight. */
#include "kernels/cuda/conv.h"

#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <errno.h>
#include <stdint.h>

enum { NORM_THREADS = 256, NORM_PIXELS = 2 };

static __device__ __forceinline__ float silu(float v)
{
    return __fdividef(v, 1.0f + __expf(-v));
}

static __device__ __forceinline__ void widen8(float (&f)[8], uint4 v)
{
    const uint32_t w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        f[2 * i] = __uint_as_float(w[i] << 16);
        f[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
    }
}

template <bool F8> static __device__ __forceinline__ void put8(void *y, size_t at, const float *f)
{
    if (F8) {
        uint32_t w[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const __nv_fp8x4_e4m3 q(
                make_float4(f[4 * i], f[4 * i + 1], f[4 * i + 2], f[4 * i + 3]));
            w[i] = q.__x;
        }
        *reinterpret_cast<uint2 *>((uint8_t *)y + at) = make_uint2(w[0], w[1]);
    } else {
        uint32_t w[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const __nv_bfloat162 b = __floats2bfloat162_rn(f[2 * i], f[2 * i + 1]);
            w[i] = *reinterpret_cast<const uint32_t *>(&b);
        }
        *reinterpret_cast<uint4 *>((__nv_bfloat16 *)y + at) = make_uint4(w[0], w[1], w[2], w[3]);
    }
}

template <int G, int V, bool F8>
static __global__ void __launch_bounds__(NORM_THREADS)
    norm_kernel(const uint4 *__restrict__ x, void *y, const float *__restrict__ gamma, int pixels,
                int pieces, int do_silu, float out_scale)
{
    const int lane = threadIdx.x % G, per_block = NORM_THREADS / G;
    const int first = blockIdx.x * per_block * NORM_PIXELS + threadIdx.x / G;
    uint4 v[NORM_PIXELS][V] = {};
#pragma unroll
    for (int n = 0; n < NORM_PIXELS; n++) {
        const int pixel = first + n * per_block;
#pragma unroll
        for (int i = 0; i < V; i++) {
            if (pixel < pixels && lane + G * i < pieces) {
                v[n][i] = x[(size_t)pixel * pieces + lane + G * i];
            }
        }
    }
    const float root = sqrtf((float)(8 * pieces));
#pragma unroll
    for (int n = 0; n < NORM_PIXELS; n++) {
        const int pixel = first + n * per_block;
        float sum = 0.0f, f[8];
#pragma unroll
        for (int i = 0; i < V; i++) {
            widen8(f, v[n][i]);
#pragma unroll
            for (int j = 0; j < 8; j++) {
                sum = fmaf(f[j], f[j], sum);
            }
        }
#pragma unroll
        for (int d = 1; d < G; d *= 2) {
            sum += __shfl_xor_sync(0xffffffffu, sum, d);
        }
        const float factor = root / fmaxf(sqrtf(sum), 1e-12f);
#pragma unroll
        for (int i = 0; i < V; i++) {
            const int piece = lane + G * i;
            if (pixel < pixels && piece < pieces) {
                const float4 g0 = __ldg(reinterpret_cast<const float4 *>(gamma) + 2 * piece);
                const float4 g1 = __ldg(reinterpret_cast<const float4 *>(gamma) + 2 * piece + 1);
                const float g[8] = {g0.x, g0.y, g0.z, g0.w, g1.x, g1.y, g1.z, g1.w};
                widen8(f, v[n][i]);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    const float r = f[j] * factor * g[j];
                    f[j] = (do_silu ? silu(r) : r) * (F8 ? out_scale : 1.0f);
                }
                put8<F8>(y, ((size_t)pixel * pieces + piece) * 8, f);
            }
        }
    }
}

template <int G, int V, bool F8>
static void run(cudaStream_t stream, const struct kt_channel_norm_args *a, float out_scale)
{
    const int per_block = NORM_THREADS / G * NORM_PIXELS;
    norm_kernel<G, V, F8><<<(a->pixels + per_block - 1) / per_block, NORM_THREADS, 0, stream>>>(
        (const uint4 *)a->x, a->y, a->gamma, a->pixels, a->c / 8, a->silu, out_scale);
}

template <bool F8>
static int norm(cudaStream_t stream, const struct kt_channel_norm_args *a, float out_scale)
{
    if (a->pixels < 0 || a->c < 8 || a->c % 8 != 0 || a->c > 1024 || !a->gamma ||
        (uintptr_t)a->gamma % 16 != 0 || ((uintptr_t)a->x | (uintptr_t)a->y) % 16 != 0) {
        return -EINVAL;
    }
    if (a->pixels == 0) {
        return 0;
    }
    if (a->c <= 96) {
        run<4, 3, F8>(stream, a, out_scale);
    } else if (a->c <= 192) {
        run<8, 3, F8>(stream, a, out_scale);
    } else if (a->c <= 384) {
        run<16, 3, F8>(stream, a, out_scale);
    } else {
        run<32, 4, F8>(stream, a, out_scale);
    }
    return cudaGetLastError() == cudaSuccess ? 0 : -EIO;
}

extern "C" int ktc_channel_norm_bf16(cudaStream_t stream, const struct kt_channel_norm_args *a)
{
    return norm<false>(stream, a, 1.0f);
}

extern "C" int ktc_channel_norm_f8(cudaStream_t stream, const struct kt_channel_norm_args *a)
{
    return norm<true>(stream, a, a->y_scale);
}
