#include "engine/sched/wish.h"

/* FNV-1a: short texts, a few times a second. */
static uint64_t mix(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ p[i]) * UINT64_C(0x100000001b3);
    }
    return h;
}

static uint64_t mix_number(uint64_t h, uint64_t v)
{
    return mix(h, &v, sizeof(v));
}

uint64_t kt_wish_key(const struct kt_wish *w, const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; text && *text; text++) {
        h = mix(h, text, 1);
    }
    h = mix_number(h, (uint64_t)w->cut);
    h = mix_number(h, (uint64_t)w->transition);
    h = mix_number(h, (uint64_t)w->blend);
    h = mix_number(h, (uint64_t)w->recache);
    h = mix_number(h, (uint64_t)w->at);
    h = mix_number(h, (uint64_t)w->from);
    h = mix_number(h, (uint64_t)w->fresh);
    return mix_number(h, w->fresh ? w->seed : 0);
}
