/* Like control_client.c, a table of fields for each message: reading and refusing follow one list.
 */
#include "proto/server_message.h"

#include "proto/limits.h"

#include <jansson.h>
#include <string.h>

enum field_type { FIELD_INT, FIELD_STRING, FIELD_FLAG };
enum { OPTIONAL = 1 };

struct field {
    const char *path; /* a name, or "object.name" */
    enum field_type type;
    int optional;
    size_t offset;
};

struct kind {
    const char *name;
    const struct field *fields;
    int count;
};

#define AT(member) offsetof(struct kt_server_message, member)
#define FIELDS(a)  a, (int)(sizeof(a) / sizeof((a)[0]))

static const struct field welcome_fields[] = {
    {"text", FIELD_STRING, 0, AT(welcome.text)},
    {"codec", FIELD_STRING, 0, AT(welcome.codec)},
    {"model.name", FIELD_STRING, OPTIONAL, AT(welcome.model)},
    {"rev", FIELD_INT, 0, AT(welcome.rev)},
    {"committed", FIELD_INT, OPTIONAL, AT(welcome.committed)}, /* null: none */
    {"model.ready", FIELD_FLAG, OPTIONAL, AT(welcome.ready)},
    {"steps", FIELD_INT, OPTIONAL, AT(welcome.steps)},
    {"video.width", FIELD_INT, 0, AT(welcome.width)},
    {"video.height", FIELD_INT, 0, AT(welcome.height)},
    {"video.fps", FIELD_INT, 0, AT(welcome.fps)},
};
static const struct field queued_fields[] = {
    {"position", FIELD_INT, 0, AT(queued.position)},
    {"sessions", FIELD_INT, OPTIONAL, AT(queued.sessions)},
    {"eta_ms", FIELD_INT, OPTIONAL, AT(queued.eta_ms)},
};
static const struct field received_fields[] = {
    {"rev", FIELD_INT, 0, AT(received.rev)},
    {"committed", FIELD_FLAG, OPTIONAL, AT(received.committed)},
};
static const struct field applied_fields[] = {
    {"rev", FIELD_INT, 0, AT(applied.rev)},
    {"epoch", FIELD_INT, 0, AT(applied.epoch)},
    {"frame", FIELD_INT, 0, AT(applied.frame)},
    {"hit", FIELD_STRING, OPTIONAL, AT(applied.hit)},
    {"cut", FIELD_STRING, OPTIONAL, AT(applied.cut)},
};
static const struct field failed_fields[] = {
    {"rev", FIELD_INT, 0, AT(failed.rev)},
    {"code", FIELD_STRING, 0, AT(failed.code)},
    {"message", FIELD_STRING, 0, AT(failed.message)},
};
static const struct field resync_fields[] = {
    {"rev", FIELD_INT, 0, AT(resync.rev)},
    {"text", FIELD_STRING, 0, AT(resync.text)},
};
static const struct field status_fields[] = {
    {"state", FIELD_STRING, 0, AT(status.state)},
    {"steps", FIELD_INT, OPTIONAL, AT(status.steps)},
    {"slow", FIELD_FLAG, OPTIONAL, AT(status.slow)},
};
static const struct field pong_fields[] = {
    {"id", FIELD_INT, 0, AT(pong.id)},
    {"client_us", FIELD_INT, 0, AT(pong.client_us)},
    {"server_us", FIELD_INT, 0, AT(pong.server_us)},
};
static const struct field error_fields[] = {
    {"code", FIELD_STRING, 0, AT(error.code)},
    {"message", FIELD_STRING, 0, AT(error.message)},
    {"rev", FIELD_INT, OPTIONAL, AT(error.rev)},
    {"fatal", FIELD_FLAG, OPTIONAL, AT(error.fatal)},
    {"retry_ms", FIELD_INT, OPTIONAL, AT(error.retry_ms)},
};
static const struct field bye_fields[] = {
    {"code", FIELD_STRING, 0, AT(bye.code)},
    {"message", FIELD_STRING, 0, AT(bye.message)},
};

static const struct kind kinds[KT_SERVER_COUNT] = {
    [KT_SERVER_WELCOME] = {"welcome", FIELDS(welcome_fields)},
    [KT_SERVER_QUEUED] = {"queued", FIELDS(queued_fields)},
    [KT_SERVER_RECEIVED] = {"received", FIELDS(received_fields)},
    [KT_SERVER_APPLIED] = {"applied", FIELDS(applied_fields)},
    [KT_SERVER_FAILED] = {"failed", FIELDS(failed_fields)},
    [KT_SERVER_RESYNC] = {"resync", FIELDS(resync_fields)},
    [KT_SERVER_STATUS] = {"status", FIELDS(status_fields)},
    [KT_SERVER_PONG] = {"pong", FIELDS(pong_fields)},
    [KT_SERVER_ERROR] = {"error", FIELDS(error_fields)},
    [KT_SERVER_BYE] = {"bye", FIELDS(bye_fields)},
    [KT_SERVER_OTHER] = {NULL, NULL, 0},
};

static const json_t *look_up(const json_t *root, const char *path)
{
    const char *dot = strchr(path, '.');
    char outer[32];
    if (!dot) {
        return json_object_get(root, path);
    }
    const size_t n = (size_t)(dot - path);
    memcpy(outer, path, n);
    outer[n] = '\0';
    return json_object_get(json_object_get(root, outer), dot + 1);
}

static int refuse(struct kt_fault *fault, const struct kind *kind, const struct field *f,
                  enum kt_fault_code code)
{
    static const char *const types[] = {"an integer", "a string", "true or false"};
    kt_fault_set(fault, code, "%s: %s %s", kind->name, f->path,
                 code == KT_FAULT_MISSING_FIELD ? "is missing" : "has the wrong type");
    return kt_fault_detail(fault, f->path, types[f->type], "");
}

static int read_field(struct kt_server_message *m, const struct kind *kind, const struct field *f,
                      struct kt_fault *fault)
{
    char *const out = (char *)m + f->offset;
    const json_t *v = look_up(m->root, f->path);
    if (!v || (json_is_null(v) && f->optional)) {
        if (f->type == FIELD_STRING) {
            *(const char **)out = "";
        } else {
            *(int64_t *)out = f->type == FIELD_INT ? -1 : 0;
        }
        return f->optional ? 0 : refuse(fault, kind, f, KT_FAULT_MISSING_FIELD);
    }
    if (f->type == FIELD_INT && json_is_integer(v)) {
        *(int64_t *)out = json_integer_value(v);
    } else if (f->type == FIELD_FLAG && json_is_boolean(v)) {
        *(int64_t *)out = json_is_true(v);
    } else if (f->type == FIELD_STRING && json_is_string(v)) {
        *(const char **)out = json_string_value(v);
    } else {
        return refuse(fault, kind, f, KT_FAULT_WRONG_TYPE);
    }
    return 0;
}

static enum kt_server_kind find_kind(const char *type)
{
    for (int i = 0; i < KT_SERVER_OTHER; i++) {
        if (strcmp(kinds[i].name, type) == 0) {
            return (enum kt_server_kind)i;
        }
    }
    return KT_SERVER_OTHER;
}

static int read_object(struct kt_server_message *m, struct kt_fault *fault)
{
    const char *type = json_string_value(json_object_get(m->root, "type"));
    if (!type) {
        return kt_fault_set(fault, KT_FAULT_BAD_JSON, "expected an object with a type");
    }
    m->kind = find_kind(type);
    const struct kind *kind = &kinds[m->kind];
    int rc = 0;
    for (int i = 0; i < kind->count && rc == 0; i++) {
        rc = read_field(m, kind, &kind->fields[i], fault);
    }
    return rc;
}

int kt_server_message_parse(struct kt_server_message *m, const char *data, size_t n,
                            struct kt_fault *fault)
{
    json_error_t error;
    memset(m, 0, sizeof(*m));
    m->root = json_loadb(data, n, JSON_REJECT_DUPLICATES, &error);
    if (!m->root) {
        return kt_fault_set(fault, KT_FAULT_BAD_JSON, "not JSON: %s at byte %d", error.text,
                            error.position);
    }
    const int rc = read_object(m, fault);
    if (rc < 0) {
        kt_server_message_free(m);
    }
    return rc;
}

void kt_server_message_free(struct kt_server_message *m)
{
    json_decref(m->root);
    m->root = NULL;
}
