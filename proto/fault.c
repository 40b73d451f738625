#include "proto/fault.h"

#include "proto/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int close_code;
} faults[KT_FAULT_COUNT] = {
    [KT_FAULT_NONE] = {"none", 0},
    [KT_FAULT_BAD_JSON] = {"bad_json", 0},
    [KT_FAULT_UNKNOWN_MESSAGE] = {"unknown_message", 0},
    [KT_FAULT_MISSING_FIELD] = {"missing_field", 0},
    [KT_FAULT_WRONG_TYPE] = {"wrong_type", 0},
    [KT_FAULT_UNKNOWN_FIELD] = {"unknown_field", 0},
    [KT_FAULT_OUT_OF_RANGE] = {"out_of_range", 0},
    [KT_FAULT_BINARY_UNEXPECTED] = {"binary_unexpected", 0},
    [KT_FAULT_HELLO_EXPECTED] = {"hello_expected", 0},
    [KT_FAULT_HELLO_REPEATED] = {"hello_repeated", 0},
    [KT_FAULT_BAD_SPLICE] = {"bad_splice", 0},
    [KT_FAULT_TEXT_TOO_LONG] = {"text_too_long", 0},
    [KT_FAULT_WRONG_REV] = {"wrong_rev", 0},
    [KT_FAULT_EMPTY_PROMPT] = {"empty_prompt", 0},
    [KT_FAULT_UNKNOWN_SESSION] = {"unknown_session", 0},
    [KT_FAULT_RATE_LIMITED] = {"rate_limited", 0},
    [KT_FAULT_BAD_UTF8] = {"bad_utf8", 1007},
    [KT_FAULT_TOO_BIG] = {"too_big", 1009},
    [KT_FAULT_BAD_TOKEN] = {"bad_token", 1008},
    [KT_FAULT_HELLO_TIMEOUT] = {"hello_timeout", 1008},
    [KT_FAULT_TOO_MANY_ERRORS] = {"too_many_errors", 1008},
    [KT_FAULT_TOO_MANY_MESSAGES] = {"too_many_messages", 1008},
    [KT_FAULT_BAD_PROTOCOL] = {"bad_protocol", 4000},
    [KT_FAULT_NO_CODEC] = {"no_codec", 4000},
    [KT_FAULT_TOO_MANY_SESSIONS] = {"too_many_sessions", 1013},
    [KT_FAULT_TAKEN_OVER] = {"taken_over", 4001},
    [KT_FAULT_SLOW_CLIENT] = {"slow_client", 4002},
    [KT_FAULT_INTERNAL] = {"internal", 1011},
    [KT_FAULT_MODEL_FAILED] = {"model_failed", 1011},
};

const char *kt_fault_name(enum kt_fault_code code)
{
    return faults[code].name;
}

int kt_fault_close_code(enum kt_fault_code code)
{
    return faults[code].close_code;
}

int kt_fault_set(struct kt_fault *f, enum kt_fault_code code, const char *format, ...)
{
    if (f) {
        memset(f, 0, sizeof(*f));
        f->code = code;
        va_list args;
        va_start(args, format);
        vsnprintf(f->message, sizeof(f->message), format, args);
        va_end(args);
        f->message[kt_utf8_cut(f->message, strlen(f->message))] = '\0';
    }
    return -EBADMSG;
}

static void copy_cut(char *out, size_t cap, const char *in)
{
    size_t n = strlen(in);
    n = n < cap - 1 ? n : cap - 1;
    n = kt_utf8_cut(in, n);
    memcpy(out, in, n);
    out[n] = '\0';
}

int kt_fault_detail(struct kt_fault *f, const char *field, const char *expected, const char *found)
{
    if (f) {
        copy_cut(f->field, sizeof(f->field), field);
        copy_cut(f->expected, sizeof(f->expected), expected);
        copy_cut(f->found, sizeof(f->found), found);
    }
    return -EBADMSG;
}
