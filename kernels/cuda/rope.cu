#include "kernels/cuda/vec.cuh"

/* N channels of a row each thread, N 2 or 8. */
template <typename T, int N>
__global__ void rope(const T *x, T *y, const float *cs, const float *sn, int m, int row,
                     int head_dim, int ld_x, int ld_y)
{
    const int per_row = row / N;
    const size_t item = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    const size_t r = item / (unsigned)per_row;
    const int at = (int)(item % (unsigned)per_row) * N;
    if (r >= (size_t)m) {
        return;
    }
    const size_t angle = r * (size_t)(head_dim / 2) + (size_t)(at % head_dim / 2);
    float v[N], out[N];
    x += r * (size_t)ld_x + at;
    y += r * (size_t)ld_y + at;
    if (N == 8) {
        ktc_load<N>(v, x);
    } else {
        v[0] = ktc_float(x[0]);
        v[1] = ktc_float(x[1]);
    }
#pragma unroll
    for (int i = 0; i < N; i += 2) {
        const float c = cs[angle + i / 2], s = sn[angle + i / 2];
        out[i] = v[i] * c - v[i + 1] * s;
        out[i + 1] = v[i] * s + v[i + 1] * c;
    }
    if (N == 8) {
        ktc_store<N>(y, out);
    } else {
        ktc_put(y, out[0]);
        ktc_put(y + 1, out[1]);
    }
}

extern "C" cudaError_t ktc_rope(cudaStream_t s, int bf16, const struct kt_rope_args *a)
{
    const int row = a->heads * a->head_dim, threads = 256;
    const int ld_x = a->ld_x ? a->ld_x : row, ld_y = a->ld_y ? a->ld_y : row;
    const bool wide = a->head_dim % 8 == 0 && ld_x % 8 == 0 && ld_y % 8 == 0 &&
                      ktc_aligned((uintptr_t)a->x | (uintptr_t)a->y);
    if (a->m == 0) {
        return cudaSuccess;
    }
#define CALL(N)                                                                                    \
    KTC_WITH_ACT(                                                                                  \
        bf16,                                                                                      \
        (rope<T, N><<<ktc_blocks((size_t)a->m *(row / N), threads), threads, 0, s>>>(              \
            (const T *)a->x, (T *)a->y, a->cos, a->sin, a->m, row, a->head_dim, ld_x, ld_y)))
    if (wide) {
        CALL(8);
    } else {
        CALL(2);
    }
#undef CALL
    return cudaGetLastError();
}
