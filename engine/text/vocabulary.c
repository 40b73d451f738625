#include "engine/text/vocabulary.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/text/utf8.h"

struct word {
    char text[KT_WORD_BYTES_MAX];
};

struct kt_word_list {
    int knows_all;
    struct word *words; /* sorted */
    size_t n;
};

enum { APOSTROPHE = 0x2019 };

static const struct word FILLERS[] = {
    {"a"},   {"an"},   {"and"},   {"are"},  {"as"},   {"at"},    {"by"},   {"for"}, {"from"},
    {"in"},  {"is"},   {"it"},    {"its"},  {"near"}, {"of"},    {"on"},   {"or"},  {"over"},
    {"the"}, {"then"}, {"there"}, {"this"}, {"to"},   {"under"}, {"with"},
};

/* Letters and digits: every code point but white space, controls, and the blocks of punctuation and
 * symbols that people type between words. */
static int is_word_part(uint32_t c)
{
    if (c < 0x80) {
        return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    }
    return c >= 0xC0 && c != 0xD7 && c != 0xF7 && !kt_unicode_is_space(c) &&
           !(c >= 0x2000 && c <= 0x206F) && !(c >= 0x3000 && c <= 0x3004) &&
           !(c >= 0x3008 && c <= 0x3020) && !(c >= 0xFF00 && c <= 0xFF0F) &&
           !(c >= 0xFF1A && c <= 0xFF20) && c != 0xFEFF;
}

/* Drops what an apostrophe leaves behind at the end: "star's" and "stars'" are about stars. */
static size_t trim_possessive(const char *s, size_t n)
{
    if (n > 2 && s[n - 2] == '\'' && s[n - 1] == 's') {
        return n - 2;
    }
    return n > 1 && s[n - 1] == '\'' ? n - 1 : n;
}

/* Appends a code point in lower case. What does not fit is lost, and everything after it. */
static void append(struct word *w, size_t *n, int *full, uint32_t c)
{
    char bytes[4];
    const size_t length = kt_utf8_encode(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c, bytes);

    *full |= *n + length >= sizeof(w->text);
    if (!*full) {
        memcpy(w->text + *n, bytes, length);
        *n += length;
    }
}

/* Takes the next word of [*at, n) into *w; 0 when there is none. */
static int next_word(const char *text, size_t n, size_t *at, struct word *w)
{
    size_t length = 0;
    int full = 0;

    while (*at < n) {
        uint32_t c;
        const size_t taken = kt_utf8_decode(text + *at, n - *at, &c);
        KT_ASSERT(taken > 0);
        if (is_word_part(c)) {
            append(w, &length, &full, c);
        } else if (length > 0 && (c == '\'' || c == APOSTROPHE)) {
            append(w, &length, &full, '\'');
        } else if (length > 0) {
            break;
        }
        *at += taken;
    }
    length = trim_possessive(w->text, length);
    memset(w->text + length, 0, sizeof(w->text) - length);
    return length > 0;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(((const struct word *)a)->text, ((const struct word *)b)->text);
}

/* Counts the words of all entries, and stores them where there is room to. */
static size_t split_entries(char *const *entries, struct word *words)
{
    size_t count = 0;

    for (char *const *e = entries; *e; e++) {
        struct word w;
        for (size_t at = 0; next_word(*e, strlen(*e), &at, &w);) {
            if (words) {
                words[count] = w;
            }
            count++;
        }
    }
    return count;
}

int kt_word_list_open(struct kt_word_list **list, char *const *known_words, struct kt_error *err)
{
    struct kt_word_list *l = calloc(1, sizeof(*l));

    *list = NULL;
    if (!l) {
        return kt_fail(err, -ENOMEM, "out of memory for the word list");
    }
    l->knows_all = !known_words;
    l->n = known_words ? split_entries(known_words, NULL) : 0;
    if (!(l->words = calloc(l->n + 1, sizeof(*l->words)))) {
        free(l);
        return kt_fail(err, -ENOMEM, "out of memory for the word list");
    }
    if (known_words) {
        split_entries(known_words, l->words);
    }
    qsort(l->words, l->n, sizeof(*l->words), by_text);
    *list = l;
    return 0;
}

void kt_word_list_close(struct kt_word_list **list)
{
    if (!list || !*list) {
        return;
    }
    free((*list)->words);
    free(*list);
    *list = NULL;
}

int kt_word_list_knows_all(const struct kt_word_list *list)
{
    return list->knows_all;
}

static int is_in(const struct word *w, const struct word *words, size_t n)
{
    return bsearch(w, words, n, sizeof(*w), by_text) != NULL;
}

/* Zeroes what comes after the first so many characters. */
static void cut(struct word *w)
{
    size_t at = 0;
    uint32_t c;

    for (int i = 0; i < KT_UNKNOWN_LISTED_CHARS_MAX && w->text[at] != '\0'; i++) {
        at += kt_utf8_decode(w->text + at, sizeof(w->text) - at, &c);
    }
    memset(w->text + at, 0, sizeof(w->text) - at);
}

static void mention(struct kt_word_report *report, struct word *w)
{
    cut(w);
    for (int i = 0; i < report->listed; i++) {
        if (strcmp(report->words[i], w->text) == 0) {
            return;
        }
    }
    if (report->listed < KT_UNKNOWN_LISTED_MAX) {
        memcpy(report->words[report->listed++], w->text, sizeof(w->text));
    }
}

void kt_word_list_judge(const struct kt_word_list *list, const char *text, size_t n,
                        struct kt_word_report *report)
{
    struct word w;

    *report = (struct kt_word_report){0};
    for (size_t at = 0; next_word(text, n, &at, &w);) {
        if (is_in(&w, FILLERS, sizeof(FILLERS) / sizeof(FILLERS[0]))) {
            continue;
        }
        if (list->knows_all || is_in(&w, list->words, list->n)) {
            report->known++;
        } else {
            report->unknown++;
            mention(report, &w);
        }
    }
}
