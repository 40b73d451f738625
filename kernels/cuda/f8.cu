/* Rounding to e4m3. */
#include "kernels/cuda/f8.cuh"
#include "kernels/cuda/fused.h"
#include "kernels/cuda/vec.cuh"

#include <errno.h>

namespace
{

/* tanh by the special function unit: 2^-11 of the value, where e4m3 keeps 2^-4. */
__device__ __forceinline__ float fast_act(float x, enum kt_act act)
{
    if (act != KT_ACT_GELU_TANH) {
        return ktc_act(x, act);
    }
    float t;
    asm("tanh.approx.f32 %0, %1;" : "=f"(t) : "f"(0.7978845608f * (x + 0.044715f * x * x * x)));
    return 0.5f * x * (1.0f + t);
}

template <typename X>
__global__ void round_to_f8(uint2 *y, const X *x, size_t eights, enum kt_act act, float scale)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < eights) {
        float v[8];
        ktc_load<8>(v, x + 8 * i);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            v[j] = fast_act(v[j], act) * scale;
        }
        y[i] = make_uint2(ktc_f8x4(v[0], v[1], v[2], v[3]), ktc_f8x4(v[4], v[5], v[6], v[7]));
    }
}

template <typename X>
int launch(cudaStream_t s, void *y, const X *x, size_t n, enum kt_act act, float scale)
{
    if (n % 8) {
        return -EOPNOTSUPP;
    }
    if (n > 0) {
        round_to_f8<<<(unsigned)((n / 8 + 255) / 256), 256, 0, s>>>(static_cast<uint2 *>(y), x,
                                                                    n / 8, act, scale);
    }
    return cudaPeekAtLastError() == cudaSuccess ? 0 : -EIO;
}

__global__ void round_in_f32(float *y, const float *x, size_t n, float scale)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        const __nv_fp8_storage_t code =
            __nv_cvt_float_to_fp8(x[i] * scale, __NV_SATFINITE, __NV_E4M3);
        y[i] = __half2float(__half(__nv_cvt_fp8_to_halfraw(code, __NV_E4M3)));
    }
}

} // namespace

int ktc_round_f8(cudaStream_t s, float *y, const float *x, size_t n, float scale)
{
    if (n > 0) {
        round_in_f32<<<(unsigned)((n + 255) / 256), 256, 0, s>>>(y, x, n, scale);
    }
    return cudaPeekAtLastError() == cudaSuccess ? 0 : -EIO;
}

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
