/* Client messages. Every message is a table of its fields, so that reading, refusing and printing
 * all follow the same list and a new field is one line. */
#include "proto/control.h"
#include "proto/json.h"
#include "proto/media.h"
#include "proto/nearest.h"
#include "proto/utf8.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum field_type {
    FIELD_INT,
    FIELD_BOOL,
    FIELD_STRING,
    FIELD_SEED,
    FIELD_HEX,
    FIELD_NAME,
    FIELD_CODECS,
    FIELD_RECACHE,
    FIELD_FORK
};

struct field {
    const char *name;
    enum field_type type;
    int optional;
    int64_t min, max; /* FIELD_INT: value; FIELD_STRING: max bytes; FIELD_HEX: exact characters */
    size_t offset;
    const char *const *names; /* FIELD_NAME */
};

struct kind {
    const char *name;
    const struct field *fields;
    int count;
};

#define AT(member) offsetof(struct kt_client_message, member)
#define FIELDS(a)  a, (int)(sizeof(a) / sizeof((a)[0]))

enum { OPTIONAL = 1 };
#define MICROS_MAX (((int64_t)1 << 53) - 1) /* what a JavaScript number holds exactly */

/* The fields that a commit and the settings have in common. */
#define CHANGE(member)                                                                             \
    {"cut", FIELD_NAME, OPTIONAL, 0, 0, AT(member.cut), kt_cut_names},                             \
        {"transition", FIELD_NAME, OPTIONAL, 0, 0, AT(member.transition), kt_transition_names},    \
        {"blend", FIELD_INT, OPTIONAL, 1, KT_BLEND_LIMIT, AT(member.blend), NULL},                 \
    {                                                                                              \
        "recache", FIELD_RECACHE, OPTIONAL, 1, KT_WINDOW_LIMIT, AT(member.recache), NULL           \
    }

static const struct field hello_fields[] = {
    {"protocol", FIELD_INT, 0, 0, INT32_MAX, AT(hello.protocol), NULL},
    {"codecs", FIELD_CODECS, 0, 1, KT_CODECS_MAX, AT(hello.codecs), NULL},
    {"token", FIELD_STRING, OPTIONAL, 0, KT_TOKEN_BYTES_MAX, AT(hello.token), NULL},
    {"resume", FIELD_HEX, OPTIONAL, 0, KT_RESUME_TOKEN_CHARS, AT(hello.resume), NULL},
    {"text", FIELD_STRING, OPTIONAL, 0, KT_MESSAGE_BYTES_MAX, AT(hello.text), NULL},
    {"seed", FIELD_SEED, OPTIONAL, 0, 0, AT(hello.seed), NULL},
    {"steps", FIELD_INT, OPTIONAL, 0, KT_STEPS_LIMIT, AT(hello.steps), NULL},
    {"wait", FIELD_BOOL, OPTIONAL, 0, 0, AT(hello.wait), NULL},
    {"fork", FIELD_FORK, OPTIONAL, 0, 0, AT(hello.fork), NULL},
    {"client", FIELD_STRING, OPTIONAL, 0, KT_CLIENT_NAME_BYTES_MAX, AT(hello.client), NULL},
};
static const struct field splice_fields[] = {
    {"rev", FIELD_INT, 0, 1, KT_REVISION_MAX, AT(edit.rev), NULL},
    {"base", FIELD_INT, 0, 0, KT_REVISION_MAX, AT(edit.base), NULL},
    {"at", FIELD_INT, 0, 0, KT_REVISION_MAX, AT(edit.at), NULL},
    {"del", FIELD_INT, 0, 0, KT_REVISION_MAX, AT(edit.del), NULL},
    {"ins", FIELD_STRING, 0, 0, KT_MESSAGE_BYTES_MAX, AT(edit.ins), NULL},
};
static const struct field replace_fields[] = {
    {"rev", FIELD_INT, 0, 1, KT_REVISION_MAX, AT(edit.rev), NULL},
    {"text", FIELD_STRING, 0, 0, KT_MESSAGE_BYTES_MAX, AT(edit.text), NULL},
};
static const struct field commit_fields[] = {
    {"rev", FIELD_INT, 0, 0, KT_REVISION_MAX, AT(commit.rev), NULL},
    CHANGE(commit.change),
};
static const struct field set_fields[] = {
    {"draft", FIELD_BOOL, OPTIONAL, 0, 0, AT(set.draft), NULL},
    {"preview", FIELD_BOOL, OPTIONAL, 0, 0, AT(set.preview), NULL},
    {"depth", FIELD_INT, OPTIONAL, 0, KT_DEPTH_LIMIT, AT(set.depth), NULL},
    CHANGE(set.change),
};
static const struct field rewind_fields[] = {
    {"frame", FIELD_INT, 0, 0, MICROS_MAX, AT(rewind.frame), NULL},
};
static const struct field reset_fields[] = {
    {"seed", FIELD_SEED, OPTIONAL, 0, 0, AT(reset.seed), NULL},
};
static const struct field steps_fields[] = {
    {"steps", FIELD_INT, 0, 0, KT_STEPS_LIMIT, AT(steps.steps), NULL},
};
static const struct field keyframe_fields[] = {
    {"reason", FIELD_STRING, OPTIONAL, 0, KT_CLIENT_NAME_BYTES_MAX, AT(keyframe.reason), NULL},
};
static const struct field playhead_fields[] = {
    {"seq", FIELD_INT, 0, 0, UINT32_MAX, AT(playhead.seq), NULL},
    {"client_us", FIELD_INT, OPTIONAL, 0, MICROS_MAX, AT(playhead.client_us), NULL},
    {"rtt_us", FIELD_INT, OPTIONAL, 0, MICROS_MAX, AT(playhead.rtt_us), NULL},
};
static const struct field ping_fields[] = {
    {"id", FIELD_INT, 0, 0, MICROS_MAX, AT(ping.id), NULL},
    {"client_us", FIELD_INT, 0, 0, MICROS_MAX, AT(ping.client_us), NULL},
};

/* An edit's own entry is the full-text form; a splice is told by any of its fields (see fields_of).
 */
static const struct kind kinds[KT_CLIENT_COUNT] = {
    [KT_CLIENT_HELLO] = {"hello", FIELDS(hello_fields)},
    [KT_CLIENT_EDIT] = {"edit", FIELDS(replace_fields)},
    [KT_CLIENT_COMMIT] = {"commit", FIELDS(commit_fields)},
    [KT_CLIENT_SET] = {"set", FIELDS(set_fields)},
    [KT_CLIENT_PAUSE] = {"pause", NULL, 0},
    [KT_CLIENT_RESUME] = {"resume", NULL, 0},
    [KT_CLIENT_RESET] = {"reset", FIELDS(reset_fields)},
    [KT_CLIENT_REWIND] = {"rewind", FIELDS(rewind_fields)},
    [KT_CLIENT_STEPS] = {"steps", FIELDS(steps_fields)},
    [KT_CLIENT_KEYFRAME] = {"keyframe", FIELDS(keyframe_fields)},
    [KT_CLIENT_PLAYHEAD] = {"playhead", FIELDS(playhead_fields)},
    [KT_CLIENT_PING] = {"ping", FIELDS(ping_fields)},
    [KT_CLIENT_BYE] = {"bye", NULL, 0},
};
static const struct kind splice_kind = {"edit", FIELDS(splice_fields)};

/* ---- reading ---- */

struct reader {
    struct kt_client_message *m;
    const struct kind *kind;
    struct kt_fault *fault;
};

static void *member(const struct kt_client_message *m, const struct field *f)
{
    return (char *)m + f->offset;
}

static const char *type_name(const json_t *v)
{
    static const char *const names[] = {
        [JSON_OBJECT] = "an object",
        [JSON_ARRAY] = "an array",
        [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer",
        [JSON_REAL] = "a number with a fraction",
        [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",
        [JSON_NULL] = "null",
    };
    return names[json_typeof(v)];
}

static int wrong_type(const struct reader *r, const struct field *f, const char *expected,
                      const json_t *found)
{
    kt_fault_set(r->fault, KT_FAULT_WRONG_TYPE, "%s: %s has the wrong type", r->kind->name,
                 f->name);
    return kt_fault_detail(r->fault, f->name, expected, type_name(found));
}

static int out_of_range(const struct reader *r, const struct field *f, const char *expected,
                        const char *found)
{
    kt_fault_set(r->fault, KT_FAULT_OUT_OF_RANGE, "%s: %s is out of range", r->kind->name, f->name);
    return kt_fault_detail(r->fault, f->name, expected, found);
}

static int read_int(const struct reader *r, const struct field *f, const json_t *v)
{
    if (!json_is_integer(v)) {
        return wrong_type(r, f, "an integer", v);
    }
    const int64_t x = json_integer_value(v);
    if (x < f->min || x > f->max) {
        char expected[64], found[32];
        snprintf(expected, sizeof(expected), "%lld to %lld", (long long)f->min, (long long)f->max);
        snprintf(found, sizeof(found), "%lld", (long long)x);
        return out_of_range(r, f, expected, found);
    }
    *(int64_t *)member(r->m, f) = x;
    return 0;
}

static int read_bool(const struct reader *r, const struct field *f, const json_t *v)
{
    if (!json_is_boolean(v)) {
        return wrong_type(r, f, "true or false", v);
    }
    *(int64_t *)member(r->m, f) = json_is_true(v);
    return 0;
}

static int read_recache(const struct reader *r, const struct field *f, const json_t *v)
{
    if (!json_is_string(v)) {
        return json_is_integer(v) ? read_int(r, f, v)
                                  : wrong_type(r, f, "\"full\", \"checkpoint\" or an integer", v);
    }
    const char *s = json_string_value(v);
    const int full = strcmp(s, "full") == 0;
    if (!full && strcmp(s, "checkpoint") != 0) {
        return out_of_range(r, f, "\"full\", \"checkpoint\" or an integer", s);
    }
    *(int64_t *)member(r->m, f) = full ? KT_CHANGE_FULL : KT_CHANGE_CHECKPOINT;
    return 0;
}

static int read_string(const struct reader *r, const struct field *f, const json_t *v)
{
    if (!json_is_string(v)) {
        return wrong_type(r, f, "a string", v);
    }
    if (json_string_length(v) > (size_t)f->max) {
        char expected[48], found[32];
        snprintf(expected, sizeof(expected), "at most %lld bytes", (long long)f->max);
        snprintf(found, sizeof(found), "%zu bytes", json_string_length(v));
        return out_of_range(r, f, expected, found);
    }
    *(const char **)member(r->m, f) = json_string_value(v);
    return 0;
}

static int read_hex(const struct reader *r, const struct field *f, const json_t *v)
{
    if (!json_is_string(v)) {
        return wrong_type(r, f, "a string", v);
    }
    const char *s = json_string_value(v);
    const size_t n = json_string_length(v);
    if (n != (size_t)f->max || strspn(s, "0123456789abcdef") != n) {
        /* A token is never quoted back: errors end up in logs. */
        return out_of_range(r, f, "32 lower-case hex digits", "something else");
    }
    *(const char **)member(r->m, f) = s;
    return 0;
}

static int read_seed(const struct reader *r, const struct field *f, const json_t *v)
{
    if (!json_is_string(v)) {
        return wrong_type(r, f, "a string with a decimal number", v);
    }
    const char *s = json_string_value(v);
    const size_t n = json_string_length(v);
    errno = 0;
    const unsigned long long x = strtoull(s, NULL, 10);
    if (n == 0 || n > 20 || strspn(s, "0123456789") != n || errno == ERANGE) {
        return out_of_range(r, f, "0 to 18446744073709551615 as decimal digits", n ? s : "\"\"");
    }
    *(struct kt_seed *)member(r->m, f) = (struct kt_seed){1, x};
    return 0;
}

static int read_name(const struct reader *r, const struct field *f, const json_t *v)
{
    if (!json_is_string(v)) {
        return wrong_type(r, f, "a string", v);
    }
    char expected[96] = "one of";
    for (int i = 0; f->names[i]; i++) {
        if (strcmp(json_string_value(v), f->names[i]) == 0) {
            *(int64_t *)member(r->m, f) = i;
            return 0;
        }
        const size_t used = strlen(expected);
        snprintf(expected + used, sizeof(expected) - used, " \"%s\"", f->names[i]);
    }
    return out_of_range(r, f, expected, json_string_value(v));
}

static int read_codecs(const struct reader *r, const struct field *f, const json_t *v)
{
    struct kt_codec_list *list = member(r->m, f);
    if (!json_is_array(v)) {
        return wrong_type(r, f, "an array of strings", v);
    }
    const size_t n = json_array_size(v);
    if (n < 1 || n > KT_CODECS_MAX) {
        char found[32];
        snprintf(found, sizeof(found), "%zu", n);
        return out_of_range(r, f, "1 to 8 codec names", found);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *name = json_array_get(v, i);
        if (!json_is_string(name)) {
            return wrong_type(r, f, "an array of strings", name);
        }
        const enum kt_media_codec codec = kt_codec_from_name(json_string_value(name));
        if (codec != KT_CODEC_NONE) {
            list->codec[list->count++] = (uint8_t)codec;
        }
    }
    if (list->count == 0) {
        kt_fault_set(r->fault, KT_FAULT_NO_CODEC, "hello: no codec in common");
        return kt_fault_detail(r->fault, f->name, "one of \"vp8\", \"vp9\", \"jpeg\"",
                               "none of them");
    }
    return 0;
}

static int read_fork(const struct reader *r, const struct field *f, const json_t *v)
{
    const struct field session = {.name = "fork.session",
                                  .max = KT_RESUME_TOKEN_CHARS,
                                  .offset = f->offset + offsetof(struct kt_fork, session)};
    const struct field frame = {.name = "fork.frame",
                                .max = MICROS_MAX,
                                .offset = f->offset + offsetof(struct kt_fork, frame)};
    if (!json_is_object(v)) {
        return wrong_type(r, f, "an object", v);
    }
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)v, key, value) {
        if (strcmp(key, "session") != 0 && strcmp(key, "frame") != 0) {
            char name[64];
            snprintf(name, sizeof(name), "fork.%.56s", key);
            name[kt_utf8_cut(name, strlen(name))] = '\0';
            kt_fault_set(r->fault, KT_FAULT_UNKNOWN_FIELD, "%s: unknown field", r->kind->name);
            return kt_fault_detail(r->fault, name, "\"session\" and \"frame\" at most", key);
        }
    }
    const json_t *token = json_object_get(v, "session"), *at = json_object_get(v, "frame");
    if (!token) {
        kt_fault_set(r->fault, KT_FAULT_MISSING_FIELD, "hello: fork.session is missing");
        return kt_fault_detail(r->fault, session.name, "the resume token of a session", "nothing");
    }
    const int rc = read_hex(r, &session, token);
    return rc < 0 || !at ? rc : read_int(r, &frame, at);
}

typedef int (*read_fn)(const struct reader *, const struct field *, const json_t *);
static const read_fn readers[] = {
    [FIELD_INT] = read_int,       [FIELD_BOOL] = read_bool,       [FIELD_STRING] = read_string,
    [FIELD_SEED] = read_seed,     [FIELD_HEX] = read_hex,         [FIELD_NAME] = read_name,
    [FIELD_CODECS] = read_codecs, [FIELD_RECACHE] = read_recache, [FIELD_FORK] = read_fork,
};

static int check_unknown(const struct reader *r)
{
    const char *names[16] = {0};
    for (int i = 0; i < r->kind->count; i++) {
        names[i] = r->kind->fields[i].name;
    }
    const char *key;
    json_t *value;
    json_object_foreach (r->m->root, key, value) {
        int found = strcmp(key, "type") == 0;
        for (int i = 0; i < r->kind->count && !found; i++) {
            found = strcmp(key, names[i]) == 0;
        }
        if (!found) {
            const char *near = kt_nearest_name(key, names);
            char expected[80] = "no further field";
            if (near) {
                snprintf(expected, sizeof(expected), "a known field; the nearest is \"%s\"", near);
            }
            kt_fault_set(r->fault, KT_FAULT_UNKNOWN_FIELD, "%s: unknown field", r->kind->name);
            return kt_fault_detail(r->fault, key, expected, key);
        }
    }
    return 0;
}

static void set_absent(struct kt_client_message *m, const struct field *f)
{
    switch (f->type) {
    case FIELD_INT:
    case FIELD_BOOL:
    case FIELD_NAME:
    case FIELD_RECACHE: *(int64_t *)member(m, f) = -1; break;
    case FIELD_FORK: *(struct kt_fork *)member(m, f) = (struct kt_fork){NULL, -1}; break;
    default: break; /* all bits zero */
    }
}

static int read_fields(const struct reader *r)
{
    for (int i = 0; i < r->kind->count; i++) {
        const struct field *f = &r->kind->fields[i];
        set_absent(r->m, f);
        const json_t *v = json_object_get(r->m->root, f->name);
        if (!v && f->optional) {
            continue;
        }
        if (!v) {
            kt_fault_set(r->fault, KT_FAULT_MISSING_FIELD, "%s: %s is missing", r->kind->name,
                         f->name);
            return kt_fault_detail(r->fault, f->name, "the field", "nothing");
        }
        const int rc = readers[f->type](r, f, v);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* The field list of this message. An edit without a text is a splice, also when its fields are
 * missing. */
static const struct kind *fields_of(enum kt_client_kind kind, const json_t *root)
{
    if (kind != KT_CLIENT_EDIT) {
        return &kinds[kind];
    }
    for (size_t i = 1; i < sizeof(splice_fields) / sizeof(splice_fields[0]); i++) {
        if (json_object_get(root, splice_fields[i].name)) {
            return &splice_kind;
        }
    }
    return json_object_get(root, "text") ? &kinds[KT_CLIENT_EDIT] : &splice_kind;
}

static int read_kind(struct kt_client_message *m, struct kt_fault *fault)
{
    const json_t *type = json_object_get(m->root, "type");
    if (!json_is_string(type)) {
        kt_fault_set(fault, type ? KT_FAULT_WRONG_TYPE : KT_FAULT_MISSING_FIELD,
                     "the message has no type");
        return kt_fault_detail(fault, "type", "a string", type ? type_name(type) : "nothing");
    }
    const char *names[KT_CLIENT_COUNT + 1] = {0};
    for (int i = 0; i < KT_CLIENT_COUNT; i++) {
        names[i] = kinds[i].name;
        if (strcmp(json_string_value(type), names[i]) == 0) {
            m->kind = (enum kt_client_kind)i;
            return 0;
        }
    }
    char expected[80];
    snprintf(expected, sizeof(expected), "a message of PROTOCOL.md; the nearest is \"%s\"",
             kt_nearest_name(json_string_value(type), names));
    kt_fault_set(fault, KT_FAULT_UNKNOWN_MESSAGE, "unknown message");
    return kt_fault_detail(fault, "type", expected, json_string_value(type));
}

/* Deepest nesting outside strings: bounded before the parser recurses. */
static int depth_of(const char *s, size_t n)
{
    int depth = 0, deepest = 0, in_string = 0;
    for (size_t i = 0; i < n; i++) {
        if (in_string) {
            i += s[i] == '\\';
            in_string = i < n && s[i] != '"';
        } else if (s[i] == '"') {
            in_string = 1;
        } else if (s[i] == '{' || s[i] == '[') {
            depth++;
            deepest = depth > deepest ? depth : deepest;
        } else if (s[i] == '}' || s[i] == ']') {
            depth--;
        }
    }
    return deepest;
}

static int check_bytes(const char *data, size_t n, struct kt_fault *fault)
{
    char found[64];
    if (n > KT_MESSAGE_BYTES_MAX) {
        snprintf(found, sizeof(found), "%zu bytes", n);
        kt_fault_set(fault, KT_FAULT_TOO_BIG, "the message is too big");
        return kt_fault_detail(fault, "", "at most 65536 bytes", found);
    }
    size_t bad = 0;
    if (!kt_utf8_valid(data, n, &bad)) {
        snprintf(found, sizeof(found), "byte 0x%02x at offset %zu", (unsigned char)data[bad], bad);
        kt_fault_set(fault, KT_FAULT_BAD_UTF8, "the message is not valid UTF-8");
        return kt_fault_detail(fault, "", "UTF-8", found);
    }
    if (depth_of(data, n) > KT_JSON_DEPTH_MAX) {
        kt_fault_set(fault, KT_FAULT_BAD_JSON, "the message is nested too deeply");
        return kt_fault_detail(fault, "", "at most 8 levels", "more");
    }
    return 0;
}

static int parse_object(struct kt_client_message *m, const char *data, size_t n,
                        struct kt_fault *fault)
{
    json_error_t error;
    m->root = json_loadb(data, n, JSON_REJECT_DUPLICATES, &error);
    if (!m->root) {
        char where[sizeof(error.text) + 48];
        error.text[kt_utf8_cut(error.text, strlen(error.text))] =
            '\0'; /* it may quote the message */
        snprintf(where, sizeof(where), "%s (line %d, column %d)", error.text, error.line,
                 error.column);
        kt_fault_set(fault, KT_FAULT_BAD_JSON, "the message is not JSON");
        return kt_fault_detail(fault, "", "one JSON object", where);
    }
    if (!json_is_object(m->root)) {
        kt_fault_set(fault, KT_FAULT_BAD_JSON, "the message is not a JSON object");
        return kt_fault_detail(fault, "", "one JSON object", type_name(m->root));
    }
    return 0;
}

static int check_protocol(const struct kt_client_message *m, struct kt_fault *fault)
{
    if (m->kind != KT_CLIENT_HELLO || m->hello.protocol == KT_PROTOCOL_VERSION) {
        return 0;
    }
    char found[32];
    snprintf(found, sizeof(found), "version %lld", (long long)m->hello.protocol);
    kt_fault_set(fault, KT_FAULT_BAD_PROTOCOL, "hello: another protocol version");
    return kt_fault_detail(fault, "protocol", "version 1", found);
}

int kt_client_message_parse(struct kt_client_message *m, const char *data, size_t n,
                            struct kt_fault *fault)
{
    memset(m, 0, sizeof(*m));
    struct reader r = {m, NULL, fault};
    int rc = check_bytes(data, n, fault);
    if (rc == 0) {
        rc = parse_object(m, data, n, fault);
    }
    if (rc == 0) {
        rc = read_kind(m, fault);
    }
    if (rc == 0) {
        r.kind = fields_of(m->kind, m->root);
        rc = check_unknown(&r);
    }
    if (rc == 0) {
        rc = read_fields(&r);
    }
    if (rc == 0) {
        rc = check_protocol(m, fault);
    }
    if (rc < 0) {
        kt_client_message_free(m);
    }
    return rc;
}

void kt_client_message_free(struct kt_client_message *m)
{
    json_decref(m->root);
    m->root = NULL;
}

/* ---- printing ---- */

static json_t *print_codecs(const struct kt_codec_list *list)
{
    json_t *a = json_array();
    for (int i = 0; i < list->count; i++) {
        json_array_append_new(a, json_string(kt_codec_name((enum kt_media_codec)list->codec[i])));
    }
    return a;
}

static json_t *print_fork(const struct kt_fork *fork)
{
    json_t *o = fork->session ? json_pack("{s:s}", "session", fork->session) : NULL;
    if (o && fork->frame >= 0) {
        json_object_set_new(o, "frame", json_integer(fork->frame));
    }
    return o;
}

/* NULL where the field is absent. */
static json_t *print_field(const struct kt_client_message *m, const struct field *f)
{
    const void *p = member(m, f);
    char digits[24];
    switch (f->type) {
    case FIELD_INT: return *(const int64_t *)p < 0 ? NULL : json_integer(*(const int64_t *)p);
    case FIELD_BOOL: return *(const int64_t *)p < 0 ? NULL : json_boolean(*(const int64_t *)p);
    case FIELD_RECACHE:
        return *(const int64_t *)p < 0 ? NULL : kt_json_recache(*(const int64_t *)p);
    case FIELD_FORK: return print_fork(p);
    case FIELD_STRING:
    case FIELD_HEX: return *(char *const *)p ? json_string(*(char *const *)p) : NULL;
    case FIELD_SEED:
        snprintf(digits, sizeof(digits), "%llu",
                 (unsigned long long)((const struct kt_seed *)p)->value);
        return ((const struct kt_seed *)p)->given ? json_string(digits) : NULL;
    case FIELD_NAME:
        return *(const int64_t *)p < 0 ? NULL : json_string(f->names[*(const int64_t *)p]);
    case FIELD_CODECS: return print_codecs(p);
    }
    return NULL;
}

char *kt_client_message_print(const struct kt_client_message *m)
{
    const struct kind *kind = &kinds[m->kind];
    if (m->kind == KT_CLIENT_EDIT && !m->edit.text) {
        kind = &splice_kind;
    }
    json_t *root = json_object();
    json_object_set_new(root, "type", json_string(kind->name));
    for (int i = 0; i < kind->count; i++) {
        json_t *v = print_field(m, &kind->fields[i]);
        if (v) {
            json_object_set_new(root, kind->fields[i].name, v);
        }
    }
    char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}
