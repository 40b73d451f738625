/* Prompt text -> token ids (model.md, Text): Wan's 'whitespace' cleaning, SentencePiece unigram,
 * eos.
 *
 * Thread-safety: a tokenizer is read-only after open. */
#ifndef KT_ENGINE_TEXT_TOKENIZER_H
#define KT_ENGINE_TEXT_TOKENIZER_H

#include "engine/base/error.h"

#include <stddef.h>
#include <stdint.h>

struct kt_tokenizer;

int kt_tokenizer_open(struct kt_tokenizer **tok, const char *spiece_path, struct kt_error *err);
void kt_tokenizer_close(struct kt_tokenizer **tok);
int kt_tokenizer_vocab(const struct kt_tokenizer *tok);

/* Html-unescape twice (named basic and numeric entities), collapse runs of Unicode whitespace to
 * one space, strip. `in` is `n` bytes, not necessarily terminated. Returns the length written to
 * out (which is NUL-terminated; a cap of n + 1 is always enough), -EILSEQ for invalid UTF-8 (the
 * message says at which byte), -ENOSPC. ftfy's mojibake repair, which upstream also runs, is not
 * reproduced. */
int kt_text_clean(const char *in, size_t n, char *out, size_t cap, struct kt_error *err);

/* Ids of cleaned text plus eos, at most `cap` (text_len) with the eos kept last. Control pieces
 * typed by a user (`<pad>`, `</s>`, extra ids) are text, never control ids. Returns the count or a
 * negative errno. */
int kt_tokenizer_encode(const struct kt_tokenizer *tok, const char *text, size_t n, int32_t *ids,
                        int cap, struct kt_error *err);

#endif
