/* A device: its op table, one queue and its memory, with every allocation named and counted.
 *
 * Thread-safety: a device belongs to the thread that runs its lane. */
#ifndef KT_ENGINE_DEVICE_DEVICE_H
#define KT_ENGINE_DEVICE_DEVICE_H

#include "engine/base/error.h"
#include "kernels/kernels.h"

#include <stddef.h>
#include <stdint.h>

struct kt_device_params {
    const char *kind;            /* "cpu" (NULL too), "cuda" (the first card) or "cuda:N" */
    enum kt_precision precision; /* CPU: AUTO or FP32; FP8: fp32 on values
                                    rounded to 8 bits, to see what they cost */
    int threads;                 /* CPU worker threads; 0: all cores of the machine */
    unsigned cpu_mask;           /* KT_CPU_*; used when `cpu_mask_set` */
    int cpu_mask_set;            /* non-zero: use cpu_mask, else every level there is */
};

/* Counts since open. What must not happen in the frame loop is a difference of two of these. */
struct kt_device_stats {
    uint64_t allocs;          /* device allocations made here (not by ops: see queue.allocs) */
    uint64_t bytes_allocated; /* bytes held now */
    uint64_t bytes_copied;    /* bytes moved by kt_device_copy */
};

struct kt_device_block; /* one allocation */

struct kt_device_pool {
    const char *name;
    uint64_t bytes;
};
enum { KT_DEVICE_WEIGHTS_MAX = 8 };

struct kt_device {
    struct kt_kernels k;
    struct kt_queue *q;
    size_t act_size, kv_size; /* bytes of one [act] and one [kv] element */
    int f8;                   /* opened with one of the FP8s: [f8] where the model allows it */
    int threads;
    struct kt_device_stats stats;
    struct kt_device_block *blocks; /* what is allocated, in no order */
    size_t block_count, block_max;
    struct kt_device_pool weights[KT_DEVICE_WEIGHTS_MAX]; /* named so far */
    int weights_count;
};

/* The words for precisions, for messages and help: `quote` stands around each. */
#define KT_PRECISION_LIST(quote)                                                                   \
    quote "auto" quote ", " quote "fp32" quote ", " quote "bf16" quote ", " quote "fp8" quote      \
          " or " quote "fp8-emulated" quote

/* One of these words. -EINVAL for another. */
int kt_precision_parse(enum kt_precision *out, const char *word, struct kt_error *err);
const char *kt_precision_name(enum kt_precision p);

/* What the device computes in: never AUTO, and FP8_EMULATED where FP8 is emulated. */
enum kt_precision kt_device_precision(const struct kt_device *dev);

/* Opens the device. Errors: -EINVAL unknown kind, or a precision that it has not; -ENOTSUP a kind
 * that this build has not; -ENODEV no such card; -ENOMEM. */
int kt_device_open(struct kt_device **dev, const struct kt_device_params *p, struct kt_error *err);
void kt_device_close(struct kt_device **dev);

/* Device memory, 64-byte aligned, not cleared. `name` says what it is for (kept for errors and
 * memory reports; static storage). Never called in the frame loop. NULL when out of memory. */
void *kt_device_alloc(struct kt_device *dev, size_t bytes, const char *name);
void kt_device_free(struct kt_device *dev, void *p);

/* Reports the weights created since the last call under `name` (static storage) from now on. Past
 * KT_DEVICE_WEIGHTS_MAX names, the last one takes the rest. */
void kt_device_name_weights(struct kt_device *dev, const char *name);

/* What is held: allocations made here, added up by name, in order of the first; weights by name;
 * the queue's workspaces. Weights and workspaces on CUDA only: on the CPU they are the process's
 * memory. Returns how many names there are, of which the first `cap` are written. */
int kt_device_pools(const struct kt_device *dev, struct kt_device_pool *out, int cap);

/* Host <-> device and device <-> device copies in queue order (kernels.h says when they have
 * happened). */
int kt_device_upload(struct kt_device *dev, void *dst, const void *src, size_t bytes);
int kt_device_download(struct kt_device *dev, void *dst, const void *src, size_t bytes);
int kt_device_copy(struct kt_device *dev, void *dst, const void *src, size_t bytes);
int kt_device_zero(struct kt_device *dev, void *dst, size_t bytes);

/* n values of an [act] buffer to the host as fp32. Allocates and frees on the device where [act] is
 * not fp32: for golden cases and tests. */
int kt_device_download_act(struct kt_device *dev, float *dst, const void *src, size_t n);

/* What the device said of its last failed operation; "" on the CPU, whose operations fail for their
 * arguments only. */
const char *kt_device_why(const struct kt_device *dev);

/* Launches, syncs and host copies of the device's queue since open. */
void kt_device_queue_stats(const struct kt_device *dev, struct kt_queue_stats *out);

/* Uploads a host fp32 array of n values into new [f32] device memory. */
float *kt_device_alloc_f32(struct kt_device *dev, const float *src, size_t n, const char *name);

/* The address of element i of an [act] buffer. */
static inline void *kt_act_at(const struct kt_device *dev, const void *p, size_t i)
{
    return (char *)p + i * dev->act_size;
}

#endif
