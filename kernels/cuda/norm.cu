/* Row norms: one block per row (layer, RMS) or some lanes of a warp per pixel (channel). The rows
 * are read again from the cache instead of being kept in registers, so that any length goes. */
#include "kernels/cuda/vec.cuh"

template <typename T, int N>
__global__ void layer_norm(const float *x, T *y, const float *scale, const float *shift, int dim,
                           int rows_per_group, int ld_mod, float scale_one, float eps)
{
    __shared__ float shared[32];
    const size_t row = blockIdx.x, group = row / (unsigned)rows_per_group * (size_t)ld_mod;
    x += row * (size_t)dim;
    y += row * (size_t)dim;
    float v[N], sum = 0.0f;
    for (int i = threadIdx.x * N; i < dim; i += blockDim.x * N) {
        ktc_load<N>(v, x + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            sum += v[j];
        }
    }
    const float mean = ktc_block_sum(sum, shared) / (float)dim;
    sum = 0.0f;
    for (int i = threadIdx.x * N; i < dim; i += blockDim.x * N) {
        ktc_load<N>(v, x + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            sum += (v[j] - mean) * (v[j] - mean);
        }
    }
    const float inv = 1.0f / sqrtf(ktc_block_sum(sum, shared) / (float)dim + eps);
    for (int i = threadIdx.x * N; i < dim; i += blockDim.x * N) {
        float a[N], b[N];
        ktc_load<N>(v, x + i);
        ktc_load<N>(a, scale + group + i);
        ktc_load<N>(b, shift + group + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            v[j] = (v[j] - mean) * inv * (scale_one + a[j]) + b[j];
        }
        ktc_store<N>(y + i, v);
    }
}

/* Threads of a block for rows of dim values, N at a time. */
static int row_threads(int dim, int n)
{
    const int wanted = (dim + n - 1) / n, threads = (wanted + 31) / 32 * 32;
    return threads < 256 ? threads : 256;
}

extern "C" cudaError_t ktc_layer_norm(cudaStream_t s, int bf16, const struct kt_layer_norm_args *a)
{
    const bool wide =
        a->dim % 8 == 0 && a->ld_mod % 4 == 0 &&
        ktc_aligned((uintptr_t)a->x | (uintptr_t)a->y | (uintptr_t)a->scale | (uintptr_t)a->shift);
    const int threads = row_threads(a->dim, wide ? 8 : 1);
    if (a->m == 0) {
        return cudaSuccess;
    }
#define CALL(N)                                                                                    \
    KTC_WITH_ACT(bf16, (layer_norm<T, N><<<a->m, threads, 0, s>>>(                                 \
                           a->x, (T *)a->y, a->scale, a->shift, a->dim, a->rows_per_group,         \
                           a->ld_mod, a->scale_one, a->eps)))
    if (wide) {
        CALL(8);
    } else {
        CALL(1);
    }
#undef CALL
    return cudaGetLastError();
}

template <typename X, typename T, int N>
__global__ void rms_norm(const X *x, T *y, const float *weight, int dim, int ld_x, int ld_y,
                         float eps)
{
    __shared__ float shared[32];
    const size_t row = blockIdx.x;
    x += row * (size_t)ld_x;
    y += row * (size_t)ld_y;
    float v[N], sum = 0.0f;
    for (int i = threadIdx.x * N; i < dim; i += blockDim.x * N) {
        ktc_load<N>(v, x + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            sum += v[j] * v[j];
        }
    }
    const float inv = 1.0f / sqrtf(ktc_block_sum(sum, shared) / (float)dim + eps);
    for (int i = threadIdx.x * N; i < dim; i += blockDim.x * N) {
        float w[N];
        ktc_load<N>(v, x + i);
        ktc_load<N>(w, weight + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            v[j] = v[j] * inv * w[j];
        }
        ktc_store<N>(y + i, v);
    }
}

template <typename X, typename T>
static void launch_rms_norm(cudaStream_t s, const struct kt_rms_norm_args *a)
{
    const int ld_x = a->ld_x ? a->ld_x : a->dim, ld_y = a->ld_y ? a->ld_y : a->dim;
    const bool wide = a->dim % 8 == 0 && ld_x % 8 == 0 && ld_y % 8 == 0 &&
                      ktc_aligned((uintptr_t)a->x | (uintptr_t)a->y | (uintptr_t)a->weight);
    const int threads = row_threads(a->dim, wide ? 8 : 1);
    if (wide) {
        rms_norm<X, T, 8><<<a->m, threads, 0, s>>>((const X *)a->x, (T *)a->y, a->weight, a->dim,
                                                   ld_x, ld_y, a->eps);
    } else {
        rms_norm<X, T, 1><<<a->m, threads, 0, s>>>((const X *)a->x, (T *)a->y, a->weight, a->dim,
                                                   ld_x, ld_y, a->eps);
    }
}

extern "C" cudaError_t ktc_rms_norm(cudaStream_t s, int bf16, const struct kt_rms_norm_args *a)
{
    if (a->m == 0) {
        return cudaSuccess;
    }
    if (!bf16) {
        launch_rms_norm<float, float>(s, a);
    } else if (a->x_f32) {
        launch_rms_norm<float, ktc_bf16>(s, a);
    } else {
        launch_rms_norm<ktc_bf16, ktc_bf16>(s, a);
    }
    return cudaGetLastError();
}

/* LANES lanes of a warp per pixel, a power of two. */
template <typename T, int N, int LANES>
__global__ void channel_norm(const T *x, T *y, const float *gamma, int pixels, int c, int silu)
{
    const size_t pixel = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) / LANES;
    const int lane = threadIdx.x % LANES;
    const bool there = pixel < (size_t)pixels;
    x += pixel * (size_t)c;
    y += pixel * (size_t)c;
    float v[N], sum = 0.0f;
    for (int i = lane * N; there && i < c; i += LANES * N) {
        ktc_load<N>(v, x + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            sum += v[j] * v[j];
        }
    }
#pragma unroll
    for (int i = LANES / 2; i > 0; i /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, i);
    }
    const float factor = sqrtf((float)c) / fmaxf(sqrtf(sum), 1e-12f);
    for (int i = lane * N; there && i < c; i += LANES * N) {
        float g[N];
        ktc_load<N>(v, x + i);
        ktc_load<N>(g, gamma + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            v[j] = v[j] * factor * g[j];
            v[j] = silu ? ktc_silu(v[j]) : v[j];
        }
        ktc_store<N>(y + i, v);
    }
}

template <typename T, int N, int LANES>
static void launch_channel_norm(cudaStream_t s, const struct kt_channel_norm_args *a)
{
    const int threads = 256;
    channel_norm<T, N, LANES><<<ktc_blocks((size_t)a->pixels * LANES, threads), threads, 0, s>>>(
        (const T *)a->x, (T *)a->y, a->gamma, a->pixels, a->c, a->silu);
}

template <typename T, int N>
static void pick_channel_norm(cudaStream_t s, const struct kt_channel_norm_args *a)
{
    const int steps = (a->c + N - 1) / N;
    if (steps <= 1) {
        launch_channel_norm<T, N, 1>(s, a);
    } else if (steps <= 2) {
        launch_channel_norm<T, N, 2>(s, a);
    } else if (steps <= 4) {
        launch_channel_norm<T, N, 4>(s, a);
    } else if (steps <= 12) {
        launch_channel_norm<T, N, 8>(s, a);
    } else if (steps <= 24) {
        launch_channel_norm<T, N, 16>(s, a);
    } else {
        launch_channel_norm<T, N, 32>(s, a);
    }
}

extern "C" cudaError_t ktc_channel_norm(cudaStream_t s, int bf16,
                                        const struct kt_channel_norm_args *a)
{
    const bool wide =
        a->c % 8 == 0 && ktc_aligned((uintptr_t)a->x | (uintptr_t)a->y | (uintptr_t)a->gamma);
    if (a->pixels == 0) {
        return cudaSuccess;
    }
    if (wide) {
        KTC_WITH_ACT(bf16, (pick_channel_norm<T, 8>(s, a)));
    } else {
        KTC_WITH_ACT(bf16, (pick_channel_norm<T, 1>(s, a)));
    }
    return cudaGetLastError();
}
