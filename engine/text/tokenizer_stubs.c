/* The tokenizer of a build without SentencePiece: golden cases and benchmarks need none. */
#include "engine/text/tokenizer.h"

#include <errno.h>

int kt_tokenizer_open(struct kt_tokenizer **tok, const char *spiece_path, struct kt_error *err)
{
    *tok = NULL;
    return kt_fail(err, -ENOTSUP,
                   "%s: this build has no SentencePiece, so prompts cannot be tokenized",
                   spiece_path);
}

void kt_tokenizer_close(struct kt_tokenizer **tok)
{
}

int kt_tokenizer_vocab(const struct kt_tokenizer *tok)
{
    return 0;
}

int kt_tokenizer_encode(const struct kt_tokenizer *tok, const char *text, size_t n, int32_t *ids,
                        int cap, struct kt_error *err)
{
    return kt_fail(err, -ENOTSUP, "this build has no SentencePiece");
}
