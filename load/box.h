/* The text box of a typing person: text, caret and selection, and the splice that each key makes.
 *
 * Thread-safety: plain data, one thread at a time. */
#ifndef KT_LOAD_BOX_H
#define KT_LOAD_BOX_H

#include "proto/edit.h"

#include <stddef.h>
#include <stdint.h>

struct kt_box {
    struct kt_text text;
    int64_t caret;    /* code points before it */
    int64_t selected; /* code points after the caret that the next key replaces */
};

/* One change of the text, in code points, as the protocol counts them. */
struct kt_keystroke {
    int64_t at, del;
    const char *ins; /* the caller's, or "" */
    size_t ins_n;    /* bytes */
};

void kt_box_clear(struct kt_box *b);
/* Selects everything (NULL) or the first place where `words` stands as whole words. -ENOENT: it
 * does not. */
int kt_box_select(struct kt_box *b, const char *words);
/* Puts the caret behind that place, or at the end (NULL). */
int kt_box_caret(struct kt_box *b, const char *words);
/* A key, or what is pasted: n bytes of valid UTF-8 replace the selection. -EFBIG: the text would be
 * too long. */
int kt_box_insert(struct kt_box *b, const char *s, size_t n, struct kt_keystroke *out);
/* Backspace: the selection, or the code point before the caret. -ENOENT: there is none. */
int kt_box_backspace(struct kt_box *b, struct kt_keystroke *out);

#endif
