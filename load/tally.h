/* Numbers to take percentiles of, in memory that does not grow: when it is full, each further one
 * replaces an old one with the probability that keeps the kept ones a fair draw of all (Vitter's
 * algorithm R).
 *
 * Thread-safety: plain data, one thread at a time. */
#ifndef KT_LOAD_TALLY_H
#define KT_LOAD_TALLY_H

#include "load/random.h"

#include <stdint.h>

enum { KT_TALLY_MAX = 16384 };

struct kt_tally {
    double *value; /* owned; allocated with the first one */
    int count;     /* kept */
    int64_t seen;
    double sum; /* of all seen */
    struct kt_random random;
};

struct kt_percentiles {
    double p50, p95, p99;
    int64_t n; /* 0: the others mean nothing */
};

/* NaN is left out, and so is everything when there is no memory. */
void kt_tally_add(struct kt_tally *s, double value);
/* Nearest rank. Sorts what is kept. */
struct kt_percentiles kt_tally_percentiles(struct kt_tally *s);
void kt_tally_free(struct kt_tally *s);

#endif
