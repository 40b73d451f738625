#include "coder.h"

#include <libavcodec/avcodec.h>
#include <libavutil/log.h>
#include <libavutil/opt.h>
#include <stdlib.h>
#include <string.h>

struct coder {
    AVCodecContext *context;
    AVFrame *frame;
    AVPacket *packet;
    uint8_t *unit;
};

static void settings(AVCodecContext *c, const struct coder_params *p)
{
    c->width = p->width;
    c->height = p->height;
    c->time_base = (AVRational){1, p->fps};
    c->framerate = (AVRational){p->fps, 1};
    c->pix_fmt = AV_PIX_FMT_NV12;
    c->bit_rate = c->rc_max_rate = p->bitrate;
    c->rc_buffer_size = p->bitrate / 4;
    c->gop_size = 1 << 20;
    c->max_b_frames = 0;
    c->refs = 1;
    c->thread_count = 1;
    c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    c->color_primaries = AVCOL_PRI_BT709;
    c->color_trc = AVCOL_TRC_BT709;
    c->colorspace = AVCOL_SPC_BT709;
    c->color_range = AVCOL_RANGE_MPEG;
    av_opt_set(c->priv_data, "preset", "veryfast", 0);
    av_opt_set(c->priv_data, "tune", "zerolatency", 0);
    av_opt_set(c->priv_data, "profile", "high", 0);
    av_opt_set(c->priv_data, "forced-idr", "1", 0);
    av_opt_set(c->priv_data, "x264-params", "scenecut=0", 0);
}

struct coder *coder_open(const struct coder_params *p)
{
    av_log_set_level(AV_LOG_ERROR);
    const AVCodec *codec = avcodec_find_encoder_by_name("libx264");
    struct coder *c = codec ? calloc(1, sizeof(*c)) : NULL;
    if (!c) {
        return NULL;
    }
    c->context = avcodec_alloc_context3(codec);
    c->frame = av_frame_alloc();
    c->packet = av_packet_alloc();
    settings(c->context, p);
    c->frame->width = p->width;
    c->frame->height = p->height;
    c->frame->format = AV_PIX_FMT_NV12;
    if (avcodec_open2(c->context, codec, NULL) < 0) {
        coder_close(&c);
    }
    return c;
}

void coder_close(struct coder **coder)
{
    struct coder *c = *coder;
    if (c) {
        avcodec_free_context(&c->context);
        av_frame_free(&c->frame);
        av_packet_free(&c->packet);
        free(c->unit);
        free(c);
        *coder = NULL;
    }
}

const uint8_t *coder_headers(const struct coder *c, size_t *n)
{
    *n = (size_t)c->context->extradata_size;
    return c->context->extradata;
}

const uint8_t *coder_encode(struct coder *c, const uint8_t *nv12, size_t pitch, int key, size_t *n)
{
    size_t headers = 0;
    const uint8_t *sets = coder_headers(c, &headers);
    c->frame->data[0] = (uint8_t *)(uintptr_t)nv12;
    c->frame->data[1] = (uint8_t *)(uintptr_t)nv12 + pitch * (size_t)c->frame->height;
    c->frame->linesize[0] = c->frame->linesize[1] = (int)pitch;
    c->frame->pict_type = key ? AV_PICTURE_TYPE_I : AV_PICTURE_TYPE_NONE;
    c->frame->pts++;
    av_packet_unref(c->packet);
    if (avcodec_send_frame(c->context, c->frame) < 0 ||
        avcodec_receive_packet(c->context, c->packet) < 0) {
        return NULL;
    }
    headers = c->packet->flags & AV_PKT_FLAG_KEY ? headers : 0;
    *n = headers + (size_t)c->packet->size;
    free(c->unit);
    c->unit = malloc(*n);
    memcpy(c->unit, sets, headers);
    memcpy(c->unit + headers, c->packet->data, (size_t)c->packet->size);
    return c->unit;
}
