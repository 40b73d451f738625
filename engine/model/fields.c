#include "engine/model/fields.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/base/name.h"

enum { TABLE_MAX = 40, SHOWN_MAX = 64 };

/* --- messages ------------------------------------------------------------------------------------
 */

int kt_fields_refuse(const struct kt_fields_source *src, const char *section, const char *key,
                     const char *format, ...)
{
    char text[384];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    return kt_fail(src->err, -EBADMSG, "%s: %s%s%s: %s", src->file, section, *section ? "." : "",
                   key, text);
}

static void show_value(char out[SHOWN_MAX], const json_t *v)
{
    char *text = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    const char *shown = !v ? "nothing" : text ? text : "?";

    /* One value is enough to recognise; the whole may be megabytes. */
    snprintf(out, SHOWN_MAX, strlen(shown) < SHOWN_MAX ? "%s" : "%.59s...", shown);
    free(text);
}

static void describe(char *out, size_t cap, const struct kt_field *f)
{
    switch (f->type) {
    case KT_FIELD_INT: snprintf(out, cap, "an integer in %.0f..%.0f", f->min, f->max); break;
    case KT_FIELD_FLOAT: snprintf(out, cap, "a number in %g..%g", f->min, f->max); break;
    case KT_FIELD_BOOL: snprintf(out, cap, "true or false"); break;
    case KT_FIELD_TEXT: snprintf(out, cap, "a string of 1..%zu bytes", f->size - 1); break;
    case KT_FIELD_FILE:
        snprintf(out, cap, "a file name of 1..%zu bytes without a directory", f->size - 1);
        break;
    case KT_FIELD_OBJECT: snprintf(out, cap, "an object"); break;
    case KT_FIELD_WORDS:
        snprintf(out, cap, "at most %d strings of 1..%zu bytes", f->count_max, f->size - 1);
        break;
    }
}

static int refuse_value(const struct kt_fields_source *src, const char *section,
                        const struct kt_field *f, int index, const json_t *found)
{
    char expected[96], shown[SHOWN_MAX], key[96];

    describe(expected, sizeof(expected), f);
    show_value(shown, found);
    snprintf(key, sizeof(key), index < 0 ? "%s" : "%s[%d]", f->key, index);
    return kt_fields_refuse(src, section, key, "expected %s, found %s", expected, shown);
}

static int refuse_count(const struct kt_fields_source *src, const char *section,
                        const struct kt_field *f, const json_t *found)
{
    char each[96], shown[SHOWN_MAX], count[48];

    describe(each, sizeof(each), f);
    show_value(shown, found);
    snprintf(count, sizeof(count), f->count_min == f->count_max ? "%d" : "%d..%d", f->count_min,
             f->count_max);
    return kt_fields_refuse(src, section, f->key,
                            "expected an array of %s values (each %s), found %s", count, each,
                            shown);
}

static int refuse_unknown(const struct kt_fields_source *src, const char *section, const char *key,
                          const struct kt_field *fields, size_t n)
{
    const char *names[TABLE_MAX];
    int nearest;

    for (size_t i = 0; i < n; i++) {
        names[i] = fields[i].key;
    }
    nearest = kt_name_nearest(key, names, n);
    if (nearest < 0) {
        return kt_fields_refuse(src, section, kt_name_show(key).text, "unknown key");
    }
    return kt_fields_refuse(src, section, kt_name_show(key).text, "unknown key; did you mean '%s'?",
                            names[nearest]);
}

/* --- values --------------------------------------------------------------------------------------
 */

/* Non-zero when `s` [n] may be kept in `size` bytes and shown to people. */
static int is_text(const char *s, size_t n, size_t size)
{
    if (n == 0 || n >= size) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7F) {
            return 0;
        }
    }
    return 1;
}

static int is_plain_name(const char *s)
{
    return !strchr(s, '/') && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

/* Puts value `v` at element `i` of f->out; 0 when it is not what the field takes. */
static int take(const struct kt_field *f, int i, const json_t *v)
{
    const double number = json_number_value(v);

    switch (f->type) {
    case KT_FIELD_INT:
        if (!json_is_integer(v) || number < f->min || number > f->max) {
            return 0;
        }
        ((int *)f->out)[i] = (int)json_integer_value(v);
        return 1;
    case KT_FIELD_FLOAT:
        if (!json_is_number(v) || !(number >= f->min && number <= f->max)) {
            return 0;
        }
        ((float *)f->out)[i] = (float)number;
        return 1;
    case KT_FIELD_BOOL:
        if (!json_is_boolean(v)) {
            return 0;
        }
        ((int *)f->out)[i] = json_is_true(v);
        return 1;
    case KT_FIELD_TEXT:
    case KT_FIELD_FILE:
        if (!json_is_string(v) || !is_text(json_string_value(v), json_string_length(v), f->size) ||
            (f->type == KT_FIELD_FILE && !is_plain_name(json_string_value(v)))) {
            return 0;
        }
        memcpy(f->out, json_string_value(v), json_string_length(v) + 1);
        return 1;
    case KT_FIELD_OBJECT:
        if (!json_is_object(v)) {
            return 0;
        }
        *(const json_t **)f->out = v;
        return 1;
    case KT_FIELD_WORDS: return 0; /* read_words */
    }
    return 0;
}

static int read_array(const struct kt_fields_source *src, const char *section,
                      const struct kt_field *f, const json_t *v)
{
    const size_t n = json_array_size(v);

    if (!json_is_array(v) || n < (size_t)f->count_min || n > (size_t)f->count_max) {
        return refuse_count(src, section, f, v);
    }
    for (int i = 0; i < (int)n; i++) {
        if (!take(f, i, json_array_get(v, (size_t)i))) {
            return refuse_value(src, section, f, i, json_array_get(v, (size_t)i));
        }
    }
    if (f->count) {
        *f->count = (int)n;
    }
    return 0;
}

void kt_words_free(char ***words)
{
    if (!words || !*words) {
        return;
    }
    for (char **w = *words; *w; w++) {
        free(*w);
    }
    free(*words);
    *words = NULL;
}

static int read_words(const struct kt_fields_source *src, const char *section,
                      const struct kt_field *f, const json_t *v)
{
    const size_t n = json_array_size(v);
    char **words;

    if (!json_is_array(v) || n > (size_t)f->count_max) {
        return refuse_value(src, section, f, -1, v);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_array_get(v, i);
        if (!json_is_string(s) || !is_text(json_string_value(s), json_string_length(s), f->size)) {
            return refuse_value(src, section, f, (int)i, s);
        }
    }
    if (!(words = calloc(n + 1, sizeof(*words)))) {
        return kt_fail(src->err, -ENOMEM, "%s: out of memory", src->file);
    }
    for (size_t i = 0; i < n; i++) {
        if (!(words[i] = strdup(json_string_value(json_array_get(v, i))))) {
            kt_words_free(&words);
            return kt_fail(src->err, -ENOMEM, "%s: out of memory", src->file);
        }
    }
    kt_words_free(f->out);
    *(char ***)f->out = words;
    return 0;
}

/* --- objects -------------------------------------------------------------------------------------
 */

static int read_field(const struct kt_fields_source *src, const char *section,
                      const struct kt_field *f, const json_t *v)
{
    if (!v && f->optional) {
        return 0;
    }
    if (f->type == KT_FIELD_WORDS) {
        return read_words(src, section, f, v);
    }
    if (f->count_max > 0) {
        return read_array(src, section, f, v);
    }
    return take(f, 0, v) ? 0 : refuse_value(src, section, f, -1, v);
}

static int is_in_table(const char *key, const struct kt_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(key, fields[i].key) == 0) {
            return 1;
        }
    }
    return 0;
}

int kt_fields_read(const struct kt_fields_source *src, const char *section, const json_t *object,
                   const struct kt_field *fields, size_t n)
{
    const char *key;
    json_t *value;
    int r = 0;

    /* Unknown keys first: a misspelt key says more than the missing one it leaves behind. */
    json_object_foreach ((json_t *)object, key, value) {
        if (!src->ignore_unknown && !is_in_table(key, fields, n)) {
            return refuse_unknown(src, section, key, fields, n);
        }
    }
    for (size_t i = 0; i < n && r == 0; i++) {
        r = read_field(src, section, &fields[i], json_object_get(object, fields[i].key));
    }
    return r;
}

/* --- files ---------------------------------------------------------------------------------------
 */

int kt_fields_parse_file(const struct kt_fields_source *src, json_t **out, size_t bytes_max)
{
    json_error_t error;
    char *text = NULL;
    size_t n;
    int r = kt_file_read(src->file, bytes_max, &text, &n, src->err);

    *out = NULL;
    if (r < 0) {
        return r;
    }
    if (!(*out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error))) {
        r = kt_fail(src->err, -EBADMSG, "%s:%d:%d: malformed JSON: %s", src->file, error.line,
                    error.column, kt_name_show(error.text).text);
    } else if (!json_is_object(*out)) {
        r = kt_fail(src->err, -EBADMSG, "%s: expected a JSON object", src->file);
        json_decref(*out);
        *out = NULL;
    }
    free(text);
    return r;
}
