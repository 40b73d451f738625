/* From sums in registers to bf16 pixels: bias, residual, relu, store.
 *
 * A thread's sums are two adjacent channels every eight; four neighbouring threads hold one pixel.
 * Stored like that every access would be four bytes wide, so the four exchange values (a 4x4
 * transposition) until each holds eight adjacent channels, and four of them write 64 bytes. The
 * residual comes the other way: read 16 bytes wide, exchanged, added before the one rounding. */
#ifndef KT_KERNELS_CUDA_CONV_EPILOGUE_CUH
#define KT_KERNELS_CUDA_CONV_EPILOGUE_CUH

/* v[j] of lane q becomes v[q] of lane j, among four neighbouring lanes. Its own inverse. */
__device__ __forceinline__ void ktc_transpose4(uint32_t (&v)[4], bool odd, bool high)
{
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        const uint32_t got = __shfl_xor_sync(0xffffffffu, odd ? v[i] : v[i + 1], 1);
        v[i] = odd ? got : v[i];
        v[i + 1] = odd ? v[i + 1] : got;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const uint32_t got = __shfl_xor_sync(0xffffffffu, high ? v[i] : v[i + 2], 2);
        v[i] = high ? got : v[i];
        v[i + 2] = high ? v[i + 2] : got;
    }
}

__device__ __forceinline__ float2 ktc_unpack(uint32_t v)
{
    return make_float2(__uint_as_float(v << 16), __uint_as_float(v & 0xffff0000u));
}

__device__ __forceinline__ uint32_t ktc_pack(float a, float b)
{
    const __nv_bfloat162 v = __floats2bfloat162_rn(a, b);
    return *reinterpret_cast<const uint32_t *>(&v);
}

/* Element offset of part `part` of a tile's channels at a pixel, or -1 outside the picture;
 * `channel` gets the first channel. */
template <class S>
__device__ __forceinline__ long long ktc_out_at(const ktc_conv_params &p, const ktc_tile &tile,
                                                int y, int x, int part, int *channel)
{
    const int doubled = p.up == 2, block = doubled ? tile.n >> 2 : tile.n;
    const int py = doubled ? tile.n >> 1 & 1 : 0, px = doubled ? tile.n & 1 : 0;
    *channel = block * S::NT + part * S::PART_COLS;
    if (y >= p.h || x >= p.w_in) {
        return -1;
    }
    const long long row = (long long)tile.t * p.h * p.up + y * p.up + py;
    return (row * p.w_in * p.up + x * p.up + px) * p.c_out + *channel;
}

/* Eight channels of each of four lanes, from the 32 columns whose sums start at d[AT]. */
template <class S, int AT, int SIZE>
__device__ __forceinline__ void ktc_store32(const ktc_conv_params &p, const float (&d)[SIZE],
                                            int row, long long at, int channel, uint4 res)
{
    const uint32_t q = threadIdx.x & 3;
    const bool odd = q & 1, high = q & 2;
    uint32_t r[4] = {res.x, res.y, res.z, res.w}, v[4];
    if (p.residual) {
        ktc_transpose4(r, odd, high);
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
        const int c = channel + 8 * j + 2 * (int)q;
        const float2 bias = __ldg(reinterpret_cast<const float2 *>(p.bias + c));
        float a = row ? d[AT + 4 * j + 2] : d[AT + 4 * j];
        float b = row ? d[AT + 4 * j + 3] : d[AT + 4 * j + 1];
        if (S::F8) {
            const float2 scale = __ldg(reinterpret_cast<const float2 *>(p.scale + c));
            a *= scale.x;
            b *= scale.y;
        }
        a += bias.x;
        b += bias.y;
        if (p.residual) {
            const float2 add = ktc_unpack(r[j]);
            a += add.x;
            b += add.y;
        }
        if (p.relu) {
            a = fmaxf(a, 0.0f);
            b = fmaxf(b, 0.0f);
        }
        v[j] = ktc_pack(a, b);
    }
    ktc_transpose4(v, odd, high);
    if (at >= 0) {
        *reinterpret_cast<uint4 *>(p.y + at + 8 * q) = make_uint4(v[0], v[1], v[2], v[3]);
    }
}

template <class S, int AT, int G, int GROUPS>
__device__ __forceinline__ void ktc_store_groups(const ktc_conv_params &p,
                                                 const float (&d)[S::REGS], int row, long long at,
                                                 int channel, const uint4 (&res)[GROUPS])
{
    if constexpr (G < GROUPS) {
        ktc_store32<S, AT + 16 * G>(p, d, row, at < 0 ? at : at + 32 * G, channel + 32 * G, res[G]);
        ktc_store_groups<S, AT, G + 1>(p, d, row, at, channel, res);
    }
}

/* Where piece I of a thread's tile goes: m64, row and part of the columns. */
template <class S, int I> struct ktc_piece {
    static constexpr int PART = I % S::PARTS, ROW = I / S::PARTS % 2, M = I / S::PARTS / 2;
    static constexpr int COUNT = 2 * S::MI * S::PARTS, GROUPS = S::PART_COLS / 32;
    static __device__ __forceinline__ long long at(const ktc_conv_params &p, const ktc_tile &tile,
                                                   int y, int x, int *channel)
    {
        return ktc_out_at<S>(p, tile, y + ROW, x + 8 * M, PART, channel);
    }
};

template <class S, int I, int GROUPS>
__device__ __forceinline__ void ktc_load_residual(const ktc_conv_params &p, const ktc_tile &tile,
                                                  int y, int x, uint4 (&res)[GROUPS])
{
    int channel;
    const long long at = ktc_piece<S, I>::at(p, tile, y, x, &channel);
    if (p.residual && at >= 0) {
#pragma unroll
        for (int g = 0; g < GROUPS; g++) {
            res[g] = __ldg(reinterpret_cast<const uint4 *>(p.residual + at + 32 * g) +
                           (threadIdx.x & 3));
        }
    }
}

/* Pieces I and on; `res` is the residual of piece I, and that of the next is on its way while this
 * one is stored. */
template <class S, int I, int GROUPS>
__device__ __forceinline__ void ktc_store_pieces(const ktc_conv_params &p,
                                                 const float (&acc)[S::MI][S::REGS],
                                                 const ktc_tile &tile, int y, int x,
                                                 const uint4 (&res)[GROUPS])
{
    typedef ktc_piece<S, I> piece;
    uint4 next[GROUPS] = {};
    if constexpr (I + 1 < piece::COUNT) {
        ktc_load_residual<S, I + 1>(p, tile, y, x, next);
    }
    int channel;
    const long long at = piece::at(p, tile, y, x, &channel);
    ktc_store_groups<S, piece::PART *(S::REGS / S::PARTS), 0>(p, acc[piece::M], piece::ROW, at,
                                                              channel, res);
    if constexpr (I + 1 < piece::COUNT) {
        ktc_store_pieces<S, I + 1>(p, acc, tile, y, x, next);
    }
}

/* Up to eight channels, two a lane: the last filter, to RGB. */
template <class S, int ROW>
__device__ __forceinline__ void ktc_store_few(const ktc_conv_params &p, const float (&d)[S::REGS],
                                              const ktc_tile &tile, int y, int x)
{
    int channel;
    const long long at = ktc_out_at<S>(p, tile, y, x, 0, &channel);
    if (at < 0) {
        return;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int c = 2 * (int)(threadIdx.x & 3) + i;
        if (c < p.c_out) {
            float v = d[2 * ROW + i];
            v = (S::F8 ? v * p.scale[c] : v) + p.bias[c];
            v += p.residual ? __bfloat162float(p.residual[at + c]) : 0.0f;
            p.y[at + c] = __float2bfloat16(p.relu ? fmaxf(v, 0.0f) : v);
        }
    }
}

/* A warp holds two image rows of eight pixels of each m64, a quad of lanes one pixel of either. */
template <class S>
__device__ __forceinline__ void ktc_store_tile(const ktc_conv_params &p,
                                               const float (&acc)[S::MI][S::REGS],
                                               const ktc_tile &tile)
{
    const int y = tile.h + 2 * (int)(threadIdx.x / 32 % 4);
    const int x = tile.w + (int)(threadIdx.x % 32 / 4);
    if constexpr (S::PART_COLS < 32) {
#pragma unroll
        for (int m = 0; m < S::MI; m++) {
            ktc_store_few<S, 0>(p, acc[m], tile, y, x + 8 * m);
            ktc_store_few<S, 1>(p, acc[m], tile, y + 1, x + 8 * m);
        }
    } else {
        uint4 res[S::PART_COLS / 32] = {};
        ktc_load_residual<S, 0>(p, tile, y, x, res);
        ktc_store_pieces<S, 0>(p, acc, tile, y, x, res);
    }
}

#endif
