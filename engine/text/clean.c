/* Wan's 'whitespace' cleaning. Three passes over one buffer: nothing ever grows (the shortest
 * reference,
 * "&#0", is as long as the U+FFFD it becomes), so each pass writes behind where it reads. */
#include <errno.h>
#include <string.h>

#include "engine/text/entities.h"
#include "engine/text/tokenizer.h"
#include "engine/text/utf8.h"

enum { REPLACEMENT = 0xFFFD, REMOVED = 0x110000 };

/* What HTML makes of &#128; to &#159;: these numbers were typed with Windows-1252 in mind. The five
 * that Windows-1252 leaves undefined stay as they are. */
static const uint16_t WINDOWS_1252[32] = {
    0x20AC, 0x81,   0x201A, 0x0192, 0x201E, 0x2026, 0x2020, 0x2021, 0x02C6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x8D,   0x017D, 0x8F,   0x90,   0x2018, 0x2019, 0x201C, 0x201D, 0x2022,
    0x2013, 0x2014, 0x02DC, 0x2122, 0x0161, 0x203A, 0x0153, 0x9D,   0x017E, 0x0178};

/* The code point that a numeric reference to `c` stands for, REMOVED for none (HTML 5, numeric
 * character reference end state; control codes and noncharacters vanish as in Python's
 * html.unescape). */
static uint32_t resolve_number(uint32_t c)
{
    if (c >= 0x80 && c <= 0x9F) {
        return WINDOWS_1252[c - 0x80];
    }
    if (c == 0 || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
        return REPLACEMENT;
    }
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\f' && c != '\r') || c == 0x7F ||
        (c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE) {
        return REMOVED;
    }
    return c;
}

static int digit_of(char c, unsigned base)
{
    unsigned d = 99;

    if (c >= '0' && c <= '9') {
        d = (unsigned)(c - '0');
    } else if (c >= 'a' && c <= 'f') {
        d = (unsigned)(c - 'a') + 10;
    } else if (c >= 'A' && c <= 'F') {
        d = (unsigned)(c - 'A') + 10;
    }
    return d < base ? (int)d : -1;
}

/* A number after "&#" (s [n] starts there): bytes taken, 0 for none. */
static size_t read_number(const char *s, size_t n, uint32_t *code)
{
    const unsigned base = n > 0 && (s[0] == 'x' || s[0] == 'X') ? 16 : 10;
    const size_t start = base == 16;
    uint32_t value = 0;
    size_t i = start;

    for (; i < n && digit_of(s[i], base) >= 0; i++) {
        value = value * base + (uint32_t)digit_of(s[i], base);
        if (value > 0x10FFFF) {
            value = 0x110000; /* saturate: any number of digits may follow */
        }
    }
    if (i == start) {
        return 0;
    }
    *code = resolve_number(value);
    return i < n && s[i] == ';' ? i + 1 : i;
}

/* The reference at s [n], which starts with '&': bytes taken, 0 when it is none. */
static size_t read_reference(const char *s, size_t n, uint32_t *code)
{
    size_t taken;

    if (n > 1 && s[1] == '#') {
        taken = read_number(s + 2, n - 2, code);
        return taken ? taken + 2 : 0;
    }
    taken = kt_entity_find(s + 1, n - 1, code);
    return taken ? taken + 1 : 0;
}

static size_t unescape(char *s, size_t n)
{
    size_t to = 0;

    for (size_t from = 0; from < n;) {
        uint32_t code;
        const size_t taken = s[from] == '&' ? read_reference(s + from, n - from, &code) : 0;
        if (taken == 0) {
            s[to++] = s[from++];
            continue;
        }
        from += taken;
        to += code == REMOVED ? 0 : kt_utf8_encode(code, s + to);
    }
    return to;
}

static size_t collapse(char *s, size_t n)
{
    size_t to = 0;
    int space_due = 0;

    for (size_t from = 0; from < n;) {
        uint32_t code;
        const size_t length = kt_utf8_decode(s + from, n - from, &code);
        if (kt_unicode_is_space(code)) {
            space_due = to > 0;
        } else {
            if (space_due) {
                s[to++] = ' ';
            }
            space_due = 0;
            memmove(s + to, s + from, length);
            to += length;
        }
        from += length;
    }
    return to;
}

static int check(const char *in, size_t n, struct kt_error *err)
{
    for (size_t i = 0; i < n;) {
        uint32_t code;
        const size_t length = kt_utf8_decode(in + i, n - i, &code);
        if (length == 0) {
            return kt_fail(err, -EILSEQ, "text: invalid UTF-8 at byte %zu (0x%02X)", i,
                           (unsigned)(unsigned char)in[i]);
        }
        if (code == 0) {
            return kt_fail(err, -EILSEQ, "text: a NUL at byte %zu", i);
        }
        i += length;
    }
    return 0;
}

int kt_text_clean(const char *in, size_t n, char *out, size_t cap, struct kt_error *err)
{
    const int r = check(in, n, err);

    if (r < 0) {
        return r;
    }
    if (cap < n + 1 || n >= INT32_MAX) {
        return kt_fail(err, -ENOSPC, "text: expected at most %zu bytes, found %zu",
                       cap > 0 ? cap - 1 : 0, n);
    }
    memmove(out, in, n);
    n = unescape(out, n);
    n = unescape(out, n);
    n = collapse(out, n);
    out[n] = '\0';
    return (int)n;
}
