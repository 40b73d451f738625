/* VP8 and VP9 by libvpx in real-time mode: one thread (on few cores the tail is better than with
 * two), no lag, constant bit rate with a short buffer, key pictures only on demand. Negative VP8
 * speeds are fixed ones; positive ones adapt to the clock and are uneven. */
#include "server/encode/encoder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <vpx/vp8cx.h>
#include <vpx/vpx_encoder.h>

enum {
    VP8_SPEED = -8,
    VP9_SPEED = 8,
    RATE_BUFFER_MS = 300,
    KEY_RATE_PERCENT = 300, /* a smaller cap only moves the bits to the picture after */
};

struct vpx {
    vpx_codec_ctx_t codec;
    vpx_image_t image;
    int width, height;
    int64_t last_pts;
};

static void fill_config(vpx_codec_enc_cfg_t *cfg, const struct kt_encoder_params *p)
{
    cfg->g_w = (unsigned)p->width;
    cfg->g_h = (unsigned)p->height;
    cfg->g_timebase.num = 1;
    cfg->g_timebase.den = 1000000;
    cfg->g_threads = 1;
    cfg->g_lag_in_frames = 0;
    cfg->g_pass = VPX_RC_ONE_PASS;
    cfg->g_error_resilient = 0; /* nothing is lost on TCP */
    cfg->rc_end_usage = VPX_CBR;
    cfg->rc_target_bitrate =
        (unsigned)(p->bitrate_kbps > 0 ? p->bitrate_kbps : kt_encoder_bitrate_kbps(p));
    cfg->rc_min_quantizer = 2;
    cfg->rc_max_quantizer = 56;
    cfg->rc_dropframe_thresh = 0; /* every picture that goes in comes out */
    cfg->rc_buf_sz = RATE_BUFFER_MS;
    cfg->rc_buf_initial_sz = RATE_BUFFER_MS * 2 / 3;
    cfg->rc_buf_optimal_sz = RATE_BUFFER_MS * 2 / 3;
    cfg->kf_mode = VPX_KF_DISABLED;
}

static int set_controls(vpx_codec_ctx_t *codec, int vp9)
{
    int failed = vpx_codec_control(codec, VP8E_SET_CPUUSED, vp9 ? VP9_SPEED : VP8_SPEED);
    failed |= vpx_codec_control(codec, VP8E_SET_MAX_INTRA_BITRATE_PCT, KEY_RATE_PERCENT);
    if (vp9) {
        failed |= vpx_codec_control(codec, VP9E_SET_AQ_MODE, 3);
        failed |= vpx_codec_control(codec, VP9E_SET_COLOR_SPACE, VPX_CS_BT_709);
        failed |= vpx_codec_control(codec, VP9E_SET_COLOR_RANGE, VPX_CR_STUDIO_RANGE);
    }
    return failed;
}

static void vpx_close(void *state)
{
    struct vpx *v = state;
    vpx_codec_destroy(&v->codec);
    free(v);
}

static int vpx_open(void **state, const struct kt_encoder_params *p, struct kt_error *err)
{
    const int vp9 = p->codec == KT_CODEC_VP9;
    vpx_codec_iface_t *iface = vp9 ? vpx_codec_vp9_cx() : vpx_codec_vp8_cx();
    vpx_codec_enc_cfg_t cfg;
    struct vpx *v = calloc(1, sizeof(*v));
    if (!v) {
        return kt_fail(err, -ENOMEM, "encoder: out of memory");
    }
    if (vpx_codec_enc_config_default(iface, &cfg, 0) != VPX_CODEC_OK) {
        free(v);
        return kt_fail(err, -ENOTSUP, "encoder: libvpx has no %s", kt_codec_name(p->codec));
    }
    fill_config(&cfg, p);
    const vpx_codec_err_t rc = vpx_codec_enc_init(&v->codec, iface, &cfg, 0);
    if (rc != VPX_CODEC_OK) {
        free(v);
        return kt_fail(err, -EINVAL, "encoder: libvpx: %s", vpx_codec_err_to_string(rc));
    }
    if (set_controls(&v->codec, vp9)) {
        vpx_close(v);
        return kt_fail(err, -EINVAL, "encoder: libvpx refused a setting");
    }
    v->width = p->width;
    v->height = p->height;
    v->last_pts = -1;
    *state = v;
    return 0;
}

/* Planes are dense whatever alignment libvpx would choose. */
static void wrap(struct vpx *v, const uint8_t *i420)
{
    const size_t luma = (size_t)v->width * (size_t)v->height;
    uint8_t *y = (uint8_t *)i420; /* libvpx only reads it */
    vpx_img_wrap(&v->image, VPX_IMG_FMT_I420, (unsigned)v->width, (unsigned)v->height, 1, y);
    v->image.planes[VPX_PLANE_Y] = y;
    v->image.planes[VPX_PLANE_U] = y + luma;
    v->image.planes[VPX_PLANE_V] = y + luma + luma / 4;
    v->image.stride[VPX_PLANE_Y] = v->width;
    v->image.stride[VPX_PLANE_U] = v->image.stride[VPX_PLANE_V] = v->width / 2;
}

static int take_packet(struct vpx *v, const struct kt_encode_job *job, int *key,
                       struct kt_error *err)
{
    vpx_codec_iter_t iter = NULL;
    const vpx_codec_cx_pkt_t *pkt;
    size_t n = 0;
    while ((pkt = vpx_codec_get_cx_data(&v->codec, &iter))) {
        if (pkt->kind != VPX_CODEC_CX_FRAME_PKT) {
            continue;
        }
        if (pkt->data.frame.sz > job->cap - n) {
            return kt_fail(err, -ENOSPC, "encoder: a packet of %zu bytes, room for %zu",
                           pkt->data.frame.sz, job->cap - n);
        }
        memcpy(job->out + n, pkt->data.frame.buf, pkt->data.frame.sz);
        n += pkt->data.frame.sz;
        *key = (pkt->data.frame.flags & VPX_FRAME_IS_KEY) != 0;
    }
    return n > 0 ? (int)n : kt_fail(err, -EIO, "encoder: libvpx gave no packet");
}

static int vpx_encode(void *state, const struct kt_encode_job *job, int *key, struct kt_error *err)
{
    struct vpx *v = state;
    const int missing = kt_encoder_want_host(job, err);
    if (missing < 0) {
        return missing;
    }
    if (job->pts_us <= v->last_pts) {
        return kt_fail(err, -EINVAL, "encoder: pts %lld after %lld", (long long)job->pts_us,
                       (long long)v->last_pts);
    }
    v->last_pts = job->pts_us;
    wrap(v, job->i420);
    const vpx_enc_frame_flags_t flags = *key ? VPX_EFLAG_FORCE_KF : 0;
    const vpx_codec_err_t rc = vpx_codec_encode(
        &v->codec, &v->image, job->pts_us, (unsigned long)job->duration_us, flags, VPX_DL_REALTIME);
    if (rc != VPX_CODEC_OK) {
        return kt_fail(err, -EIO, "encoder: libvpx: %s", vpx_codec_error(&v->codec));
    }
    return take_packet(v, job, key, err);
}

const struct kt_encoder_ops kt_encoder_vpx = {vpx_open, vpx_encode, vpx_close};
