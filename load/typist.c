#include "load/typist.h"

#include "proto/utf8.h"

#include <string.h>

#define US INT64_C(1000)

static const struct kt_action *current(const struct kt_typist *t)
{
    return &t->script->actions[t->action];
}

/* How long the next thing takes, counted from the one before. */
static int64_t delay_us(struct kt_typist *t)
{
    const struct kt_action *a = current(t);
    if (a->kind == KT_ACTION_TYPE || a->kind == KT_ACTION_ERASE) {
        return kt_random_between(&t->random, KT_KEY_MS_MIN * US, KT_KEY_MS_MAX * US);
    }
    return a->ms * US;
}

void kt_typist_init(struct kt_typist *t, const struct kt_typist_params *p)
{
    memset(t, 0, sizeof(*t));
    t->script = p->script;
    t->random = kt_random_init(p->seed, (uint64_t)p->number);
    t->action = kt_script_start(p->script, p->number);
    t->key_us = p->start_us;
    t->due_us = p->start_us + delay_us(t);
}

static void advance(struct kt_typist *t)
{
    t->action = (t->action + 1) % t->script->count;
    t->keys = 0;
    t->offset = 0;
}

/* The script was played when it was read, so none of these can fail but for a start in its middle
 * whose text differs, and a start selects everything. */
static void type_key(struct kt_typist *t, const struct kt_action *a, struct kt_typed *out)
{
    const char *s = a->text + t->offset;
    const size_t n = kt_utf8_sequence(s, strlen(s));
    if (kt_box_insert(&t->box, s, n, &out->change) == 0) {
        out->kind = KT_TYPED_EDIT;
    }
    t->offset += n;
    if (!a->text[t->offset]) {
        advance(t);
    }
}

static void erase_key(struct kt_typist *t, const struct kt_action *a, struct kt_typed *out)
{
    if (kt_box_backspace(&t->box, &out->change) == 0) {
        out->kind = KT_TYPED_EDIT;
    }
    if (++t->keys == a->keys) {
        advance(t);
    }
}

static void act(struct kt_typist *t, int64_t at_us, struct kt_typed *out)
{
    const struct kt_action *a = current(t);
    *out = (struct kt_typed){.kind = KT_TYPED_NOTHING, .line = a->line};
    switch (a->kind) {
    case KT_ACTION_TYPE: type_key(t, a, out); return;
    case KT_ACTION_ERASE: erase_key(t, a, out); return;
    case KT_ACTION_PASTE:
        if (kt_box_insert(&t->box, a->text, strlen(a->text), &out->change) == 0) {
            out->kind = KT_TYPED_EDIT;
        }
        break;
    case KT_ACTION_SELECT: kt_box_select(&t->box, a->text); break;
    case KT_ACTION_CARET: kt_box_caret(&t->box, a->text); break;
    case KT_ACTION_ENTER:
        out->kind = KT_TYPED_ENTER;
        out->pause_ms = (int)((at_us - t->key_us) / US);
        break;
    case KT_ACTION_WAIT:
    case KT_ACTION_COUNT: break;
    }
    advance(t);
}

int kt_typist_next(struct kt_typist *t, int64_t now_us, struct kt_typed *out)
{
    if (now_us < t->due_us) {
        return 0;
    }
    const int64_t at_us = now_us - t->due_us > KT_KEY_MS_MIN * US ? now_us : t->due_us;
    act(t, at_us, out);
    if (out->kind == KT_TYPED_EDIT) {
        t->key_us = at_us;
    }
    t->due_us = at_us + delay_us(t);
    return 1;
}
