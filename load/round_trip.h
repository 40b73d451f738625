/* The server's clock seen from here, as web/core/clock.js sees it: of the last 30 pings the one
 * with the smallest round trip counts. Samples are never averaged, because a queue only ever adds
 * delay.
 *
 * Thread-safety: plain data. */
#ifndef KT_LOAD_ROUND_TRIP_H
#define KT_LOAD_ROUND_TRIP_H

#include <stdint.h>

enum { KT_ROUND_TRIPS = 30 };

struct kt_round_trip {
    struct {
        int64_t us, offset_us; /* server's clock minus ours */
    } sample[KT_ROUND_TRIPS];
    int64_t count; /* ever */
};

static inline void kt_round_trip_add(struct kt_round_trip *r, int64_t sent_us, int64_t server_us,
                                     int64_t received_us)
{
    const int i = (int)(r->count % KT_ROUND_TRIPS);
    if (received_us >= sent_us) {
        r->sample[i].us = received_us - sent_us;
        r->sample[i].offset_us = server_us - (sent_us + received_us) / 2;
        r->count++;
    }
}

/* Index of the best sample, or -1 before the first one. */
static inline int kt_round_trip_best(const struct kt_round_trip *r)
{
    const int n = (int)(r->count < KT_ROUND_TRIPS ? r->count : KT_ROUND_TRIPS);
    int best = n ? 0 : -1;
    for (int i = 1; i < n; i++) {
        best = r->sample[i].us < r->sample[best].us ? i : best;
    }
    return best;
}

#endif
