#include "proto/utf8.h"
#include "tests/proto/test.h"

#include <string.h>

static void valid_texts(void **state)
{
    static const char *const good[] = {"",
                                       "a",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(kt_utf8_valid(good[i], strlen(good[i]), NULL));
    }
}

static void invalid_texts(void **state)
{
    static const struct {
        const char *bytes;
        size_t bad;
    } cases[] = {
        {"\x80", 0},             /* a continuation alone */
        {"ab\xc3", 2},           /* cut short */
        {"\xc0\xaf", 0},         /* overlong */
        {"\xc1\xbf", 0},         /* overlong */
        {"\xe0\x9f\xbf", 0},     /* overlong */
        {"x\xed\xa0\x80", 1},    /* surrogate */
        {"\xf0\x8f\xbf\xbf", 0}, /* overlong */
        {"\xf4\x90\x80\x80", 0}, /* above U+10FFFF */
        {"\xf5\x80\x80\x80", 0},
        {"\xff", 0},
        {"\xe2\x82", 0},
        {"\xf0\x9f\x98", 0},
        {"ok\xe2\x28\xa1", 2},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t bad = 99;
        assert_false(kt_utf8_valid(cases[i].bytes, strlen(cases[i].bytes), &bad));
        assert_int_equal(bad, cases[i].bad);
    }
}

static void counts_and_offsets(void **state)
{
    const char *s =
        "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"; /* a, e acute, euro, face, z: 1 2 3 4 1 bytes */
    const size_t n = strlen(s);
    assert_int_equal(kt_utf8_count(s, n), 5);
    static const size_t at[] = {0, 1, 3, 6, 10, 11};
    for (size_t i = 0; i <= 5; i++) {
        assert_int_equal(kt_utf8_offset(s, n, i), at[i]);
    }
    assert_true(kt_utf8_offset(s, n, 6) == (size_t)-1);
}

static void cuts(void **state)
{
    const char *s = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
    static const size_t expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10};
    for (size_t n = 0; n <= 10; n++) {
        assert_int_equal(kt_utf8_cut(s, n), expected[n]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_texts),
        cmocka_unit_test(invalid_texts),
        cmocka_unit_test(counts_and_offsets),
        cmocka_unit_test(cuts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
