/* Prompt cleaning against what Python's html.unescape (twice) and whitespace rules make of the same
 * text. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "engine/text/tokenizer.h"

static void expect(const char *in, const char *out)
{
    char buffer[512];
    struct kt_error err = {""};
    const int n = kt_text_clean(in, strlen(in), buffer, strlen(in) + 1, &err);

    if (n != (int)strlen(out) || strcmp(buffer, out) != 0) {
        fail_msg("'%s': expected '%s', got %d '%s' %s", in, out, n, n < 0 ? "" : buffer, err.text);
    }
}

static void collapses_white_space(void **state)
{
    (void)state;
    expect("", "");
    expect(" \t\n\v\f\r ", "");
    expect("a red circle", "a red circle");
    expect("  a\n\n red\t circle  ", "a red circle");
    /* U+00A0 U+2003 U+3000 U+0085 U+001C are white space; U+200B and U+FEFF are not. */
    expect("a\xc2\xa0\xe2\x80\x83"
           "b\xe3\x80\x80\xc2\x85\x1c"
           "c",
           "a b c");
    expect("a\xe2\x80\x8b"
           "b\xef\xbb\xbf",
           "a\xe2\x80\x8b"
           "b\xef\xbb\xbf");
}

static void unescapes_names(void **state)
{
    (void)state;
    expect("a &amp; b &lt;c&gt; &quot;d&quot; &apos;", "a & b <c> \"d\" '");
    expect("a&nbsp;&nbsp;b", "a b");
    expect("&eacute;&Eacute;&euro;&hellip;", "\xc3\xa9\xc3\x89\xe2\x82\xac\xe2\x80\xa6");
    expect("&lt b &ampx &notit;", "< b &x \xc2\xacit;"); /* the old names need no semicolon */
    expect("&alpha b", "&alpha b");                      /* the younger ones do */
    expect("&nothing; & &; &&amp;", "\xc2\xaching; & &; &&");
    expect("&xyz; &AMP;&Amp;", "&xyz; &&Amp;");
}

static void unescapes_numbers(void **state)
{
    (void)state;
    expect("&#65;&#x42;&#X43;&#68", "ABCD");
    expect("&#9731; &#x1F600;", "\xe2\x98\x83 \xf0\x9f\x98\x80");
    expect("&#0;&#xD800;&#x110000;&#99999999999999999999;",
           "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    expect("&#128;&#x9f;&#x81;", "\xe2\x82\xac\xc5\xb8\xc2\x81");
    expect("a&#1;&#x0b;&#xfdd0;&#xffff;&#x10ffff;b", "ab");
    expect("a&#32;&#9;&#10;&#x3000;b", "a b");
    expect("&#; &#x; &#xg; &#", "&#; &#x; &#xg; &#");
}

static void unescapes_twice_and_no_more(void **state)
{
    (void)state;
    expect("&amp;lt;", "<");
    expect("&amp;amp;lt;", "&lt;");
    expect("&am&#112;;", "&");
    expect("&#38;#65;", "A");
}

static void expect_refusal(const char *in, size_t n, const char *words)
{
    char out[64];
    struct kt_error err;

    assert_int_equal(kt_text_clean(in, n, out, sizeof(out), &err), -EILSEQ);
    assert_non_null(strstr(err.text, words));
}

static void refuses_invalid_utf8(void **state)
{
    (void)state;
    expect_refusal("ab\xff", 3, "invalid UTF-8 at byte 2 (0xFF)");
    expect_refusal("\x80", 1, "at byte 0 (0x80)");
    expect_refusal("a\xc0\xaf", 3, "at byte 1");        /* overlong */
    expect_refusal("a\xe0\x9f\xbf", 4, "at byte 1");    /* overlong */
    expect_refusal("\xed\xa0\x80", 3, "at byte 0");     /* surrogate */
    expect_refusal("\xf4\x90\x80\x80", 4, "at byte 0"); /* above U+10FFFF */
    expect_refusal("abc\xe2\x82", 5, "at byte 3");      /* cut short */
    expect_refusal("\xc3(", 2, "at byte 0");
    expect_refusal("a\0b", 3, "a NUL at byte 1");
}

static void keeps_to_its_buffer(void **state)
{
    char out[4] = "xyz";
    struct kt_error err;

    (void)state;
    assert_int_equal(kt_text_clean("abcd", 4, out, 4, &err), -ENOSPC);
    assert_non_null(strstr(err.text, "expected at most 3 bytes, found 4"));
    assert_int_equal(kt_text_clean("", 0, out, 0, &err), -ENOSPC);
    assert_string_equal(out, "xyz");
    assert_int_equal(kt_text_clean("abcd", 3, out, 4, &err), 3);
    assert_string_equal(out, "abc");
    assert_int_equal(kt_text_clean(out, 3, out, 4, NULL), 3); /* in place */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collapses_white_space), cmocka_unit_test(unescapes_names),
        cmocka_unit_test(unescapes_numbers),     cmocka_unit_test(unescapes_twice_and_no_more),
        cmocka_unit_test(refuses_invalid_utf8),  cmocka_unit_test(keeps_to_its_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
