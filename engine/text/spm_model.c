/* A model is a protocol buffer: field 1 of the top level, repeated, is a piece {1: text, 2: score,
 * 3: type}. Of a scalar field that occurs twice the last value counts, so appending a type to a
 * piece overrides the one it has. Everything else is copied unseen. */
#include "engine/text/spm_model.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5, VARINT_BYTES_MAX = 10 };
enum { FIELD_PIECES = 1, FIELD_PIECE_TEXT = 1 };

static const char UNUSED_TYPE[] = {0x18, 5}; /* field 3, varint: UNUSED */

struct reader {
    const char *p, *end;
};

struct field {
    uint64_t number;
    int wire;
    const char *start; /* of the field, its tag included */
    const char *bytes; /* WIRE_BYTES: the contents */
    size_t n;
};

static int read_varint(struct reader *in, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 7 * VARINT_BYTES_MAX && in->p < in->end; shift += 7) {
        const uint8_t byte = (uint8_t)*in->p++;
        *value |= shift < 64 ? (uint64_t)(byte & 0x7F) << shift : 0;
        if (!(byte & 0x80)) {
            return 0;
        }
    }
    return -EBADMSG;
}

static int skip(struct reader *in, uint64_t n)
{
    if (n > (uint64_t)(in->end - in->p)) {
        return -EBADMSG;
    }
    in->p += n;
    return 0;
}

static int read_field(struct reader *in, struct field *f)
{
    uint64_t tag, value;

    f->start = in->p;
    if (read_varint(in, &tag) < 0) {
        return -EBADMSG;
    }
    f->number = tag >> 3;
    f->wire = (int)(tag & 7);
    switch (f->wire) {
    case WIRE_VARINT: return read_varint(in, &value);
    case WIRE_64: return skip(in, 8);
    case WIRE_32: return skip(in, 4);
    case WIRE_BYTES:
        if (read_varint(in, &value) < 0) {
            return -EBADMSG;
        }
        f->bytes = in->p;
        f->n = (size_t)value;
        return skip(in, value);
    default: return -EBADMSG;
    }
}

static int starts_with(const char **p, const char *end, const char *prefix)
{
    const size_t n = strlen(prefix);

    if ((size_t)(end - *p) < n || memcmp(*p, prefix, n) != 0) {
        return 0;
    }
    *p += n;
    return 1;
}

static int is_extra_id(const char *text, size_t n)
{
    const char *p = text, *end = text + n;

    starts_with(&p, end, "\xE2\x96\x81");
    if (!starts_with(&p, end, "<extra_id_")) {
        return 0;
    }
    while (p < end && *p >= '0' && *p <= '9') {
        p++;
    }
    return end - p == 1 && *p == '>';
}

/* 1 for an extra id, 0 for any other piece, -EBADMSG. */
static int judge_piece(const char *piece, size_t n)
{
    struct reader in = {piece, piece + n};
    struct field f = {0};
    int found = 0;

    while (in.p < in.end) {
        if (read_field(&in, &f) < 0) {
            return -EBADMSG;
        }
        if (f.number == FIELD_PIECE_TEXT && f.wire == WIRE_BYTES) {
            found = is_extra_id(f.bytes, f.n);
        }
    }
    return found;
}

static char *put_varint(char *to, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) {
        *to++ = (char)(0x80 | (value & 0x7F));
    }
    *to++ = (char)value;
    return to;
}

static char *put_unused_piece(char *to, const struct field *f)
{
    *to++ = FIELD_PIECES << 3 | WIRE_BYTES;
    to = put_varint(to, f->n + sizeof(UNUSED_TYPE));
    memcpy(to, f->bytes, f->n);
    memcpy(to + f->n, UNUSED_TYPE, sizeof(UNUSED_TYPE));
    return to + f->n + sizeof(UNUSED_TYPE);
}

int kt_spm_model_disarm(const char *model, size_t n, char **out, size_t *out_n,
                        struct kt_error *err)
{
    struct reader in = {model, model + n};
    /* An extra id takes at least 14 bytes and grows by at most 3. */
    char *to = *out = malloc(n + n / 4 + 16);

    if (!to) {
        return kt_fail(err, -ENOMEM, "out of memory");
    }
    while (in.p < in.end) {
        struct field f = {0};
        int r = read_field(&in, &f);
        const int is_piece = r == 0 && f.number == FIELD_PIECES && f.wire == WIRE_BYTES;
        r = is_piece ? judge_piece(f.bytes, f.n) : r;
        if (r < 0) {
            free(*out);
            *out = NULL;
            return kt_fail(err, -EBADMSG,
                           "expected a SentencePiece model, found other data at byte "
                           "%zu",
                           (size_t)(f.start - model));
        }
        if (is_piece && r == 1) {
            to = put_unused_piece(to, &f);
        } else {
            memcpy(to, f.start, (size_t)(in.p - f.start));
            to += in.p - f.start;
        }
    }
    *out_n = (size_t)(to - *out);
    return 0;
}
