/* The attention kernel, for both precisions; a `Type` supplies tiles, products and rounding.
 *
 * One block per multiprocessor: a producer warp drives the copy engine, two warpgroups of 64 query
 * rows each consume. K and V pass through rings of shared-memory stages guarded by mbarriers.
 * A consumer issues the logits of the next keys and, behind them, the weighted sum of the current
 * ones, and takes the exponentials while the matrix unit works (the scheme of FlashAttention-3,
 * Shah et al. 2024, arXiv:2407.08608). Named barriers make the warpgroups take turns: in bf16 at
 * issuing products, so that one issues while the other takes its exponentials; in e4m3 at the
 * exponentials themselves. There the exponentials cost as much as the products, and two warpgroups
 * that are free to share the special function unit settle into taking them at the same time, and
 * both wait for their products at the same time.
 *
 * Weights are taken against any reference, as long as sum and result use the same one. ktc_raise
 * moves it to the largest logit, but only where that exceeds it by more than 2^SLACK, because the
 * result must be rescaled then. A type with a GUARD looks for the largest logit in the first keys
 * alone; later a row moves when a thread's weights add up to more than GUARD, which costs nothing,
 * the sums being needed anyway. A row decides alone, so its neighbours do not change its bits.
 *
 * Equal shares. 4680 rows x 12 heads are 444 tiles of 128 rows, 3.36 for each of 132
 * multiprocessors, which whole tiles would turn into 4. Instead every block takes 3 whole tiles,
 * and the (tile, keys) space of the remaining 48 is cut into 132 equal spans. A span that ends
 * inside a tile leaves sums, offsets and result in the workspace, and the block that has the next
 * piece of the tile takes them up one wave of whole tiles later, when they have long been there.
 * The sum over the keys runs in the same order as in one piece, so the bits do not depend on where
 * a tile was cut. All blocks walk through the keys of the same few heads at about the same time,
 * which the L2 cache needs: with spans cut out of all tiles, every block was at another place of
 * another head, and everything came from memory.
 *
 * A block waits only for the block before it, which was scheduled earlier: no deadlock.
 *
 * Long sums in e4m3. The matrix unit cuts off what lies about 14 bits below a sum, and values with
 * a mean make sums grow with the number of keys until single products fall below the cut
 * (NOTES-attention.md). A type with PARTS makes the sum of each block of keys from zero and adds it
 * in fp32, a part of the channels at a time, because registers hold no more: the first part with
 * the next logits in flight, the second from half way through their exponentials on.
 */
#ifndef KTC_ATTENTION_CUH
#define KTC_ATTENTION_CUH

#include "kernels/cuda/attention.h"
#include "kernels/cuda/hopper.cuh"

#include <errno.h>
#include <math.h>

enum {
    KTC_CONSUMERS = 2, /* warpgroups of a block, 64 query rows each */
    KTC_ROWS = 64 * KTC_CONSUMERS,
    KTC_THREADS = 128 * (1 + KTC_CONSUMERS),
    KTC_WORK_FLAGS = 4096,     /* bytes of flags at the start of the workspace */
    KTC_SPLIT_BLOCKS_MIN = 12, /* fewer key blocks than this are not worth passing on */
};

/* What the two warpgroups take turns at: issuing products, or taking exponentials. */
enum { KTC_TURNS_ISSUE, KTC_TURNS_SOFTMAX };

/* Workspace of one block: per thread the result (up to 64 floats), 2 maxima, 2 sums. */
#define KTC_WORK_SLOT ((size_t)KTC_CONSUMERS * 128 * (64 + 4) * sizeof(float))

struct ktc_attention_args {
    CUtensorMap q, k, v;
    void *y;
    const float *v_scale;
    const int32_t *page_start;
    uint8_t *work;
    int64_t ld_y;
    int tq;
    int q_tiles;     /* per head */
    int tiles;       /* q_tiles * heads */
    int blocks;      /* of keys, per tile */
    int page_blocks; /* of keys, per page */
    int page_rows;
    int span; /* blocks of a span; 0: whole tiles */
    float scale_log2, tail, y_scale;
};

/* -- schedule -- */

struct ktc_piece {
    int tile, from, to; /* key blocks [from, to) */
    bool resume, publish;
};

struct ktc_schedule {
    int waves, count;
    ktc_piece first; /* the start of a tile, done before the first wave; to == 0: none */
    ktc_piece later; /* done before wave later_at; to == 0: none */
    int later_at;
};

KTC_INLINE ktc_schedule ktc_schedule_make(const ktc_attention_args &a)
{
    ktc_schedule s = {};
    int grid = gridDim.x, me = blockIdx.x;
    if (a.span == 0) {
        s.waves = s.count = (a.tiles - me + grid - 1) / grid;
        return s;
    }
    s.waves = a.tiles / grid;
    int shared = s.waves * grid; /* the first tile that is shared out */
    int total = (a.tiles - shared) * a.blocks;
    int begin = min(me * a.span, total), end = min(begin + a.span, total);
    s.count = s.waves;
    if (begin == end)
        return s;
    int tile = begin / a.blocks, from = begin - tile * a.blocks;
    int to = min(a.blocks, from + end - begin);
    s.later = {shared + tile, from, to, from > 0, to < a.blocks};
    s.later_at = me - tile * a.blocks / a.span; /* pieces of this tile before this one */
    s.count++;
    int next = end - (tile + 1) * a.blocks;
    if (next > 0) {
        s.first = {shared + tile + 1, 0, next, false, true};
        s.count++;
    }
    return s;
}

KTC_INLINE ktc_piece ktc_schedule_piece(const ktc_schedule &s, int i, int blocks)
{
    if (s.first.to > 0 && i-- == 0)
        return s.first;
    if (s.later.to > 0) {
        if (i == s.later_at)
            return s.later;
        i -= i > s.later_at;
    }
    return {(int)blockIdx.x + i * (int)gridDim.x, 0, blocks, false, false};
}

/* -- shared memory -- */

template <class T> struct ktc_layout {
    static constexpr int Q = 0;
    static constexpr int K = Q + T::Q_STAGES * T::Q_BYTES;
    static constexpr int V = K + T::STAGES * T::K_BYTES;
    static constexpr int BARS = V + T::STAGES * T::V_BYTES;
    static constexpr int Q_FULL = BARS, Q_EMPTY = Q_FULL + 8 * T::Q_STAGES;
    static constexpr int K_FULL = Q_EMPTY + 8 * T::Q_STAGES, K_EMPTY = K_FULL + 8 * T::STAGES;
    static constexpr int V_FULL = K_EMPTY + 8 * T::STAGES, V_EMPTY = V_FULL + 8 * T::STAGES;
    static constexpr int BYTES = V_EMPTY + 8 * T::STAGES;
    static constexpr int DYNAMIC = BYTES + 1024; /* room to align the swizzle pattern */
};

/* A position in a ring of stages. */
template <int STAGES> struct ktc_ring {
    int stage = 0;
    uint32_t phase = 0;
    __device__ __forceinline__ void next(void)
    {
        if (++stage == STAGES) {
            stage = 0;
            phase ^= 1;
        }
    }
};

/* -- producer -- */

template <class T>
KTC_INLINE void ktc_produce(const ktc_attention_args &a, const ktc_schedule &sched, uint32_t sm)
{
    using L = ktc_layout<T>;
    ktc_ring<T::STAGES> kr, vr;
    ktc_ring<T::Q_STAGES> qr;
    for (int i = 0; i < sched.count; i++, qr.next()) {
        ktc_piece piece = ktc_schedule_piece(sched, i, a.blocks);
        int head = piece.tile / a.q_tiles, row = (piece.tile % a.q_tiles) * KTC_ROWS;
        uint32_t full = sm + L::Q_FULL + 8 * qr.stage;
        ktc_mbar_wait(sm + L::Q_EMPTY + 8 * qr.stage, qr.phase ^ 1);
        ktc_mbar_expect(full, T::Q_BYTES);
        T::load_q(sm + L::Q + qr.stage * T::Q_BYTES, &a.q, full, head, row);
        int v_key = 0;
        for (int b = piece.from; b <= piece.to; b++) {
            int key = 0;
            if (b < piece.to) {
                int page = b / a.page_blocks;
                key = (b % a.page_blocks) * T::KEYS + (a.page_start ? a.page_start[page] : 0);
                ktc_mbar_wait(sm + L::K_EMPTY + 8 * kr.stage, kr.phase ^ 1);
                ktc_mbar_expect(sm + L::K_FULL + 8 * kr.stage, T::K_BYTES);
                T::load_k(sm + L::K + kr.stage * T::K_BYTES, &a.k, sm + L::K_FULL + 8 * kr.stage,
                          head, key);
                kr.next();
            }
            if (b > piece.from) { /* V of the block before: wanted after these logits */
                ktc_mbar_wait(sm + L::V_EMPTY + 8 * vr.stage, vr.phase ^ 1);
                ktc_mbar_expect(sm + L::V_FULL + 8 * vr.stage, T::V_BYTES);
                T::load_v(sm + L::V + vr.stage * T::V_BYTES, &a.v, sm + L::V_FULL + 8 * vr.stage,
                          head, v_key);
                vr.next();
            }
            v_key = key;
        }
    }
}

/* -- consumer -- */

/* Logits: s[4j + 2r + e] is row 8r + lane / 4, key 8j + 2 (lane % 4) + e of the warp's 16 rows. */
template <int N> KTC_INLINE void ktc_mask(float (&s)[N], int valid, float tail)
{
    int col = 2 * (threadIdx.x & 3);
#pragma unroll
    for (int i = 0; i < N; i++) {
        int key = col + (i / 4) * 8 + (i & 1);
        s[i] = key >= valid ? -INFINITY : key == valid - 1 ? s[i] + tail : s[i];
    }
}

/* This thread's two rows. A weight is 2^(logit + offset), logit in log2; sums are over this
 * thread's keys alone. */
struct ktc_rows {
    float offset[2], sum[2];
};

/* Puts the largest logit of each row at 2^OFFSET, where it would be above 2^(OFFSET + SLACK). */
template <class T, int N>
KTC_INLINE void ktc_raise(const float (&s)[N], ktc_rows &rows, float (&alpha)[2], float scale_log2)
{
    float top[2][2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        top[r][0] = s[2 * r], top[r][1] = s[2 * r + 1];
#pragma unroll
        for (int i = 4; i < N; i += 4) {
            top[r][0] = fmaxf(top[r][0], s[i + 2 * r]);
            top[r][1] = fmaxf(top[r][1], s[i + 2 * r + 1]);
        }
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float m = fmaxf(top[r][0], top[r][1]);
        m = fmaxf(m, __shfl_xor_sync(~0u, m, 1));
        m = fmaxf(m, __shfl_xor_sync(~0u, m, 2)) * scale_log2;
        float offset = m + rows.offset[r] > T::OFFSET + T::SLACK ? T::OFFSET - m : rows.offset[r];
        alpha[r] = ktc_exp2(offset - rows.offset[r]); /* 1 where nothing changes */
        rows.offset[r] = offset;
    }
}

/* Some thread's weights of these keys add up to more than T::GUARD: scales such rows by a power of
 * two. A row's four threads decide together and without the other rows. */
template <class T>
KTC_INLINE void ktc_relieve_factors(const float (&sum)[2], ktc_rows &rows, float (&alpha)[2])
{
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float m = fmaxf(sum[r], __shfl_xor_sync(~0u, sum[r], 1));
        m = fmaxf(m, __shfl_xor_sync(~0u, m, 2));
        if (m > T::GUARD) {
            int down = min((__float_as_int(m) >> 23) - 127 - 5, 120);
            alpha[r] = __int_as_float((127 - down) << 23);
            rows.offset[r] -= (float)down;
        }
    }
}

/* Adds in the order of ktc_softmax: a row that stays as it is keeps its sum to the bit. */
template <class T, int N>
KTC_INLINE void ktc_relieve(float (&s)[N], float (&sum)[2], ktc_rows &rows, float (&alpha)[2])
{
    float part[2][2] = {};
    ktc_relieve_factors<T>(sum, rows, alpha);
#pragma unroll
    for (int i = 0; i < N; i++) {
        int r = (i >> 1) & 1;
        s[i] = fminf(s[i], 3.4e38f) * alpha[r];
        part[r][i & 1] += s[i];
    }
#pragma unroll
    for (int r = 0; r < 2; r++)
        sum[r] = part[r][0] + part[r][1];
}

/* Keeps what x is computed from above the next wait: the compiler orders stores and waits, and
 * would otherwise wait first and take the exponentials after. x is never negative; nothing is
 * stored. */
KTC_INLINE void ktc_hold(float x, uint32_t sm)
{
    asm volatile("{\n.reg .pred p;\nsetp.lt.f32 p, %0, 0f00000000;\n"
                 "@p st.shared.f32 [%1], %0;\n}\n" ::"f"(x),
                 "r"(sm)
                 : "memory");
}

/* Weights of logits [FROM, TO), added to the sums of even and odd keys. */
template <int FROM, int TO, int N>
KTC_INLINE void ktc_exponentials(float (&s)[N], float (&part)[2][2], const ktc_rows &rows,
                                 float scale_log2)
{
#pragma unroll
    for (int i = FROM; i < TO; i += 4)
#pragma unroll
        for (int r = 0; r < 2; r++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                float &x = s[i + 2 * r + e];
                x = ktc_exp2(fmaf(x, scale_log2, rows.offset[r]));
                part[r][e] += x;
            }
}

/* Logits to weights. FIRST: of the row's first keys. alpha: what the result so far must be
 * multiplied by. half_way: called when half of the exponentials are taken. */
template <class T, bool FIRST, int N, class F>
KTC_INLINE void ktc_softmax(float (&s)[N], ktc_rows &rows, float (&alpha)[2], float scale_log2,
                            int next, uint32_t sm, const F &half_way)
{
    constexpr int HALF = N / 8 * 4;
    if (FIRST || T::GUARD == 0.0f)
        ktc_raise<T>(s, rows, alpha, scale_log2);
    else
        alpha[0] = alpha[1] = 1.0f;
    float part[2][2] = {};
    ktc_exponentials<0, HALF>(s, part, rows, scale_log2);
    half_way(part);
    ktc_exponentials<HALF, N>(s, part, rows, scale_log2);
    float sum[2] = {part[0][0] + part[0][1], part[1][0] + part[1][1]};
    if (T::TURNS == KTC_TURNS_SOFTMAX && next) {
        ktc_hold(sum[0] + sum[1], sm);
        ktc_bar_arrive(next, 256);
    }
    if (!FIRST && T::GUARD != 0.0f && __any_sync(~0u, fmaxf(sum[0], sum[1]) > T::GUARD))
        ktc_relieve<T>(s, sum, rows, alpha);
#pragma unroll
    for (int r = 0; r < 2; r++)
        rows.sum[r] = fmaf(rows.sum[r], alpha[r], sum[r]);
}

template <int N> KTC_INLINE void ktc_rescale(float (&o)[N], const float (&alpha)[2])
{
    if (!__any_sync(~0u, alpha[0] != 1.0f || alpha[1] != 1.0f))
        return;
#pragma unroll
    for (int i = 0; i < N; i++)
        o[i] *= alpha[(i >> 1) & 1];
}

/* -- handing a tile on -- */

template <int N>
KTC_INLINE void ktc_publish(const ktc_attention_args &a, int group, const float (&o)[N],
                            const ktc_rows &rows)
{
    int t = threadIdx.x & 127;
    float4 *slot = (float4 *)(a.work + KTC_WORK_FLAGS + blockIdx.x * KTC_WORK_SLOT) +
                   group * (64 + 4) / 4 * 128;
#pragma unroll
    for (int i = 0; i < N / 4; i++)
        slot[i * 128 + t] = make_float4(o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]);
    slot[N / 4 * 128 + t] = make_float4(rows.offset[0], rows.offset[1], rows.sum[0], rows.sum[1]);
    __threadfence();
    ktc_bar_sync(1 + KTC_CONSUMERS + group, 128);
    int *flag = (int *)a.work + blockIdx.x * KTC_CONSUMERS + group;
    if (t == 0)
        asm volatile("st.release.gpu.global.s32 [%0], 1;" ::"l"(flag) : "memory");
}

template <int N>
KTC_INLINE void ktc_resume(const ktc_attention_args &a, int group, float (&o)[N], ktc_rows &rows)
{
    int t = threadIdx.x & 127, from = blockIdx.x - 1;
    int *flag = (int *)a.work + from * KTC_CONSUMERS + group;
    int ready = 0;
#ifdef KTC_SPIN_LIMIT
    long long start = clock64();
#endif
    while (!ready) {
        asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(ready) : "l"(flag) : "memory");
#ifdef KTC_SPIN_LIMIT
        if (clock64() - start > KTC_SPIN_LIMIT)
            __trap();
#endif
    }
    const float4 *slot = (const float4 *)(a.work + KTC_WORK_FLAGS + from * KTC_WORK_SLOT) +
                         group * (64 + 4) / 4 * 128;
#pragma unroll
    for (int i = 0; i < N / 4; i++) {
        float4 x = __ldcg(slot + i * 128 + t);
        o[4 * i] = x.x, o[4 * i + 1] = x.y, o[4 * i + 2] = x.z, o[4 * i + 3] = x.w;
    }
    float4 x = __ldcg(slot + N / 4 * 128 + t);
    rows.offset[0] = x.x, rows.offset[1] = x.y, rows.sum[0] = x.z, rows.sum[1] = x.w;
    ktc_bar_sync(1 + KTC_CONSUMERS + group,
                 128); /* every thread has seen the flag: ready for the next call */
    if (t == 0)
        *flag = 0;
}

/* -- result -- */

/* Transposes 4 words among the 4 threads of a quad: thread i's word j becomes thread j's word i. */
KTC_INLINE void ktc_quad_transpose(uint32_t (&w)[4])
{
    bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
        uint32_t x = __shfl_xor_sync(~0u, odd ? w[i] : w[i + 1], 1);
        w[i] = odd ? x : w[i];
        w[i + 1] = odd ? w[i + 1] : x;
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t x = __shfl_xor_sync(~0u, high ? w[i] : w[i + 2], 2);
        w[i] = high ? x : w[i];
        w[i + 2] = high ? w[i + 2] : x;
    }
}

/* o[64 rows, N] as bf16: 16 bytes a thread and store, 64 contiguous bytes a row and store. */
template <int N>
KTC_INLINE void ktc_store_bf16(const ktc_attention_args &a, const float (&o)[N], int row, int col)
{
    uint16_t *y = (uint16_t *)a.y;
    int quad = threadIdx.x & 3;
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int g = 0; g < N / 16; g++) { /* 4 groups of 8 columns */
            uint32_t w[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                w[j] = ktc_pack_bf16(o[16 * g + 4 * j + 2 * r], o[16 * g + 4 * j + 2 * r + 1]);
            ktc_quad_transpose(w);
            if (row + 8 * r < a.tq)
                *(uint4 *)(y + (row + 8 * r) * a.ld_y + col + 32 * g + 8 * quad) =
                    make_uint4(w[0], w[1], w[2], w[3]);
        }
}

template <int N>
KTC_INLINE void ktc_store_e4m3(const ktc_attention_args &a, const float (&o)[N], int row, int col)
{
    uint8_t *y = (uint8_t *)a.y;
    int quad = threadIdx.x & 3;
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
        for (int g = 0; g < N / 32; g++) { /* 8 groups of 8 columns, two to a word */
            uint32_t w[4];
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float *x = o + 32 * g + 8 * j + 2 * r;
                w[j] = ktc_pack_e4m3(x[0], x[1]) | ktc_pack_e4m3(x[4], x[5]) << 16;
            }
            ktc_quad_transpose(w);
            uint4 out =
                make_uint4(__byte_perm(w[0], w[1], 0x5410), __byte_perm(w[2], w[3], 0x5410),
                           __byte_perm(w[0], w[1], 0x7632), __byte_perm(w[2], w[3], 0x7632));
            if (row + 8 * r < a.tq)
                *(uint4 *)(y + (row + 8 * r) * a.ld_y + col + 64 * g + 16 * quad) = out;
        }
}

template <class T>
KTC_INLINE void ktc_finish(const ktc_attention_args &a, float (&o)[T::DIM / 2],
                           const ktc_rows &rows, int head, int row)
{
    float inv[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float sum = rows.sum[r];
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        inv[r] = 1.0f / sum;
    }
#pragma unroll
    for (int i = 0; i < T::DIM / 2; i++)
        o[i] *= inv[(i >> 1) & 1];
    int col = head * T::DIM;
    if constexpr (T::SCALED) {
        int lane_col = col + 2 * (threadIdx.x & 3);
        float y_scale = a.y_scale == 0.0f ? 1.0f : a.y_scale;
#pragma unroll
        for (int j = 0; j < T::DIM / 8; j++) {
            float2 s = *(const float2 *)(a.v_scale + lane_col + 8 * j);
#pragma unroll
            for (int i = 0; i < 4; i++)
                o[4 * j + i] *= ((i & 1) ? s.y : s.x) * y_scale;
        }
        if (a.y_scale != 0.0f) {
            ktc_store_e4m3(a, o, row, col);
            return;
        }
    }
    ktc_store_bf16(a, o, row, col);
}

/* One arrival a warp: every warp of both consumers has read the stage. */
KTC_INLINE void ktc_release(uint32_t bar)
{
    if ((threadIdx.x & 31) == 0)
        ktc_mbar_arrive(bar);
}

/* What a consumer carries from one key block to the next. */
template <class T> struct ktc_consumer {
    float s[T::KEYS / 2], o[T::DIM / 2];
    float t[T::PARTS ? T::DIM / 2 / T::PARTS : 1]; /* sum of one block of keys, a part of it */
    uint32_t p[T::WEIGHTS];
    ktc_rows rows;
    ktc_ring<T::STAGES> kr, vr;
    uint32_t sm, q; /* shared memory; this warpgroup's rows of Q */
    uint32_t q_empty;
    int in_page; /* index of the key block in its page */
};

template <class T> KTC_INLINE void ktc_issue_logits(ktc_consumer<T> &c)
{
    ktc_wgmma_fence();
    T::logits(c.s, c.q, c.sm + ktc_layout<T>::K + c.kr.stage * T::K_BYTES);
    ktc_wgmma_commit();
}

template <class T, int PART> KTC_INLINE void ktc_issue_sum(ktc_consumer<T> &c)
{
    uint32_t v = c.sm + ktc_layout<T>::V + c.vr.stage * T::V_BYTES;
    if constexpr (T::PARTS == 0)
        T::accumulate(c.o, c.p, v);
    else
        T::template sum_part<PART>(c.t, c.p, v);
    ktc_wgmma_commit();
}

/* Waits for the part that was issued and adds it. */
template <class T, int PART> KTC_INLINE void ktc_add_part(ktc_consumer<T> &c)
{
    constexpr int N = T::DIM / 2 / T::PARTS;
    ktc_wgmma_wait<0>();
    ktc_keep(c.t);
#pragma unroll
    for (int i = 0; i < N; i++)
        c.o[PART * N + i] += c.t[i];
}

/* The part that is in flight is added, the next one issued. */
template <class T> KTC_INLINE void ktc_sum_next(ktc_consumer<T> &c)
{
    ktc_add_part<T, 0>(c);
    ktc_keep(c.t);
    ktc_wgmma_fence();
    ktc_issue_sum<T, 1>(c);
}

template <class T> KTC_INLINE void ktc_sum_done(ktc_consumer<T> &c)
{
    if constexpr (T::PARTS > 0)
        ktc_add_part<T, T::PARTS - 1>(c);
    else
        ktc_wgmma_wait<0>();
    ktc_keep(c.o);
    ktc_keep(c.p);
    ktc_release(c.sm + ktc_layout<T>::V_EMPTY + 8 * c.vr.stage);
    c.vr.next();
}

/* Gives back the shared memory of complete logits and turns them into weights. MASKED:
 * some columns may not be keys, the last key may have a tail. SUMMING: the first part of a weighted
 * sum is in flight; its place is given to the second half way. */
template <class T, bool MASKED, bool FIRST, bool SUMMING>
KTC_INLINE void ktc_logits_done(ktc_consumer<T> &c, const ktc_attention_args &a, bool last,
                                int next, float (&alpha)[2])
{
    using L = ktc_layout<T>;
    ktc_keep(c.s);
    ktc_release(c.sm + L::K_EMPTY + 8 * c.kr.stage);
    c.kr.next();
    if (MASKED)
        ktc_mask(c.s, a.page_rows - c.in_page * T::KEYS, last ? a.tail : 0.0f);
    auto half_way = [&c](const float(&part)[2][2]) {
        if constexpr (SUMMING) {
            ktc_hold(part[0][0] + part[0][1] + (part[1][0] + part[1][1]), c.sm);
            ktc_sum_next<T>(c);
        }
    };
    ktc_softmax<T, FIRST>(c.s, c.rows, alpha, a.scale_log2, next, c.sm, half_way);
    c.in_page = c.in_page + 1 == a.page_blocks ? 0 : c.in_page + 1;
}

/* One key block: its logits, and the weighted sum of the block before. Nothing is in flight before
 * or after: the assembler serialises products that are in flight across a loop. */
template <class T, bool MASKED>
KTC_INLINE void ktc_step(ktc_consumer<T> &c, const ktc_attention_args &a, int group, bool last)
{
    using L = ktc_layout<T>;
    const int mine = 1 + group, next = 2 - group;
    float alpha[2];
    ktc_mbar_wait(c.sm + L::K_FULL + 8 * c.kr.stage, c.kr.phase);
    ktc_mbar_wait(c.sm + L::V_FULL + 8 * c.vr.stage, c.vr.phase);
    if (T::TURNS == KTC_TURNS_ISSUE)
        ktc_bar_sync(mine, 256);
    ktc_keep(c.o);
    ktc_keep(c.p);
    ktc_issue_logits<T>(c);
    ktc_issue_sum<T, 0>(c);
    if (T::TURNS == KTC_TURNS_ISSUE)
        ktc_bar_arrive(next, 256);
    if (T::TURNS == KTC_TURNS_SOFTMAX)
        ktc_bar_sync(mine, 256);
    ktc_wgmma_wait<1>();
    ktc_logits_done<T, MASKED, false, T::PARTS == 2>(c, a, last, next, alpha);
    ktc_hold(c.rows.sum[0] + c.rows.sum[1], c.sm);
    ktc_sum_done<T>(c);
    ktc_rescale(c.o, alpha);
    T::weights(c.p, c.s);
}

template <class T>
KTC_INLINE void ktc_consume_piece(ktc_consumer<T> &c, const ktc_attention_args &a,
                                  const ktc_piece &piece, int group)
{
    using L = ktc_layout<T>;
    float alpha[2];
    ktc_mbar_wait(c.sm + L::K_FULL + 8 * c.kr.stage, c.kr.phase);
    ktc_issue_logits<T>(c);
    ktc_wgmma_wait<0>();
    if (T::GUARD != 0.0f && piece.resume)
        ktc_logits_done<T, true, false, false>(c, a, piece.from + 1 == a.blocks, 0, alpha);
    else
        ktc_logits_done<T, true, true, false>(c, a, piece.from + 1 == a.blocks, 0, alpha);
    ktc_rescale(c.o, alpha);
    T::weights(c.p, c.s);
    for (int b = piece.from + 1; b < piece.to; b++) {
        bool last = b + 1 == a.blocks;
        if (c.in_page + 1 == a.page_blocks)
            ktc_step<T, true>(c, a, group, last);
        else
            ktc_step<T, false>(c, a, group, last);
    }
    ktc_release(c.q_empty);
    ktc_mbar_wait(c.sm + L::V_FULL + 8 * c.vr.stage, c.vr.phase);
    ktc_keep(c.o);
    ktc_keep(c.p);
    ktc_wgmma_fence();
    ktc_issue_sum<T, 0>(c);
    if constexpr (T::PARTS == 2)
        ktc_sum_next<T>(c);
    ktc_sum_done<T>(c);
}

template <class T>
KTC_INLINE void ktc_consume(const ktc_attention_args &a, const ktc_schedule &sched, uint32_t sm,
                            int group)
{
    ktc_consumer<T> c;
    ktc_ring<T::Q_STAGES> qr;
    c.sm = sm;
    if (group == 1)
        ktc_bar_arrive(1, 256); /* the first turn is group 0's */
    for (int i = 0; i < sched.count; i++, qr.next()) {
        ktc_piece piece = ktc_schedule_piece(sched, i, a.blocks);
        c.in_page = piece.from % a.page_blocks;
        if (piece.resume) {
            ktc_resume(a, group, c.o, c.rows);
        } else {
#pragma unroll
            for (int j = 0; j < T::DIM / 2; j++)
                c.o[j] = 0.0f;
            c.rows = {{INFINITY, INFINITY}, {0.0f, 0.0f}};
        }
        c.q = sm + ktc_layout<T>::Q + qr.stage * T::Q_BYTES + group * T::Q_GROUP;
        c.q_empty = sm + ktc_layout<T>::Q_EMPTY + 8 * qr.stage;
        ktc_mbar_wait(sm + ktc_layout<T>::Q_FULL + 8 * qr.stage, qr.phase);
        ktc_consume_piece<T>(c, a, piece, group);
        if (piece.publish) {
            ktc_publish(a, group, c.o, c.rows);
        } else {
            int head = piece.tile / a.q_tiles, warp = (threadIdx.x / 32) & 3;
            int row = (piece.tile % a.q_tiles) * KTC_ROWS + group * 64 + warp * 16 +
                      (threadIdx.x & 31) / 4;
            ktc_finish<T>(a, c.o, c.rows, head, row);
        }
    }
}

template <class T>
__global__ void __launch_bounds__(KTC_THREADS, 1)
    ktc_attention_kernel(const __grid_constant__ ktc_attention_args a)
{
    using L = ktc_layout<T>;
    extern __shared__ uint8_t raw[];
    uint32_t sm = (ktc_smem(raw) + 1023) & ~1023u;
    if (threadIdx.x == 0) {
        ktc_tma_prefetch_map(&a.q);
        ktc_tma_prefetch_map(&a.k);
        ktc_tma_prefetch_map(&a.v);
        for (int i = 0; i < T::Q_STAGES; i++) {
            ktc_mbar_init(sm + L::Q_FULL + 8 * i, 1);
            ktc_mbar_init(sm + L::Q_EMPTY + 8 * i, 4 * KTC_CONSUMERS);
        }
        for (int i = 0; i < T::STAGES; i++) {
            ktc_mbar_init(sm + L::K_FULL + 8 * i, 1);
            ktc_mbar_init(sm + L::K_EMPTY + 8 * i, 4 * KTC_CONSUMERS);
            ktc_mbar_init(sm + L::V_FULL + 8 * i, 1);
            ktc_mbar_init(sm + L::V_EMPTY + 8 * i, 4 * KTC_CONSUMERS);
        }
        ktc_mbar_init_fence();
    }
    __syncthreads();
    const ktc_schedule sched = ktc_schedule_make(a);
    if (threadIdx.x < 128) {
        ktc_regs_lower<24>();
        if (threadIdx.x == 0)
            ktc_produce<T>(a, sched, sm);
    } else {
        ktc_regs_raise<240>();
        ktc_consume<T>(a, sched, sm, __shfl_sync(~0u, threadIdx.x / 128, 0) - 1);
    }
}

/* -- host -- */

/* A 2- or 3-D map; sizes and box in elements, strides in bytes from the second axis on. */
static inline int ktc_tensor_map(CUtensorMap *map, CUtensorMapDataType type, int rank,
                                 const void *base, const cuuint64_t *sizes,
                                 const cuuint64_t *strides, const cuuint32_t *box,
                                 CUtensorMapSwizzle swizzle)
{
    typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                  const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                  const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                                  CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    static encode_fn encode = NULL; /* found once; every thread finds the same */
    const cuuint32_t ones[3] = {1, 1, 1};
    if (!encode) {
        void *entry = NULL;
        cudaDriverEntryPointQueryResult found;
        if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                             cudaEnableDefault, &found) != cudaSuccess ||
            found != cudaDriverEntryPointSuccess)
            return -ENOSYS;
        encode = (encode_fn)entry;
    }
    CUresult r = encode(map, type, (cuuint32_t)rank, (void *)base, sizes, strides, box, ones,
                        CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                        CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return r == CUDA_SUCCESS ? 0 : -EINVAL;
}

struct ktc_plan {
    int tq, tk, heads;
    const int32_t *page_start;
    int page_count, page_rows;
    void *work;
    float scale;
};

static inline int ktc_multiprocessors(void)
{
    int device, count;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess)
        return 0;
    return count;
}

/* Tiles, pages and shares for key blocks of `keys`. Returns the number of
 * blocks to launch. */
static inline int ktc_plan_shares(struct ktc_attention_args *args, const struct ktc_plan *plan,
                                  int keys)
{
    bool paged = plan->page_start != NULL;
    int sms = ktc_multiprocessors();
    args->page_start = plan->page_start;
    args->page_rows = paged ? plan->page_rows : plan->tk;
    args->page_blocks = (args->page_rows + keys - 1) / keys;
    args->blocks = args->page_blocks * (paged ? plan->page_count : 1);
    args->tq = plan->tq;
    args->q_tiles = (plan->tq + KTC_ROWS - 1) / KTC_ROWS;
    args->tiles = args->q_tiles * plan->heads;
    args->work = (uint8_t *)plan->work;
    args->scale_log2 = plan->scale * 1.4426950408889634f;
    args->span = 0;
    if (args->tiles <= sms)
        return args->tiles;
    int waves = args->tiles / sms, rest = args->tiles % sms;
    if (plan->work && rest > 0 && args->blocks >= KTC_SPLIT_BLOCKS_MIN &&
        (size_t)sms * KTC_CONSUMERS * sizeof(int) <= KTC_WORK_FLAGS) {
        /* Equal, but a tile in no more pieces than there are gaps between waves. */
        int equal = (int)(((int64_t)rest * args->blocks + sms - 1) / sms);
        int least = (args->blocks - 1 + waves - 1) / waves;
        args->span = equal > least ? equal : least;
    }
    return sms;
}

template <class T>
static int ktc_attention_launch(cudaStream_t stream, const struct ktc_attention_args *args,
                                int blocks)
{
    int shared = ktc_layout<T>::DYNAMIC;
    if (cudaFuncSetAttribute(ktc_attention_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             shared) != cudaSuccess)
        return -EIO;
    ktc_attention_kernel<T><<<blocks, KTC_THREADS, shared, stream>>>(*args);
    return cudaPeekAtLastError() == cudaSuccess ? 0 : -EIO;
}

#endif
