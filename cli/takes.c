#include "cli/takes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"

enum { LIST_BYTES_MAX = 64 << 20, IDS_MAX = 1024 };

static int read_ids(struct kt_take_words *w, const json_t *array, const char *what,
                    struct kt_error *err)
{
    size_t n = json_array_size(array);
    if (n < 1 || n > IDS_MAX) {
        return kt_fail(err, -EBADMSG, "%s: expected 1 to %d ids, found %zu", what, IDS_MAX, n);
    }
    w->ids = malloc(n * sizeof(*w->ids));
    if (!w->ids) {
        return kt_fail(err, -ENOMEM, "out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(array, i);
        json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        if (value < 0 || value > INT32_MAX) {
            return kt_fail(err, -EBADMSG, "%s: expected whole numbers from 0, found another at %zu",
                           what, i);
        }
        w->ids[i] = (int32_t)value;
    }
    w->count = (int)n;
    return 0;
}

static int read_words(struct kt_take_words *w, const json_t *line, const char *what,
                      struct kt_error *err)
{
    const json_t *value = json_object_get(line, what);
    if (json_is_string(value)) {
        w->text = json_string_value(value);
        w->bytes = json_string_length(value);
        return 0;
    }
    if (json_is_array(value)) {
        return read_ids(w, value, what, err);
    }
    return kt_fail(err, -EBADMSG, "%s: expected text or an array of token ids", what);
}

static int read_number(json_int_t *out, const json_t *line, const char *what, json_int_t max,
                       struct kt_error *err)
{
    const json_t *value = json_object_get(line, what);
    *out = json_is_integer(value) ? json_integer_value(value) : -1;
    if (*out < 0 || *out > max) {
        return kt_fail(err, -EBADMSG, "%s: expected a whole number from 0 to %lld", what,
                       (long long)max);
    }
    return 0;
}

static int read_transition(struct kt_take *t, const json_t *line, struct kt_error *err)
{
    const json_t *value = json_object_get(line, "transition");
    const char *word = value ? json_string_value(value) : "model";
    static const char *const names[] = {"model", "cut", "scene"};
    static const enum kt_transition values[] = {KT_TRANSITION_MODEL, KT_TRANSITION_CUT,
                                                KT_TRANSITION_SCENE};
    for (size_t i = 0; word && i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(word, names[i]) == 0) {
            t->transition = values[i];
            return 0;
        }
    }
    return kt_fail(err, -EBADMSG, "transition: expected \"model\", \"cut\" or \"scene\"");
}

/* What may be left out, and is 0 then. */
static int read_optional(int *out, const json_t *line, const char *what, int max,
                         struct kt_error *err)
{
    json_int_t value = 0;
    int rc = json_object_get(line, what) ? read_number(&value, line, what, max, err) : 0;
    *out = (int)value;
    return rc;
}

static int read_take(struct kt_take *t, const json_t *line, struct kt_error *err)
{
    json_int_t seed = 0, at = 0;
    int rc = read_number(&seed, line, "seed", INT64_MAX, err);
    if (rc == 0) {
        rc = read_words(&t->prompt, line, "prompt", err);
    }
    if (rc == 0 && json_object_get(line, "switch")) {
        rc = read_words(&t->change, line, "switch", err);
        rc = rc == 0 ? read_number(&at, line, "at", INT32_MAX, err) : rc;
        rc = rc == 0 ? read_transition(t, line, err) : rc;
        rc = rc == 0 ? read_optional(&t->recache, line, "recache", 256, err) : rc;
        rc = rc == 0 ? read_optional(&t->blend, line, "blend", 16, err) : rc;
    }
    t->seed = (uint64_t)seed;
    t->at = (int)at;
    return rc;
}

/* One line: nothing for an empty one, else a take more. `lines` keeps the object, whose text the
 * take points to. */
static int add_line(struct kt_takes *takes, const char *text, struct kt_error *err)
{
    json_error_t why;
    if (text[strspn(text, " \t\r")] == '\0') {
        return 0;
    }
    json_t *line = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(line)) {
        json_decref(line);
        return kt_fail(err, -EBADMSG, "expected a JSON object, found %s",
                       line ? "another value" : why.text);
    }
    if (json_array_append_new(takes->lines, line) < 0) {
        return kt_fail(err, -ENOMEM, "out of memory");
    }
    return read_take(&takes->take[takes->count++], line, err);
}

static int add_lines(struct kt_takes *takes, char *text, const char *path, struct kt_error *err)
{
    size_t most = 1;
    for (const char *s = text; (s = strchr(s, '\n')); s++) {
        most++;
    }
    takes->take = calloc(most, sizeof(*takes->take));
    takes->lines = json_array();
    if (!takes->take || !takes->lines) {
        return kt_fail(err, -ENOMEM, "out of memory");
    }
    int rc = 0, number = 0;
    for (char *s = text, *rest; s && rc == 0; s = rest) {
        rest = strchr(s, '\n');
        if (rest) {
            *rest++ = '\0';
        }
        number++;
        rc = add_line(takes, s, err);
    }
    if (rc < 0) {
        return kt_fail_prefix(err, rc, "%s, line %d", path, number);
    }
    return takes->count ? 0 : kt_fail(err, -EBADMSG, "%s: no takes in it", path);
}

int kt_takes_open(struct kt_takes *takes, const char *path, struct kt_error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    *takes = (struct kt_takes){0};
    int rc = kt_file_read(path, LIST_BYTES_MAX, &text, &bytes, err);
    if (rc == 0) {
        rc = add_lines(takes, text, path, err);
    }
    free(text);
    if (rc < 0) {
        kt_takes_close(takes);
    }
    return rc;
}

void kt_takes_close(struct kt_takes *takes)
{
    for (int i = 0; i < takes->count; i++) {
        free(takes->take[i].prompt.ids);
        free(takes->take[i].change.ids);
    }
    free(takes->take);
    json_decref(takes->lines);
    *takes = (struct kt_takes){0};
}
