/* The CUDA table: each op checks its arguments as the reference does, launches, and counts. */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/conv.h"
#include "kernels/cuda/fused.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/queue.h"

#include <errno.h>
#include <stdio.h>

/* Launches `call` (an expression of q->stream) if `valid`. */
#define LAUNCH(valid, what, call)                                                                  \
    do {                                                                                           \
        if (!(valid)) {                                                                            \
            return -EINVAL;                                                                        \
        }                                                                                          \
        int rc_ = ktc_enter(q);                                                                    \
        return rc_ < 0 ? rc_ : ktc_launched(q, call, what);                                        \
    } while (0)

static int layer_norm(struct kt_queue *q, const struct kt_layer_norm_args *a)
{
    LAUNCH(a->m >= 0 && a->dim >= 1 && a->rows_per_group >= 1 && a->scale && a->shift, "layer norm",
           ktc_layer_norm(q->stream, q->bf16, a));
}

static int rms_norm(struct kt_queue *q, const struct kt_rms_norm_args *a)
{
    const int ld_x = a->ld_x ? a->ld_x : a->dim, ld_y = a->ld_y ? a->ld_y : a->dim;
    LAUNCH(a->m >= 0 && a->dim >= 1 && ld_x >= a->dim && ld_y >= a->dim && a->weight, "RMS norm",
           ktc_rms_norm(q->stream, q->bf16, a));
}

/* The kernel that holds a pixel in registers first (bf16, channels in eights), else the other. */
static int channel_norm(struct kt_queue *q, const struct kt_channel_norm_args *a)
{
    int rc = ktc_enter(q);
    if (rc == 0 && q->bf16 && (!q->plain || a->y_scale > 0)) {
        rc = a->y_scale > 0 ? ktc_channel_norm_f8(q->stream, a)
                            : ktc_channel_norm_bf16(q->stream, a);
        if (rc != -EINVAL || a->y_scale > 0) {
            return rc < 0 ? ktc_check(q, cudaGetLastError(), "channel norm")
                          : ktc_launched(q, cudaSuccess, "channel norm");
        }
    }
    LAUNCH(a->pixels >= 0 && a->c >= 1 && a->gamma, "channel norm",
           ktc_channel_norm(q->stream, q->bf16, a));
}

static int rope(struct kt_queue *q, const struct kt_rope_args *a)
{
    const int row = a->heads * a->head_dim;
    const int ld_x = a->ld_x ? a->ld_x : row, ld_y = a->ld_y ? a->ld_y : row;
    LAUNCH(a->m >= 0 && a->heads >= 1 && a->head_dim >= 2 && a->head_dim % 2 == 0 && ld_x >= row &&
               ld_y >= row,
           "rotary embedding", ktc_rope(q->stream, q->bf16, a));
}

static int residual(struct kt_queue *q, const struct kt_residual_args *a)
{
    LAUNCH(a->m >= 0 && a->dim >= 1 && (!a->gate || a->rows_per_group >= 1), "residual",
           ktc_residual(q->stream, q->bf16, a));
}

static int mul_gelu(struct kt_queue *q, void *y, const void *a, const void *b, size_t n)
{
    LAUNCH(1, "gated GELU", ktc_mul_gelu(q->stream, q->bf16, y, a, b, n));
}

static int tanh3(struct kt_queue *q, void *y, const void *x, size_t n)
{
    LAUNCH(1, "tanh", ktc_tanh3(q->stream, q->bf16, y, x, n));
}

static int relu(struct kt_queue *q, void *y, const void *x, size_t n)
{
    LAUNCH(1, "relu", ktc_relu(q->stream, q->bf16, y, x, n));
}

static int to_act(struct kt_queue *q, void *y, const float *x, size_t n)
{
    LAUNCH(1, "to activations",
           ktc_convert(q->stream, y, q->bf16 ? KT_BF16 : KT_F32, x, KT_F32, n));
}

static int to_f32(struct kt_queue *q, float *y, const void *x, size_t n)
{
    LAUNCH(1, "to fp32", ktc_convert(q->stream, y, KT_F32, x, q->bf16 ? KT_BF16 : KT_F32, n));
}

static int sample_step(struct kt_queue *q, const struct kt_sample_step_args *a)
{
    LAUNCH(a->n >= 0, "sampler", ktc_sample_step(q->stream, a));
}

static int patch_is_valid(const struct kt_patch_args *a)
{
    return a->frames >= 0 && a->c > 0 && a->ph > 0 && a->pw > 0 && a->h > 0 && a->w > 0 &&
           a->h % a->ph == 0 && a->w % a->pw == 0;
}

static int patchify(struct kt_queue *q, const struct kt_patch_args *a)
{
    LAUNCH(patch_is_valid(a), "patchify", ktc_patchify(q->stream, q->bf16, a));
}

static int unpatchify(struct kt_queue *q, const struct kt_patch_args *a)
{
    LAUNCH(patch_is_valid(a), "unpatchify", ktc_unpatchify(q->stream, a));
}

static int upsample2x(struct kt_queue *q, void *y, const void *x, int t, int h, int w, int c)
{
    LAUNCH(t >= 0 && h >= 1 && w >= 1 && c >= 1, "upsampling",
           ktc_upsample2x(q->stream, (int)ktc_act_size(q), y, x, t, h, w, c));
}

static int split_frames(struct kt_queue *q, void *y, const void *x, int t, int h, int w, int c,
                        int f)
{
    LAUNCH(t >= 0 && h >= 1 && w >= 1 && c >= 1 && f >= 1, "splitting frames",
           ktc_split_frames(q->stream, (int)ktc_act_size(q), y, x, t, h * w, c, f));
}

static int concat_channels(struct kt_queue *q, void *y, const void *a, const void *b, int pixels,
                           int ca, int cb)
{
    const size_t size = ktc_act_size(q), left = (size_t)ca * size, right = (size_t)cb * size;
    if (pixels < 0 || ca < 1 || cb < 1) {
        return -EINVAL;
    }
    int rc = ktc_enter(q);
    if (rc == 0) {
        rc = ktc_launched(q, ktc_copy_rows(q->stream, y, left + right, a, left, pixels, left),
                          "joining channels");
    }
    LAUNCH(rc == 0, "joining channels",
           ktc_copy_rows(q->stream, (char *)y + left, left + right, b, right, pixels, right));
}

static int to_channels_last(struct kt_queue *q, void *y, const float *x, int t, int c, int h, int w,
                            const float *scale, const float *shift)
{
    LAUNCH(t >= 0 && c >= 1 && h >= 1 && w >= 1, "to channels last",
           ktc_to_channels_last(q->stream, q->bf16, y, x, t, c, h * w, scale, shift));
}

static int to_planar(struct kt_queue *q, float *y, const void *x, int t, int h, int w, int c)
{
    LAUNCH(t >= 0 && c >= 1 && h >= 1 && w >= 1, "to planar",
           ktc_to_planar(q->stream, q->bf16, y, x, t, h * w, c));
}

static int to_i420(struct kt_queue *q, const struct kt_i420_args *a)
{
    LAUNCH(a->frames >= 0 && a->w >= 2 && a->h >= 2 && a->w % 2 == 0 && a->h % 2 == 0 &&
               a->frame_bytes >= (size_t)a->w * (size_t)a->h * 3 / 2,
           "to I420", ktc_to_i420(q->stream, a));
}

static int distance_bias(struct kt_queue *q, float *y, const float *table, int heads, int n,
                         int reach)
{
    LAUNCH(heads >= 1 && n >= 1 && reach >= n - 1, "distance bias",
           ktc_distance_bias(q->stream, y, table, heads, n, reach));
}

static int noise(struct kt_queue *q, float *out, int n, uint64_t seed, uint64_t stream)
{
    LAUNCH(n >= 0, "noise", ktc_noise(q->stream, out, n, seed, stream));
}

static int copy_rows(struct kt_queue *q, void *dst, size_t dst_stride, const void *src,
                     size_t src_stride, int rows, size_t row_bytes)
{
    LAUNCH(rows >= 0 && (rows <= 1 || (dst_stride >= row_bytes && src_stride >= row_bytes)),
           "copying rows",
           ktc_copy_rows(q->stream, dst, dst_stride, src, src_stride, rows, row_bytes));
}

/* What only bf16 tables have. */

static int fused(struct kt_queue *q, int rc, int launches, const char *what)
{
    q->stats.launches += (uint64_t)launches;
    return rc == -EIO ? ktc_check(q, cudaGetLastError(), what) : rc;
}

static int residual_norm(struct kt_queue *q, const struct kt_residual_norm_args *a)
{
    int rc = ktc_enter(q);
    return rc < 0 ? rc : fused(q, ktc_residual_norm(q->stream, a), 1, "residual and norm");
}

static int kv_store(struct kt_queue *q, const struct kt_kv_store_args *a)
{
    int launches = 0, rc = ktc_enter(q);
    if (rc == 0) {
        rc = ktc_kv_store(q->stream, a, &launches);
    }
    return fused(q, rc, launches, "storing keys and values");
}

static int to_f8(struct kt_queue *q, void *y, const void *x, size_t n, float scale)
{
    int rc = ktc_enter(q);
    return rc < 0 ? rc : fused(q, ktc_to_f8(q->stream, y, x, n, scale), 1, "rounding to e4m3");
}

static int round_f8(struct kt_queue *q, void *y, const void *x, size_t n, float scale)
{
    int rc = ktc_enter(q);
    return rc < 0 ? rc : fused(q, ktc_round_f8(q->stream, y, x, n, scale), 1, "rounding to e4m3");
}

static const struct kt_kernels table = {
    .queue_destroy = ktc_queue_destroy,
    .queue_stats = ktc_queue_stats,
    .queue_sync = ktc_queue_sync,
    .queue_error = ktc_queue_error,
    .mem_alloc = ktc_mem_alloc,
    .mem_free = ktc_mem_free,
    .host_alloc = ktc_host_alloc,
    .host_free = ktc_host_free,
    .upload = ktc_upload,
    .download = ktc_download,
    .copy = ktc_copy,
    .zero = ktc_zero,
    .to_act = to_act,
    .to_f32 = to_f32,
    .linear_create = ktc_linear_create,
    .linear_destroy = ktc_linear_destroy,
    .linear = ktc_linear,
    .conv_create = ktc_conv_create,
    .conv_destroy = ktc_conv_destroy,
    .conv = ktc_conv,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .rope = rope,
    .attention = ktc_attention,
    .residual = residual,
    .channel_norm = channel_norm,
    .patchify = patchify,
    .unpatchify = unpatchify,
    .sample_step = sample_step,
    .to_i420 = to_i420,
    .mul_gelu = mul_gelu,
    .distance_bias = distance_bias,
    .tanh3 = tanh3,
    .relu = relu,
    .upsample2x = upsample2x,
    .split_frames = split_frames,
    .concat_channels = concat_channels,
    .to_channels_last = to_channels_last,
    .to_planar = to_planar,
    .noise = noise,
    .copy_rows = copy_rows,
};

/* Whether the card has the kernels that 8-bit attention needs, and this build them. */
static int is_hopper(int device)
{
    int major = 0;
    cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    return major == 9 && ktc_attention_work_bytes() > 0;
}

int kt_kernels_cuda(struct kt_kernels *out, int device, enum kt_precision precision, char *err,
                    size_t err_cap)
{
    int count = 0;
    cudaError_t rc = cudaGetDeviceCount(&count);
    if (rc != cudaSuccess || device < 0 || device >= count) {
        snprintf(err, err_cap, "no card %d: %s", device,
                 rc != cudaSuccess ? cudaGetErrorString(rc) : "there are fewer");
        return -ENODEV;
    }
    *out = table;
    if (precision == KT_PRECISION_FP32 || precision == KT_PRECISION_FP8_EMULATED) {
        out->name = "cuda-fp32";
        out->act_dtype = out->kv_dtype = KT_F32;
        out->queue_create = ktc_queue_create_f32;
        out->f8_size = precision == KT_PRECISION_FP8_EMULATED ? sizeof(float) : 0;
        out->to_f8 = out->f8_size ? round_f8 : NULL;
    } else {
        out->name = "cuda-bf16";
        out->act_dtype = out->kv_dtype = KT_BF16;
        out->queue_create = ktc_queue_create_bf16;
        out->residual_norm = residual_norm;
        out->kv_store = kv_store;
        if (is_hopper(device)) {
            out->to_f8 = to_f8;
            out->conv_takes_f8 = ktc_filter_takes_f8;
            out->f8_size = 1;
            out->f8_heads_only = 128;
        }
    }
    return 0;
}
