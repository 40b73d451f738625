/* y = act(x w^T + bias) for any shape and alignment, in fp32 arithmetic: where cublasLt has no
 * code. A block computes 64 x 64 outputs, a thread 4 x 4 of them. */
#include "kernels/cuda/vec.cuh"

enum { TILE = 64, DEPTH = 16, PAD = 4 };

template <typename T, typename Y>
__global__ void __launch_bounds__(256) linear(const struct ktc_linear_call c)
{
    __shared__ float xs[DEPTH][TILE + PAD], ws[DEPTH][TILE + PAD];
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const int row0 = blockIdx.x * TILE, col0 = blockIdx.y * TILE;
    const T *x = (const T *)c.x, *w = (const T *)c.w;
    Y *y = (Y *)c.y;
    float acc[4][4] = {};
    for (int k0 = 0; k0 < c.k; k0 += DEPTH) {
        __syncthreads();
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int i = threadIdx.x + 256 * j, k = i % DEPTH, at = i / DEPTH;
            xs[k][at] = row0 + at < c.m && k0 + k < c.k
                            ? ktc_float(x[(size_t)(row0 + at) * (size_t)c.ld_x + k0 + k])
                            : 0.0f;
            ws[k][at] = col0 + at < c.n && k0 + k < c.k
                            ? ktc_float(w[(size_t)(col0 + at) * (size_t)c.k + k0 + k])
                            : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEPTH; k++) {
            const float4 a = *reinterpret_cast<const float4 *>(&xs[k][ty * 4]);
            const float4 b = *reinterpret_cast<const float4 *>(&ws[k][tx * 4]);
            const float av[4] = {a.x, a.y, a.z, a.w}, bv[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
            for (int i = 0; i < 4; i++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    acc[i][j] = fmaf(av[i], bv[j], acc[i][j]);
                }
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int r = row0 + ty * 4 + i;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int o = col0 + tx * 4 + j;
            if (r < c.m && o < c.n) {
                ktc_put(y + (size_t)r * (size_t)c.ld_y + o,
                        ktc_act(acc[i][j] + (c.bias ? c.bias[o] : 0.0f), c.act));
            }
        }
    }
}

extern "C" cudaError_t ktc_linear_generic(cudaStream_t s, int bf16, const struct ktc_linear_call *c)
{
    const dim3 grid(ktc_blocks((size_t)c->m, TILE), ktc_blocks((size_t)c->n, TILE));
    if (!bf16) {
        linear<float, float><<<grid, 256, 0, s>>>(*c);
    } else if (c->y_f32) {
        linear<ktc_bf16, float><<<grid, 256, 0, s>>>(*c);
    } else {
        linear<ktc_bf16, ktc_bf16><<<grid, 256, 0, s>>>(*c);
    }
    return cudaGetLastError();
}
