/* SentencePiece behind C: the only file that sees its C++ API. No exception leaves it.
 *
 * Thread-safety: a processor is read-only after open. */
#ifndef KT_ENGINE_TEXT_SPM_SHIM_H
#define KT_ENGINE_TEXT_SPM_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kt_spm;

/* From a serialized model of n bytes (not kept). On error `message` [cap] says why. -EBADMSG,
 * -ENOMEM. */
int kt_spm_open(struct kt_spm **spm, const void *model, size_t n, char *message, size_t cap);
void kt_spm_close(struct kt_spm **spm);
int kt_spm_size(const struct kt_spm *spm);
/* Id of the end-of-sequence control piece, -1 when the model has none. */
int kt_spm_eos(const struct kt_spm *spm);
int kt_spm_is_control(const struct kt_spm *spm, int id);

/* Writes the first `cap` ids of `text` [n]; returns how many were written, or -EINVAL, -ENOMEM. */
int kt_spm_encode(const struct kt_spm *spm, const char *text, size_t n, int32_t *ids, int cap);

#ifdef __cplusplus
}
#endif

#endif
