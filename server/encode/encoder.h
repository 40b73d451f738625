/* A video encoder in four verbs: open, encode, request a key picture, close. One picture in, one
 * packet out, at once.
 *
 * Thread-safety: an encoder belongs to one thread at a time (the worker's). */
#ifndef KT_SERVER_ENCODE_ENCODER_H
#define KT_SERVER_ENCODE_ENCODER_H

#include "engine/base/error.h"
#include "engine/base/nv12.h"
#include "proto/media.h"

#include <stddef.h>
#include <stdint.h>

struct kt_encoder;
struct kt_nvenc;

struct kt_encoder_params {
    enum kt_media_codec codec;
    int width, height, fps; /* even sizes */
    int bitrate_kbps;       /* 0: kt_encoder_bitrate_kbps */
    int quality;            /* JPEG: 1..100 */
    struct kt_nvenc *nvenc; /* H.264: who makes it (nvenc.h); outlives the encoder */
};

/* The picture to encode: in host memory, on the device, or both, and then each encoder takes the
 * one that is no copy for it. The encoders on the CPU refuse one that lies on the device alone
 * (-EINVAL). The GPU's encoder registers device memory when it first sees it and keeps up to 64
 * such registrations, so pictures should come from a fixed pool, and that must stay allocated until
 * the encoder is closed. A picture in host memory costs it one copy to the device. */

struct kt_encode_job {
    const uint8_t *i420; /* dense planes, BT.709 limited range; or NULL */
    struct kt_nv12 nv12; /* pointer 0: not there */
    int64_t pts_us, duration_us;
    uint8_t *out;
    size_t cap;
};

/* Errors: -ENOTSUP codec not built or not on this machine, -EBUSY no further session of the GPU's
 * encoder, -EINVAL, -ENOMEM, -EIO. */
int kt_encoder_open(struct kt_encoder **enc, const struct kt_encoder_params *p,
                    struct kt_error *err);
/* Bytes written to job->out, and *key; or -ENOSPC when they do not fit (the next picture must be a
 * key picture), -EIO. pts must grow. Blocks for the encode. */
int kt_encoder_encode(struct kt_encoder *enc, const struct kt_encode_job *job, int *key,
                      struct kt_error *err);
/* The next picture will be a key picture. */
void kt_encoder_request_key(struct kt_encoder *enc);
void kt_encoder_close(struct kt_encoder **enc);

/* For VideoDecoder.configure; "" where none is due. H.264: what `nvenc` makes. */
const char *kt_encoder_codec_string(enum kt_media_codec codec, const struct kt_nvenc *nvenc);
/* 200 kbit/s and a third of a bit per pixel: 320 at 192x112, 2440 at 832x480, 16 fps. */
int kt_encoder_bitrate_kbps(const struct kt_encoder_params *p);
/* Room that any sensible packet fits into. */
size_t kt_encoder_packet_bytes(int width, int height);

/* ---- for the codecs ---- */

struct kt_encoder_ops {
    int (*open)(void **state, const struct kt_encoder_params *p, struct kt_error *err);
    int (*encode)(void *state, const struct kt_encode_job *job, int *key, struct kt_error *err);
    void (*close)(void *state);
};
extern const struct kt_encoder_ops kt_encoder_vpx, kt_encoder_jpeg, kt_encoder_nvenc;

/* For an encoder that reads host memory. 0, or -EINVAL when the picture is not there. */
int kt_encoder_want_host(const struct kt_encode_job *job, struct kt_error *err);

#endif
