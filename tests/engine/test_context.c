/* The cache of encoded prompts: what stays, what goes, and what is refused. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/fixture.h"

/* An engine with room for `room` prompts besides those that others hold. */
struct cache {
    struct fixture f;
    struct kt_context *held[16];
    int count;
};

static void open_cache(struct cache *c, int room)
{
    *c = (struct cache){0};
    open_fixture(&c->f, &(struct tiny_model_options){0});
    if (!c->f.e->tokenizer) {
        close_fixture(&c->f);
        skip(); /* this build has none */
    }
    while (c->count + 3 + room < c->f.e->contexts_max) {
        c->held[c->count] = make_context(c->f.e, c->count, 1);
        c->count++;
    }
}

static void close_cache(struct cache *c)
{
    while (c->count > 0) {
        kt_context_unref(&c->held[--c->count]);
    }
    close_fixture(&c->f);
}

static struct kt_context *hold(struct cache *c, const char *text)
{
    struct kt_context *made = NULL;
    struct kt_error err = {{0}};
    if (kt_context_from_text(c->f.e, &made, text, strlen(text), &err) < 0) {
        fail_msg("%s", err.text);
    }
    return made;
}

/* Asked for and given back. */
static void use(struct cache *c, const char *text)
{
    struct kt_context *made = hold(c, text);
    kt_context_unref(&made);
}

static int is_kept(const struct cache *c, const char *text)
{
    int found = 0;
    for (int i = 0; i < c->f.e->contexts_max; i++) {
        const struct kt_context *k = &c->f.e->contexts[i];
        found += k->has_text && strcmp(k->text, text) == 0;
    }
    return found;
}

static void the_one_longest_unused_goes(void **state)
{
    struct cache c;
    struct kt_context *ids = NULL;
    struct kt_error err;
    open_cache(&c, 3);
    use(&c, "one");
    use(&c, "two");
    use(&c, "three");
    use(&c, "one");
    assert_int_equal(is_kept(&c, "one"), 1);
    use(&c, "four");
    assert_false(is_kept(&c, "two"));
    assert_true(is_kept(&c, "one") && is_kept(&c, "three") && is_kept(&c, "four"));
    assert_int_equal(kt_context_from_ids(c.f.e, &ids, (int32_t[]){5, 1}, 2, &err), 0);
    assert_false(is_kept(&c, "three")); /* what has other rows now has no text */
    struct kt_context *three = hold(&c, "three");
    assert_ptr_not_equal(three, ids);
    kt_context_unref(&three);
    kt_context_unref(&ids);
    struct kt_context *one = hold(&c, "one");
    for (int i = 0; i < 4; i++) {
        use(&c, i % 2 ? "five" : "six");
        use(&c, i % 2 ? "seven" : "eight");
    }
    assert_true(is_kept(&c, "one")); /* held */
    kt_context_unref(&one);
    close_cache(&c);
}

static void one_text_is_one_prompt(void **state)
{
    struct cache c;
    open_cache(&c, 2);
    struct kt_context *a = hold(&c, "a prompt"), *same = hold(&c, " a  prompt "),
                      *other = hold(&c, "a promp");
    assert_ptr_equal(a, same);
    assert_ptr_not_equal(a, other);
    assert_int_equal(a->refs, 2);
    kt_context_unref(&a);
    kt_context_unref(&same);
    kt_context_unref(&other);
    close_cache(&c);
}

static void a_refused_prompt_evicts_none(void **state)
{
    struct cache c;
    struct kt_context *again = NULL, *none = NULL;
    struct kt_error err;
    struct kt_engine_info info;
    const int32_t good[] = {5, 1}, bad[] = {-1};
    open_cache(&c, 1);
    struct kt_context *text = hold(&c, "a prompt"), *first = text;
    kt_context_unref(&text); /* the only one that may go */
    assert_int_equal(kt_context_from_ids(c.f.e, &none, bad, 1, &err), -EINVAL);
    kt_engine_get_info(c.f.e, &info);
    assert_int_equal(info.contexts_used, c.f.e->contexts_max);
    text = hold(&c, "a prompt");
    assert_ptr_equal(text, first);
    assert_int_equal(kt_context_from_ids(c.f.e, &none, good, 2, &err), -ENOBUFS);
    assert_non_null(strstr(err.text, "all 16 prompt contexts"));
    assert_int_equal(kt_context_from_text(c.f.e, &none, "other", 5, &err), -ENOBUFS);
    kt_context_unref(&text);
    assert_int_equal(kt_context_from_ids(c.f.e, &again, good, 2, &err), 0);
    assert_ptr_equal(again, first);
    kt_context_unref(&again);
    use(&c, "a prompt"); /* encoded anew */
    close_cache(&c);
}

/* Rows of `text` on an engine of random weights, which has no vocabulary. */
static int random_rows(struct kt_engine *e, const char *text, float *rows)
{
    struct kt_context *c = NULL;
    struct kt_error err;
    assert_int_equal(kt_context_from_text(e, &c, text, strlen(text), &err), 0);
    memcpy(rows, c->rows, (size_t)c->row_count * (size_t)e->config.dit.text_dim * sizeof(*rows));
    int count = c->row_count;
    kt_context_unref(&c);
    return count;
}

static void random_weights_need_no_vocabulary(void **state)
{
    static float a[64 * 64], b[64 * 64];
    struct fixture f;
    struct kt_engine *e = NULL;
    struct kt_error err = {{0}};
    open_fixture(&f, &(struct tiny_model_options){0});
    struct kt_engine_params p = {.model_dir = f.dir->path,
                                 .random_weights = 1,
                                 .snapshots_max = -1,
                                 .device = {.threads = 1}};
    if (kt_engine_open(&e, &p, &err) < 0) {
        fail_msg("%s", err.text);
    }
    int rows = random_rows(e, "a red ball", a);
    assert_int_equal(rows, 4); /* four bytes each, and the end */
    assert_int_equal(random_rows(e, "a red bell", b), rows);
    assert_memory_not_equal(a, b, (size_t)rows * (size_t)e->config.dit.text_dim * sizeof(*a));
    assert_int_equal(e->encodings, 2);
    assert_int_equal(random_rows(e, "a  red ball", b), rows); /* the same text, cleaned */
    assert_int_equal(e->encodings, 2);
    assert_memory_equal(a, b, (size_t)rows * (size_t)e->config.dit.text_dim * sizeof(*a));
    assert_int_equal(random_rows(e, "", b), 1);
    assert_int_equal(e->snapshots_max, 0);
    kt_engine_close(&e);
    close_fixture(&f);
}

static void sizes_are_refused_by_name(void **state)
{
    static char text[KT_PROMPT_BYTES_MAX + 2];
    static float rows[64 * 64];
    struct cache c;
    struct kt_context *made = NULL;
    struct kt_error err;
    open_cache(&c, 1);
    const int most = c.f.e->config.dit.text_len;
    memset(text, 'x', sizeof(text) - 1);
    assert_int_equal(kt_context_from_text(c.f.e, &made, text, sizeof(text) - 1, &err), -EMSGSIZE);
    assert_non_null(strstr(err.text, "prompt: expected at most"));
    assert_int_equal(kt_context_from_rows(c.f.e, &made, rows, most + 1, &err), -EINVAL);
    assert_non_null(strstr(err.text, "rows"));
    assert_int_equal(kt_context_from_rows(c.f.e, &made, rows, -1, &err), -EINVAL);
    assert_null(made);
    assert_int_equal(kt_context_from_rows(c.f.e, &made, rows, most, &err), 0);
    kt_context_unref(&made);
    close_cache(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_one_longest_unused_goes),
        cmocka_unit_test(one_text_is_one_prompt),
        cmocka_unit_test(a_refused_prompt_evicts_none),
        cmocka_unit_test(random_weights_need_no_vocabulary),
        cmocka_unit_test(sizes_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
