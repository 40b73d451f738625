/* Creation and launch of the tensor core convolutions (conv_kernel.cuh). */
#include "kernels/cuda/conv.h"
#include "kernels/cuda/conv_kernel.cuh"
#include "kernels/cuda/conv_plan.h"

#include <cuda_fp16.h>
#include <errno.h>
#include <new>
#include <stdlib.h>
#include <string.h>

typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                              const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                              const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

typedef void (*kernel_fn)(const ktc_conv_params);

struct variant {
    kernel_fn kernel;
    int smem;
};

struct ktc_filter {
    struct ktc_filter_plan plan;
    uint8_t *weight; /* device, all three */
    float *bias, *scale;
    encode_fn encode;
    struct variant variant[2][2]; /* small and large tiles, by cluster - 1 */
    int m[2];                     /* the tiles' width in eights of pixels */
    struct variant mode[2];       /* other layouts of the input, test builds only */
    int sms;
};

static int fail_of(cudaError_t e)
{
    return e == cudaSuccess ? 0 : e == cudaErrorMemoryAllocation ? -ENOMEM : -EIO;
}

/* --- which kernel --- */

template <int NT, int RB, int MI, int CL, bool PAIR, bool F8, int MODE>
static struct variant variant_of(void)
{
    typedef ktc_shape<NT, RB, MI, CL, PAIR, F8, MODE> S;
    return {ktc_conv_kernel<S>, S::SMEM};
}

template <int NT, int RB, bool PAIR, bool F8> static void take_variants(struct ktc_filter *c)
{
    constexpr int SMALL = NT < 128 ? 2 : 1;
    c->m[0] = SMALL;
    c->m[1] = 2 * SMALL;
    c->variant[0][0] = variant_of<NT, RB, SMALL, 1, PAIR, F8, 0>();
    c->variant[1][0] = variant_of<NT, RB, 2 * SMALL, 1, PAIR, F8, 0>();
#ifdef KTC_TRY_VARIANTS
    c->variant[0][1] = variant_of<NT, RB, SMALL, 2, PAIR, F8, 0>();
    c->variant[1][1] = variant_of<NT, RB, 2 * SMALL, 2, PAIR, F8, 0>();
    if constexpr (!F8 && ((NT == 192 && RB == 128 && !PAIR) || (NT == 96 && RB == 64))) {
        c->mode[0] = variant_of<NT, RB, 2 * SMALL, 1, PAIR, false, 1>();
        c->mode[1] = variant_of<NT, RB, 2 * SMALL, 1, PAIR, false, 2>();
    }
#endif
}

static int choose_kernels(struct ktc_filter *c)
{
    const struct ktc_filter_plan *p = &c->plan;
    switch (p->nt * 10000 + p->row_bytes + (p->f8 ? 500 : 0) + (p->pair ? 1000 : 0)) {
    case 1920128: take_variants<192, 128, false, false>(c); break;
    case 1920064: take_variants<192, 64, false, false>(c); break;
    case 1280128: take_variants<128, 128, false, false>(c); break;
    case 1280064: take_variants<128, 64, false, false>(c); break;
    case 960128: take_variants<96, 128, false, false>(c); break;
    case 960064: take_variants<96, 64, false, false>(c); break;
    case 640128: take_variants<64, 128, false, false>(c); break;
    case 640064: take_variants<64, 64, false, false>(c); break;
    case 80128: take_variants<8, 128, false, false>(c); break;
    case 80064: take_variants<8, 64, false, false>(c); break;
#ifdef KTC_TRY_VARIANTS
    case 1921128: take_variants<192, 128, true, false>(c); break;
    case 1921064: take_variants<192, 64, true, false>(c); break;
    case 1281128: take_variants<128, 128, true, false>(c); break;
#endif
#ifndef KTC_NO_F8
    case 1920628: take_variants<192, 128, false, true>(c); break;
    case 1920564: take_variants<192, 64, false, true>(c); break;
    case 960564: take_variants<96, 64, false, true>(c); break;
    case 960532: take_variants<96, 32, false, true>(c); break;
    case 80532: take_variants<8, 32, false, true>(c); break;
#endif
    default: return -EINVAL;
    }
    cudaError_t e = cudaSuccess;
    struct variant *all[6] = {&c->variant[0][0], &c->variant[0][1], &c->variant[1][0],
                              &c->variant[1][1], &c->mode[0],       &c->mode[1]};
    for (int i = 0; i < 6 && e == cudaSuccess; i++) {
        if (all[i]->kernel) {
            e = cudaFuncSetAttribute(all[i]->kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                     all[i]->smem);
        }
    }
    return e == cudaSuccess ? 0 : -ENODEV;
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
                  int f8, int paired)
{
    struct ktc_filter_plan plan;
    if (!out || !d || !d->weight || ktc_filter_of(&plan, d, f8, paired) != 0 ||
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
    return d && ktc_filter_of(&plan, d, 0, 0) == 0;
}

/* Those of the Wan decoder's residual blocks; behind a doubled image bf16 is kept, where nothing
 * normalises the input. */
extern "C" int ktc_filter_takes_f8(const struct kt_conv_desc *d)
{
    return ktc_filter_takes(d) && d->c_in % 96 == 0 && d->c_out % 96 == 0 && !d->upsample;
}

extern "C" int ktc_filter_create(struct ktc_filter **c, cudaStream_t stream,
                                 const struct kt_conv_desc *d)
{
    return create(c, stream, d, 0, 0);
}

extern "C" int ktc_filter_create_f8(struct ktc_filter **c, cudaStream_t stream,
                                    const struct kt_conv_desc *d)
{
    return ktc_filter_takes_f8(d) && d->x_scale > 0.0f ? create(c, stream, d, 1, 0) : -EINVAL;
}

extern "C" int ktc_filter_create_tuned(struct ktc_filter **c, cudaStream_t stream,
                                       const struct kt_conv_desc *d,
                                       const struct ktc_filter_tune *tune)
{
    return create(c, stream, d, tune->f8, tune->paired);
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
                      int w, int box_w, int box_h, int planes)
{
    const struct ktc_filter_plan *p = &c->plan;
    const cuuint64_t es = p->f8 ? 1 : 2, pixel = (cuuint64_t)p->c_in * es;
    const cuuint64_t row = pixel * (cuuint64_t)w, frame = row * (cuuint64_t)h;
    const cuuint32_t one[5] = {1, 1, 1, 1, 1};
    const CUtensorMapDataType type =
        p->f8 ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    const cuuint64_t w64 = (cuuint64_t)w, h64 = (cuuint64_t)h, t64 = (cuuint64_t)t;
    CUresult r;
    if (planes) {
        const cuuint64_t dims[5] = {16 / es, w64, h64, pixel / 16, t64};
        const cuuint64_t strides[4] = {pixel, row, 16, frame};
        const cuuint32_t box[5] = {(cuuint32_t)(16 / es), (cuuint32_t)box_w, (cuuint32_t)box_h,
                                   (cuuint32_t)p->row_bytes / 16, 1};
        r = c->encode(map, type, 5, (void *)base, dims, strides, box, one,
                      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_NONE,
                      CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    } else {
        const cuuint64_t dims[4] = {(cuuint64_t)p->c_in, w64, h64, t64};
        const cuuint64_t strides[3] = {pixel, row, frame};
        const cuuint32_t box[4] = {(cuuint32_t)p->chunk_channels, (cuuint32_t)box_w,
                                   (cuuint32_t)box_h, 1};
        const CUtensorMapSwizzle swizzle = p->row_bytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                           : p->row_bytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                                : CU_TENSOR_MAP_SWIZZLE_32B;
        r = c->encode(map, type, 4, (void *)base, dims, strides, box, one,
                      CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                      CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    }
    return r == CUDA_SUCCESS ? 0 : -EINVAL;
}

static void fill_geometry(struct ktc_conv_params *q, const struct ktc_filter_plan *p,
                          const struct kt_conv_args *a, int m, int cluster)
{
    q->n_bytes = (uint32_t)p->n_bytes;
    q->t = a->t_in;
    q->h = a->h;
    q->w_in = a->w;
    q->c_out = p->c_out;
    q->relu = a->relu;
    q->up = p->up;
    q->pair = p->pair;
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
    q->tiles_t = p->pair == 1 ? (a->t_in + 1) / 2 : a->t_in;
    q->halves = q->tiles_w * q->tiles_t * ((a->h + KTC_TILE_H - 1) / KTC_TILE_H);
    q->work = (q->halves + 2 * cluster - 1) / (2 * cluster) * p->n_tiles;
}

static void fill_steps(struct ktc_conv_params *q, const struct ktc_filter_plan *p, int pitch)
{
    struct ktc_step steps[KTC_PLAN_STEPS];
    q->first_both = p->first_both;
    q->first_second = p->first_second;
    q->steps = p->steps;
    for (int v = 0; v < p->variants; v++) {
        for (int f = 0; f < p->frames; f++) {
            const int kind = !p->pair ? 1 : f < p->first_both ? 0 : f < p->first_second ? 1 : 2;
            const int n = ktc_filter_steps(p, v, f, steps);
            for (int i = 0; i < n; i++) {
                q->shift[v][kind][i] = (int16_t)(steps[i].dy * pitch + steps[i].dx);
            }
        }
    }
}

static void fill_layout(struct ktc_conv_params *q, const struct ktc_filter_plan *p, int pitch,
                        int box_h, int planes)
{
    const uint32_t rb = (uint32_t)p->row_bytes, pixels = (uint32_t)(pitch * box_h);
    q->pitch = pitch;
    q->box_bytes = pixels * rb;
    if (planes) {
        q->a_hi = (uint32_t)pitch;
        q->a_lbo = pixels << 16;
        q->a_k = 2 * pixels;
    } else {
        q->a_hi = (uint32_t)pitch * (rb / 16) | (rb == 128 ? 1u : rb == 64 ? 2u : 3u) << 30;
    }
}

/* Large tiles while they fill the card. */
static int choose_large(const struct ktc_filter *c, const struct kt_conv_args *a)
{
    const int t = c->plan.pair == 1 ? (a->t_in + 1) / 2 : a->t_in, wide = 8 * c->m[1];
    const int halves = (a->w + wide - 1) / wide * ((a->h + 7) / 8) * t;
    return (halves + 1) / 2 * c->plan.n_tiles > c->sms;
}

static int launch(cudaStream_t stream, const struct ktc_filter *c, const struct variant *v,
                  const struct ktc_conv_params *q, int cluster)
{
    const int clusters = q->work < c->sms / cluster ? q->work : c->sms / cluster;
    cudaLaunchAttribute attr = {};
    attr.id = cudaLaunchAttributeClusterDimension;
    attr.val.clusterDim.x = (unsigned)cluster;
    attr.val.clusterDim.y = attr.val.clusterDim.z = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)(clusters * cluster));
    config.blockDim = dim3(KTC_THREADS);
    config.dynamicSmemBytes = (size_t)v->smem;
    config.stream = stream;
    config.attrs = &attr;
    config.numAttrs = 1;
    return fail_of(cudaLaunchKernelEx(&config, v->kernel, *q));
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
    const int large = tune->size ? tune->size - 1 : choose_large(c, a), m = c->m[large];
    const int cluster = tune->cluster ? tune->cluster : 1;
    const int pitch = 8 * m + p->kw - 1, box_h = KTC_TILE_H + p->kh - 1;
    const int halo_w = p->up == 2 ? 8 * m + 2 : pitch;
    struct ktc_conv_params q;
    memset(&q, 0, sizeof(q));
    int rc = encode_map(c, &q.x, a->x, a->t_in, a->h, a->w, halo_w, box_h, tune->mode == 2);
    if (rc == 0 && a->past) {
        rc = encode_map(c, &q.past, a->past, p->past_frames, a->h, a->w, halo_w, box_h,
                        tune->mode == 2);
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
    q.stagger = tune->stagger;
    q.no_prefetch = tune->no_prefetch;
    fill_geometry(&q, p, a, m, cluster);
    fill_steps(&q, p, pitch);
    fill_layout(&q, p, pitch, box_h, tune->mode == 2);
    const struct variant *v =
        tune->mode ? &c->mode[tune->mode - 1] : &c->variant[large][cluster - 1];
    return v->kernel ? launch(stream, c, v, &q, cluster) : -EINVAL;
}

extern "C" int ktc_filter_run(cudaStream_t stream, const struct ktc_filter *c,
                              const struct kt_conv_args *a)
{
    static const struct ktc_filter_tune NONE = {};
    return ktc_filter_run_tuned(stream, c, a, &NONE);
}

extern "C" int ktc_filter_bf16(cudaStream_t stream, const struct ktc_filter *c,
                               const struct kt_conv_args *a)
{
    return c->plan.f8 ? -EINVAL : ktc_filter_run(stream, c, a);
}
