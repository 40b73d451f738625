#include "server/bucket.h"
#include "server/outq.h"
#include "tests/proto/test.h"

#include <errno.h>
#include <string.h>

static struct kt_packet_pool *pool;
static struct kt_outq q;

static int setup(void **state)
{
    kt_outq_init(&q);
    return kt_packet_pool_create(&pool, 12, 1000);
}

static int teardown(void **state)
{
    kt_outq_clear(&q);
    kt_packet_pool_destroy(&pool); /* asserts that every packet came back */
    return 0;
}

static int push_picture(uint32_t epoch, uint64_t number)
{
    struct kt_packet *p = kt_packet_take(pool);
    assert_non_null(p);
    p->header.epoch = epoch;
    p->number = number;
    p->n = 100;
    return kt_outq_push(&q, p, 7);
}

static void headroom_and_capacity(void **state)
{
    struct kt_packet *p = kt_packet_take(pool), *other = kt_packet_take(pool);
    assert_int_equal(p->cap, 1000);
    memset(p->data - KT_PACKET_HEADROOM, 0xaa, KT_PACKET_HEADROOM + p->cap);
    memset(other->data - KT_PACKET_HEADROOM, 0xbb, KT_PACKET_HEADROOM + other->cap);
    assert_int_equal(p->data[999], 0xaa);
    assert_int_equal(p->data[-KT_PACKET_HEADROOM], 0xaa);
    kt_packet_release(&p);
    kt_packet_release(&other);
    assert_null(p);
    kt_packet_release(&p);
    assert_int_equal(kt_packet_pool_free(pool), 12);
}

static void pool_runs_dry(void **state)
{
    struct kt_packet *p[12];
    for (int i = 0; i < 12; i++) {
        p[i] = kt_packet_take(pool);
        assert_non_null(p[i]);
    }
    assert_null(kt_packet_take(pool));
    for (int i = 0; i < 12; i++) {
        kt_packet_release(&p[i]);
    }
}

static void texts_go_first(void **state)
{
    push_picture(1, 0);
    assert_int_equal(kt_outq_push(&q, kt_packet_text("hello"), 9), 0);
    assert_int_equal(kt_outq_oldest_us(&q), 7);
    struct kt_packet *p = kt_outq_pop(&q);
    assert_memory_equal(p->data, "hello", 5);
    kt_packet_release(&p);
    p = kt_outq_pop(&q);
    assert_int_equal(p->header.epoch, 1);
    kt_packet_release(&p);
    assert_null(kt_outq_pop(&q));
    assert_true(kt_outq_empty(&q));
    assert_true(kt_outq_oldest_us(&q) == INT64_MAX);
}

static void soft_and_hard_limit(void **state)
{
    for (int i = 0; i < KT_OUTQ_PICTURES_MAX; i++) {
        assert_int_equal(kt_outq_room(&q), i < KT_OUTQ_PICTURES_SOFT);
        assert_int_equal(push_picture(1, (uint64_t)i), 0);
    }
    assert_int_equal(push_picture(1, 99), -ENOBUFS);
    assert_int_equal(q.picture_count, KT_OUTQ_PICTURES_MAX);
}

static void texts_are_bounded(void **state)
{
    for (int i = 0; i < KT_OUTQ_TEXTS_MAX; i++) {
        assert_int_equal(kt_outq_push(&q, kt_packet_text("x"), 0), 0);
    }
    assert_int_equal(kt_outq_push(&q, kt_packet_text("x"), 0), -ENOBUFS);
    kt_outq_clear(&q);
    static char big[KT_OUTQ_TEXT_BYTES_MAX / 4 + 2];
    memset(big, 'x', sizeof(big) - 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kt_outq_push(&q, kt_packet_text(big), 0), 0);
    }
    assert_int_equal(kt_outq_push(&q, kt_packet_text(big), 0), -ENOBUFS);
}

static void flush_keeps_the_new_epoch(void **state)
{
    const uint32_t epochs[] = {1, 2, 1, 2, 1};
    for (int i = 0; i < 5; i++) {
        push_picture(epochs[i], (uint64_t)i);
    }
    kt_outq_flush(&q, 2);
    assert_int_equal(q.flushed, 3);
    push_picture(3, 5); /* the end of the list is right */
    const uint64_t numbers[] = {1, 3, 5};
    for (int i = 0; i < 3; i++) {
        struct kt_packet *p = kt_outq_pop(&q);
        assert_non_null(p);
        assert_int_equal(p->number, numbers[i]);
        kt_packet_release(&p);
    }
    kt_outq_flush(&q, 9);
    push_picture(9, 6);
    kt_outq_flush(&q, 10);
    assert_true(kt_outq_empty(&q));
    push_picture(10, 7);
    assert_int_equal(q.picture_count, 1);
}

static void bucket(void **state)
{
    struct kt_bucket b;
    kt_bucket_init(&b, 10, 3, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kt_bucket_take(&b, 0), 0);
    }
    assert_in_range(kt_bucket_take(&b, 0), 100, 101);
    assert_in_range(kt_bucket_take(&b, 50000), 50, 51);
    assert_int_equal(kt_bucket_take(&b, 100000), 0);
    for (int i = 0; i < 3; i++) { /* a long rest fills it to the burst, not beyond */
        assert_int_equal(kt_bucket_take(&b, 100000000), 0);
    }
    assert_true(kt_bucket_take(&b, 100000000) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(headroom_and_capacity, setup, teardown),
        cmocka_unit_test_setup_teardown(pool_runs_dry, setup, teardown),
        cmocka_unit_test_setup_teardown(texts_go_first, setup, teardown),
        cmocka_unit_test_setup_teardown(soft_and_hard_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(texts_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(flush_keeps_the_new_epoch, setup, teardown),
        cmocka_unit_test(bucket),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
