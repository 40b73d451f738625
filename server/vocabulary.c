#include "server/vocabulary.h"

#include "proto/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_BYTES_MAX = KT_UNKNOWN_WORD_CHARS_MAX * 4 };

struct kt_vocabulary_index {
    char **words; /* sorted, lower case */
    size_t count;
};

/* Words that join others: they count neither as known nor as unknown. */
static const char *const fillers[] = {"a",    "an",   "and",   "are",  "as",  "at",   "by",
                                      "for",  "from", "in",    "is",   "it",  "its",  "near",
                                      "of",   "on",   "or",    "over", "the", "then", "there",
                                      "this", "to",   "under", "with", NULL};

static void fold(char *s)
{
    for (; *s; s++) {
        *s = (char)((unsigned char)*s < 0x80 ? tolower((unsigned char)*s) : *s);
    }
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int kt_vocabulary_index_create(struct kt_vocabulary_index **index, const char *const *words)
{
    struct kt_vocabulary_index *v = calloc(1, sizeof(*v));
    size_t count = 0;
    while (words && words[count]) {
        count++;
    }
    if (v) {
        v->words = calloc(count + 1, sizeof(*v->words));
    }
    if (!v || !v->words) {
        kt_vocabulary_index_destroy(&v);
        return -ENOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        v->words[i] = strdup(words[i]);
        if (!v->words[i]) {
            kt_vocabulary_index_destroy(&v);
            return -ENOMEM;
        }
        fold(v->words[i]);
        v->count++;
    }
    qsort(v->words, v->count, sizeof(*v->words), compare);
    *index = v;
    return 0;
}

void kt_vocabulary_index_destroy(struct kt_vocabulary_index **index)
{
    struct kt_vocabulary_index *v = *index;
    *index = NULL;
    for (size_t i = 0; v && i < v->count; i++) {
        free(v->words[i]);
    }
    if (v) {
        free(v->words);
        free(v);
    }
}

static int is_letter(char c)
{
    return (unsigned char)c >= 0x80 || isalnum((unsigned char)c) || c == '\'' || c == '-';
}

static int is_filler(const char *word)
{
    for (int i = 0; fillers[i]; i++) {
        if (strcmp(word, fillers[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

/* Copies the next word, folded and cut, into `word`; returns where to go on, or NULL at the end. */
static const char *next_word(const char *s, char *word)
{
    while (*s && !is_letter(*s)) {
        s++;
    }
    if (!*s) {
        return NULL;
    }
    size_t n = 0;
    while (s[n] && is_letter(s[n])) {
        n++;
    }
    const size_t chars_end = kt_utf8_offset(s, n, KT_UNKNOWN_WORD_CHARS_MAX);
    const size_t kept = chars_end == (size_t)-1 ? n : chars_end;
    memcpy(word, s, kept);
    word[kept] = '\0';
    fold(word);
    return s + n;
}

static int listed(const struct kt_known *out, const char *word)
{
    for (int i = 0; i < out->unknown_count; i++) {
        if (strcmp(out->unknown[i], word) == 0) {
            return 1;
        }
    }
    return 0;
}

void kt_vocabulary_look_up(const struct kt_vocabulary_index *v, const char *text,
                           struct kt_known *out)
{
    char buffer[WORD_BYTES_MAX + 1];
    char *word = buffer;
    memset(out, 0, sizeof(*out));
    for (const char *s = text; (s = next_word(s, word));) {
        if (is_filler(word)) {
            continue;
        }
        out->words++;
        if (v->count && bsearch(&word, v->words, v->count, sizeof(*v->words), compare)) {
            out->known++;
        } else if (v->count && out->unknown_count < KT_UNKNOWN_WORDS_MAX && !listed(out, word)) {
            strcpy(out->unknown[out->unknown_count++], word);
        }
    }
    if (v->count == 0) {
        out->known = -1;
    }
}
