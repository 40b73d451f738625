/* One value in, one out: N at a time per thread, the last ones singly. */
#include "kernels/cuda/vec.cuh"

enum { THREADS = 256 };

struct mul_gelu {
    __device__ float operator()(float a, float b) const
    {
        return a * ktc_gelu_tanh(b);
    }
};

struct tanh3 {
    __device__ float operator()(float x, float) const
    {
        return tanhf(x / 3.0f) * 3.0f;
    }
};

struct relu {
    __device__ float operator()(float x, float) const
    {
        return x < 0.0f ? 0.0f : x; /* NaN stays */
    }
};

struct same {
    __device__ float operator()(float x, float) const
    {
        return x;
    }
};

/* y = f(a, b); b may be a. */
template <typename Y, typename A, typename F, int N>
__global__ void map(Y *y, const A *a, const A *b, size_t n, F f)
{
    const size_t i = ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
    if (i + N <= n) {
        float u[N], v[N];
        ktc_load<N>(u, a + i);
        ktc_load<N>(v, b + i);
#pragma unroll
        for (int j = 0; j < N; j++) {
            u[j] = f(u[j], v[j]);
        }
        ktc_store<N>(y + i, u);
    } else {
        for (size_t j = i; j < n; j++) {
            ktc_put(y + j, f(ktc_float(a[j]), ktc_float(b[j])));
        }
    }
}

template <typename Y, typename A, typename F>
static cudaError_t run_map(cudaStream_t s, void *y, const void *a, const void *b, size_t n, F f)
{
    if (n == 0) {
        return cudaSuccess;
    }
    if (ktc_aligned((uintptr_t)y | (uintptr_t)a | (uintptr_t)b)) {
        map<Y, A, F, 8><<<ktc_blocks(n, THREADS * 8), THREADS, 0, s>>>((Y *)y, (const A *)a,
                                                                       (const A *)b, n, f);
    } else {
        map<Y, A, F, 1>
            <<<ktc_blocks(n, THREADS), THREADS, 0, s>>>((Y *)y, (const A *)a, (const A *)b, n, f);
    }
    return cudaGetLastError();
}

extern "C" cudaError_t ktc_mul_gelu(cudaStream_t s, int bf16, void *y, const void *a, const void *b,
                                    size_t n)
{
    KTC_WITH_ACT(bf16, return (run_map<T, T>(s, y, a, b, n, mul_gelu())));
}

extern "C" cudaError_t ktc_tanh3(cudaStream_t s, int bf16, void *y, const void *x, size_t n)
{
    KTC_WITH_ACT(bf16, return (run_map<T, T>(s, y, x, x, n, tanh3())));
}

extern "C" cudaError_t ktc_relu(cudaStream_t s, int bf16, void *y, const void *x, size_t n)
{
    KTC_WITH_ACT(bf16, return (run_map<T, T>(s, y, x, x, n, relu())));
}

/* ---- between types ---- */

template <typename Y, typename A> __global__ void convert(Y *y, const A *a, size_t n)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        ktc_put(y + i, ktc_float(a[i]));
    }
}

template <typename Y>
static cudaError_t convert_to(cudaStream_t s, Y *y, const void *src, enum kt_dtype from, size_t n)
{
    const unsigned blocks = ktc_blocks(n, THREADS);
    if (n == 0) {
        return cudaSuccess;
    }
    switch (from) {
    case KT_F32: return run_map<Y, float>(s, y, src, src, n, same());
    case KT_BF16: return run_map<Y, ktc_bf16>(s, y, src, src, n, same());
    case KT_F16: convert<<<blocks, THREADS, 0, s>>>(y, (const __half *)src, n); break;
    default: return cudaErrorInvalidValue;
    }
    return cudaGetLastError();
}

extern "C" cudaError_t ktc_convert(cudaStream_t s, void *dst, enum kt_dtype to, const void *src,
                                   enum kt_dtype from, size_t n)
{
    switch (to) {
    case KT_F32: return convert_to(s, (float *)dst, src, from, n);
    case KT_BF16: return convert_to(s, (ktc_bf16 *)dst, src, from, n);
    default: return cudaErrorInvalidValue;
    }
}

/* ---- the sampler ---- */

/* In double, as the reference: what it costs is nothing beside a pass. */
__global__ void sample_step(float *x, const float *v, const float *noise, float sigma,
                            float sigma_next, int n)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        const double x0 = x[i] - (double)sigma * v[i], next = sigma_next;
        x[i] = (float)(noise ? (1.0 - next) * x0 + next * noise[i] : x0);
    }
}

extern "C" cudaError_t ktc_sample_step(cudaStream_t s, const struct kt_sample_step_args *a)
{
    if (a->n == 0) {
        return cudaSuccess;
    }
    sample_step<<<ktc_blocks((size_t)a->n, THREADS), THREADS, 0, s>>>(
        a->x, a->v, a->noise, a->sigma, a->sigma_next, a->n);
    return cudaGetLastError();
}

/* ---- gated residual ---- */

template <typename X, typename T, int N>
__global__ void residual(X *x, const T *y, const float *gate, int m, int dim, int rows_per_group,
                         int ld_mod)
{
    const int per_row = dim / N;
    const size_t item = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    const size_t r = item / (unsigned)per_row;
    const int at = (int)(item % (unsigned)per_row) * N;
    if (r >= (size_t)m) {
        return;
    }
    float u[N], v[N], g[N];
    x += r * (size_t)dim + at;
    ktc_load<N>(u, x);
    ktc_load<N>(v, y + r * (size_t)dim + at);
    if (gate) {
        ktc_load<N>(g, gate + r / (unsigned)rows_per_group * (size_t)ld_mod + at);
    }
#pragma unroll
    for (int j = 0; j < N; j++) {
        u[j] = gate ? fmaf(g[j], v[j], u[j]) : u[j] + v[j];
    }
    ktc_store<N>(x, u);
}

template <typename X, typename T>
static void launch_residual(cudaStream_t s, const struct kt_residual_args *a)
{
    const bool wide = a->dim % 8 == 0 && (!a->gate || a->ld_mod % 4 == 0) &&
                      ktc_aligned((uintptr_t)a->x | (uintptr_t)a->y | (uintptr_t)a->gate);
    const size_t values = (size_t)a->m * (size_t)a->dim;
    const int rows_per_group = a->gate ? a->rows_per_group : 1;
    if (wide) {
        residual<X, T, 8><<<ktc_blocks(values / 8, THREADS), THREADS, 0, s>>>(
            (X *)a->x, (const T *)a->y, a->gate, a->m, a->dim, rows_per_group, a->ld_mod);
    } else {
        residual<X, T, 1><<<ktc_blocks(values, THREADS), THREADS, 0, s>>>(
            (X *)a->x, (const T *)a->y, a->gate, a->m, a->dim, rows_per_group, a->ld_mod);
    }
}

extern "C" cudaError_t ktc_residual(cudaStream_t s, int bf16, const struct kt_residual_args *a)
{
    if (a->m == 0) {
        return cudaSuccess;
    }
    if (!bf16) {
        launch_residual<float, float>(s, a);
    } else if (a->x_act) {
        launch_residual<ktc_bf16, ktc_bf16>(s, a);
    } else {
        launch_residual<float, ktc_bf16>(s, a);
    }
    return cudaGetLastError();
}

/* ---- bias and activation after a matrix product ---- */

template <typename T>
__global__ void activate(T *y, const float *bias, int m, int n, int ld, enum kt_act act)
{
    const size_t item = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    const size_t r = item / (unsigned)n;
    const int at = (int)(item % (unsigned)n);
    if (r < (size_t)m) {
        T *p = y + r * (size_t)ld + at;
        ktc_put(p, ktc_act(ktc_float(*p) + (bias ? bias[at] : 0.0f), act));
    }
}

extern "C" cudaError_t ktc_activate(cudaStream_t s, int bf16, void *y, const float *bias, int m,
                                    int n, int ld, enum kt_act act)
{
    const unsigned blocks = ktc_blocks((size_t)m * (size_t)n, THREADS);
    KTC_WITH_ACT(bf16, (activate<<<blocks, THREADS, 0, s>>>((T *)y, bias, m, n, ld, act)));
    return cudaGetLastError();
}
