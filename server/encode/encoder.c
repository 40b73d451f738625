#include "server/encode/encoder.h"

#include "server/encode/nvenc.h"

#include <errno.h>
#include <stdlib.h>

struct kt_encoder {
    const struct kt_encoder_ops *ops;
    void *state;
    int want_key;
};

static const struct kt_encoder_ops *find_ops(enum kt_media_codec codec)
{
    switch (codec) {
    case KT_CODEC_JPEG: return &kt_encoder_jpeg;
    case KT_CODEC_H264: return &kt_encoder_nvenc;
    default: return &kt_encoder_vpx;
    }
}

int kt_encoder_open(struct kt_encoder **enc, const struct kt_encoder_params *p,
                    struct kt_error *err)
{
    if (p->width < 2 || p->height < 2 || p->width % 2 || p->height % 2 || p->fps < 1) {
        return kt_fail(err, -EINVAL, "encoder: %dx%d at %d fps; expected even sizes", p->width,
                       p->height, p->fps);
    }
    struct kt_encoder *e = calloc(1, sizeof(*e));
    if (!e) {
        return kt_fail(err, -ENOMEM, "encoder: out of memory");
    }
    e->ops = find_ops(p->codec);
    e->want_key = 1;
    const int rc = e->ops->open(&e->state, p, err);
    if (rc < 0) {
        free(e);
        return rc;
    }
    *enc = e;
    return 0;
}

int kt_encoder_encode(struct kt_encoder *enc, const struct kt_encode_job *job, int *key,
                      struct kt_error *err)
{
    *key = enc->want_key;
    const int n = enc->ops->encode(enc->state, job, key, err);
    enc->want_key = n < 0;
    return n;
}

void kt_encoder_request_key(struct kt_encoder *enc)
{
    enc->want_key = 1;
}

void kt_encoder_close(struct kt_encoder **enc)
{
    if (*enc) {
        (*enc)->ops->close((*enc)->state);
        free(*enc);
        *enc = NULL;
    }
}

int kt_encoder_want_host(const struct kt_encode_job *job, struct kt_error *err)
{
    if (job->i420) {
        return 0;
    }
    return kt_fail(err, -EINVAL,
                   job->nv12.pointer
                       ? "encoder: the picture lies on the GPU only; expected I420 in host memory "
                         "(or H.264, which reads it there)"
                       : "encoder: no picture");
}

const char *kt_encoder_codec_string(enum kt_media_codec codec, const struct kt_nvenc *nvenc)
{
    switch (codec) {
    case KT_CODEC_VP8: return "vp8";
    case KT_CODEC_VP9: return "vp09.00.10.08";
    case KT_CODEC_H264: return kt_nvenc_codec_string(nvenc);
    default: return "";
    }
}

int kt_encoder_bitrate_kbps(const struct kt_encoder_params *p)
{
    return 200 + (int)((double)p->width * p->height * p->fps * 0.35 / 1000);
}

size_t kt_encoder_packet_bytes(int width, int height)
{
    /* The size of the raw picture, plus headers: noise compresses no worse in any of the codecs at
     * the rates used. */
    return (size_t)width * (size_t)height * 3 / 2 + 16384;
}
