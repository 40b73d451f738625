/* Hopper's asynchronous machinery in thin wrappers: mbarriers, the tensor copy engine (TMA), named
 * barriers and wgmma. Device code only, sm_90a only. What each instruction does and the layouts of
 * its operands: PTX ISA, sections on mbarrier, cp.async.bulk.tensor and wgmma.
 *
 * wgmma reads its operands asynchronously: registers and shared memory of a product must not be
 * touched between its issue and the wait that covers it. ktc_keep() pins registers across that
 * wait; without it the compiler may move a use of an accumulator above the wait.
 */
#ifndef KTC_HOPPER_CUH
#define KTC_HOPPER_CUH

#include <cuda.h>
#include <stdint.h>

#define KTC_INLINE static __device__ __forceinline__

KTC_INLINE uint32_t ktc_smem(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* -- mbarriers -- */

KTC_INLINE void ktc_mbar_init(uint32_t bar, uint32_t arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(arrivals) : "memory");
}

/* Makes initialised barriers visible to the copy engine. */
KTC_INLINE void ktc_mbar_init_fence(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

KTC_INLINE void ktc_mbar_expect(uint32_t bar, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes)
                 : "memory");
}

KTC_INLINE void ktc_mbar_arrive(uint32_t bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

KTC_INLINE bool ktc_mbar_try(uint32_t bar, uint32_t parity)
{
    uint32_t done;
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}\n"
                 : "=r"(done)
                 : "r"(bar), "r"(parity)
                 : "memory");
    return done != 0;
}

/* Waits until the phase of this parity is complete. A build with KTC_SPIN_LIMIT (clock cycles)
 * traps instead of waiting for ever. */
KTC_INLINE void ktc_mbar_wait(uint32_t bar, uint32_t parity)
{
#ifdef KTC_SPIN_LIMIT
    long long start = clock64();
    while (!ktc_mbar_try(bar, parity))
        if (clock64() - start > KTC_SPIN_LIMIT)
            __trap();
#else
    while (!ktc_mbar_try(bar, parity)) {
    }
#endif
}

/* -- tensor copies -- */

KTC_INLINE void ktc_tma_prefetch_map(const CUtensorMap *map)
{
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* One box of a 2-D map at (x, y), x along the contiguous axis, into shared memory. */
KTC_INLINE void ktc_tma_load_2d(uint32_t dst, const CUtensorMap *map, uint32_t bar, int x, int y)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 " [%0], [%1, {%3, %4}], [%2];" ::"r"(dst),
                 "l"(map), "r"(bar), "r"(x), "r"(y)
                 : "memory");
}

KTC_INLINE void ktc_tma_load_3d(uint32_t dst, const CUtensorMap *map, uint32_t bar, int x, int y,
                                int z)
{
    asm volatile("cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes"
                 " [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(dst),
                 "l"(map), "r"(bar), "r"(x), "r"(y), "r"(z)
                 : "memory");
}

/* -- named barriers and register budgets -- */

KTC_INLINE void ktc_bar_sync(int id, int threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

KTC_INLINE void ktc_bar_arrive(int id, int threads)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

template <int N> KTC_INLINE void ktc_regs_raise(void)
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N));
}

template <int N> KTC_INLINE void ktc_regs_lower(void)
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N));
}

/* -- wgmma -- */

enum { KTC_SWIZZLE_128 = 1, KTC_SWIZZLE_64 = 2, KTC_SWIZZLE_32 = 3 };

/* Shared-memory matrix descriptor. `leading` and `stride` in bytes; K-major operands use only
 * `stride` (8 rows), operands with the other axis contiguous step by `leading` from one swizzle row
 * of that axis to the next and by `stride` over 8 steps of K. */
KTC_INLINE uint64_t ktc_desc(uint32_t addr, uint32_t leading, uint32_t stride, uint32_t swizzle)
{
    return (uint64_t)((addr & 0x3ffff) >> 4) | (uint64_t)(leading >> 4) << 16 |
           (uint64_t)(stride >> 4) << 32 | (uint64_t)swizzle << 62;
}

/* The same matrix `bytes` further on. */
KTC_INLINE uint64_t ktc_desc_at(uint64_t desc, uint32_t bytes)
{
    return (desc & 0xffffffff00000000ull) | ((uint32_t)desc + (bytes >> 4));
}

KTC_INLINE void ktc_wgmma_fence(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

KTC_INLINE void ktc_wgmma_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int PENDING> KTC_INLINE void ktc_wgmma_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}

template <int N> KTC_INLINE void ktc_keep(float (&r)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(r[i])::"memory");
}

template <int N> KTC_INLINE void ktc_keep(uint32_t (&r)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+r"(r[i])::"memory");
}

/* Operand lists of an accumulator, eight registers to a group. */
#define KTC_L0      "%0,%1,%2,%3,%4,%5,%6,%7"
#define KTC_L1      "%8,%9,%10,%11,%12,%13,%14,%15"
#define KTC_L2      "%16,%17,%18,%19,%20,%21,%22,%23"
#define KTC_L3      "%24,%25,%26,%27,%28,%29,%30,%31"
#define KTC_L4      "%32,%33,%34,%35,%36,%37,%38,%39"
#define KTC_L5      "%40,%41,%42,%43,%44,%45,%46,%47"
#define KTC_L6      "%48,%49,%50,%51,%52,%53,%54,%55"
#define KTC_L7      "%56,%57,%58,%59,%60,%61,%62,%63"
#define KTC_L8      "%64,%65,%66,%67,%68,%69,%70,%71"
#define KTC_L9      "%72,%73,%74,%75,%76,%77,%78,%79"
#define KTC_L10     "%80,%81,%82,%83,%84,%85,%86,%87"
#define KTC_L11     "%88,%89,%90,%91,%92,%93,%94,%95"
#define KTC_L12     "%96,%97,%98,%99,%100,%101,%102,%103"
#define KTC_L13     "%104,%105,%106,%107,%108,%109,%110,%111"
#define KTC_LIST8   KTC_L0
#define KTC_LIST16  KTC_LIST8 "," KTC_L1
#define KTC_LIST24  KTC_LIST16 "," KTC_L2
#define KTC_LIST32  KTC_LIST24 "," KTC_L3
#define KTC_LIST40  KTC_LIST32 "," KTC_L4
#define KTC_LIST48  KTC_LIST40 "," KTC_L5
#define KTC_LIST56  KTC_LIST48 "," KTC_L6
#define KTC_LIST64  KTC_LIST56 "," KTC_L7
#define KTC_LIST72  KTC_LIST64 "," KTC_L8
#define KTC_LIST80  KTC_LIST72 "," KTC_L9
#define KTC_LIST88  KTC_LIST80 "," KTC_L10
#define KTC_LIST96  KTC_LIST88 "," KTC_L11
#define KTC_LIST104 KTC_LIST96 "," KTC_L12
#define KTC_LIST112 KTC_LIST104 "," KTC_L13
#define KTC_R8(d, i)                                                                               \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]),    \
        "+f"(d[i + 6]), "+f"(d[i + 7])
#define KTC_REGS8(d)   KTC_R8(d, 0)
#define KTC_REGS16(d)  KTC_REGS8(d), KTC_R8(d, 8)
#define KTC_REGS24(d)  KTC_REGS16(d), KTC_R8(d, 16)
#define KTC_REGS32(d)  KTC_REGS24(d), KTC_R8(d, 24)
#define KTC_REGS40(d)  KTC_REGS32(d), KTC_R8(d, 32)
#define KTC_REGS48(d)  KTC_REGS40(d), KTC_R8(d, 40)
#define KTC_REGS56(d)  KTC_REGS48(d), KTC_R8(d, 48)
#define KTC_REGS64(d)  KTC_REGS56(d), KTC_R8(d, 56)
#define KTC_REGS72(d)  KTC_REGS64(d), KTC_R8(d, 64)
#define KTC_REGS80(d)  KTC_REGS72(d), KTC_R8(d, 72)
#define KTC_REGS88(d)  KTC_REGS80(d), KTC_R8(d, 80)
#define KTC_REGS96(d)  KTC_REGS88(d), KTC_R8(d, 88)
#define KTC_REGS104(d) KTC_REGS96(d), KTC_R8(d, 96)
#define KTC_REGS112(d) KTC_REGS104(d), KTC_R8(d, 104)

/* ktc_wgmma<N>: d[64, N] = a * b + (accumulate ? d : 0); a from shared memory (ss) or registers
 * (rs). bf16: K 16, b of rs has N contiguous; e4m3: K 32, everything K-major. */
template <int N> struct ktc_wgmma_bf16;
template <int N> struct ktc_wgmma_e4m3;
template <int N> struct ktc_wgmma_bf16_rs;
template <int N> struct ktc_wgmma_e4m3_rs;

#define KTC_WGMMA_SS(type, n, regs, shape, a_op, b_op, p_op, tail)                                 \
    template <> struct ktc_wgmma_##type<n> {                                                       \
        KTC_METHOD void mma(float (&d)[regs], uint64_t a, uint64_t b, int accumulate)              \
        {                                                                                          \
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " p_op ", 0;\n"                         \
                         "wgmma.mma_async.sync.aligned.m64n" #n shape " {" KTC_LIST##regs          \
                         "}, " a_op ", " b_op ", p, " tail ";\n}\n"                                \
                         : KTC_REGS##regs(d)                                                       \
                         : "l"(a), "l"(b), "r"(accumulate));                                       \
        }                                                                                          \
    };
#define KTC_WGMMA_RS(type, n, regs, shape, a_op, b_op, p_op, tail)                                 \
    template <> struct ktc_wgmma_##type##_rs<n> {                                                  \
        KTC_METHOD void mma(float (&d)[regs], const uint32_t *a, uint64_t b, int accumulate)       \
        {                                                                                          \
            asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " p_op ", 0;\n"                         \
                         "wgmma.mma_async.sync.aligned.m64n" #n shape " {" KTC_LIST##regs          \
                         "}, " a_op ", " b_op ", p, " tail ";\n}\n"                                \
                         : KTC_REGS##regs(d)                                                       \
                         : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));   \
        }                                                                                          \
    };
#define KTC_METHOD static __device__ __forceinline__

KTC_WGMMA_SS(bf16, 64, 32, "k16.f32.bf16.bf16", "%32", "%33", "%34", "1, 1, 0, 0")
KTC_WGMMA_SS(bf16, 128, 64, "k16.f32.bf16.bf16", "%64", "%65", "%66", "1, 1, 0, 0")
KTC_WGMMA_SS(bf16, 160, 80, "k16.f32.bf16.bf16", "%80", "%81", "%82", "1, 1, 0, 0")
KTC_WGMMA_SS(bf16, 176, 88, "k16.f32.bf16.bf16", "%88", "%89", "%90", "1, 1, 0, 0")
KTC_WGMMA_RS(bf16, 64, 32, "k16.f32.bf16.bf16", "{%32,%33,%34,%35}", "%36", "%37", "1, 1, 1")
KTC_WGMMA_RS(bf16, 128, 64, "k16.f32.bf16.bf16", "{%64,%65,%66,%67}", "%68", "%69", "1, 1, 1")
KTC_WGMMA_SS(e4m3, 160, 80, "k32.f32.e4m3.e4m3", "%80", "%81", "%82", "1, 1")
KTC_WGMMA_SS(e4m3, 192, 96, "k32.f32.e4m3.e4m3", "%96", "%97", "%98", "1, 1")
KTC_WGMMA_SS(e4m3, 224, 112, "k32.f32.e4m3.e4m3", "%112", "%113", "%114", "1, 1")
KTC_WGMMA_RS(e4m3, 64, 32, "k32.f32.e4m3.e4m3", "{%32,%33,%34,%35}", "%36", "%37", "1, 1")
KTC_WGMMA_RS(e4m3, 128, 64, "k32.f32.e4m3.e4m3", "{%64,%65,%66,%67}", "%68", "%69", "1, 1")

/* -- arithmetic -- */

/* 2^x by the special function unit: 2 ulp, denormal results are 0. */
KTC_INLINE float ktc_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* Two floats as bf16, `lo` in the low half. */
KTC_INLINE uint32_t ktc_pack_bf16(float lo, float hi)
{
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}

/* Two floats as e4m3, saturated to 448, `lo` in the low byte. */
KTC_INLINE uint32_t ktc_pack_e4m3(float lo, float hi)
{
    uint16_t r;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(r) : "f"(hi), "f"(lo));
    return r;
}

#endif
