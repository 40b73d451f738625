#include "engine/vae/scratch.h"

#include <errno.h>
#include <string.h>

enum { SCRATCH_ALIGN = 64 };

void kt_scratch_need(struct kt_scratch *s, enum kt_scratch_buffer buffer, size_t bytes)
{
    bytes = (bytes + SCRATCH_ALIGN - 1) / SCRATCH_ALIGN * SCRATCH_ALIGN;
    if (s->bytes[buffer] < bytes) {
        s->bytes[buffer] = bytes;
    }
}

int kt_scratch_alloc(struct kt_scratch *s, struct kt_device *dev, const char *name,
                     struct kt_error *err)
{
    /* X and Y swap, so each must hold what either must. */
    kt_scratch_need(s, KT_SCRATCH_X, s->bytes[KT_SCRATCH_Y]);
    kt_scratch_need(s, KT_SCRATCH_Y, s->bytes[KT_SCRATCH_X]);
    size_t total = 0;
    for (int i = 0; i < KT_SCRATCH_COUNT; i++) {
        total += s->bytes[i];
    }
    s->memory = kt_device_alloc(dev, total, name);
    if (!s->memory) {
        return kt_fail(err, -ENOMEM, "%s: no memory for %zu bytes", name, total);
    }
    char *at = s->memory;
    for (int i = 0; i < KT_SCRATCH_COUNT; i++) {
        s->at[i] = at;
        at += s->bytes[i];
    }
    return 0;
}

void kt_scratch_free(struct kt_scratch *s, struct kt_device *dev)
{
    if (s->memory) {
        kt_device_free(dev, s->memory);
    }
    memset(s, 0, sizeof(*s));
}

void kt_scratch_swap(struct kt_scratch *s)
{
    char *x = s->at[KT_SCRATCH_X];
    s->at[KT_SCRATCH_X] = s->at[KT_SCRATCH_Y];
    s->at[KT_SCRATCH_Y] = x;
}
