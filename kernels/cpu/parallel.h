/* Splits an op over the queue's threads; the one place that knows OpenMP. Without it everything
 * runs on the calling thread. Who computes an item never changes its bits: items share nothing but
 * inputs. */
#ifndef KT_KERNELS_CPU_PARALLEL_H
#define KT_KERNELS_CPU_PARALLEL_H

#include "kernels/cpu/queue.h"

/* `item` in [0, items), `worker` in [0, queue threads): the index of per-thread scratch. */
typedef void (*kt_parallel_fn)(void *ctx, int item, int worker);

/* Calls `fn` once for each item and returns when all are done. */
void kt_parallel(struct kt_queue *q, int items, kt_parallel_fn fn, void *ctx);

#endif
