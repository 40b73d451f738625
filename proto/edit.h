/* The prompt text as both ends hold it: revision and UTF-8 bytes, changed by splices counted in
 * code points.
 *
 * A call that fails changes nothing. Thread-safety: plain data, one thread at a time. */
#ifndef KT_PROTO_EDIT_H
#define KT_PROTO_EDIT_H

#include "proto/fault.h"
#include "proto/limits.h"

#include <stddef.h>
#include <stdint.h>

struct kt_text {
    int rev;
    size_t n;                          /* bytes, without the NUL */
    char bytes[KT_TEXT_BYTES_MAX + 1]; /* valid UTF-8, NUL-terminated */
};

struct kt_splice {
    int rev, base;
    int64_t at, del; /* code points */
    const char *ins; /* valid UTF-8 */
    size_t ins_n;
};

/* -ESTALE: base is not the text's revision (the other end must resync); -EBADMSG with `fault`: rev
 * does not grow, the splice lies outside the text, or the result would be too long. */
int kt_text_splice(struct kt_text *t, const struct kt_splice *s, struct kt_fault *fault);
int kt_text_replace(struct kt_text *t, int rev, const char *text, size_t n, struct kt_fault *fault);
/* 1 when nothing but blanks is there. */
int kt_text_blank(const struct kt_text *t);

#endif
