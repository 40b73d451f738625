/* Attention for any shape, in fp32 arithmetic whatever [act] is: the proof path, and what the fast
 * kernels leave over. A block of 16 x 16 threads holds BQ = 16 * RQ queries of one head in shared
 * memory and walks the keys BK = 16 * RK at a time with a running maximum and sum (online softmax:
 * Milakov and Gimelshein, arXiv 1805.02867). Thread (ty, tx) owns queries ty * RQ ...; the 16
 * threads of a ty are half a warp, so row sums are shuffles. */
#include "kernels/cuda/vec.cuh"

#include <math.h>

struct shape {
    const float *bias;
    int tq, tk, head_dim, ld_q, ld_k, ld_v, ld_y;
    float scale, tail_logit;
    int vector; /* rows are 16-byte aligned and head_dim is a multiple of 8 */
};

/* rows x head_dim of [act] into shared rows of `ld` floats, zeros beyond the end. */
template <typename T, int DP>
__device__ __forceinline__ void load_tile(float *to, int ld, const T *from, int ld_from, int rows,
                                          int wanted, const struct shape &a)
{
    float v[8];
    if (a.vector) {
        for (int i = threadIdx.x; i < wanted * (DP / 8); i += 256) {
            const int r = i / (DP / 8), c = i % (DP / 8) * 8;
            const bool there = r < rows && c < a.head_dim;
            if (there) {
                ktc_load<8>(v, from + (size_t)r * (size_t)ld_from + c);
            }
#pragma unroll
            for (int j = 0; j < 8; j++) {
                to[r * ld + c + j] = there ? v[j] : 0.0f;
            }
        }
        return;
    }
    for (int i = threadIdx.x; i < wanted * DP; i += 256) {
        const int r = i / DP, c = i % DP;
        to[r * ld + c] =
            r < rows && c < a.head_dim ? ktc_float(from[(size_t)r * (size_t)ld_from + c]) : 0.0f;
    }
}

template <int DP, int RQ, int RK> struct layout {
    static const int BQ = 16 * RQ, BK = 16 * RK, LD = DP + 4, LS = BK + 1;
    static const int FLOATS = (BQ + 2 * BK) * LD + BQ * LS;
};

template <int DP, int RQ, int RK> struct state { /* of a thread's queries */
    float o[RQ][DP / 16], top[RQ], total[RQ];
};

/* s[i][j] = query i . key tx + 16 j */
template <int DP, int RQ, int RK>
__device__ __forceinline__ void dots(float s[RQ][RK], const float *qs, const float *ks, int tx)
{
    const int LD = layout<DP, RQ, RK>::LD;
#pragma unroll
    for (int i = 0; i < RQ * RK; i++) {
        s[i / RK][i % RK] = 0.0f;
    }
#pragma unroll 4
    for (int c = 0; c < DP; c += 4) {
        float4 kv[RK];
#pragma unroll
        for (int j = 0; j < RK; j++) {
            kv[j] = *reinterpret_cast<const float4 *>(ks + (tx + 16 * j) * LD + c);
        }
#pragma unroll
        for (int i = 0; i < RQ; i++) {
            const float4 qv = *reinterpret_cast<const float4 *>(qs + i * LD + c);
#pragma unroll
            for (int j = 0; j < RK; j++) {
                s[i][j] = fmaf(qv.x, kv[j].x, s[i][j]);
                s[i][j] = fmaf(qv.y, kv[j].y, s[i][j]);
                s[i][j] = fmaf(qv.z, kv[j].z, s[i][j]);
                s[i][j] = fmaf(qv.w, kv[j].w, s[i][j]);
            }
        }
    }
}

/* Logits to probabilities under the maximum so far; what was summed before shrinks to it. `row` is
 * the thread's first query, `key` its first key, ps its first row. */
template <int DP, int RQ, int RK>
__device__ __forceinline__ void soften(state<DP, RQ, RK> &st, float s[RQ][RK], float *ps, int row,
                                       int key, int tx, const struct shape &a)
{
#pragma unroll
    for (int i = 0; i < RQ; i++) {
        const size_t bias_row = ((size_t)blockIdx.y * (size_t)a.tq + (size_t)(row + i)) * a.tk;
        float high = st.top[i], sum = 0.0f;
#pragma unroll
        for (int j = 0; j < RK; j++) {
            const int at = key + 16 * j;
            float x = s[i][j] * a.scale;
            if (a.bias && at < a.tk && row + i < a.tq) {
                x += a.bias[bias_row + (size_t)at];
            }
            x += at == a.tk - 1 ? a.tail_logit : 0.0f;
            s[i][j] = at < a.tk ? x : -INFINITY;
            high = fmaxf(high, s[i][j]);
        }
#pragma unroll
        for (int w = 8; w > 0; w /= 2) {
            high = fmaxf(high, __shfl_xor_sync(0xffffffffu, high, w));
        }
#pragma unroll
        for (int j = 0; j < RK; j++) {
            const float p = expf(s[i][j] - high);
            sum += p;
            ps[i * layout<DP, RQ, RK>::LS + tx + 16 * j] = p;
        }
#pragma unroll
        for (int w = 8; w > 0; w /= 2) {
            sum += __shfl_xor_sync(0xffffffffu, sum, w);
        }
        const float shrink = expf(st.top[i] - high);
        st.total[i] = st.total[i] * shrink + sum;
        st.top[i] = high;
#pragma unroll
        for (int c = 0; c < DP / 16; c++) {
            st.o[i][c] *= shrink;
        }
    }
}

/* o += p v */
template <int DP, int RQ, int RK>
__device__ __forceinline__ void weigh(state<DP, RQ, RK> &st, const float *ps, const float *vs,
                                      int tx)
{
    typedef layout<DP, RQ, RK> L;
    for (int key = 0; key < L::BK; key++) {
        float p[RQ];
#pragma unroll
        for (int i = 0; i < RQ; i++) {
            p[i] = ps[i * L::LS + key];
        }
#pragma unroll
        for (int c = 0; c < DP / 64; c++) {
            const float4 v = *reinterpret_cast<const float4 *>(vs + key * L::LD + c * 64 + tx * 4);
#pragma unroll
            for (int i = 0; i < RQ; i++) {
                st.o[i][4 * c] = fmaf(p[i], v.x, st.o[i][4 * c]);
                st.o[i][4 * c + 1] = fmaf(p[i], v.y, st.o[i][4 * c + 1]);
                st.o[i][4 * c + 2] = fmaf(p[i], v.z, st.o[i][4 * c + 2]);
                st.o[i][4 * c + 3] = fmaf(p[i], v.w, st.o[i][4 * c + 3]);
            }
        }
    }
}

template <typename T, int DP, int RQ, int RK>
__global__ void __launch_bounds__(256)
    attention(const T *q, const T *k, const T *v, T *y, const struct shape a)
{
    typedef layout<DP, RQ, RK> L;
    extern __shared__ float4 shared[]; /* of 16-byte units: rows are read so */
    float *qs = (float *)shared, *ks = qs + L::BQ * L::LD, *vs = ks + L::BK * L::LD;
    const int tx = threadIdx.x % 16, ty = threadIdx.x / 16, q0 = blockIdx.x * L::BQ;
    const int row = q0 + ty * RQ;
    const size_t head = (size_t)blockIdx.y * (size_t)a.head_dim;
    float *ps = vs + L::BK * L::LD + ty * RQ * L::LS;
    state<DP, RQ, RK> st;

    load_tile<T, DP>(qs, L::LD, q + (size_t)q0 * (size_t)a.ld_q + head, a.ld_q, a.tq - q0, L::BQ,
                     a);
#pragma unroll
    for (int i = 0; i < RQ; i++) {
        st.top[i] = -INFINITY;
        st.total[i] = 0.0f;
#pragma unroll
        for (int c = 0; c < DP / 16; c++) {
            st.o[i][c] = 0.0f;
        }
    }
    for (int k0 = 0; k0 < a.tk; k0 += L::BK) {
        float s[RQ][RK];
        __syncthreads(); /* the tiles of the step before have been read */
        load_tile<T, DP>(ks, L::LD, k + (size_t)k0 * (size_t)a.ld_k + head, a.ld_k, a.tk - k0,
                         L::BK, a);
        load_tile<T, DP>(vs, L::LD, v + (size_t)k0 * (size_t)a.ld_v + head, a.ld_v, a.tk - k0,
                         L::BK, a);
        __syncthreads();
        dots<DP, RQ, RK>(s, qs + ty * RQ * L::LD, ks, tx);
        soften<DP, RQ, RK>(st, s, ps, row, k0 + tx, tx, a);
        __syncwarp(); /* a row of ps is written and read by the same half warp */
        weigh<DP, RQ, RK>(st, ps, vs, tx);
    }
#pragma unroll
    for (int i = 0; i < RQ; i++) {
#pragma unroll
        for (int c = 0; c < DP / 16; c++) {
            const int at = c / 4 * 64 + tx * 4 + c % 4;
            if (row + i < a.tq && at < a.head_dim) {
                ktc_put(y + (size_t)(row + i) * (size_t)a.ld_y + head + at,
                        st.o[i][c] / st.total[i]);
            }
        }
    }
}

template <typename T, int DP, int RQ, int RK>
static cudaError_t launch(cudaStream_t s, const struct kt_attention_args *a,
                          const struct shape &shape)
{
    typedef layout<DP, RQ, RK> L;
    const size_t bytes = L::FLOATS * sizeof(float);
    const cudaError_t rc = cudaFuncSetAttribute(
        attention<T, DP, RQ, RK>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
    if (rc != cudaSuccess) {
        return rc;
    }
    attention<T, DP, RQ, RK>
        <<<dim3(ktc_blocks((size_t)a->tq, L::BQ), (unsigned)a->heads), 256, bytes, s>>>(
            (const T *)a->q, (const T *)a->k, (const T *)a->v, (T *)a->y, shape);
    return cudaGetLastError();
}

template <typename T>
static cudaError_t pick(cudaStream_t s, const struct kt_attention_args *a,
                        const struct shape &shape)
{
    if (a->head_dim <= 64) {
        return launch<T, 64, 4, 2>(s, a, shape);
    }
    if (a->head_dim <= 128) {
        return launch<T, 128, 4, 2>(s, a, shape);
    }
    if (a->head_dim <= 256) {
        return launch<T, 256, 2, 1>(s, a, shape);
    }
    return launch<T, 512, 1, 1>(s, a, shape);
}

extern "C" cudaError_t ktc_attention_generic(cudaStream_t s, int bf16,
                                             const struct kt_attention_args *a)
{
    const int dense = a->heads * a->head_dim;
    struct shape shape = {a->bias,
                          a->tq,
                          a->tk,
                          a->head_dim,
                          a->ld_q ? a->ld_q : dense,
                          a->ld_k ? a->ld_k : dense,
                          a->ld_v ? a->ld_v : dense,
                          a->ld_y ? a->ld_y : dense,
                          a->scale,
                          a->tail_logit,
                          0};
    shape.vector = (a->head_dim | shape.ld_q | shape.ld_k | shape.ld_v) % 8 == 0 &&
                   ktc_aligned((uintptr_t)a->q | (uintptr_t)a->k | (uintptr_t)a->v);
    KTC_WITH_ACT(bf16, return pick<T>(s, a, shape));
}
