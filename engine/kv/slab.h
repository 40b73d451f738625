/* A fixed pool of equal, reference-counted device buffers: K/V pages and clean latents.
 *
 * An item is written by whoever took it, then published by handing it on; from then on it never
 * changes (docs/design.md, invariant 2), so snapshots, forks and rollback only count references.
 * Items are recycled; `serial` is new on every take, so that a cache may tell a recycled item from
 * the one it knew.
 *
 * Thread-safety: belongs to its device's thread. */
#ifndef KT_ENGINE_KV_SLAB_H
#define KT_ENGINE_KV_SLAB_H

#include "engine/device/device.h"

#include <stddef.h>
#include <stdint.h>

struct kt_slab;

struct kt_slab_item {
    struct kt_slab *slab;
    struct kt_slab_item *next_free;
    void *data; /* `item_bytes` of device memory */
    int refs;
    uint64_t serial;
};

struct kt_slab {
    struct kt_device *dev;
    struct kt_slab_item *items, *free_list;
    char *memory;
    size_t item_bytes;
    int count, used;
    uint64_t next_serial;
};

/* Allocates `count` items of `item_bytes`. Errors: -ENOMEM. */
int kt_slab_init(struct kt_slab *s, struct kt_device *dev, size_t item_bytes, int count,
                 const char *name);
/* Every item must have been released. Accepts a zeroed slab. */
void kt_slab_finish(struct kt_slab *s);

/* One item with one reference, or NULL when none is free. */
struct kt_slab_item *kt_slab_take(struct kt_slab *s);
struct kt_slab_item *kt_slab_ref(struct kt_slab_item *i); /* NULL accepted */
void kt_slab_unref(struct kt_slab_item **i);              /* NULL and *NULL accepted */

#endif
