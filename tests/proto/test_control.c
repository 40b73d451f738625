#include "proto/control.h"
#include "proto/media.h"
#include "tests/proto/test.h"
#include "tests/proto/vectors.h"

#include <errno.h>
#include <stdlib.h>

#define TOKEN "0123456789abcdef0123456789abcdef"

static json_t *vectors;

static void assert_same_json(const char *name, const char *a, const char *b)
{
    json_t *x = json_loads(a, 0, NULL), *y = json_loads(b, 0, NULL);
    if (!vector_equal(x, y)) {
        print_error("%s:\n  %s\n  %s\n", name, a, b);
        fail();
    }
    json_decref(x);
    json_decref(y);
}

/* What is read and printed again says the same. */
static void client_vectors(void **state)
{
    size_t i;
    json_t *v;
    assert_true(json_array_size(json_object_get(vectors, "client")) >= 20);
    json_array_foreach (json_object_get(vectors, "client"), i, v) {
        const char *text = vector_string(v, "text");
        struct kt_client_message m;
        struct kt_fault fault;
        if (kt_client_message_parse(&m, text, strlen(text), &fault) < 0) {
            print_error("%s: %s (%s)\n", vector_string(v, "name"), fault.message, fault.found);
            fail();
        }
        char *printed = kt_client_message_print(&m);
        assert_non_null(printed);
        assert_same_json(vector_string(v, "name"), text, printed);
        free(printed);
        kt_client_message_free(&m);
    }
}

static void client_bad_vectors(void **state)
{
    size_t i;
    json_t *v;
    assert_true(json_array_size(json_object_get(vectors, "client_bad")) >= 40);
    json_array_foreach (json_object_get(vectors, "client_bad"), i, v) {
        const char *text = vector_string(v, "text"), *field = vector_string(v, "field");
        struct kt_client_message m;
        struct kt_fault fault = {0};
        if (kt_client_message_parse(&m, text, strlen(text), &fault) != -EBADMSG ||
            strcmp(kt_fault_name(fault.code), vector_string(v, "code")) != 0 ||
            strcmp(fault.field, field ? field : "") != 0 || !fault.message[0] ||
            !fault.expected[0] || !fault.found[0]) {
            print_error("%s: %s, field '%s', expected '%s', found '%s'\n", vector_string(v, "name"),
                        kt_fault_name(fault.code), fault.field, fault.expected, fault.found);
            fail();
        }
        assert_null(m.root);
    }
}

static int parse_code(const char *data, size_t n)
{
    struct kt_client_message m;
    struct kt_fault fault = {0};
    assert_int_equal(kt_client_message_parse(&m, data, n, &fault), -EBADMSG);
    char *printed = kt_print_fault(&fault);
    assert_non_null(printed); /* whatever was quoted is still UTF-8 */
    free(printed);
    return fault.code;
}

static void bytes_that_are_not_text(void **state)
{
    assert_int_equal(parse_code("{\"type\":\"\xff\"}", 12), KT_FAULT_BAD_UTF8);
    assert_int_equal(parse_code("{\"type\":\"\0\"}", 12), KT_FAULT_BAD_JSON);
    char *big = malloc(KT_MESSAGE_BYTES_MAX + 1);
    memset(big, ' ', KT_MESSAGE_BYTES_MAX + 1);
    assert_int_equal(parse_code(big, KT_MESSAGE_BYTES_MAX + 1), KT_FAULT_TOO_BIG);
    assert_int_equal(parse_code(big, KT_MESSAGE_BYTES_MAX), KT_FAULT_BAD_JSON);
    memset(big, '[', KT_MESSAGE_BYTES_MAX);
    assert_int_equal(parse_code(big, KT_MESSAGE_BYTES_MAX), KT_FAULT_BAD_JSON);
    free(big);
    /* A long foreign type is quoted back cut, never inside a character. */
    char odd[600] = "{\"type\":\"x";
    while (strlen(odd) < 500) {
        strcat(odd, "\xe2\x82\xac");
    }
    strcat(odd, "\"}");
    assert_int_equal(parse_code(odd, strlen(odd)), KT_FAULT_UNKNOWN_MESSAGE);
    memcpy(odd, "{\"type\": x", 10);
    assert_int_equal(parse_code(odd, strlen(odd)), KT_FAULT_BAD_JSON);
}

static void nearest_names_are_suggested(void **state)
{
    struct kt_client_message m;
    struct kt_fault fault = {0};
    const char *text = "{\"type\":\"comit\",\"rev\":1}";
    assert_int_equal(kt_client_message_parse(&m, text, strlen(text), &fault), -EBADMSG);
    assert_non_null(strstr(fault.expected, "\"commit\""));
    text = "{\"type\":\"commit\",\"rev\":1,\"transit\":\"cut\"}";
    assert_int_equal(kt_client_message_parse(&m, text, strlen(text), &fault), -EBADMSG);
    assert_non_null(strstr(fault.expected, "\"transition\""));
}

static void fields_arrive(void **state)
{
    struct kt_client_message m;
    const char *text = "{\"type\":\"hello\",\"protocol\":1,\"codecs\":[\"h265\",\"jpeg\",\"vp8\"],"
                       "\"seed\":\"18446744073709551615\"}";
    assert_int_equal(kt_client_message_parse(&m, text, strlen(text), NULL), 0);
    assert_int_equal(m.kind, KT_CLIENT_HELLO);
    assert_int_equal(m.hello.codecs.count, 2);
    assert_int_equal(m.hello.codecs.codec[0], KT_CODEC_JPEG);
    assert_int_equal(m.hello.codecs.codec[1], KT_CODEC_VP8);
    assert_true(m.hello.seed.given && m.hello.seed.value == UINT64_MAX);
    assert_int_equal(m.hello.steps, -1);
    assert_null(m.hello.token);
    assert_int_equal(m.hello.wait, -1);
    assert_null(m.hello.fork.session);
    kt_client_message_free(&m);
    text = "{\"type\":\"hello\",\"protocol\":1,\"codecs\":[\"vp8\"],\"wait\":false,"
           "\"fork\":{\"frame\":7,\"session\":\"" TOKEN "\"}}";
    assert_int_equal(kt_client_message_parse(&m, text, strlen(text), NULL), 0);
    assert_int_equal(m.hello.wait, 0);
    assert_string_equal(m.hello.fork.session, TOKEN);
    assert_int_equal(m.hello.fork.frame, 7);
    kt_client_message_free(&m);
    text = "{\"type\":\"set\",\"draft\":true,\"cut\":\"block\",\"recache\":\"checkpoint\"}";
    assert_int_equal(kt_client_message_parse(&m, text, strlen(text), NULL), 0);
    assert_int_equal(m.set.draft, 1);
    assert_int_equal(m.set.preview, -1);
    assert_int_equal(m.set.depth, -1);
    assert_int_equal(m.set.change.cut, KT_NAME_BLOCK);
    assert_int_equal(m.set.change.transition, -1);
    assert_int_equal(m.set.change.blend, -1);
    assert_int_equal(m.set.change.recache, KT_CHANGE_CHECKPOINT);
    kt_client_message_free(&m);
}

/* ---- server messages against the vectors of the same names ---- */

static const char *const examples[] = {"a red circle over the sea", NULL};
static const char *const features[] = {"scene", "cut", "latent", "block", "resume", NULL};
static const char *const no_features[] = {NULL};

static const struct kt_settings settings = {1, 1, 1, {KT_NAME_NOW, KT_NAME_MODEL, 2, 0}};

static struct kt_welcome welcome(void)
{
    return (struct kt_welcome){
        .session = TOKEN,
        .codec = "vp8",
        .codec_string = "vp8",
        .model = "demo",
        .text = "a red circle over the sea",
        .ready = 1,
        .width = 192,
        .height = 112,
        .fps = 16,
        .frames_per_latent = 4,
        .block_frames = 12,
        .steps_max = 4,
        .window = 12,
        .settings = settings,
        .seed = 7,
        .server_us = 1234567,
        .examples = examples,
        .features = features,
    };
}

static char *print_welcome(const char *codec, const char *codec_string)
{
    struct kt_welcome w = welcome();
    w.codec = codec;
    w.codec_string = codec_string;
    w.vocabulary = json_pack("{s:[s,s]}", "shapes", "circle", "star");
    char *text = kt_print_welcome(&w);
    json_decref(w.vocabulary);
    return text;
}

static char *print_welcome_resumed(void)
{
    struct kt_welcome w = welcome();
    w.resumed = 1;
    w.codec = "jpeg";
    w.codec_string = "";
    w.ready = 0;
    w.rev = 3;
    w.text = "";
    w.committed = -1;
    w.seed = UINT64_MAX;
    w.steps = 2;
    w.examples = NULL;
    w.features = no_features;
    return kt_print_welcome(&w);
}

static char *print_fault_vector(const char *name)
{
    struct kt_fault f;
    if (strcmp(name, "error-field") == 0) {
        kt_fault_set(&f, KT_FAULT_WRONG_TYPE, "edit: rev has the wrong type");
        kt_fault_detail(&f, "rev", "an integer", "a string");
    } else if (strcmp(name, "error-sessions") == 0) {
        kt_fault_set(&f, KT_FAULT_TOO_MANY_SESSIONS, "every place is taken");
        kt_fault_detail(&f, "", "at most 2 sessions", "2 open");
        f.limit = 2;
        f.retry_ms = 5000;
    } else if (strcmp(name, "error-fork") == 0) {
        kt_fault_set(&f, KT_FAULT_UNKNOWN_SESSION, "hello: there is no such session to fork");
        kt_fault_detail(&f, "fork.session", "the resume token of a session", "another");
    } else {
        kt_fault_set(&f, KT_FAULT_RATE_LIMITED, "too many edits");
        f.has_rev = 1;
        f.rev = 12;
        f.limit = 60;
        f.retry_ms = 17;
    }
    return kt_print_fault(&f);
}

static char *print_received_vector(const char *name)
{
    struct kt_received r = {.rev = 7, .committed = 1, .words = 2, .known = -1, .server_us = 101};
    if (strcmp(name, "received") == 0) {
        r = (struct kt_received){5, 0, 3, 2, {"zeppelin"}, 1, NULL, 99};
    } else if (strcmp(name, "received-nothing-known") == 0) {
        r = (struct kt_received){
            6,  1, 2, 0, {"gr\xc3\xbcne", "zeppeline"}, 2, "The model knows none of these words.",
            100};
    }
    return kt_print_received(&r);
}

static char *print_settings_vector(const char *name)
{
    struct kt_settings s = settings;
    if (strcmp(name, "settings-other") == 0) {
        s = (struct kt_settings){0, 0, 0, {KT_NAME_LATENT, KT_NAME_BLEND, 4, 6}};
    } else if (strcmp(name, "settings-checkpoint") == 0) {
        s = (struct kt_settings){1, 0, 4, {KT_NAME_BLOCK, KT_NAME_SCENE, 2, KT_CHANGE_CHECKPOINT}};
    }
    return kt_print_settings(&s);
}

static char *print_named(const char *name)
{
    if (strcmp(name, "welcome") == 0) {
        return print_welcome("vp8", "vp8");
    }
    if (strcmp(name, "welcome-h264") == 0) {
        return print_welcome("h264", "avc1.64001E");
    }
    if (strcmp(name, "welcome-resumed") == 0) {
        return print_welcome_resumed();
    }
    if (strncmp(name, "received", 8) == 0) {
        return print_received_vector(name);
    }
    if (strncmp(name, "error", 5) == 0) {
        return print_fault_vector(name);
    }
    if (strcmp(name, "applied") == 0) {
        return kt_print_applied(&(struct kt_applied){5, 2, 48, 1000, 2, KT_NAME_NOW, 1});
    }
    if (strcmp(name, "applied-cold") == 0) {
        return kt_print_applied(&(struct kt_applied){6, 3, 60, 1001, 0, KT_NAME_BLOCK, 0});
    }
    if (strcmp(name, "applied-begun") == 0) {
        return kt_print_applied(&(struct kt_applied){7, 4, 72, 1002, 1, KT_NAME_LATENT, 0});
    }
    if (strncmp(name, "drafted", 7) == 0) {
        const int ready = strcmp(name, "drafted-ready") == 0;
        return kt_print_drafted(5, ready, ready ? 950 : 900);
    }
    if (strncmp(name, "settings", 8) == 0) {
        return print_settings_vector(name);
    }
    if (strncmp(name, "queued", 6) == 0) {
        const int known = strcmp(name, "queued") == 0;
        return kt_print_queued(
            &(struct kt_queued){known ? 2 : 1, known ? 1 : 2, known ? 90000 : -1});
    }
    if (strncmp(name, "history", 7) == 0) {
        static const int64_t checkpoints[] = {480, 720};
        return kt_print_history(strcmp(name, "history") == 0
                                    ? &(struct kt_history){0, 479, NULL, 0}
                                    : &(struct kt_history){48, 959, checkpoints, 2});
    }
    if (strcmp(name, "failed") == 0) {
        return kt_print_failed(5, "model_failed", "every context is in use");
    }
    if (strcmp(name, "resync") == 0) {
        return kt_print_resync(4, "a blue \"star\"", "base is 3, the text here is revision 4");
    }
    if (strcmp(name, "status-live") == 0) {
        return kt_print_status(
            &(struct kt_stream_status){KT_STREAM_LIVE, KT_PAUSE_NONE, 12.5, 16, 4, 1});
    }
    if (strcmp(name, "status-hidden") == 0) {
        return kt_print_status(
            &(struct kt_stream_status){KT_STREAM_PAUSED, KT_PAUSE_HIDDEN, 0, 16, 4, 0});
    }
    if (strcmp(name, "pong") == 0) {
        return kt_print_pong(7, 123456789, 1000);
    }
    if (strcmp(name, "bye") == 0) {
        return kt_print_bye("shutdown", "the server stops", 0);
    }
    return NULL;
}

static void server_vectors(void **state)
{
    size_t i;
    json_t *v;
    assert_true(json_array_size(json_object_get(vectors, "server")) >= 15);
    json_array_foreach (json_object_get(vectors, "server"), i, v) {
        char *printed = print_named(vector_string(v, "name"));
        if (!printed) {
            print_error("%s: nothing printed\n", vector_string(v, "name"));
            fail();
        }
        assert_same_json(vector_string(v, "name"), vector_string(v, "text"), printed);
        free(printed);
    }
}

/* Every fault has a name; the fatal ones close. */
static void fault_table(void **state)
{
    for (int c = 0; c < KT_FAULT_COUNT; c++) {
        assert_non_null(kt_fault_name((enum kt_fault_code)c));
    }
    assert_int_equal(kt_fault_close_code(KT_FAULT_BAD_JSON), 0);
    assert_int_equal(kt_fault_close_code(KT_FAULT_BAD_UTF8), 1007);
    assert_int_equal(kt_fault_close_code(KT_FAULT_TOO_BIG), 1009);
    assert_int_equal(kt_fault_close_code(KT_FAULT_TOO_MANY_SESSIONS), 1013);
}

int main(int argc, char **argv)
{
    vectors = vectors_load(argc > 1 ? argv[1] : "proto/vectors", "control.json");
    if (!vectors) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_vectors),
        cmocka_unit_test(client_bad_vectors),
        cmocka_unit_test(bytes_that_are_not_text),
        cmocka_unit_test(nearest_names_are_suggested),
        cmocka_unit_test(fields_arrive),
        cmocka_unit_test(server_vectors),
        cmocka_unit_test(fault_table),
    };
    const int rc = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(vectors);
    return rc;
}
