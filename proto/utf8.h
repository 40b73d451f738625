/* UTF-8 by the book (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF).
 *
 * Thread-safety: pure functions. */
#ifndef KT_PROTO_UTF8_H
#define KT_PROTO_UTF8_H

#include <stddef.h>

/* Bytes of the sequence that starts at s (n bytes left), or 0 when it is not valid. */
size_t kt_utf8_sequence(const char *s, size_t n);
/* 1 when all n bytes are valid; else 0, and *bad (may be NULL) is the offset of the first bad byte.
 */
int kt_utf8_valid(const char *s, size_t n, size_t *bad);
/* Code points in n bytes of valid UTF-8. */
size_t kt_utf8_count(const char *s, size_t n);
/* Byte offset of code point `index` in n bytes of valid UTF-8; n when index is the count;
 * (size_t)-1 beyond. */
size_t kt_utf8_offset(const char *s, size_t n, size_t index);
/* The largest length <= n that does not end inside a sequence. */
size_t kt_utf8_cut(const char *s, size_t n);

#endif
