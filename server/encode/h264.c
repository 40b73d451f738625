#include "server/encode/h264.h"

#include <errno.h>
#include <stdio.h>

enum { NAL_TYPE = 31, NAL_SPS = 7 };

int kt_h264_codec_string(char out[KT_H264_STRING_BYTES], const uint8_t *stream, size_t n)
{
    for (size_t i = 0; i + 7 <= n; i++) {
        const uint8_t *nal = stream + i + 3;
        if (stream[i] == 0 && stream[i + 1] == 0 && stream[i + 2] == 1 &&
            (nal[0] & NAL_TYPE) == NAL_SPS) {
            snprintf(out, KT_H264_STRING_BYTES, "avc1.%02X%02X%02X", nal[1], nal[2], nal[3]);
            return 0;
        }
    }
    return -EBADMSG;
}
