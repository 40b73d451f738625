#include "kernels/cpu/parallel.h"

#ifdef _OPENMP
#include <omp.h>

void kt_parallel(struct kt_queue *q, int items, kt_parallel_fn fn, void *ctx)
{
    if (q->threads == 1 || items <= 1) {
        for (int i = 0; i < items; i++) {
            fn(ctx, i, 0);
        }
        return;
    }
    /* dynamic: a core lent to the encoder or the browser for a moment must not hold up the rest */
#pragma omp parallel for num_threads(q->threads) schedule(dynamic, 1)
    for (int i = 0; i < items; i++) {
        fn(ctx, i, omp_get_thread_num());
    }
}
#else
void kt_parallel(struct kt_queue *q, int items, kt_parallel_fn fn, void *ctx)
{
    (void)q;
    for (int i = 0; i < items; i++) {
        fn(ctx, i, 0);
    }
}
#endif
