/* The one way errors travel: a negative errno as return value and a sentence in a caller's buffer.
 * The sentence names what was wrong and what was expected; it is meant for the person who typed the
 * command.
 *
 * Thread-safety: an error object belongs to one thread at a time. */
#ifndef KT_ENGINE_BASE_ERROR_H
#define KT_ENGINE_BASE_ERROR_H

struct kt_error {
    char text[512]; /* always NUL-terminated; "" when nothing failed */
};

/* Writes the message (cut at the buffer's end) and returns `code`, so that `return kt_fail(err,
 * -EINVAL, "...")` reads as one statement. `err` may be NULL: the message is dropped. `code` must
 * be negative. */
int kt_fail(struct kt_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the message that is there. Returns `code`. */
int kt_fail_prefix(struct kt_error *err, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#ifdef __clang_analyzer__
/* The analyzer reads one file at a time: tell it that what kt_fail returns is negative. */
static inline int kt_negative(int code)
{
    if (code >= 0) {
        __builtin_unreachable();
    }
    return code;
}
#define kt_fail(err, code, ...) (kt_fail(err, code, __VA_ARGS__), kt_negative(code))
#endif

#endif
