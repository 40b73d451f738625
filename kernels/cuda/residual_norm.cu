/* x += gate * y, h = LN(x) * (one + scale) + shift: one warp a row, the row in registers, so that
 * the stream crosses memory once each way. */
#include "kernels/cuda/f8.cuh"
#include "kernels/cuda/fused.h"
#include "kernels/cuda/vec.cuh"

#include <errno.h>

namespace
{

constexpr int ROWS = 4; /* a block; a warp each */

__device__ __forceinline__ float warp_sum(float x)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2) {
        x += __shfl_xor_sync(0xffffffffu, x, i);
    }
    return x;
}

__device__ __forceinline__ float4 load4(const ktc_bf16 *p)
{
    const uint2 raw = *reinterpret_cast<const uint2 *>(p);
    return make_float4(__uint_as_float(raw.x << 16), __uint_as_float(raw.x & 0xffff0000u),
                       __uint_as_float(raw.y << 16), __uint_as_float(raw.y & 0xffff0000u));
}

__device__ __forceinline__ void put4(ktc_bf16 *h, size_t at, float4 v)
{
    const __nv_bfloat162 a = __floats2bfloat162_rn(v.x, v.y), b = __floats2bfloat162_rn(v.z, v.w);
    *reinterpret_cast<uint2 *>(h + at) = make_uint2(*reinterpret_cast<const uint32_t *>(&a),
                                                    *reinterpret_cast<const uint32_t *>(&b));
}

__device__ __forceinline__ void put4(uint8_t *h, size_t at, float4 v)
{
    *reinterpret_cast<uint32_t *>(h + at) = ktc_f8x4(v.x, v.y, v.z, v.w);
}

/* N: float4s of a row that a lane holds. */
template <int N, typename H>
__global__ void __launch_bounds__(32 * ROWS)
    residual_norm(float *xs, const ktc_bf16 *ys, const float *gate, H *h, const float *scale,
                  const float *shift, int m, float one, float eps, float h_scale)
{
    const int row = blockIdx.x * ROWS + threadIdx.x / 32, lane = threadIdx.x % 32, dim = 128 * N;
    if (row >= m) {
        return;
    }
    float4 x[N];
    float sum = 0.0f, squares = 0.0f;
    const size_t at = (size_t)row * dim + lane * 4;
#pragma unroll
    for (int i = 0; i < N; i++) {
        x[i] = *reinterpret_cast<const float4 *>(xs + at + i * 128);
    }
    if (ys) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float4 y = load4(ys + at + i * 128);
            const float4 g = gate ? *reinterpret_cast<const float4 *>(gate + lane * 4 + i * 128)
                                  : make_float4(1.0f, 1.0f, 1.0f, 1.0f);
            x[i].x = fmaf(g.x, y.x, x[i].x), x[i].y = fmaf(g.y, y.y, x[i].y);
            x[i].z = fmaf(g.z, y.z, x[i].z), x[i].w = fmaf(g.w, y.w, x[i].w);
            *reinterpret_cast<float4 *>(xs + at + i * 128) = x[i];
        }
    }
#pragma unroll
    for (int i = 0; i < N; i++) {
        sum += (x[i].x + x[i].y) + (x[i].z + x[i].w);
    }
    const float mean = warp_sum(sum) / dim;
#pragma unroll
    for (int i = 0; i < N; i++) {
        x[i].x -= mean, x[i].y -= mean, x[i].z -= mean, x[i].w -= mean;
        squares += (x[i].x * x[i].x + x[i].y * x[i].y) + (x[i].z * x[i].z + x[i].w * x[i].w);
    }
    const float inv = 1.0f / sqrtf(warp_sum(squares) / dim + eps);
#pragma unroll
    for (int i = 0; i < N; i++) {
        const float4 a = *reinterpret_cast<const float4 *>(scale + lane * 4 + i * 128);
        const float4 b = *reinterpret_cast<const float4 *>(shift + lane * 4 + i * 128);
        float4 v =
            make_float4(fmaf(x[i].x * inv, one + a.x, b.x), fmaf(x[i].y * inv, one + a.y, b.y),
                        fmaf(x[i].z * inv, one + a.z, b.z), fmaf(x[i].w * inv, one + a.w, b.w));
        if (sizeof(H) == 1) {
            v.x *= h_scale, v.y *= h_scale, v.z *= h_scale, v.w *= h_scale;
        }
        put4(h, at + i * 128, v);
    }
}

template <int N> int launch(cudaStream_t s, const struct kt_residual_norm_args *a)
{
    const int blocks = (a->m + ROWS - 1) / ROWS;
    const ktc_bf16 *y = static_cast<const ktc_bf16 *>(a->y);
    if (a->h_scale > 0) {
        residual_norm<N>
            <<<blocks, 32 * ROWS, 0, s>>>(a->x, y, a->gate, static_cast<uint8_t *>(a->h), a->scale,
                                          a->shift, a->m, a->scale_one, a->eps, a->h_scale);
    } else {
        residual_norm<N><<<blocks, 32 * ROWS, 0, s>>>(a->x, y, a->gate,
                                                      static_cast<ktc_bf16 *>(a->h), a->scale,
                                                      a->shift, a->m, a->scale_one, a->eps, 0.0f);
    }
    return cudaPeekAtLastError() == cudaSuccess ? 0 : -EIO;
}

} // namespace

int ktc_residual_norm(cudaStream_t s, const struct kt_residual_norm_args *a)
{
    if (a->m < 1 || a->dim % 128) {
        return a->m == 0 ? 0 : -EOPNOTSUPP;
    }
    switch (a->dim / 128) {
    case 1: return launch<1>(s, a);
    case 2: return launch<2>(s, a);
    case 4: return launch<4>(s, a);
    case 8: return launch<8>(s, a);
    case 12: return launch<12>(s, a);
    case 16: return launch<16>(s, a);
    case 24: return launch<24>(s, a);
    default: return -EOPNOTSUPP;
    }
}
