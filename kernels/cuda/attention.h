/* Attention on Hopper: y = softmax(scale * q k^T) v, no causal mask. `attention.cuh` says how.
 *
 * Bits: a row of y depends on that row of q, on k, v, tk (and the page layout) alone; never on the
 * number of rows, their position, the number of multiprocessors or the workspace.
 * Calls allocate nothing, synchronise nothing and can be captured in a CUDA graph. They need
 * compute capability 9.0. Thread-safety: any thread; one workspace serves one call at a time.
 */
#ifndef KTC_ATTENTION_H
#define KTC_ATTENTION_H

#include <stddef.h>
#include <stdint.h>

typedef struct CUstream_st *cudaStream_t; /* as CUDA's own headers have it */

#ifdef __cplusplus
extern "C" {
#endif

struct ktc_attention {
    /* Rows of all heads side by side, bf16: element (row, head, channel) at
     * row * ld + head * head_dim + channel. Pointers are multiples of 16 bytes, ld of 8 elements.
     */
    const void *q; /* [tq, heads, head_dim] */
    const void *k; /* [tk, heads, head_dim] */
    const void *v; /* [tk, heads, head_dim] */
    void *y;       /* [tq, heads, head_dim] */
    int64_t ld_q, ld_k, ld_v, ld_y;
    int tq, tk; /* >= 1 */
    int heads;
    int head_dim; /* 64 or 128 */
    float scale;  /* of the logits, > 0 */
    /* Added to the (scaled) logit of the last key: log(n) makes it count as n equal keys. */
    float tail_logit;

    /* Optional: k and v are pools of `pool_rows` rows, and the keys are `page_count` pages of
     * `page_rows` rows each; page i starts at row page_start[i] (device memory, read when the
     * kernel runs). tk must be page_count * page_rows. A page's rows may be followed by anything
     * finite. NULL: rows 0 to tk - 1. */
    const int32_t *page_start;
    int page_count, page_rows, pool_rows;

    /* Optional: ktc_attention_work_bytes() of device memory, 16-byte aligned, zeroed once before
     * its first use. With it the multiprocessors share the work evenly; without it large calls
     * take up to a third longer. The result is the same. Must not be shared by concurrent calls. */
    void *work;
};

/* Bytes of workspace for the current device; 0 when there is no device. */
size_t ktc_attention_work_bytes(void);

/* bf16 in, sums in fp32, the weights of the keys rounded to bf16 as the matrix unit's operand.
 * Returns 0, -EINVAL for a shape or alignment it does not take, -ENOSYS when the driver lacks
 * tensor maps, -EIO when the launch fails (cudaGetLastError says why). */
int ktc_attention_bf16(cudaStream_t stream, const struct ktc_attention *a);

/* -- e4m3 -- */

/* Where token t of V lies on the token axis of `vt`: permuted within groups of 16, so that the
 * weights come out of the first product in the order in which the second one reads them. */
#if defined(__CUDACC__)
__host__ __device__
#endif
    static inline int
    ktc_f8_token_slot(int t)
{
    return (t & ~15) | (t & 6) << 1 | (t & 8) >> 2 | (t & 1);
}

struct ktc_attention_f8 {
    /* q, k: e4m3 rows as above, pointers and ld multiples of 16. vt: e4m3, channels by tokens,
     * element (head, channel, token) at (head * 128 + channel) * ld_vt + ktc_f8_token_slot(token);
     * ld_vt >= tk rounded up to 16, a multiple of 16. The slots of missing tokens in the last
     * group of 16 hold anything finite (zero). */
    const void *q, *k, *vt;
    void *y; /* bf16, or e4m3 with `y_scale` */
    int64_t ld_q, ld_k, ld_vt, ld_y;
    int tq, tk, heads;
    int head_dim;      /* 128 */
    float logit_scale; /* softmax scale / (scale of q * scale of k), > 0 */
    /* [heads, 128]: what a unit of vt is worth, 1 / (scale that V was multiplied by). */
    const float *v_scale;
    float y_scale; /* 0: y is bf16; otherwise y is e4m3 of the result * y_scale */
    /* Pages as above; page i's tokens start at page_start[i] in the rows of k and on the token
     * axis of vt; page_start and the page's slots are in whole groups of 16. */
    const int32_t *page_start;
    int page_count, page_rows, pool_rows;
    void *work;
};

/* Both products in e4m3, softmax in fp32, weights rounded to e4m3. A logit that exceeds the largest
 * of the first 224 keys by more than 80 counts as 80 more. Returns as above. */
int ktc_attention_f8(cudaStream_t stream, const struct ktc_attention_f8 *a);

#ifdef __cplusplus
}
#endif
#endif
