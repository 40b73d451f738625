#include "engine/base/assert.h"

#include <stdio.h>

_Noreturn void kt_assert_failed(const char *expr, const char *file, int line, const char *func)
{
    fprintf(stderr, "kinetype: assertion failed: %s (%s:%d, %s)\n", expr, file, line, func);
    __builtin_trap();
}
