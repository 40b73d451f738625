#include "cli/bench_encoder.h"

#include <errno.h>
#include <stdlib.h>

#include "server/encode/encoder.h"

struct kt_bench_encoder {
    struct kt_encoder *encoder;
    uint8_t *buffer;
    size_t cap;
    int64_t pictures;
    int fps;
};

int kt_bench_encoder_open(struct kt_bench_encoder **out, int width, int height, int fps)
{
    struct kt_encoder_params p = {
        .codec = KT_CODEC_VP8, .width = width, .height = height, .fps = fps};
    struct kt_bench_encoder *e = calloc(1, sizeof(*e));
    if (!e) {
        return -ENOMEM;
    }
    e->fps = fps;
    e->cap = kt_encoder_packet_bytes(width, height);
    e->buffer = malloc(e->cap);
    int rc = e->buffer ? kt_encoder_open(&e->encoder, &p, NULL) : -ENOMEM;
    if (rc < 0) {
        kt_bench_encoder_close(&e);
        return rc;
    }
    *out = e;
    return 0;
}

void kt_bench_encoder_close(struct kt_bench_encoder **e)
{
    if (e && *e) {
        kt_encoder_close(&(*e)->encoder);
        free((*e)->buffer);
        free(*e);
        *e = NULL;
    }
}

const char *kt_bench_encoder_name(const struct kt_bench_encoder *e)
{
    return "vp8";
}

int kt_bench_encoder_run(struct kt_bench_encoder *e, const uint8_t *i420)
{
    int key;
    struct kt_encode_job job = {.i420 = i420,
                                .pts_us = e->pictures++ * 1000000 / e->fps,
                                .duration_us = 1000000 / e->fps,
                                .out = e->buffer,
                                .cap = e->cap};
    return kt_encoder_encode(e->encoder, &job, &key, NULL);
}
