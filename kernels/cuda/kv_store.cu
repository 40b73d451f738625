/* From q, k, v rows to what attention reads, in one pass over them: a warp normalises and turns a
 * row of q, or one of k, and puts it, and v, where it belongs. 8-bit values lie transposed in the
 * window, so they go through shared memory in a kernel of their own.
 *
 * Keys are rounded to bf16 before they are turned, also where the window keeps them in 8 bits: so a
 * row has the same bits whether a pass just made it or it is loaded from its page. */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/f8.cuh"
#include "kernels/cuda/fused.h"
#include "kernels/cuda/vec.cuh"

#include <errno.h>

namespace
{

constexpr int ROWS = 4, PAGES = 24, TILE = 64;

struct call {
    const ktc_bf16 *q, *k, *v;
    void *q_out, *window_k, *window_v; /* window pointers: at their row for row `skip` */
    const float *norm_q, *norm_k, *cos, *sin;
    int64_t ld, ld_q;
    int rows, first, skip, page_rows, page_turned, half; /* rows first..rows are done */
    int from_pages;                                      /* k and v are read there, not written */
    float eps, q_scale, k_scale;
    ktc_bf16 *page_k[PAGES], *page_v[PAGES]; /* of the row `skip` or, later, `first` on */
    int pages;
};

__device__ __forceinline__ float rounded(float x)
{
    return __bfloat162float(__float2bfloat16_rn(x));
}

/* 8 C values of a row, a lane holding 8 of every 256. */
template <int C> struct row_values {
    float v[C][8];
};

template <int C> __device__ __forceinline__ row_values<C> load_row(const ktc_bf16 *x, int lane)
{
    row_values<C> r;
#pragma unroll
    for (int c = 0; c < C; c++) {
        ktc_load<8>(r.v[c], x + c * 256 + lane * 8);
    }
    return r;
}

template <int C>
__device__ __forceinline__ void normalise(row_values<C> &r, const float *weight, int lane,
                                          float eps)
{
    float sum = 0.0f;
#pragma unroll
    for (int c = 0; c < C; c++) {
#pragma unroll
        for (int i = 0; i < 8; i++) {
            sum += r.v[c][i] * r.v[c][i];
        }
    }
#pragma unroll
    for (int i = 16; i > 0; i /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, i);
    }
    const float inv = 1.0f / sqrtf(sum / (256 * C) + eps);
#pragma unroll
    for (int c = 0; c < C; c++) {
        float w[8];
        ktc_load<8>(w, weight + c * 256 + lane * 8);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            r.v[c][i] = rounded(r.v[c][i] * inv * w[i]);
        }
    }
}

template <int C>
__device__ __forceinline__ void turn(row_values<C> &r, const float *cos, const float *sin)
{
    const float4 c4 = *reinterpret_cast<const float4 *>(cos);
    const float4 s4 = *reinterpret_cast<const float4 *>(sin);
    const float co[4] = {c4.x, c4.y, c4.z, c4.w}, si[4] = {s4.x, s4.y, s4.z, s4.w};
#pragma unroll
    for (int c = 0; c < C; c++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const float a = r.v[c][2 * i], b = r.v[c][2 * i + 1];
            r.v[c][2 * i] = a * co[i] - b * si[i];
            r.v[c][2 * i + 1] = a * si[i] + b * co[i];
        }
    }
}

template <int C>
__device__ __forceinline__ void store_row(ktc_bf16 *y, const row_values<C> &r, int lane, float)
{
#pragma unroll
    for (int c = 0; c < C; c++) {
        ktc_store<8>(y + c * 256 + lane * 8, r.v[c]);
    }
}

template <int C>
__device__ __forceinline__ void store_row(uint8_t *y, const row_values<C> &r, int lane, float scale)
{
#pragma unroll
    for (int c = 0; c < C; c++) {
        float v[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] = r.v[c][i] * scale;
        }
        *reinterpret_cast<uint2 *>(y + c * 256 + lane * 8) =
            make_uint2(ktc_f8x4(v[0], v[1], v[2], v[3]), ktc_f8x4(v[4], v[5], v[6], v[7]));
    }
}

template <int C> __device__ __forceinline__ void copy_row(ktc_bf16 *y, const ktc_bf16 *x, int lane)
{
#pragma unroll
    for (int c = 0; c < C; c++) {
        *reinterpret_cast<uint4 *>(y + c * 256 + lane * 8) =
            *reinterpret_cast<const uint4 *>(x + c * 256 + lane * 8);
    }
}

template <int C, typename W> __global__ void __launch_bounds__(32 * ROWS) kv_store(const call a)
{
    const int row = a.first + blockIdx.x * ROWS + threadIdx.x / 32, lane = threadIdx.x % 32;
    const int dim = 256 * C;
    if (row >= a.rows) {
        return;
    }
    const size_t table = (size_t)row * a.half + lane * 8 % (2 * a.half) / 2;
    if (a.q && blockIdx.y == 0) {
        row_values<C> q = load_row<C>(a.q + row * a.ld, lane);
        normalise<C>(q, a.norm_q, lane, a.eps);
        turn<C>(q, a.cos + table, a.sin + table);
        store_row<C>(static_cast<W *>(a.q_out) + row * a.ld_q, q, lane, a.q_scale);
        return;
    }
    if (row < a.skip) {
        return;
    }
    const int begin = a.first > a.skip ? a.first : a.skip; /* of page 0 */
    const int page = a.pages ? (row - begin) / a.page_rows : 0;
    const size_t in_page = a.pages ? (size_t)((row - begin) % a.page_rows) * dim : 0;
    const bool keep = a.pages && !a.from_pages;
    const ktc_bf16 *v = a.from_pages ? a.page_v[page] + in_page : a.v + row * a.ld;
    row_values<C> k = load_row<C>(a.from_pages ? a.page_k[page] + in_page : a.k + row * a.ld, lane);
    if (a.norm_k) {
        normalise<C>(k, a.norm_k, lane, a.eps);
    }
    if (keep && !a.page_turned) {
        store_row<C>(a.page_k[page] + in_page, k, lane, 0.0f);
    }
    if (a.cos) {
        turn<C>(k, a.cos + table, a.sin + table);
    }
    if (keep && a.page_turned) {
        store_row<C>(a.page_k[page] + in_page, k, lane, 0.0f);
    }
    if (a.page_turned) {
#pragma unroll
        for (int c = 0; c < C; c++) {
#pragma unroll
            for (int i = 0; i < 8; i++) {
                k.v[c][i] = rounded(k.v[c][i]);
            }
        }
    }
    store_row<C>(static_cast<W *>(a.window_k) + (size_t)(row - a.skip) * dim, k, lane, a.k_scale);
    if (keep) {
        copy_row<C>(a.page_v[page] + in_page, v, lane);
    }
    if (sizeof(W) == 2) {
        copy_row<C>(static_cast<ktc_bf16 *>(a.window_v) + (size_t)(row - a.skip) * dim, v, lane);
    }
}

struct value_call {
    uint8_t *window;
    const ktc_bf16 *v;
    const ktc_bf16 *page[PAGES]; /* where page_rows > 0: rows come from these */
    int64_t ld, ld_v;
    int row0, rows, page_rows;
    float scale;
};

/* Window rows row0.. row0 + rows of the values, as e4m3, channels by tokens. A block does TILE
 * channels of TILE tokens, from a multiple of TILE on. */
__global__ void __launch_bounds__(256) store_values(const __grid_constant__ value_call a)
{
    const int row0 = a.row0, rows = a.rows;
    const float scale = a.scale;
    __shared__ __align__(16) uint8_t tile[TILE][TILE + 16];
    const int channel0 = blockIdx.y * TILE, token0 = row0 / TILE * TILE + blockIdx.x * TILE;
    for (int i = threadIdx.x; i < TILE * TILE / 8; i += 256) {
        const int t = i / (TILE / 8), c = i % (TILE / 8) * 8, row = token0 + t - row0;
        if (row >= 0 && row < rows) {
            float x[8];
            const ktc_bf16 *v = a.page_rows ? a.page[row / a.page_rows] + row % a.page_rows * a.ld
                                            : a.v + row * a.ld;
            ktc_load<8>(x, v + channel0 + c);
            const uint32_t low = ktc_f8x4(x[0] * scale, x[1] * scale, x[2] * scale, x[3] * scale);
            const uint32_t high = ktc_f8x4(x[4] * scale, x[5] * scale, x[6] * scale, x[7] * scale);
            const int slot = ktc_f8_token_slot(t);
#pragma unroll
            for (int j = 0; j < 4; j++) {
                tile[c + j][slot] = (uint8_t)(low >> 8 * j);
                tile[c + 4 + j][slot] = (uint8_t)(high >> 8 * j);
            }
        }
    }
    __syncthreads();
    const int c = threadIdx.x / (TILE / 16), group = threadIdx.x % (TILE / 16) * 16;
    uint8_t *out = a.window + (channel0 + c) * a.ld_v + token0 + group;
    if (token0 + group >= row0 && token0 + group + 16 <= row0 + rows) {
        *reinterpret_cast<uint4 *>(out) = *reinterpret_cast<const uint4 *>(&tile[c][group]);
        return;
    }
    for (int t = 0; t < 16; t++) { /* a group that is shared with a neighbour */
        const int row = token0 + group + t;
        if (row >= row0 && row < row0 + rows) {
            out[ktc_f8_token_slot(t)] = tile[c][group + ktc_f8_token_slot(t)];
        }
    }
}

template <int C> void launch_rows(cudaStream_t s, const call &c)
{
    const dim3 blocks((c.rows - c.first + ROWS - 1) / ROWS, c.q ? 2 : 1);
    if (c.k_scale > 0) {
        kv_store<C, uint8_t><<<blocks, 32 * ROWS, 0, s>>>(c);
    } else {
        kv_store<C, ktc_bf16><<<blocks, 32 * ROWS, 0, s>>>(c);
    }
}

void launch(cudaStream_t s, const call &c, int chunks)
{
    switch (chunks) {
    case 1: launch_rows<1>(s, c); break;
    case 2: launch_rows<2>(s, c); break;
    case 4: launch_rows<4>(s, c); break;
    case 6: launch_rows<6>(s, c); break;
    default: launch_rows<8>(s, c); break;
    }
}

int takes(const struct kt_kv_store_args *a)
{
    const int dim = a->heads * a->head_dim, chunks = dim / 256;
    if (a->from_k && (a->q || a->norm_k || a->page_k || a->skip || a->page_turned)) {
        return 0;
    }
    return dim % 256 == 0 && 256 % a->head_dim == 0 && a->head_dim >= 8 && a->ld % 8 == 0 &&
           a->ld_q % 8 == 0 && (!a->q || (a->norm_q && a->cos)) &&
           (chunks == 1 || chunks == 2 || chunks == 4 || chunks == 6 || chunks == 8) &&
           (a->v_scale <= 0 || a->ld_v % 16 == 0);
}

call make_call(const struct kt_kv_store_args *a)
{
    const int dim = a->heads * a->head_dim;
    const size_t at = (size_t)a->row0 * dim * (a->k_scale > 0 ? 1 : 2);
    call c = {};
    c.q = static_cast<const ktc_bf16 *>(a->q);
    c.k = static_cast<const ktc_bf16 *>(a->k);
    c.v = static_cast<const ktc_bf16 *>(a->v);
    c.q_out = a->q_out;
    c.window_k = static_cast<char *>(a->window_k) + at;
    c.window_v = static_cast<char *>(a->window_v) + at; /* [f8] values go another way */
    c.norm_q = a->norm_q, c.norm_k = a->norm_k;
    c.cos = a->cos, c.sin = a->sin;
    c.ld = a->ld, c.ld_q = a->ld_q;
    c.rows = a->rows, c.skip = a->skip;
    c.page_rows = a->page_rows, c.page_turned = a->page_turned, c.half = a->head_dim / 2;
    c.eps = a->eps, c.q_scale = a->q_scale, c.k_scale = a->k_scale;
    c.from_pages = a->from_k != NULL;
    return c;
}

/* rows `from`.. of a call, `count` of them */
void launch_values(cudaStream_t s, const struct kt_kv_store_args *a, const call &c, int from,
                   int count)
{
    const int row0 = a->row0 + from, first = row0 / TILE, last = (row0 + count - 1) / TILE;
    const int dim = a->heads * a->head_dim;
    value_call v = {};
    v.window = static_cast<uint8_t *>(a->window_v);
    v.ld_v = a->ld_v;
    v.row0 = row0, v.rows = count, v.scale = a->v_scale;
    if (c.from_pages) {
        v.ld = dim;
        v.page_rows = a->page_rows;
        for (int i = 0; i < c.pages; i++) {
            v.page[i] = c.page_v[i];
        }
    } else {
        v.ld = a->ld;
        v.v = c.v + (size_t)(a->skip + from) * a->ld;
    }
    store_values<<<dim3(last - first + 1, dim / TILE), 256, 0, s>>>(v);
}

} // namespace

int ktc_kv_store(cudaStream_t s, const struct kt_kv_store_args *a, int *launches)
{
    const int dim = a->heads * a->head_dim, kept = a->rows - a->skip;
    const int pages = a->page_k || a->from_k ? kept / a->page_rows : 0;
    *launches = 0;
    if (!takes(a)) {
        return -EOPNOTSUPP;
    }
    call c = make_call(a);
    for (int done = 0; done == 0 || done < pages; done += PAGES) {
        c.pages = pages - done < PAGES ? pages - done : PAGES;
        c.first = done ? a->skip + done * a->page_rows : 0;
        c.rows = done + PAGES < pages ? a->skip + (done + PAGES) * a->page_rows : a->rows;
        for (int i = 0; i < c.pages; i++) {
            c.page_k[i] = (ktc_bf16 *)(a->from_k ? a->from_k[done + i] : a->page_k[done + i]);
            c.page_v[i] = (ktc_bf16 *)(a->from_k ? a->from_v[done + i] : a->page_v[done + i]);
        }
        launch(s, c, dim / 256);
        ++*launches;
        if (a->v_scale > 0 && a->from_k) {
            launch_values(s, a, c, done * a->page_rows, c.pages * a->page_rows);
            ++*launches;
        }
    }
    if (a->v_scale > 0 && !a->from_k && kept > 0) {
        launch_values(s, a, c, 0, kept);
        ++*launches;
    }
    return cudaPeekAtLastError() == cudaSuccess ? 0 : -EIO;
}
