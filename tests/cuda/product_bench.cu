/* Matrix products of LongLive's linears by cublasLt alone: e4m3 with and without fast accumulation,
 * with GELU and rounding as the epilogue, and int8. Time and, where the result is not rounded, the
 * error against sums in double.
 *
 *     product_bench [ROWS]
 *
 * Prints medians of event timings in microseconds, of up to three of the library's algorithms.
 * Exits 77 without a card.
 */
#include <algorithm>
#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <vector>

#define CHECK(call)                                                                                \
    do {                                                                                           \
        int e_ = (int)(call);                                                                      \
        if (e_ != 0) {                                                                             \
            fprintf(stderr, "%s:%d: %s: error %d\n", __FILE__, __LINE__, #call, e_);               \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum { SAMPLED = 64, ALGORITHMS = 3, REPEATS = 20, CALLS = 4, WORKSPACE = 32 << 20 };

struct mode {
    const char *name;
    bool int8, slow, gelu, round;
};

static const struct mode MODES[] = {
    {"e4m3, fast accumulation", false, false, false, false},
    {"e4m3, exact accumulation", false, true, false, false},
    {"e4m3, fast, GELU, to bf16", false, false, true, false},
    {"e4m3, fast, GELU, to e4m3", false, false, true, true},
    {"int8 to int8", true, false, false, true},
};

struct problem {
    int m, n, k;
    uint8_t *x, *w, *y8;
    __nv_bfloat16 *y, *c, *bias;
    float *scales; /* of w, x, y; 16 bytes apart, as the library wants them */
    double *want;  /* [SAMPLED, n] */
};

static __device__ uint32_t mix(uint32_t x)
{
    x ^= x >> 16, x *= 0x7feb352du, x ^= x >> 15, x *= 0x846ca68bu, x ^= x >> 16;
    return x;
}

static __device__ float normal(uint32_t seed, uint32_t i)
{
    float u = (mix(seed ^ mix(2 * i)) + 1.0f) * 2.3283064e-10f;
    float w = mix(seed * 0x9e3779b9u ^ mix(2 * i + 1)) * 2.3283064e-10f;
    return sqrtf(-2.0f * logf(fminf(u, 1.0f))) * cospif(2.0f * w);
}

static __global__ void fill(uint8_t *y, size_t n, uint32_t seed, float deviation, bool int8)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        float v = normal(seed, (uint32_t)i) * deviation;
        y[i] = int8 ? (uint8_t)(int8_t)lrintf(fmaxf(-127, fminf(127, v))) : __nv_fp8_e4m3(v).__x;
    }
}

static __global__ void reference(double *y, const uint8_t *x, const uint8_t *w, int n, int k,
                                 int step)
{
    int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    double sum = 0;
    for (int i = 0; column < n && i < k; i++) {
        __nv_fp8_e4m3 a, b;
        a.__x = x[(size_t)row * step * k + i], b.__x = w[(size_t)column * k + i];
        sum += (double)(float)a * (double)(float)b;
    }
    if (column < n)
        y[(size_t)row * n + column] = sum;
}

static void make(struct problem *p, bool int8)
{
    const float scales[12] = {[0] = 1.0f, 0, 0, 0, [4] = 1.0f, 0, 0, 0, [8] = 1e-3f, 0, 0, 0};
    size_t in = (size_t)p->m * p->k, weights = (size_t)p->n * p->k, out = (size_t)p->m * p->n;
    CHECK(cudaMalloc(&p->x, in));
    CHECK(cudaMalloc(&p->w, weights));
    CHECK(cudaMalloc(&p->y8, out));
    CHECK(cudaMalloc(&p->y, 2 * out));
    CHECK(cudaMalloc(&p->c, 2 * out));
    CHECK(cudaMalloc(&p->bias, 2 * p->n));
    CHECK(cudaMalloc(&p->scales, sizeof(scales)));
    CHECK(cudaMalloc(&p->want, sizeof(double) * SAMPLED * p->n));
    CHECK(cudaMemset(p->bias, 0, 2 * p->n));
    CHECK(cudaMemcpy(p->scales, scales, sizeof(scales), cudaMemcpyHostToDevice));
    fill<<<1024, 256>>>(p->x, in, 1, 11, int8);
    fill<<<1024, 256>>>(p->w, weights, 2, int8 ? 30 : 100, int8);
    reference<<<dim3((p->n + 127) / 128, SAMPLED), 128>>>(p->want, p->x, p->w, p->n, p->k,
                                                          p->m / SAMPLED);
    CHECK(cudaGetLastError());
}

static void release(struct problem *p)
{
    for (void *q : {(void *)p->x, (void *)p->w, (void *)p->y8, (void *)p->y, (void *)p->c,
                    (void *)p->bias, (void *)p->scales, (void *)p->want})
        cudaFree(q);
}

template <class T>
static void set(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t name, const T &value)
{
    CHECK(cublasLtMatmulDescSetAttribute(d, name, &value, sizeof(value)));
}

static double error_of(const struct problem *p, float alpha)
{
    std::vector<double> want((size_t)SAMPLED * p->n);
    std::vector<__nv_bfloat16> row(p->n);
    double error = 0, size = 0;
    CHECK(cudaMemcpy(want.data(), p->want, want.size() * sizeof(double), cudaMemcpyDeviceToHost));
    for (int r = 0; r < SAMPLED; r++) {
        const size_t at = (size_t)r * (p->m / SAMPLED) * p->n;
        CHECK(cudaMemcpy(row.data(), p->y + at, 2 * p->n, cudaMemcpyDeviceToHost));
        for (int c = 0; c < p->n; c++) {
            double w = want[(size_t)r * p->n + c] * alpha;
            error += (__bfloat162float(row[c]) - w) * (__bfloat162float(row[c]) - w);
            size += w * w;
        }
    }
    return sqrt(error / size);
}

template <class F> static double median_us(F call)
{
    cudaEvent_t begin, end;
    std::vector<float> all;
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    for (int i = 0; i < REPEATS + 3; i++) {
        float ms;
        CHECK(cudaEventRecord(begin));
        for (int j = 0; j < CALLS; j++)
            call();
        CHECK(cudaEventRecord(end));
        CHECK(cudaEventSynchronize(end));
        CHECK(cudaEventElapsedTime(&ms, begin, end));
        if (i >= 3)
            all.push_back(ms * 1000 / CALLS);
    }
    cudaEventDestroy(begin), cudaEventDestroy(end);
    std::sort(all.begin(), all.end());
    return all[all.size() / 2];
}

static cublasLtMatmulDesc_t describe(const struct problem *p, const struct mode *o)
{
    cublasLtMatmulDesc_t d;
    CHECK(cublasLtMatmulDescCreate(&d, o->int8 ? CUBLAS_COMPUTE_32I : CUBLAS_COMPUTE_32F,
                                   CUDA_R_32F));
    set(d, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
    if (o->int8)
        return d;
    set(d, CUBLASLT_MATMUL_DESC_EPILOGUE,
        o->gelu ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_BIAS);
    set(d, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_16BF);
    set(d, CUBLASLT_MATMUL_DESC_BIAS_POINTER, p->bias);
    set(d, CUBLASLT_MATMUL_DESC_FAST_ACCUM, (int8_t)!o->slow);
    set(d, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, p->scales);
    set(d, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, p->scales + 4);
    if (o->round)
        set(d, CUBLASLT_MATMUL_DESC_D_SCALE_POINTER, p->scales + 8);
    return d;
}

static void run(cublasLtHandle_t lt, void *workspace, const struct problem *p, const struct mode *o)
{
    const cudaDataType_t in = o->int8 ? CUDA_R_8I : CUDA_R_8F_E4M3,
                         out = o->round ? in : CUDA_R_16BF;
    const cudaDataType_t wide = o->int8 ? in : CUDA_R_16BF;
    const size_t bytes = WORKSPACE;
    const float alpha = 1e-4f, beta = 0;
    cublasLtMatrixLayout_t w, x, y, c;
    cublasLtMatmulPreference_t wish;
    cublasLtMatmulHeuristicResult_t found[ALGORITHMS];
    int count = 0;
    cublasLtMatmulDesc_t d = describe(p, o);
    CHECK(cublasLtMatrixLayoutCreate(&w, in, p->k, p->n, p->k));
    CHECK(cublasLtMatrixLayoutCreate(&x, in, p->k, p->m, p->k));
    CHECK(cublasLtMatrixLayoutCreate(&y, out, p->n, p->m, p->n));
    CHECK(cublasLtMatrixLayoutCreate(&c, wide, p->n, p->m, p->n));
    CHECK(cublasLtMatmulPreferenceCreate(&wish));
    CHECK(cublasLtMatmulPreferenceSetAttribute(wish, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &bytes, sizeof(bytes)));
    cublasLtMatmulAlgoGetHeuristic(lt, d, w, x, c, y, wish, ALGORITHMS, found, &count);
    printf("m %5d n %4d k %4d  %-26s", p->m, p->n, p->k, o->name);
    void *to = o->round ? (void *)p->y8 : p->y;
    const void *add = wide == out ? to : p->c; /* never read; not y's address where it is wider */
    for (int i = 0; i < count; i++) {
        cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
        double us = median_us([&] {
            status = cublasLtMatmul(lt, d, &alpha, p->w, w, p->x, x, &beta, add, c, to, y,
                                    &found[i].algo, workspace, WORKSPACE, 0);
        });
        if (status != CUBLAS_STATUS_SUCCESS)
            printf("  refused (%d)", (int)status);
        else if (o->round || o->gelu)
            printf("  %6.1f us", us);
        else
            printf("  %6.1f us, off by %.2e", us, error_of(p, alpha));
    }
    printf(count ? "\n" : "  no algorithm\n");
    cublasLtMatmulPreferenceDestroy(wish);
    for (cublasLtMatrixLayout_t l : {w, x, y, c})
        cublasLtMatrixLayoutDestroy(l);
    cublasLtMatmulDescDestroy(d);
}

int main(int argc, char **argv)
{
    static const int SHAPES[][2] = {{4608, 1536}, {1536, 1536}, {8960, 1536}, {1536, 8960}};
    const int rows = argc > 1 ? atoi(argv[1]) : 4680;
    cublasLtHandle_t lt;
    void *workspace;
    int cards = 0;
    if (cudaGetDeviceCount(&cards) != cudaSuccess || cards == 0) {
        printf("skipped: no card\n");
        return 77;
    }
    if (rows < SAMPLED) {
        fprintf(stderr, "usage: product_bench [ROWS, at least %d]\n", SAMPLED);
        return 2;
    }
    CHECK(cublasLtCreate(&lt));
    CHECK(cudaMalloc(&workspace, WORKSPACE));
    for (const int *shape : SHAPES)
        for (const struct mode &o : MODES) {
            struct problem p = {.m = rows, .n = shape[0], .k = shape[1]};
            if (o.gelu && shape[0] != 8960)
                continue;
            make(&p, o.int8);
            run(lt, workspace, &p, &o);
            release(&p);
        }
    cublasLtDestroy(lt);
    return 0;
}
