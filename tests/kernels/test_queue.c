/* What queues and threads promise on every level: nothing is allocated once the shapes are known,
 * the same bits whatever the number of threads, every item of a job exactly once, and errors for
 * bad calls. */
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/queue.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

enum { M = 70, K = 96, N = 130, C = 16, T = 2, H = 12, W = 20 };

struct results {
    float linear[M * N], conv[T * H * W * C], attention[M * K], noise[100];
};

static float *ramp(size_t n, unsigned seed)
{
    float *x = malloc(n * sizeof(*x));
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)((i * 2654435761u + seed) >> 8 & 0xffff) * 0x1p-15f - 1.0f;
    }
    return x;
}

/* A small forward pass; `times` over, so that the second time finds everything in place. */
static void run_pass(const struct kt_kernels *k, struct kt_queue *q, struct results *out, int times)
{
    float *x = ramp(T * H * W * C, 1), *w = ramp(N * K, 2), *b = ramp(N, 3);
    struct kt_linear *l = NULL;
    struct kt_conv *c = NULL;
    const struct kt_linear_desc ld = {N, K, KT_F32, w, b, 0};
    const struct kt_conv_desc cd = {.c_in = C,
                                    .c_out = C,
                                    .kt = 3,
                                    .kh = 3,
                                    .kw = 3,
                                    .st = 1,
                                    .sh = 1,
                                    .sw = 1,
                                    .pad_top = 1,
                                    .pad_bottom = 1,
                                    .pad_left = 1,
                                    .pad_right = 1,
                                    .causal = 1,
                                    .weight = w,
                                    .bias = b};
    assert_int_equal(0, k->linear_create(&l, q, &ld));
    assert_int_equal(0, k->conv_create(&c, q, &cd));
    uint64_t warm = 0;
    for (int i = 0; i < times; i++) {
        assert_int_equal(
            0, k->linear(q, l, &(struct kt_linear_args){.x = x, .y = out->linear, .m = M}));
        assert_int_equal(
            0, k->conv(q, c,
                       &(struct kt_conv_args){.x = x, .y = out->conv, .t_in = T, .h = H, .w = W}));
        assert_int_equal(0, k->attention(q, &(struct kt_attention_args){.q = x,
                                                                        .k = x,
                                                                        .v = x,
                                                                        .y = out->attention,
                                                                        .tq = M,
                                                                        .tk = M,
                                                                        .heads = 3,
                                                                        .head_dim = 32,
                                                                        .scale = 0.2f}));
        assert_int_equal(0, k->noise(q, out->noise, 100, 5, 6));
        struct kt_queue_stats s;
        k->queue_stats(q, &s);
        assert_int_equal(4 * (i + 1), s.launches);
        if (i > 0) {
            assert_int_equal(warm, s.allocs);
        }
        warm = s.allocs;
    }
    k->linear_destroy(&l);
    k->conv_destroy(&c);
    free(x), free(w), free(b);
}

static void test_threads_and_allocations(void **state)
{
    (void)state;
    static const unsigned masks[] = {KT_CPU_REF, KT_CPU_SIMD, KT_CPU_ALL};
    struct results *first = calloc(2, sizeof(*first)), *other = first + 1;
    for (size_t m = 0; m < sizeof(masks) / sizeof(masks[0]); m++) {
        struct kt_kernels k;
        kt_kernels_cpu(&k, masks[m]);
        for (int threads = 1; threads <= 4; threads++) {
            struct kt_queue *q = NULL;
            assert_int_equal(0, k.queue_create(&q, &(struct kt_queue_params){.threads = threads}));
            run_pass(&k, q, threads == 1 ? first : other, 3);
            assert_int_equal(0, k.queue_sync(q));
            k.queue_destroy(&q);
            assert_null(q);
            if (threads > 1) {
                assert_memory_equal(first, other, sizeof(*first));
            }
        }
    }
    free(first);
}

struct count {
    _Atomic int seen[1000];
    _Atomic int bad_worker;
    int threads;
};

static void count_item(void *ctx, int item, int worker)
{
    struct count *c = ctx;
    atomic_fetch_add(&c->seen[item], 1);
    if (worker < 0 || worker >= c->threads) {
        atomic_fetch_add(&c->bad_worker, 1);
    }
}

/* The calling thread dawdles so that workers get in; they finish long after it. */
static void dawdle(void *ctx, int item, int worker)
{
    const struct timespec t = {.tv_nsec = worker == 0 ? 200000 : 5000000};
    nanosleep(&t, NULL);
    count_item(ctx, item, worker);
}

static void test_waits_for_items_begun(void **state)
{
    (void)state;
    struct count *c = calloc(1, sizeof(*c));
    struct kt_queue *q = NULL;
    c->threads = 3;
    assert_int_equal(0, kt_cpu_queue_create(&q, &(struct kt_queue_params){.threads = 3}));
    for (int round = 0; round < 5; round++) {
        kt_parallel(q, 20, dawdle, c);
        for (int i = 0; i < 20; i++) {
            assert_int_equal(1, atomic_exchange(&c->seen[i], 0));
        }
    }
    kt_cpu_queue_destroy(&q);
    free(c);
}

/* Many short jobs: workers come late, are inside when a job closes, and fall asleep in between. */
static void test_every_item_once(void **state)
{
    (void)state;
    struct count *c = calloc(1, sizeof(*c));
    struct kt_queue *q = NULL;
    c->threads = 4;
    assert_int_equal(0, kt_cpu_queue_create(&q, &(struct kt_queue_params){.threads = 4}));
    for (int round = 0; round < 2000; round++) {
        const int items = round * 7 % 1000;
        kt_parallel(q, items, count_item, c);
        for (int i = 0; i < 1000; i++) {
            assert_int_equal(i < items, atomic_exchange(&c->seen[i], 0));
        }
    }
    assert_int_equal(0, c->bad_worker);
    kt_cpu_queue_destroy(&q);
    free(c);
}

static void test_errors(void **state)
{
    (void)state;
    static const unsigned masks[] = {KT_CPU_REF, KT_CPU_SIMD, KT_CPU_ALL};
    for (size_t m = 0; m < sizeof(masks) / sizeof(masks[0]); m++) {
        struct kt_kernels k;
        struct kt_queue *q = NULL;
        float x[64] = {0}, y[64];
        kt_kernels_cpu(&k, masks[m]);
        assert_int_equal(-EINVAL, k.queue_create(&q, &(struct kt_queue_params){.threads = 0}));
        assert_int_equal(
            0, k.queue_create(&q, &(struct kt_queue_params){.threads = 2, .workspace_bytes = 64}));
        struct kt_linear *l = NULL;
        struct kt_conv *c = NULL;
        assert_int_equal(
            -EINVAL, k.linear_create(&l, q, &(struct kt_linear_desc){0, 4, KT_F32, x, NULL, 0}));
        assert_int_equal(
            -EINVAL, k.linear_create(&l, q, &(struct kt_linear_desc){4, 4, KT_I32, x, NULL, 0}));
        const struct kt_conv_desc flat = {.c_in = 1,
                                          .c_out = 1,
                                          .kt = 1,
                                          .kh = 3,
                                          .kw = 3,
                                          .st = 1,
                                          .sh = 1,
                                          .sw = 1,
                                          .weight = x};
        struct kt_conv_desc bad = flat;
        bad.causal = 1, bad.st = 2; /* a causal filter moves by single frames */
        assert_int_equal(-EINVAL, k.conv_create(&c, q, &bad));
        assert_null(c);
        assert_int_equal(0, k.conv_create(&c, q, &flat));
        const struct kt_conv_args small = {.x = x, .y = y, .t_in = 1, .h = 2, .w = 3};
        assert_int_equal(-EINVAL, k.conv(q, c, &small)); /* lower than the filter, no padding */
        const struct kt_attention_args none = {
            .q = x, .k = x, .v = x, .y = y, .tq = 1, .heads = 1, .head_dim = 4};
        assert_int_equal(-EINVAL, k.attention(q, &none)); /* no keys */
        k.conv_destroy(&c);
        k.linear_destroy(&l);
        k.queue_destroy(&q);
        k.queue_destroy(&q);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_and_allocations),
        cmocka_unit_test(test_waits_for_items_begun),
        cmocka_unit_test(test_every_item_once),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
