/* The tokenizer, on a model of 170 pieces trained for this test: <pad> 0, </s> 1, <unk> 2, control
 * <ctl> 3, user-defined <extra_id_0> 4, <extra_id_1> with U+2581 5, <user> 6. Built without
 * SentencePiece it is skipped (77). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/file.h"
#include "engine/text/tokenizer.h"
#include "tests/text/tmp_dir.h"

static struct kt_tokenizer *open_tokenizer(void)
{
    struct kt_tokenizer *tok;
    struct kt_error err;

    if (kt_tokenizer_open(&tok, getenv("KT_SPIECE"), &err) < 0) {
        fail_msg("%s", err.text);
    }
    return tok;
}

static int encode(const struct kt_tokenizer *tok, const char *text, int32_t *ids, int cap)
{
    struct kt_error err;
    return kt_tokenizer_encode(tok, text, strlen(text), ids, cap, &err);
}

static void encodes_and_ends(void **state)
{
    static const int32_t EXPECTED[] = {8, 7, 28, 36, 34, 9, 26, 18, 1}; /* as spm_encode says */
    struct kt_tokenizer *tok = open_tokenizer();
    int32_t ids[32];

    (void)state;
    assert_int_equal(kt_tokenizer_vocab(tok), 170);
    assert_int_equal(encode(tok, "a red circle", ids, 32), 9);
    assert_memory_equal(ids, EXPECTED, sizeof(EXPECTED));
    assert_int_equal(encode(tok, "", ids, 32), 1);
    assert_int_equal(ids[0], 1);
    kt_tokenizer_close(&tok);
    assert_null(tok);
    kt_tokenizer_close(&tok);
    kt_tokenizer_close(NULL);
}

static void keeps_eos_when_cut(void **state)
{
    struct kt_tokenizer *tok = open_tokenizer();
    int32_t ids[5] = {0, 0, 0, 0, -7};

    (void)state;
    assert_int_equal(encode(tok, "a red circle", ids, 4), 4);
    assert_int_equal(ids[0], 8);
    assert_int_equal(ids[2], 28);
    assert_int_equal(ids[3], 1);
    assert_int_equal(ids[4], -7);
    assert_int_equal(encode(tok, "a red circle", ids, 1), 1);
    assert_int_equal(ids[0], 1);
    kt_tokenizer_close(&tok);
}

static void control_pieces_are_text(void **state)
{
    static const char *const TYPED[] = {"</s>",
                                        "<pad>",
                                        "<unk>",
                                        "<ctl>",
                                        "<extra_id_0>",
                                        "<extra_id_1>",
                                        "a</s>b<extra_id_0>",
                                        "\xe2\x96\x81<extra_id_1>",
                                        "<s>",
                                        "</s></s> <pad>",
                                        "<extra_id_0><extra_id_1>"};
    struct kt_tokenizer *tok = open_tokenizer();
    int32_t ids[64];

    (void)state;
    for (size_t t = 0; t < sizeof(TYPED) / sizeof(TYPED[0]); t++) {
        const int n = encode(tok, TYPED[t], ids, 64);
        assert_true(n > 3);
        for (int i = 0; i < n - 1; i++) {
            if (ids[i] == 0 || ids[i] == 1 || (ids[i] >= 3 && ids[i] <= 5)) {
                fail_msg("'%s' gave control id %d", TYPED[t], ids[i]);
            }
        }
        assert_int_equal(ids[n - 1], 1);
    }
    /* A piece that the model's maker wants matched whole, and is no extra id, stays whole. */
    assert_int_equal(encode(tok, "<user>", ids, 64), 3);
    assert_int_equal(ids[1], 6);
    kt_tokenizer_close(&tok);
}

static void unknown_letters_are_unknown(void **state)
{
    struct kt_tokenizer *tok = open_tokenizer();
    int32_t ids[8];

    (void)state;
    assert_int_equal(encode(tok, "\xe2\x98\x83", ids, 8), 3);
    assert_int_equal(ids[1], 2);
    kt_tokenizer_close(&tok);
}

static void expect_open(const char *path, int code, const char *words)
{
    struct kt_tokenizer *tok;
    struct kt_error err = {""};
    const int r = kt_tokenizer_open(&tok, path, &err);

    if (r != code || !strstr(err.text, path) || !strstr(err.text, words)) {
        fail_msg("expected %d '%s', got %d '%s'", code, words, r, err.text);
    }
    assert_null(tok);
}

static void refuses_bad_files(void **state)
{
    char *model;
    size_t n;
    struct kt_error err;

    expect_open(tmp_dir_at(*state, "none.model"), -ENOENT, "cannot read: No such file");
    expect_open(tmp_dir_write(*state, "empty.model", "", 0), -EBADMSG,
                "expected a SentencePiece model");
    expect_open(tmp_dir_write(*state, "text.model", "hello there", 11), -EBADMSG,
                "expected a SentencePiece model");
    assert_int_equal(kt_file_read(getenv("KT_SPIECE"), 1 << 20, &model, &n, &err), 0);
    expect_open(tmp_dir_write(*state, "cut.model", model, n / 2), -EBADMSG, "SentencePiece");
    /* "</s>" of id 1 renamed: no end-of-sequence piece there. */
    char *eos = memmem(model, n, "</s>", 4);
    assert_non_null(eos);
    eos[1] = 'x';
    expect_open(tmp_dir_write(*state, "noeos.model", model, n), -EBADMSG,
                "expected the end-of-sequence piece at id 1, found");
    free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodes_and_ends),        cmocka_unit_test(keeps_eos_when_cut),
        cmocka_unit_test(control_pieces_are_text), cmocka_unit_test(unknown_letters_are_unknown),
        cmocka_unit_test(refuses_bad_files),
    };
    struct kt_tokenizer *tok;
    struct kt_error err;

    if (kt_tokenizer_open(&tok, "any", &err) == -ENOTSUP) {
        fprintf(stderr, "%s\n", err.text);
        return 77;
    }
    return cmocka_run_group_tests(tests, tmp_dir_make, tmp_dir_remove);
}
