/* Reading proto/vectors: the literal messages that the C and the JavaScript tests share. */
#ifndef KT_TESTS_PROTO_VECTORS_H
#define KT_TESTS_PROTO_VECTORS_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static inline json_t *vectors_load(const char *dir, const char *file)
{
    char path[4096];
    json_error_t error;
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!root) {
        fprintf(stderr, "%s: %s (line %d)\n", path, error.text, error.line);
    }
    return root;
}

static inline const char *vector_string(const json_t *v, const char *key)
{
    return json_string_value(json_object_get(v, key));
}

/* Bytes of a hex string; the count, or -1. */
static inline int vector_hex(const char *hex, uint8_t *out, size_t cap)
{
    const size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        if (n > cap || sscanf(hex + 2 * i, "%2x", &byte) != 1) {
            return -1;
        }
        out[i] = (uint8_t)byte;
    }
    return (int)n;
}

/* Equal as JavaScript sees it: 0 and 0.0 are the same number. */
static inline int vector_equal(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b)) {
        return json_number_value(a) == json_number_value(b);
    }
    if (!a || !b || json_typeof(a) != json_typeof(b)) {
        return 0;
    }
    if (json_is_object(a)) {
        const char *key;
        json_t *value;
        int equal = json_object_size(a) == json_object_size(b);
        json_object_foreach ((json_t *)a, key, value) {
            equal = equal && vector_equal(value, json_object_get(b, key));
        }
        return equal;
    }
    if (json_is_array(a)) {
        int equal = json_array_size(a) == json_array_size(b);
        for (size_t i = 0; equal && i < json_array_size(a); i++) {
            equal = vector_equal(json_array_get(a, i), json_array_get(b, i));
        }
        return equal;
    }
    return json_equal(a, b);
}

#endif
