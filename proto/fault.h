/* What went wrong with a message, in the words of PROTOCOL.md's error table.
 *
 * Thread-safety: plain data; the table is read-only. */
#ifndef KT_PROTO_FAULT_H
#define KT_PROTO_FAULT_H

#include <stddef.h>

enum kt_fault_code {
    KT_FAULT_NONE = 0,
    KT_FAULT_BAD_JSON,
    KT_FAULT_UNKNOWN_MESSAGE,
    KT_FAULT_MISSING_FIELD,
    KT_FAULT_WRONG_TYPE,
    KT_FAULT_UNKNOWN_FIELD,
    KT_FAULT_OUT_OF_RANGE,
    KT_FAULT_BINARY_UNEXPECTED,
    KT_FAULT_HELLO_EXPECTED,
    KT_FAULT_HELLO_REPEATED,
    KT_FAULT_BAD_SPLICE,
    KT_FAULT_TEXT_TOO_LONG,
    KT_FAULT_WRONG_REV,
    KT_FAULT_EMPTY_PROMPT,
    KT_FAULT_UNKNOWN_SESSION,
    KT_FAULT_RATE_LIMITED,
    KT_FAULT_BAD_UTF8,
    KT_FAULT_TOO_BIG,
    KT_FAULT_BAD_TOKEN,
    KT_FAULT_HELLO_TIMEOUT,
    KT_FAULT_TOO_MANY_ERRORS,
    KT_FAULT_TOO_MANY_MESSAGES,
    KT_FAULT_BAD_PROTOCOL,
    KT_FAULT_NO_CODEC,
    KT_FAULT_TOO_MANY_SESSIONS,
    KT_FAULT_TAKEN_OVER,
    KT_FAULT_SLOW_CLIENT,
    KT_FAULT_INTERNAL,
    KT_FAULT_MODEL_FAILED,
    KT_FAULT_COUNT
};

struct kt_fault {
    enum kt_fault_code code;
    char field[48];
    char message[256];              /* a sentence for people */
    char expected[160], found[160]; /* "" when there is nothing to say */
    int has_rev, rev;
    int limit, retry_ms; /* 0: absent */
};

/* The code's name on the wire. */
const char *kt_fault_name(enum kt_fault_code code);
/* The WebSocket close code that a fatal fault ends with; 0: not fatal. */
int kt_fault_close_code(enum kt_fault_code code);

/* Fills `f` (may be NULL) with a message; the other fields are cleared. Returns -EBADMSG, so that
 * `return kt_fault_set(f, ...)` reads as one statement. */
int kt_fault_set(struct kt_fault *f, enum kt_fault_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds what was expected and found; the texts are cut at the buffers' ends, never inside a UTF-8
 * sequence. */
int kt_fault_detail(struct kt_fault *f, const char *field, const char *expected, const char *found);

#endif
