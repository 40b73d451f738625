#include "engine/sched/costs.h"

/* A mean over about the last 16 measurements. A single piece counts at most twice the mean, so that
 * one preemption does not halve the frame rate. */
#define MEAN_WEIGHT (1.0 / 16.0)
#define OUTLIER     2.0

void kt_costs_add(double *mean_ms, double ms)
{
    if (*mean_ms <= 0) {
        *mean_ms = ms;
        return;
    }
    double limited = ms < OUTLIER * *mean_ms ? ms : OUTLIER * *mean_ms;
    *mean_ms += (limited - *mean_ms) * MEAN_WEIGHT;
}
