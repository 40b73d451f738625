#include "engine/kv/slab.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/base/assert.h"

int kt_slab_init(struct kt_slab *s, struct kt_device *dev, size_t item_bytes, int count,
                 const char *name)
{
    *s = (struct kt_slab){.dev = dev, .item_bytes = item_bytes, .count = count, .next_serial = 1};
    size_t stride = (item_bytes + 63) / 64 * 64;
    s->items = calloc((size_t)count, sizeof(*s->items));
    s->memory = kt_device_alloc(dev, stride * (size_t)count, name);
    if (!s->items || !s->memory) {
        kt_slab_finish(s);
        return -ENOMEM;
    }
    for (int i = count - 1; i >= 0; i--) {
        s->items[i] = (struct kt_slab_item){
            .slab = s, .next_free = s->free_list, .data = s->memory + stride * (size_t)i};
        s->free_list = &s->items[i];
    }
    return 0;
}

void kt_slab_finish(struct kt_slab *s)
{
    KT_ASSERT(s->used == 0);
    if (s->dev) {
        kt_device_free(s->dev, s->memory);
    }
    free(s->items);
    *s = (struct kt_slab){0};
}

struct kt_slab_item *kt_slab_take(struct kt_slab *s)
{
    struct kt_slab_item *i = s->free_list;
    if (!i) {
        return NULL;
    }
    KT_ASSERT(i->refs == 0);
    s->free_list = i->next_free;
    i->next_free = NULL;
    i->refs = 1;
    i->serial = s->next_serial++;
    s->used++;
    return i;
}

struct kt_slab_item *kt_slab_ref(struct kt_slab_item *i)
{
    if (i) {
        KT_ASSERT(i->refs > 0);
        i->refs++;
    }
    return i;
}

void kt_slab_unref(struct kt_slab_item **i)
{
    if (!i || !*i) {
        return;
    }
    struct kt_slab_item *item = *i;
    *i = NULL;
    KT_ASSERT(item->refs > 0);
    if (--item->refs == 0) {
        item->next_free = item->slab->free_list;
        item->slab->free_list = item;
        item->slab->used--;
    }
}
