/* Which words of a prompt does the model know? For receipts: it pretends nothing.
 *
 * Thread-safety: read-only after create. */
#ifndef KT_SERVER_VOCABULARY_H
#define KT_SERVER_VOCABULARY_H

#include "proto/limits.h"

struct kt_vocabulary_index;

struct kt_known {
    int words; /* without fillers such as "a" and "over the" */
    int known; /* -1: the model lists no vocabulary */
    int unknown_count;
    char unknown[KT_UNKNOWN_WORDS_MAX][KT_UNKNOWN_WORD_CHARS_MAX * 4 + 1];
};

/* `words`: NULL-terminated list, copied; NULL or empty: nothing is listed. -ENOMEM. */
int kt_vocabulary_index_create(struct kt_vocabulary_index **v, const char *const *words);
void kt_vocabulary_index_destroy(struct kt_vocabulary_index **v);
/* `text`: valid UTF-8. Case is folded for ASCII only. */
void kt_vocabulary_look_up(const struct kt_vocabulary_index *v, const char *text,
                           struct kt_known *out);

#endif
