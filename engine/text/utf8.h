/* UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
 *
 * Thread-safety: pure functions. */
#ifndef KT_ENGINE_TEXT_UTF8_H
#define KT_ENGINE_TEXT_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The code point at the start of `s` [n], n >= 1: returns its bytes (1..4), or 0 when `s` does not
 * start with a whole valid sequence. */
size_t kt_utf8_decode(const char *s, size_t n, uint32_t *code);

/* Writes a code point (valid, not a surrogate) as 1..4 bytes; returns how many. */
size_t kt_utf8_encode(uint32_t code, char out[4]);

/* Non-zero for the white space of Unicode as Python's str.isspace and regular expressions see it.
 */
int kt_unicode_is_space(uint32_t code);

#endif
