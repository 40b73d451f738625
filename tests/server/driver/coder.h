/* The picture of the stand-in driver made into real H.264, by libx264 through libavcodec.
 *
 * Thread-safety: one thread. */
#ifndef KT_TESTS_SERVER_CODER_H
#define KT_TESTS_SERVER_CODER_H

#include <stddef.h>
#include <stdint.h>

struct coder;

struct coder_params {
    int width, height, fps, bitrate;
};

/* NULL where there is no libx264. */
struct coder *coder_open(const struct coder_params *p);
void coder_close(struct coder **c);
/* Both parameter sets, Annex B; belong to the coder. */
const uint8_t *coder_headers(const struct coder *c, size_t *n);
/* One NV12 picture in, one access unit out; belongs to the coder until the next call. NULL: failed.
 */
const uint8_t *coder_encode(struct coder *c, const uint8_t *nv12, size_t pitch, int key, size_t *n);

#endif
