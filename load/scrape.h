/* What the server says about itself: a few numbers of its Prometheus text, or of /proc.
 *
 * Thread-safety: no shared state. The calls that read block, for 3 s at the most. */
#ifndef KT_LOAD_SCRAPE_H
#define KT_LOAD_SCRAPE_H

#include "engine/base/error.h"

#include <stddef.h>

enum { KT_SCRAPE_BYTES_MAX = 4 << 20, KT_SCRAPE_VALUES_MAX = 256 };

struct kt_scrape {
    double rss_mib;            /* negative: not there, and so for the next two */
    double wasted_ms, busy_ms; /* device time, all devices */
    struct {
        char name[80]; /* without "kinetype_", with its labels */
        double value;
    } value[KT_SCRAPE_VALUES_MAX]; /* counters and gauges; what is beyond is left out */
    int count;
};

void kt_scrape_clear(struct kt_scrape *m);
/* Prometheus text of n bytes into a cleared object. */
void kt_scrape_parse(struct kt_scrape *m, const char *text, size_t n);
/* GET of an http:// address. Errors: -EINVAL for the address, -EIO with the reason. */
int kt_scrape_fetch(struct kt_scrape *m, const char *url, struct kt_error *err);
/* Memory of a process on this machine. -ENOENT: there is no such process, or no /proc. */
int kt_scrape_process(struct kt_scrape *m, int pid, struct kt_error *err);

#endif
