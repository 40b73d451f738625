#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/journal/fields.h"

struct kt_journal_reader {
    FILE *file;
    char path[1024];
    char line[KT_JOURNAL_LINE_MAX + 2];
    int number;     /* of the line */
    int64_t record; /* of the next record */
    json_t *object; /* the line last parsed: records point into it */
};

/* The next line as an object. 1, 0 at the end, or -EBADMSG. */
static int next_object(struct kt_journal_reader *r, struct kt_error *err)
{
    json_error_t why;
    json_decref(r->object);
    r->object = NULL;
    if (!fgets(r->line, sizeof(r->line), r->file)) {
        return ferror(r->file) ? kt_fail(err, -EIO, "reading failed") : 0;
    }
    r->number++;
    size_t n = strlen(r->line);
    if (n == 0 || r->line[n - 1] != '\n') {
        return kt_fail(err, -EBADMSG,
                       feof(r->file) ? "the line has no end: the log was cut off"
                                     : "longer than a line can be, or with a zero byte");
    }
    r->object = json_loadb(r->line, n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(r->object)) {
        return kt_fail(err, -EBADMSG, "expected one JSON object: %s",
                       r->object ? "found something else" : why.text);
    }
    return 1;
}

static int prefix(struct kt_journal_reader *r, int rc, struct kt_error *err)
{
    return rc < 0 ? kt_fail_prefix(err, rc, "%s: line %d", r->path, r->number) : rc;
}

static int read_head(struct kt_journal_reader *r, struct kt_journal_head *head,
                     struct kt_error *err)
{
    static const char *const more[] = {"kind", NULL};
    int rc = next_object(r, err);
    const char *kind = json_string_value(json_object_get(r->object, "kind"));
    if (rc == 0 || (rc > 0 && (!kind || strcmp(kind, "head") != 0))) {
        return kt_fail(err, -EBADMSG, "not a decision log: it begins with no head");
    }
    if (rc < 0) {
        return rc;
    }
    json_int_t format = json_integer_value(json_object_get(r->object, "format"));
    if (format != KT_JOURNAL_FORMAT) {
        return kt_fail(err, -EBADMSG, "\"format\": expected %d, found %lld", KT_JOURNAL_FORMAT,
                       (long long)format);
    }
    return kt_journal_read_fields(head, kt_journal_head_fields(), more, r->object, err);
}

int kt_journal_reader_open(struct kt_journal_reader **out, const char *path,
                           struct kt_journal_head *head, struct kt_error *err)
{
    struct kt_journal_reader *r = calloc(1, sizeof(*r));
    if (!r) {
        return kt_fail(err, -ENOMEM, "out of memory");
    }
    snprintf(r->path, sizeof(r->path), "%s", path);
    r->file = fopen(path, "re");
    int rc = r->file ? prefix(r, read_head(r, head, err), err)
                     : kt_fail(err, -errno, "%s: %s", path, strerror(errno));
    if (rc < 0) {
        kt_journal_reader_close(&r);
        return rc;
    }
    *out = r;
    return 0;
}

void kt_journal_reader_close(struct kt_journal_reader **r)
{
    if (!r || !*r) {
        return;
    }
    json_decref((*r)->object);
    if ((*r)->file) {
        fclose((*r)->file);
    }
    free(*r);
    *r = NULL;
}

int kt_journal_reader_line(const struct kt_journal_reader *r)
{
    return r->number;
}

static int read_hashes(struct kt_record *out, json_t *hashes, struct kt_error *err)
{
    size_t n = json_array_size(hashes);
    if (hashes && (n == 0 || n > KT_RECORD_HASHES_MAX)) {
        return kt_fail(err, -EBADMSG, "\"hashes\": expected a list of 1 to %d",
                       KT_RECORD_HASHES_MAX);
    }
    for (size_t i = 0; i < n; i++) {
        const char *s = json_string_value(json_array_get(hashes, i));
        char *end = NULL;
        if (!s || strlen(s) != 16 || strspn(s, "0123456789abcdef") != 16) {
            return kt_fail(err, -EBADMSG, "\"hashes\": expected 16 hex digits in quotes");
        }
        out->hash[i] = strtoull(s, &end, 16);
    }
    out->hash_count = (int)n;
    return 0;
}

static int read_record(struct kt_journal_reader *r, struct kt_record *out, struct kt_error *err)
{
    static const char *const more[][4] = {{"kind", "n", "text", NULL},
                                          {"kind", "n", "hashes", NULL},
                                          {"kind", "n", NULL},
                                          {"kind", "n", NULL}};
    const char *kind = json_string_value(json_object_get(r->object, "kind"));
    int i = 0;
    while (kind && i < KT_JOURNAL_KINDS && strcmp(kind, kt_journal_kinds[i]) != 0) {
        i++;
    }
    if (!kind || i == KT_JOURNAL_KINDS) {
        return kt_fail(err, -EBADMSG, "\"kind\": expected command, job, publish or gap");
    }
    *out = (struct kt_record){.kind = (enum kt_record_kind)i};
    json_t *n = json_object_get(r->object, "n");
    if (!json_is_integer(n) || json_integer_value(n) != r->record) {
        return kt_fail(err, -EBADMSG, "\"n\": expected record %lld, found %lld: a line is missing",
                       (long long)r->record, (long long)json_integer_value(n));
    }
    int rc = kt_journal_read_fields(out, kt_journal_fields(out->kind), more[i], r->object, err);
    json_t *text = json_object_get(r->object, "text");
    if (rc == 0 && text && json_string_length(text) > KT_PROMPT_BYTES_MAX) {
        return kt_fail(err, -EBADMSG, "\"text\": expected at most %d bytes", KT_PROMPT_BYTES_MAX);
    }
    if (rc == 0 && text && !json_is_string(text)) {
        return kt_fail(err, -EBADMSG, "\"text\": expected a string");
    }
    out->text = json_string_value(text);
    if (rc == 0 && out->kind == KT_RECORD_GAP &&
        (out->count == 0 || out->count > (uint64_t)(INT64_MAX - r->record))) {
        return kt_fail(err, -EBADMSG, "\"count\": expected records that are missing");
    }
    r->record += out->kind == KT_RECORD_GAP ? (int64_t)out->count : 1;
    return rc < 0 ? rc : read_hashes(out, json_object_get(r->object, "hashes"), err);
}

int kt_journal_reader_next(struct kt_journal_reader *r, struct kt_record *out, struct kt_error *err)
{
    int rc = next_object(r, err);
    if (rc > 0) {
        rc = read_record(r, out, err);
        rc = rc < 0 ? rc : 1;
    }
    return prefix(r, rc, err);
}
