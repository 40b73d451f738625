/* Ops that move values: a thread per unit of output, so that writes run together. */
#include "kernels/cuda/vec.cuh"

enum { THREADS = 256 };

struct patch {
    int c, h, w, ph, pw;
    size_t n; /* latent values */
};

/* Where latent value i of the planar [frames, c, h, w] lives in the tokens; `inner` is the order
 * inside a token. */
__device__ __forceinline__ size_t token_place(const struct patch &p, size_t i, bool channels_first)
{
    const int x = (int)(i % (unsigned)p.w), y = (int)(i / (unsigned)p.w % (unsigned)p.h);
    const size_t plane = i / ((size_t)p.w * (size_t)p.h);
    const int c = (int)(plane % (unsigned)p.c);
    const size_t f = plane / (unsigned)p.c;
    const int cols = p.w / p.pw, rows = p.h / p.ph, dy = y % p.ph, dx = x % p.pw;
    const size_t token =
        (f * (size_t)rows + (size_t)(y / p.ph)) * (size_t)cols + (size_t)(x / p.pw);
    const int inner = channels_first ? (c * p.ph + dy) * p.pw + dx : (dy * p.pw + dx) * p.c + c;
    return token * (size_t)(p.c * p.ph * p.pw) + (size_t)inner;
}

template <typename T> __global__ void patchify(T *dst, const float *src, struct patch p)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < p.n) {
        ktc_put(dst + token_place(p, i, true), src[i]);
    }
}

__global__ void unpatchify(float *dst, const float *src, struct patch p)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < p.n) {
        dst[i] = src[token_place(p, i, false)];
    }
}

static struct patch patch_of(const struct kt_patch_args *a)
{
    const size_t n = (size_t)a->frames * (size_t)a->c * (size_t)a->h * (size_t)a->w;
    const struct patch p = {a->c, a->h, a->w, a->ph, a->pw, n};
    return p;
}

extern "C" cudaError_t ktc_patchify(cudaStream_t s, int bf16, const struct kt_patch_args *a)
{
    const struct patch p = patch_of(a);
    if (p.n == 0) {
        return cudaSuccess;
    }
    KTC_WITH_ACT(bf16, (patchify<<<ktc_blocks(p.n, THREADS), THREADS, 0, s>>>(
                           (T *)a->dst, (const float *)a->src, p)));
    return cudaGetLastError();
}

extern "C" cudaError_t ktc_unpatchify(cudaStream_t s, const struct kt_patch_args *a)
{
    const struct patch p = patch_of(a);
    if (p.n == 0) {
        return cudaSuccess;
    }
    unpatchify<<<ktc_blocks(p.n, THREADS), THREADS, 0, s>>>((float *)a->dst, (const float *)a->src,
                                                            p);
    return cudaGetLastError();
}

/* The widest unit of 16, 8, 4, 2 or 1 bytes that divides everything. */
static int unit_of(size_t all)
{
    int unit = 16;
    while (all % (size_t)unit != 0) {
        unit /= 2;
    }
    return unit;
}

#define WITH_UNIT(unit, call)                                                                      \
    do {                                                                                           \
        switch (unit) {                                                                            \
        case 16: {                                                                                 \
            typedef uint4 U;                                                                       \
            call;                                                                                  \
        } break;                                                                                   \
        case 8: {                                                                                  \
            typedef uint2 U;                                                                       \
            call;                                                                                  \
        } break;                                                                                   \
        case 4: {                                                                                  \
            typedef uint32_t U;                                                                    \
            call;                                                                                  \
        } break;                                                                                   \
        case 2: {                                                                                  \
            typedef uint16_t U;                                                                    \
            call;                                                                                  \
        } break;                                                                                   \
        default: {                                                                                 \
            typedef uint8_t U;                                                                     \
            call;                                                                                  \
        } break;                                                                                   \
        }                                                                                          \
    } while (0)

/* row, dst_stride and src_stride in units */
template <typename U>
__global__ void copy_rows(U *dst, size_t dst_stride, const U *src, size_t src_stride, size_t row,
                          size_t n)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        dst[i / row * dst_stride + i % row] = src[i / row * src_stride + i % row];
    }
}

extern "C" cudaError_t ktc_copy_rows(cudaStream_t s, void *dst, size_t dst_stride, const void *src,
                                     size_t src_stride, int rows, size_t row_bytes)
{
    const int unit = unit_of((uintptr_t)dst | (uintptr_t)src | row_bytes |
                             (rows > 1 ? dst_stride | src_stride : 0));
    const size_t row = row_bytes / (size_t)unit, n = row * (size_t)rows;
    if (n == 0) {
        return cudaSuccess;
    }
    WITH_UNIT(unit, (copy_rows<<<ktc_blocks(n, THREADS), THREADS, 0, s>>>(
                        (U *)dst, dst_stride / unit, (const U *)src, src_stride / unit, row, n)));
    return cudaGetLastError();
}

/* c in units */
template <typename U> __global__ void upsample2x(U *y, const U *x, unsigned w, unsigned c, size_t n)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        const size_t pixel = i / c, row = pixel / (2 * w), col = pixel % (2 * w);
        y[i] = x[(row / 2 * w + col / 2) * c + i % c]; /* frames are whole row pairs */
    }
}

extern "C" cudaError_t ktc_upsample2x(cudaStream_t s, int size, void *y, const void *x, int t,
                                      int h, int w, int c)
{
    const int unit = unit_of((uintptr_t)y | (uintptr_t)x | (size_t)c * (size_t)size);
    const size_t units = (size_t)c * (size_t)size / (size_t)unit;
    const size_t n = (size_t)t * 4 * (size_t)h * (size_t)w * units;
    if (n == 0) {
        return cudaSuccess;
    }
    WITH_UNIT(unit, (upsample2x<<<ktc_blocks(n, THREADS), THREADS, 0, s>>>(
                        (U *)y, (const U *)x, (unsigned)w, (unsigned)units, n)));
    return cudaGetLastError();
}

template <typename U>
__global__ void split_frames(U *y, const U *x, unsigned pixels, unsigned c, unsigned f, size_t n)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        const size_t at = i % c, pixel = i / c % pixels, frame = i / c / pixels;
        y[i] = x[((frame / f * pixels + pixel) * f + frame % f) * c + at];
    }
}

extern "C" cudaError_t ktc_split_frames(cudaStream_t s, int size, void *y, const void *x, int t,
                                        int pixels, int c, int f)
{
    const int unit = unit_of((uintptr_t)y | (uintptr_t)x | (size_t)c * (size_t)size);
    const size_t units = (size_t)c * (size_t)size / (size_t)unit;
    const size_t n = (size_t)t * (size_t)f * (size_t)pixels * units;
    if (n == 0) {
        return cudaSuccess;
    }
    WITH_UNIT(unit, (split_frames<<<ktc_blocks(n, THREADS), THREADS, 0, s>>>(
                        (U *)y, (const U *)x, (unsigned)pixels, (unsigned)units, (unsigned)f, n)));
    return cudaGetLastError();
}

template <typename T>
__global__ void to_channels_last(T *y, const float *x, unsigned c, unsigned pixels,
                                 const float *scale, const float *shift, size_t n)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        const unsigned at = (unsigned)(i % c);
        const size_t pixel = i / c % pixels, frame = i / c / pixels;
        const float v = x[(frame * c + at) * pixels + pixel];
        ktc_put(y + i, fmaf(v, scale ? scale[at] : 1.0f, shift ? shift[at] : 0.0f));
    }
}

extern "C" cudaError_t ktc_to_channels_last(cudaStream_t s, int bf16, void *y, const float *x,
                                            int t, int c, int pixels, const float *scale,
                                            const float *shift)
{
    const size_t n = (size_t)t * (size_t)c * (size_t)pixels;
    if (n == 0) {
        return cudaSuccess;
    }
    KTC_WITH_ACT(bf16, (to_channels_last<<<ktc_blocks(n, THREADS), THREADS, 0, s>>>(
                           (T *)y, x, (unsigned)c, (unsigned)pixels, scale, shift, n)));
    return cudaGetLastError();
}

template <typename T>
__global__ void to_planar(float *y, const T *x, unsigned c, unsigned pixels, size_t n)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        const size_t pixel = i % pixels, at = i / pixels % c, frame = i / pixels / c;
        y[i] = ktc_float(x[(frame * pixels + pixel) * c + at]);
    }
}

extern "C" cudaError_t ktc_to_planar(cudaStream_t s, int bf16, float *y, const void *x, int t,
                                     int pixels, int c)
{
    const size_t n = (size_t)t * (size_t)c * (size_t)pixels;
    if (n == 0) {
        return cudaSuccess;
    }
    KTC_WITH_ACT(bf16, (to_planar<<<ktc_blocks(n, THREADS), THREADS, 0, s>>>(
                           y, (const T *)x, (unsigned)c, (unsigned)pixels, n)));
    return cudaGetLastError();
}

__global__ void distance_bias(float *y, const float *table, unsigned n, unsigned reach,
                              size_t total)
{
    const size_t at = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (at < total) {
        const unsigned j = (unsigned)(at % n), i = (unsigned)(at / n % n);
        y[at] = table[at / n / n * (2 * (size_t)reach + 1) + reach + j - i];
    }
}

extern "C" cudaError_t ktc_distance_bias(cudaStream_t s, float *y, const float *table, int heads,
                                         int n, int reach)
{
    const size_t total = (size_t)heads * (size_t)n * (size_t)n;
    distance_bias<<<ktc_blocks(total, THREADS), THREADS, 0, s>>>(y, table, (unsigned)n,
                                                                 (unsigned)reach, total);
    return cudaGetLastError();
}

template <typename U>
__global__ void turn_filter(U *dst, const U *src, unsigned c_out, unsigned c_in, unsigned taps,
                            size_t n)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) {
        const size_t o = i % c_out, ci = i / c_out % c_in, tap = i / c_out / c_in;
        dst[i] = src[(o * c_in + ci) * taps + tap];
    }
}

extern "C" cudaError_t ktc_turn_filter(cudaStream_t s, int size, void *dst, const void *src,
                                       int c_out, int c_in, int taps)
{
    const size_t n = (size_t)c_out * (size_t)c_in * (size_t)taps;
    WITH_UNIT(size,
              (turn_filter<<<ktc_blocks(n, THREADS), THREADS, 0, s>>>(
                  (U *)dst, (const U *)src, (unsigned)c_out, (unsigned)c_in, (unsigned)taps, n)));
    return cudaGetLastError();
}
