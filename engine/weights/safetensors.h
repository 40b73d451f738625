/* Read-only view of a safetensors file (huggingface/safetensors format): an 8-byte little-endian
 * header length, a JSON header, then raw tensors. The file is memory-mapped and checked as a whole
 * at open, before any tensor can be asked for: header well-formed and at most
 * KT_SAFETENSORS_HEADER_MAX bytes, no name twice, dtype one of F32, F16, BF16, I32, I64, size =
 * product of shape x dtype without overflow, and the tensors cover the data area exactly (no gap,
 * no overlap, nothing beyond the end), as the format asks.
 *
 * A file that shrinks while it is open is out of scope: reading past its new end raises SIGBUS.
 *
 * Thread-safety: read-only after open. */
#ifndef KT_ENGINE_WEIGHTS_SAFETENSORS_H
#define KT_ENGINE_WEIGHTS_SAFETENSORS_H

#include "engine/base/error.h"
#include "kernels/kernels.h"

#include <stddef.h>
#include <stdint.h>

enum {
    KT_TENSOR_RANK_MAX = 8,
    KT_TENSOR_NAME_MAX = 256, /* bytes with the NUL; longer names are refused */
    /* The header of the 1.3B model is 100 KB; parsed JSON takes up to 20 times the text. */
    KT_SAFETENSORS_HEADER_MAX = 16 << 20,
};

struct kt_tensor {
    const char *name; /* owned by the file object */
    enum kt_dtype dtype;
    int rank;
    int64_t shape[KT_TENSOR_RANK_MAX];
    size_t count; /* elements */
    size_t bytes;
    const void *data; /* into the mapping; may be unaligned */
};

struct kt_safetensors;

/* Opens, maps and checks `path`. Errors: those of open(2), -EISDIR, -EINVAL not a regular file,
 * -EBADMSG malformed (the message says which tensor or header field, what was expected and what was
 * found), -ENOMEM. */
int kt_safetensors_open(struct kt_safetensors **st, const char *path, struct kt_error *err);
/* No file: every tensor that kt_safetensors_expect and _load_f32 ask for is there, with values as
 * random.h says. One thread at a time. Errors: -ENOMEM. */
int kt_safetensors_open_random(struct kt_safetensors **st, struct kt_error *err);
void kt_safetensors_close(struct kt_safetensors **st);

/* NULL when there is no such tensor. */
const struct kt_tensor *kt_safetensors_find(const struct kt_safetensors *st, const char *name);
int kt_safetensors_count(const struct kt_safetensors *st);
/* Tensors in the order of their names, i in 0..count-1. */
const struct kt_tensor *kt_safetensors_at(const struct kt_safetensors *st, int i);
const char *kt_safetensors_path(const struct kt_safetensors *st);

/* Finds `name` (printf-style through `format`) and checks that it is a float tensor (F32, F16,
 * BF16) of exactly `shape` (`rank` dims). On error the message names file, tensor, what was
 * expected and what was found; for a missing tensor also the nearest name there is. Errors: -ENOENT
 * missing, -EBADMSG wrong dtype or shape. */
int kt_safetensors_expect(const struct kt_safetensors *st, const struct kt_tensor **out,
                          const int64_t *shape, int rank, struct kt_error *err, const char *format,
                          ...) __attribute__((format(printf, 6, 7)));

/* Converts a float tensor (F32, F16, BF16) to fp32 in `out` [count]; exact for every value,
 * subnormals and infinities included. */
void kt_tensor_to_f32(const struct kt_tensor *t, float *out);

/* Like kt_safetensors_expect, then a new malloc'ed fp32 copy that the caller frees. */
int kt_safetensors_load_f32(const struct kt_safetensors *st, float **out, const int64_t *shape,
                            int rank, struct kt_error *err, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/* Writes a file of `n` tensors (tests, golden dumps, cold checkpoints); name, dtype, rank, shape
 * and data are read, count and bytes are not. Goes through a temporary name in the same directory
 * and is on disk before it gets its own name: a reader sees the old file or the whole new one.
 * Errors: -EINVAL (a name twice, too long or reserved, a bad shape or dtype), those of open(2),
 * write(2) and rename(2), -ENOMEM. */
int kt_safetensors_write(const char *path, const struct kt_tensor *tensors, int n,
                         struct kt_error *err);

#endif
