/* Weights that nobody trained: their sizes, that they repeat, and where they come from. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/weights/random.h"

struct moments {
    double mean, deviation, fourth; /* fourth: of the deviation's; 3 of a normal */
};

static const struct kt_tensor *make(struct kt_random_weights *r, const char *name,
                                    const int64_t *shape, int rank)
{
    const struct kt_tensor *t = NULL;
    struct kt_error err;
    assert_int_equal(kt_random_weights_make(r, &t, name, shape, rank, &err), 0);
    assert_string_equal(t->name, name);
    assert_int_equal(t->dtype, KT_BF16);
    assert_int_equal(t->rank, rank);
    assert_memory_equal(t->shape, shape, (size_t)rank * sizeof(*shape));
    assert_int_equal(t->bytes, 2 * t->count);
    return t;
}

static struct moments measure(const struct kt_tensor *t)
{
    struct moments m = {0};
    float *x = malloc(t->count * sizeof(*x));
    kt_tensor_to_f32(t, x);
    for (size_t i = 0; i < t->count; i++) {
        m.mean += x[i] / (double)t->count;
    }
    for (size_t i = 0; i < t->count; i++) {
        const double d = x[i] - m.mean;
        m.deviation += d * d / (double)t->count;
        m.fourth += d * d * d * d / (double)t->count;
    }
    m.fourth /= m.deviation * m.deviation;
    m.deviation = sqrt(m.deviation);
    free(x);
    return m;
}

static void sizes_follow_from_name_and_shape(void **state)
{
    static const struct {
        const char *name;
        int64_t shape[5];
        int rank;
        double mean, deviation;
    } cases[] = {
        {"a.weight", {64, 1024}, 2, 0, 1.0 / 32},
        {"b.weight", {32, 1536}, 2, 0, 1.0 / 32},        /* 1/39, to a power of two */
        {"c.weight", {32, 3072}, 2, 0, 1.0 / 64},        /* 1/55 */
        {"d.weight", {64, 16, 1, 8, 8}, 5, 0, 1.0 / 32}, /* all but the outputs are fan in */
        {"e.weight", {65536, 1}, 2, 0, 1},
        {"f.norm.weight", {65536}, 1, 1, 1.0 / 8},
        {"g.gamma", {65536, 1, 1, 1}, 4, 1, 1.0 / 8},
        {"h.bias", {65536}, 1, 0, 1.0 / 64},
        {"i.modulation", {1, 6, 16384}, 3, 0, 1.0 / 16},
    };
    struct kt_random_weights *r = NULL;
    struct kt_error err;
    assert_int_equal(kt_random_weights_open(&r, &err), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct moments m = measure(make(r, cases[i].name, cases[i].shape, cases[i].rank));
        if (!(fabs(m.mean - cases[i].mean) < 0.03 * cases[i].deviation &&
              fabs(m.deviation / cases[i].deviation - 1) < 0.03 && fabs(m.fourth - 2.7) < 0.2)) {
            fail_msg("%s: mean %g, deviation %g, fourth %g", cases[i].name, m.mean, m.deviation,
                     m.fourth);
        }
    }
    kt_random_weights_close(&r);
    assert_null(r);
    kt_random_weights_close(&r);
}

static void values_belong_to_the_name(void **state)
{
    const int64_t shape[] = {16, 256};
    struct kt_random_weights *r[2] = {NULL, NULL};
    struct kt_error err;
    assert_int_equal(kt_random_weights_open(&r[0], &err), 0);
    assert_int_equal(kt_random_weights_open(&r[1], &err), 0);
    const struct kt_tensor *a = make(r[0], "a", shape, 2), *again = make(r[0], "a", shape, 2);
    const struct kt_tensor *other = make(r[0], "b", shape, 2), *there = make(r[1], "a", shape, 2);
    assert_memory_equal(a->data, again->data, a->bytes);
    assert_memory_equal(a->data, there->data, a->bytes);
    assert_memory_not_equal(a->data, other->data, a->bytes);
    kt_random_weights_close(&r[0]);
    kt_random_weights_close(&r[1]);
}

/* More than the pool has: round and round. */
static void a_large_tensor_repeats_the_pool(void **state)
{
    enum { POOL = 16 << 20 }; /* values */
    const int64_t shape[] = {20000, 2048};
    struct kt_random_weights *r = NULL;
    struct kt_error err;
    assert_int_equal(kt_random_weights_open(&r, &err), 0);
    const struct kt_tensor *t = make(r, "large", shape, 2);
    const uint16_t *x = t->data;
    assert_true(t->count > 2 * (size_t)POOL);
    for (size_t i = POOL; i < t->count; i += 4093) {
        assert_int_equal(x[i], x[i - POOL]);
    }
    assert_int_equal(x[t->count - 1], x[t->count - 1 - POOL]);
    /* A smaller one of that name begins alike, and goes round where it meets the pool's end. */
    const int64_t less[] = {8000, 2048};
    const struct kt_tensor *part = make(r, "large", less, 2);
    assert_memory_equal(part->data, t->data, part->bytes);
    kt_random_weights_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_follow_from_name_and_shape),
        cmocka_unit_test(values_belong_to_the_name),
        cmocka_unit_test(a_large_tensor_repeats_the_pool),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
