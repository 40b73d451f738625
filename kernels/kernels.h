/* The op table: every arithmetic operation the engine asks of a device.
 *
 * A leaf: pointers, shapes and a queue in; nothing here knows a model, logs, or touches a file. One
 * table per device kind: `kt_kernels_cpu()`, filled upwards as in dav1d (the plain C reference,
 * fp32, the simplest code that is right, first; then every faster level that the machine has and
 * the mask allows), and `kt_kernels_cuda()`, one of fp32 (the proof that the code is right) or
 * bf16.
 *
 * Conventions
 * - Tensors are dense and row-major unless a stride (`ld_*`, in elements) says otherwise.
 * - [act] marks activations in the table's `act_dtype` (KT_F32 on the CPU, KT_F32 or KT_BF16 on
 *   CUDA); [f32] is always fp32, which the residual streams of the transformers are whatever [act]
 *   is; [kv] is the table's `kv_dtype`, today always the act_dtype. Pointers are device pointers of
 *   the table's device. Statistics and sums are fp32 or wider on every device.
 * - [f8] is e4m3 (OCP FP8, saturating at 448) of a value times a scale that goes with it. A table
 *   says how many bytes it keeps one in (`f8_size`): 1 on CUDA; 4 on the CPU, which computes with
 *   the rounded values in fp32 and so is the reference of what 8 bits cost; 0: no [f8] there. A
 *   scale of 0 stands for "[act], not [f8]".
 * - Outputs must not overlap inputs, except where an op says "in place allowed".
 * - Operations run in queue order. On the CPU an op has finished when it returns; elsewhere after
 *   queue_sync or a download.
 * - Return 0, or a negative errno: -EINVAL for a shape the op does not take, -ENOMEM where a
 *   workspace or plan could not be had. After warm-up no op allocates (`kt_queue_stats.allocs`).
 * - Batch-invariant: the bits of a row of output depend on that row's inputs and the shape's fixed
 *   algorithm only, never on load or on what else is in flight.
 *
 * Thread-safety: tables are constant. A queue, and weights created for it, belong to one thread at
 * a time; weights are read-only after creation and may be shared by queues of the same device. */
#ifndef KT_KERNELS_KERNELS_H
#define KT_KERNELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* What a table computes in. AUTO: the best that the device does well (CPU: fp32, CUDA: bf16). FP8:
 * a bf16 table that has [f8] too. FP8_EMULATED: fp32 with [f8] values rounded as FP8 rounds them,
 * which shows what 8 bits cost (FP8 on the CPU is that too). */
enum kt_precision {
    KT_PRECISION_AUTO = 0,
    KT_PRECISION_FP32 = 1,
    KT_PRECISION_BF16 = 2,
    KT_PRECISION_FP8 = 3,
    KT_PRECISION_FP8_EMULATED = 4
};

enum kt_dtype { KT_F32 = 0, KT_F16 = 1, KT_BF16 = 2, KT_I32 = 3, KT_I64 = 4, KT_F8 = 5 };

/* What a linear applies to x*W^T + b. tanh form of GELU everywhere (engine/MODEL.md). */
enum kt_act { KT_ACT_NONE = 0, KT_ACT_GELU_TANH = 1, KT_ACT_SILU = 2 };

struct kt_queue;  /* an execution order plus its workspace */
struct kt_linear; /* a weight matrix prepared for this device (packed, on its memory) */
struct kt_conv;   /* a convolution filter prepared for this device */

struct kt_queue_params {
    int threads;            /* CPU: worker threads, >= 1 */
    int device;             /* CUDA: index of the card */
    int plain;              /* CUDA: the simple kernels only, no library: what fast ones are
                               compared with */
    size_t workspace_bytes; /* first size of the workspace; ops may grow it until warm-up ends */
};

struct kt_queue_stats {
    uint64_t launches;           /* ops executed; on CUDA kernels launched */
    uint64_t allocs;             /* allocations made by ops: plans built, workspace grown */
    uint64_t syncs;              /* waits of the host for the queue, those of downloads too */
    uint64_t uploads, downloads; /* copies between host and device */
    uint64_t bytes_uploaded, bytes_downloaded; /* by them */
    /* CUDA: device memory of weights created so far (destroyed ones too), and of the queue itself.
     */
    uint64_t bytes_weights, bytes_workspace;
};

/* y = act(x * W^T + b), W as in checkpoints: [n, k] row-major. */
struct kt_linear_desc {
    int n, k;
    enum kt_dtype dtype; /* of `weight` and `bias` as given */
    const void *weight;  /* [n, k], host memory, copied */
    const void *bias;    /* [n] or NULL, host memory, copied */
    float x_scale;       /* > 0: weights in [f8], one scale for all, and x in [f8] of this scale */
};

struct kt_linear_args {
    const void *x; /* [act] [m, k], or [f8] as the linear was created */
    void *y;       /* [act] [m, n], or [f32] with y_f32, or [f8] with y_scale */
    int m;
    int ld_x, ld_y; /* 0: dense */
    enum kt_act act;
    int y_f32; /* non-zero: y is [f32] (a residual stream, a head) */
    float y_scale;
};

/* Convolution over [t, h, w, c] channels-last input, no padding in time: t_out = (t_in - kt)/st
 * + 1. A causal convolution (st = 1) reads kt - 1 frames before x, so that t_out = t_in: `past` of
 * the call, or zeros (engine/MODEL.md, VAE). Space is zero padded by pad_* on each side. A 2-D
 * convolution has kt = 1. With `upsample` the filter sees x doubled in space (as upsample2x does),
 * without that copy being made. */
struct kt_conv_desc {
    int c_in, c_out;
    int kt, kh, kw;
    int st, sh, sw;
    int pad_top, pad_bottom, pad_left, pad_right;
    int causal, upsample; /* flags, see above */
    enum kt_dtype dtype;
    const void *weight; /* [c_out, c_in, kt, kh, kw] as in checkpoints, host memory, copied */
    const void *bias;   /* [c_out] or NULL, host memory, copied */
    float x_scale; /* > 0: weights in [f8], one scale an output channel, x and past in [f8] of this
                      scale; only where the table's conv_takes_f8 says so */
};

struct kt_conv_args {
    const void *x;        /* [act] or [f8] [t_in, h, w, c_in] */
    const void *past;     /* as x [kt - 1, h, w, c_in], causal only, anywhere; NULL: zeros */
    void *y;              /* [act] [t_out, h_out, w_out, c_out] */
    int t_in, h, w;       /* of x as stored */
    const void *residual; /* [act] like y or NULL: added after the bias */
    int relu;             /* non-zero: relu last */
};

/* y = LN(x) * (scale_one + scale[g]) + shift[g], statistics in fp32, no affine inside.
 * Row r belongs to group r / rows_per_group; groups are `ld_mod` floats apart. Modulation (DiT eq.
 * of engine/MODEL.md) uses scale_one 1; the affine norm3 uses scale_one 0, one group, scale =
 * weight. */
struct kt_layer_norm_args {
    const float *x;             /* [f32] [m, dim], a residual stream */
    void *y;                    /* [act] [m, dim]; in place allowed where [act] is fp32 */
    const float *scale, *shift; /* [f32] [groups, dim] */
    int m, dim, rows_per_group, ld_mod;
    float scale_one, eps;
};

/* y = x / sqrt(mean(x^2) + eps) * weight over the last axis. In place allowed where x and y have
 * the same type. ld in elements. */
struct kt_rms_norm_args {
    const void *x;       /* [act], or [f32] with x_f32 */
    void *y;             /* [act] */
    const float *weight; /* [f32] [dim] */
    int m, dim, ld_x, ld_y;
    float eps;
    int x_f32; /* non-zero: x is [f32], a residual stream */
};

/* 3-D rotary embedding over [m, heads, head_dim], adjacent channels a complex pair. Row r turns by
 * cos/sin row r of the tables; tables are built by the engine. In place allowed. */
struct kt_rope_args {
    const void *x;
    void *y;
    const float *cos, *sin; /* [f32] [m, head_dim / 2] */
    int m, heads, head_dim, ld_x, ld_y;
};

/* y = softmax(scale * q k^T + bias) v, per head, no mask. Rows are ld_* elements apart, heads
 * adjacent inside a row. `tail_logit` is added to the last key's logit: cross-attention folds its
 * 512-n equal padding rows into one row with log(512-n) (engine/MODEL.md, Exact savings).
 *
 * With f8, q, k and v are [f8] as `store` wrote them into a window (v's layout there is the table's
 * own, ld_v as store was given), `scale` is the softmax's divided by both scales of q and k, and y
 * is [f8] of v's scale. */
struct kt_attention_args {
    const void *q;     /* [act] [tq, heads, head_dim] */
    const void *k, *v; /* [kv]  [tk, heads, head_dim] */
    void *y;           /* [act] [tq, heads, head_dim] */
    int tq, tk, heads, head_dim;
    int ld_q, ld_k, ld_v, ld_y; /* 0: dense */
    const float *bias;          /* [f32] [heads, tq, tk] or NULL */
    float scale, tail_logit;
    int f8;
};

/* x += gate[g] * y; gate NULL: x += y. Groups as in layer_norm. */
struct kt_residual_args {
    void *x;           /* [f32] [m, dim], or [act] with x_act */
    const void *y;     /* [act] [m, dim] */
    const float *gate; /* [f32] [groups, dim] or NULL */
    int m, dim, rows_per_group, ld_mod;
    int x_act; /* non-zero: x is [act] (the VAE, which keeps no wider stream) */
};

/* x += gate * y, then h = LN(x) * (scale_one + scale) + shift: residual and layer_norm with one
 * group, in one pass over x. */
struct kt_residual_norm_args {
    float *x;                   /* [f32] [m, dim] */
    const void *y;              /* [act] [m, dim]; NULL: nothing is added */
    const float *gate;          /* [f32] [dim] or NULL: 1 */
    void *h;                    /* [act] [m, dim], or [f8] with h_scale */
    const float *scale, *shift; /* [f32] [dim] */
    int m, dim;
    float scale_one, eps, h_scale;
};

/* From the rows of a fused q, k, v projection to what attention reads: q and k normalised (RMSNorm
 * over all heads, as rms_norm) and turned (as rope), k and v in the window's working copy, and in
 * pages where a pass writes pages. */
struct kt_kv_store_args {
    void *q, *k;   /* [act] [rows, heads, head_dim]; may be left changed; q NULL */
    const void *v; /* [act] likewise */
    int ld;        /* of all three, in elements */
    /* NULL, or [rows / page_rows] pages of [kv] [page_rows, dim] that k and v come from; then there
     * is no q, no norm and no page to write. */
    const void *const *from_k, *const *from_v;
    int rows, heads, head_dim;
    const float *norm_q, *norm_k; /* [f32] [heads * head_dim]; NULL: as they are */
    const float *cos, *sin;       /* [f32] [rows, head_dim / 2]; NULL: k is turned, q is NULL */
    float eps;
    void *q_out; /* [act] or [f8] [rows, heads, head_dim], ld_q apart; may be q */
    int ld_q;
    int skip;                  /* the first `skip` rows have no place in window or pages */
    void *window_k, *window_v; /* one layer's window: [kv] [*, dim]; [f8]: the table's layout */
    int row0, ld_v;            /* window row of row `skip`; ld_v: rows the window has in all */
    void *const *page_k;       /* [(rows - skip) / page_rows] pages of [kv] [page_rows, dim] */
    void *const *page_v;       /* NULL, both: no pages */
    int page_rows;
    int page_turned;                 /* non-zero: pages get turned keys */
    float q_scale, k_scale, v_scale; /* 0, all: nothing is [f8] */
};

/* VAE norm (engine/MODEL.md): y = silu?( x / max(|x|_2 over channels, 1e-12) * sqrt(c) * gamma ).
 */
struct kt_channel_norm_args {
    const void *x;      /* [act] [pixels, c] */
    void *y;            /* [act], in place allowed; or [f8] with y_scale */
    const float *gamma; /* [f32] [c] */
    int pixels, c, silu;
    float y_scale; /* > 0 only where the table has conv_takes_f8, and c a multiple of 8 */
};

/* Latent block [frames, c, h, w] (f32, planar) <-> tokens [frames*(h/ph)*(w/pw), *]: f32 -> [act]
 * into the model, f32 -> f32 out of it.
 * patchify vector order (c, ph, pw), as Conv3d kernel=stride flattens; unpatchify reads (ph, pw,
 * c). */
struct kt_patch_args {
    const void *src;
    void *dst;
    int frames, c, h, w, ph, pw;
};

/* Flow matching (engine/MODEL.md, Sampler) on n values, fp32:
 * x0 = x - sigma * v; if noise: x = (1 - sigma_next) * x0 + sigma_next * noise, else x = x0. */
struct kt_sample_step_args {
    float *x;           /* [f32] in and out */
    const float *v;     /* [f32] */
    const float *noise; /* [f32] or NULL */
    float sigma, sigma_next;
    int n;
};

/* Planar RGB [frames, 3, h, w] f32 -> I420 (BT.709, limited range), value = clamp(x*scale + offset,
 * 0, 1). y, u, v planes of frame f start at out + f * frame_bytes; frame_bytes >= w*h*3/2; w and h
 * even. */
struct kt_i420_args {
    const float *rgb; /* [f32] */
    uint8_t *out;
    size_t frame_bytes;
    int frames, w, h;
    float scale, offset;
};

struct kt_kernels {
    const char *name; /* "cpu-ref", "cpu-avx2", "cpu-avx512", "cuda-fp32", "cuda-bf16" */
    enum kt_dtype act_dtype, kv_dtype;
    int f8_size;       /* bytes of one [f8], 0: this table has none */
    int f8_heads_only; /* attention in [f8] takes this head_dim only, 0: any */

    int (*queue_create)(struct kt_queue **q, const struct kt_queue_params *p);
    void (*queue_destroy)(struct kt_queue **q); /* NULL and *NULL accepted */
    void (*queue_stats)(const struct kt_queue *q, struct kt_queue_stats *out);
    int (*queue_sync)(struct kt_queue *q); /* wait until all ops finished */
    /* What the last op that failed with more than a bad argument said, "" for nothing. */
    const char *(*queue_error)(const struct kt_queue *q);

    /* Memory of the queue's device, 64-byte aligned, not cleared; NULL when there is none. Freeing
     * waits for what still uses it. */
    void *(*mem_alloc)(struct kt_queue *q, size_t bytes);
    void (*mem_free)(struct kt_queue *q, void *p); /* NULL accepted */
    /* Host memory that copies run from and to at full speed (page-locked on CUDA). */
    void *(*host_alloc)(struct kt_queue *q, size_t bytes);
    void (*host_free)(struct kt_queue *q, void *p);
    /* Copies in queue order. An upload may return before the bytes are there but `src` may be
     * reused at once, unless it is host_alloc's: then only after the next sync. A download has
     * finished, and with it everything before it, when it returns. */
    int (*upload)(struct kt_queue *q, void *dst, const void *src, size_t bytes);
    int (*download)(struct kt_queue *q, void *dst, const void *src, size_t bytes);
    int (*copy)(struct kt_queue *q, void *dst, const void *src, size_t bytes);
    int (*zero)(struct kt_queue *q, void *dst, size_t bytes);
    int (*to_act)(struct kt_queue *q, void *y, const float *x, size_t n); /* f32 -> [act] */
    int (*to_f32)(struct kt_queue *q, float *y, const void *x, size_t n); /* [act] -> f32 */
    /* [act] -> [f8]; in place allowed where both have one size. NULL without f8_size. */
    int (*to_f8)(struct kt_queue *q, void *y, const void *x, size_t n, float scale);

    int (*linear_create)(struct kt_linear **l, struct kt_queue *q, const struct kt_linear_desc *d);
    void (*linear_destroy)(struct kt_linear **l);
    int (*linear)(struct kt_queue *q, const struct kt_linear *l, const struct kt_linear_args *a);

    /* Non-zero for a filter that may be created with x_scale. NULL: none may. */
    int (*conv_takes_f8)(const struct kt_conv_desc *d);
    int (*conv_create)(struct kt_conv **c, struct kt_queue *q, const struct kt_conv_desc *d);
    void (*conv_destroy)(struct kt_conv **c);
    int (*conv)(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a);

    int (*layer_norm)(struct kt_queue *q, const struct kt_layer_norm_args *a);
    int (*rms_norm)(struct kt_queue *q, const struct kt_rms_norm_args *a);
    int (*rope)(struct kt_queue *q, const struct kt_rope_args *a);
    int (*attention)(struct kt_queue *q, const struct kt_attention_args *a);
    int (*residual)(struct kt_queue *q, const struct kt_residual_args *a);
    int (*channel_norm)(struct kt_queue *q, const struct kt_channel_norm_args *a);
    int (*patchify)(struct kt_queue *q, const struct kt_patch_args *a);   /* f32 -> [act] */
    int (*unpatchify)(struct kt_queue *q, const struct kt_patch_args *a); /* f32 -> f32 */
    int (*sample_step)(struct kt_queue *q, const struct kt_sample_step_args *a);
    int (*to_i420)(struct kt_queue *q, const struct kt_i420_args *a);

    /* Fused ops, NULL where a table has none: call them through kt_residual_norm and kt_kv_store.
     */
    int (*residual_norm)(struct kt_queue *q, const struct kt_residual_norm_args *a);
    int (*kv_store)(struct kt_queue *q, const struct kt_kv_store_args *a);

    /* y[i] = a[i] * gelu_tanh(b[i]) (UMT5's gated FFN). */
    int (*mul_gelu)(struct kt_queue *q, void *y, const void *a, const void *b, size_t n);
    /* y[h, i, j] = table[h, reach + j - i], y [heads, n, n], table [heads, 2 * reach + 1], both
     * [f32], n <= reach + 1: a bias that depends on the distance of key j from query i. */
    int (*distance_bias)(struct kt_queue *q, float *y, const float *table, int heads, int n,
                         int reach);
    /* y[i] = tanh(x[i] / 3) * 3 (TAEHV input clamp). */
    int (*tanh3)(struct kt_queue *q, void *y, const void *x, size_t n);
    /* y = relu(x), in place allowed. */
    int (*relu)(struct kt_queue *q, void *y, const void *x, size_t n);
    /* Nearest 2x in space: [t, h, w, c] -> [t, 2h, 2w, c]. */
    int (*upsample2x)(struct kt_queue *q, void *y, const void *x, int t, int h, int w, int c);
    /* Split channels into frames: [t, h, w, f*c] -> [t*f, h, w, c], group g of c channels is frame
     * g. */
    int (*split_frames)(struct kt_queue *q, void *y, const void *x, int t, int h, int w, int c,
                        int f);
    /* y[., 0..ca) = a, y[., ca..ca+cb) = b over `pixels` rows. */
    int (*concat_channels)(struct kt_queue *q, void *y, const void *a, const void *b, int pixels,
                           int ca, int cb);
    /* Layout: [t, c, h, w] f32 -> [t, h, w, c] [act] with per-channel x*scale[c]+shift[c] (NULL: 1,
     * 0); and back to planar. */
    int (*to_channels_last)(struct kt_queue *q, void *y, const float *x, int t, int c, int h, int w,
                            const float *scale, const float *shift);
    int (*to_planar)(struct kt_queue *q, float *y, const void *x, int t, int h, int w, int c);
    /* n fp32 standard normals: Philox4x32-10 keyed by seed, counter (index, stream), Box-Muller;
     * the same bits on every level of a device kind. */
    int (*noise)(struct kt_queue *q, float *out, int n, uint64_t seed, uint64_t stream);
    /* Strided row copy: rows x row_bytes. */
    int (*copy_rows)(struct kt_queue *q, void *dst, size_t dst_stride, const void *src,
                     size_t src_stride, int rows, size_t row_bytes);
};

/* The table's own fused op, or the same made of its simple ones: what a fused op is compared with.
 * -ENOTSUP: [f8] asked of a table that has none. */
int kt_residual_norm(const struct kt_kernels *k, struct kt_queue *q,
                     const struct kt_residual_norm_args *a);
int kt_kv_store(const struct kt_kernels *k, struct kt_queue *q, const struct kt_kv_store_args *a);

/* Linear and attention that may be [f8]: the table's own, or computed in fp32 on rounded values
 * where [f8] is as wide as [act]. `n`: columns of y, dense. */
int kt_linear_create(const struct kt_kernels *k, struct kt_linear **l, struct kt_queue *q,
                     const struct kt_linear_desc *d);
int kt_linear(const struct kt_kernels *k, struct kt_queue *q, const struct kt_linear *l,
              const struct kt_linear_args *a, int n);
int kt_attention(const struct kt_kernels *k, struct kt_queue *q, const struct kt_attention_args *a);

#define KT_F8_LARGEST 448.0f /* the largest value that e4m3 has */

/* The fp32 value that e4m3 keeps of x: to nearest, ties to even, saturating. */
float kt_f8_round(float x);
/* The scale that takes `largest` to e4m3's; 1 for 0. */
float kt_f8_scale(float largest);
/* The same of the largest magnitude among n values. */
float kt_f8_scale_of(const float *x, size_t n);

/* Levels a CPU table may use, later ones over earlier; a mask bit that is clear turns the level
 * off. DNNL serves machines that SIMD does not know; AVX512 widens SIMD: alone it does nothing. A
 * limit set for oneDNN (DNNL_MAX_CPU_ISA) holds for our own levels too, where oneDNN was compiled
 * in. */
enum {
    KT_CPU_REF = 0,
    KT_CPU_SIMD = 1u << 0,
    KT_CPU_AVX512 = 1u << 1,
    KT_CPU_DNNL = 1u << 2,
    KT_CPU_ALL = 7
};

/* The CPU table built from the levels in `mask` that were compiled in and that this machine has.
 * Writes into *out; never fails (the reference covers every op). */
void kt_kernels_cpu(struct kt_kernels *out, unsigned mask);

/* The CUDA table of card `device` in `precision`. Errors, with a message: -ENOTSUP (this build has
 * no CUDA), -ENODEV (no such card, or no driver that runs this build). */
int kt_kernels_cuda(struct kt_kernels *out, int device, enum kt_precision precision, char *err,
                    size_t err_cap);

#endif
