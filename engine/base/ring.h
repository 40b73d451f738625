/* A bounded first-in first-out queue of equal elements, storage given at init. Full means full: put
 * says so and the caller's written policy decides.
 *
 * Thread-safety: none; the owner locks. */
#ifndef KT_ENGINE_BASE_RING_H
#define KT_ENGINE_BASE_RING_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct kt_ring {
    char *data;
    size_t size; /* of one element */
    int cap, head, count;
};

static inline int kt_ring_init(struct kt_ring *r, size_t size, int cap)
{
    *r = (struct kt_ring){.data = calloc((size_t)cap, size), .size = size, .cap = cap};
    return r->data ? 0 : -ENOMEM;
}

static inline void kt_ring_finish(struct kt_ring *r)
{
    free(r->data);
    *r = (struct kt_ring){0};
}

static inline int kt_ring_put(struct kt_ring *r, const void *element)
{
    if (r->count == r->cap) {
        return -EAGAIN;
    }
    memcpy(r->data + (size_t)((r->head + r->count) % r->cap) * r->size, element, r->size);
    r->count++;
    return 0;
}

/* 1 and the oldest element, or 0. */
static inline int kt_ring_take(struct kt_ring *r, void *element)
{
    if (r->count == 0) {
        return 0;
    }
    memcpy(element, r->data + (size_t)r->head * r->size, r->size);
    r->head = (r->head + 1) % r->cap;
    r->count--;
    return 1;
}

#endif
