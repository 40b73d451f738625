/* Creation and launch of the tensor core convolutions (conv_kernel.cuh). */
#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_kernel.cuh"
#include "kernels/cuda/conv_plan.h"

#include <cuda_fp16.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                              const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                              const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

typedef void (*kernel_fn)(const ktc_conv_params);

struct variant {
    kernel_fn kernel;
    int smem, m; /* m: the tile's width in eights of pixels */
};

struct ktc_filter {
    struct ktc_filter_plan plan;
    uint8_t *weight; /* device, all three */
    float *bias, *scale;
    encode_fn encode;
    struct variant variant[2]; /* small and large tiles */
    int sms;
    size_t bytes; /* on the device */
};

static int fail_of(cudaError_t e)
{
    return e == cudaSuccess ? 0 : e == cudaErrorMemoryAllocation ? -ENOMEM : -EIO;
}

/* --- which kernel --- */

template <int NT, int RB, bool F8> static void take_variants(struct ktc_filter *c)
{
    constexpr int SMALL = NT < 128 ? 2 : 1;
    typedef ktc_shape<NT, RB, SMALL, F8> small_shape;
    typedef ktc_shape<NT, RB, 2 * SMALL, F8> large_shape;
    c->variant[0] = {ktc_conv_kernel<small_shape>, small_shape::SMEM, SMALL};
    c->variant[1] = {ktc_conv_kernel<large_shape>, large_shape::SMEM, 2 * SMALL};
}

/* Every plan that ktc_filter_of makes and is_taken_f8 lets through has its case. */
static int choose_kernels(struct ktc_filter *c)
{
    const struct ktc_filter_plan *p = &c->plan;
    switch (p->nt * 1000 + p->row_bytes + (p->f8 ? 500 : 0)) {
    case 192128: take_variants<192, 128, false>(c); break;
    case 192064: take_variants<192, 64, false>(c); break;
    case 128128: take_variants<128, 128, false>(c); break;
    case 128064: take_variants<128, 64, false>(c); break;
    case 96128: take_variants<96, 128, false>(c); break;
    case 96064: take_variants<96, 64, false>(c); break;
    case 64128: take_variants<64, 128, false>(c); break;
    case 64064: take_variants<64, 64, false>(c); break;
    case 8128: take_variants<8, 128, false>(c); break;
    case 8064: take_variants<8, 64, false>(c); break;
    case 192628: take_variants<192, 128, true>(c); break;
    case 192564: take_variants<192, 64, true>(c); break;
    case 96564: take_variants<96, 64, true>(c); break;
    case 96532: take_variants<96, 32, true>(c); break;
    default: return -EINVAL;
    }
    for (int i = 0; i < 2; i++) {
        if (cudaFuncSetAttribute(c->variant[i].kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 c->variant[i].smem) != cudaSuccess) {
            return -ENODEV;
        }
    }
    return 0;
}

static int find_driver(struct ktc_filter *c)
{
    cudaDriverEntryPointQueryResult found;
    void *fn = NULL;
    int device = 0, major = 0;
    cudaError_t e = cudaGetDevice(&device);
    if (e == cudaSuccess) {
        e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
    }
    if (e == cudaSuccess) {
        e = cudaDeviceGetAttribute(&c->sms, cudaDevAttrMultiProcessorCount, device);
    }
    if (e == cudaSuccess) {
        e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &fn, 12000,
                                             cudaEnableDefault, &found);
    }
    c->encode = (encode_fn)fn;
    return e == cudaSuccess && found == cudaDriverEntryPointSuccess && major == 9 ? 0 : -ENODEV;
}

/* --- weights --- */

static void widen(float *out, const void *in, enum kt_dtype dtype, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (dtype == KT_F32) {
            out[i] = ((const float *)in)[i];
        } else if (dtype == KT_BF16) {
            const uint32_t u = (uint32_t)((const uint16_t *)in)[i] << 16;
            memcpy(&out[i], &u, sizeof(u));
        } else {
            out[i] = __half2float(((const __half *)in)[i]);
        }
    }
}

static int upload(void **device, const void *host, size_t bytes, cudaStream_t stream)
{
    cudaError_t e = cudaMalloc(device, bytes);
    if (e == cudaSuccess) {
        e = cudaMemcpyAsync(*device, host, bytes, cudaMemcpyHostToDevice, stream);
    }
    if (e == cudaSuccess) {
        e = cudaStreamSynchronize(stream);
    }
    return fail_of(e);
}

static int load(struct ktc_filter *c, cudaStream_t stream, const struct kt_conv_desc *d)
{
    const struct ktc_filter_plan *p = &c->plan;
    const size_t n = (size_t)d->c_out * d->c_in * d->kt * d->kh * d->kw;
    const size_t packed = (size_t)p->n_tiles * p->n_bytes, c_pad = (size_t)d->c_out + 8;
    float *weight = (float *)malloc(n * sizeof(float));
    float *bias = (float *)calloc(c_pad, sizeof(float));
    float *scale = (float *)calloc(c_pad, sizeof(float));
    uint8_t *image = (uint8_t *)malloc(packed);
    int rc = weight && bias && scale && image ? 0 : -ENOMEM;
    if (rc == 0) {
        widen(weight, d->weight, d->dtype, n);
        if (d->bias) {
            widen(bias, d->bias, d->dtype, (size_t)d->c_out);
        }
        if (p->f8) {
            ktc_filter_scales(p, weight, scale);
        }
        ktc_filter_pack(p, weight, scale, image);
        for (int i = 0; i < d->c_out; i++) {
            scale[i] /= p->f8 ? d->x_scale : 1.0f;
        }
        rc = upload((void **)&c->weight, image, packed, stream);
        c->bytes = packed + 2 * c_pad * sizeof(float);
    }
    rc = rc ? rc : upload((void **)&c->bias, bias, c_pad * sizeof(float), stream);
    rc = rc ? rc : upload((void **)&c->scale, scale, c_pad * sizeof(float), stream);
    free(weight);
    free(bias);
    free(scale);
    free(image);
    return rc;
}

static int create(struct ktc_filter **out, cudaStream_t stream, const struct kt_conv_desc *d,
                  int f8)
{
    struct ktc_filter_plan plan;
    if (!out || !d || !d->weight || ktc_filter_of(&plan, d, f8) != 0 ||
        (d->dtype != KT_F32 && d->dtype != KT_BF16 && d->dtype != KT_F16)) {
        return -EINVAL;
    }
    struct ktc_filter *c = (struct ktc_filter *)calloc(1, sizeof(*c));
    if (!c) {
        return -ENOMEM;
    }
    c->plan = plan;
    int rc = find_driver(c);
    rc = rc ? rc : choose_kernels(c);
    rc = rc ? rc : load(c, stream, d);
    if (rc != 0) {
        ktc_filter_destroy(&c);
        return rc;
    }
    *out = c;
    return 0;
}

extern "C" int ktc_filter_takes(const struct kt_conv_desc *d)
{
    struct ktc_filter_plan plan;
    return d && ktc_filter_of(&plan, d, 0) == 0;
}

/* Those of the Wan decoder's residual blocks; behind a doubled image bf16 is kept, where nothing
 * normalises the input. */
static int is_taken_f8(const struct kt_conv_desc *d)
{
    return !d->upsample && (d->c_out == 96 ? d->c_in == 96 || d->c_in == 192
                                           : d->c_in % 192 == 0 && d->c_out % 192 == 0);
}

extern "C" int ktc_filter_takes_f8(const struct kt_conv_desc *d)
{
    return ktc_filter_takes(d) && is_taken_f8(d);
}

extern "C" int ktc_filter_create(struct ktc_filter **c, cudaStream_t stream,
                                 const struct kt_conv_desc *d)
{
    return create(c, stream, d, 0);
}

extern "C" int ktc_filter_create_f8(struct ktc_filter **c, cudaStream_t stream,
                                    const struct kt_conv_desc *d)
{
    return ktc_filter_takes_f8(d) && d->x_scale > 0.0f ? create(c, stream, d, 1) : -EINVAL;
}

extern "C" size_t ktc_filter_bytes(const struct ktc_filter *c)
{
    return c->bytes;
}

extern "C" void ktc_filter_destroy(struct ktc_filter **c)
{
    if (!c || !*c) {
        return;
    }
    cudaFree((*c)->weight);
    cudaFree((*c)->bias);
    cudaFree((*c)->scale);
    free(*c);
    *c = NULL;
}

/* --- a call --- */

/* Frames of [t, h, w, c] as boxes of box_w x box_h pixels by one chunk of channels. */
static int encode_map(const struct ktc_filter *c, CUtensorMap *map, const void *base, int t, int h,
                      int w, int box_w, int box_h)
{
    const struct ktc_filter_plan *p = &c->plan;
    const cuuint64_t es = p->f8 ? 1 : 2, pixel = (cuuint64_t)p->c_in * es;
    const cuuint64_t row = pixel * (cuuint64_t)w, frame = row * (cuuint64_t)h;
    const cuuint32_t one[4] = {1, 1, 1, 1};
    const CUtensorMapDataType type =
        p->f8 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    const cuuint64_t w64 = (cuuint64_t)w, h64 = (cuuint64_t)h, t64 = (cuuint64_t)t;
    const cuuint64_t dims[4] = {(cuuint64_t)p->c_in, w64, h64, t64};
    const cuuint64_t strides[3] = {pixel, row, frame};
    const cuuint32_t box[4] = {(cuuint32_t)p->chunk_channels, (cuuint32_t)box_w, (cuuint32_t)box_h,
                               1};
    const CUtensorMapSwizzle swizzle = p->row_bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                       : p->row_bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                            : CU_TENSOR_MAP_SWIZZLE_32B;
    CUresult r = c->encode(map, type, 4, (void *)base, dims, strides, box, one,
                           CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                           CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return r == CUDA_SUCCESS ? 0 : -EINVAL;
}

/* A multiplying group's tiles, of 8*m x 8 pixels. */
static int tiles_of(const struct kt_conv_args *a, int m)
{
    return (a->w + 8 * m - 1) / (8 * m) * ((a->h + KTC_TILE_H - 1) / KTC_TILE_H) * a->t_in;
}

static void fill_geometry(struct ktc_conv_params *q, const struct ktc_filter_plan *p,
                          const struct kt_conv_args *a, int m)
{
    q->n_bytes = (uint32_t)p->n_bytes;
    q->t = a->t_in;
    q->h = a->h;
    q->w_in = a->w;
    q->c_out = p->c_out;
    q->relu = a->relu;
    q->up = p->up;
    q->has_past = a->past != NULL && p->past_frames > 0;
    q->frames = p->frames;
    q->past_frames = p->past_frames;
    q->chunks = p->chunks;
    q->chunk_coord = p->chunk_channels;
    q->pad_top = p->pad_top;
    q->pad_left = p->pad_left;
    q->n_tiles = p->n_tiles;
    q->variants = p->variants;
    q->tiles_w = (a->w + 8 * m - 1) / (8 * m);
    q->work = (tiles_of(a, m) + 1) / 2 * p->n_tiles;
}

/* `pitch`: pixels of a halo row. */
static void fill_layout(struct ktc_conv_params *q, const struct ktc_filter_plan *p, int pitch,
                        int box_h)
{
    const uint32_t rb = (uint32_t)p->row_bytes;
    struct ktc_step steps[KTC_PLAN_STEPS];
    q->steps = p->steps;
    for (int v = 0; v < p->variants; v++) {
        ktc_filter_steps(p, v, steps);
        for (int i = 0; i < p->steps; i++) {
            q->shift[v][i] = (int16_t)(steps[i].dy * pitch + steps[i].dx);
        }
    }
    q->box_bytes = (uint32_t)(pitch * box_h) * rb;
    q->a_hi = (uint32_t)pitch * (rb / 16) | (rb == 128 ? 1u : rb == 64 ? 2u : 3u) << 30;
}

/* Large tiles while they fill the card. */
static const struct variant *choose(const struct ktc_filter *c, const struct kt_conv_args *a,
                                    int size)
{
    const int blocks = (tiles_of(a, c->variant[1].m) + 1) / 2 * c->plan.n_tiles;
    return &c->variant[size ? size - 1 : blocks > c->sms];
}

static int launch(cudaStream_t stream, const struct ktc_filter *c, const struct variant *v,
                  struct ktc_conv_params *q)
{
    void *args[1] = {q};
    return fail_of(cudaLaunchKernel((const void *)v->kernel,
                                    dim3((unsigned)(q->work < c->sms ? q->work : c->sms)),
                                    dim3(KTC_THREADS), args, (size_t)v->smem, stream));
}

static int is_valid(const struct ktc_filter_plan *p, const struct kt_conv_args *a)
{
    const uintptr_t all = (uintptr_t)a->x | (uintptr_t)a->past |
                          (p->c_out > 8 ? (uintptr_t)a->y | (uintptr_t)a->residual : 0);
    return a->x && a->y && a->t_in > 0 && a->h > 0 && a->w > 0 && (!a->past || p->past_frames) &&
           all % 16 == 0;
}

extern "C" int ktc_filter_run_tuned(cudaStream_t stream, const struct ktc_filter *c,
                                    const struct kt_conv_args *a,
                                    const struct ktc_filter_tune *tune)
{
    const struct ktc_filter_plan *p = &c->plan;
    if (!is_valid(p, a)) {
        return -EINVAL;
    }
    const struct variant *v = choose(c, a, tune->size);
    const int pitch = 8 * v->m + p->kw - 1, box_h = KTC_TILE_H + p->kh - 1;
    struct ktc_conv_params q;
    memset(&q, 0, sizeof(q));
    int rc = encode_map(c, &q.x, a->x, a->t_in, a->h, a->w, pitch, box_h);
    if (rc == 0 && a->past) {
        rc = encode_map(c, &q.past, a->past, p->past_frames, a->h, a->w, pitch, box_h);
    }
    if (rc != 0) {
        return rc;
    }
    q.w = c->weight;
    q.bias = c->bias;
    q.scale = c->scale;
    q.residual = (const __nv_bfloat16 *)a->residual;
    q.y = (__nv_bfloat16 *)a->y;
    q.diag = tune->diag;
    fill_geometry(&q, p, a, v->m);
    fill_layout(&q, p, pitch, box_h);
    return launch(stream, c, v, &q);
}

extern "C" int ktc_filter_run(cudaStream_t stream, const struct ktc_filter *c,
                              const struct kt_conv_args *a)
{
    static const struct ktc_filter_tune NONE = {};
    return ktc_filter_run_tuned(stream, c, a, &NONE);
}
