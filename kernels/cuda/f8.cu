/* Rounding to e4m3. */
#include "kernels/cuda/f8.cuh"
#include "kernels/cuda/fused.h"
#include "kernels/cuda/vec.cuh"

#include <errno.h>

namespace
{

template <typename X> __device__ __forceinline__ float4 four(const X *x)
{
    return make_float4(ktc_float(x[0]), ktc_float(x[1]), ktc_float(x[2]), ktc_float(x[3]));
}

template <> __device__ __forceinline__ float4 four(const ktc_bf16 *x)
{
    const uint2 raw = *reinterpret_cast<const uint2 *>(x);
    return make_float4(__uint_as_float(raw.x << 16), __uint_as_float(raw.x & 0xffff0000u),
                       __uint_as_float(raw.y << 16), __uint_as_float(raw.y & 0xffff0000u));
}

template <typename X>
__global__ void round_to_f8(uint32_t *y, const X *x, size_t fours, enum kt_act act, float scale)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < fours) {
        const float4 v = four(x + 4 * i);
        y[i] = ktc_f8x4(ktc_act(v.x, act) * scale, ktc_act(v.y, act) * scale,
                        ktc_act(v.z, act) * scale, ktc_act(v.w, act) * scale);
    }
}

template <typename X>
int launch(cudaStream_t s, void *y, const X *x, size_t n, enum kt_act act, float scale)
{
    if (n % 4) {
        return -EOPNOTSUPP;
    }
    if (n > 0) {
        round_to_f8<<<(unsigned)((n / 4 + 255) / 256), 256, 0, s>>>(static_cast<uint32_t *>(y), x,
                                                                    n / 4, act, scale);
    }
    return cudaPeekAtLastError() == cudaSuccess ? 0 : -EIO;
}

} // namespace

int ktc_to_f8(cudaStream_t s, void *y, const void *x, size_t n, float scale)
{
    return launch(s, y, static_cast<const ktc_bf16 *>(x), n, KT_ACT_NONE, scale);
}

int ktc_f32_to_f8(cudaStream_t s, void *y, const float *x, size_t n, float scale)
{
    return launch(s, y, x, n, KT_ACT_NONE, scale);
}

int ktc_activate_f8(cudaStream_t s, void *y, const void *x, size_t n, enum kt_act act, float scale)
{
    return launch(s, y, static_cast<const ktc_bf16 *>(x), n, act, scale);
}
