/* The oneDNN level. Built without oneDNN it is stubs: nothing is filled, everything allowed. */
#ifndef KT_KERNELS_CPU_DNNL_H
#define KT_KERNELS_CPU_DNNL_H

#include "kernels/cpu/queue.h"

/* Whether oneDNN's ISA cap leaves this level of ours (KT_CPU_SIMD: AVX2, KT_CPU_AVX512). One switch
 * for both, so that a run capped for reproducibility is capped throughout. */
int kt_dnnl_allows(unsigned level);

/* Overwrites what oneDNN does faster than what the table has. */
void kt_dnnl_fill(struct kt_kernels *k);

#endif
