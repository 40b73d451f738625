/* Reading a small file whole.
 *
 * Thread-safety: no shared state. */
#ifndef KT_ENGINE_BASE_FILE_H
#define KT_ENGINE_BASE_FILE_H

#include "engine/base/error.h"

#include <stddef.h>

/* Reads all of `path` into new memory (*out, *n bytes, plus a NUL) that the caller frees. Only
 * regular files of at most `bytes_max`; a FIFO is refused, not waited for. The message names the
 * file. Errors: those of open(2) and read(2), -EISDIR, -EINVAL not a regular file, -EFBIG, -ENOMEM.
 */
int kt_file_read(const char *path, size_t bytes_max, char **out, size_t *n, struct kt_error *err);

#endif
