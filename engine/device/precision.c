#include "engine/device/device.h"

#include <errno.h>
#include <string.h>

static const char *const PRECISIONS[] = {"auto", "fp32", "bf16", "fp8", "fp8-emulated"};

int kt_precision_parse(enum kt_precision *out, const char *word, struct kt_error *err)
{
    for (int i = 0; i < (int)(sizeof(PRECISIONS) / sizeof(PRECISIONS[0])); i++) {
        if (strcmp(word, PRECISIONS[i]) == 0) {
            *out = (enum kt_precision)i;
            return 0;
        }
    }
    return kt_fail(err, -EINVAL, "precision '%s': expected " KT_PRECISION_LIST(""), word);
}

const char *kt_precision_name(enum kt_precision p)
{
    return PRECISIONS[p];
}

enum kt_precision kt_device_precision(const struct kt_device *dev)
{
    const int wide = dev->k.act_dtype == KT_F32;
    if (dev->f8) {
        return wide ? KT_PRECISION_FP8_EMULATED : KT_PRECISION_FP8;
    }
    return wide ? KT_PRECISION_FP32 : KT_PRECISION_BF16;
}
