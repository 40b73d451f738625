/* What a build without the NVENC headers answers (meson option `nvenc`). */
#include "server/encode/nvenc.h"

#include <errno.h>

int kt_nvenc_open(struct kt_nvenc **nvenc, const struct kt_nvenc_params *p,
                  const struct kt_encoder_params *trial, struct kt_error *err)
{
    return kt_fail(err, -ENOTSUP,
                   "this build has no NVENC; install libffmpeg-nvenc-dev and configure with "
                   "-Dnvenc=enabled");
}

void kt_nvenc_close(struct kt_nvenc **nvenc)
{
}

const char *kt_nvenc_codec_string(const struct kt_nvenc *nvenc)
{
    return "";
}

static int no_open(void **state, const struct kt_encoder_params *p, struct kt_error *err)
{
    return kt_nvenc_open(NULL, NULL, NULL, err);
}

static int no_encode(void *state, const struct kt_encode_job *job, int *key, struct kt_error *err)
{
    return kt_fail(err, -ENOTSUP, "encoder: not in this build");
}

static void no_close(void *state)
{
}

const struct kt_encoder_ops kt_encoder_nvenc = {no_open, no_encode, no_close};
