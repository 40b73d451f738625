/* Splits an op over the queue's threads.
 *
 * Our own small pool and not OpenMP, because of how a job ends: the calling thread claims items
 * like any worker and waits only for items that a worker has begun. A worker that is asleep, or
 * that the system has taken off its core for the encoder or a browser, is simply not part of that
 * job; an OpenMP region would wait for it to arrive (measured on two busy cores: 16 ms, one time
 * slice, for regions of 0.1 ms).
 *
 * Who computes an item never changes its bits: items share nothing but inputs.
 *
 * Thread-safety: a pool is driven by one thread at a time. */
#ifndef KT_KERNELS_CPU_PARALLEL_H
#define KT_KERNELS_CPU_PARALLEL_H

struct kt_queue;
struct kt_pool;

/* `item` in [0, items), `worker` in [0, queue threads): the index of per-thread scratch. */
typedef void (*kt_parallel_fn)(void *ctx, int item, int worker);

/* Calls `fn` once for each item and returns when all are done. */
void kt_parallel(struct kt_queue *q, int items, kt_parallel_fn fn, void *ctx);

/* Starts threads - 1 workers. Errors: -ENOMEM, -EAGAIN where a thread could not be had. */
int kt_pool_create(struct kt_pool **pool, int threads);
/* Stops and joins the workers. NULL and *NULL accepted. */
void kt_pool_destroy(struct kt_pool **pool);

#endif
