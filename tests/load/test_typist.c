/* What a person does next, on a virtual clock. */
#include "load/typist.h"
#include "proto/edit.h"
#include "tests/proto/test.h"

#include <string.h>

static const char text[] = "{\"do\":\"select\"}\n"
                           "{\"do\":\"type\",\"text\":\"a rad hört\"}\n"
                           "{\"do\":\"wait\",\"ms\":400}\n"
                           "{\"do\":\"erase\",\"keys\":3}\n"
                           "{\"do\":\"type\",\"text\":\"eart\"}\n"
                           "{\"do\":\"caret\",\"after\":\"a rad\"}\n"
                           "{\"do\":\"erase\",\"keys\":2}\n"
                           "{\"do\":\"type\",\"text\":\"ed\"}\n"
                           "{\"do\":\"enter\",\"pause_ms\":700}\n"
                           "{\"do\":\"wait\",\"ms\":2000}\n"
                           "{\"do\":\"select\"}\n"
                           "{\"do\":\"paste\",\"text\":\"a blue ring\"}\n"
                           "{\"do\":\"select\",\"text\":\"blue\"}\n"
                           "{\"do\":\"type\",\"text\":\"red\"}\n"
                           "{\"do\":\"enter\",\"pause_ms\":300}\n";

static struct kt_script script;

static int setup(void **state)
{
    return kt_script_parse(&script, text, strlen(text), "t", NULL);
}

static int teardown(void **state)
{
    kt_script_free(&script);
    return 0;
}

/* The other end's copy, changed by the splices alone. */
struct copy {
    struct kt_text text;
    int64_t key_us;
};

static void apply(struct copy *c, const struct kt_keystroke *k)
{
    const struct kt_splice s = {
        .rev = 1, .base = 0, .at = k->at, .del = k->del, .ins = k->ins, .ins_n = k->ins_n};
    c->text.rev = 0;
    assert_int_equal(kt_text_splice(&c->text, &s, NULL), 0);
}

static void until_enter(struct kt_typist *t, struct copy *c, struct kt_typed *out)
{
    for (int i = 0; i < 200; i++) {
        const int64_t at = t->due_us;
        assert_int_equal(kt_typist_next(t, at - 1, out), 0);
        assert_int_equal(kt_typist_next(t, at, out), 1);
        if (out->kind == KT_TYPED_ENTER) {
            assert_int_equal(at - c->key_us, out->pause_ms * 1000);
            return;
        }
        if (out->kind == KT_TYPED_EDIT) {
            apply(c, &out->change);
            assert_string_equal(c->text.bytes, t->box.text.bytes);
            c->key_us = at;
        }
    }
    fail();
}

static struct kt_typist typist(int number, uint64_t seed)
{
    struct kt_typist t;
    kt_typist_init(&t, &(struct kt_typist_params){
                           .script = &script, .seed = seed, .number = number, .start_us = 1000});
    return t;
}

static void splices_make_the_text(void **state)
{
    struct kt_typist t = typist(0, 1);
    struct kt_typed typed;
    static struct copy c;
    for (int round = 0; round < 3; round++) { /* the script starts over */
        until_enter(&t, &c, &typed);
        assert_string_equal(c.text.bytes, "a red heart");
        assert_int_equal(typed.pause_ms, 700);
        assert_int_equal(typed.line, 9);
        until_enter(&t, &c, &typed);
        assert_string_equal(c.text.bytes, "a red ring");
        assert_int_equal(typed.pause_ms, 300);
    }
}

static void keys_come_at_the_pace_of_a_hand(void **state)
{
    struct kt_typist t = typist(0, 1);
    struct kt_typed typed;
    int64_t last = 0, shortest = INT64_MAX, longest = 0;
    for (int i = 0; i < 11; i++) { /* the select, then ten keys */
        const int64_t at = t.due_us;
        assert_int_equal(kt_typist_next(&t, at, &typed), 1);
        if (i > 0) {
            shortest = at - last < shortest ? at - last : shortest;
            longest = at - last > longest ? at - last : longest;
        }
        last = at;
    }
    assert_in_range(shortest, KT_KEY_MS_MIN * 1000, KT_KEY_MS_MAX * 1000);
    assert_in_range(longest, KT_KEY_MS_MIN * 1000, KT_KEY_MS_MAX * 1000);
    assert_true(longest > shortest);
}

static void the_same_seed_types_the_same(void **state)
{
    struct kt_typist a = typist(0, 5), b = typist(0, 5), c = typist(0, 6);
    int differs = 0;
    for (int i = 0; i < 100; i++) {
        struct kt_typed x, y, z;
        assert_true(a.due_us == b.due_us);
        differs |= a.due_us != c.due_us;
        assert_int_equal(kt_typist_next(&a, a.due_us, &x), 1);
        assert_int_equal(kt_typist_next(&b, b.due_us, &y), 1);
        assert_int_equal(kt_typist_next(&c, c.due_us, &z), 1);
        assert_int_equal(x.kind, y.kind);
        assert_int_equal(x.kind, z.kind); /* what, not when */
    }
    assert_true(differs);
}

static void others_start_at_other_places(void **state)
{
    struct kt_typist t = typist(1, 1);
    struct kt_typed typed;
    static struct copy c;
    until_enter(&t, &c, &typed);
    assert_string_equal(c.text.bytes, "a red ring");
}

static void who_was_held_up_does_not_hurry(void **state)
{
    struct kt_typist t = typist(0, 1);
    struct kt_typed typed;
    assert_int_equal(kt_typist_next(&t, t.due_us, &typed), 1);
    const int64_t late = t.due_us + 5000000;
    assert_int_equal(kt_typist_next(&t, late, &typed), 1);
    assert_int_equal(kt_typist_next(&t, late, &typed), 0);
    assert_true(t.due_us >= late + KT_KEY_MS_MIN * 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splices_make_the_text),
        cmocka_unit_test(keys_come_at_the_pace_of_a_hand),
        cmocka_unit_test(the_same_seed_types_the_same),
        cmocka_unit_test(others_start_at_other_places),
        cmocka_unit_test(who_was_held_up_does_not_hurry),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
