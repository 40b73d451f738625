/* Convolution for every case of kernels.h, in fp32 arithmetic whatever [act] is: the proof path,
 * and what the fast kernels leave over. A matrix product whose left side is gathered: rows are
 * output pixels, columns output channels, the depth runs over (tap, input channel). A block
 * computes 64 pixels x 64 channels, a thread 4 x 4 of them. */
#include "kernels/cuda/vec.cuh"

enum { TILE = 64, DEPTH = 16, PAD = 4 };

struct conv {
    const float *bias;
    int c_in, c_out, kh, kw, st, sh, sw, pad_top, pad_left, shift;
    int past, h, w, h_in, w_in, h_out, w_out, relu;
    int depth, pixels; /* taps * c_in; t_out * h_out * w_out */
};

struct place { /* of an output pixel in what the filter sees */
    int t, y, x;
};

/* The input pixel under tap (dt, dy, dx), or NULL for padding. */
template <typename T>
__device__ __forceinline__ const T *input_at(const struct conv &c, const T *x, const T *past,
                                             const struct place &p, int dt, int dy, int dx)
{
    const int iy = p.y + dy, ix = p.x + dx;
    int frame = p.t + dt;
    if (iy < 0 || iy >= c.h_in || ix < 0 || ix >= c.w_in) {
        return nullptr;
    }
    const T *from = x;
    if (frame >= c.past) {
        frame -= c.past;
    } else if (past) {
        from = past;
    } else {
        return nullptr;
    }
    const size_t pixel = ((size_t)frame * (size_t)c.h + (size_t)(iy >> c.shift)) * (size_t)c.w +
                         (size_t)(ix >> c.shift);
    return from + pixel * (size_t)c.c_in;
}

/* Row `row` of the tile, its columns col .. col + 3 of the depth from k on. */
template <typename T>
__device__ __forceinline__ void gather(float v[4], const struct conv &c, const T *x, const T *past,
                                       const struct place &p, bool there, int k)
{
#pragma unroll
    for (int j = 0; j < 4; j++) {
        v[j] = 0.0f;
    }
    if (!there || k >= c.depth) {
        return;
    }
    int tap = k / c.c_in, ci = k % c.c_in;
    const T *from = input_at(c, x, past, p, tap / (c.kh * c.kw), tap / c.kw % c.kh, tap % c.kw);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        if (k + j < c.depth && from) {
            v[j] = ktc_float(from[ci]);
        }
        if (++ci == c.c_in) {
            ci = 0;
            tap++;
            from = k + j + 1 < c.depth
                       ? input_at(c, x, past, p, tap / (c.kh * c.kw), tap / c.kw % c.kh, tap % c.kw)
                       : nullptr;
        }
    }
}

template <typename T>
__global__ void __launch_bounds__(256)
    conv(T *y, const T *x, const T *past, const T *weight, const T *residual, const struct conv c)
{
    __shared__ float xs[DEPTH][TILE + PAD], ws[DEPTH][TILE + PAD];
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    const int pixel0 = blockIdx.x * TILE, out0 = blockIdx.y * TILE;
    const int row = threadIdx.x / 4, col = threadIdx.x % 4 * 4, mine = pixel0 + row;
    const struct place p = {mine / (c.h_out * c.w_out) * c.st,
                            mine / c.w_out % c.h_out * c.sh - c.pad_top,
                            mine % c.w_out * c.sw - c.pad_left};
    float acc[4][4] = {};
    for (int k0 = 0; k0 < c.depth; k0 += DEPTH) {
        float v[4];
        gather(v, c, x, past, p, mine < c.pixels, k0 + col);
        __syncthreads();
#pragma unroll
        for (int j = 0; j < 4; j++) {
            xs[col + j][row] = v[j];
        }
#pragma unroll
        for (int j = 0; j < 4; j++) { /* 16 x 64 weights, consecutive channels together */
            const int i = threadIdx.x + 256 * j, wk = k0 + i / TILE, wo = out0 + i % TILE;
            ws[i / TILE][i % TILE] =
                wk < c.depth && wo < c.c_out
                    ? ktc_float(weight[(size_t)wk * (size_t)c.c_out + (size_t)wo])
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
        const int pixel = pixel0 + ty * 4 + i;
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const int o = out0 + tx * 4 + j;
            if (pixel < c.pixels && o < c.c_out) {
                const size_t at = (size_t)pixel * (size_t)c.c_out + (size_t)o;
                float v = acc[i][j] + (c.bias ? c.bias[o] : 0.0f);
                v += residual ? ktc_float(residual[at]) : 0.0f;
                ktc_put(y + at, c.relu && v < 0.0f ? 0.0f : v);
            }
        }
    }
}

extern "C" cudaError_t ktc_conv_generic(cudaStream_t s, int bf16, const struct ktc_conv_call *call)
{
    const struct kt_conv_desc *d = call->d;
    const struct kt_conv_args *a = call->a;
    struct conv c = {};
    c.bias = call->bias;
    c.c_in = d->c_in, c.c_out = d->c_out, c.kh = d->kh, c.kw = d->kw;
    c.st = d->st, c.sh = d->sh, c.sw = d->sw, c.pad_top = d->pad_top, c.pad_left = d->pad_left;
    c.shift = d->upsample ? 1 : 0;
    c.past = call->past, c.h = a->h, c.w = a->w, c.h_in = call->h_in, c.w_in = call->w_in;
    c.h_out = call->h_out, c.w_out = call->w_out, c.relu = a->relu;
    c.depth = d->kt * d->kh * d->kw * d->c_in;
    c.pixels = call->t_out * call->h_out * call->w_out;
    const dim3 grid(ktc_blocks((size_t)c.pixels, TILE), ktc_blocks((size_t)c.c_out, TILE));
    KTC_WITH_ACT(
        bf16, (conv<T><<<grid, 256, 0, s>>>((T *)a->y, (const T *)a->x, (const T *)a->past,
                                            (const T *)call->weight, (const T *)a->residual, c)));
    return cudaGetLastError();
}
