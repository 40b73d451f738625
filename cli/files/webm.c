/* WebM: our own encoder's packets, muxed by libavformat (Debian's libwebm holds only a parser). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavformat/avformat.h>

#include "cli/files/sink.h"
#include "server/encode/encoder.h"

enum { FILE_BITS_FACTOR = 3 }; /* a file may cost more bits than a live stream */

struct webm {
    AVFormatContext *mux;
    AVPacket *packet;
    struct kt_encoder *encoder;
    uint8_t *buffer;
    size_t buffer_bytes;
    int64_t pictures;
    int fps, header_written;
    char path[4096];
};

static int fail_av(struct webm *w, int code, const char *what, struct kt_error *err)
{
    char text[AV_ERROR_MAX_STRING_SIZE];
    av_strerror(code, text, sizeof(text));
    return kt_fail(err, code == AVERROR(ENOENT) ? -ENOENT : -EIO, "%s: %s: %s", w->path, what,
                   text);
}

static void webm_free(struct webm *w)
{
    if (w->mux) {
        avio_closep(&w->mux->pb);
        avformat_free_context(w->mux);
    }
    av_packet_free(&w->packet);
    kt_encoder_close(&w->encoder);
    free(w->buffer);
    free(w);
}

static int open_mux(struct webm *w, const struct kt_sink_params *p, struct kt_error *err)
{
    int rc = avformat_alloc_output_context2(&w->mux, NULL, "webm", w->path);
    if (rc < 0) {
        return fail_av(w, rc, "cannot make a WebM file", err);
    }
    AVStream *stream = avformat_new_stream(w->mux, NULL);
    w->packet = av_packet_alloc();
    if (!stream || !w->packet) {
        return kt_fail(err, -ENOMEM, "%s: out of memory", w->path);
    }
    stream->time_base = (AVRational){1, 1000};
    stream->avg_frame_rate = (AVRational){p->fps, 1};
    stream->codecpar->codec_type = AVMEDIA_TYPE_VIDEO;
    stream->codecpar->codec_id = AV_CODEC_ID_VP9;
    stream->codecpar->width = p->width;
    stream->codecpar->height = p->height;
    stream->codecpar->format = AV_PIX_FMT_YUV420P;
    stream->codecpar->color_range = AVCOL_RANGE_MPEG;
    stream->codecpar->color_space = AVCOL_SPC_BT709;
    rc = avio_open(&w->mux->pb, w->path, AVIO_FLAG_WRITE);
    if (rc < 0) {
        return fail_av(w, rc, "cannot write", err);
    }
    rc = avformat_write_header(w->mux, NULL);
    w->header_written = rc >= 0;
    return rc < 0 ? fail_av(w, rc, "cannot write the header", err) : 0;
}

static int webm_open(void **state, const char *path, const struct kt_sink_params *p,
                     struct kt_error *err)
{
    struct kt_encoder_params ep = {
        .codec = KT_CODEC_VP9, .width = p->width, .height = p->height, .fps = p->fps};
    struct webm *w = calloc(1, sizeof(*w));
    if (!w) {
        return kt_fail(err, -ENOMEM, "%s: out of memory", path);
    }
    snprintf(w->path, sizeof(w->path), "%s", path);
    w->fps = p->fps;
    w->buffer_bytes = 4 * kt_encoder_packet_bytes(p->width, p->height);
    w->buffer = malloc(w->buffer_bytes);
    ep.bitrate_kbps =
        p->bitrate_kbps ? p->bitrate_kbps : FILE_BITS_FACTOR * kt_encoder_bitrate_kbps(&ep);
    int rc = w->buffer ? kt_encoder_open(&w->encoder, &ep, err)
                       : kt_fail(err, -ENOMEM, "%s: out of memory", path);
    if (rc == 0) {
        rc = open_mux(w, p, err);
    }
    if (rc < 0) {
        webm_free(w);
        return rc;
    }
    *state = w;
    return 0;
}

static int webm_write(void *state, const uint8_t *i420, struct kt_error *err)
{
    struct webm *w = state;
    int key = 0;
    struct kt_encode_job job = {.i420 = i420,
                                .pts_us = w->pictures * 1000000 / w->fps,
                                .duration_us = 1000000 / w->fps,
                                .out = w->buffer,
                                .cap = w->buffer_bytes};
    int bytes = kt_encoder_encode(w->encoder, &job, &key, err);
    if (bytes < 0) {
        return bytes;
    }
    w->packet->data = w->buffer;
    w->packet->size = bytes;
    w->packet->pts = w->packet->dts = job.pts_us / 1000;
    w->packet->duration = job.duration_us / 1000;
    w->packet->flags = key ? AV_PKT_FLAG_KEY : 0;
    w->packet->stream_index = 0;
    w->pictures++;
    int rc = av_write_frame(w->mux, w->packet);
    return rc < 0 ? fail_av(w, rc, "cannot write", err) : 0;
}

static int webm_close(void *state, int complete, struct kt_error *err)
{
    struct webm *w = state;
    int rc = complete && w->header_written ? av_write_trailer(w->mux) : 0;
    if (rc < 0) {
        rc = fail_av(w, rc, "cannot complete the file", err);
    }
    webm_free(w);
    return rc;
}

const struct kt_sink_ops kt_sink_webm = {
    .ending = ".webm", .open = webm_open, .write = webm_write, .close = webm_close};
