#include "server/encode/encoder.h"

#include <errno.h>
#include <stdlib.h>

struct kt_encoder {
    const struct kt_encoder_ops *ops;
    void *state;
    int want_key;
};

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
    e->ops = p->codec == KT_CODEC_JPEG ? &kt_encoder_jpeg : &kt_encoder_vpx;
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

const char *kt_encoder_codec_string(enum kt_media_codec codec)
{
    switch (codec) {
    case KT_CODEC_VP8: return "vp8";
    case KT_CODEC_VP9: return "vp09.00.10.08";
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
