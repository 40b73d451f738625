/* Encoded prompts: an LRU by cleaned text over a fixed pool, so that a prompt typed again, or by
 * somebody else, costs nothing. A context that a timeline holds is never recycled. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/parts.h"

static struct kt_context *find(struct kt_engine *e, const char *text)
{
    for (int i = 0; i < e->contexts_max; i++) {
        if (e->contexts[i].has_text && strcmp(e->contexts[i].text, text) == 0) {
            return &e->contexts[i];
        }
    }
    return NULL;
}

static struct kt_context *recycle(struct kt_engine *e)
{
    struct kt_context *oldest = NULL;
    for (int i = 0; i < e->contexts_max; i++) {
        struct kt_context *c = &e->contexts[i];
        if (c->refs == 0 && (!oldest || c->used < oldest->used)) {
            oldest = c;
        }
    }
    if (oldest) {
        oldest->has_text = 0;
    }
    return oldest;
}

static void hold(struct kt_context *c)
{
    c->refs++;
    c->used = ++c->engine->lru_clock;
}

/* The encoder's rows stay with the context, so that two can be blended. */
static int keep_rows(struct kt_context *c, int rows)
{
    struct kt_engine *e = c->engine;
    size_t row = (size_t)e->config.dit.text_dim * e->dev->act_size;
    size_t left = (size_t)(e->config.dit.text_len - rows);
    int rc = rows ? e->dev->k.copy_rows(e->dev->q, c->rows, row, e->text_rows, row, rows, row) : 0;
    if (rc == 0 && left > 0) {
        rc = kt_device_zero(e->dev, (char *)c->rows + row * (size_t)rows, row * left);
    }
    c->row_count = rows;
    return rc;
}

/* What was encoded into text_rows, in the place of the context longest unused, held by the caller.
 * The last step of every way to a context: a prompt that is refused evicts nothing. */
static int replace_oldest(struct kt_engine *e, struct kt_context **ctx, int rows,
                          struct kt_error *err)
{
    struct kt_context *c = recycle(e);
    if (!c) {
        return kt_fail(err, -ENOBUFS, "all %d prompt contexts are in use", e->contexts_max);
    }
    int rc = kt_dit_context_fill(e->dit, &c->dit, e->text_rows, rows, err);
    if (rc == 0 && (rc = keep_rows(c, rows)) < 0) {
        kt_fail(err, rc, "context: a device operation failed (%d)", rc);
    }
    if (rc < 0) {
        return rc;
    }
    hold(c);
    *ctx = c;
    return 0;
}

/* Ids for an encoder whose weights are random: no word means anything to it, but other words must
 * be other ids, and as many as a vocabulary would make of them. Four bytes an id, which is about
 * what English takes, scattered over the vocabulary (0 is padding). No text is one id, the end. */
static int ids_of_bytes(const char *text, size_t n, int vocab, int32_t *ids, int cap)
{
    enum { BYTES = 4 };
    int count = 0;
    for (size_t i = 0; i < n && count < cap - 1; i += BYTES) {
        uint32_t word = 0;
        for (size_t j = i; j < n && j < i + BYTES; j++) {
            word = word << 8 | (unsigned char)text[j];
        }
        ids[count++] = vocab > 1 ? 1 + (int32_t)(word * 2654435761u % (uint32_t)(vocab - 1)) : 0;
    }
    ids[count++] = vocab > 1;
    return count;
}

static int encode(struct kt_engine *e, const char *text, size_t n, int *rows, struct kt_error *err)
{
    int32_t ids[1024];
    int cap = e->config.text.text_len < 1024 ? e->config.text.text_len : 1024;
    int count = e->tokenizer ? kt_tokenizer_encode(e->tokenizer, text, n, ids, cap, err)
                             : ids_of_bytes(text, n, e->config.text.vocab, ids, cap);
    if (count < 0) {
        return count;
    }
    *rows = count < e->config.dit.text_len ? count : e->config.dit.text_len;
    e->encodings++;
    return kt_text_encoder_run(e->encoder, ids, count, e->text_rows, err);
}

int kt_context_from_text(struct kt_engine *e, struct kt_context **ctx, const char *text, size_t n,
                         struct kt_error *err)
{
    char clean[KT_PROMPT_BYTES_MAX + 1];
    if (!e->encoder || (!e->tokenizer && !e->random_weights)) {
        return kt_fail(err, -ENOTSUP, "model '%s' has no %s", e->config.name,
                       e->encoder ? "tokenizer in this build" : "text encoder");
    }
    if (n > KT_PROMPT_BYTES_MAX) {
        return kt_fail(err, -EMSGSIZE, "prompt: expected at most %d bytes, found %zu",
                       KT_PROMPT_BYTES_MAX, n);
    }
    int length = kt_text_clean(text, n, clean, sizeof(clean), err);
    if (length < 0) {
        return length;
    }
    struct kt_context *c = find(e, clean);
    if (c) {
        hold(c);
        *ctx = c;
        return 0;
    }
    int rows = 0, rc = encode(e, clean, (size_t)length, &rows, err);
    rc = rc < 0 ? rc : replace_oldest(e, ctx, rows, err);
    if (rc == 0) {
        memcpy((*ctx)->text, clean, (size_t)length + 1);
        (*ctx)->has_text = 1;
    }
    return rc;
}

int kt_context_from_rows(struct kt_engine *e, struct kt_context **ctx, const float *rows, int n,
                         struct kt_error *err)
{
    if (n < 0 || n > e->config.dit.text_len) {
        return kt_fail(err, -EINVAL, "context: expected 0 to %d rows, found %d",
                       e->config.dit.text_len, n);
    }
    size_t floats = (size_t)n * (size_t)e->config.dit.text_dim;
    int rc = kt_device_upload(e->dev, e->text_given, rows, floats * sizeof(float));
    if (rc < 0 || (rc = e->dev->k.to_act(e->dev->q, e->text_rows, e->text_given, floats)) < 0) {
        return rc;
    }
    return replace_oldest(e, ctx, n, err);
}

int kt_context_from_ids(struct kt_engine *e, struct kt_context **ctx, const int32_t *ids, int n,
                        struct kt_error *err)
{
    if (!e->encoder) {
        return kt_fail(err, -ENOTSUP, "model '%s' has no text encoder", e->config.name);
    }
    int rows = n < e->config.dit.text_len ? n : e->config.dit.text_len;
    int rc = kt_text_encoder_run(e->encoder, ids, n, e->text_rows, err);
    return rc < 0 ? rc : replace_oldest(e, ctx, rows, err);
}

/* (1 - weight) a + weight b is the sampler's step with nothing to take away and b for noise. */
static int mix_rows(struct kt_engine *e, const struct kt_context *a, const struct kt_context *b,
                    float weight, int rows)
{
    size_t n = (size_t)rows * (size_t)e->config.dit.text_dim;
    struct kt_sample_step_args mix = {.x = e->text_given,
                                      .v = e->text_mixed,
                                      .noise = e->text_mixed,
                                      .sigma_next = weight,
                                      .n = (int)n};
    int rc = e->dev->k.to_f32(e->dev->q, e->text_given, a->rows, n);
    if (rc == 0) {
        rc = e->dev->k.to_f32(e->dev->q, e->text_mixed, b->rows, n);
    }
    if (rc == 0) {
        rc = e->dev->k.sample_step(e->dev->q, &mix);
    }
    return rc < 0 ? rc : e->dev->k.to_act(e->dev->q, e->text_rows, e->text_given, n);
}

int kt_context_blend(struct kt_engine *e, struct kt_context **ctx, const struct kt_context *a,
                     const struct kt_context *b, float weight, struct kt_error *err)
{
    if (a->engine != e || b->engine != e || a->refs < 1 || b->refs < 1) {
        return kt_fail(err, -EINVAL, "blend: both prompts must be held, and of this engine");
    }
    if (!(weight >= 0 && weight <= 1)) {
        return kt_fail(err, -EINVAL, "blend: expected a weight from 0 to 1, found %g",
                       (double)weight);
    }
    int rows = a->row_count > b->row_count ? a->row_count : b->row_count;
    if (weight == 0 || weight == 1) { /* zeros that are the prompt's cost bits, not meaning */
        rows = weight == 0 ? a->row_count : b->row_count;
    }
    int rc = rows ? mix_rows(e, a, b, weight, rows) : 0;
    return rc < 0 ? kt_fail(err, rc, "blend: a device operation failed (%d)", rc)
                  : replace_oldest(e, ctx, rows, err);
}

struct kt_context *kt_context_ref(struct kt_context *c)
{
    if (c) {
        KT_ASSERT(c->refs > 0);
        c->refs++;
    }
    return c;
}

void kt_context_unref(struct kt_context **c)
{
    if (c && *c) {
        KT_ASSERT((*c)->refs > 0);
        (*c)->refs--;
        *c = NULL;
    }
}
