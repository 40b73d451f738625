/* Attention in e4m3 (attention.h, attention.cuh). Keys come in blocks of KEYS, a multiple of 32.
 *
 * The second product takes both operands with the keys contiguous, hence V transposed. A thread
 * holds the logits of keys 8j + 2 (lane % 4) + {0, 1}, and is asked for the weights of 4
 * neighbouring slots of 32: the order of tokens in vt makes those the same keys.
 *
 * Weights are computed as 2^OFFSET times larger, so that e4m3's range (2^-9 to 448) is spent
 * between the largest and 2^-14 of it. No weight may exceed 448: a thread's weights of one block of
 * keys may not add up to more (GUARD). Logits that exceed the first keys' largest by more than 80
 * saturate: the result stays finite, but weighs such keys alike.
 */
#include "kernels/cuda/attention.cuh"

template <int KEYS_, int STAGES_, int TURNS_, int GUARD_, int PARTS_> struct ktc_e4m3 {
    static constexpr int DIM = 128, KEYS = KEYS_, STAGES = STAGES_, TURNS = TURNS_;
    static constexpr int Q_STAGES = 1, PARTS = PARTS_;
    static constexpr bool SCALED = true;
    static constexpr float SLACK = 3.5f, OFFSET = 5.0f; /* log2 */
    static constexpr float GUARD = GUARD_;
    static constexpr int WEIGHTS = KEYS / 8;
    static constexpr int Q_BYTES = KTC_ROWS * DIM, K_BYTES = KEYS * DIM, V_BYTES = KEYS * DIM;
    static constexpr int Q_GROUP = 64 * DIM;
    /* V: slabs of CHUNK keys, CHUNK bytes a row of one channel. */
    static constexpr int CHUNK = KEYS % 128 == 0 ? 128 : KEYS % 64 == 0 ? 64 : 32;
    static constexpr int V_SLAB = CHUNK * DIM;
    static constexpr uint32_t V_SWIZZLE = CHUNK == 128  ? KTC_SWIZZLE_128
                                          : CHUNK == 64 ? KTC_SWIZZLE_64
                                                        : KTC_SWIZZLE_32;

    KTC_METHOD void load_q(uint32_t dst, const CUtensorMap *map, uint32_t bar, int head, int row)
    {
        ktc_tma_load_2d(dst, map, bar, head * DIM, row);
    }

    KTC_METHOD void load_k(uint32_t dst, const CUtensorMap *map, uint32_t bar, int head, int key)
    {
        ktc_tma_load_2d(dst, map, bar, head * DIM, key);
    }

    KTC_METHOD void load_v(uint32_t dst, const CUtensorMap *map, uint32_t bar, int head, int key)
    {
#pragma unroll
        for (int i = 0; i < KEYS / CHUNK; i++)
            ktc_tma_load_2d(dst + i * V_SLAB, map, bar, key + i * CHUNK, head * DIM);
    }

    KTC_METHOD void logits(float (&s)[KEYS / 2], uint32_t q, uint32_t k)
    {
        uint64_t dq = ktc_desc(q, 16, 1024, KTC_SWIZZLE_128);
        uint64_t dk = ktc_desc(k, 16, 1024, KTC_SWIZZLE_128);
#pragma unroll
        for (int c = 0; c < DIM / 32; c++)
            ktc_wgmma_e4m3<KEYS>::mma(s, ktc_desc_at(dq, c * 32), ktc_desc_at(dk, c * 32), c > 0);
    }

    KTC_METHOD void accumulate(float (&o)[DIM / 2], const uint32_t (&p)[WEIGHTS], uint32_t v)
    {
        uint64_t dv = ktc_desc(v, 16, 8 * CHUNK, V_SWIZZLE);
#pragma unroll
        for (int c = 0; c < KEYS / 32; c++)
            ktc_wgmma_e4m3_rs<DIM>::mma(
                o, p + 4 * c, ktc_desc_at(dv, c * 32 / CHUNK * V_SLAB + c * 32 % CHUNK), 1);
    }

    /* t[64, DIM / PARTS]: the same from zero, for one part of the channels. */
    template <int PART>
    KTC_METHOD void sum_part(float (&t)[PARTS ? DIM / 2 / PARTS : 1], const uint32_t (&p)[WEIGHTS],
                             uint32_t v)
    {
        constexpr int CHANNELS = DIM / PARTS;
        uint64_t dv = ktc_desc(v + PART * CHANNELS * CHUNK, 16, 8 * CHUNK, V_SWIZZLE);
#pragma unroll
        for (int c = 0; c < KEYS / 32; c++)
            ktc_wgmma_e4m3_rs<CHANNELS>::mma(
                t, p + 4 * c, ktc_desc_at(dv, c * 32 / CHUNK * V_SLAB + c * 32 % CHUNK), c > 0);
    }

    /* Register 0 of 32 keys: this row, slots 4 (lane % 4) + 0..3; 1: the row 8 below; 2, 3: the
     * same 16 slots on. */
    KTC_METHOD void weights(uint32_t (&p)[WEIGHTS], const float (&s)[KEYS / 2])
    {
#pragma unroll
        for (int i = 0; i < WEIGHTS; i++) {
            const float *x = s + (i / 2) * 8 + (i & 1) * 2;
            p[i] = ktc_pack_e4m3(x[0], x[1]) | ktc_pack_e4m3(x[4], x[5]) << 16;
        }
    }
};

static int bytes_map(CUtensorMap *map, const void *base, int64_t ld, int inner, int outer,
                     int box_inner, int box_outer)
{
    const cuuint64_t sizes[2] = {(cuuint64_t)inner, (cuuint64_t)outer};
    const cuuint64_t strides[1] = {(cuuint64_t)ld};
    const cuuint32_t box[2] = {(cuuint32_t)box_inner, (cuuint32_t)box_outer};
    return ktc_tensor_map(map, CU_TENSOR_MAP_DATA_TYPE_UINT8, 2, base, sizes, strides, box,
                          box_inner == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                          : box_inner == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                            : CU_TENSOR_MAP_SWIZZLE_32B);
}

static bool aligned(const void *p, int64_t ld, int64_t least)
{
    return p && ((uintptr_t)p & 15) == 0 && ld % 16 == 0 && ld >= least;
}

static int tokens_of(const struct ktc_attention_f8 *a)
{
    return a->page_start ? a->pool_rows : (a->tk + 15) & ~15;
}

static bool valid(const struct ktc_attention_f8 *a)
{
    if (!a || a->head_dim != 128 || a->heads < 1 || a->heads > 4096 || a->tq < 1 || a->tk < 1 ||
        a->tk > 1 << 28 || !(a->logit_scale > 0.0f) || !a->v_scale ||
        ((uintptr_t)a->v_scale & 7) != 0 || !(a->y_scale >= 0.0f))
        return false;
    if (a->page_start && (a->page_count < 1 || a->page_rows < 1 || a->pool_rows < a->page_rows ||
                          (int64_t)a->page_count * a->page_rows != a->tk))
        return false;
    int width = a->heads * a->head_dim;
    return aligned(a->q, a->ld_q, width) && aligned(a->k, a->ld_k, width) &&
           aligned(a->vt, a->ld_vt, tokens_of(a)) && a->y && ((uintptr_t)a->y & 15) == 0 &&
           a->ld_y % (a->y_scale != 0.0f ? 16 : 8) == 0 && a->ld_y >= width &&
           ((uintptr_t)a->work & 15) == 0;
}

template <class T> static int run(cudaStream_t stream, const struct ktc_attention_f8 *a)
{
    struct ktc_attention_args args = {};
    const struct ktc_plan plan = {a->tq,         a->tk,        a->heads, a->page_start,
                                  a->page_count, a->page_rows, a->work,  a->logit_scale};
    int width = a->heads * T::DIM, err;
    int rows = a->page_start ? a->pool_rows : a->tk;
    if ((err = bytes_map(&args.q, a->q, a->ld_q, width, a->tq, T::DIM, KTC_ROWS)) != 0 ||
        (err = bytes_map(&args.k, a->k, a->ld_k, width, rows, T::DIM, T::KEYS)) != 0 ||
        (err = bytes_map(&args.v, a->vt, a->ld_vt, tokens_of(a), width, T::CHUNK, T::DIM)) != 0)
        return err;
    int blocks = ktc_plan_shares(&args, &plan, T::KEYS);
    args.y = a->y;
    args.ld_y = a->ld_y;
    args.y_scale = a->y_scale;
    args.v_scale = a->v_scale;
    return ktc_attention_launch<T>(stream, &args, blocks);
}

/* For the benchmark: what was tried. 0 is the one in use. */
extern "C" int ktc_attention_f8_variant(cudaStream_t stream, const struct ktc_attention_f8 *a,
                                        int variant)
{
    if (!valid(a))
        return -EINVAL;
    switch (variant) {
    case 0: return run<ktc_e4m3<192, 3, KTC_TURNS_SOFTMAX, 448, 2>>(stream, a);
#ifdef KTC_VARIANTS
    case 1: return run<ktc_e4m3<192, 3, KTC_TURNS_SOFTMAX, 448, 0>>(stream, a);
    case 2: return run<ktc_e4m3<160, 3, KTC_TURNS_SOFTMAX, 448, 2>>(stream, a);
    case 3: return run<ktc_e4m3<160, 3, KTC_TURNS_SOFTMAX, 448, 1>>(stream, a);
    case 4: return run<ktc_e4m3<192, 3, KTC_TURNS_ISSUE, 448, 2>>(stream, a);
    case 5: return run<ktc_e4m3<192, 3, KTC_TURNS_SOFTMAX, 448, 1>>(stream, a);
#endif
    }
    return -EINVAL;
}

extern "C" int ktc_attention_f8(cudaStream_t stream, const struct ktc_attention_f8 *a)
{
    return ktc_attention_f8_variant(stream, a, 0);
}
