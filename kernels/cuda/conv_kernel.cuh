/* Implicit GEMM of a stride-1 convolution over channels-last frames: TMA, wgmma, persistent blocks.
 *
 * What limits this on Hopper is not the multiplication but feeding it. A filter with 27 taps read
 * naively fetches every input pixel 27 times. Here the pixels of a tile and their halo (16x8 pixels
 * and a frame of one around them) are fetched once per input frame and chunk of channels, one pixel
 * a row of 128, 64 or 32 bytes with the matching swizzle, and all spatial taps are read from it: a
 * tap is a shift of the start address in the wgmma descriptor by (dy * pitch + dx) rows. That is
 * possible because eight adjacent pixels are eight rows of a core matrix group, groups (image rows)
 * lie at one stride (the pitch), and the swizzle is a function of the address, not of the row
 * counted from the start. Pixels outside the picture are the copy engine's zero fill, so padding
 * costs nothing and needs no code.
 *
 * A block has two groups of four warps that multiply, each with its own 8*MI x 8 pixels anywhere in
 * the call, and one that fetches. Both groups share the stream of weights, which lies in memory in
 * exactly the order and swizzle in which it is used; with CL = 2, two neighbouring blocks share it
 * too, each fetching half for both.
 *
 * 96 output channels are too few for one multiplication to be worth its operands, so there the
 * NT = 192 columns are two outputs that share input: two consecutive frames (a time filter's frames
 * overlap: of kt + 1 input frames the inner ones feed both), or the two horizontal neighbours that
 * come of one pixel when the filter sees a doubled image. Hence three kinds of step: both halves,
 * the first, the second.
 *
 * Every output value is summed in one order (frame, chunk, tap, channel) whatever the tile, the
 * place in the call or the neighbour: its bits depend on its inputs alone. */
#ifndef KT_KERNELS_CUDA_CONV_KERNEL_CUH
#define KT_KERNELS_CUDA_CONV_KERNEL_CUH

#include "kernels/cuda/conv_hopper.cuh"
#include "kernels/cuda/conv_wgmma.cuh"

#include <cuda_bf16.h>

enum {
    KTC_THREADS = 384,
    KTC_TILE_H = 8,
    KTC_MAX_TAPS = 9,     /* spatial taps */
    KTC_MAX_VARIANTS = 4, /* programs: one per parity of a doubled image */
    KTC_SMEM_MAX = 232448,
    KTC_BAR_BYTES = 1024,
};

/* The whole launch, a kernel parameter. */
struct ktc_conv_params {
    CUtensorMap x, past;
    const uint8_t *w;              /* steps in order, per n-tile */
    const float *bias;             /* [c_out rounded up to the tile], zeros where there is none */
    const float *scale;            /* fp8: [c_out], of weight times activation */
    const __nv_bfloat16 *residual; /* or NULL */
    __nv_bfloat16 *y;
    volatile uint32_t *diag;
    int stagger, no_prefetch;
    uint32_t n_bytes; /* weights of one n-tile */
    int t, h, w_in;   /* of x */
    int c_out, relu, up;
    int pair; /* 0: one output of NT channels; 1: two frames; 2: two horizontal neighbours */
    int has_past;
    int frames; /* input frames of a tile (passes over its one frame, where pair is 2) */
    int first_both, first_second; /* those from which both halves of the columns take part, and from
                                     which only the second does */
    int steps;                    /* spatial taps of a frame */
    int past_frames;              /* kt - 1 of a causal filter: frames before the output frame */
    int chunks;                   /* of channels */
    int chunk_coord;              /* channels of a chunk */
    int pad_top, pad_left;
    int pitch;             /* pixels of a halo row */
    uint32_t box_bytes;    /* of one group's halo as the copy engine writes it */
    int n_tiles, variants; /* n-tile i uses program i % variants */
    int tiles_w, tiles_t;  /* of 8*MI pixels, of one or two frames */
    int halves;            /* group tiles in all */
    int work;              /* cluster tiles x n_tiles */
    uint32_t a_hi;         /* upper descriptor word of the input */
    uint32_t a_lbo, a_k;   /* mode 2: lower word without the address, stride of 16 channels */
    int16_t shift[KTC_MAX_VARIANTS][3][KTC_MAX_TAPS]; /* in pixels, by program and kind of frame */
};

/* RB: bytes of channels in a row. PAIR: the halves of the columns are different outputs. MODE:
 * how the input lies in shared memory: 0 swizzled rows, 1 the same with the descriptor's base
 * offset set, 2 unswizzled planes of eight channels. 0 is right and fastest; the others are kept to
 * show it (conv_bench). */
template <int NT_, int RB_, int MI_, int CL_, bool PAIR_, bool F8_, int MODE_> struct ktc_shape {
    static constexpr int NT = NT_, RB = RB_, MI = MI_, CL = CL_, MODE = MODE_;
    static constexpr bool PAIR = PAIR_, F8 = F8_;
    static constexpr int HALF_COLS = NT / 2;
    static constexpr int PARTS = NT >= 128 || PAIR ? 2 : 1; /* of the columns, stored apart */
    static constexpr int PART_COLS = NT / PARTS;
    static constexpr int REGS = NT / 2; /* sums of a thread for one m64 */
    static constexpr int BOX = ((8 * MI + 2) * 10 * RB + 1023) / 1024 * 1024;
    static constexpr int A_STAGE = 2 * BOX;
    static constexpr int B_STAGE = NT * RB < 1024 ? 1024 : NT * RB;
    static constexpr int A_STAGES = RB == 128 ? (MI == 1 ? 3 : 2) : MI == 4 ? 3 : 4;
    static constexpr int LEFT =
        (KTC_SMEM_MAX - KTC_BAR_BYTES - 1024 - A_STAGES * A_STAGE) / B_STAGE;
    static constexpr int B_STAGES = LEFT > 12 ? 12 : LEFT;
    static constexpr int SMEM = KTC_BAR_BYTES + 1024 + A_STAGES * A_STAGE + B_STAGES * B_STAGE;
    static constexpr uint32_t LAYOUT = RB == 128 ? 1u : RB == 64 ? 2u : 3u;
    static constexpr uint32_t B_HI = (uint32_t)(8 * RB / 16) | LAYOUT << 30;
    static_assert(B_STAGES >= 3, "too little shared memory");
};

/* Where a stage of a ring is and which phase of its barriers. */
template <int STAGES> struct ktc_ring {
    int at = 0;
    uint32_t phase = 0;
    __device__ __forceinline__ void next()
    {
        if (++at == STAGES) {
            at = 0;
            phase ^= 1u;
        }
    }
};

struct ktc_bars {
    uint32_t base;
    __device__ __forceinline__ uint32_t full_a(int s) const
    {
        return base + 8 * s;
    }
    __device__ __forceinline__ uint32_t empty_a(int s) const
    {
        return base + 128 + 8 * s;
    }
    __device__ __forceinline__ uint32_t full_b(int s) const
    {
        return base + 256 + 8 * s;
    }
    __device__ __forceinline__ uint32_t empty_b(int s) const
    {
        return base + 384 + 8 * s;
    }
};

/* A group's tile: n-tile, first output frame, first input pixel. */
struct ktc_tile {
    int n, t, h, w;
};

template <class S>
__device__ __forceinline__ ktc_tile ktc_tile_of(const ktc_conv_params &p, int item, int rank,
                                                int group)
{
    ktc_tile r;
    r.n = item % p.n_tiles;
    int i = ((item / p.n_tiles) * S::CL + rank) * 2 + group;
    r.t = i % p.tiles_t * (p.pair == 1 ? 2 : 1);
    i /= p.tiles_t;
    r.w = i % p.tiles_w * 8 * S::MI;
    r.h = i / p.tiles_w * KTC_TILE_H; /* past the last row for the groups that are left over */
    return r;
}

template <class S>
__device__ __forceinline__ void ktc_fetch_pixels(const ktc_conv_params &p, uint32_t dst,
                                                 uint32_t bar, const ktc_tile &tile, int frame,
                                                 int chunk)
{
    int f = tile.t + (p.pair == 2 ? 0 : frame - p.past_frames);
    const CUtensorMap *map = &p.x;
    if (f < 0 && p.has_past) {
        map = &p.past;
        f += p.past_frames;
    }
    const int w = tile.w - p.pad_left, h = tile.h - p.pad_top, c = chunk * p.chunk_coord;
    if (S::MODE == 2) {
        ktc_tma_5d(dst, map, bar, 0, w, h, c / 8, f);
    } else {
        ktc_tma_4d(dst, map, bar, c, w, h, f);
    }
}

template <class S>
__device__ __forceinline__ void ktc_produce_pixels(const ktc_conv_params &p, const ktc_bars &bars,
                                                   uint32_t a_base, int rank)
{
    ktc_ring<S::A_STAGES> ring;
    for (int item = blockIdx.x / S::CL; item < p.work; item += gridDim.x / S::CL) {
        const ktc_tile t0 = ktc_tile_of<S>(p, item, rank, 0);
        const ktc_tile t1 = ktc_tile_of<S>(p, item, rank, 1);
        for (int f = 0; f < p.frames; f++) {
            for (int c = 0; c < p.chunks; c++) {
                const uint32_t bar = bars.full_a(ring.at), dst = a_base + ring.at * S::A_STAGE;
                ktc_bar_wait(bars.empty_a(ring.at), ring.phase ^ 1u, 100 + ring.at, p.diag);
                ktc_bar_expect(bar, 2 * p.box_bytes);
                ktc_fetch_pixels<S>(p, dst, bar, t0, f, c);
                ktc_fetch_pixels<S>(p, dst + S::BOX, bar, t1, f, c);
                ring.next();
            }
        }
    }
}

template <class S>
__device__ __forceinline__ void ktc_produce_weights(const ktc_conv_params &p, const ktc_bars &bars,
                                                    uint32_t b_base, int rank)
{
    ktc_ring<S::B_STAGES> ring;
    constexpr uint32_t both = S::NT * S::RB;
    const int steps = p.chunks * p.steps;
    for (int item = blockIdx.x / S::CL; item < p.work; item += gridDim.x / S::CL) {
        const uint8_t *src = p.w + (size_t)(item % p.n_tiles) * p.n_bytes;
        for (int i = 0; i < p.frames * steps; i++) {
            const bool half = i < p.first_both * steps || i >= p.first_second * steps;
            const uint32_t bytes = S::PAIR && half ? both / 2 : both, part = bytes / S::CL;
            const uint32_t bar = bars.full_b(ring.at), dst = b_base + ring.at * S::B_STAGE;
            ktc_bar_wait(bars.empty_b(ring.at), ring.phase ^ 1u, 200 + ring.at, p.diag);
            ktc_bar_expect(bar, bytes);
            if (S::CL == 1) {
                ktc_bulk(dst, src, bytes, bar);
            } else {
                ktc_bulk_multicast(dst + rank * part, src + rank * part, part, bar,
                                   (1 << S::CL) - 1);
            }
            src += bytes;
            ring.next();
        }
    }
}

/* What a multiplying group carries from step to step. */
template <class S> struct ktc_consumer {
    ktc_ring<S::A_STAGES> a;
    ktc_ring<S::B_STAGES> b;
    int held_a = -1, held_b = -1; /* stages whose reads may still be under way */
    uint32_t a_base, b_base;
    ktc_bars bars;
};

template <class S> __device__ __forceinline__ void ktc_release(ktc_consumer<S> &c)
{
    const uint32_t lane = threadIdx.x & 31;
    if (c.held_b >= 0) {
        if (S::CL == 1) {
            if (lane == 0) {
                ktc_bar_arrive(c.bars.empty_b(c.held_b));
            }
        } else if (lane < S::CL) {
            ktc_bar_arrive_at(c.bars.empty_b(c.held_b), lane);
        }
        c.held_b = -1;
    }
    if (c.held_a >= 0) {
        if (lane == 0) {
            ktc_bar_arrive(c.bars.empty_a(c.held_a));
        }
        c.held_a = -1;
    }
}

/* Input frames first .. end, all chunks and taps of them, into the first half of the columns (KIND
 * 0), both (1) or the second half (2). One step stays in flight behind the next. */
template <class S, int KIND>
__device__ __forceinline__ void ktc_frames(const ktc_conv_params &p, ktc_consumer<S> &c,
                                           float (&acc)[S::MI][S::REGS], int n, int first, int end)
{
    constexpr int COLS = KIND == 1 ? S::NT : S::HALF_COLS;
    constexpr int AT = KIND == 2 ? S::REGS / 2 : 0;
    constexpr int A_PIXEL = S::MODE == 2 ? 1 : S::RB / 16;
    const int steps = p.steps, stages = (end - first) * p.chunks;
    const int16_t *shift = p.shift[n % p.variants][KIND];
#pragma unroll 1
    for (int i = 0; i < stages; i++) {
        ktc_bar_wait(c.bars.full_a(c.a.at), c.a.phase, 300 + c.a.at, p.diag);
        const uint32_t a_stage = (c.a_base + c.a.at * S::A_STAGE) >> 4;
#pragma unroll 1
        for (int j = 0; j < steps; j++) {
            const uint32_t a = a_stage + (uint32_t)shift[j] * (uint32_t)A_PIXEL;
            const uint32_t b = (c.b_base + c.b.at * S::B_STAGE) >> 4;
            ktc_bar_wait(c.bars.full_b(c.b.at), c.b.phase, 400 + c.b.at, p.diag);
            ktc_wgmma_fence();
#pragma unroll
            for (int k = 0; k < S::RB / 32; k++) {
#pragma unroll
                for (int m = 0; m < S::MI; m++) {
                    const uint32_t at = a + k * (S::MODE == 2 ? p.a_k : 2) + m * 8 * A_PIXEL;
                    const uint32_t lo = at | (S::MODE == 2 ? p.a_lbo : 1u << 16);
                    const uint32_t hi = S::MODE == 1 ? p.a_hi | (at >> 3 & 7u) << 17 : p.a_hi;
                    ktc_wgmma<COLS, S::F8>::template mma<AT>(
                        acc[m], ktc_desc(lo, hi), ktc_desc((b + 2 * k) | 1u << 16, S::B_HI));
                }
            }
            ktc_wgmma_commit();
            ktc_wgmma_wait<1>();
            ktc_release(c);
            c.held_b = c.b.at;
            c.b.next();
        }
        c.held_a = c.a.at;
        c.a.next();
    }
    ktc_wgmma_wait<0>();
    ktc_release(c);
}

#include "kernels/cuda/conv_epilogue.cuh"

template <class S>
__device__ __forceinline__ void ktc_consume(const ktc_conv_params &p, const ktc_bars &bars,
                                            uint32_t a_base, uint32_t b_base, int rank)
{
    const int group = (int)(threadIdx.x / 128) - 1;
    ktc_consumer<S> c;
    c.a_base = a_base + group * S::BOX;
    c.b_base = b_base;
    c.bars = bars;
    if (group == 1 && p.stagger) { /* so that one group multiplies while the other stores */
        const long long start = clock64();
        while (clock64() - start < p.stagger) {
        }
    }
    for (int item = blockIdx.x / S::CL; item < p.work; item += gridDim.x / S::CL) {
        const ktc_tile tile = ktc_tile_of<S>(p, item, rank, group);
        if (p.residual && !p.no_prefetch) {
            ktc_prefetch_tile<S>(p, tile);
        }
        float acc[S::MI][S::REGS];
#pragma unroll
        for (int m = 0; m < S::MI; m++) {
#pragma unroll
            for (int i = 0; i < S::REGS; i++) {
                acc[m][i] = 0.0f;
            }
        }
        if constexpr (S::PAIR) {
            ktc_frames<S, 0>(p, c, acc, tile.n, 0, p.first_both);
            ktc_frames<S, 1>(p, c, acc, tile.n, p.first_both, p.first_second);
            ktc_frames<S, 2>(p, c, acc, tile.n, p.first_second, p.frames);
        } else {
            ktc_frames<S, 1>(p, c, acc, tile.n, 0, p.frames);
        }
        ktc_store_tile<S>(p, acc, tile);
    }
}

template <class S>
__global__ void __launch_bounds__(KTC_THREADS, 1)
    ktc_conv_kernel(const __grid_constant__ ktc_conv_params p)
{
    extern __shared__ uint8_t raw[];
    const uint32_t base = (ktc_smem(raw) + 1023u) & ~1023u;
    const uint32_t a_base = base, b_base = base + S::A_STAGES * S::A_STAGE;
    const ktc_bars bars = {b_base + S::B_STAGES * S::B_STAGE};
    const int rank = S::CL > 1 ? (int)ktc_cluster_rank() : 0;
    if (threadIdx.x == 0) {
        for (int s = 0; s < S::A_STAGES; s++) {
            ktc_bar_init(bars.full_a(s), 1);
            ktc_bar_init(bars.empty_a(s), 8); /* a lane of each multiplying warp */
        }
        for (int s = 0; s < S::B_STAGES; s++) {
            ktc_bar_init(bars.full_b(s), 1);
            ktc_bar_init(bars.empty_b(s), 8 * S::CL);
        }
        ktc_fence_bar_init();
    }
    if (S::CL > 1) {
        ktc_cluster_sync();
    } else {
        __syncthreads();
    }
    if (threadIdx.x < 128) {
        ktc_regs_fewer<24>(); /* 24 + 2 * 240 = 3 * 168, what the block was given */
        if (threadIdx.x == 0) {
            ktc_produce_pixels<S>(p, bars, a_base, rank);
        } else if (threadIdx.x == 32) {
            ktc_produce_weights<S>(p, bars, b_base, rank);
        }
        __syncwarp();
    } else {
        ktc_regs_more<240>();
        ktc_consume<S>(p, bars, a_base, b_base, rank);
    }
    if (S::CL > 1) {
        ktc_cluster_sync(); /* nobody leaves while the other may still write or arrive here */
    }
}

#endif
