/* A complete model directory with random weights, small enough for tests: every part that a real
 * one has, so that whatever runs on it runs the product's own loading and arithmetic.
 * Deterministic: same options, same bytes. */
#ifndef KT_TESTS_ENGINE_TINY_MODEL_H
#define KT_TESTS_ENGINE_TINY_MODEL_H

struct tiny_model_options {
    int absolute_rope;       /* else relative */
    int resink;              /* global_sink false */
    int window, sink, block; /* 0: 6, 1 and 2; window -1: unbounded */
    int preview;             /* a preview_vae beside the vae */
    const char *spiece;      /* path of a spiece.model to copy */
};

/* Writes the files into `dir` (which exists). Returns 0 or a negative errno, with a message on
 * stderr. */
int tiny_model_write(const char *dir, const struct tiny_model_options *o);

#endif
