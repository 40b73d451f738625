/* Tails: why the causal state of the decoder is written out of place.
 *
 * Every causal layer of the decoder remembers the last frames that it read. The obvious way to keep
 * them is one buffer per layer that each call overwrites. Here that buffer would have to be copied
 * whenever somebody wants to come back to this point: a branch under another prompt, a speculated
 * block that may be thrown away, a cold commit that drops frames already decoded. At 832x480 the
 * state of the full decoder is 1.9 GB, so a copy costs as much as decoding, just when the user has
 * typed something and waits.
 *
 * So a call never changes the state it reads. It takes a free slot, writes the new state there (it
 * has to write those bytes anyway: they are the newest inputs of the layers), and only then hands
 * the slot out. From that moment the slot is read-only until its last reference is gone. Going back
 * is to pass an older tail to the next call; a fork is a second reference. Neither moves a byte,
 * and a call that fails halfway leaves nothing but a free slot.
 *
 * The price is that slots must be there: a stream in steady state needs two (the one read and the
 * one written), each undecided position that may be returned to needs one more. The pool is
 * allocated whole at open and never grows; when it is full the call says so (-ENOBUFS) before it
 * has done anything, and its caller must drop a snapshot first.
 *
 * References are plain integers: tails belong to their device's thread. */
#include "engine/vae/tail.h"

#include "engine/base/assert.h"
#include "engine/vae/vae.h"

#include <errno.h>
#include <stdlib.h>

enum { TAIL_ALIGN = 64 };

struct kt_vae_tail {
    struct kt_tail_pool *pool;
    char *data; /* device memory, tail_bytes */
    int refs;   /* 0: on the free list */
    struct kt_vae_tail *next_free;
};

struct kt_tail_pool {
    struct kt_device *dev;
    char *memory; /* device memory, [tails_max, tail_bytes] */
    struct kt_vae_tail *tails, *free_list;
    int tails_max, in_use;
};

size_t kt_tail_reserve(struct kt_tail_plan *plan, size_t bytes)
{
    size_t at = plan->bytes;
    plan->bytes += (bytes + TAIL_ALIGN - 1) / TAIL_ALIGN * TAIL_ALIGN;
    return at;
}

int kt_tail_pool_open(struct kt_tail_pool **out, struct kt_device *dev, size_t tail_bytes,
                      int tails_max, struct kt_error *err)
{
    if (tails_max < 2) {
        return kt_fail(err, -EINVAL,
                       "vae: tails_max is %d, expected at least 2 (one read, one written)",
                       tails_max);
    }
    struct kt_tail_pool *pool = calloc(1, sizeof(*pool));
    if (!pool) {
        return kt_fail(err, -ENOMEM, "vae: out of memory");
    }
    pool->dev = dev;
    pool->tails_max = tails_max;
    pool->tails = calloc((size_t)tails_max, sizeof(*pool->tails));
    pool->memory = kt_device_alloc(dev, tail_bytes * (size_t)tails_max, "vae tails");
    if (!pool->tails || !pool->memory) {
        kt_tail_pool_close(&pool);
        return kt_fail(err, -ENOMEM, "vae: no memory for %d tails of %zu bytes", tails_max,
                       tail_bytes);
    }
    for (int i = tails_max - 1; i >= 0; i--) {
        struct kt_vae_tail *t = &pool->tails[i];
        *t = (struct kt_vae_tail){pool, pool->memory + (size_t)i * tail_bytes, 0, pool->free_list};
        pool->free_list = t;
    }
    *out = pool;
    return 0;
}

void kt_tail_pool_close(struct kt_tail_pool **pool)
{
    if (!pool || !*pool) {
        return;
    }
    KT_ASSERT((*pool)->in_use == 0);
    kt_device_free((*pool)->dev, (*pool)->memory);
    free((*pool)->tails);
    free(*pool);
    *pool = NULL;
}

struct kt_vae_tail *kt_tail_take(struct kt_tail_pool *pool)
{
    struct kt_vae_tail *t = pool->free_list;
    if (t) {
        pool->free_list = t->next_free;
        pool->in_use++;
        t->refs = 1;
    }
    return t;
}

struct kt_vae_tail *kt_vae_tail_ref(struct kt_vae_tail *t)
{
    if (t) {
        KT_ASSERT(t->refs > 0);
        t->refs++;
    }
    return t;
}

void kt_vae_tail_unref(struct kt_vae_tail **tail)
{
    if (!tail || !*tail) {
        return;
    }
    struct kt_vae_tail *t = *tail;
    *tail = NULL;
    KT_ASSERT(t->refs > 0);
    if (--t->refs == 0) {
        t->next_free = t->pool->free_list;
        t->pool->free_list = t;
        t->pool->in_use--;
    }
}

char *kt_tail_write(struct kt_vae_tail *t)
{
    return t->data;
}

const char *kt_tail_read(const struct kt_vae_tail *t)
{
    return t ? t->data : NULL;
}

int kt_tail_pool_max(const struct kt_tail_pool *pool)
{
    return pool->tails_max;
}

int kt_tail_pool_in_use(const struct kt_tail_pool *pool)
{
    return pool->in_use;
}
