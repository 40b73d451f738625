/* e4m3 values, four or eight at a time. Private to kernels/cuda. */
#ifndef KT_KERNELS_CUDA_F8_CUH
#define KT_KERNELS_CUDA_F8_CUH

#include <cuda_fp8.h>
#include <stdint.h>

__device__ __forceinline__ uint32_t ktc_f8x4(float a, float b, float c, float d)
{
    const uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
    const uint32_t high = __nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3);
    return low | high << 16;
}

#endif
