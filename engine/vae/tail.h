/* The pool of tails (vae.h) and the plan of what lies where inside one.
 *
 * Thread-safety: as vae.h. */
#ifndef KT_ENGINE_VAE_TAIL_H
#define KT_ENGINE_VAE_TAIL_H

#include "engine/device/device.h"

struct kt_tail_pool;
struct kt_vae_tail;

/* Grows while a decoder is being built: each causal layer reserves its part. */
struct kt_tail_plan {
    size_t bytes;
};

/* Reserves `bytes` and returns their offset from the start of a tail, 64-byte aligned. */
size_t kt_tail_reserve(struct kt_tail_plan *plan, size_t bytes);

/* One allocation for all `tails_max` tails of `tail_bytes` each. Errors: -EINVAL, -ENOMEM. */
int kt_tail_pool_open(struct kt_tail_pool **pool, struct kt_device *dev, size_t tail_bytes,
                      int tails_max, struct kt_error *err);
/* Every tail must be back (asserted). */
void kt_tail_pool_close(struct kt_tail_pool **pool);

/* An unpublished tail with one reference, its content undefined; NULL when the pool is full. */
struct kt_vae_tail *kt_tail_take(struct kt_tail_pool *pool);
/* The tail's device memory. Written only between kt_tail_take and publication. */
char *kt_tail_write(struct kt_vae_tail *t);
const char *kt_tail_read(const struct kt_vae_tail *t); /* NULL for NULL: the start of a stream */

int kt_tail_pool_max(const struct kt_tail_pool *pool);
int kt_tail_pool_in_use(const struct kt_tail_pool *pool);

#endif
