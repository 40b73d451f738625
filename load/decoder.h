/* Decodes VP8 or VP9 and throws the picture away: to know when a browser would have it, and that
 * the stream is whole.
 *
 * Thread-safety: one thread at a time. */
#ifndef KT_LOAD_DECODER_H
#define KT_LOAD_DECODER_H

#include "engine/base/error.h"
#include "proto/media.h"

#include <stddef.h>
#include <stdint.h>

struct kt_decoder;

/* -ENOTSUP for another codec; -ENOMEM. */
int kt_decoder_open(struct kt_decoder **d, enum kt_media_codec codec, struct kt_error *err);
/* One picture in, one of this size out, or -EBADMSG with the reason. */
int kt_decoder_decode(struct kt_decoder *d, const struct kt_media_header *h, const uint8_t *data,
                      struct kt_error *err);
void kt_decoder_close(struct kt_decoder **d);

#endif
