#include "kernels/cpu/simd/simd.h"

#define KT_TEXT2(a) #a
#define KT_TEXT(a)  KT_TEXT2(a)

void KT_SIMD(fill)(struct kt_kernels *k)
{
    k->name = "cpu-" KT_TEXT(KT_ISA);
    k->linear_create = KT_SIMD(linear_create);
    k->linear = KT_SIMD(linear);
    k->conv_create = KT_SIMD(conv_create);
    k->conv = KT_SIMD(conv);
    k->attention = KT_SIMD(attention);
    k->layer_norm = KT_SIMD(layer_norm);
    k->rms_norm = KT_SIMD(rms_norm);
    k->channel_norm = KT_SIMD(channel_norm);
    k->rope = KT_SIMD(rope);
    k->residual = KT_SIMD(residual);
    k->to_i420 = KT_SIMD(to_i420);
    k->mul_gelu = KT_SIMD(mul_gelu);
}
