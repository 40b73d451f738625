/* The numbers that a monitoring system scrapes, in the Prometheus text format 0.0.4. No sockets
 * here.
 *
 * Names are kinetype_*, base units are seconds and bytes. Counters end in _total and never fall
 * while the server runs; histograms have cumulative buckets.
 *
 * Thread-safety: pure. */
#ifndef KT_SERVER_METRICS_H
#define KT_SERVER_METRICS_H

#include "engine/journal.h"
#include "engine/lane.h"
#include "server/session.h"

#define KT_METRICS_MIME "text/plain; version=0.0.4; charset=utf-8"
#define KT_METRICS_PATH "/metrics"

struct kt_metrics {
    const char *version, *model, *device;
    const struct kt_lane_stats *lane;
    const struct kt_counts *counts;
    struct kt_journal_stats journal; /* zeros: no decision log is written */
    int ready;
    int sessions_max, sessions_awake, sessions_asleep, sessions_closing;
    int clients, waiting; /* sockets; of them in line */
    uint64_t queued, refused;
    int outq_pictures, outq_texts, outq_bytes; /* all clients; bytes of texts */
    int raw_pictures;
    int encode_waiting, packets_free;
    size_t resident_bytes;
};

/* malloc'ed text, or NULL without memory. */
char *kt_metrics_print(const struct kt_metrics *m, size_t *n);
/* Of this process, from /proc; 0 when it cannot be read. */
size_t kt_metrics_resident_bytes(void);

#endif
