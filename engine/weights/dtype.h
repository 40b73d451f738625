/* Element types of files: name, size, exact conversion to fp32.
 *
 * Thread-safety: pure functions. */
#ifndef KT_ENGINE_WEIGHTS_DTYPE_H
#define KT_ENGINE_WEIGHTS_DTYPE_H

#include "kernels/kernels.h"

#include <stddef.h>
#include <stdint.h>

/* As safetensors headers spell it; "?" for a value outside the enum. */
const char *kt_dtype_name(enum kt_dtype dtype);
/* The enum value of a header's spelling, or -1. */
int kt_dtype_from_name(const char *name);
/* Bytes of one element, 0 for a value outside the enum. */
size_t kt_dtype_size(enum kt_dtype dtype);
int kt_dtype_is_float(enum kt_dtype dtype);

/* n elements at `src` (any alignment) as fp32. `dtype` must be a float type. */
void kt_dtype_to_f32(enum kt_dtype dtype, const void *src, float *out, size_t n);

#endif
