/* The report as a picture (SVG): the distribution of latency, latency by the pause before Enter,
 * the work behind first pictures, and the numbers that a glance should find.
 *
 * Thread-safety: no shared state. */
#ifndef KT_LOAD_PLOT_H
#define KT_LOAD_PLOT_H

#include <stdio.h>

struct json_t;

/* `report` as kt_report_json makes it, or read from a file: what is missing is left out. Returns 0
 * or -EIO. */
int kt_plot_write(const struct json_t *report, FILE *out);

#endif
