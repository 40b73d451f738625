/* The fixed binary header before every encoded picture (PROTOCOL.md, Media header).
 *
 * Thread-safety: pure functions. */
#ifndef KT_PROTO_MEDIA_H
#define KT_PROTO_MEDIA_H

#include "proto/fault.h"

#include <stddef.h>
#include <stdint.h>

enum {
    KT_MEDIA_MAGIC = 0x4b54, /* "KT" */
    KT_MEDIA_VERSION = 1,
    KT_MEDIA_PICTURE = 1,
    KT_MEDIA_HEADER_BYTES = 72,
    KT_MEDIA_SEQ_AT = 8, /* the three fields that are only known when the picture goes out */
    KT_MEDIA_SERVER_US_AT = 40,
    KT_MEDIA_SEND_AT = 62,
};

enum kt_media_codec {
    KT_CODEC_NONE = 0,
    KT_CODEC_VP8 = 1,
    KT_CODEC_VP9 = 2,
    KT_CODEC_JPEG = 3,
    KT_CODEC_H264 = 4,
    KT_CODEC_LAST = KT_CODEC_H264,
};

enum kt_media_stream { KT_STREAM_VIDEO = 0, KT_STREAM_PREVIEW = 1, KT_MEDIA_STREAMS };

enum kt_media_flags {
    KT_MEDIA_KEY = 1,
    KT_MEDIA_FIRST = 2,
    KT_MEDIA_FLUSH = 4,
    KT_MEDIA_LATE = 8,
    KT_MEDIA_FLAGS_ALL = 15,
};

enum kt_media_timing {
    KT_TIMING_QUEUE,
    KT_TIMING_TEXT,
    KT_TIMING_RECACHE,
    KT_TIMING_DENOISE,
    KT_TIMING_DECODE,
    KT_TIMING_CONVERT,
    KT_TIMING_ENCODE,
    KT_TIMING_SEND,
    KT_TIMING_COUNT
};

struct kt_media_header {
    uint8_t stream, codec, steps;
    uint8_t fade; /* pictures; only with KT_MEDIA_FLUSH */
    uint16_t flags;
    uint32_t seq, epoch, revision;
    uint64_t frame, pts_us, server_us;
    uint16_t timings[KT_TIMING_COUNT]; /* 0.1 ms */
    uint16_t width, height;
    uint32_t payload_bytes;
};

/* Writes KT_MEDIA_HEADER_BYTES bytes. */
void kt_media_pack(uint8_t *out, const struct kt_media_header *h);
/* Reads the header of a whole message of n bytes. -EBADMSG and a fault whose field names what was
 * refused. */
int kt_media_unpack(struct kt_media_header *h, const uint8_t *in, size_t n, struct kt_fault *fault);
/* Fills in what is known last: the place in the sequence, the moment of sending and the wait before
 * it. */
void kt_media_stamp(uint8_t *header, uint32_t seq, uint64_t server_us, uint16_t send);
/* Milliseconds to 0.1 ms, saturating at both ends; NaN gives 0. */
uint16_t kt_media_timing(double ms);

const char *kt_codec_name(enum kt_media_codec codec);
enum kt_media_codec kt_codec_from_name(const char *name); /* KT_CODEC_NONE when unknown */

#endif
