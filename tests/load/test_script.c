/* Typing scripts: the committed ones, and what is said about bad ones. */
#include "load/script.h"
#include "tests/proto/test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *folder;

static int parse(struct kt_script *s, const char *text, struct kt_error *err)
{
    return kt_script_parse(s, text, strlen(text), "t", err);
}

static void committed_scripts_have_forty_commits(void **state)
{
    static const char *const names[] = {"typing", "editing", "long"};
    for (int i = 0; i < 3; i++) {
        char path[512];
        struct kt_script s;
        struct kt_error err = {0};
        snprintf(path, sizeof(path), "%s/%s.jsonl", folder, names[i]);
        if (kt_script_read(&s, path, &err) < 0) {
            print_error("%s\n", err.text);
            fail();
        }
        assert_int_equal(s.enters, 40);
        int erasures = 0;
        for (int a = 0; a < s.count; a++) {
            erasures += s.actions[a].kind == KT_ACTION_ERASE;
            if (s.actions[a].kind == KT_ACTION_ENTER) {
                assert_in_range(s.actions[a].ms, 200, 1500);
            }
        }
        assert_true(erasures >= 5);
        kt_script_free(&s);
    }
}

static void actions_are_read(void **state)
{
    struct kt_script s;
    struct kt_error err = {0};
    const char *text =
        "// a comment\n{\"do\":\"select\"}\r\n\n  {\"do\":\"type\",\"text\":\"grün\"}\n"
        "{\"do\":\"select\",\"ms\":7}\n{\"do\":\"paste\",\"text\":\"a red ring\"}\n"
        "{\"do\":\"caret\",\"after\":\"red\"}\n{\"do\":\"erase\",\"keys\":3}\n"
        "{\"do\":\"enter\",\"pause_ms\":640}"; /* no newline at the end */
    assert_int_equal(parse(&s, text, &err), 0);
    assert_int_equal(s.count, 7);
    assert_int_equal(s.enters, 1);
    assert_int_equal(s.starts, 2);
    assert_int_equal(s.actions[1].line, 4);
    assert_int_equal(s.actions[2].ms, 7);
    assert_int_equal(s.actions[5].keys, 3);
    assert_int_equal(s.actions[6].ms, 640);
    assert_int_equal(kt_script_start(&s, 0), 0);
    assert_int_equal(kt_script_start(&s, 1), 2);
    assert_int_equal(kt_script_start(&s, 2), 0);
    kt_script_free(&s);
}

#define START "{\"do\":\"select\"}\n"
#define ENTER "{\"do\":\"enter\",\"pause_ms\":1}\n"

static const struct {
    const char *text, *says;
} bad[] = {
    {"", "t: no actions"},
    {"{\"do\":\"wait\",\"ms\":1}\n", "t:1: the first action is another one"},
    {START "{\"do\":\"select\",\"text\":\"x\"}\n", "t:2: the words are not in the text"},
    {START "{\"do\":\"type\",\"text\":\"scared\"}\n{\"do\":\"caret\",\"after\":\"red\"}\n",
     "t:3: the words are not in the text; expected scared"},
    {START "{\"do\":\"type\",\"text\":\"ab\"}\n{\"do\":\"erase\",\"keys\":3}\n",
     "t:3: a backspace too many"},
    {START ENTER, "t:2: Enter on an empty text"},
    {START "{\"do\":\"type\",\"text\":\"ab\"}\n", "t: no \"enter\""},
    {START "{\"do\":\"jump\"}\n", "t:2: \"do\": expected wait, select"},
    {START "{\"ms\":1}\n", "t:2: \"do\": expected wait, select"},
    {START "{\"do\":\"wait\"}\n", "t:2: \"ms\": expected milliseconds"},
    {START "{\"do\":\"wait\",\"ms\":-1}\n", "t:2: \"ms\": expected a whole number from 0"},
    {START "{\"do\":\"wait\",\"ms\":1.5}\n", "t:2: \"ms\": expected a whole number from 0"},
    {START "{\"do\":\"enter\"}\n", "t:2: \"pause_ms\": expected milliseconds"},
    {START "{\"do\":\"type\"}\n", "t:2: \"text\": expected what is typed"},
    {START "{\"do\":\"type\",\"text\":\"\"}\n",
     "t:2: \"text\": expected a string that is not empty"},
    {START "{\"do\":\"erase\"}\n", "t:2: \"keys\": expected 1 or more"},
    {START "{\"do\":\"type\",\"text\":\"a\",\"keys\":1}\n", "t:2: \"type\" has no field \"keys\""},
    {START "{\"do\":\"type\",\"text\":\"a\"\n", "t:2: not JSON"},
    {START "[1]\n", "t:2: not an object"},
};

static void bad_scripts_are_named_with_their_line(void **state)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct kt_script s;
        struct kt_error err = {0};
        assert_int_equal(parse(&s, bad[i].text, &err), -EINVAL);
        if (!strstr(err.text, bad[i].says)) {
            print_error("%s\n  says: %s\n", bad[i].says, err.text);
            fail();
        }
        assert_null(s.actions);
    }
}

static void a_missing_file_is_an_error(void **state)
{
    struct kt_script s;
    struct kt_error err = {0};
    assert_int_equal(kt_script_read(&s, "no/such/file.jsonl", &err), -ENOENT);
    assert_non_null(strstr(err.text, "no/such/file.jsonl"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(committed_scripts_have_forty_commits),
        cmocka_unit_test(actions_are_read),
        cmocka_unit_test(bad_scripts_are_named_with_their_line),
        cmocka_unit_test(a_missing_file_is_an_error),
    };
    folder = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
