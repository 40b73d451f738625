/* A serialized SentencePiece model as bytes: what has to be changed in it before it is loaded.
 *
 * Thread-safety: pure functions. */
#ifndef KT_ENGINE_TEXT_SPM_MODEL_H
#define KT_ENGINE_TEXT_SPM_MODEL_H

#include "engine/base/error.h"

#include <stddef.h>

/* Copies `model` [n] to new memory (*out, *out_n; the caller frees it) with every extra-id piece
 * (`<extra_id_7>`, with or without the leading U+2581) turned into an unused one, so that no text
 * can produce its id. Pieces of type control need nothing: SentencePiece never matches them against
 * text. Errors: -EBADMSG malformed, -ENOMEM. */
int kt_spm_model_disarm(const char *model, size_t n, char **out, size_t *out_n,
                        struct kt_error *err);

#endif
