#include "engine/base/name.h"

#include <stdint.h>
#include <string.h>

/* Longer names are not compared: a typo in one is rare and the table below stays on the stack. */
enum { COMPARED_MAX = 64 };

struct kt_shown_name kt_name_show(const char *name)
{
    struct kt_shown_name shown;
    const size_t room = sizeof(shown.text) - sizeof("...");
    size_t n = strlen(name);
    const int cut = n > room;

    if (cut) {
        n = room;
        while (n > 0 && ((unsigned char)name[n] & 0xC0) == 0x80) {
            n--;
        }
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned char c = (unsigned char)name[i];
        shown.text[i] = c < 0x20 || c == 0x7F ? '?' : name[i];
    }
    memcpy(shown.text + n, cut ? "..." : "", cut ? 4 : 1);
    return shown;
}

static int min3(int a, int b, int c)
{
    const int m = a < b ? a : b;
    return m < c ? m : c;
}

/* Levenshtein distance by one row of the table. */
static int edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
    int row[COMPARED_MAX + 1];

    for (size_t j = 0; j <= nb; j++) {
        row[j] = (int)j;
    }
    for (size_t i = 0; i < na; i++) {
        int diagonal = row[0];
        row[0] = (int)i + 1;
        for (size_t j = 0; j < nb; j++) {
            const int substituted = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = min3(row[j + 1] + 1, row[j] + 1, substituted);
        }
    }
    return row[nb];
}

int kt_name_nearest(const char *name, const char *const *names, size_t n)
{
    const size_t length = strlen(name);
    int nearest = -1, smallest = 0;

    if (length > COMPARED_MAX) {
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        const size_t other = strlen(names[i]);
        if (other > COMPARED_MAX) {
            continue;
        }
        const int distance = edit_distance(name, length, names[i], other);
        const int allowed = (int)((length > other ? length : other) + 2) / 3;
        if (distance <= allowed && (nearest < 0 || distance < smallest)) {
            nearest = (int)i;
            smallest = distance;
        }
    }
    return nearest;
}
