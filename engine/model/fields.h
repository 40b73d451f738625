/* Reads one JSON object against a table of the keys it may have. Every refusal names the file, the
 * key's path, what was expected and what was found; a key that is not in the table is refused with
 * the nearest name there is.
 *
 * Thread-safety: no shared state. */
#ifndef KT_ENGINE_MODEL_FIELDS_H
#define KT_ENGINE_MODEL_FIELDS_H

#include "engine/base/error.h"

#include <jansson.h>
#include <stddef.h>

enum kt_field_type {
    KT_FIELD_INT,    /* int: a JSON integer in min..max */
    KT_FIELD_FLOAT,  /* float: a JSON number in min..max */
    KT_FIELD_BOOL,   /* int: true or false */
    KT_FIELD_TEXT,   /* char [size]: 1..size - 1 bytes without control characters */
    KT_FIELD_FILE,   /* char [size]: the same, and a plain file name: no directory part */
    KT_FIELD_OBJECT, /* json_t *: borrowed from the object read */
    KT_FIELD_WORDS,  /* char **: new NULL-terminated array of strings, see kt_words_free */
};

struct kt_field {
    const char *key;
    enum kt_field_type type;
    void *out;
    int optional;    /* non-zero: *out keeps what it holds when the key is missing */
    double min, max; /* of each number */
    int count_min,
        count_max; /* count_max > 0: an array of that many values; WORDS: at most count_max */
    int *count;    /* how many were read; NULL when not asked */
    size_t size;   /* TEXT and FILE: bytes at out; WORDS: bytes of one string with its NUL */
};

struct kt_fields_source {
    const char *file; /* as messages name it */
    struct kt_error *err;
    int ignore_unknown; /* non-zero: keys outside the table are none of ours */
};

/* Parses `file` (at most `bytes_max`; duplicate keys refused) into a new object. Errors: those of
 * open(2), -EISDIR, -EFBIG, -EBADMSG not a JSON object, -ENOMEM. */
int kt_fields_parse_file(const struct kt_fields_source *src, json_t **out, size_t bytes_max);

/* Reads `object`, which stands at `section` ("" for the root), into the fields. -EBADMSG, -ENOMEM.
 */
int kt_fields_read(const struct kt_fields_source *src, const char *section, const json_t *object,
                   const struct kt_field *fields, size_t n);

/* "file: section.key: message", for checks that see more than one key. Returns -EBADMSG. */
int kt_fields_refuse(const struct kt_fields_source *src, const char *section, const char *key,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Frees an array made by KT_FIELD_WORDS and nulls it. NULL accepted. */
void kt_words_free(char ***words);

#endif
