/* The oneDNN level: matmul and convolution on machines that our own SIMD does not know.
 *
 * On AVX2 and AVX-512 our kernels are as fast or faster (they fuse past frames, doubling and
 * activations, and their threads do not wait for one another; `checkkern --bench` shows both), so
 * there this level serves as the yardstick. Everywhere else (ARM, older x86) it is what makes the
 * demo model usable.
 *
 * Private to kernels/cpu. Thread-safety: as in kernels.h. */
#ifndef KT_KERNELS_CPU_DNNL_H
#define KT_KERNELS_CPU_DNNL_H

#include "kernels/cpu/queue.h"

/* Replaces the linear and convolution entries of the table. Nothing where oneDNN was not compiled
 * in. */
void kt_dnnl_fill(struct kt_kernels *k);

/* Whether oneDNN's own limit (DNNL_MAX_CPU_ISA, which people set to compare machines) leaves
 * `level` (KT_CPU_SIMD for AVX2, KT_CPU_AVX512) allowed. Always where oneDNN was not compiled in.
 */
int kt_dnnl_allows(unsigned level);

#endif
