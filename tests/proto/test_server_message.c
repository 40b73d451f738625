/* What a client reads: the same literal messages as everybody. */
#include "proto/server_message.h"
#include "tests/proto/test.h"
#include "tests/proto/vectors.h"

#include <errno.h>

static json_t *vectors;

static int parse(struct kt_server_message *m, const char *text, struct kt_fault *fault)
{
    return kt_server_message_parse(m, text, strlen(text), fault);
}

static void server_vectors(void **state)
{
    size_t i;
    json_t *v;
    int known = 0;
    json_array_foreach (json_object_get(vectors, "server"), i, v) {
        struct kt_server_message m;
        struct kt_fault fault;
        if (parse(&m, vector_string(v, "text"), &fault) < 0) {
            print_error("%s: %s\n", vector_string(v, "name"), fault.message);
            fail();
        }
        known += m.kind != KT_SERVER_OTHER;
        kt_server_message_free(&m);
    }
    assert_true(known >= 14);
}

static void fields_are_read(void **state)
{
    struct kt_server_message m;
    assert_int_equal(parse(&m,
                           "{\"type\":\"applied\",\"rev\":5,\"epoch\":2,\"frame\":48,\"hit\":"
                           "\"ready\",\"cut\":\"now\",\"new\":[1]}",
                           NULL),
                     0);
    assert_int_equal(m.kind, KT_SERVER_APPLIED);
    assert_int_equal(m.applied.epoch, 2);
    assert_string_equal(m.applied.hit, "ready");
    kt_server_message_free(&m);
    assert_int_equal(
        parse(&m, "{\"type\":\"error\",\"code\":\"c\",\"message\":\"m\",\"fatal\":true}", NULL), 0);
    assert_int_equal(m.error.rev, -1);
    assert_int_equal(m.error.fatal, 1);
    kt_server_message_free(&m);
    assert_int_equal(parse(&m, "{\"type\":\"later\"}", NULL), 0);
    assert_int_equal(m.kind, KT_SERVER_OTHER);
    kt_server_message_free(&m);
}

static void bad_messages_are_refused(void **state)
{
    static const struct {
        const char *text, *field;
    } bad[] = {
        {"", ""},
        {"[]", ""},
        {"{}", ""},
        {"{\"type\":7}", ""},
        {"{\"type\":\"pong\",\"id\":1,\"client_us\":2}", "server_us"},
        {"{\"type\":\"pong\",\"id\":1.5,\"client_us\":2,\"server_us\":3}", "id"},
        {"{\"type\":\"failed\",\"rev\":1,\"code\":null,\"message\":\"m\"}", "code"},
        {"{\"type\":\"received\",\"rev\":1,\"committed\":1}", "committed"},
        {"{\"type\":\"welcome\",\"text\":\"\",\"codec\":\"vp8\",\"rev\":0,\"video\":[]}",
         "video.width"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct kt_server_message m;
        struct kt_fault fault = {0};
        assert_int_equal(parse(&m, bad[i].text, &fault), -EBADMSG);
        assert_string_equal(fault.field, bad[i].field);
        assert_true(fault.message[0]);
        assert_null(m.root);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_vectors),
        cmocka_unit_test(fields_are_read),
        cmocka_unit_test(bad_messages_are_refused),
    };
    vectors = vectors_load(argc > 1 ? argv[1] : "proto/vectors", "control.json");
    return !vectors ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
