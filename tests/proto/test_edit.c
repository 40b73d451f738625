#include "proto/edit.h"
#include "tests/proto/test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct kt_text text;
static struct kt_fault fault;

static void start(const char *s)
{
    memset(&text, 0, sizeof(text));
    assert_int_equal(kt_text_replace(&text, 1, s, strlen(s), &fault), 0);
}

static int splice(int rev, int base, int64_t at, int64_t del, const char *ins)
{
    const struct kt_splice s = {rev, base, at, del, ins, strlen(ins)};
    return kt_text_splice(&text, &s, &fault);
}

static void replaces_inserts_deletes(void **state)
{
    start("a red circle");
    assert_int_equal(splice(2, 1, 2, 3, "blue"), 0);
    assert_string_equal(text.bytes, "a blue circle");
    assert_int_equal(splice(3, 2, 0, 0, "not "), 0);
    assert_string_equal(text.bytes, "not a blue circle");
    assert_int_equal(splice(4, 3, 10, 7, ""), 0);
    assert_string_equal(text.bytes, "not a blue");
    assert_int_equal(splice(5, 4, 10, 0, "!"), 0);
    assert_string_equal(text.bytes, "not a blue!");
    assert_int_equal(text.n, 11);
    assert_int_equal(text.rev, 5);
}

static void counts_code_points(void **state)
{
    start("\xf0\x9f\x98\x80\xc3\xa9x");
    assert_int_equal(splice(2, 1, 1, 1, "\xe2\x82\xac"), 0);
    assert_string_equal(text.bytes, "\xf0\x9f\x98\x80\xe2\x82\xacx");
    assert_int_equal(splice(3, 2, 0, 3, ""), 0);
    assert_string_equal(text.bytes, "");
    assert_int_equal(text.n, 0);
}

static void wrong_base_changes_nothing(void **state)
{
    start("abc");
    assert_int_equal(splice(3, 2, 0, 0, "x"), -ESTALE);
    assert_int_equal(splice(3, 0, 0, 0, "x"), -ESTALE);
    assert_string_equal(text.bytes, "abc");
    assert_int_equal(text.rev, 1);
}

static void outside_changes_nothing(void **state)
{
    start("\xc3\xa9\xc3\xa9"); /* 2 code points in 4 bytes */
    static const struct {
        int64_t at, del;
    } bad[] = {{3, 0}, {2, 1}, {0, 3}, {1, 2}, {5, 0}, {-1, 0}, {0, -1}, {INT32_MAX, INT32_MAX}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(splice(2, 1, bad[i].at, bad[i].del, "x"), -EBADMSG);
        assert_int_equal(fault.code, KT_FAULT_BAD_SPLICE);
        assert_string_equal(fault.expected, "a range within 2 code points");
    }
    assert_int_equal(text.rev, 1);
    assert_int_equal(text.n, 4);
}

static void too_long_changes_nothing(void **state)
{
    static char big[10001];
    memset(big, 'x', 10000);
    start("ab");
    assert_int_equal(kt_text_replace(&text, 2, big, 10000, &fault), -EBADMSG);
    assert_int_equal(fault.code, KT_FAULT_TEXT_TOO_LONG);
    assert_string_equal(fault.found, "10000 bytes");
    assert_int_equal(splice(2, 1, 1, 0, big), -EBADMSG);
    assert_string_equal(text.bytes, "ab");
    /* Exactly the limit fits, one byte more does not, unless as much is taken away. */
    assert_int_equal(kt_text_replace(&text, 2, big, KT_TEXT_BYTES_MAX, &fault), 0);
    assert_int_equal(splice(3, 2, 0, 0, "y"), -EBADMSG);
    assert_int_equal(splice(3, 2, 0, 1, "y"), 0);
    assert_int_equal(text.n, KT_TEXT_BYTES_MAX);
}

static void revisions_grow(void **state)
{
    start("abc");
    assert_int_equal(splice(1, 1, 0, 0, "x"), -EBADMSG);
    assert_int_equal(fault.code, KT_FAULT_WRONG_REV);
    assert_int_equal(kt_text_replace(&text, 1, "x", 1, &fault), -EBADMSG);
    assert_string_equal(text.bytes, "abc");
    assert_int_equal(splice(9, 1, 0, 0, "x"), 0);
    assert_int_equal(text.rev, 9);
}

static void blanks(void **state)
{
    start(" \t\n");
    assert_true(kt_text_blank(&text));
    start(" a ");
    assert_false(kt_text_blank(&text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaces_inserts_deletes),
        cmocka_unit_test(counts_code_points),
        cmocka_unit_test(wrong_base_changes_nothing),
        cmocka_unit_test(outside_changes_nothing),
        cmocka_unit_test(too_long_changes_nothing),
        cmocka_unit_test(revisions_grow),
        cmocka_unit_test(blanks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
