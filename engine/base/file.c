#include "engine/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, char *out, size_t size, size_t *n)
{
    while (*n < size) {
        const ssize_t got = read(fd, out + *n, size - *n);
        if (got < 0 && errno != EINTR) {
            return -errno;
        }
        if (got == 0) {
            break; /* the file shrank meanwhile */
        }
        *n += got > 0 ? (size_t)got : 0;
    }
    out[*n] = '\0';
    return 0;
}

static int read_opened(int fd, size_t bytes_max, char **out, size_t *n)
{
    struct stat info;

    if (fstat(fd, &info) < 0) {
        return -errno;
    }
    if (!S_ISREG(info.st_mode)) {
        return S_ISDIR(info.st_mode) ? -EISDIR : -EINVAL;
    }
    if ((size_t)info.st_size > bytes_max) {
        return -EFBIG;
    }
    if (!(*out = malloc((size_t)info.st_size + 1))) {
        return -ENOMEM;
    }
    return read_all(fd, *out, (size_t)info.st_size, n);
}

int kt_file_read(const char *path, size_t bytes_max, char **out, size_t *n, struct kt_error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int r;

    *out = NULL;
    *n = 0;
    r = fd < 0 ? -errno : read_opened(fd, bytes_max, out, n);
    if (fd >= 0) {
        close(fd);
    }
    if (r == 0) {
        return 0;
    }
    free(*out);
    *out = NULL;
    if (r == -EFBIG) {
        return kt_fail(err, r, "%s: expected at most %zu bytes", path, bytes_max);
    }
    return kt_fail(err, r, "%s: cannot read: %s", path, strerror(-r));
}
