/* The CPU table, filled upwards: the reference covers every op, then each level that was compiled
 * in, that the machine has and that the mask allows overwrites what it does faster. */
#include "kernels/cpu/dnnl.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/ref.h"
#include "kernels/cpu/simd/simd.h"

static void fill_reference(struct kt_kernels *k)
{
    *k = (struct kt_kernels){
        .name = "cpu-ref",
        .act_dtype = KT_F32,
        .kv_dtype = KT_F32,
        .f8_size = sizeof(float),
        .to_f8 = kt_ref_to_f8,
        .queue_create = kt_cpu_queue_create,
        .queue_destroy = kt_cpu_queue_destroy,
        .queue_stats = kt_cpu_queue_stats,
        .queue_sync = kt_cpu_queue_sync,
        .queue_error = kt_cpu_queue_error,
        .mem_alloc = kt_cpu_mem_alloc,
        .mem_free = kt_cpu_mem_free,
        .host_alloc = kt_cpu_mem_alloc,
        .host_free = kt_cpu_mem_free,
        .upload = kt_cpu_upload,
        .download = kt_cpu_download,
        .copy = kt_cpu_copy,
        .zero = kt_cpu_zero,
        .to_act = kt_cpu_to_act,
        .to_f32 = kt_cpu_from_act,
        .linear_create = kt_ref_linear_create,
        .linear_destroy = kt_ref_linear_destroy,
        .linear = kt_ref_linear,
        .conv_create = kt_ref_conv_create,
        .conv_destroy = kt_ref_conv_destroy,
        .conv = kt_ref_conv,
        .layer_norm = kt_ref_layer_norm,
        .rms_norm = kt_ref_rms_norm,
        .rope = kt_ref_rope,
        .attention = kt_ref_attention,
        .residual = kt_ref_residual,
        .channel_norm = kt_ref_channel_norm,
        .patchify = kt_ref_patchify,
        .unpatchify = kt_ref_unpatchify,
        .sample_step = kt_ref_sample_step,
        .to_i420 = kt_ref_to_i420,
        .mul_gelu = kt_ref_mul_gelu,
        .distance_bias = kt_ref_distance_bias,
        .tanh3 = kt_ref_tanh3,
        .relu = kt_ref_relu,
        .upsample2x = kt_ref_upsample2x,
        .split_frames = kt_ref_split_frames,
        .concat_channels = kt_ref_concat_channels,
        .to_channels_last = kt_ref_to_channels_last,
        .to_planar = kt_ref_to_planar,
        .noise = kt_ref_noise,
        .copy_rows = kt_ref_copy_rows,
    };
}

#ifdef KT_HAVE_X86_SIMD
static int machine_has_avx512(void)
{
    return kt_dnnl_allows(KT_CPU_AVX512) && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw");
}

static int machine_has_avx2(void)
{
    return kt_dnnl_allows(KT_CPU_SIMD) && __builtin_cpu_supports("avx2") &&
           __builtin_cpu_supports("fma");
}

static void fill_simd(struct kt_kernels *k, unsigned mask)
{
    if ((mask & KT_CPU_AVX512) && machine_has_avx512()) {
        kt_simd_fill_avx512(k);
    } else if (machine_has_avx2()) {
        kt_simd_fill_avx2(k);
    }
}
#else
static void fill_simd(struct kt_kernels *k, unsigned mask)
{
    (void)k, (void)mask;
}
#endif

void kt_kernels_cpu(struct kt_kernels *out, unsigned mask)
{
    fill_reference(out);
    if (mask & KT_CPU_DNNL) {
        kt_dnnl_fill(out);
    }
    if (mask & KT_CPU_SIMD) {
        fill_simd(out, mask);
    }
}
