/* Which words of a prompt a model knows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/text/vocabulary.h"

static struct kt_word_report judge(char *const *known, const char *text)
{
    struct kt_word_list *list;
    struct kt_word_report report;

    assert_int_equal(kt_word_list_open(&list, known, NULL), 0);
    kt_word_list_judge(list, text, strlen(text), &report);
    kt_word_list_close(&list);
    assert_null(list);
    return report;
}

static char *KNOWN[] = {"a", "Red", "circle", "night sky", "left-to-right", "caf\xc3\xa9", NULL};

static void counts_words(void **state)
{
    (void)state;
    struct kt_word_report r = judge(KNOWN, "A red, CIRCLE (above the night-sky)!");
    assert_int_equal(r.known, 4);
    assert_int_equal(r.unknown, 1);
    assert_int_equal(r.listed, 1);
    assert_string_equal(r.words[0], "above");
    r = judge(KNOWN, "to the right caf\xc3\xa9");
    assert_int_equal(r.known, 2);
    assert_int_equal(r.unknown, 0);
    r = judge(KNOWN, "\xe2\x80\x9c"
                     "circle's\xe2\x80\x9d circle\xe2\x80\x99s circles' 'red'");
    assert_int_equal(r.known, 3);
    assert_int_equal(r.unknown, 1);
    assert_string_equal(r.words[0], "circles");
}

static void nothing_is_nothing(void **state)
{
    static const char *const TEXTS[] = {"", " ... -- !? \xe2\x80\x94 ' '' ", "a", "over the"};

    (void)state;
    for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
        const struct kt_word_report r = judge(KNOWN, TEXTS[i]);
        assert_int_equal(r.known + r.unknown, 0);
    }
    const struct kt_word_report r = judge(KNOWN, "a xylophone over the abacus");
    assert_int_equal(r.known, 0); /* "a" is in the list, and says nothing */
    assert_int_equal(r.unknown, 2);
}

static void fillers_are_all_found(void **state)
{
    (void)state;
    const struct kt_word_report r =
        judge(KNOWN, "a an and are as at by for from in is it its near of on or over the then "
                     "there this to under with");
    assert_int_equal(r.known + r.unknown, 0);
}

static void without_a_list_all_is_known(void **state)
{
    char *none[] = {NULL};
    struct kt_word_list *list;

    (void)state;
    struct kt_word_report r = judge(NULL, "any thing there at all");
    assert_int_equal(r.known, 3);
    assert_int_equal(r.unknown, 0);
    r = judge(none, "any thing at all"); /* an empty list knows nothing */
    assert_int_equal(r.unknown, 3);
    assert_int_equal(kt_word_list_open(&list, NULL, NULL), 0);
    assert_true(kt_word_list_knows_all(list));
    kt_word_list_close(&list);
    assert_int_equal(kt_word_list_open(&list, none, NULL), 0);
    assert_false(kt_word_list_knows_all(list));
    kt_word_list_close(&list);
}

static void lists_are_bounded(void **state)
{
    char text[1200], expected[128];

    (void)state;
    struct kt_word_report r = judge(KNOWN, "b c d e f g h i j k b c b");
    assert_int_equal(r.unknown, 13);
    assert_int_equal(r.listed, KT_UNKNOWN_LISTED_MAX);
    assert_string_equal(r.words[7], "i");
    /* Long words are cut between characters, by bytes and by characters. */
    for (int i = 0; i < 1000; i += 2) {
        memcpy(text + i, "\xc3\xa9", 2);
    }
    strcpy(text + 1000, "b");
    r = judge(KNOWN, text);
    assert_int_equal(r.unknown, 1);
    memcpy(expected, text, 62);
    expected[62] = '\0';
    assert_string_equal(r.words[0], expected);
    memset(text, 'x', 40);
    text[40] = '\0';
    r = judge(KNOWN, text);
    assert_int_equal(strlen(r.words[0]), KT_UNKNOWN_LISTED_CHARS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_words),          cmocka_unit_test(nothing_is_nothing),
        cmocka_unit_test(fillers_are_all_found), cmocka_unit_test(without_a_list_all_is_known),
        cmocka_unit_test(lists_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
