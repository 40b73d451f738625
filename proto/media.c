#include "proto/media.h"

#include <stdio.h>
#include <string.h>

_Static_assert(KT_MEDIA_SEND_AT == 48 + 2 * KT_TIMING_SEND, "the timings start at byte 48");
_Static_assert(KT_MEDIA_HEADER_BYTES == 48 + 2 * KT_TIMING_COUNT + 8,
               "and end the header but for 8 bytes");

static void put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, (uint16_t)(v >> 16));
    put16(p + 2, (uint16_t)v);
}

static void put64(uint8_t *p, uint64_t v)
{
    put32(p, (uint32_t)(v >> 32));
    put32(p + 4, (uint32_t)v);
}

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) << 32 | get32(p + 4);
}

void kt_media_pack(uint8_t *out, const struct kt_media_header *h)
{
    put16(out, KT_MEDIA_MAGIC);
    out[2] = KT_MEDIA_VERSION;
    out[3] = KT_MEDIA_PICTURE;
    out[4] = h->stream;
    out[5] = h->codec;
    put16(out + 6, h->flags);
    put32(out + KT_MEDIA_SEQ_AT, h->seq);
    put32(out + 12, h->epoch);
    put32(out + 16, h->revision);
    out[20] = h->steps;
    out[21] = h->fade;
    put16(out + 22, KT_MEDIA_HEADER_BYTES);
    put64(out + 24, h->frame);
    put64(out + 32, h->pts_us);
    put64(out + KT_MEDIA_SERVER_US_AT, h->server_us);
    for (int i = 0; i < KT_TIMING_COUNT; i++) {
        put16(out + 48 + 2 * (ptrdiff_t)i, h->timings[i]);
    }
    put16(out + 64, h->width);
    put16(out + 66, h->height);
    put32(out + 68, h->payload_bytes);
}

static int refuse(struct kt_fault *fault, const char *field, unsigned long long expected,
                  unsigned long long found)
{
    char e[32], f[32];
    snprintf(e, sizeof(e), "%llu", expected);
    snprintf(f, sizeof(f), "%llu", found);
    kt_fault_set(fault, KT_FAULT_OUT_OF_RANGE, "media header: bad %s", field);
    return kt_fault_detail(fault, field, e, f);
}

/* What stands in fixed places and may have one value only. */
static int check_fixed(const uint8_t *in, size_t n, struct kt_fault *fault)
{
    if (n < KT_MEDIA_HEADER_BYTES) {
        return refuse(fault, "length", KT_MEDIA_HEADER_BYTES, n);
    }
    if (get16(in) != KT_MEDIA_MAGIC) {
        return refuse(fault, "magic", KT_MEDIA_MAGIC, get16(in));
    }
    if (in[2] != KT_MEDIA_VERSION) {
        return refuse(fault, "version", KT_MEDIA_VERSION, in[2]);
    }
    if (in[3] != KT_MEDIA_PICTURE) {
        return refuse(fault, "type", KT_MEDIA_PICTURE, in[3]);
    }
    if (get16(in + 22) != KT_MEDIA_HEADER_BYTES) {
        return refuse(fault, "header bytes", KT_MEDIA_HEADER_BYTES, get16(in + 22));
    }
    return 0;
}

static void read_fields(struct kt_media_header *h, const uint8_t *in)
{
    h->stream = in[4];
    h->codec = in[5];
    h->flags = get16(in + 6);
    h->seq = get32(in + 8);
    h->epoch = get32(in + 12);
    h->revision = get32(in + 16);
    h->steps = in[20];
    h->fade = in[21];
    h->frame = get64(in + 24);
    h->pts_us = get64(in + 32);
    h->server_us = get64(in + KT_MEDIA_SERVER_US_AT);
    for (int i = 0; i < KT_TIMING_COUNT; i++) {
        h->timings[i] = get16(in + 48 + 2 * (ptrdiff_t)i);
    }
    h->width = get16(in + 64);
    h->height = get16(in + 66);
    h->payload_bytes = get32(in + 68);
}

int kt_media_unpack(struct kt_media_header *h, const uint8_t *in, size_t n, struct kt_fault *fault)
{
    const int rc = check_fixed(in, n, fault);
    if (rc < 0) {
        return rc;
    }
    read_fields(h, in);
    if (h->codec < KT_CODEC_VP8 || h->codec > KT_CODEC_LAST) {
        return refuse(fault, "codec", KT_CODEC_VP8, h->codec);
    }
    if (h->flags & ~KT_MEDIA_FLAGS_ALL) {
        return refuse(fault, "flags", KT_MEDIA_FLAGS_ALL, h->flags);
    }
    if (h->fade && !(h->flags & KT_MEDIA_FLUSH)) {
        return refuse(fault, "fade", 0, h->fade);
    }
    if (h->width == 0) {
        return refuse(fault, "width", 1, 0);
    }
    if (h->height == 0) {
        return refuse(fault, "height", 1, 0);
    }
    if (h->payload_bytes != n - KT_MEDIA_HEADER_BYTES) {
        return refuse(fault, "payload bytes", n - KT_MEDIA_HEADER_BYTES, h->payload_bytes);
    }
    return 0;
}

void kt_media_stamp(uint8_t *header, uint32_t seq, uint64_t server_us, uint16_t send)
{
    put32(header + KT_MEDIA_SEQ_AT, seq);
    put64(header + KT_MEDIA_SERVER_US_AT, server_us);
    put16(header + KT_MEDIA_SEND_AT, send);
}

uint16_t kt_media_timing(double ms)
{
    const double tenths = ms * 10 + 0.5;
    if (!(tenths > 0)) {
        return 0;
    }
    return tenths >= 65535 ? 65535 : (uint16_t)tenths;
}

static const char *const codec_names[] = {"none", "vp8", "vp9", "jpeg", "h264"};

const char *kt_codec_name(enum kt_media_codec codec)
{
    return codec_names[codec];
}

enum kt_media_codec kt_codec_from_name(const char *name)
{
    for (int c = KT_CODEC_VP8; c <= KT_CODEC_LAST; c++) {
        if (strcmp(name, codec_names[c]) == 0) {
            return (enum kt_media_codec)c;
        }
    }
    return KT_CODEC_NONE;
}
