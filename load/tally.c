#include "load/tally.h"

#include <math.h>
#include <stdlib.h>

static void keep(struct kt_tally *s, double value)
{
    if (s->count < KT_TALLY_MAX) {
        s->value[s->count++] = value;
        return;
    }
    const int64_t at = kt_random_between(&s->random, 0, s->seen - 1);
    if (at < KT_TALLY_MAX) {
        s->value[at] = value;
    }
}

void kt_tally_add(struct kt_tally *s, double value)
{
    if (isnan(value)) {
        return;
    }
    if (!s->value) {
        s->value = malloc(KT_TALLY_MAX * sizeof(double));
        if (!s->value) {
            return;
        }
    }
    s->seen++;
    s->sum += value;
    keep(s, value);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double rank(const struct kt_tally *s, double p)
{
    const int at = (int)ceil(p / 100 * s->count);
    return s->value[at < 1 ? 0 : at - 1];
}

struct kt_percentiles kt_tally_percentiles(struct kt_tally *s)
{
    if (s->count == 0) {
        return (struct kt_percentiles){0};
    }
    qsort(s->value, (size_t)s->count, sizeof(double), ascending);
    return (struct kt_percentiles){rank(s, 50), rank(s, 95), rank(s, 99), s->seen};
}

void kt_tally_free(struct kt_tally *s)
{
    free(s->value);
    *s = (struct kt_tally){0};
}
