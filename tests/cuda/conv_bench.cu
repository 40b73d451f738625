/* Checks and times the tensor core convolutions and the channel norm.
 *
 *   conv_bench check [size f8]   every odd shape against fp32 sums; size 1, 2: small, large tiles
 *   conv_bench same              bits that must not depend on the call
 *   conv_bench time [size f8]    the decoders' real shapes, medians
 *   conv_bench norm              channel norm: error and bandwidth
 *
 * Exit: 0, 1 for a wrong result, 77 without a Hopper card. */
#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_plan.h"

#include <algorithm>
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

static unsigned *g_diag;
static int g_f8; /* 8-bit filters */

#define CHECK(call) check_cuda((call), #call, __LINE__)

static void check_cuda(cudaError_t e, const char *what, int line)
{
    if (e != cudaSuccess) {
        printf("CUDA error %s at %s:%d\n", cudaGetErrorString(e), what, line);
        if (g_diag && g_diag[0]) {
            printf(
                "  a wait never ended: barrier %u (1xx empty pixels, 2xx empty weights, 3xx full "
                "pixels, 4xx full weights), block %u, thread %u, parity %u\n",
                g_diag[0] - 1, g_diag[1], g_diag[2], g_diag[3]);
        }
        fflush(stdout);
        _Exit(1);
    }
}

/* --- data --- */

static __host__ __device__ uint32_t hash(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

/* Sum of four uniforms: near enough to a normal of deviation 1. */
static __host__ __device__ float noise(uint32_t i, uint32_t seed)
{
    float sum = 0.0f;
    for (uint32_t k = 0; k < 4; k++) {
        sum += (float)(hash(hash(i * 4 + k) ^ seed) >> 8) * (1.0f / 16777216.0f);
    }
    return (sum - 2.0f) * 1.7320508f;
}

static __global__ void fill_bf16(__nv_bfloat16 *p, size_t n, uint32_t seed)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        p[i] = __float2bfloat16(noise((uint32_t)i, seed));
    }
}

static __global__ void fill_e4m3(__nv_fp8_e4m3 *p, size_t n, uint32_t seed, float scale)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        p[i] = __nv_fp8_e4m3(noise((uint32_t)i, seed) / scale);
    }
}

/* --- reference --- */

struct ref_args {
    const void *x, *past;
    const float *weight, *bias;
    const __nv_bfloat16 *residual, *y;
    int c_in, c_out, kt, kh, kw, pad_top, pad_left, causal, up, relu, t, h, w, f8;
    float x_scale;
    size_t n, stride; /* outputs looked at: i * stride, i < n */
};

static __device__ float ref_x(const ref_args &r, const void *base, size_t i)
{
    return r.f8 ? (float)((const __nv_fp8_e4m3 *)base)[i] * r.x_scale
                : __bfloat162float(((const __nv_bfloat16 *)base)[i]);
}

static __device__ float ref_value(const ref_args &r, size_t o)
{
    const int up = r.up ? 2 : 1, h_out = r.h * up, w_out = r.w * up;
    const int co = (int)(o % r.c_out), x = (int)(o / r.c_out % w_out);
    const int y = (int)(o / r.c_out / w_out % h_out), t = (int)(o / r.c_out / w_out / h_out);
    float sum = r.bias[co];
    for (int dt = 0; dt < r.kt; dt++) {
        int f = t + dt - (r.causal ? r.kt - 1 : 0);
        const void *base = r.x;
        if (f < 0) {
            base = r.past;
            f += r.kt - 1;
        }
        for (int k = 0; base && k < r.kh * r.kw; k++) {
            const int iy = y + k / r.kw - r.pad_top, ix = x + k % r.kw - r.pad_left;
            if (iy < 0 || iy >= h_out || ix < 0 || ix >= w_out) {
                continue;
            }
            const size_t px = (((size_t)f * r.h + iy / up) * r.w + ix / up) * r.c_in;
            const float *w = r.weight + ((size_t)co * r.c_in * r.kt + dt) * r.kh * r.kw + k;
            for (int i = 0; i < r.c_in; i++) {
                sum = fmaf(ref_x(r, base, px + i), w[(size_t)i * r.kt * r.kh * r.kw], sum);
            }
        }
    }
    sum += r.residual ? __bfloat162float(r.residual[o]) : 0.0f;
    return r.relu ? fmaxf(sum, 0.0f) : sum;
}

/* out[0] |error|^2, [1] |ref|^2, [2] largest error; first: lowest wrong index */
static __global__ void compare(ref_args r, double *out, unsigned long long *first)
{
    for (size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x; i < r.n;
         i += (size_t)gridDim.x * blockDim.x) {
        const size_t o = i * r.stride;
        const float want = ref_value(r, o), got = __bfloat162float(r.y[o]);
        const float err = got == got ? fabsf(got - want) : 1e9f;
        atomicAdd(&out[0], (double)err * err);
        atomicAdd(&out[1], (double)want * want);
        if (err > 0.05f + 0.02f * fabsf(want)) {
            atomicAdd(&out[2], 1.0);
            atomicMin(first, (unsigned long long)o);
        }
    }
}

static __global__ void values_at(ref_args r, size_t o, float *out)
{
    out[0] = ref_value(r, o);
    out[1] = __bfloat162float(r.y[o]);
}

/* --- a filter under test --- */

struct shape {
    const char *name;
    int c_in, c_out, kt, k, up, t, h, w, past, residual, relu, per_latent, k_space;
};

struct tensors {
    void *x, *past, *y, *residual;
};

struct test {
    shape s;
    kt_conv_desc d;
    ktc_filter *conv;
    float *weight, *bias; /* device, as the reference reads them */
    size_t n_x, n_past, n_y;
    int f8;
    std::vector<tensors> sets;
};

static const float X_SCALE = 1.0f / 64.0f;

static float e4m3_value(uint8_t v)
{
    const int e = v >> 3 & 15, m = v & 7;
    const float a = e ? ldexpf(1.0f + (float)m / 8.0f, e - 7) : ldexpf((float)m, -9);
    return v & 0x80 ? -a : a;
}

static void round_weights(std::vector<float> &w, const shape &s, int f8)
{
    const size_t per = w.size() / s.c_out;
    for (int co = 0; co < s.c_out; co++) {
        float max = 0.0f;
        for (size_t i = 0; i < per; i++) {
            max = fmaxf(max, fabsf(w[co * per + i]));
        }
        for (size_t i = 0; i < per; i++) {
            float &v = w[co * per + i];
            if (!f8) {
                const uint32_t u = (uint32_t)ktc_to_bf16(v) << 16;
                memcpy(&v, &u, 4);
            } else if (!s.up) {
                v = e4m3_value(ktc_to_e4m3(v / (max / 448.0f))) * (max / 448.0f);
            }
        }
    }
}

static void open_test(test &q, const shape &s, int sets)
{
    const int kt = s.kt, kh = s.k_space ? s.k_space : s.k;
    q.s = s;
    q.f8 = g_f8;
    q.d = {};
    q.d.c_in = s.c_in;
    q.d.c_out = s.c_out;
    q.d.kt = kt;
    q.d.kh = q.d.kw = kh;
    q.d.st = q.d.sh = q.d.sw = 1;
    q.d.pad_top = q.d.pad_bottom = q.d.pad_left = q.d.pad_right = kh / 2;
    q.d.causal = kt > 1;
    q.d.upsample = s.up;
    q.d.dtype = KT_F32;
    const size_t n_w = (size_t)s.c_out * s.c_in * kt * kh * kh;
    std::vector<float> w(n_w), b(s.c_out);
    const float dev = 1.0f / sqrtf((float)(s.c_in * kt * kh * kh));
    for (size_t i = 0; i < n_w; i++) {
        w[i] = noise((uint32_t)i, 77) * dev;
    }
    for (int i = 0; i < s.c_out; i++) {
        b[i] = noise((uint32_t)i, 78);
    }
    q.d.weight = w.data();
    q.d.bias = b.data();
    if (q.f8) {
        round_weights(w, s, 1);
    }
    q.d.x_scale = q.f8 ? 1.0f / X_SCALE : 0.0f;
    const int rc =
        q.f8 ? ktc_filter_create_f8(&q.conv, 0, &q.d) : ktc_filter_create(&q.conv, 0, &q.d);
    if (rc != 0) {
        q.conv = NULL;
        return;
    }
    if (!q.f8 && !s.up) {
        round_weights(w, s, 0);
    }
    CHECK(cudaMalloc(&q.weight, n_w * 4));
    CHECK(cudaMalloc(&q.bias, s.c_out * 4));
    CHECK(cudaMemcpy(q.weight, w.data(), n_w * 4, cudaMemcpyHostToDevice));
    CHECK(cudaMemcpy(q.bias, b.data(), s.c_out * 4, cudaMemcpyHostToDevice));
    const size_t frame = (size_t)s.h * s.w;
    q.n_x = s.t * frame * s.c_in;
    q.n_past = (kt - 1) * frame * s.c_in;
    q.n_y = s.t * frame * (s.up ? 4 : 1) * s.c_out;
    q.sets.resize(sets);
    for (int i = 0; i < sets; i++) {
        tensors &t = q.sets[i];
        memset(&t, 0, sizeof(t));
        CHECK(cudaMalloc(&t.x, q.n_x * 2));
        CHECK(cudaMalloc(&t.y, q.n_y * 2));
        if (s.past && q.n_past) {
            CHECK(cudaMalloc(&t.past, q.n_past * 2));
        }
        if (s.residual) {
            CHECK(cudaMalloc(&t.residual, q.n_y * 2));
            fill_bf16<<<1024, 256>>>((__nv_bfloat16 *)t.residual, q.n_y, 3 + 10 * i);
        }
        if (q.f8) {
            fill_e4m3<<<1024, 256>>>((__nv_fp8_e4m3 *)t.x, q.n_x, 1 + 10 * i, X_SCALE);
        } else {
            fill_bf16<<<1024, 256>>>((__nv_bfloat16 *)t.x, q.n_x, 1 + 10 * i);
        }
        if (t.past && q.f8) {
            fill_e4m3<<<1024, 256>>>((__nv_fp8_e4m3 *)t.past, q.n_past, 2 + 10 * i, X_SCALE);
        } else if (t.past) {
            fill_bf16<<<1024, 256>>>((__nv_bfloat16 *)t.past, q.n_past, 2 + 10 * i);
        }
        CHECK(cudaMemset(t.y, 0xff, q.n_y * 2));
    }
    CHECK(cudaDeviceSynchronize());
}

static void close_test(test &q)
{
    for (tensors &t : q.sets) {
        cudaFree(t.x);
        cudaFree(t.y);
        cudaFree(t.past);
        cudaFree(t.residual);
    }
    q.sets.clear();
    if (q.conv) {
        cudaFree(q.weight);
        cudaFree(q.bias);
    }
    ktc_filter_destroy(&q.conv);
}

static int run(test &q, int set, const ktc_filter_tune &tune)
{
    const tensors &t = q.sets[set];
    kt_conv_args a = {};
    a.x = t.x;
    a.past = t.past;
    a.y = t.y;
    a.t_in = q.s.t;
    a.h = q.s.h;
    a.w = q.s.w;
    a.residual = t.residual;
    a.relu = q.s.relu;
    return ktc_filter_run_tuned(0, q.conv, &a, &tune);
}

/* Relative L2 error of set 0 at up to n_max outputs; prints when it is too large. */
static double error_of(test &q, size_t n_max, double *wrong)
{
    const tensors &t = q.sets[0];
    ref_args r = {t.x,
                  t.past,
                  q.weight,
                  q.bias,
                  (__nv_bfloat16 *)t.residual,
                  (__nv_bfloat16 *)t.y,
                  q.s.c_in,
                  q.s.c_out,
                  q.d.kt,
                  q.d.kh,
                  q.d.kw,
                  q.d.pad_top,
                  q.d.pad_left,
                  q.d.causal,
                  q.s.up,
                  q.s.relu,
                  q.s.t,
                  q.s.h,
                  q.s.w,
                  q.f8,
                  X_SCALE,
                  0,
                  0};
    r.stride = q.n_y > n_max ? q.n_y / n_max | 1 : 1;
    r.n = (q.n_y - 1) / r.stride + 1;
    double *out, host[3];
    unsigned long long *first, at;
    float *pair, v[2];
    CHECK(cudaMalloc(&out, 24));
    CHECK(cudaMalloc(&first, 8));
    CHECK(cudaMalloc(&pair, 8));
    CHECK(cudaMemset(out, 0, 24));
    CHECK(cudaMemset(first, 0xff, 8));
    compare<<<2048, 128>>>(r, out, first);
    CHECK(cudaMemcpy(host, out, 24, cudaMemcpyDeviceToHost));
    CHECK(cudaMemcpy(&at, first, 8, cudaMemcpyDeviceToHost));
    const double err = sqrt(host[0] / (host[1] > 0 ? host[1] : 1));
    *wrong = host[2];
    if (at != ~0ull) {
        values_at<<<1, 1>>>(r, at, pair);
        CHECK(cudaMemcpy(v, pair, 8, cudaMemcpyDeviceToHost));
        const int up = q.s.up ? 2 : 1, w = q.s.w * up, h = q.s.h * up;
        const size_t px = at / q.s.c_out;
        printf("    wrong %.0f of %zu; first: t %d y %d x %d c %d want %g got %g\n", host[2], r.n,
               (int)(px / w / h), (int)(px / w % h), (int)(px % w), (int)(at % q.s.c_out), v[0],
               v[1]);
    }
    cudaFree(out);
    cudaFree(first);
    cudaFree(pair);
    return err;
}

/* c_in c_out kt k up t h w past residual relu */
static const shape SMALL[] = {
    {"384 3x3x3", 384, 384, 3, 3, 0, 1, 11, 13, 1, 1, 0, 0, 0},
    {"192 3x3x3", 192, 192, 3, 3, 0, 3, 17, 35, 1, 1, 1, 0, 0},
    {"192 no past", 192, 192, 3, 3, 0, 2, 9, 33, 0, 0, 0, 0, 0},
    {"192>384", 192, 384, 3, 3, 0, 2, 8, 16, 1, 0, 0, 0, 0},
    {"96 3x3x3", 96, 96, 3, 3, 0, 2, 19, 37, 1, 1, 0, 0, 0},
    {"96 odd t", 96, 96, 3, 3, 0, 3, 8, 70, 1, 0, 0, 0, 0},
    {"96 no past", 96, 96, 3, 3, 0, 1, 24, 40, 0, 1, 1, 0, 0},
    {"16>384", 16, 384, 3, 3, 0, 1, 10, 14, 1, 0, 0, 0, 0},
    {"96>3", 96, 3, 3, 3, 0, 3, 13, 21, 1, 0, 0, 0, 0},
    {"time 384>768", 384, 768, 3, 3, 0, 2, 9, 17, 1, 0, 0, 0, 1},
    {"up 384>192", 384, 192, 1, 3, 1, 2, 9, 19, 0, 0, 0, 0, 0},
    {"up 192>96", 192, 96, 1, 3, 1, 2, 11, 37, 0, 0, 0, 0, 0},
    {"256 memory", 256, 256, 2, 3, 0, 1, 12, 20, 1, 0, 1, 0, 0},
    {"128 2-D", 128, 128, 1, 3, 0, 2, 12, 20, 0, 1, 1, 0, 0},
    {"64 memory", 64, 64, 2, 3, 0, 3, 12, 36, 1, 0, 1, 0, 0},
    {"64 2-D", 64, 64, 1, 3, 0, 3, 12, 36, 0, 1, 1, 0, 0},
    {"16>256", 16, 256, 1, 3, 0, 1, 12, 20, 0, 0, 1, 0, 0},
    {"up 256>128", 256, 128, 1, 3, 1, 1, 12, 20, 0, 0, 0, 0, 0},
    {"up 128>64", 128, 64, 1, 3, 1, 2, 12, 20, 0, 0, 0, 0, 0},
    {"up 64>64", 64, 64, 1, 3, 1, 2, 12, 20, 0, 0, 1, 0, 0},
    {"64>3", 64, 3, 1, 3, 0, 3, 13, 21, 0, 0, 0, 0, 0},
    {"32>64", 32, 64, 1, 3, 0, 2, 13, 37, 0, 0, 0, 0, 0},
    {"24>8", 24, 8, 1, 3, 0, 2, 13, 37, 0, 1, 0, 0, 0},
    {"96 one pixel", 96, 96, 3, 3, 0, 1, 1, 1, 1, 0, 0, 0, 0},
};

/* A latent of the Wan decoder at 832x480, as the engine calls it, and of the tiny decoder. */
static const shape REAL[] = {
    {"16>384 60x104", 16, 384, 3, 3, 0, 1, 60, 104, 1, 0, 0, 1, 0},
    {"384 60x104", 384, 384, 3, 3, 0, 1, 60, 104, 1, 1, 0, 10, 0},
    {"time 60x104", 384, 768, 3, 3, 0, 1, 60, 104, 1, 0, 0, 1, 1},
    {"up 384>192 60x104", 384, 192, 1, 3, 1, 2, 60, 104, 0, 0, 0, 1, 0},
    {"192>384 120x208", 192, 384, 3, 3, 0, 2, 120, 208, 1, 0, 0, 1, 0},
    {"384 120x208", 384, 384, 3, 3, 0, 2, 120, 208, 1, 1, 0, 5, 0},
    {"time 120x208", 384, 768, 3, 3, 0, 2, 120, 208, 1, 0, 0, 1, 1},
    {"up 384>192 120x208", 384, 192, 1, 3, 1, 4, 120, 208, 0, 0, 0, 1, 0},
    {"192 240x416", 192, 192, 3, 3, 0, 2, 240, 416, 1, 1, 0, 12, 0},
    {"up 192>96 240x416", 192, 96, 1, 3, 1, 4, 240, 416, 0, 0, 0, 1, 0},
    {"96 480x832", 96, 96, 3, 3, 0, 2, 480, 832, 1, 1, 0, 12, 0},
    {"96>3 480x832", 96, 3, 3, 3, 0, 2, 480, 832, 1, 0, 0, 2, 0},
    {"t 16>256", 16, 256, 1, 3, 0, 1, 60, 104, 0, 0, 1, 1, 0},
    {"t 256 memory", 256, 256, 2, 3, 0, 1, 60, 104, 1, 0, 1, 3, 0},
    {"t 256", 256, 256, 1, 3, 0, 1, 60, 104, 0, 1, 1, 6, 0},
    {"t up 256>128", 256, 128, 1, 3, 1, 1, 60, 104, 0, 0, 0, 1, 0},
    {"t 128 memory", 128, 128, 2, 3, 0, 1, 120, 208, 1, 0, 1, 3, 0},
    {"t 128", 128, 128, 1, 3, 0, 1, 120, 208, 0, 1, 1, 6, 0},
    {"t up 128>64", 128, 64, 1, 3, 1, 2, 120, 208, 0, 0, 0, 1, 0},
    {"t 64 memory", 64, 64, 2, 3, 0, 2, 240, 416, 1, 0, 1, 3, 0},
    {"t 64", 64, 64, 1, 3, 0, 2, 240, 416, 0, 1, 1, 6, 0},
    {"t up 64>64", 64, 64, 1, 3, 1, 4, 240, 416, 0, 0, 1, 1, 0},
    {"t 64>3", 64, 3, 1, 3, 0, 4, 480, 832, 0, 0, 0, 1, 0},
};

static int is_takes_f8(const shape &s)
{
    return s.c_in % 96 == 0 && s.c_out % 96 == 0 && !s.up;
}

static int check_all(const ktc_filter_tune &tune)
{
    int bad = 0, ran = 0;
    for (const shape &s : SMALL) {
        if (g_f8 && !is_takes_f8(s)) {
            continue;
        }
        test q;
        open_test(q, s, 1);
        if (!q.conv) {
            continue;
        }
        const int rc = run(q, 0, tune);
        if (rc == 0) {
            CHECK(cudaDeviceSynchronize());
            double wrong;
            const double err = error_of(q, 1u << 22, &wrong), bound = g_f8 && s.up ? 4e-2 : 4e-3;
            ran++;
            if (!(err < bound) || (wrong > 0 && !(g_f8 && s.up))) {
                printf("  BAD %-14s error %.3g\n", s.name, err);
                bad++;
            }
        }
        close_test(q);
    }
    printf("check size %d f8 %d: %d shapes, %d bad\n", tune.size, g_f8, ran, bad);
    return bad != 0;
}

static double flops_of(const shape &s)
{
    const int k = s.k_space ? s.k_space : s.k;
    return 2.0 * s.t * s.h * s.w * (s.up ? 4 : 1) * s.c_in * s.c_out * s.kt * k * k;
}

static int time_all(const ktc_filter_tune &tune)
{
    double total = 0, tiny = 0, done = 0;
    int bad = 0;
    for (const shape &s : REAL) {
        if (g_f8 && !is_takes_f8(s)) {
            continue;
        }
        test q;
        open_test(q, s, 3);
        if (!q.conv) {
            continue;
        }
        if (run(q, 0, tune) == 0) {
            CHECK(cudaDeviceSynchronize());
            double wrong;
            const double err = error_of(q, 16384, &wrong);
            bad += !(err < (g_f8 && s.up ? 4e-2 : 4e-3));
            std::vector<float> ms;
            cudaEvent_t e0, e1;
            CHECK(cudaEventCreate(&e0));
            CHECK(cudaEventCreate(&e1));
            for (int i = 0; i < 24; i++) {
                CHECK(cudaEventRecord(e0));
                run(q, i % 3, tune);
                CHECK(cudaEventRecord(e1));
                CHECK(cudaEventSynchronize(e1));
                float v;
                CHECK(cudaEventElapsedTime(&v, e0, e1));
                if (i > 3) {
                    ms.push_back(v);
                }
            }
            std::sort(ms.begin(), ms.end());
            const double m = ms[ms.size() / 2];
            printf("%-20s x%-2d %8.4f ms %7.1f TFLOP/s  error %.2g\n", s.name, s.per_latent, m,
                   flops_of(s) / m * 1e-9, err);
            if (s.name[0] == 't' && s.name[1] == ' ') {
                tiny += m * s.per_latent;
            } else {
                total += m * s.per_latent;
                done += flops_of(s) * s.per_latent;
            }
            cudaEventDestroy(e0);
            cudaEventDestroy(e1);
        }
        close_test(q);
    }
    printf("time size %d f8 %d: 12 frames: Wan %.2f ms (%.0f TFLOP/s), tiny %.2f ms, %d bad\n",
           tune.size, g_f8, 3 * total, done / total * 1e-9, 3 * tiny, bad);
    return bad != 0;
}

/* Four frames at once, as 2 + 2, 1 + 3, with any tile and cluster: the same bits. */
static int same_bits(void)
{
    int bad = 0;
    for (int k = 0; k < 3; k++) {
        shape s = k == 0 ? REAL[5] : k == 1 ? REAL[8] : REAL[10];
        s.t = 4;
        s.h = 20;
        s.w = 52;
        ktc_filter_tune tune = {};
        tune.diag = g_diag;
        test q;
        open_test(q, s, 1);
        const tensors t = q.sets[0];
        const size_t in = (size_t)s.h * s.w * s.c_in * 2, out = (size_t)s.h * s.w * s.c_out * 2;
        std::vector<char> want(q.n_y * 2), got(q.n_y * 2);
        for (int v = 0; v < 6; v++) {
            const int split = v % 3, first = split == 0 ? 4 : split == 1 ? 2 : 1;
            tune.size = 1 + v / 3;
            CHECK(cudaMemset(t.y, 0xff, q.n_y * 2));
            char *joined; /* past, x in one piece */
            CHECK(cudaMalloc(&joined, in * 6));
            CHECK(cudaMemcpy(joined, t.past, 2 * in, cudaMemcpyDeviceToDevice));
            CHECK(cudaMemcpy(joined + 2 * in, t.x, 4 * in, cudaMemcpyDeviceToDevice));
            for (int at = 0; at < 4; at += at ? 4 - first : first) {
                kt_conv_args a = {};
                a.x = joined + (2 + at) * in;
                a.past = joined + at * in;
                a.t_in = at ? 4 - first : first;
                a.y = (char *)t.y + at * out;
                a.residual = (char *)t.residual + at * out;
                a.h = s.h;
                a.w = s.w;
                bad += ktc_filter_run_tuned(0, q.conv, &a, &tune) != 0;
                if (first == 4) {
                    break;
                }
            }
            CHECK(cudaMemcpy(v ? got.data() : want.data(), t.y, q.n_y * 2, cudaMemcpyDeviceToHost));
            if (v && got != want) {
                printf("  BAD %s: variant %d has other bits\n", s.name, v);
                bad++;
            }
            cudaFree(joined);
        }
        close_test(q);
    }
    printf("same bits: %d bad\n", bad);
    return bad != 0;
}

/* --- channel norm --- */

static __global__ void compare_norm(const __nv_bfloat16 *x, const void *y, const float *gamma,
                                    int pixels, int c, int silu, int f8, float y_scale, double *out)
{
    for (int p = blockIdx.x * blockDim.x + threadIdx.x; p < pixels; p += gridDim.x * blockDim.x) {
        double sum = 0, err = 0, ref = 0;
        for (int i = 0; i < c; i++) {
            const double v = __bfloat162float(x[(size_t)p * c + i]);
            sum += v * v;
        }
        const double factor = sqrt((double)c) / fmax(sqrt(sum), 1e-12);
        for (int i = 0; i < c; i++) {
            double v = __bfloat162float(x[(size_t)p * c + i]) * factor * gamma[i];
            v = silu ? v / (1 + exp(-v)) : v;
            const double got = f8 ? (float)((const __nv_fp8_e4m3 *)y)[(size_t)p * c + i] * y_scale
                                  : __bfloat162float(((const __nv_bfloat16 *)y)[(size_t)p * c + i]);
            err += (got - v) * (got - v);
            ref += v * v;
        }
        atomicAdd(&out[0], err);
        atomicAdd(&out[1], ref);
    }
}

static int norm_all(void)
{
    static const int CASES[][3] = {{96, 480 * 832 * 4, 0},
                                   {96, 480 * 832 * 4, 1},
                                   {192, 240 * 416 * 4, 0},
                                   {384, 120 * 208 * 2, 0},
                                   {384, 60 * 104, 0},
                                   {8, 1001, 0},
                                   {64, 777, 0},
                                   {768, 333, 0}};
    int bad = 0;
    for (const auto &k : CASES) {
        const int c = k[0], pixels = k[1], f8 = k[2];
        const size_t n = (size_t)c * pixels;
        void *x, *y;
        float *gamma;
        double *out, host[2];
        CHECK(cudaMalloc(&x, n * 2));
        CHECK(cudaMalloc(&y, n * 2));
        CHECK(cudaMalloc(&gamma, c * 4));
        CHECK(cudaMalloc(&out, 16));
        std::vector<float> g(c);
        for (int i = 0; i < c; i++) {
            g[i] = 1.0f + 0.2f * noise(i, 5);
        }
        CHECK(cudaMemcpy(gamma, g.data(), c * 4, cudaMemcpyHostToDevice));
        fill_bf16<<<1024, 256>>>((__nv_bfloat16 *)x, n, 9);
        kt_channel_norm_args a = {x, y, gamma, pixels, c, 1, f8 ? 64.0f : 0.0f};
        CHECK(cudaMemset(y, 0xff, n * 2));
        const float y_scale = 1.0f / 64.0f;
        cudaEvent_t e0, e1;
        CHECK(cudaEventCreate(&e0));
        CHECK(cudaEventCreate(&e1));
        std::vector<float> ms;
        for (int i = 0; i < 24; i++) {
            CHECK(cudaEventRecord(e0));
            const int rc = f8 ? ktc_channel_norm_f8(0, &a) : ktc_channel_norm_bf16(0, &a);
            bad += rc != 0;
            CHECK(cudaEventRecord(e1));
            CHECK(cudaEventSynchronize(e1));
            float v;
            CHECK(cudaEventElapsedTime(&v, e0, e1));
            ms.push_back(v);
        }
        std::sort(ms.begin(), ms.end());
        CHECK(cudaMemset(out, 0, 16));
        compare_norm<<<1024, 128>>>((__nv_bfloat16 *)x, y, gamma, pixels, c, 1, f8, y_scale, out);
        CHECK(cudaMemcpy(host, out, 16, cudaMemcpyDeviceToHost));
        const double err = sqrt(host[0] / host[1]);
        bad += !(err < (f8 ? 4e-2 : 4e-3));
        printf("norm c %d pixels %d f8 %d: %.4f ms, %.2f TB/s, error %.2g\n", c, pixels, f8, ms[12],
               (double)n * (f8 ? 3 : 4) / ms[12] * 1e-9, err);
        cudaFree(x);
        cudaFree(y);
        cudaFree(gamma);
        cudaFree(out);
    }
    return bad != 0;
}

int main(int argc, char **argv)
{
    int devices = 0;
    cudaDeviceProp prop;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0 ||
        cudaGetDeviceProperties(&prop, 0) != cudaSuccess || prop.major != 9) {
        printf("no Hopper card here\n");
        return 77;
    }
    CHECK(cudaHostAlloc(&g_diag, 64, cudaHostAllocMapped));
    memset(g_diag, 0, 64);
    const char *what = argc > 1 ? argv[1] : "check";
    ktc_filter_tune tune = {};
    tune.size = argc > 2 ? atoi(argv[2]) : 0;
    g_f8 = argc > 3 ? atoi(argv[3]) : 0;
    tune.diag = g_diag;
    if (strcmp(what, "time") == 0) {
        return time_all(tune);
    }
    if (strcmp(what, "same") == 0) {
        return same_bits();
    }
    return strcmp(what, "norm") == 0 ? norm_all() : check_all(tune);
}
