/* Weights that nobody trained: tensors of any asked-for name and shape, for measuring a geometry
 * whose files are not at hand. They take no disk and hardly any memory: values come from one 32 MiB
 * pool a scale, mapped one behind the other as often as a tensor needs it.
 *
 * Values are BF16 and close to normal. A matrix has deviation 1/sqrt(fan in), rounded to a power of
 * two, so that activations keep their size from layer to layer; norm weights are 1 +- 1/8, biases
 * small. The same name and shape give the same values.
 *
 * Thread-safety: one thread at a time. */
#ifndef KT_ENGINE_WEIGHTS_RANDOM_H
#define KT_ENGINE_WEIGHTS_RANDOM_H

#include "engine/weights/safetensors.h"

struct kt_random_weights;

int kt_random_weights_open(struct kt_random_weights **r, struct kt_error *err);
void kt_random_weights_close(struct kt_random_weights **r); /* NULL and *NULL accepted */

/* The tensor of that name and shape, made now; belongs to `r` until close. Errors: -ENOMEM. */
int kt_random_weights_make(struct kt_random_weights *r, const struct kt_tensor **out,
                           const char *name, const int64_t *shape, int rank, struct kt_error *err);

#endif
