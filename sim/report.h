/* A world's report in JSON and in words.
 *
 * Thread-safety: pure functions. */
#ifndef KT_SIM_REPORT_H
#define KT_SIM_REPORT_H

#include "sim/world.h"

#include <jansson.h>

struct kt_sim_percentiles { /* milliseconds */
    size_t n;
    double p50, p95, p99, mean;
};

enum { KT_SIM_ANY_HIT = -1, KT_SIM_DRAFTED = -2 }; /* DRAFTED: ready or begun at Enter */

/* Of Enter to shown (or received), for samples with this hit (0, 1, 2, or one of the above) and
 * pauses before Enter from [low, high). Sorts nothing of the report's. */
struct kt_sim_percentiles kt_sim_latency(const struct kt_sim_report *r, int hit, double low,
                                         double high, int received);
/* Of Enter to its preview, for cold commits that had one. */
struct kt_sim_percentiles kt_sim_preview_latency(const struct kt_sim_report *r);
/* Share of the commits that were shown whose branch was ready at Enter. */
double kt_sim_hit_rate(const struct kt_sim_report *r);
/* Of device time whose fate is known. */
double kt_sim_waste(const struct kt_sim_report *r);
/* Every stream played at the full rate, and a viewer saw less than one hole a minute. */
int kt_sim_sustained(const struct kt_sim_report *r);

/* NULL when out of memory; the caller's. */
json_t *kt_sim_report_json(const struct kt_sim_params *p, const struct kt_sim_report *r);

#endif
