/* A directory for one test program's files, and the two things tests do there. */
#ifndef KT_TESTS_TEXT_TMP_DIR_H
#define KT_TESTS_TEXT_TMP_DIR_H

#include <stddef.h>

struct tmp_dir {
    char path[64];
};

/* cmocka group fixtures: *state becomes a struct tmp_dir. */
int tmp_dir_make(void **state);
int tmp_dir_remove(void **state);

/* Writes `n` bytes to `name` in the directory; returns the full path (valid until the next call).
 */
const char *tmp_dir_write(const struct tmp_dir *dir, const char *name, const void *bytes, size_t n);
/* The full path of `name` (valid until the next call). */
const char *tmp_dir_at(const struct tmp_dir *dir, const char *name);

#endif
