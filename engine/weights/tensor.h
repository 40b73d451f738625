/* What reading and writing a file share about one tensor.
 *
 * Thread-safety: pure functions. */
#ifndef KT_ENGINE_WEIGHTS_TENSOR_H
#define KT_ENGINE_WEIGHTS_TENSOR_H

#include "engine/weights/safetensors.h"

struct kt_shape_text {
    char text[192];
};

/* "[3, 16, 8, 12]" */
struct kt_shape_text kt_shape_show(const int64_t *shape, int rank);

/* Sets t->count and t->bytes from dtype, rank and shape. -EOVERFLOW when a size is negative or the
 * bytes do not fit a signed size; an axis of 0 makes an empty tensor whatever the others are, as
 * long as they fit. */
int kt_tensor_measure(struct kt_tensor *t);

#endif
