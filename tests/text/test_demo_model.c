/* The demo model's text side as it is shipped: its configuration is accepted, its tokenizer fits
 * its embedding, its weights load, and every word it says it knows is tokenized without an unknown
 * piece. Skipped (77) where the model is not there. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/model/config.h"
#include "engine/text/text_encoder.h"
#include "engine/text/tokenizer.h"
#include "engine/text/vocabulary.h"

enum { UNKNOWN = 2 };

static struct kt_model_config config;
static struct kt_tokenizer *tokenizer;

static const char *path_of(const char *file)
{
    static char path[512];

    snprintf(path, sizeof(path), "%s/%s", getenv("KT_DEMO_DIR"), file);
    return path;
}

static int open_model(void **state)
{
    struct kt_error err;

    (void)state;
    if (kt_model_config_load(&config, getenv("KT_DEMO_DIR"), &err) < 0 ||
        kt_tokenizer_open(&tokenizer, path_of(config.text.tokenizer), &err) < 0) {
        fail_msg("%s", err.text);
    }
    return 0;
}

static int close_model(void **state)
{
    (void)state;
    kt_tokenizer_close(&tokenizer);
    kt_model_config_free(&config);
    return 0;
}

static void tokenizer_fits_the_embedding(void **state)
{
    (void)state;
    assert_true(kt_tokenizer_vocab(tokenizer) <= config.text.vocab);
}

static void weights_load(void **state)
{
    struct kt_safetensors *st;
    struct kt_text_encoder *enc;
    struct kt_device *dev;
    struct kt_error err;

    (void)state;
    if (kt_safetensors_open(&st, path_of(config.text.file), &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(kt_device_open(&dev, &(struct kt_device_params){.threads = 1}, &err), 0);
    if (kt_text_encoder_open(&enc, dev, &config.text, st, &err) < 0) {
        fail_msg("%s", err.text);
    }
    kt_text_encoder_close(&enc);
    kt_device_close(&dev);
    kt_safetensors_close(&st);
}

static void expect_known_pieces(const char *text)
{
    int32_t ids[512];
    struct kt_error err;
    const int n = kt_tokenizer_encode(tokenizer, text, strlen(text), ids, 512, &err);

    assert_true(n > 1);
    for (int i = 0; i < n; i++) {
        if (ids[i] == UNKNOWN) {
            fail_msg("'%s' holds a piece the tokenizer does not know", text);
        }
    }
}

static void known_words_are_known(void **state)
{
    struct kt_word_list *list;
    struct kt_word_report report;

    (void)state;
    assert_non_null(config.vocabulary.known_words);
    assert_non_null(config.vocabulary.examples);
    for (char **w = config.vocabulary.known_words; *w; w++) {
        expect_known_pieces(*w);
    }
    assert_int_equal(kt_word_list_open(&list, config.vocabulary.known_words, NULL), 0);
    for (char **e = config.vocabulary.examples; *e; e++) {
        expect_known_pieces(*e);
        kt_word_list_judge(list, *e, strlen(*e), &report);
        if (report.unknown > 0) {
            fail_msg("example '%s' uses '%s', which is not in known_words", *e, report.words[0]);
        }
    }
    kt_word_list_close(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokenizer_fits_the_embedding),
        cmocka_unit_test(weights_load),
        cmocka_unit_test(known_words_are_known),
    };
    const char *dir = getenv("KT_DEMO_DIR");
    struct kt_tokenizer *tok;

    if (!dir || access(path_of("config.json"), R_OK) != 0) {
        fprintf(stderr, "no demo model\n");
        return 77;
    }
    if (kt_tokenizer_open(&tok, "any", NULL) == -ENOTSUP) {
        fprintf(stderr, "no SentencePiece\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, open_model, close_model);
}
