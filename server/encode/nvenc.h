/* The GPU's own H.264 encoder (NVENC): whether this machine has one. Its pictures go through the
 * four verbs of encoder.h with codec KT_CODEC_H264.
 *
 * Nothing links against the driver: its two libraries are looked for when asked. Many GPUs have no
 * NVENC (H100, H200, A100, B200), others refuse a session when too many are open, and neither the
 * GPU's name nor a library that loads tells; only a session that opens does.
 *
 * Never run on a card that has NVENC: tests use a stand-in for the driver (tests/server/driver).
 *
 * Thread-safety: read-only after open; encoders on several threads may share it. */
#ifndef KT_SERVER_ENCODE_NVENC_H
#define KT_SERVER_ENCODE_NVENC_H

#include "engine/base/error.h"
#include "server/encode/encoder.h"

struct kt_nvenc;

struct kt_nvenc_params {
    int device;                 /* CUDA's number of the GPU */
    const char *cuda_library;   /* NULL: libcuda.so.1 */
    const char *encode_library; /* NULL: libnvidia-encode.so.1 */
};

/* Loads the driver, keeps the GPU's primary CUDA context, and tries out one session with the
 * settings `trial` (codec and nvenc in it do not count). Takes some 100 ms on a GPU nobody uses
 * yet. Errors: -ENOTSUP and one sentence that names the reason, also in a build without NVENC. */
int kt_nvenc_open(struct kt_nvenc **nvenc, const struct kt_nvenc_params *p,
                  const struct kt_encoder_params *trial, struct kt_error *err);
/* After the last encoder that uses it. NULL and *NULL accepted. */
void kt_nvenc_close(struct kt_nvenc **nvenc);
/* "avc1.PPCCLL", profile, constraints and level as the trial's stream says them; belongs to nvenc.
 * "" for NULL. */
const char *kt_nvenc_codec_string(const struct kt_nvenc *nvenc);

#endif
