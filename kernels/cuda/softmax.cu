#include "kernels/cuda/vec.cuh"

#include <math.h>

enum { THREADS = 256 };

__device__ __forceinline__ float block_max(float x, float *shared)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (int i = 16; i > 0; i /= 2) {
        x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, i));
    }
    if (lane == 0) {
        shared[warp] = x;
    }
    __syncthreads();
    for (int i = 0; i < THREADS / 32; i++) {
        x = fmaxf(x, shared[i]);
    }
    return x;
}

/* One block per row; each thread reads and writes its own columns, so p may be x. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    softmax(T *p, const float *x, int n, int ld, float scale, float tail_logit)
{
    __shared__ float highs[32], sums[32];
    x += (size_t)blockIdx.x * (size_t)ld;
    p += (size_t)blockIdx.x * (size_t)ld;
    float high = -INFINITY, sum = 0.0f;
    for (int i = threadIdx.x; i < n; i += THREADS) {
        high = fmaxf(high, x[i] * scale + (i == n - 1 ? tail_logit : 0.0f));
    }
    high = block_max(high, highs);
    for (int i = threadIdx.x; i < n; i += THREADS) {
        sum += expf(x[i] * scale + (i == n - 1 ? tail_logit : 0.0f) - high);
    }
    sum = ktc_block_sum(sum, sums);
    for (int i = threadIdx.x; i < n; i += THREADS) {
        ktc_put(p + i, expf(x[i] * scale + (i == n - 1 ? tail_logit : 0.0f) - high) / sum);
    }
}

extern "C" cudaError_t ktc_softmax(cudaStream_t s, int bf16, void *p, const float *x, int rows,
                                   int n, int ld, float scale, float tail_logit)
{
    KTC_WITH_ACT(bf16, (softmax<<<rows, THREADS, 0, s>>>((T *)p, x, n, ld, scale, tail_logit)));
    return cudaGetLastError();
}
