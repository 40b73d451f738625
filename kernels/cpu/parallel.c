#include "kernels/cpu/parallel.h"

#include "kernels/cpu/queue.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

/* Spins of an idle worker before it sleeps, some tens of microseconds: about the gap between two
 * ops of one forward pass, so that a pass runs without a wake-up and an idle engine costs nothing.
 */
enum { IDLE_SPINS = 2000 };
/* Spins of the caller for items in flight before it offers its core to whoever holds them up. */
enum { JOIN_SPINS = 2000 };

struct worker {
    struct kt_pool *pool;
    pthread_t thread;
    int index;
};

struct kt_pool {
    /* The job. Written by the caller while `open` is 0 and `inside` is 0, read by workers inside.
     */
    kt_parallel_fn fn;
    void *ctx;
    int items;

    _Atomic int next;     /* first unclaimed item */
    _Atomic int open;     /* the job may be entered */
    _Atomic int inside;   /* workers that may touch the job */
    _Atomic unsigned job; /* counts jobs: what idle workers watch */
    _Atomic int stop;

    _Atomic int sleepers;
    pthread_mutex_t lock; /* with `wake`, for `job` and `stop` to change under sleepers */
    pthread_cond_t wake;

    int workers;
    struct worker worker[];
};

static inline void spin_pause(void)
{
#ifdef __x86_64__
    __builtin_ia32_pause();
#endif
}

static void claim_items(struct kt_pool *p, int worker)
{
    for (int i; (i = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < p->items;) {
        p->fn(p->ctx, i, worker);
    }
}

/* `inside` goes up before `open` is read, and the caller closes before it reads `inside` (both
 * sequentially consistent): either this worker sees the job closed or the caller sees this worker.
 */
static void try_job(struct kt_pool *p, int worker)
{
    atomic_fetch_add(&p->inside, 1);
    if (atomic_load(&p->open)) {
        claim_items(p, worker);
    }
    atomic_fetch_sub(&p->inside, 1);
}

static void sleep_until_job(struct kt_pool *p, unsigned seen)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (atomic_load(&p->job) == seen && !atomic_load(&p->stop)) {
        pthread_cond_wait(&p->wake, &p->lock);
    }
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg)
{
    const struct worker *w = arg;
    struct kt_pool *p = w->pool;
    unsigned seen = 0;
    while (!atomic_load(&p->stop)) {
        for (int i = 0; i < IDLE_SPINS && atomic_load(&p->job) == seen; i++) {
            spin_pause();
        }
        if (atomic_load(&p->job) == seen) {
            sleep_until_job(p, seen);
        }
        seen = atomic_load(&p->job);
        try_job(p, w->index);
    }
    return NULL;
}

static void wake_sleepers(struct kt_pool *p)
{
    if (atomic_load(&p->sleepers) > 0) {
        pthread_mutex_lock(&p->lock);
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
}

static void join_job(struct kt_pool *p)
{
    atomic_store(&p->open, 0);
    for (int spins = 0; atomic_load(&p->inside) > 0; spins++) {
        if (spins < JOIN_SPINS) {
            spin_pause();
        } else {
            sched_yield();
        }
    }
}

void kt_parallel(struct kt_queue *q, int items, kt_parallel_fn fn, void *ctx)
{
    struct kt_pool *p = q->pool;
    if (!p || items <= 1) {
        for (int i = 0; i < items; i++) {
            fn(ctx, i, 0);
        }
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    p->items = items;
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    atomic_store(&p->open, 1);
    atomic_fetch_add(&p->job, 1);
    wake_sleepers(p);
    claim_items(p, 0);
    join_job(p);
}

int kt_pool_create(struct kt_pool **pool, int threads)
{
    struct kt_pool *p = calloc(1, sizeof(*p) + (size_t)(threads - 1) * sizeof(p->worker[0]));
    if (!p) {
        return -ENOMEM;
    }
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    for (int i = 0; i < threads - 1; i++) {
        p->worker[i].pool = p;
        p->worker[i].index = i + 1;
        const int rc = pthread_create(&p->worker[i].thread, NULL, worker_main, &p->worker[i]);
        if (rc != 0) {
            kt_pool_destroy(&p);
            return -rc;
        }
        p->workers++;
    }
    *pool = p;
    return 0;
}

void kt_pool_destroy(struct kt_pool **pool)
{
    if (!pool || !*pool) {
        return;
    }
    struct kt_pool *p = *pool;
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, 1);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 0; i < p->workers; i++) {
        pthread_join(p->worker[i].thread, NULL);
    }
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
    *pool = NULL;
}
