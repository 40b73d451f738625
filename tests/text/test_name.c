/* Names in error messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/name.h"

static void shows_names_safely(void **state)
{
    char longer[300];

    (void)state;
    assert_string_equal(kt_name_show("blocks.0").text, "blocks.0");
    assert_string_equal(kt_name_show("a\x1b[1m\n\x7f").text, "a?[1m??");
    memset(longer, 'x', sizeof(longer));
    longer[299] = 0;
    assert_int_equal(strlen(kt_name_show(longer).text), KT_NAME_SHOWN_MAX - 1);
    assert_string_equal(kt_name_show(longer).text + KT_NAME_SHOWN_MAX - 5, "x...");
    /* A cut never leaves half a character: two-byte letters, shifted by one. */
    for (int i = 1; i + 1 < 299; i += 2) {
        memcpy(longer + i, "\xc3\xa9", 2);
    }
    const struct kt_shown_name shown = kt_name_show(longer);
    assert_memory_equal(shown.text + strlen(shown.text) - 5, "\xc3\xa9...", 5);
}

static void suggests_the_nearest(void **state)
{
    const char *names[] = {"num_heads", "num_layers", "dim", "ffn_dim"};

    (void)state;
    assert_int_equal(kt_name_nearest("num_head", names, 4), 0);
    assert_int_equal(kt_name_nearest("n_layers", names, 4), 1);
    assert_int_equal(kt_name_nearest("dmi", names, 4), -1);
    assert_int_equal(kt_name_nearest("dims", names, 4), 2);
    assert_int_equal(kt_name_nearest("colour", names, 4), -1);
    assert_int_equal(kt_name_nearest("", names, 4), -1);
    assert_int_equal(kt_name_nearest("dim", names, 0), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shows_names_safely),
        cmocka_unit_test(suggests_the_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
