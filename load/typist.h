/* One typing person: plays a script on whatever clock the caller has, key by key.
 *
 * What is typed depends on the script, the start and the seed alone. Somebody who was held up
 * (the caller came late) goes on from there and does not hurry after.
 *
 * Thread-safety: plain data, one thread at a time. */
#ifndef KT_LOAD_TYPIST_H
#define KT_LOAD_TYPIST_H

#include "load/box.h"
#include "load/random.h"
#include "load/script.h"

enum {
    KT_KEY_MS_MIN = 120, /* between two keys */
    KT_KEY_MS_MAX = 250,
};

enum kt_typed_kind { KT_TYPED_NOTHING, KT_TYPED_EDIT, KT_TYPED_ENTER };

struct kt_typed {
    enum kt_typed_kind kind;
    struct kt_keystroke change; /* EDIT; its text lives as long as the script */
    int pause_ms;               /* ENTER: since the last key that changed the text */
    int line;                   /* of the script */
};

struct kt_typist {
    const struct kt_script *script;
    struct kt_random random;
    struct kt_box box;
    int action;     /* the next one */
    int keys;       /* of it, done already */
    size_t offset;  /* TYPE: bytes of its text typed already */
    int64_t due_us; /* when the next thing happens */
    int64_t key_us; /* the last key that changed the text */
};

struct kt_typist_params {
    const struct kt_script *script; /* outlives the typist */
    uint64_t seed;
    int number; /* which person: chooses the start and the rhythm */
    int64_t start_us;
};

void kt_typist_init(struct kt_typist *t, const struct kt_typist_params *p);
/* Does the next thing if it is due by now_us: 1 and *out, or 0 when nothing is due. Never ends. */
int kt_typist_next(struct kt_typist *t, int64_t now_us, struct kt_typed *out);

#endif
