#include "load/script.h"

#include "engine/base/file.h"
#include "load/box.h"
#include "proto/nearest.h"
#include "proto/utf8.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char *const names[] = {"wait", "select", "caret", "type", "paste", "erase", "enter"};

/* The fields that each action may have besides "do"; the first is required where it says so. */
static const struct {
    const char *ms, *text, *keys;
    int ms_required, text_required;
} shapes[KT_ACTION_COUNT] = {
    [KT_ACTION_WAIT] = {"ms", NULL, NULL, 1, 0},
    [KT_ACTION_SELECT] = {"ms", "text", NULL, 0, 0},
    [KT_ACTION_CARET] = {"ms", "after", NULL, 0, 0},
    [KT_ACTION_TYPE] = {NULL, "text", NULL, 0, 1},
    [KT_ACTION_PASTE] = {"ms", "text", NULL, 0, 1},
    [KT_ACTION_ERASE] = {NULL, NULL, "keys", 0, 0},
    [KT_ACTION_ENTER] = {"pause_ms", NULL, NULL, 1, 0},
};

struct reader {
    struct kt_script *s;
    const char *name;
    int line, cap;
    struct kt_error *err;
};

static int wrong(const struct reader *r, const char *what, const char *expected)
{
    return kt_fail(r->err, -EINVAL, "%s:%d: %s; expected %s", r->name, r->line, what, expected);
}

static int wrong_field(const struct reader *r, const char *field, const char *expected)
{
    return kt_fail(r->err, -EINVAL, "%s:%d: \"%s\": expected %s", r->name, r->line, field,
                   expected);
}

static int read_kind(const struct reader *r, const json_t *o, struct kt_action *a)
{
    const char *name = json_string_value(json_object_get(o, "do"));
    for (int i = 0; name && i < KT_ACTION_COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            a->kind = (enum kt_action_kind)i;
            return 0;
        }
    }
    return wrong_field(r, "do", "wait, select, caret, type, paste, erase or enter");
}

static int check_fields(const struct reader *r, const json_t *o, enum kt_action_kind kind)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)o, key, value) {
        const char *const known[] = {"do", shapes[kind].ms, shapes[kind].text, shapes[kind].keys};
        int found = 0;
        for (int i = 0; i < 4; i++) {
            found |= known[i] && strcmp(known[i], key) == 0;
        }
        if (!found) {
            return kt_fail(r->err, -EINVAL, "%s:%d: \"%s\" has no field \"%.40s\"", r->name,
                           r->line, names[kind], key);
        }
    }
    return 0;
}

static int read_int(const struct reader *r, const json_t *o, const char *field, int max, int *out)
{
    const json_t *v = field ? json_object_get(o, field) : NULL;
    if (!v) {
        return 0;
    }
    const json_int_t x = json_integer_value(v);
    if (!json_is_integer(v) || x < 0 || x > max) {
        char expected[64];
        snprintf(expected, sizeof(expected), "a whole number from 0 to %d", max);
        return wrong_field(r, field, expected);
    }
    *out = (int)x;
    return 0;
}

static int read_text(const struct reader *r, const json_t *o, const char *field, char **out)
{
    const json_t *v = field ? json_object_get(o, field) : NULL;
    if (!v) {
        return 0;
    }
    if (!json_is_string(v) || !json_string_value(v)[0]) {
        return wrong_field(r, field, "a string that is not empty");
    }
    *out = strdup(json_string_value(v));
    return *out ? 0 : kt_fail(r->err, -ENOMEM, "out of memory");
}

static int read_action(const struct reader *r, const json_t *o, struct kt_action *a)
{
    int rc = read_kind(r, o, a);
    rc = rc < 0 ? rc : check_fields(r, o, a->kind);
    if (rc < 0) {
        return rc;
    }
    a->ms = shapes[a->kind].ms_required ? -1 : KT_SCRIPT_SELECT_MS;
    rc = read_int(r, o, shapes[a->kind].ms, KT_SCRIPT_MS_MAX, &a->ms);
    rc = rc < 0 ? rc : read_int(r, o, shapes[a->kind].keys, KT_TEXT_BYTES_MAX, &a->keys);
    rc = rc < 0 ? rc : read_text(r, o, shapes[a->kind].text, &a->text);
    if (rc < 0) {
        return rc;
    }
    if (a->ms < 0) {
        return wrong_field(r, shapes[a->kind].ms, "milliseconds");
    }
    if (shapes[a->kind].text_required && !a->text) {
        return wrong_field(r, shapes[a->kind].text, "what is typed");
    }
    return shapes[a->kind].keys && a->keys < 1 ? wrong_field(r, "keys", "1 or more") : 0;
}

static int grow(struct reader *r)
{
    if (r->s->count < r->cap) {
        return 0;
    }
    if (r->cap >= KT_SCRIPT_ACTIONS_MAX) {
        return kt_fail(r->err, -EINVAL, "%s: more than %d actions", r->name, KT_SCRIPT_ACTIONS_MAX);
    }
    const int cap = r->cap ? r->cap * 2 : 256;
    struct kt_action *a = realloc(r->s->actions, (size_t)cap * sizeof(*a));
    if (!a) {
        return kt_fail(r->err, -ENOMEM, "out of memory");
    }
    r->s->actions = a;
    r->cap = cap;
    return 0;
}

static int read_line(struct reader *r, const char *line, size_t n)
{
    json_error_t error;
    while (n > 0 && (*line == ' ' || *line == '\t')) {
        line++;
        n--;
    }
    n -= n > 0 && line[n - 1] == '\r';
    if (n == 0 || (n >= 2 && line[0] == '/' && line[1] == '/')) {
        return 0;
    }
    int rc = grow(r);
    if (rc < 0) {
        return rc;
    }
    json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(o)) {
        rc = o ? wrong(r, "not an object", "one JSON object a line")
               : kt_fail(r->err, -EINVAL, "%s:%d: not JSON: %s at column %d", r->name, r->line,
                         error.text, error.column);
    } else {
        struct kt_action *a = &r->s->actions[r->s->count++];
        *a = (struct kt_action){.line = r->line};
        rc = read_action(r, o, a);
    }
    json_decref(o);
    return rc;
}

/* ---- what it does to the text ---- */

static int type(struct kt_box *b, const char *text)
{
    struct kt_keystroke change;
    int rc = 0;
    for (size_t n; *text && rc == 0; text += n) {
        n = kt_utf8_sequence(text, strlen(text));
        rc = kt_box_insert(b, text, n, &change);
    }
    return rc;
}

static int erase(struct kt_box *b, int keys)
{
    struct kt_keystroke change;
    int rc = 0;
    for (int i = 0; i < keys && rc == 0; i++) {
        rc = kt_box_backspace(b, &change);
    }
    return rc;
}

static int play_action(const struct reader *r, struct kt_box *b, const struct kt_action *a)
{
    struct kt_keystroke change;
    switch (a->kind) {
    case KT_ACTION_WAIT:
    case KT_ACTION_COUNT: return 0;
    case KT_ACTION_SELECT:
        return kt_box_select(b, a->text) < 0
                   ? wrong(r, "the words are not in the text", b->text.bytes)
                   : 0;
    case KT_ACTION_CARET:
        return kt_box_caret(b, a->text) < 0
                   ? wrong(r, "the words are not in the text", b->text.bytes)
                   : 0;
    case KT_ACTION_TYPE:
        return type(b, a->text) < 0 ? wrong(r, "the text is too long", "at most 8192 bytes") : 0;
    case KT_ACTION_PASTE:
        return kt_box_insert(b, a->text, strlen(a->text), &change) < 0
                   ? wrong(r, "the text is too long", "at most 8192 bytes")
                   : 0;
    case KT_ACTION_ERASE:
        return erase(b, a->keys) < 0 ? wrong(r, "a backspace too many", "text before the caret")
                                     : 0;
    case KT_ACTION_ENTER:
        return kt_text_blank(&b->text) ? wrong(r, "Enter on an empty text", "a prompt") : 0;
    }
    return 0;
}

static int play(struct reader *r)
{
    struct kt_box *box = calloc(1, sizeof(*box));
    if (!box) {
        return kt_fail(r->err, -ENOMEM, "out of memory");
    }
    int rc = 0;
    for (int i = 0; i < r->s->count && rc == 0; i++) {
        const struct kt_action *a = &r->s->actions[i];
        r->line = a->line;
        r->s->starts += a->kind == KT_ACTION_SELECT && !a->text;
        r->s->enters += a->kind == KT_ACTION_ENTER;
        rc = play_action(r, box, a);
    }
    free(box);
    return rc;
}

static int check(struct reader *r)
{
    if (r->s->count == 0) {
        return kt_fail(r->err, -EINVAL, "%s: no actions", r->name);
    }
    const struct kt_action *first = &r->s->actions[0];
    if (first->kind != KT_ACTION_SELECT || first->text) {
        r->line = first->line;
        return wrong(r, "the first action is another one", "{\"do\": \"select\"}, of everything");
    }
    const int rc = play(r);
    if (rc == 0 && r->s->enters == 0) {
        return kt_fail(r->err, -EINVAL, "%s: no \"enter\": nothing would ever be committed",
                       r->name);
    }
    return rc;
}

int kt_script_parse(struct kt_script *s, const char *data, size_t n, const char *name,
                    struct kt_error *err)
{
    struct reader r = {.s = s, .name = name, .err = err};
    int rc = 0;
    *s = (struct kt_script){0};
    for (size_t at = 0; at < n && rc == 0;) {
        const char *end = memchr(data + at, '\n', n - at);
        const size_t length = end ? (size_t)(end - data) - at : n - at;
        r.line++;
        rc = read_line(&r, data + at, length);
        at += length + 1;
    }
    rc = rc < 0 ? rc : check(&r);
    if (rc < 0) {
        kt_script_free(s);
    }
    return rc;
}

int kt_script_read(struct kt_script *s, const char *path, struct kt_error *err)
{
    char *data;
    size_t n;
    int rc = kt_file_read(path, KT_SCRIPT_BYTES_MAX, &data, &n, err);
    if (rc < 0) {
        return rc;
    }
    rc = kt_script_parse(s, data, n, path, err);
    free(data);
    return rc;
}

void kt_script_free(struct kt_script *s)
{
    for (int i = 0; i < s->count; i++) {
        free(s->actions[i].text);
    }
    free(s->actions);
    *s = (struct kt_script){0};
}

int kt_script_start(const struct kt_script *s, int i)
{
    int left = i % s->starts;
    for (int a = 0; a < s->count; a++) {
        if (s->actions[a].kind == KT_ACTION_SELECT && !s->actions[a].text && left-- == 0) {
            return a;
        }
    }
    return 0;
}
