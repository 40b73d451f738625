/* Names in error messages: what a file calls something may be long, hostile or nearly right.
 *
 * Thread-safety: pure functions. */
#ifndef KT_ENGINE_BASE_NAME_H
#define KT_ENGINE_BASE_NAME_H

#include <stddef.h>

enum { KT_NAME_SHOWN_MAX = 96 };

struct kt_shown_name {
    char text[KT_NAME_SHOWN_MAX];
};

/* `name` fit for a terminal: control bytes become '?', an overlong name ends in "..." and is never
 * cut inside a UTF-8 sequence. */
struct kt_shown_name kt_name_show(const char *name);

/* Index of the entry of `names` [n] with the smallest edit distance to `name`, or -1 when none is
 * near enough to be what was meant (more than a third of the letters differ). Ties go to the first.
 */
int kt_name_nearest(const char *name, const char *const *names, size_t n);

#endif
