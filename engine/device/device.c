#include "engine/device/device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/assert.h"

enum { KT_DEVICE_ALIGN = 64, KT_WORKSPACE_BYTES = 1 << 20 };

/* Each allocation carries its size in front of it, so that `bytes_allocated` stays true on free. */
struct kt_device_header {
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

int kt_device_open(struct kt_device **dev, const struct kt_device_params *p, struct kt_error *err)
{
    const char *kind = p->kind ? p->kind : "cpu";
    if (strcmp(kind, "cpu") != 0) {
        return kt_fail(err, -EINVAL, "device '%s': this build has only 'cpu'", kind);
    }
    if (p->threads < 0 || p->threads > 1024) {
        return kt_fail(err, -EINVAL, "threads: expected 0 (all cores) to 1024, found %d",
                       p->threads);
    }
    struct kt_device *d = calloc(1, sizeof(*d));
    if (!d) {
        return kt_fail(err, -ENOMEM, "device: out of memory");
    }
    kt_kernels_cpu(&d->k, p->cpu_mask_set ? p->cpu_mask : KT_CPU_ALL);
    d->act_size = dtype_size(d->k.act_dtype);
    d->kv_size = dtype_size(d->k.kv_dtype);
    d->threads = p->threads ? p->threads : core_count();
    struct kt_queue_params qp = {.threads = d->threads, .workspace_bytes = KT_WORKSPACE_BYTES};
    int rc = d->k.queue_create(&d->q, &qp);
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
    free(*dev);
    *dev = NULL;
}

void *kt_device_alloc(struct kt_device *dev, size_t bytes, const char *name)
{
    size_t total = (bytes + KT_DEVICE_ALIGN - 1) / KT_DEVICE_ALIGN * KT_DEVICE_ALIGN;
    char *base = aligned_alloc(KT_DEVICE_ALIGN, total + KT_DEVICE_ALIGN);
    if (!base) {
        return NULL;
    }
    *(struct kt_device_header *)base = (struct kt_device_header){.bytes = bytes, .name = name};
    dev->stats.allocs++;
    dev->stats.bytes_allocated += bytes;
    return base + KT_DEVICE_ALIGN;
}

void kt_device_free(struct kt_device *dev, void *p)
{
    if (!p) {
        return;
    }
    struct kt_device_header *h = (struct kt_device_header *)((char *)p - KT_DEVICE_ALIGN);
    KT_ASSERT(dev->stats.bytes_allocated >= h->bytes);
    dev->stats.bytes_allocated -= h->bytes;
    free(h);
}

int kt_device_upload(struct kt_device *dev, void *dst, const void *src, size_t bytes)
{
    memcpy(dst, src, bytes);
    return 0;
}

int kt_device_download(struct kt_device *dev, void *dst, const void *src, size_t bytes)
{
    memcpy(dst, src, bytes);
    return 0;
}

int kt_device_copy(struct kt_device *dev, void *dst, const void *src, size_t bytes)
{
    memcpy(dst, src, bytes);
    dev->stats.bytes_copied += bytes;
    return 0;
}

int kt_device_zero(struct kt_device *dev, void *dst, size_t bytes)
{
    memset(dst, 0, bytes);
    return 0;
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
