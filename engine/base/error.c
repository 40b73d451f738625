#include "engine/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/assert.h"

#undef kt_fail

int kt_fail(struct kt_error *err, int code, const char *format, ...)
{
    KT_ASSERT(code < 0);
    if (err) {
        va_list args;
        va_start(args, format);
        vsnprintf(err->text, sizeof(err->text), format, args);
        va_end(args);
    }
    return code;
}

int kt_fail_prefix(struct kt_error *err, int code, const char *format, ...)
{
    KT_ASSERT(code < 0);
    if (err) {
        char prefix[256];
        struct kt_error inner = *err;
        va_list args;
        va_start(args, format);
        vsnprintf(prefix, sizeof(prefix), format, args);
        va_end(args);
        snprintf(err->text, sizeof(err->text), "%s: %.*s", prefix,
                 (int)(sizeof(err->text) - strlen(prefix) - 3), inner.text);
    }
    return code;
}
