/* RGB to I420 as ref_image.c says: BT.709, limited range; a thread per 2x2 pixels. */
#include "kernels/cuda/vec.cuh"

struct picture {
    int w, h;
    float scale, offset;
    size_t frame_bytes;
};

__device__ __forceinline__ float unit(float v, const struct picture &p)
{
    v = v * p.scale + p.offset;
    return v > 0.0f ? fminf(v, 1.0f) : 0.0f; /* NaN is black */
}

__device__ __forceinline__ float luma(float r, float g, float b)
{
    return 0.2126f * r + 0.7152f * g + 0.0722f * b;
}

__device__ __forceinline__ uint8_t round_u8(float v)
{
    return (uint8_t)floorf(v + 0.5f);
}

__global__ void to_i420(uint8_t *out, const float *rgb, struct picture p, unsigned n)
{
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x, half = (unsigned)p.w / 2;
    const size_t plane = (size_t)p.w * (size_t)p.h;
    if (i >= n) {
        return;
    }
    const unsigned y = i / half * 2, x = i % half * 2;
    rgb += blockIdx.y * 3 * plane + (size_t)y * (size_t)p.w + x;
    out += blockIdx.y * p.frame_bytes;
    float mean[3] = {0.0f, 0.0f, 0.0f};
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float v[3][2];
#pragma unroll
        for (int c = 0; c < 3; c++) {
            const float2 two =
                *reinterpret_cast<const float2 *>(rgb + (size_t)c * plane + (size_t)row * p.w);
            v[c][0] = unit(two.x, p);
            v[c][1] = unit(two.y, p);
            mean[c] += 0.25f * v[c][0] + 0.25f * v[c][1];
        }
        uint8_t *to = out + (size_t)(y + row) * (size_t)p.w + x;
        to[0] = round_u8(16.0f + 219.0f * luma(v[0][0], v[1][0], v[2][0]));
        to[1] = round_u8(16.0f + 219.0f * luma(v[0][1], v[1][1], v[2][1]));
    }
    const float mean_luma = luma(mean[0], mean[1], mean[2]);
    out[plane + i] = round_u8(128.0f + (224.0f / 1.8556f) * (mean[2] - mean_luma));
    out[plane + plane / 4 + i] = round_u8(128.0f + (224.0f / 1.5748f) * (mean[0] - mean_luma));
}

extern "C" cudaError_t ktc_to_i420(cudaStream_t s, const struct kt_i420_args *a)
{
    const int threads = 256;
    const struct picture p = {a->w, a->h, a->scale, a->offset, a->frame_bytes};
    const unsigned n = (unsigned)a->w / 2 * ((unsigned)a->h / 2);
    if (a->frames == 0) {
        return cudaSuccess;
    }
    to_i420<<<dim3(ktc_blocks(n, threads), (unsigned)a->frames), threads, 0, s>>>(a->out, a->rgb, p,
                                                                                  n);
    return cudaGetLastError();
}
