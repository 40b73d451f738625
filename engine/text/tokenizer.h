/* Prompt text -> token ids (engine/MODEL.md, Text encoder): Wan's 'whitespace' cleaning,
 * SentencePiece unigram, eos.
 *
 * Thread-safety: a tokenizer is read-only after open. */
#ifndef KT_ENGINE_TEXT_TOKENIZER_H
#define KT_ENGINE_TEXT_TOKENIZER_H

#include "engine/base/error.h"

#include <stddef.h>
#include <stdint.h>

struct kt_tokenizer;

/* Loads a SentencePiece model (at most 64 MiB) whose end-of-sequence piece has id 1. Errors: as
 * kt_file_read, -EBADMSG not such a model, -ENOMEM, -ENOTSUP built without SentencePiece. */
int kt_tokenizer_open(struct kt_tokenizer **tok, const char *spiece_path, struct kt_error *err);
void kt_tokenizer_close(struct kt_tokenizer **tok);
/* Number of pieces: every id is below it. */
int kt_tokenizer_vocab(const struct kt_tokenizer *tok);

/* Html-unescape twice (the named entities of HTML 4 and numeric ones, as Python's html.unescape
 * resolves them), collapse runs of Unicode whitespace to one space, strip. `in` is `n` bytes, not
 * necessarily terminated; `out` may be `in`. Returns the length written to out (which is
 * NUL-terminated). Errors: -EILSEQ for invalid UTF-8 or a NUL (the message says at which byte),
 * -ENOSPC when cap is below n + 1, which is always enough. ftfy's mojibake repair, which upstream
 * also runs, is not reproduced, nor are the entities that only HTML 5 names. */
int kt_text_clean(const char *in, size_t n, char *out, size_t cap, struct kt_error *err);

/* Ids of cleaned text plus eos, at most `cap` (text_len, >= 1) with the eos kept last. Control
 * pieces typed by a user (`<pad>`, `</s>`, extra ids) are text, never control ids: they come out as
 * the pieces of their letters. May allocate. Returns the count, or -EINVAL, -EBADMSG (a forged
 * model), -ENOMEM. */
int kt_tokenizer_encode(const struct kt_tokenizer *tok, const char *text, size_t n, int32_t *ids,
                        int cap, struct kt_error *err);

#endif
