#include "proto/utf8.h"

static int continues(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

size_t kt_utf8_sequence(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    if (n == 0) {
        return 0;
    }
    if (u[0] < 0x80) {
        return 1;
    }
    if (u[0] >= 0xc2 && u[0] <= 0xdf) {
        return n >= 2 && continues(u[1]) ? 2 : 0;
    }
    if ((u[0] & 0xf0) == 0xe0) {
        if (n < 3 || !continues(u[1]) || !continues(u[2])) {
            return 0;
        }
        const int overlong = u[0] == 0xe0 && u[1] < 0xa0;
        const int surrogate = u[0] == 0xed && u[1] >= 0xa0;
        return overlong || surrogate ? 0 : 3;
    }
    if (u[0] >= 0xf0 && u[0] <= 0xf4) {
        if (n < 4 || !continues(u[1]) || !continues(u[2]) || !continues(u[3])) {
            return 0;
        }
        const int overlong = u[0] == 0xf0 && u[1] < 0x90;
        const int beyond = u[0] == 0xf4 && u[1] >= 0x90;
        return overlong || beyond ? 0 : 4;
    }
    return 0;
}

int kt_utf8_valid(const char *s, size_t n, size_t *bad)
{
    for (size_t i = 0; i < n;) {
        const size_t step = kt_utf8_sequence(s + i, n - i);
        if (step == 0) {
            if (bad) {
                *bad = i;
            }
            return 0;
        }
        i += step;
    }
    return 1;
}

size_t kt_utf8_count(const char *s, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += !continues((unsigned char)s[i]);
    }
    return count;
}

size_t kt_utf8_offset(const char *s, size_t n, size_t index)
{
    size_t at = 0;
    for (; index > 0; index--) {
        if (at >= n) {
            return (size_t)-1;
        }
        at++;
        while (at < n && continues((unsigned char)s[at])) {
            at++;
        }
    }
    return at;
}

size_t kt_utf8_cut(const char *s, size_t n)
{
    size_t start = n;
    for (int back = 0; back < 3 && start > 0 && continues((unsigned char)s[start - 1]); back++) {
        start--;
    }
    if (start == 0) {
        return 0;
    }
    return kt_utf8_sequence(s + start - 1, n - start + 1) ? n : start - 1;
}
