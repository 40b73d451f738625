#include "load/box.h"

#include "proto/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

void kt_box_clear(struct kt_box *b)
{
    memset(b, 0, sizeof(*b));
}

static int in_word(char c)
{
    return isalnum((unsigned char)c) || (unsigned char)c >= 0x80;
}

/* "red" is not in "scared". */
static const char *find_words(const char *text, const char *words)
{
    const size_t n = strlen(words);
    for (const char *s = strstr(text, words); s; s = strstr(s + 1, words)) {
        const int joined_before = s > text && in_word(s[-1]) && in_word(words[0]);
        const int joined_after = in_word(s[n]) && n > 0 && in_word(words[n - 1]);
        if (!joined_before && !joined_after) {
            return s;
        }
    }
    return NULL;
}

/* Code points before and in the first occurrence; NULL is everything. */
static int find(const struct kt_box *b, const char *words, int64_t *at, int64_t *n)
{
    const char *found = words ? find_words(b->text.bytes, words) : b->text.bytes;
    if (!found) {
        return -ENOENT;
    }
    *at = (int64_t)kt_utf8_count(b->text.bytes, (size_t)(found - b->text.bytes));
    *n = (int64_t)kt_utf8_count(found, words ? strlen(words) : b->text.n);
    return 0;
}

int kt_box_select(struct kt_box *b, const char *words)
{
    return find(b, words, &b->caret, &b->selected);
}

int kt_box_caret(struct kt_box *b, const char *words)
{
    int64_t at, n;
    if (find(b, words, &at, &n) < 0) {
        return -ENOENT;
    }
    b->caret = at + n;
    b->selected = 0;
    return 0;
}

/* The box needs no revisions: those on the wire are the connection's. */
static int splice(struct kt_box *b, const struct kt_keystroke *c)
{
    const struct kt_splice s = {
        .rev = 1, .base = 0, .at = c->at, .del = c->del, .ins = c->ins, .ins_n = c->ins_n};
    b->text.rev = 0;
    return kt_text_splice(&b->text, &s, NULL) < 0 ? -EFBIG : 0;
}

int kt_box_insert(struct kt_box *b, const char *s, size_t n, struct kt_keystroke *out)
{
    *out = (struct kt_keystroke){.at = b->caret, .del = b->selected, .ins = s, .ins_n = n};
    if (splice(b, out) < 0) {
        return -EFBIG;
    }
    b->caret += (int64_t)kt_utf8_count(s, n);
    b->selected = 0;
    return 0;
}

int kt_box_backspace(struct kt_box *b, struct kt_keystroke *out)
{
    const int64_t back = b->selected ? 0 : 1;
    if (b->caret < back) {
        return -ENOENT;
    }
    *out = (struct kt_keystroke){
        .at = b->caret - back, .del = back ? 1 : b->selected, .ins = "", .ins_n = 0};
    const int rc = splice(b, out);
    if (rc == 0) {
        b->caret -= back;
        b->selected = 0;
    }
    return rc;
}
