/* Mutation fuzzing with a fixed seed: nothing a client sends may crash the parsers or leave the
 * text in a bad state. Meant to run under ASan and UBSan; `test_proto_fuzz DIR ROUNDS SEED` goes on
 * longer. */
#include "proto/control.h"
#include "proto/edit.h"
#include "proto/media.h"
#include "proto/server_message.h"
#include "proto/utf8.h"
#include "tests/proto/test.h"
#include "tests/proto/vectors.h"

#include <stdlib.h>

static uint64_t random_state;

static uint32_t next_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

static size_t mutate(uint8_t *data, size_t n, size_t cap)
{
    static const char *const pieces[] = {"\"",
                                         "{",
                                         "}",
                                         "[",
                                         "]",
                                         "\\",
                                         "\\u0000",
                                         "\\ud800",
                                         "-",
                                         "1e999",
                                         "99999999999999999999",
                                         "null",
                                         "\xff",
                                         "\xf0\x9f",
                                         ",",
                                         ":",
                                         "\"at\"",
                                         "\"rev\"",
                                         "\"text\"",
                                         "true",
                                         "\"full\"",
                                         "\"recache\":1025",
                                         "\"fork\":{\"frame\":-1}",
                                         "{\"session\":{}}"};
    for (uint32_t k = next_random() % 4 + 1; k > 0 && n > 0; k--) {
        const size_t at = next_random() % n;
        const char *piece = pieces[next_random() % (sizeof(pieces) / sizeof(pieces[0]))];
        const size_t len = strlen(piece);
        switch (next_random() % 4) {
        case 0: data[at] = (uint8_t)next_random(); break;
        case 1: data[at] ^= (uint8_t)(1u << next_random() % 8); break;
        case 2:
            memmove(data + at, data + at + 1, n - at - 1);
            n--;
            break;
        default:
            if (n + len <= cap) {
                memmove(data + at + len, data + at, n - at);
                memcpy(data + at, piece, len);
                n += len;
            }
        }
    }
    return n;
}

static void apply_edit(struct kt_text *text, const struct kt_client_message *m)
{
    struct kt_fault fault;
    if (m->edit.text) {
        kt_text_replace(text, (int)m->edit.rev, m->edit.text, strlen(m->edit.text), &fault);
    } else {
        const struct kt_splice s = {text->rev + 1, text->rev,   m->edit.at,
                                    m->edit.del,   m->edit.ins, strlen(m->edit.ins)};
        kt_text_splice(text, &s, &fault);
    }
    if (text->rev > 1000000) {
        text->rev = 0;
    }
    assert_true(text->n <= KT_TEXT_BYTES_MAX && text->bytes[text->n] == '\0');
    assert_true(kt_utf8_valid(text->bytes, text->n, NULL));
}

static void fuzz_control(const uint8_t *data, size_t n, struct kt_text *text, uint64_t *accepted)
{
    struct kt_client_message m;
    struct kt_fault fault = {0};
    char *copy = malloc(n ? n : 1); /* an exact block, so that reading past it is seen */
    memcpy(copy, data, n);
    if (kt_client_message_parse(&m, copy, n, &fault) == 0) {
        *accepted += 1;
        if (m.kind == KT_CLIENT_EDIT) {
            apply_edit(text, &m);
        }
        char *printed = kt_client_message_print(&m);
        assert_non_null(printed);
        free(printed);
        kt_client_message_free(&m);
    } else {
        assert_true(fault.code != KT_FAULT_NONE && fault.message[0]);
        char *printed = kt_print_fault(&fault);
        assert_non_null(printed);
        free(printed);
    }
    free(copy);
}

/* What a client in C reads. */
static void fuzz_server(const uint8_t *data, size_t n)
{
    struct kt_server_message m;
    struct kt_fault fault = {0};
    char *copy = malloc(n ? n : 1);
    memcpy(copy, data, n);
    if (kt_server_message_parse(&m, copy, n, &fault) == 0) {
        assert_non_null(m.root);
        kt_server_message_free(&m);
    } else {
        assert_true(fault.code != KT_FAULT_NONE && fault.message[0]);
    }
    free(copy);
}

static void fuzz_media(const uint8_t *data, size_t n)
{
    struct kt_media_header h;
    uint8_t *copy = malloc(n ? n : 1);
    memcpy(copy, data, n);
    if (kt_media_unpack(&h, copy, n, NULL) == 0) {
        assert_int_equal(h.payload_bytes, n - KT_MEDIA_HEADER_BYTES);
    }
    free(copy);
}

static json_t *pick(const json_t *list)
{
    return json_array_get(list, next_random() % json_array_size(list));
}

int main(int argc, char **argv)
{
    const char *dir = argc > 1 ? argv[1] : "proto/vectors";
    const long rounds = argc > 2 ? atol(argv[2]) : 60000;
    const uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 10) : 20240607;
    json_t *control = vectors_load(dir, "control.json"), *media = vectors_load(dir, "media.json");
    if (!control || !media) {
        return 1;
    }
    printf("fuzz: seed %llu, %ld rounds\n", (unsigned long long)seed, rounds);
    random_state = seed;
    static uint8_t data[4096];
    static struct kt_text text;
    uint64_t accepted = 0;
    for (long i = 0; i < rounds; i++) {
        const json_t *v = pick(json_object_get(control, i % 4 ? "client" : "client_bad"));
        size_t n = strlen(vector_string(v, "text"));
        memcpy(data, vector_string(v, "text"), n);
        fuzz_control(data, mutate(data, n, sizeof(data)), &text, &accepted);
        v = pick(json_object_get(control, "server"));
        n = strlen(vector_string(v, "text"));
        memcpy(data, vector_string(v, "text"), n);
        fuzz_server(data, mutate(data, n, sizeof(data)));
        v = pick(json_object_get(media, "good"));
        n = (size_t)vector_hex(vector_string(v, "hex"), data, sizeof(data));
        fuzz_media(data, mutate(data, n, sizeof(data)));
    }
    printf("fuzz: %llu of %ld mutants were accepted\n", (unsigned long long)accepted, rounds);
    json_decref(control);
    json_decref(media);
    /* Mutants that are all refused would test nothing. */
    return accepted > (uint64_t)rounds / 200 ? 0 : 1;
}
