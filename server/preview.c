#include "server/preview.h"

void kt_preview_restart(struct kt_preview *p, enum kt_media_codec codec)
{
    p->codec = codec;
    p->generation++;
    p->open = 0;
}

int kt_preview_room(const struct kt_preview *p)
{
    return p->codec != KT_CODEC_NONE && p->in_flight < KT_PREVIEWS_IN_FLIGHT_MAX;
}

void kt_preview_order(struct kt_preview *p, struct kt_encode_order *order, int64_t clock_us,
                      int64_t interval_us)
{
    const uint32_t epoch = order->frame->epoch;
    const int first = p->want_key || epoch != p->epoch;
    /* Encoders want pts that grow. */
    const int64_t pts = first && clock_us > p->next_pts ? clock_us : p->next_pts;
    p->epoch = epoch;
    p->want_key = 0;
    p->next_pts = pts + interval_us;
    p->in_flight++;
    order->stream = KT_STREAM_PREVIEW;
    order->generation = p->generation;
    order->want_key = first;
    order->pts_us = pts;
    order->duration_us = interval_us;
}
