/* As much of H.264 as serving it takes: the name of what a stream contains (ITU-T H.264, Annex B
 * byte streams; RFC 6381, codec names).
 *
 * Thread-safety: pure functions. */
#ifndef KT_SERVER_ENCODE_H264_H
#define KT_SERVER_ENCODE_H264_H

#include <stddef.h>
#include <stdint.h>

enum { KT_H264_STRING_BYTES = 12 };

/* "avc1.PPCCLL" of the first sequence parameter set in n bytes of Annex B. 0, or -EBADMSG when
 * there is none. */
int kt_h264_codec_string(char out[KT_H264_STRING_BYTES], const uint8_t *stream, size_t n);

#endif
