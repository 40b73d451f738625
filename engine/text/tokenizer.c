#include "engine/text/tokenizer.h"

#include <errno.h>
#include <stdlib.h>

#include "engine/base/assert.h"
#include "engine/base/file.h"
#include "engine/base/name.h"
#include "engine/text/spm_model.h"
#include "engine/text/spm_shim.h"

enum { EOS = 1, MODEL_BYTES_MAX = 64 << 20 }; /* umt5-xxl's model is 4.5 MB */

struct kt_tokenizer {
    struct kt_spm *spm;
};

static int open_model(struct kt_spm **spm, const char *model, size_t n, struct kt_error *err)
{
    char message[256] = "";
    char *disarmed;
    size_t disarmed_n;
    int r = kt_spm_model_disarm(model, n, &disarmed, &disarmed_n, err);

    if (r < 0) {
        return r;
    }
    r = kt_spm_open(spm, disarmed, disarmed_n, message, sizeof(message));
    free(disarmed);
    if (r < 0) {
        return kt_fail(err, r, "expected a SentencePiece model: %s", kt_name_show(message).text);
    }
    if (kt_spm_eos(*spm) != EOS) {
        return kt_fail(err, -EBADMSG, "expected the end-of-sequence piece at id %d, found %d", EOS,
                       kt_spm_eos(*spm));
    }
    return 0;
}

int kt_tokenizer_open(struct kt_tokenizer **tok, const char *spiece_path, struct kt_error *err)
{
    struct kt_tokenizer *t = calloc(1, sizeof(*t));
    char *model = NULL;
    size_t n;
    int r;

    *tok = NULL;
    if (!t) {
        return kt_fail(err, -ENOMEM, "%s: out of memory", spiece_path);
    }
    r = kt_file_read(spiece_path, MODEL_BYTES_MAX, &model, &n, err);
    if (r == 0 && (r = open_model(&t->spm, model, n, err)) < 0) {
        kt_fail_prefix(err, r, "%s", spiece_path);
    }
    free(model);
    if (r < 0) {
        kt_tokenizer_close(&t);
        return r;
    }
    *tok = t;
    return 0;
}

void kt_tokenizer_close(struct kt_tokenizer **tok)
{
    if (!tok || !*tok) {
        return;
    }
    kt_spm_close(&(*tok)->spm);
    free(*tok);
    *tok = NULL;
}

int kt_tokenizer_vocab(const struct kt_tokenizer *tok)
{
    return kt_spm_size(tok->spm);
}

int kt_tokenizer_encode(const struct kt_tokenizer *tok, const char *text, size_t n, int32_t *ids,
                        int cap, struct kt_error *err)
{
    KT_ASSERT(cap >= 1);
    const int r = kt_spm_encode(tok->spm, text, n, ids, cap - 1);
    if (r < 0) {
        return kt_fail(err, r, "cannot tokenize %zu bytes of text", n);
    }
    for (int i = 0; i < r; i++) { /* a sound model cannot, a forged one may (byte pieces) */
        if (kt_spm_is_control(tok->spm, ids[i])) {
            return kt_fail(err, -EBADMSG, "the tokenizer's model turns text into control id %d",
                           (int)ids[i]);
        }
    }
    ids[r] = EOS;
    return r + 1;
}
