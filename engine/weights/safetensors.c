/* Opening: map, parse the header, turn each entry into a kt_tensor, then check the layout as a
 * whole. The parsed header is kept: tensor names point into it. */
#include "engine/weights/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/assert.h"
#include "engine/base/name.h"
#include "engine/weights/dtype.h"
#include "engine/weights/random.h"
#include "engine/weights/tensor.h"

enum { PREFIX = 8 };

struct kt_safetensors {
    char *path;
    uint8_t *map;
    size_t size;
    size_t data_start, data_size;
    json_t *header;
    struct kt_tensor *tensors; /* sorted by name */
    int count;
    struct kt_random_weights *random; /* instead of a file */
};

/* Where an entry's bytes lie in the data area, kept only while the layout is checked. */
struct extent {
    size_t begin, end;
    const char *name;
};

/* --- header entries ------------------------------------------------------------------------------
 */

static const char *type_name(const json_t *v)
{
    if (!v) {
        return "nothing";
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a fraction";
    case JSON_NULL: return "null";
    default: return "a boolean";
    }
}

/* Entry messages; the caller puts file and tensor name before them. */
static int entry_type_error(struct kt_error *err, const char *field, const char *expected,
                            const json_t *found)
{
    return kt_fail(err, -EBADMSG, "%s: expected %s, found %s", field, expected, type_name(found));
}

static int read_dtype(struct kt_tensor *t, const json_t *v, struct kt_error *err)
{
    if (!json_is_string(v)) {
        return entry_type_error(err, "dtype", "a string", v);
    }
    const int dtype = kt_dtype_from_name(json_string_value(v));
    if (dtype < 0) {
        return kt_fail(err, -EBADMSG, "dtype: expected F32, F16, BF16, I32 or I64, found %s",
                       kt_name_show(json_string_value(v)).text);
    }
    t->dtype = (enum kt_dtype)dtype;
    return 0;
}

static int read_shape(struct kt_tensor *t, const json_t *v, struct kt_error *err)
{
    if (!json_is_array(v)) {
        return entry_type_error(err, "shape", "an array", v);
    }
    if (json_array_size(v) > KT_TENSOR_RANK_MAX) {
        return kt_fail(err, -EBADMSG, "shape: expected at most %d dimensions, found %zu",
                       KT_TENSOR_RANK_MAX, json_array_size(v));
    }
    t->rank = (int)json_array_size(v);
    for (int i = 0; i < t->rank; i++) {
        const json_t *dim = json_array_get(v, (size_t)i);
        if (!json_is_integer(dim)) {
            return entry_type_error(err, "shape", "integers", dim);
        }
        if (json_integer_value(dim) < 0) {
            return kt_fail(err, -EBADMSG, "shape: expected sizes of 0 or more, found %lld",
                           (long long)json_integer_value(dim));
        }
        t->shape[i] = json_integer_value(dim);
    }
    if (kt_tensor_measure(t) < 0) {
        return kt_fail(err, -EBADMSG, "shape: %s elements do not fit in memory",
                       kt_shape_show(t->shape, t->rank).text);
    }
    return 0;
}

static int read_offsets(struct extent *e, const json_t *v, size_t data_size, struct kt_error *err)
{
    json_int_t offset[2];

    if (!json_is_array(v) || json_array_size(v) != 2) {
        return kt_fail(err, -EBADMSG, "data_offsets: expected an array of 2 integers");
    }
    for (size_t i = 0; i < 2; i++) {
        if (!json_is_integer(json_array_get(v, i))) {
            return entry_type_error(err, "data_offsets", "integers", json_array_get(v, i));
        }
        offset[i] = json_integer_value(json_array_get(v, i));
    }
    if (offset[0] < 0 || offset[1] < offset[0] || (uint64_t)offset[1] > data_size) {
        return kt_fail(
            err, -EBADMSG,
            "data_offsets: expected 0 <= begin <= end <= %zu (the bytes after the header), "
            "found [%lld, %lld]",
            data_size, (long long)offset[0], (long long)offset[1]);
    }
    e->begin = (size_t)offset[0];
    e->end = (size_t)offset[1];
    return 0;
}

static int refuse_unknown_fields(const json_t *entry, struct kt_error *err)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)entry, key, value) {
        if (strcmp(key, "dtype") != 0 && strcmp(key, "shape") != 0 &&
            strcmp(key, "data_offsets") != 0) {
            return kt_fail(err, -EBADMSG,
                           "expected the fields dtype, shape and data_offsets, found '%s'",
                           kt_name_show(key).text);
        }
    }
    return 0;
}

static int read_entry(struct kt_safetensors *st, struct kt_tensor *t, struct extent *e,
                      const json_t *entry, struct kt_error *err)
{
    int r;

    if (!json_is_object(entry)) {
        return kt_fail(err, -EBADMSG, "expected an object, found %s", type_name(entry));
    }
    if (strlen(t->name) >= KT_TENSOR_NAME_MAX) {
        return kt_fail(err, -EBADMSG, "expected a name of at most %d bytes, found %zu",
                       KT_TENSOR_NAME_MAX - 1, strlen(t->name));
    }
    if ((r = refuse_unknown_fields(entry, err)) < 0 ||
        (r = read_dtype(t, json_object_get(entry, "dtype"), err)) < 0 ||
        (r = read_shape(t, json_object_get(entry, "shape"), err)) < 0 ||
        (r = read_offsets(e, json_object_get(entry, "data_offsets"), st->data_size, err)) < 0) {
        return r;
    }
    if (e->end - e->begin != t->bytes) {
        return kt_fail(err, -EBADMSG, "expected %zu bytes for %s %s, found %zu (data_offsets)",
                       t->bytes, kt_dtype_name(t->dtype), kt_shape_show(t->shape, t->rank).text,
                       e->end - e->begin);
    }
    t->data = st->map + st->data_start + e->begin;
    return 0;
}

static int check_metadata(const json_t *v, struct kt_error *err)
{
    const char *key;
    json_t *value;

    if (!json_is_object(v)) {
        return kt_fail(err, -EBADMSG, "expected an object of strings, found %s", type_name(v));
    }
    json_object_foreach ((json_t *)v, key, value) {
        if (!json_is_string(value)) {
            return kt_fail(err, -EBADMSG, "expected an object of strings, found %s in it",
                           type_name(value));
        }
    }
    return 0;
}

/* --- the layout as a whole
 * ------------------------------------------------------------------------ */

static int by_begin(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return x->end < y->end ? -1 : x->end > y->end;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct kt_tensor *)a)->name, ((const struct kt_tensor *)b)->name);
}

static int check_coverage(struct extent *extents, int n, size_t data_size, struct kt_error *err)
{
    size_t covered = 0;

    qsort(extents, (size_t)n, sizeof(*extents), by_begin);
    for (int i = 0; i < n; i++) {
        if (extents[i].begin != covered) {
            return kt_fail(err, -EBADMSG,
                           "tensor '%s': data_offsets: expected to begin at %zu, where the tensor "
                           "before it ends, found %zu (%s)",
                           kt_name_show(extents[i].name).text, covered, extents[i].begin,
                           extents[i].begin < covered ? "overlap" : "gap");
        }
        covered = extents[i].end;
    }
    if (covered != data_size) {
        return kt_fail(err, -EBADMSG, "expected %zu bytes of tensors after the header, found %zu",
                       covered, data_size);
    }
    return 0;
}

static int read_entries(struct kt_safetensors *st, struct extent *extents, struct kt_error *err)
{
    const char *key;
    json_t *entry;

    json_object_foreach (st->header, key, entry) {
        int r;
        if (strcmp(key, "__metadata__") == 0) {
            if ((r = check_metadata(entry, err)) < 0) {
                return kt_fail_prefix(err, r, "__metadata__");
            }
            continue;
        }
        struct kt_tensor *t = &st->tensors[st->count];
        t->name = extents[st->count].name = key;
        if ((r = read_entry(st, t, &extents[st->count], entry, err)) < 0) {
            return kt_fail_prefix(err, r, "tensor '%s'", kt_name_show(key).text);
        }
        st->count++;
    }
    return check_coverage(extents, st->count, st->data_size, err);
}

static int index_tensors(struct kt_safetensors *st, struct kt_error *err)
{
    const size_t n = json_object_size(st->header);
    struct extent *extents = calloc(n + 1, sizeof(*extents));
    int r;

    st->tensors = calloc(n + 1, sizeof(*st->tensors));
    if (!extents || !st->tensors) {
        free(extents);
        return kt_fail(err, -ENOMEM, "out of memory for %zu header entries", n);
    }
    r = read_entries(st, extents, err);
    free(extents);
    if (r == 0) {
        qsort(st->tensors, (size_t)st->count, sizeof(*st->tensors), by_name);
    }
    return r;
}

/* --- the file
 * ------------------------------------------------------------------------------------- */

static int map_file(struct kt_safetensors *st, struct kt_error *err)
{
    /* O_NONBLOCK: a FIFO must be refused, not waited for. */
    const int fd = open(st->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    int r = 0;

    if (fd < 0) {
        r = -errno;
        return kt_fail(err, r, "cannot open: %s", strerror(-r));
    }
    if (fstat(fd, &info) < 0) {
        r = -errno;
        kt_fail(err, r, "cannot stat: %s", strerror(-r));
    } else if (S_ISDIR(info.st_mode)) {
        r = kt_fail(err, -EISDIR, "expected a safetensors file, found a directory");
    } else if (!S_ISREG(info.st_mode)) {
        r = kt_fail(err, -EINVAL, "expected a regular file");
    } else if (info.st_size < PREFIX) {
        r = kt_fail(err, -EBADMSG, "expected at least %d bytes (the header length), found %lld",
                    PREFIX, (long long)info.st_size);
    } else {
        st->size = (size_t)info.st_size;
        void *map = mmap(NULL, st->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            r = -errno;
            kt_fail(err, r, "cannot map %zu bytes: %s", st->size, strerror(-r));
        } else {
            st->map = map;
        }
    }
    close(fd);
    return r;
}

static int parse_header(struct kt_safetensors *st, struct kt_error *err)
{
    uint64_t length = 0;
    json_error_t json_error;

    for (int i = PREFIX - 1; i >= 0; i--) {
        length = length << 8 | st->map[i];
    }
    if (length > KT_SAFETENSORS_HEADER_MAX) {
        return kt_fail(
            err, -EBADMSG,
            "header length: expected at most %d bytes, found %llu (is this a safetensors "
            "file?)",
            KT_SAFETENSORS_HEADER_MAX, (unsigned long long)length);
    }
    if (length > st->size - PREFIX) {
        return kt_fail(
            err, -EBADMSG,
            "header length: the file has %zu bytes after it, but it says %llu (truncated?)",
            st->size - PREFIX, (unsigned long long)length);
    }
    st->data_start = PREFIX + (size_t)length;
    st->data_size = st->size - st->data_start;
    st->header = json_loadb((const char *)st->map + PREFIX, (size_t)length, JSON_REJECT_DUPLICATES,
                            &json_error);
    if (!st->header) {
        return kt_fail(err, -EBADMSG, "header: malformed JSON at byte %d: %s", json_error.position,
                       kt_name_show(json_error.text).text);
    }
    if (!json_is_object(st->header)) {
        return kt_fail(err, -EBADMSG, "header: expected a JSON object, found %s",
                       type_name(st->header));
    }
    return 0;
}

int kt_safetensors_open(struct kt_safetensors **out, const char *path, struct kt_error *err)
{
    struct kt_safetensors *st = calloc(1, sizeof(*st));
    int r;

    *out = NULL;
    if (!st || !(st->path = strdup(path))) {
        free(st);
        return kt_fail(err, -ENOMEM, "%s: out of memory", path);
    }
    if ((r = map_file(st, err)) < 0 || (r = parse_header(st, err)) < 0 ||
        (r = index_tensors(st, err)) < 0) {
        kt_fail_prefix(err, r, "%s", path);
        kt_safetensors_close(&st);
        return r;
    }
    *out = st;
    return 0;
}

int kt_safetensors_open_random(struct kt_safetensors **out, struct kt_error *err)
{
    struct kt_safetensors *st = calloc(1, sizeof(*st));
    int r;

    *out = NULL;
    if (!st || !(st->path = strdup("random weights"))) {
        free(st);
        return kt_fail(err, -ENOMEM, "random weights: out of memory");
    }
    if ((r = kt_random_weights_open(&st->random, err)) < 0) {
        kt_safetensors_close(&st);
        return r;
    }
    *out = st;
    return 0;
}

void kt_safetensors_close(struct kt_safetensors **st)
{
    if (!st || !*st) {
        return;
    }
    kt_random_weights_close(&(*st)->random);
    if ((*st)->map) {
        munmap((*st)->map, (*st)->size);
    }
    json_decref((*st)->header);
    free((*st)->tensors);
    free((*st)->path);
    free(*st);
    *st = NULL;
}

const struct kt_tensor *kt_safetensors_find(const struct kt_safetensors *st, const char *name)
{
    const struct kt_tensor key = {.name = name};
    if (st->count == 0) {
        return NULL;
    }
    return bsearch(&key, st->tensors, (size_t)st->count, sizeof(key), by_name);
}

int kt_safetensors_count(const struct kt_safetensors *st)
{
    return st->count;
}

const struct kt_tensor *kt_safetensors_at(const struct kt_safetensors *st, int i)
{
    KT_ASSERT(i >= 0 && i < st->count);
    return &st->tensors[i];
}

const char *kt_safetensors_path(const struct kt_safetensors *st)
{
    return st->path;
}

/* --- expectations
 * --------------------------------------------------------------------------------- */

static int missing(const struct kt_safetensors *st, const char *name, const int64_t *shape,
                   int rank, struct kt_error *err)
{
    const char **names = calloc((size_t)st->count + 1, sizeof(*names));
    int nearest = -1;

    if (names) {
        for (int i = 0; i < st->count; i++) {
            names[i] = st->tensors[i].name;
        }
        nearest = kt_name_nearest(name, names, (size_t)st->count);
    }
    free(names);
    kt_fail(err, -ENOENT, "%s: tensor '%s': expected a float tensor %s, found no such tensor%s%s%s",
            st->path, name, kt_shape_show(shape, rank).text, nearest < 0 ? "" : " (nearest name: '",
            nearest < 0 ? "" : kt_name_show(st->tensors[nearest].name).text,
            nearest < 0 ? "" : "')");
    return -ENOENT;
}

static int expect_named(const struct kt_safetensors *st, const struct kt_tensor **out,
                        const int64_t *shape, int rank, struct kt_error *err, const char *name)
{
    const struct kt_tensor *t = kt_safetensors_find(st, name);

    *out = NULL;
    KT_ASSERT(rank >= 0 && rank <= KT_TENSOR_RANK_MAX);
    if (st->random) {
        return kt_random_weights_make(st->random, out, name, shape, rank, err);
    }
    if (!t) {
        return missing(st, name, shape, rank, err);
    }
    if (!kt_dtype_is_float(t->dtype) || t->rank != rank ||
        memcmp(t->shape, shape, (size_t)rank * sizeof(*shape)) != 0) {
        return kt_fail(err, -EBADMSG, "%s: tensor '%s': expected F32, F16 or BF16 %s, found %s %s",
                       st->path, name, kt_shape_show(shape, rank).text, kt_dtype_name(t->dtype),
                       kt_shape_show(t->shape, t->rank).text);
    }
    *out = t;
    return 0;
}

static int format_name(char name[KT_TENSOR_NAME_MAX], struct kt_error *err, const char *format,
                       va_list args)
{
    const int n = vsnprintf(name, KT_TENSOR_NAME_MAX, format, args);
    if (n < 0 || n >= KT_TENSOR_NAME_MAX) {
        return kt_fail(err, -ENAMETOOLONG, "tensor name '%s...' is too long", name);
    }
    return 0;
}

int kt_safetensors_expect(const struct kt_safetensors *st, const struct kt_tensor **out,
                          const int64_t *shape, int rank, struct kt_error *err, const char *format,
                          ...)
{
    char name[KT_TENSOR_NAME_MAX];
    va_list args;
    int r;

    *out = NULL;
    va_start(args, format);
    r = format_name(name, err, format, args);
    va_end(args);
    return r < 0 ? r : expect_named(st, out, shape, rank, err, name);
}

void kt_tensor_to_f32(const struct kt_tensor *t, float *out)
{
    kt_dtype_to_f32(t->dtype, t->data, out, t->count);
}

int kt_safetensors_load_f32(const struct kt_safetensors *st, float **out, const int64_t *shape,
                            int rank, struct kt_error *err, const char *format, ...)
{
    char name[KT_TENSOR_NAME_MAX];
    const struct kt_tensor *t;
    va_list args;
    int r;

    *out = NULL;
    va_start(args, format);
    r = format_name(name, err, format, args);
    va_end(args);
    if (r < 0 || (r = expect_named(st, &t, shape, rank, err, name)) < 0) {
        return r;
    }
    KT_ASSERT(t);
    if (t->count > SIZE_MAX / sizeof(float) ||
        !(*out = malloc(t->count ? t->count * sizeof(float) : 1))) {
        return kt_fail(err, -ENOMEM, "%s: tensor '%s': out of memory for %zu floats", st->path,
                       name, t->count);
    }
    kt_tensor_to_f32(t, *out);
    return 0;
}
