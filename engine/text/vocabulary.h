/* Which words of a prompt a model has ever seen. A small model is trained on a closed vocabulary;
 * what it was not told of it cannot draw, and the person who typed it should be told so. Large
 * models list nothing, and everything counts as known to them.
 *
 * A word is a run of letters and digits; anything else separates words, but for an apostrophe
 * inside one. Upper and lower case are the same for ASCII letters; a possessive 's does not count.
 * Words that only join others ("a", "over", "the") are neither known nor unknown: that a model has
 * seen "a" says nothing about "a xylophone".
 *
 * Thread-safety: a list is read-only after open. */
#ifndef KT_ENGINE_TEXT_VOCABULARY_H
#define KT_ENGINE_TEXT_VOCABULARY_H

#include "engine/base/error.h"

#include <stddef.h>

enum { KT_WORD_BYTES_MAX = 64, KT_UNKNOWN_LISTED_MAX = 8, KT_UNKNOWN_LISTED_CHARS_MAX = 32 };

struct kt_word_report {
    int known, unknown; /* words of the text; both 0 for a text without any that count */
    int listed;         /* different unknown words listed, at most KT_UNKNOWN_LISTED_MAX */
    char words[KT_UNKNOWN_LISTED_MAX][KT_WORD_BYTES_MAX]; /* lower case, cut to
                                                             KT_UNKNOWN_LISTED_CHARS_MAX */
};

struct kt_word_list;

/* From a NULL-terminated list (kt_model_config's vocabulary.known_words; entries may hold several
 * words), copied. NULL gives a list that knows everything. -ENOMEM. */
int kt_word_list_open(struct kt_word_list **list, char *const *known_words, struct kt_error *err);
void kt_word_list_close(struct kt_word_list **list);
int kt_word_list_knows_all(const struct kt_word_list *list);

/* Judges `text` [n], valid UTF-8. Allocates nothing. */
void kt_word_list_judge(const struct kt_word_list *list, const char *text, size_t n,
                        struct kt_word_report *report);

#endif
