#include "server/change.h"

#include "server/wishes.h"

#include <errno.h>
#include <stdio.h>

enum { BLEND_BLOCKS = 2 };

_Static_assert((int)KT_BLEND_LIMIT == (int)KT_BLEND_MAX, "protocol and engine blend alike");

struct kt_settings kt_settings_default(void)
{
    return (struct kt_settings){
        .draft = 1,
        .preview = 1,
        .depth = 1,
        .change = {KT_NAME_NOW, KT_NAME_MODEL, BLEND_BLOCKS, KT_CHANGE_FULL},
    };
}

int kt_change_check(const struct kt_change *c, int window, const char *message,
                    struct kt_fault *fault)
{
    if (c->recache <= window || c->recache == KT_CHANGE_CHECKPOINT) {
        return 0;
    }
    char expected[64], found[32];
    snprintf(expected, sizeof(expected), "\"full\", \"checkpoint\" or 1 to %d", window);
    snprintf(found, sizeof(found), "%lld", (long long)c->recache);
    kt_fault_set(fault, KT_FAULT_OUT_OF_RANGE, "%s: more latents than the model's window", message);
    return kt_fault_detail(fault, "recache", expected, found);
}

static int64_t given(int64_t value, int64_t otherwise)
{
    return value < 0 ? otherwise : value;
}

struct kt_change kt_change_merge(const struct kt_change *settings, const struct kt_change *c)
{
    return (struct kt_change){
        .cut = given(c->cut, settings->cut),
        .transition = given(c->transition, settings->transition),
        .blend = given(c->blend, settings->blend),
        .recache = given(c->recache, settings->recache),
    };
}

int kt_settings_set(struct kt_settings *s, const struct kt_client_message *m, int window,
                    struct kt_fault *fault)
{
    const int rc = kt_change_check(&m->set.change, window, "set", fault);
    if (rc < 0) {
        return rc;
    }
    s->draft = (int)given(m->set.draft, s->draft);
    s->preview = (int)given(m->set.preview, s->preview);
    s->depth = (int)given(m->set.depth, s->depth);
    s->change = kt_change_merge(&s->change, &m->set.change);
    return 0;
}

struct kt_wish kt_change_wish(const struct kt_change *c, uint32_t revision)
{
    static const enum kt_transition transitions[] = {
        [KT_NAME_MODEL] = KT_TRANSITION_MODEL,
        [KT_NAME_CUT] = KT_TRANSITION_CUT,
        [KT_NAME_SCENE] = KT_TRANSITION_SCENE,
        [KT_NAME_BLEND] = KT_TRANSITION_MODEL,
    };
    static const enum kt_cut cuts[] = {
        [KT_NAME_NOW] = KT_CUT_NOW,
        [KT_NAME_LATENT] = KT_CUT_LATENT,
        [KT_NAME_BLOCK] = KT_CUT_BLOCK,
    };
    struct kt_wish w = kt_wish_plain(revision);
    w.cut = cuts[c->cut];
    w.transition = transitions[c->transition];
    w.blend = c->transition == KT_NAME_BLEND ? (int)c->blend : 0;
    w.recache = c->recache == KT_CHANGE_CHECKPOINT ? KT_RECACHE_CHECKPOINT : (int)c->recache;
    return w;
}
