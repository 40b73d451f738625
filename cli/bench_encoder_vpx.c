#include "cli/bench_encoder.h"

#include <errno.h>
#include <stdlib.h>

#include "server/encode/encoder.h"

struct kt_bench_encoder {
    struct kt_encoder *enc;
    uint8_t *out;
    size_t cap;
    int64_t pts_us, duration_us;
};

int kt_bench_encoder_open(struct kt_bench_encoder **out, int width, int height, int fps)
{
    const struct kt_encoder_params p = {
        .codec = KT_CODEC_VP8, .width = width, .height = height, .fps = fps};
    struct kt_bench_encoder *e = calloc(1, sizeof(*e));
    if (!e) {
        return -ENOMEM;
    }
    e->cap = kt_encoder_packet_bytes(width, height);
    e->out = malloc(e->cap);
    e->duration_us = 1000000 / fps;
    int rc = e->out ? kt_encoder_open(&e->enc, &p, NULL) : -ENOMEM;
    if (rc < 0) {
        kt_bench_encoder_close(&e);
        return rc;
    }
    *out = e;
    return 0;
}

void kt_bench_encoder_close(struct kt_bench_encoder **out)
{
    struct kt_bench_encoder *e = out ? *out : NULL;
    if (e) {
        kt_encoder_close(&e->enc);
        free(e->out);
        free(e);
        *out = NULL;
    }
}

const char *kt_bench_encoder_name(const struct kt_bench_encoder *e)
{
    return e ? "vp8" : "none";
}

int kt_bench_encoder_run(struct kt_bench_encoder *e, const uint8_t *i420)
{
    int key = 0;
    const struct kt_encode_job job = {.i420 = i420,
                                      .pts_us = e->pts_us,
                                      .duration_us = e->duration_us,
                                      .out = e->out,
                                      .cap = e->cap};
    e->pts_us += e->duration_us;
    return kt_encoder_encode(e->enc, &job, &key, NULL);
}
