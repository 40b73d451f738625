#include "kernels/cpu/dnnl.h"

#include <dnnl.h>

int kt_dnnl_allows(unsigned level)
{
    /* The ISA values are bit sets: a wider one contains the narrower. */
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    const unsigned need = level == KT_CPU_AVX512 ? dnnl_cpu_isa_avx512_core : dnnl_cpu_isa_avx2;
    return isa == (unsigned)dnnl_cpu_isa_all || (isa & need) == need;
}

void kt_dnnl_fill(struct kt_kernels *k)
{
    (void)k;
}
