/* A list of takes: streams to make one after the other, each with its seed, its prompt and at most
 * one change of prompt. JSON, one object a line:
 *
 *   {"seed": 7, "prompt": "a red ball", "switch": "a blue ring", "at": 57, "transition": "cut"}
 *
 * `prompt` and `switch` are text, or an array of token ids as the tokenizer gives them (the
 * end-of-sequence id included), for builds without a tokenizer. `switch` may be missing; with it
 * comes `at`, the first frame it may change, and, if not the model's own, `transition`: "cut" (the
 * sink is kept) or "scene" (it is rewritten); `recache`: only the last so many latents; `blend`: 2
 * to 16 blocks over which the prompt moves, each after a recache of one block, as the scheduler
 * does it. Other members are left alone.
 *
 * Thread-safety: read-only after opening, any thread. */
#ifndef KT_CLI_TAKES_H
#define KT_CLI_TAKES_H

#include "engine/engine.h"

#include <jansson.h>

/* A prompt: text, or ids where `text` is NULL; nothing where both are missing. */
struct kt_take_words {
    const char *text;
    size_t bytes;
    int32_t *ids;
    int count;
};

struct kt_take {
    uint64_t seed;
    struct kt_take_words prompt, change;
    int at, recache, blend;
    enum kt_transition transition;
};

struct kt_takes {
    struct kt_take *take;
    int count;
    json_t *lines; /* owns the text */
};

/* Reads and checks all of `path` (at most 64 MiB). Messages name the line. Errors: -EBADMSG, those
 * of kt_file_read. On error nothing is held. */
int kt_takes_open(struct kt_takes *takes, const char *path, struct kt_error *err);
void kt_takes_close(struct kt_takes *takes);

#endif
