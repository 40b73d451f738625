/* Hopper's copy engine, barriers and matrix unit, as the convolutions use them (sm_90a).
 *
 * A wait that can only end by another thread's arrival hangs the card when there is a mistake, so a
 * test build (KTC_SPIN_LIMIT, in clock cycles) gives up: it leaves what it waited for in the host
 * memory behind `diag` and traps. */
#ifndef KT_KERNELS_CUDA_CONV_HOPPER_CUH
#define KT_KERNELS_CUDA_CONV_HOPPER_CUH

#include <cuda.h>
#include <stdint.h>

__device__ __forceinline__ uint32_t ktc_smem(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

__device__ __forceinline__ void ktc_bar_init(uint32_t bar, uint32_t count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory");
}

__device__ __forceinline__ void ktc_bar_expect(uint32_t bar, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void ktc_bar_arrive(uint32_t bar)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}

__device__ __forceinline__ bool ktc_bar_try(uint32_t bar, uint32_t parity)
{
    uint32_t done;
    asm volatile("{.reg .pred p;\n"
                 "mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;}"
                 : "=r"(done)
                 : "r"(bar), "r"(parity)
                 : "memory");
    return done != 0;
}

__device__ __forceinline__ void ktc_bar_wait(uint32_t bar, uint32_t parity, uint32_t what,
                                             volatile uint32_t *diag)
{
#ifdef KTC_SPIN_LIMIT
    const long long start = clock64();
    while (!ktc_bar_try(bar, parity)) {
        if (clock64() - start > KTC_SPIN_LIMIT) {
            if (diag) {
                diag[0] = 1 + what;
                diag[1] = blockIdx.x;
                diag[2] = threadIdx.x;
                diag[3] = parity;
                __threadfence_system();
            }
            __trap();
        }
    }
#else
    (void)what;
    (void)diag;
    while (!ktc_bar_try(bar, parity)) {
    }
#endif
}

/* Barriers just initialised become visible to the copy engine. */
__device__ __forceinline__ void ktc_fence_bar_init(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void ktc_tma_4d(uint32_t dst, const CUtensorMap *map, uint32_t bar,
                                           int c0, int c1, int c2, int c3)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(dst),
                 "l"(map), "r"(bar), "r"(c0), "r"(c1), "r"(c2), "r"(c3)
                 : "memory");
}

__device__ __forceinline__ void ktc_bulk(uint32_t dst, const void *src, uint32_t bytes,
                                         uint32_t bar)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];" ::"r"(dst),
                 "l"(src), "r"(bytes), "r"(bar)
                 : "memory");
}

__device__ __forceinline__ void ktc_wgmma_fence(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void ktc_wgmma_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int N> __device__ __forceinline__ void ktc_wgmma_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

template <int REGS> __device__ __forceinline__ void ktc_regs_more(void)
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGS));
}

template <int REGS> __device__ __forceinline__ void ktc_regs_fewer(void)
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGS));
}

/* A wgmma descriptor from its two words: the low one has address / 16 and the stride between core
 * matrices along k / 16 (unswizzled layouts only), the high one the stride between groups of eight
 * rows / 16 and the layout (0 none, 1: 128-byte rows, 2: 64, 3: 32). */
__device__ __forceinline__ uint64_t ktc_desc(uint32_t lo, uint32_t hi)
{
    uint64_t d;
    asm("mov.b64 %0, {%1, %2};" : "=l"(d) : "r"(lo), "r"(hi));
    return d;
}

#endif
