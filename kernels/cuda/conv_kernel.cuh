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
 * exactly the order and swizzle in which it is used.
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
    uint32_t n_bytes; /* weights of one n-tile */
    int t, h, w_in;   /* of x */
    int c_out, relu, up;
    int has_past;
    int frames;      /* input frames of an output frame */
    int steps;       /* spatial taps of a frame */
    int past_frames; /* kt - 1 of a causal filter: frames before the output frame */
    int chunks;      /* of channels */
    int chunk_coord; /* channels of a chunk */
    int pad_top, pad_left;
    uint32_t box_bytes;    /* of one group's halo as the copy engine writes it */
    int n_tiles, variants; /* n-tile i uses program i % variants */
    int tiles_w;           /* of 8*MI pixels */
    int work;              /* pairs of group tiles x n_tiles */
    uint32_t a_hi;         /* upper descriptor word of the input */
    int16_t shift[KTC_MAX_VARIANTS][KTC_MAX_TAPS]; /* of the taps, in pixels, by program */
};

/* NT: output channels of a tile. RB: bytes of channels in a row. MI: width of a group's tile in
 * eights of pixels. */
template <int NT_, int RB_, int MI_, bool F8_> struct ktc_shape {
    static constexpr int NT = NT_, RB = RB_, MI = MI_;
    static constexpr bool F8 = F8_;
    static constexpr int PARTS = NT >= 128 ? 2 : 1; /* of the columns, stored apart */
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
__device__ __forceinline__ ktc_tile ktc_tile_of(const ktc_conv_params &p, int item, int group)
{
    ktc_tile r;
    r.n = item % p.n_tiles;
    int i = item / p.n_tiles * 2 + group;
    r.t = i % p.t;
    i /= p.t;
    r.w = i % p.tiles_w * 8 * S::MI;
    r.h = i / p.tiles_w * KTC_TILE_H; /* past the last row for the groups that are left over */
    return r;
}

template <class S>
__device__ __forceinline__ void ktc_fetch_pixels(const ktc_conv_params &p, uint32_t dst,
                                                 uint32_t bar, const ktc_tile &tile, int frame,
                                                 int chunk)
{
    int f = tile.t + frame - p.past_frames;
    const CUtensorMap *map = &p.x;
    if (f < 0 && p.has_past) {
        map = &p.past;
        f += p.past_frames;
    }
    ktc_tma_4d(dst, map, bar, chunk * p.chunk_coord, tile.w - p.pad_left, tile.h - p.pad_top, f);
}

template <class S>
__device__ __forceinline__ void ktc_produce_pixels(const ktc_conv_params &p, const ktc_bars &bars,
                                                   uint32_t a_base)
{
    ktc_ring<S::A_STAGES> ring;
    for (int item = blockIdx.x; item < p.work; item += gridDim.x) {
        const ktc_tile t0 = ktc_tile_of<S>(p, item, 0);
        const ktc_tile t1 = ktc_tile_of<S>(p, item, 1);
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
                                                    uint32_t b_base)
{
    ktc_ring<S::B_STAGES> ring;
    constexpr uint32_t bytes = S::NT * S::RB;
    const int steps = p.frames * p.chunks * p.steps;
    for (int item = blockIdx.x; item < p.work; item += gridDim.x) {
        const uint8_t *src = p.w + (size_t)(item % p.n_tiles) * p.n_bytes;
        for (int i = 0; i < steps; i++) {
            const uint32_t bar = bars.full_b(ring.at);
            ktc_bar_wait(bars.empty_b(ring.at), ring.phase ^ 1u, 200 + ring.at, p.diag);
            ktc_bar_expect(bar, bytes);
            ktc_bulk(b_base + ring.at * S::B_STAGE, src, bytes, bar);
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
    const bool first = threadIdx.x % 32 == 0;
    if (first && c.held_b >= 0) {
        ktc_bar_arrive(c.bars.empty_b(c.held_b));
    }
    if (first && c.held_a >= 0) {
        ktc_bar_arrive(c.bars.empty_a(c.held_a));
    }
    c.held_a = c.held_b = -1;
}

/* All frames, chunks and taps of a tile. One step stays in flight behind the next. */
template <class S>
__device__ __forceinline__ void ktc_multiply(const ktc_conv_params &p, ktc_consumer<S> &c,
                                             float (&acc)[S::MI][S::REGS], int n)
{
    constexpr uint32_t PIXEL = S::RB / 16;
    const int steps = p.steps, stages = p.frames * p.chunks;
    const int16_t *shift = p.shift[n % p.variants];
#pragma unroll 1
    for (int i = 0; i < stages; i++) {
        ktc_bar_wait(c.bars.full_a(c.a.at), c.a.phase, 300 + c.a.at, p.diag);
        const uint32_t a_stage = (c.a_base + c.a.at * S::A_STAGE) >> 4;
#pragma unroll 1
        for (int j = 0; j < steps; j++) {
            const uint32_t a = a_stage + (uint32_t)shift[j] * PIXEL;
            const uint32_t b = (c.b_base + c.b.at * S::B_STAGE) >> 4;
            ktc_bar_wait(c.bars.full_b(c.b.at), c.b.phase, 400 + c.b.at, p.diag);
            ktc_wgmma_fence();
#pragma unroll
            for (int k = 0; k < S::RB / 32; k++) {
#pragma unroll
                for (int m = 0; m < S::MI; m++) {
                    const uint32_t at = a + 2 * k + m * 8 * PIXEL;
                    ktc_wgmma<S::NT, S::F8>::mma(acc[m], ktc_desc(at | 1u << 16, p.a_hi),
                                                 ktc_desc((b + 2 * k) | 1u << 16, S::B_HI));
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
                                            uint32_t a_base, uint32_t b_base)
{
    const int group = (int)(threadIdx.x / 128) - 1;
    ktc_consumer<S> c;
    c.a_base = a_base + group * S::BOX;
    c.b_base = b_base;
    c.bars = bars;
    for (int item = blockIdx.x; item < p.work; item += gridDim.x) {
        const ktc_tile tile = ktc_tile_of<S>(p, item, group);
        float acc[S::MI][S::REGS];
#pragma unroll
        for (int m = 0; m < S::MI; m++) {
#pragma unroll
            for (int i = 0; i < S::REGS; i++) {
                acc[m][i] = 0.0f;
            }
        }
        ktc_multiply<S>(p, c, acc, tile.n);
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
    if (threadIdx.x == 0) {
        for (int s = 0; s < S::A_STAGES; s++) {
            ktc_bar_init(bars.full_a(s), 1);
            ktc_bar_init(bars.empty_a(s), 8); /* a lane of each multiplying warp */
        }
        for (int s = 0; s < S::B_STAGES; s++) {
            ktc_bar_init(bars.full_b(s), 1);
            ktc_bar_init(bars.empty_b(s), 8);
        }
        ktc_fence_bar_init();
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        ktc_regs_fewer<24>(); /* 24 + 2 * 240 = 3 * 168, what the block was given */
        if (threadIdx.x == 0) {
            ktc_produce_pixels<S>(p, bars, a_base);
        } else if (threadIdx.x == 32) {
            ktc_produce_weights<S>(p, bars, b_base);
        }
    } else {
        ktc_regs_more<240>();
        ktc_consume<S>(p, bars, a_base, b_base);
    }
}

#endif
