/* Previews of one session: pictures of the coming epoch on a stream and an encoder of their own,
 * sent at once and never paced. Too many of them, or one of an epoch that is on the wire already,
 * are dropped: nothing refers to them.
 *
 * Thread-safety: belongs to the loop thread. */
#ifndef KT_SERVER_PREVIEW_H
#define KT_SERVER_PREVIEW_H

#include "server/encode/worker.h"
#include "server/outq.h"

enum { KT_PREVIEWS_IN_FLIGHT_MAX = 8 }; /* two latents */

struct kt_preview {
    enum kt_media_codec codec; /* NONE: the client can take none */
    uint32_t generation, epoch;
    int open, in_flight, want_key;
    int64_t next_pts;
    uint64_t sent, dropped;
};

/* Another socket: the next picture opens an encoder for it. `codec`: which, or NONE. */
void kt_preview_restart(struct kt_preview *p, enum kt_media_codec codec);
/* 1 while one more picture of `epoch` may be sent to the encoder. */
int kt_preview_room(const struct kt_preview *p);
/* Fills in what an order for `frame` needs beyond encoder params, frame and packet, and counts it.
 * clock_us: the stream's. */
void kt_preview_order(struct kt_preview *p, struct kt_encode_order *order, int64_t clock_us,
                      int64_t interval_us);

#endif
