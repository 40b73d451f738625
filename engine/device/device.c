#include "engine/device/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/assert.h"

enum { KT_WORKSPACE_BYTES = 1 << 20, KT_CARDS_MAX = 64 };

/* Kept beside the memory, not in front of it: the host cannot read every device's memory. */
struct kt_device_block {
    void *p;
    size_t bytes;
    const char *name;
};

static size_t dtype_size(enum kt_dtype dtype)
{
    return dtype == KT_F16 || dtype == KT_BF16 ? 2 : 4;
}

static int core_count(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

/* The card that "cuda" or "cuda:N" names, -1 if `kind` is neither. */
static int card_of(const char *kind)
{
    char *end;
    if (strcmp(kind, "cuda") == 0) {
        return 0;
    }
    if (strncmp(kind, "cuda:", 5) != 0 || kind[5] < '0' || kind[5] > '9') {
        return -1;
    }
    long n = strtol(kind + 5, &end, 10);
    return *end == '\0' && n < KT_CARDS_MAX ? (int)n : -1;
}

static int fill_table(struct kt_device *d, const struct kt_device_params *p, const char *kind,
                      int card, struct kt_error *err)
{
    char why[256] = "";
    if (strcmp(kind, "cpu") == 0) {
        if (p->precision == KT_PRECISION_BF16) {
            return kt_fail(err, -EINVAL, "device 'cpu': computes in fp32 (or fp8, emulated)");
        }
        kt_kernels_cpu(&d->k, p->cpu_mask_set ? p->cpu_mask : KT_CPU_ALL);
        return 0;
    }
    if (card < 0) {
        return kt_fail(err, -EINVAL, "device '%s': expected cpu, cuda or cuda:N", kind);
    }
    int rc = kt_kernels_cuda(&d->k, card, p->precision, why, sizeof(why));
    return rc < 0 ? kt_fail(err, rc, "device '%s': %s", kind, why) : 0;
}

int kt_device_open(struct kt_device **dev, const struct kt_device_params *p, struct kt_error *err)
{
    const char *kind = p->kind ? p->kind : "cpu";
    int card = card_of(kind);
    if (p->threads < 0 || p->threads > 1024) {
        return kt_fail(err, -EINVAL, "threads: expected 0 (all cores) to 1024, found %d",
                       p->threads);
    }
    struct kt_device *d = calloc(1, sizeof(*d));
    if (!d) {
        return kt_fail(err, -ENOMEM, "device: out of memory");
    }
    int rc = fill_table(d, p, kind, card, err);
    if (rc == 0 && p->precision == KT_PRECISION_FP8 && d->k.f8_size == 0) {
        rc = kt_fail(err, -ENOTSUP, "device '%s': has no 8-bit kernels here, expected fp32 or bf16",
                     kind);
    }
    if (rc < 0) {
        free(d);
        return rc;
    }
    d->act_size = dtype_size(d->k.act_dtype);
    d->kv_size = dtype_size(d->k.kv_dtype);
    d->f8 = p->precision == KT_PRECISION_FP8 || p->precision == KT_PRECISION_FP8_EMULATED;
    d->threads = p->threads ? p->threads : core_count();
    struct kt_queue_params qp = {.threads = d->threads,
                                 .device = card < 0 ? 0 : card,
                                 .workspace_bytes = KT_WORKSPACE_BYTES};
    rc = d->k.queue_create(&d->q, &qp);
    if (rc < 0) {
        free(d);
        return kt_fail(err, rc, "device '%s': cannot create its queue", kind);
    }
    *dev = d;
    return 0;
}

void kt_device_close(struct kt_device **dev)
{
    if (!dev || !*dev) {
        return;
    }
    (*dev)->k.queue_destroy(&(*dev)->q);
    free((*dev)->blocks);
    free(*dev);
    *dev = NULL;
}

static int grow_blocks(struct kt_device *dev)
{
    if (dev->block_count < dev->block_max) {
        return 0;
    }
    size_t max = dev->block_max ? 2 * dev->block_max : 64;
    struct kt_device_block *grown = realloc(dev->blocks, max * sizeof(*grown));
    if (!grown) {
        return -ENOMEM;
    }
    dev->blocks = grown;
    dev->block_max = max;
    return 0;
}

void *kt_device_alloc(struct kt_device *dev, size_t bytes, const char *name)
{
    void *p = grow_blocks(dev) == 0 ? dev->k.mem_alloc(dev->q, bytes) : NULL;
    if (!p) {
        return NULL;
    }
    dev->blocks[dev->block_count++] = (struct kt_device_block){p, bytes, name};
    dev->stats.allocs++;
    dev->stats.bytes_allocated += bytes;
    return p;
}

void kt_device_free(struct kt_device *dev, void *p)
{
    size_t i = dev->block_count;
    if (!p) {
        return;
    }
    while (i > 0 && dev->blocks[i - 1].p != p) {
        i--;
    }
    KT_ASSERT(i > 0);
    KT_ASSERT(dev->stats.bytes_allocated >= dev->blocks[i - 1].bytes);
    dev->stats.bytes_allocated -= dev->blocks[i - 1].bytes;
    dev->blocks[i - 1] = dev->blocks[--dev->block_count];
    dev->k.mem_free(dev->q, p);
}

void kt_device_name_weights(struct kt_device *dev, const char *name)
{
    struct kt_queue_stats stats;
    uint64_t named = 0;
    kt_device_queue_stats(dev, &stats);
    for (int i = 0; i < dev->weights_count; i++) {
        named += dev->weights[i].bytes;
    }
    if (stats.bytes_weights == named) {
        return;
    }
    int at = dev->weights_count < KT_DEVICE_WEIGHTS_MAX ? dev->weights_count++
                                                        : KT_DEVICE_WEIGHTS_MAX - 1;
    dev->weights[at].name = name;
    dev->weights[at].bytes += stats.bytes_weights - named;
}

/* Appends to a report of `count` pools; returns how many there are then. */
static int add_pool(struct kt_device_pool *out, int cap, int count, struct kt_device_pool pool)
{
    if (pool.bytes == 0) {
        return count;
    }
    if (count < cap) {
        out[count] = pool;
    }
    return count + 1;
}

static int block_pools(const struct kt_device *dev, struct kt_device_pool *out, int cap)
{
    int count = 0;
    for (size_t i = 0; i < dev->block_count; i++) {
        size_t first = 0;
        int at = 0;
        while (strcmp(dev->blocks[first].name, dev->blocks[i].name) != 0) {
            first++;
        }
        if (first == i) { /* a name not seen before */
            at = count++;
            if (at < cap) {
                out[at] = (struct kt_device_pool){dev->blocks[i].name, dev->blocks[i].bytes};
            }
            continue;
        }
        while (at < cap && at < count && strcmp(out[at].name, dev->blocks[i].name) != 0) {
            at++;
        }
        if (at < cap && at < count) {
            out[at].bytes += dev->blocks[i].bytes;
        }
    }
    return count;
}

int kt_device_pools(const struct kt_device *dev, struct kt_device_pool *out, int cap)
{
    struct kt_queue_stats stats;
    int count = block_pools(dev, out, cap);
    kt_device_queue_stats(dev, &stats);
    for (int i = 0; i < dev->weights_count; i++) {
        count = add_pool(out, cap, count, dev->weights[i]);
    }
    return add_pool(out, cap, count,
                    (struct kt_device_pool){"queue workspaces", stats.bytes_workspace});
}

int kt_device_upload(struct kt_device *dev, void *dst, const void *src, size_t bytes)
{
    return dev->k.upload(dev->q, dst, src, bytes);
}

int kt_device_download(struct kt_device *dev, void *dst, const void *src, size_t bytes)
{
    return dev->k.download(dev->q, dst, src, bytes);
}

int kt_device_copy(struct kt_device *dev, void *dst, const void *src, size_t bytes)
{
    dev->stats.bytes_copied += bytes;
    return dev->k.copy(dev->q, dst, src, bytes);
}

int kt_device_zero(struct kt_device *dev, void *dst, size_t bytes)
{
    return dev->k.zero(dev->q, dst, bytes);
}

int kt_device_download_act(struct kt_device *dev, float *dst, const void *src, size_t n)
{
    if (dev->act_size == sizeof(float)) {
        return kt_device_download(dev, dst, src, n * sizeof(float));
    }
    float *wide = kt_device_alloc(dev, n * sizeof(float), "download");
    int rc = wide ? dev->k.to_f32(dev->q, wide, src, n) : -ENOMEM;
    if (rc == 0) {
        rc = kt_device_download(dev, dst, wide, n * sizeof(float));
    }
    kt_device_free(dev, wide);
    return rc;
}

const char *kt_device_why(const struct kt_device *dev)
{
    return dev->k.queue_error ? dev->k.queue_error(dev->q) : "";
}

void kt_device_queue_stats(const struct kt_device *dev, struct kt_queue_stats *out)
{
    dev->k.queue_stats(dev->q, out);
}

float *kt_device_alloc_f32(struct kt_device *dev, const float *src, size_t n, const char *name)
{
    float *p = kt_device_alloc(dev, n * sizeof(float), name);
    if (p && kt_device_upload(dev, p, src, n * sizeof(float)) < 0) {
        kt_device_free(dev, p);
        return NULL;
    }
    return p;
}
