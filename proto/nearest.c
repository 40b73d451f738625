#include "proto/nearest.h"

#include <stddef.h>
#include <string.h>

enum { NAME_MAX_COMPARED = 63 }; /* longer names are compared by their beginnings */

static int min3(int a, int b, int c)
{
    const int m = a < b ? a : b;
    return m < c ? m : c;
}

/* Levenshtein distance, one row at a time. */
static int distance(const char *a, const char *b)
{
    int row[NAME_MAX_COMPARED + 1];
    const size_t na = strnlen(a, NAME_MAX_COMPARED), nb = strnlen(b, NAME_MAX_COMPARED);
    for (size_t j = 0; j <= nb; j++) {
        row[j] = (int)j;
    }
    for (size_t i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= nb; j++) {
            const int replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = min3(replaced, row[j] + 1, row[j - 1] + 1);
        }
    }
    return row[nb];
}

const char *kt_nearest_name(const char *name, const char *const *names)
{
    const char *best = NULL;
    int best_distance = 0;
    for (; *names; names++) {
        const int d = distance(name, *names);
        if (!best || d < best_distance) {
            best = *names;
            best_distance = d;
        }
    }
    return best;
}
