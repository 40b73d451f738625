/* What happens to a picture between the wire and the screen: header, decoder, playout, screen; as
 * web/core/pipeline.js does it, but that decoding is done at once instead of in a queue.
 *
 * A preview picture (stream 1) is shown as soon as it is decoded. Cross-fades are not drawn: a
 * picture counts as shown when it is drawn for the first time, whatever is blended over it.
 *
 * Thread-safety: one thread at a time. */
#ifndef KT_LOAD_VIEWER_H
#define KT_LOAD_VIEWER_H

#include "load/decoder.h"
#include "load/ledger.h"
#include "load/playout.h"
#include "load/results.h"
#include "load/round_trip.h"
#include "load/screen.h"

#include <stddef.h>
#include <stdint.h>

struct kt_viewer_params {
    struct kt_load_results *results; /* these three outlive the viewer */
    struct kt_ledger *ledger;
    const struct kt_round_trip *round_trip;
    int64_t (*now_us)(void *arg);
    void *arg;
    enum kt_media_codec codec;
    int decode;     /* 0: believe what arrives */
    int refresh_hz; /* of the display; 0: a picture is shown when it is due */
};

struct kt_viewer {
    struct kt_viewer_params p;
    struct kt_playout playout;
    struct kt_screen screen;
    struct kt_decoder *decoder[2]; /* by stream; NULL until needed */
    int need_key[2];
    int64_t frame_us;         /* the display's refresh that was asked for; 0: none */
    uint32_t next_seq, epoch; /* epoch: the newest that arrived on stream 0 */
    uint32_t passed_seq;      /* the last picture shown or passed over: what is reported */
    int has_seq, has_epoch, has_shown, has_passed, ended;
    int flush_owed; /* a picture with `flush` was passed over */
};

void kt_viewer_open(struct kt_viewer *v, const struct kt_viewer_params *p);
/* One binary message. 0; or -EBADMSG when it was broken and a key picture is needed. */
int kt_viewer_picture(struct kt_viewer *v, const uint8_t *data, size_t n, int64_t now_us);
/* Shows what is due; returns when to be called again (INT64_MAX: no need). */
int64_t kt_viewer_service(struct kt_viewer *v, int64_t now_us);
/* Nobody looks any more: a stall that lasts until now counts, later ones do not. */
void kt_viewer_end(struct kt_viewer *v, int64_t now_us);
/* Counts what was seen into the results and frees. */
void kt_viewer_close(struct kt_viewer *v, int64_t now_us);

#endif
