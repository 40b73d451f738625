/* What the server says about itself: a few numbers of its Prometheus text, or of /proc.
 *
 * Thread-safety: no shared state. The calls that read block, for 3 s at the most. */
#ifndef KT_LOAD_METRICS_H
#define KT_LOAD_METRICS_H

#include "engine/base/error.h"

#include <stddef.h>

enum { KT_METRICS_BYTES_MAX = 4 << 20 };

/* Negative: not there. */
struct kt_metrics {
    double rss_mib;
    double wasted_ms, busy_ms; /* device time, over all devices */
};

extern const struct kt_metrics kt_no_metrics;

/* Prometheus text of n bytes. Memory is process_resident_memory_bytes. Device times are the
 * counters whose names begin with "kinetype_" and hold "wasted" or "busy", with their unit
 * ("seconds", "ms") behind it; samples with different labels are added up. */
struct kt_metrics kt_metrics_parse(const char *text, size_t n);
/* GET of an http:// address. Errors: -EINVAL for the address, -EIO with the reason. */
int kt_metrics_fetch(struct kt_metrics *m, const char *url, struct kt_error *err);
/* Memory of a process on this machine. -ENOENT: there is no such process, or no /proc. */
int kt_metrics_process(struct kt_metrics *m, int pid, struct kt_error *err);

#endif
