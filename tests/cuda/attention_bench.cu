/* Attention on the GPU against a reference in double precision on the same inputs, and its time.
 *
 *     attention_bench [bf16 | f8] [SEED] [--small] [--bench [--anyway]]
 *
 * Checks sampled rows of every shape (relative L2 error and the worst element), that nothing
 * outside the result is written, and that bits depend neither on the number and position of query
 * rows nor on the workspace nor on the run. --small: the shapes that compute-sanitizer finishes.
 * --bench prints medians of event timings. Exits 77 where there is no GPU of compute
 * capability 9.0.
 */
#include "kernels/cuda/attention.h"

#include <algorithm>
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

extern "C" int ktc_attention_bf16_variant(cudaStream_t, const struct ktc_attention *, int);
extern "C" int ktc_attention_f8_variant(cudaStream_t, const struct ktc_attention_f8 *, int);

#define CHECK(call)                                                                                \
    do {                                                                                           \
        cudaError_t e_ = (call);                                                                   \
        if (e_ != cudaSuccess) {                                                                   \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(e_)); \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum { SAMPLES_MAX = 192 };

static int failures;
static bool small_only;

/* -- inputs -- */

static __device__ uint32_t mix(uint32_t x)
{
    x ^= x >> 16, x *= 0x7feb352du, x ^= x >> 15, x *= 0x846ca68bu, x ^= x >> 16;
    return x;
}

static __device__ float normal(uint32_t seed, uint32_t i)
{
    uint32_t a = mix(seed ^ mix(2 * i)), b = mix(seed * 0x9e3779b9u ^ mix(2 * i + 1));
    float u = (a + 1.0f) * 2.3283064e-10f, w = b * 2.3283064e-10f;
    return sqrtf(-2.0f * logf(fminf(u, 1.0f))) * cospif(2.0f * w);
}

static __global__ void ramp_rows(float *x, int rows, int width, bool round)
{
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < (int64_t)rows * width;
         i += (int64_t)gridDim.x * blockDim.x) {
        float v = x[i] * (0.1f + 3.9f * (i / width) / rows);
        x[i] = round ? __bfloat162float(__float2bfloat16(v)) : v;
    }
}

/* x[n] normal with the given deviation and mean, exact in bf16 where `round` */
static __global__ void fill_normal(float *x, size_t n, uint32_t seed, float deviation, float mean,
                                   bool round)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        float v = normal(seed, (uint32_t)i) * deviation + mean;
        x[i] = round ? __bfloat162float(__float2bfloat16(v)) : v;
    }
}

static __global__ void to_bf16(__nv_bfloat16 *y, int64_t ld, const float *x, int rows, int width,
                               int row0)
{
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < (int64_t)rows * width;
         i += (int64_t)gridDim.x * blockDim.x)
        y[(row0 + i / width) * ld + i % width] = __float2bfloat16(x[i]);
}

/* The reference's quantiser: y = e4m3(x * scale); x becomes what y stands for. */
static __global__ void to_f8_rows(uint8_t *y, int64_t ld, float *x, int rows, int width,
                                  float scale, int row0)
{
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < (int64_t)rows * width;
         i += (int64_t)gridDim.x * blockDim.x) {
        __nv_fp8_e4m3 q = __nv_fp8_e4m3(x[i] * scale);
        y[(row0 + i / width) * ld + i % width] = q.__x;
        x[i] = (float)q / scale;
    }
}

/* vt[width, ld] = e4m3(v[rows, width] * scale[channel]), tokens permuted; v dequantised in place */
static __global__ void to_f8_columns(uint8_t *vt, int64_t ld, float *v, int rows, int width,
                                     const float *worth, int token0)
{
    for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < (int64_t)rows * width;
         i += (int64_t)gridDim.x * blockDim.x) {
        int row = (int)(i / width), c = (int)(i % width);
        __nv_fp8_e4m3 q = __nv_fp8_e4m3(v[i] / worth[c]);
        vt[c * ld + token0 + ktc_f8_token_slot(row)] = q.__x;
        v[i] = (float)q * worth[c];
    }
}

/* -- reference -- */

/* One block per (sampled row, head): everything in double. Dynamic shared: tk doubles. */
static __global__ void reference(double *y, const float *q, const float *k, const float *v,
                                 const int *rows, int tk, int heads, int dim, double scale,
                                 double tail)
{
    extern __shared__ double w[];
    __shared__ double part[128];
    int head = blockIdx.y, width = heads * dim, t = threadIdx.x;
    const float *qr = q + (int64_t)rows[blockIdx.x] * width + head * dim;
    double top = -INFINITY;
    for (int j = t; j < tk; j += 128) {
        const float *kr = k + (int64_t)j * width + head * dim;
        double s = 0;
        for (int c = 0; c < dim; c++)
            s += (double)qr[c] * kr[c];
        w[j] = s * scale + (j == tk - 1 ? tail : 0.0);
        top = fmax(top, w[j]);
    }
    part[t] = top;
    __syncthreads();
    for (int i = 0; i < 128; i++)
        top = fmax(top, part[i]);
    __syncthreads();
    double sum = 0;
    for (int j = t; j < tk; j += 128)
        sum += w[j] = exp(w[j] - top);
    part[t] = sum;
    __syncthreads();
    sum = 0;
    for (int i = 0; i < 128; i++)
        sum += part[i];
    if (t < dim) {
        double acc = 0;
        for (int j = 0; j < tk; j++)
            acc += w[j] * v[(int64_t)j * width + head * dim + t];
        y[((int64_t)blockIdx.x * heads + head) * dim + t] = acc / sum;
    }
}

/* -- one shape -- */

struct shape {
    int tq, tk, heads, dim;
    float tail, q_deviation;
    int pages;  /* 0: contiguous; otherwise tk is cut into so many pages, stored in reverse order */
    bool fused; /* q, k, v are columns of one matrix */
    bool ramp;  /* keys grow from a tenth to four times the size: the maximum keeps rising */
    float v_mean; /* of the values: with one, sums over the keys grow with their number */
};

static bool skipped(const struct shape *s)
{
    return small_only && (int64_t)s->tq * s->tk * s->heads > 4 << 20;
}

struct problem {
    struct shape s;
    int width, samples, pool_rows, page_rows, page_pitch;
    std::vector<int> rows;
    float *q32, *k32, *v32; /* [rows, width] */
    double *want;           /* [samples, width] */
    int *rows_dev, *page_start;
};

static float *dev_floats(size_t n)
{
    float *p;
    CHECK(cudaMalloc(&p, n * sizeof(float)));
    return p;
}

static void make_problem(struct problem *p, const struct shape *s, uint32_t seed, bool round)
{
    *p = {};
    p->s = *s;
    p->width = s->heads * s->dim;
    size_t nq = (size_t)s->tq * p->width, nk = (size_t)s->tk * p->width;
    p->q32 = dev_floats(nq), p->k32 = dev_floats(nk), p->v32 = dev_floats(nk);
    fill_normal<<<1024, 256>>>(p->q32, nq, seed, s->q_deviation, 0, round);
    fill_normal<<<1024, 256>>>(p->k32, nk, seed + 1, 1.0f, 0, round);
    fill_normal<<<1024, 256>>>(p->v32, nk, seed + 2, 1.0f, s->v_mean, round);
    if (s->ramp)
        ramp_rows<<<1024, 256>>>(p->k32, s->tk, p->width, round);
    p->samples = std::min(s->tq, (int)SAMPLES_MAX);
    if ((int64_t)p->samples * s->tk * s->heads > (int64_t)16 << 20)
        p->samples = std::max(8, (int)(((int64_t)16 << 20) / ((int64_t)s->tk * s->heads)));
    p->samples = std::min(p->samples, s->tq);
    for (int i = 0; i < p->samples; i++) /* the first, the last, and evenly between */
        p->rows.push_back(p->samples == 1 ? 0 : (int)((int64_t)i * (s->tq - 1) / (p->samples - 1)));
    CHECK(cudaMalloc(&p->rows_dev, p->samples * sizeof(int)));
    CHECK(
        cudaMemcpy(p->rows_dev, p->rows.data(), p->samples * sizeof(int), cudaMemcpyHostToDevice));
    CHECK(cudaMalloc(&p->want, sizeof(double) * p->samples * p->width));
    p->pool_rows = s->tk;
    p->page_rows = s->tk;
    if (s->pages > 0) {
        p->page_rows = s->tk / s->pages;
        p->page_pitch = (p->page_rows + 31) / 32 * 32;
        p->pool_rows = p->page_pitch * s->pages + 32;
        std::vector<int> start(s->pages);
        for (int i = 0; i < s->pages; i++)
            start[i] = (s->pages - 1 - i) * p->page_pitch + 32;
        CHECK(cudaMalloc(&p->page_start, s->pages * sizeof(int)));
        CHECK(cudaMemcpy(p->page_start, start.data(), s->pages * sizeof(int),
                         cudaMemcpyHostToDevice));
    }
}

static void want_of(struct problem *p)
{
    size_t shared = (size_t)p->s.tk * sizeof(double);
    CHECK(cudaFuncSetAttribute(reference, cudaFuncAttributeMaxDynamicSharedMemorySize, 200 * 1024));
    reference<<<dim3(p->samples, p->s.heads), 128, shared>>>(
        p->want, p->q32, p->k32, p->v32, p->rows_dev, p->s.tk, p->s.heads, p->s.dim,
        1.0 / sqrt((double)p->s.dim), p->s.tail);
    CHECK(cudaGetLastError());
    CHECK(cudaDeviceSynchronize());
}

static void free_problem(struct problem *p)
{
    cudaFree(p->q32), cudaFree(p->k32), cudaFree(p->v32), cudaFree(p->want);
    cudaFree(p->rows_dev), cudaFree(p->page_start);
}

static int page_of(const struct problem *p, int i)
{
    return p->s.pages ? (p->s.pages - 1 - i) * p->page_pitch + 32 : 0;
}

/* Relative L2 error of the sampled rows of y (bf16); prints what is wrong where it is above the
 * bound (0: none). */
static double error_of(const struct problem *p, const std::vector<uint16_t> &y, int64_t ld,
                       double bound, const char *name)
{
    std::vector<double> want((size_t)p->samples * p->width);
    CHECK(cudaMemcpy(want.data(), p->want, want.size() * sizeof(double), cudaMemcpyDeviceToHost));
    double num = 0, den = 0, worst = 0;
    for (double w : want)
        den += w * w;
    const double rms = sqrt(den / (double)want.size());
    int wrow = -1, wcol = -1, bad = 0, first = -1, bad_rows = 0;
    for (int i = 0; i < p->samples; i++) {
        bool row_bad = false;
        for (int c = 0; c < p->width; c++) {
            uint32_t bits = (uint32_t)y[p->rows[i] * ld + c] << 16;
            float got;
            memcpy(&got, &bits, 4);
            double w = want[(size_t)i * p->width + c], d = got - w;
            num += d * d;
            if (!(fabs(d) <= worst))
                worst = fabs(d), wrow = p->rows[i], wcol = c;
            if (!(fabs(d) <= 12 * bound * (fabs(w) + rms))) {
                row_bad = true;
                if (bad++ == 0)
                    first = i * p->width + c;
            }
        }
        bad_rows += row_bad;
    }
    double error = sqrt(num / den);
    if (bound > 0 && (!(error <= bound) || bad > 0)) {
        failures++;
        printf("  FAIL %s: error %.3e (bound %.1e), %d wrong elements in %d of %d rows\n", name,
               error, bound, bad, bad_rows, p->samples);
        for (int e = 0; first >= 0 && e < 4; e++) {
            int i = first / p->width, c = first % p->width + e;
            if (c >= p->width)
                break;
            uint32_t bits = (uint32_t)y[p->rows[i] * ld + c] << 16;
            float got;
            memcpy(&got, &bits, 4);
            printf("    row %d head %d channel %d: got %g want %g\n", p->rows[i], c / p->s.dim,
                   c % p->s.dim, got, want[(size_t)i * p->width + c]);
        }
        printf("    worst %.3e at row %d head %d channel %d\n", worst, wrow, wcol / p->s.dim,
               wcol % p->s.dim);
    }
    return error;
}

static bool same_bits(const std::vector<uint16_t> &a, int64_t row_a, const std::vector<uint16_t> &b,
                      int64_t rows, int64_t ld, int width, const char *what)
{
    for (int64_t r = 0; r < rows; r++) {
        if (memcmp(&a[(row_a + r) * ld], &b[r * ld], width * sizeof(a[0])) == 0)
            continue;
        for (int c = 0; c < width; c++)
            if (a[(row_a + r) * ld + c] != b[r * ld + c]) {
                printf("  FAIL %s: bits differ first at row %lld column %d: %04x %04x\n", what,
                       (long long)(row_a + r), c, a[(row_a + r) * ld + c], b[r * ld + c]);
                failures++;
                return false;
            }
    }
    return true;
}

/* -- bf16 -- */

struct buffers {
    uint8_t *q, *k, *v, *y;
    size_t y_elements;
    void *work;
};

static void fetch(std::vector<uint16_t> &host, const struct buffers *b)
{
    host.resize(b->y_elements);
    CHECK(cudaDeviceSynchronize());
    CHECK(cudaMemcpy(host.data(), b->y, b->y_elements * 2, cudaMemcpyDeviceToHost));
}

static void *new_work(void)
{
    void *work;
    CHECK(cudaMalloc(&work, ktc_attention_work_bytes()));
    CHECK(cudaMemset(work, 0, ktc_attention_work_bytes()));
    return work;
}

static void make_bf16(const struct problem *p, struct ktc_attention *a, struct buffers *b)
{
    const struct shape *s = &p->s;
    int64_t ld = s->fused ? 3 * p->width : p->width;
    size_t rows = std::max(s->tq, p->pool_rows);
    *a = {};
    *b = {};
    if (s->fused) {
        CHECK(cudaMalloc(&b->q, rows * ld * 2));
        b->k = b->q + p->width * 2, b->v = b->k + p->width * 2;
        CHECK(cudaMemset(b->q, 0, rows * ld * 2));
    } else {
        CHECK(cudaMalloc(&b->q, (size_t)s->tq * ld * 2));
        CHECK(cudaMalloc(&b->k, (size_t)p->pool_rows * ld * 2));
        CHECK(cudaMalloc(&b->v, (size_t)p->pool_rows * ld * 2));
        CHECK(cudaMemset(b->k, 0x40, (size_t)p->pool_rows * ld * 2)); /* finite, and far off */
        CHECK(cudaMemset(b->v, 0x40, (size_t)p->pool_rows * ld * 2));
    }
    to_bf16<<<1024, 256>>>((__nv_bfloat16 *)b->q, ld, p->q32, s->tq, p->width, 0);
    for (int i = 0; i < std::max(1, s->pages); i++) {
        size_t from = (size_t)i * p->page_rows * p->width;
        to_bf16<<<1024, 256>>>((__nv_bfloat16 *)b->k, ld, p->k32 + from, p->page_rows, p->width,
                               page_of(p, i));
        to_bf16<<<1024, 256>>>((__nv_bfloat16 *)b->v, ld, p->v32 + from, p->page_rows, p->width,
                               page_of(p, i));
    }
    a->q = b->q, a->k = b->k, a->v = b->v;
    a->ld_q = a->ld_k = a->ld_v = ld, a->ld_y = p->width + 8;
    b->y_elements = (size_t)(s->tq + 3) * a->ld_y;
    CHECK(cudaMalloc(&b->y, b->y_elements * 2));
    a->y = b->y;
    a->tq = s->tq, a->tk = s->tk, a->heads = s->heads, a->head_dim = s->dim;
    a->scale = (float)(1.0 / sqrt((double)s->dim));
    a->tail_logit = s->tail;
    if (s->pages) {
        a->page_start = p->page_start, a->page_count = s->pages;
        a->page_rows = p->page_rows, a->pool_rows = p->pool_rows;
    }
    a->work = b->work = new_work();
}

static void free_buffers(struct buffers *b, bool fused)
{
    cudaFree(b->q), cudaFree(b->y), cudaFree(b->work);
    if (!fused)
        cudaFree(b->k), cudaFree(b->v);
}

template <class A, class F>
static bool run_to(std::vector<uint16_t> &host, const struct buffers *b, const A *a, F call)
{
    CHECK(cudaMemset(b->y, 0xff, b->y_elements * 2)); /* NaN */
    int err = call(a);
    if (err != 0) {
        printf("  FAIL: returned %d (%s)\n", err, cudaGetErrorString(cudaGetLastError()));
        failures++;
        return false;
    }
    fetch(host, b);
    return true;
}

/* Only rows [0, tq) and columns [0, width) may be written. */
static void check_guard(const std::vector<uint16_t> &y, int64_t ld, int tq, int width)
{
    for (int64_t row = 0; row * ld < (int64_t)y.size(); row++)
        for (int64_t c = row < tq ? width : 0; c < ld; c++)
            if (y[row * ld + c] != 0xffff) {
                printf("  FAIL: wrote outside the result at row %lld column %lld\n", (long long)row,
                       (long long)c);
                failures++;
                return;
            }
}

/* Bits: again; without workspace; the rows from `skip` on by themselves. */
template <class A, class F>
static void check_bits(const std::vector<uint16_t> &full, const struct buffers *b, const A *a,
                       F call, int width, size_t q_row_bytes)
{
    std::vector<uint16_t> again;
    if (run_to(again, b, a, call))
        same_bits(full, 0, again, a->tq, a->ld_y, width, "second run");
    A part = *a;
    part.work = NULL;
    if (run_to(again, b, &part, call))
        same_bits(full, 0, again, a->tq, a->ld_y, width, "without workspace");
    for (int skip : {1, 37, 200}) {
        if (skip >= a->tq)
            break;
        part = *a;
        part.q = (const uint8_t *)a->q + skip * q_row_bytes;
        part.tq = std::min(a->tq - skip, skip == 37 ? 5 : 1 << 30);
        if (run_to(again, b, &part, call))
            same_bits(full, skip, again, part.tq, a->ld_y, width, "some rows alone");
    }
}

static const struct shape BF16_SHAPES[] = {
    {128, 128, 1, 128, 0, 1, 0, false},
    {128, 352, 2, 128, 0, 1, 0, false},
    {1, 1, 1, 128, 0, 1, 0, false},
    {5, 177, 3, 128, 1.5f, 1, 0, false},
    {200, 1000, 2, 128, 0, 4, 0, true},
    {252, 1008, 4, 64, 0, 1, 0, true},
    {252, 41, 4, 64, 6.1f, 1, 0, false},
    {63, 84, 4, 64, 0, 3, 0, false},
    {4680, 41, 12, 128, 6.15f, 1, 0, false},
    {4680, 512, 12, 128, 0, 1, 0, false},
    {4680, 4680, 12, 128, 0, 1, 0, true},
    {3000, 2500, 12, 128, 0, 5, 0, false},
    {4680, 6240, 12, 128, 0, 2, 4, false},
    {252, 840, 4, 64, 0, 2, 10, false},
    {4680, 18720, 12, 128, 0, 1, 0, false},
    {14040, 18720, 12, 128, 0, 1, 12, false},
    {300, 18720, 12, 128, 0, 1, 0, false, false, 1},
};

static void check_bf16(uint32_t seed, int variants)
{
    printf("bf16: relative L2 error against double, by tiling\n");
    for (const struct shape &s : BF16_SHAPES) {
        if (skipped(&s))
            continue;
        struct problem p;
        struct ktc_attention a;
        struct buffers b;
        make_problem(&p, &s, seed, true);
        make_bf16(&p, &a, &b);
        want_of(&p);
        printf("q %5d kv %5d heads %2d x %3d tail %.2f q x%g pages %d%s:", s.tq, s.tk, s.heads,
               s.dim, s.tail, s.q_deviation, s.pages, s.fused ? " fused" : "");
        for (int v = 0; v < variants; v++) {
            auto call = [v](const struct ktc_attention *x) {
                return ktc_attention_bf16_variant(0, x, v);
            };
            if (s.dim == 64 && v > 0)
                break;
            std::vector<uint16_t> y;
            char name[32];
            snprintf(name, sizeof(name), "tiling %d", v);
            if (!run_to(y, &b, &a, call))
                continue;
            printf(" %.2e", error_of(&p, y, a.ld_y, 4e-3, name));
            fflush(stdout);
            check_guard(y, a.ld_y, s.tq, p.width);
            check_bits(y, &b, &a, call, p.width, a.ld_q * 2);
        }
        printf("\n");
        free_buffers(&b, s.fused);
        free_problem(&p);
    }
}

/* -- e4m3 -- */

enum { V_AMAX_STEPS = 7 };

static __global__ void fill_worth(float *worth, int n)
{
    int c = blockIdx.x * blockDim.x + threadIdx.x;
    if (c < n)
        worth[c] = (4.5f + 0.1f * (c % V_AMAX_STEPS)) / 448;
}

/* Quantises q, k by one scale each and v by channel, replacing q32, k32, v32 by what the results
 * stand for. */
static void make_f8(const struct problem *p, struct ktc_attention_f8 *a, struct buffers *b,
                    float **worth)
{
    const struct shape *s = &p->s;
    const float q_scale = 64 / s->q_deviation, k_scale = s->ramp ? 16 : 64;
    int64_t ld = s->fused ? 3 * p->width : p->width, ld_vt = (p->pool_rows + 15) / 16 * 16 + 32;
    *a = {};
    *b = {};
    CHECK(cudaMalloc(worth, p->width * sizeof(float)));
    fill_worth<<<(p->width + 255) / 256, 256>>>(*worth, p->width);
    CHECK(cudaMalloc(&b->q, s->tq * ld));
    CHECK(cudaMalloc(&b->k, p->pool_rows * ld));
    CHECK(cudaMalloc(&b->v, p->width * ld_vt));
    CHECK(cudaMemset(b->k, 0x55, p->pool_rows * ld)); /* finite, and far off */
    CHECK(cudaMemset(b->v, 0x55, p->width * ld_vt));
    to_f8_rows<<<1024, 256>>>(b->q, ld, p->q32, s->tq, p->width, q_scale, 0);
    for (int i = 0; i < std::max(1, s->pages); i++) {
        size_t from = (size_t)i * p->page_rows * p->width;
        to_f8_rows<<<1024, 256>>>(b->k, ld, p->k32 + from, p->page_rows, p->width, k_scale,
                                  page_of(p, i));
        to_f8_columns<<<1024, 256>>>(b->v, ld_vt, p->v32 + from, p->page_rows, p->width, *worth,
                                     page_of(p, i));
    }
    a->q = b->q, a->k = b->k, a->vt = b->v;
    a->ld_q = a->ld_k = ld, a->ld_vt = ld_vt, a->ld_y = p->width + 16;
    b->y_elements = (size_t)(s->tq + 3) * a->ld_y;
    CHECK(cudaMalloc(&b->y, b->y_elements * 2));
    a->y = b->y;
    a->tq = s->tq, a->tk = s->tk, a->heads = s->heads, a->head_dim = s->dim;
    a->logit_scale = (float)(1.0 / sqrt((double)s->dim)) / (q_scale * k_scale);
    a->v_scale = *worth;
    if (s->pages) {
        a->page_start = p->page_start, a->page_count = s->pages;
        a->page_rows = p->page_rows, a->pool_rows = p->pool_rows;
    }
    a->work = b->work = new_work();
}

static const struct shape F8_SHAPES[] = {
    {128, 128, 1, 128, 0, 1, 0, false},
    {128, 672, 2, 128, 0, 1, 0, false},
    {1, 1, 1, 128, 0, 1, 0, false},
    {5, 177, 3, 128, 0, 1, 0, false},
    {200, 1000, 2, 128, 0, 4, 0, true},
    {4680, 41, 12, 128, 0, 1, 0, false},
    {4680, 512, 12, 128, 0, 1, 0, false},
    {3000, 2500, 12, 128, 0, 5, 0, true},
    {4680, 6240, 12, 128, 0, 2, 4, false},
    {4680, 18720, 12, 128, 0, 1, 0, false},
    {4680, 18720, 12, 128, 0, 4, 12, false},
    {4680, 3000, 12, 128, 0, 2, 0, false, true},
    {300, 1000, 12, 128, 0, 0.01f, 0, false, false},
    {200, 3000, 12, 128, 0, 6, 0, false, true},
    {4680, 4680, 12, 128, 0, 1, 0, false, false, 1},
    {4680, 18720, 12, 128, 0, 1, 0, false, false, 1},
    {4680, 18720, 12, 128, 0, 1, 12, false, false, 0.3f},
};

/* e4m3 output against the bf16 output of the same call: one rounding apart. */
static void check_f8_output(const struct problem *p, const struct ktc_attention_f8 *a,
                            const struct buffers *b, const std::vector<uint16_t> &y, int variant)
{
    struct ktc_attention_f8 out = *a;
    std::vector<uint16_t> y8;
    out.y_scale = 100;
    auto call = [variant](const struct ktc_attention_f8 *x) {
        return ktc_attention_f8_variant(0, x, variant);
    };
    if (!run_to(y8, b, &out, call))
        return;
    const uint8_t *bytes = (const uint8_t *)y8.data();
    for (int r = 0; r < p->s.tq; r++)
        for (int c = 0; c < p->width; c++) {
            uint32_t bits = (uint32_t)y[r * a->ld_y + c] << 16;
            float want;
            memcpy(&want, &bits, 4);
            want = fmaxf(-448, fminf(448, want * 100));
            __nv_fp8_e4m3 q;
            q.__x = bytes[r * a->ld_y + c];
            if (!(fabsf((float)q - want) <= fabsf(want) * 0.07f + 0.002f)) {
                printf("  FAIL e4m3 output: row %d column %d: got %g want %g\n", r, c, (float)q,
                       want);
                failures++;
                return;
            }
        }
    if (bytes[p->width] != 0xff || bytes[(size_t)p->s.tq * a->ld_y] != 0xff) {
        printf("  FAIL e4m3 output: wrote outside the result\n");
        failures++;
    }
}

static void check_f8(uint32_t seed, int variants)
{
    printf("e4m3: relative L2 error against double on the quantised inputs / on the inputs before "
           "quantisation\n");
    for (const struct shape &s : F8_SHAPES) {
        if (skipped(&s))
            continue;
        struct problem p;
        struct ktc_attention_f8 a;
        struct buffers b;
        float *worth;
        make_problem(&p, &s, seed, false);
        double *exact, *quantised = p.want;
        CHECK(cudaMalloc(&exact, sizeof(double) * p.samples * p.width));
        p.want = exact;
        want_of(&p);
        p.want = quantised;
        make_f8(&p, &a, &b, &worth);
        want_of(&p);
        printf("q %5d kv %5d heads %2d q x%g v mean %g pages %d%s:", s.tq, s.tk, s.heads,
               s.q_deviation, s.v_mean, s.pages, s.fused ? " fused" : "");
        for (int v = 0; v < variants; v++) {
            auto call = [v](const struct ktc_attention_f8 *x) {
                return ktc_attention_f8_variant(0, x, v);
            };
            std::vector<uint16_t> y;
            char name[32];
            snprintf(name, sizeof(name), "tiling %d", v);
            if (!run_to(y, &b, &a, call))
                continue;
            double of_quantised = error_of(&p, y, a.ld_y, 0.04, name);
            p.want = exact;
            printf(" %.4f/%.4f", of_quantised, error_of(&p, y, a.ld_y, 0, name));
            p.want = quantised;
            fflush(stdout);
            check_guard(y, a.ld_y, s.tq, p.width);
            check_bits(y, &b, &a, call, p.width, a.ld_q);
            if ((int64_t)s.tq * s.tk < 16 << 20)
                check_f8_output(&p, &a, &b, y, v);
        }
        printf("\n");
        cudaFree(worth), cudaFree(exact);
        free_buffers(&b, false);
        free_problem(&p);
    }
}

static void check_arguments(void)
{
    struct ktc_attention a = {};
    int ok = ktc_attention_bf16(0, &a) == -EINVAL && ktc_attention_bf16(0, NULL) == -EINVAL;
    a.q = a.k = a.v = (void *)256, a.y = (void *)256;
    a.ld_q = a.ld_k = a.ld_v = a.ld_y = 1536, a.tq = a.tk = 16, a.heads = 12, a.scale = 1;
    a.head_dim = 96;
    ok = ok && ktc_attention_bf16(0, &a) == -EINVAL;
    a.head_dim = 128, a.ld_k = 1540;
    ok = ok && ktc_attention_bf16(0, &a) == -EINVAL;
    a.ld_k = 1528;
    ok = ok && ktc_attention_bf16(0, &a) == -EINVAL;
    if (!ok) {
        printf("FAIL: a bad argument was taken\n");
        failures++;
    }
}

/* -- time -- */

/* Median over `repeats` of the time of one call in microseconds; `calls` calls to a measurement. */
template <class F> static double median_us(F call, int calls, int repeats)
{
    cudaEvent_t begin, end;
    std::vector<float> times;
    CHECK(cudaEventCreate(&begin));
    CHECK(cudaEventCreate(&end));
    for (int i = 0; i < repeats + 3; i++) {
        CHECK(cudaEventRecord(begin));
        for (int j = 0; j < calls; j++)
            call(i * calls + j);
        CHECK(cudaEventRecord(end));
        CHECK(cudaEventSynchronize(end));
        float ms;
        CHECK(cudaEventElapsedTime(&ms, begin, end));
        if (i >= 3)
            times.push_back(ms * 1000 / calls);
    }
    cudaEventDestroy(begin), cudaEventDestroy(end);
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

static const struct shape BENCH_SHAPES[] = {
    {4680, 18720, 12, 128, 0, 1, 0, false},  {4680, 18720, 12, 128, 0, 1, 12, false},
    {14040, 18720, 12, 128, 0, 1, 0, false}, {4680, 4680, 12, 128, 0, 1, 0, false},
    {4680, 9360, 12, 128, 0, 1, 0, false},   {4680, 14040, 12, 128, 0, 1, 0, false},
    {4680, 512, 12, 128, 0, 1, 0, false},    {4680, 41, 12, 128, 6, 1, 0, false},
    {4680, 18720, 12, 128, 0, 1, 0, false}, /* again, warm: the spread */
};

static double tflops(const struct shape *s, double us)
{
    return 4.0 * s->tq * s->tk * s->heads * s->dim / us * 1e-6;
}

static void bench_bf16(uint32_t seed, int variants)
{
    printf("bf16: microseconds, TFLOP/s by tiling; last: tiling 0 in whole tiles\n");
    for (const struct shape &s : BENCH_SHAPES) {
        struct problem p[2];
        struct ktc_attention a[2];
        struct buffers b[2];
        for (int i = 0; i < 2; i++) {
            make_problem(&p[i], &s, seed + 7 * i, true);
            make_bf16(&p[i], &a[i], &b[i]);
        }
        printf("q %5d kv %5d pages %2d:", s.tq, s.tk, s.pages);
        int calls = s.tk <= 512 ? 10 : 2;
        for (int v = 0; v <= variants; v++) {
            for (int i = 0; v == variants && i < 2; i++)
                a[i].work = NULL;
            double us = median_us(
                [&](int i) { ktc_attention_bf16_variant(0, &a[i & 1], v % variants); }, calls, 20);
            printf(" %7.1f %5.1f |", us, tflops(&s, us));
            fflush(stdout);
        }
        printf("\n");
        CHECK(cudaDeviceSynchronize());
        for (int i = 0; i < 2; i++) {
            free_buffers(&b[i], s.fused);
            free_problem(&p[i]);
        }
    }
}

static void bench_f8(uint32_t seed, int variants)
{
    printf("e4m3: microseconds, TFLOP/s by tiling; last: tiling 0 in whole tiles\n");
    for (const struct shape &s : BENCH_SHAPES) {
        struct problem p[2];
        struct ktc_attention_f8 a[2];
        struct buffers b[2];
        float *worth[2];
        if (s.tail != 0.0f)
            continue;
        for (int i = 0; i < 2; i++) {
            make_problem(&p[i], &s, seed + 7 * i, false);
            make_f8(&p[i], &a[i], &b[i], &worth[i]);
        }
        printf("q %5d kv %5d pages %2d:", s.tq, s.tk, s.pages);
        int calls = s.tk <= 512 ? 10 : 2;
        for (int v = 0; v <= variants; v++) {
            for (int i = 0; v == variants && i < 2; i++)
                a[i].work = NULL;
            double us = median_us(
                [&](int i) { ktc_attention_f8_variant(0, &a[i & 1], v % variants); }, calls, 20);
            printf(" %7.1f %6.1f |", us, tflops(&s, us));
            fflush(stdout);
        }
        printf("\n");
        CHECK(cudaDeviceSynchronize());
        for (int i = 0; i < 2; i++) {
            free_buffers(&b[i], false);
            free_problem(&p[i]);
            cudaFree(worth[i]);
        }
    }
}

int main(int argc, char **argv)
{
    uint32_t seed = 20261122;
    bool bench = false, anyway = false, only_bf16 = false, only_f8 = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bench") == 0)
            bench = true;
        else if (strcmp(argv[i], "--anyway") == 0)
            anyway = true;
        else if (strcmp(argv[i], "--small") == 0)
            small_only = true;
        else if (strcmp(argv[i], "bf16") == 0)
            only_bf16 = true;
        else if (strcmp(argv[i], "f8") == 0)
            only_f8 = true;
        else
            seed = (uint32_t)strtoul(argv[i], NULL, 10);
    }
    struct cudaDeviceProp prop;
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0 ||
        cudaGetDeviceProperties(&prop, 0) != cudaSuccess || prop.major != 9) {
        printf("no GPU of compute capability 9.0\n");
        return 77;
    }
    printf("%s, %d multiprocessors, seed %u\n", prop.name, prop.multiProcessorCount, seed);
    const int variants = 3;
#ifdef KTC_VARIANTS
    int variants_f8 = 6;
#else
    int variants_f8 = 1;
#endif
    check_arguments();
    if (!only_f8)
        check_bf16(seed, variants);
    if (!only_bf16)
        check_f8(seed, variants_f8);
    if (failures)
        printf("%d failures\n", failures);
    if (bench && (!failures || anyway)) {
        if (!only_f8)
            bench_bf16(seed, variants);
        if (!only_bf16)
            bench_f8(seed, variants_f8);
    }
    printf(failures ? "failed\n" : "ok\n");
    return failures != 0;
}
