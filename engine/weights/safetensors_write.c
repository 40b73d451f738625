/* The writing half of safetensors.h. */
#include "engine/weights/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/name.h"
#include "engine/weights/dtype.h"
#include "engine/weights/tensor.h"

enum { PREFIX = 8 };

static int add_entry(json_t *header, const struct kt_tensor *given, size_t *offset,
                     struct kt_error *err)
{
    struct kt_tensor t = *given;
    json_t *shape = json_array();
    size_t end;

    for (int i = 0; shape && i < t.rank && i < KT_TENSOR_RANK_MAX; i++) {
        json_array_append_new(shape, json_integer(t.shape[i]));
    }
    if (t.rank < 0 || t.rank > KT_TENSOR_RANK_MAX || kt_dtype_size(t.dtype) == 0 ||
        kt_tensor_measure(&t) < 0 || __builtin_add_overflow(*offset, t.bytes, &end) ||
        end > INT64_MAX) {
        json_decref(shape);
        return kt_fail(err, -EINVAL, "tensor '%s': bad dtype or shape", kt_name_show(t.name).text);
    }
    if (strlen(t.name) >= KT_TENSOR_NAME_MAX || strcmp(t.name, "__metadata__") == 0 ||
        json_object_get(header, t.name)) {
        json_decref(shape);
        return kt_fail(err, -EINVAL, "tensor '%s': a name twice, too long or reserved",
                       kt_name_show(t.name).text);
    }
    json_t *entry = json_pack("{s:s, s:o, s:[I, I]}", "dtype", kt_dtype_name(t.dtype), "shape",
                              shape, "data_offsets", (json_int_t)*offset, (json_int_t)end);
    if (json_object_set_new(header, t.name, entry) < 0) {
        return kt_fail(err, -EINVAL, "tensor '%s': the name is not UTF-8, or out of memory",
                       kt_name_show(t.name).text);
    }
    *offset = end;
    return 0;
}

static int header_text(char **out, const struct kt_tensor *tensors, int n, struct kt_error *err)
{
    json_t *header = json_object();
    size_t offset = 0;
    int r = header ? 0 : kt_fail(err, -ENOMEM, "out of memory");

    for (int i = 0; r == 0 && i < n; i++) {
        r = add_entry(header, &tensors[i], &offset, err);
    }
    *out = r == 0 ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (r == 0 && !*out) {
        r = kt_fail(err, -ENOMEM, "out of memory for the header");
    }
    return r;
}

static int write_all(int fd, const void *data, size_t n)
{
    const char *p = data;

    while (n > 0) {
        const ssize_t written = write(fd, p, n);
        if (written < 0 && errno != EINTR) {
            return -errno;
        }
        if (written > 0) {
            p += written;
            n -= (size_t)written;
        }
    }
    return 0;
}

static int write_contents(int fd, const char *header, const struct kt_tensor *tensors, int n)
{
    const size_t length = strlen(header);
    const size_t padding = (PREFIX - length % PREFIX) % PREFIX; /* so that tensors start aligned */
    uint8_t prefix[PREFIX];
    int r;

    for (int i = 0; i < PREFIX; i++) {
        prefix[i] = (uint8_t)((uint64_t)(length + padding) >> (8 * i));
    }
    if ((r = write_all(fd, prefix, PREFIX)) < 0 || (r = write_all(fd, header, length)) < 0 ||
        (r = write_all(fd, "        ", padding)) < 0) {
        return r;
    }
    for (int i = 0; i < n; i++) {
        struct kt_tensor t = tensors[i];
        if ((r = kt_tensor_measure(&t)) < 0 || (r = write_all(fd, t.data, t.bytes)) < 0) {
            return r;
        }
    }
    return fchmod(fd, 0644) < 0 || fsync(fd) < 0 ? -errno : 0;
}

int kt_safetensors_write(const char *path, const struct kt_tensor *tensors, int n,
                         struct kt_error *err)
{
    char *header = NULL, *temporary = NULL;
    int fd = -1;
    int r = header_text(&header, tensors, n, err);

    if (r < 0) {
        return kt_fail_prefix(err, r, "%s", path);
    }
    if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
        temporary = NULL;
        r = -ENOMEM;
    } else if ((fd = mkostemp(temporary, O_CLOEXEC)) < 0) {
        r = -errno;
    } else {
        r = write_contents(fd, header, tensors, n);
        if (close(fd) < 0 && r == 0) {
            r = -errno;
        }
        if (r == 0 && rename(temporary, path) < 0) {
            r = -errno;
        }
        if (r < 0) {
            unlink(temporary);
        }
    }
    free(header);
    free(temporary);
    return r < 0 ? kt_fail(err, r, "%s: cannot write: %s", path, strerror(-r)) : 0;
}
