#include "proto/edit.h"

#include "proto/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int check_rev(const struct kt_text *t, int rev, struct kt_fault *fault)
{
    if (rev > t->rev) {
        return 0;
    }
    char expected[48], found[16];
    snprintf(expected, sizeof(expected), "a revision above %d", t->rev);
    snprintf(found, sizeof(found), "%d", rev);
    kt_fault_set(fault, KT_FAULT_WRONG_REV, "edit: the revision does not grow");
    return kt_fault_detail(fault, "rev", expected, found);
}

static int too_long(size_t n, struct kt_fault *fault)
{
    char expected[48], found[32];
    snprintf(expected, sizeof(expected), "at most %d bytes of UTF-8", KT_TEXT_BYTES_MAX);
    snprintf(found, sizeof(found), "%zu bytes", n);
    kt_fault_set(fault, KT_FAULT_TEXT_TOO_LONG, "edit: the prompt would be too long");
    return kt_fault_detail(fault, "text", expected, found);
}

static int outside(const struct kt_text *t, const struct kt_splice *s, struct kt_fault *fault)
{
    char expected[64], found[64];
    snprintf(expected, sizeof(expected), "a range within %zu code points",
             kt_utf8_count(t->bytes, t->n));
    snprintf(found, sizeof(found), "at %lld, del %lld", (long long)s->at, (long long)s->del);
    kt_fault_set(fault, KT_FAULT_BAD_SPLICE, "edit: the splice lies outside the text");
    return kt_fault_detail(fault, "at", expected, found);
}

int kt_text_splice(struct kt_text *t, const struct kt_splice *s, struct kt_fault *fault)
{
    if (s->base != t->rev) {
        return -ESTALE;
    }
    if (check_rev(t, s->rev, fault) < 0) {
        return -EBADMSG;
    }
    /* Positions beyond the byte count are beyond the code points too; this keeps the sums small. */
    const int64_t n = (int64_t)t->n;
    if (s->at < 0 || s->del < 0 || s->at > n || s->del > n) {
        return outside(t, s, fault);
    }
    const size_t from = kt_utf8_offset(t->bytes, t->n, (size_t)s->at);
    const size_t to = kt_utf8_offset(t->bytes, t->n, (size_t)(s->at + s->del));
    if (from == (size_t)-1 || to == (size_t)-1) {
        return outside(t, s, fault);
    }
    const size_t rest = t->n - (to - from);
    if (s->ins_n > KT_TEXT_BYTES_MAX - rest) {
        return too_long(rest + s->ins_n, fault);
    }
    memmove(t->bytes + from + s->ins_n, t->bytes + to, t->n - to);
    memcpy(t->bytes + from, s->ins, s->ins_n);
    t->n = rest + s->ins_n;
    t->bytes[t->n] = '\0';
    t->rev = s->rev;
    return 0;
}

int kt_text_replace(struct kt_text *t, int rev, const char *text, size_t n, struct kt_fault *fault)
{
    if (check_rev(t, rev, fault) < 0) {
        return -EBADMSG;
    }
    if (n > KT_TEXT_BYTES_MAX) {
        return too_long(n, fault);
    }
    memcpy(t->bytes, text, n);
    t->bytes[n] = '\0';
    t->n = n;
    t->rev = rev;
    return 0;
}

int kt_text_blank(const struct kt_text *t)
{
    return t->bytes[strspn(t->bytes, " \t\r\n\v\f")] == '\0';
}
