/* The memory verbs of the CPU table (kernels.h): the device is the host. Private to kernels/cpu.
 *
 * Thread-safety: as in kernels.h. */
#ifndef KT_KERNELS_CPU_MEMORY_H
#define KT_KERNELS_CPU_MEMORY_H

#include "kernels/kernels.h"

void *kt_cpu_mem_alloc(struct kt_queue *q, size_t bytes);
void kt_cpu_mem_free(struct kt_queue *q, void *p);
int kt_cpu_upload(struct kt_queue *q, void *dst, const void *src, size_t bytes);
int kt_cpu_download(struct kt_queue *q, void *dst, const void *src, size_t bytes);
int kt_cpu_copy(struct kt_queue *q, void *dst, const void *src, size_t bytes);
int kt_cpu_zero(struct kt_queue *q, void *dst, size_t bytes);
int kt_cpu_to_act(struct kt_queue *q, void *y, const float *x, size_t n);
int kt_cpu_from_act(struct kt_queue *q, float *y, const void *x, size_t n);

#endif
