#include "load/decoder.h"

#include <errno.h>
#include <stdlib.h>
#include <vpx/vp8dx.h>
#include <vpx/vpx_decoder.h>

struct kt_decoder {
    vpx_codec_ctx_t vpx;
    enum kt_media_codec codec;
};

int kt_decoder_open(struct kt_decoder **out, enum kt_media_codec codec, struct kt_error *err)
{
    const vpx_codec_dec_cfg_t one_thread = {.threads = 1};
    if (codec != KT_CODEC_VP8 && codec != KT_CODEC_VP9) {
        return kt_fail(err, -ENOTSUP, "cannot decode %s here", kt_codec_name(codec));
    }
    struct kt_decoder *d = calloc(1, sizeof(*d));
    if (!d ||
        vpx_codec_dec_init(&d->vpx, codec == KT_CODEC_VP8 ? vpx_codec_vp8_dx() : vpx_codec_vp9_dx(),
                           &one_thread, 0) != VPX_CODEC_OK) {
        free(d);
        return kt_fail(err, -ENOMEM, "cannot open a decoder for %s", kt_codec_name(codec));
    }
    d->codec = codec;
    *out = d;
    return 0;
}

int kt_decoder_decode(struct kt_decoder *d, const struct kt_media_header *h, const uint8_t *data,
                      struct kt_error *err)
{
    vpx_codec_iter_t at = NULL;
    if (h->codec != d->codec) {
        return kt_fail(err, -EBADMSG, "picture %u is %s, the decoder's is %s", h->seq,
                       kt_codec_name((enum kt_media_codec)h->codec), kt_codec_name(d->codec));
    }
    if (vpx_codec_decode(&d->vpx, data, h->payload_bytes, NULL, 0) != VPX_CODEC_OK) {
        return kt_fail(err, -EBADMSG, "picture %u does not decode: %s", h->seq,
                       vpx_codec_error(&d->vpx));
    }
    const vpx_image_t *image = vpx_codec_get_frame(&d->vpx, &at);
    if (!image || image->d_w != h->width || image->d_h != h->height) {
        return kt_fail(err, -EBADMSG, "picture %u decodes to %ux%u, its header says %ux%u", h->seq,
                       image ? image->d_w : 0, image ? image->d_h : 0, h->width, h->height);
    }
    return 0;
}

void kt_decoder_close(struct kt_decoder **out)
{
    if (*out) {
        vpx_codec_destroy(&(*out)->vpx);
        free(*out);
        *out = NULL;
    }
}
