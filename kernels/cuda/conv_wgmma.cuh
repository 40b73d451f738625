/* wgmma.mma_async for the tile widths that the convolutions use: D[64, N] += A[64, 32 bytes] *
 * B[N, 32 bytes]^T, A and B in shared memory behind descriptors, fp32 sums in registers. 32 bytes
 * are 16 bf16 or 32 e4m3 values; the addresses are the same for both. */
#ifndef KT_KERNELS_CUDA_CONV_WGMMA_CUH
#define KT_KERNELS_CUDA_CONV_WGMMA_CUH

#include <stdint.h>

template <int N, bool F8> struct ktc_wgmma;

#define KTC_D8(i)                                                                                  \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]),    \
        "+f"(d[i + 6]), "+f"(d[i + 7])

template <> struct ktc_wgmma<192, false> {
    static __device__ __forceinline__ void mma(float (&d)[96], uint64_t a, uint64_t b)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %98, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
                     "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                     "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
                     "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
                     "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
                     "}, %96, %97, p, 1, 1, 0, 0;}\n"
                     : KTC_D8(0), KTC_D8(8), KTC_D8(16), KTC_D8(24), KTC_D8(32), KTC_D8(40),
                       KTC_D8(48), KTC_D8(56), KTC_D8(64), KTC_D8(72), KTC_D8(80), KTC_D8(88)
                     : "l"(a), "l"(b), "r"(1));
    }
};

template <> struct ktc_wgmma<192, true> {
    static __device__ __forceinline__ void mma(float (&d)[96], uint64_t a, uint64_t b)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %98, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n192k32.f32.e4m3.e4m3 {"
                     "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                     "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
                     "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,"
                     "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
                     "}, %96, %97, p, 1, 1;}\n"
                     : KTC_D8(0), KTC_D8(8), KTC_D8(16), KTC_D8(24), KTC_D8(32), KTC_D8(40),
                       KTC_D8(48), KTC_D8(56), KTC_D8(64), KTC_D8(72), KTC_D8(80), KTC_D8(88)
                     : "l"(a), "l"(b), "r"(1));
    }
};

template <> struct ktc_wgmma<128, false> {
    static __device__ __forceinline__ void mma(float (&d)[64], uint64_t a, uint64_t b)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %66, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                     "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                     "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
                     "}, %64, %65, p, 1, 1, 0, 0;}\n"
                     : KTC_D8(0), KTC_D8(8), KTC_D8(16), KTC_D8(24), KTC_D8(32), KTC_D8(40),
                       KTC_D8(48), KTC_D8(56)
                     : "l"(a), "l"(b), "r"(1));
    }
};

template <> struct ktc_wgmma<128, true> {
    static __device__ __forceinline__ void mma(float (&d)[64], uint64_t a, uint64_t b)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %66, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {"
                     "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,"
                     "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
                     "}, %64, %65, p, 1, 1;}\n"
                     : KTC_D8(0), KTC_D8(8), KTC_D8(16), KTC_D8(24), KTC_D8(32), KTC_D8(40),
                       KTC_D8(48), KTC_D8(56)
                     : "l"(a), "l"(b), "r"(1));
    }
};

template <> struct ktc_wgmma<96, false> {
    static __device__ __forceinline__ void mma(float (&d)[48], uint64_t a, uint64_t b)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %50, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n96k16.f32.bf16.bf16 {"
                     "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
                     "}, %48, %49, p, 1, 1, 0, 0;}\n"
                     : KTC_D8(0), KTC_D8(8), KTC_D8(16), KTC_D8(24), KTC_D8(32), KTC_D8(40)
                     : "l"(a), "l"(b), "r"(1));
    }
};

template <> struct ktc_wgmma<96, true> {
    static __device__ __forceinline__ void mma(float (&d)[48], uint64_t a, uint64_t b)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %50, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n96k32.f32.e4m3.e4m3 {"
                     "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
                     "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
                     "}, %48, %49, p, 1, 1;}\n"
                     : KTC_D8(0), KTC_D8(8), KTC_D8(16), KTC_D8(24), KTC_D8(32), KTC_D8(40)
                     : "l"(a), "l"(b), "r"(1));
    }
};

template <> struct ktc_wgmma<64, false> {
    static __device__ __forceinline__ void mma(float (&d)[32], uint64_t a, uint64_t b)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %34, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                     "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
                     "}, %32, %33, p, 1, 1, 0, 0;}\n"
                     : KTC_D8(0), KTC_D8(8), KTC_D8(16), KTC_D8(24)
                     : "l"(a), "l"(b), "r"(1));
    }
};

template <> struct ktc_wgmma<64, true> {
    static __device__ __forceinline__ void mma(float (&d)[32], uint64_t a, uint64_t b)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %34, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n64k32.f32.e4m3.e4m3 {"
                     "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                     "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
                     "}, %32, %33, p, 1, 1;}\n"
                     : KTC_D8(0), KTC_D8(8), KTC_D8(16), KTC_D8(24)
                     : "l"(a), "l"(b), "r"(1));
    }
};

template <> struct ktc_wgmma<8, false> {
    static __device__ __forceinline__ void mma(float (&d)[4], uint64_t a, uint64_t b)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %6, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {"
                     "%0,%1,%2,%3"
                     "}, %4, %5, p, 1, 1, 0, 0;}\n"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "l"(a), "l"(b), "r"(1));
    }
};

template <> struct ktc_wgmma<8, true> {
    static __device__ __forceinline__ void mma(float (&d)[4], uint64_t a, uint64_t b)
    {
        asm volatile("{.reg .pred p; setp.ne.b32 p, %6, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3 {"
                     "%0,%1,%2,%3"
                     "}, %4, %5, p, 1, 1;}\n"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "l"(a), "l"(b), "r"(1));
    }
};

#undef KTC_D8

#endif
