/* Attention in bf16 (attention.h, attention.cuh). Keys come in blocks of KEYS, a multiple of 16. */
#include "kernels/cuda/attention.cuh"

template <int DIM_, int KEYS_, int STAGES_, int TURNS_, int Q_STAGES_ = 1> struct ktc_bf16 {
    static constexpr int DIM = DIM_, KEYS = KEYS_, STAGES = STAGES_, TURNS = TURNS_;
    static constexpr int Q_STAGES = Q_STAGES_;
    static constexpr int PARTS = 0;
    static constexpr bool SCALED = false;
    static constexpr float SLACK = 8.0f, OFFSET = 0.0f, GUARD = 0.0f; /* log2; no guard */
    static constexpr int WEIGHTS = KEYS / 4;                          /* registers of a thread */
    /* Shared memory: slabs of 64 channels, 128 bytes a row, swizzled over 8 rows. */
    static constexpr int SLABS = DIM / 64;
    static constexpr int Q_SLAB = KTC_ROWS * 128, K_SLAB = KEYS * 128;
    static constexpr int Q_BYTES = SLABS * Q_SLAB, K_BYTES = SLABS * K_SLAB, V_BYTES = K_BYTES;
    static constexpr int Q_GROUP = 64 * 128;

    KTC_METHOD void load_q(uint32_t dst, const CUtensorMap *map, uint32_t bar, int head, int row)
    {
#pragma unroll
        for (int i = 0; i < SLABS; i++)
            ktc_tma_load_2d(dst + i * Q_SLAB, map, bar, head * DIM + 64 * i, row);
    }

    KTC_METHOD void load_k(uint32_t dst, const CUtensorMap *map, uint32_t bar, int head, int key)
    {
#pragma unroll
        for (int i = 0; i < SLABS; i++)
            ktc_tma_load_2d(dst + i * K_SLAB, map, bar, head * DIM + 64 * i, key);
    }

    KTC_METHOD void load_v(uint32_t dst, const CUtensorMap *map, uint32_t bar, int head, int key)
    {
        load_k(dst, map, bar, head, key);
    }

    /* s[64, KEYS] = q k^T over 16 channels at a time: 32 bytes along a swizzled row. */
    KTC_METHOD void logits(float (&s)[KEYS / 2], uint32_t q, uint32_t k)
    {
        uint64_t dq = ktc_desc(q, 16, 1024, KTC_SWIZZLE_128);
        uint64_t dk = ktc_desc(k, 16, 1024, KTC_SWIZZLE_128);
#pragma unroll
        for (int c = 0; c < DIM / 16; c++)
            ktc_wgmma_bf16<KEYS>::mma(s, ktc_desc_at(dq, c / 4 * Q_SLAB + c % 4 * 32),
                                      ktc_desc_at(dk, c / 4 * K_SLAB + c % 4 * 32), c > 0);
    }

    /* o[64, DIM] += p v over 16 keys at a time; v lies with the channels contiguous. */
    KTC_METHOD void accumulate(float (&o)[DIM / 2], const uint32_t (&p)[WEIGHTS], uint32_t v)
    {
        uint64_t dv = ktc_desc(v, K_SLAB, 1024, KTC_SWIZZLE_128);
#pragma unroll
        for (int c = 0; c < KEYS / 16; c++)
            ktc_wgmma_bf16_rs<DIM>::mma(o, p + 4 * c, ktc_desc_at(dv, c * 16 * 128), 1);
    }

    /* The accumulator's layout is the operand's, pair by pair. */
    KTC_METHOD void weights(uint32_t (&p)[WEIGHTS], const float (&s)[KEYS / 2])
    {
#pragma unroll
        for (int i = 0; i < WEIGHTS; i++)
            p[i] = ktc_pack_bf16(s[2 * i], s[2 * i + 1]);
    }
};

static int rows_map(CUtensorMap *map, const void *rows, int64_t ld, int width, int count, int box)
{
    const cuuint64_t sizes[2] = {(cuuint64_t)width, (cuuint64_t)count};
    const cuuint64_t strides[1] = {(cuuint64_t)ld * 2};
    const cuuint32_t boxes[2] = {64, (cuuint32_t)box};
    return ktc_tensor_map(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, rows, sizes, strides, boxes,
                          CU_TENSOR_MAP_SWIZZLE_128B);
}

static bool rows_valid(const void *rows, int64_t ld, int width)
{
    return rows && ((uintptr_t)rows & 15) == 0 && ld % 8 == 0 && ld >= width;
}

static bool valid(const struct ktc_attention *a)
{
    if (!a || (a->head_dim != 64 && a->head_dim != 128) || a->heads < 1 || a->heads > 4096 ||
        a->tq < 1 || a->tk < 1 || !(a->scale > 0.0f))
        return false;
    if (a->page_start && (a->page_count < 1 || a->page_rows < 1 || a->pool_rows < a->page_rows ||
                          (int64_t)a->page_count * a->page_rows != a->tk))
        return false;
    int width = a->heads * a->head_dim;
    return rows_valid(a->q, a->ld_q, width) && rows_valid(a->k, a->ld_k, width) &&
           rows_valid(a->v, a->ld_v, width) && rows_valid(a->y, a->ld_y, width) &&
           ((uintptr_t)a->work & 15) == 0;
}

template <class T> static int run(cudaStream_t stream, const struct ktc_attention *a)
{
    struct ktc_attention_args args = {};
    const struct ktc_plan plan = {a->tq,         a->tk,        a->heads, a->page_start,
                                  a->page_count, a->page_rows, a->work,  a->scale};
    int width = a->heads * a->head_dim, rows = a->page_start ? a->pool_rows : a->tk, err;
    if ((err = rows_map(&args.q, a->q, a->ld_q, width, a->tq, KTC_ROWS)) != 0 ||
        (err = rows_map(&args.k, a->k, a->ld_k, width, rows, T::KEYS)) != 0 ||
        (err = rows_map(&args.v, a->v, a->ld_v, width, rows, T::KEYS)) != 0)
        return err;
    int blocks = ktc_plan_shares(&args, &plan, T::KEYS);
    args.y = a->y;
    args.ld_y = a->ld_y;
    args.tail = a->tail_logit / a->scale;
    return ktc_attention_launch<T>(stream, &args, blocks);
}

/* For the benchmark: the tilings that were tried. 0 is the one in use. */
extern "C" int ktc_attention_bf16_variant(cudaStream_t stream, const struct ktc_attention *a,
                                          int variant)
{
    if (!valid(a))
        return -EINVAL;
    if (a->head_dim == 64)
        return variant == 0 ? run<ktc_bf16<64, 128, 2, KTC_TURNS_ISSUE>>(stream, a) : -EINVAL;
    switch (variant) {
    case 0: return run<ktc_bf16<128, 176, 2, KTC_TURNS_ISSUE>>(stream, a);
    case 1: return run<ktc_bf16<128, 128, 2, KTC_TURNS_ISSUE, 2>>(stream, a);
    case 2: return run<ktc_bf16<128, 64, 4, KTC_TURNS_ISSUE, 2>>(stream, a);
    }
    return -EINVAL;
}

extern "C" int ktc_attention_bf16(cudaStream_t stream, const struct ktc_attention *a)
{
    /* Few keys: the time goes into fetching Q, so the next tile's comes while this one computes. */
    int variant = !a || a->head_dim != 128 || a->tk > 512 ? 0 : a->tk > 64 ? 1 : 2;
    return ktc_attention_bf16_variant(stream, a, variant);
}

extern "C" size_t ktc_attention_work_bytes(void)
{
    int sms = ktc_multiprocessors();
    return sms > 0 ? KTC_WORK_FLAGS + (size_t)sms * KTC_WORK_SLOT : 0;
}
