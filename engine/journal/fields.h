/* What stands in a line of the decision log: one table that both writer and reader go by, so that
 * what is written is what is read.
 *
 * Thread-safety: constant tables, pure functions. */
#ifndef KT_ENGINE_JOURNAL_FIELDS_H
#define KT_ENGINE_JOURNAL_FIELDS_H

#include "engine/base/error.h"
#include "engine/journal.h"

#include <jansson.h>
#include <stddef.h>

enum kt_journal_type {
    KT_JOURNAL_INT,    /* int */
    KT_JOURNAL_NAME,   /* int, written as one of `names` */
    KT_JOURNAL_U32,    /* uint32_t */
    KT_JOURNAL_I64,    /* int64_t, positions: as a number */
    KT_JOURNAL_U64,    /* uint64_t, counts and seeds: as a decimal string */
    KT_JOURNAL_HASH,   /* uint64_t: as sixteen hex digits in a string */
    KT_JOURNAL_DOUBLE, /* double, finite, with the 17 digits that give it back */
    KT_JOURNAL_STRING, /* char[names_count] */
};

struct kt_journal_field {
    const char *key;
    enum kt_journal_type type;
    size_t offset;
    const char *const *names; /* NAME */
    int names_count;          /* NAME; STRING: bytes of the array */
};

/* The fields of a record of `kind`; ends with a NULL key. */
const struct kt_journal_field *kt_journal_fields(enum kt_record_kind kind);
/* And of struct kt_journal_head. */
const struct kt_journal_field *kt_journal_head_fields(void);

extern const char *const kt_journal_kinds[]; /* "command", "job", "publish", "gap" */
enum { KT_JOURNAL_KINDS = 4, KT_JOURNAL_LINE_MAX = 64 << 10 };

/* Writes one line with its end into `line` [KT_JOURNAL_LINE_MAX]. Returns its bytes. */
size_t kt_journal_write_head(char *line, const struct kt_journal_head *head);
/* `number`: of the record since the head, lost ones counted. */
size_t kt_journal_write_record(char *line, const struct kt_record *r, uint64_t number);

/* Fills the fields' places in `out` from a parsed line. Keys that no field has are refused, but for
 * `more` (NULL-terminated). Errors: -EBADMSG. */
int kt_journal_read_fields(void *out, const struct kt_journal_field *fields,
                           const char *const *more, json_t *object, struct kt_error *err);

#endif
