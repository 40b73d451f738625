/* Every encoder: one packet per picture at once, key pictures when asked, and the colours come
 * back. */
#include "server/encode/encoder.h"
#include "tests/proto/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <vpx/vp8dx.h>
#include <vpx/vpx_decoder.h>

enum { W = 192, H = 112, PICTURES = 24 };

static uint8_t picture[W * H * 3 / 2];

/* A flat ground with a square that moves; `yuv` of the ground. */
static void draw(const uint8_t yuv[3], int n)
{
    memset(picture, yuv[0], W * H);
    memset(picture + W * H, yuv[1], W * H / 4);
    memset(picture + W * H * 5 / 4, yuv[2], W * H / 4);
    for (int j = 30; j < 60; j++) {
        memset(picture + j * W + 4 * n, 200, 30);
    }
}

static struct kt_encoder *open_encoder(enum kt_media_codec codec)
{
    const struct kt_encoder_params p = {
        .codec = codec, .width = W, .height = H, .fps = 16, .quality = 90};
    struct kt_encoder *e = NULL;
    struct kt_error err;
    assert_int_equal(kt_encoder_open(&e, &p, &err), 0);
    return e;
}

static void assert_near(int a, int b, int tolerance)
{
    if (abs(a - b) > tolerance) {
        print_error("%d is not %d\n", a, b);
        fail();
    }
}

static void vpx_stream(enum kt_media_codec codec)
{
    static const uint8_t red[3] = {63, 102, 240};
    struct kt_encoder *e = open_encoder(codec);
    const size_t cap = kt_encoder_packet_bytes(W, H);
    uint8_t *out = malloc(cap);
    vpx_codec_ctx_t decoder;
    vpx_codec_dec_init(&decoder, codec == KT_CODEC_VP9 ? vpx_codec_vp9_dx() : vpx_codec_vp8_dx(),
                       NULL, 0);
    for (int i = 0; i < PICTURES; i++) {
        int key = 0;
        const struct kt_encode_job job = {
            .i420 = picture, .pts_us = i * 62500, .duration_us = 62500, .out = out, .cap = cap};
        draw(red, i);
        if (i == 9) {
            kt_encoder_request_key(e);
        }
        const int n = kt_encoder_encode(e, &job, &key, NULL);
        assert_true(n > 0);
        assert_int_equal(key, i == 0 || i == 9);
        assert_int_equal(vpx_codec_decode(&decoder, out, (unsigned)n, NULL, 0), VPX_CODEC_OK);
        vpx_codec_iter_t iter = NULL;
        const vpx_image_t *image = vpx_codec_get_frame(&decoder, &iter);
        assert_non_null(image); /* one in, one out */
        assert_int_equal(image->d_w, W);
        assert_int_equal(image->d_h, H);
        assert_near(image->planes[0][10 * image->stride[0] + 180], red[0], 4);
        assert_near(image->planes[1][5 * image->stride[1] + 90], red[1], 4);
        assert_near(image->planes[2][5 * image->stride[2] + 90], red[2], 4);
    }
    vpx_codec_destroy(&decoder);
    kt_encoder_close(&e);
    assert_null(e);
    kt_encoder_close(&e);
    free(out);
}

static void vp8(void **state)
{
    vpx_stream(KT_CODEC_VP8);
}

static void vp9(void **state)
{
    vpx_stream(KT_CODEC_VP9);
}

static void jpeg(void **state)
{
    static const uint8_t red[3] = {63, 102, 240}; /* pure red, BT.709 limited */
    struct kt_encoder *e = open_encoder(KT_CODEC_JPEG);
    const size_t cap = kt_encoder_packet_bytes(W, H);
    uint8_t *out = malloc(cap), row[W * 3];
    int key = 0;
    draw(red, 0);
    const struct kt_encode_job job = {
        .i420 = picture, .duration_us = 62500, .out = out, .cap = cap};
    const int n = kt_encoder_encode(e, &job, &key, NULL);
    assert_true(n > 0 && key);
    struct jpeg_decompress_struct d;
    struct jpeg_error_mgr errors;
    d.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&d);
    jpeg_mem_src(&d, out, (unsigned long)n);
    jpeg_read_header(&d, TRUE);
    jpeg_start_decompress(&d);
    assert_int_equal(d.output_width, W);
    assert_int_equal(d.output_height, H);
    JSAMPROW rows[] = {row};
    jpeg_read_scanlines(&d, rows, 1);
    assert_near(row[540], 255, 8);
    assert_near(row[541], 0, 8);
    assert_near(row[542], 0, 8);
    jpeg_abort_decompress(&d);
    jpeg_destroy_decompress(&d);
    kt_encoder_close(&e);
    free(out);
}

/* A packet that does not fit is an error, not an overflow, and the next picture is a key picture.
 */
static void no_room(void **state)
{
    static const uint8_t grey[3] = {126, 128, 128};
    for (int codec = KT_CODEC_VP8; codec <= KT_CODEC_JPEG; codec++) {
        struct kt_encoder *e = open_encoder((enum kt_media_codec)codec);
        const size_t cap = kt_encoder_packet_bytes(W, H);
        uint8_t *out = malloc(cap);
        struct kt_error err = {0};
        int key = 0;
        draw(grey, 0);
        memset(out, 0x5a, cap);
        const struct kt_encode_job small = {
            .i420 = picture, .duration_us = 62500, .out = out, .cap = 16};
        assert_int_equal(kt_encoder_encode(e, &small, &key, &err), -ENOSPC);
        assert_true(err.text[0]);
        for (size_t i = 16; i < cap; i++) {
            assert_int_equal(out[i], 0x5a);
        }
        const struct kt_encode_job next = {
            .i420 = picture, .pts_us = 62500, .duration_us = 62500, .out = out, .cap = cap};
        assert_true(kt_encoder_encode(e, &next, &key, NULL) > 0);
        assert_true(key);
        kt_encoder_close(&e);
        free(out);
    }
}

static void bad_parameters(void **state)
{
    struct kt_encoder *e = NULL;
    struct kt_error err;
    const struct kt_encoder_params odd = {
        .codec = KT_CODEC_VP8, .width = 191, .height = H, .fps = 16};
    const struct kt_encoder_params still = {.codec = KT_CODEC_VP8, .width = W, .height = H};
    assert_int_equal(kt_encoder_open(&e, &odd, &err), -EINVAL);
    assert_int_equal(kt_encoder_open(&e, &still, &err), -EINVAL);
    e = open_encoder(KT_CODEC_VP8);
    uint8_t out[4096];
    int key;
    const struct kt_encode_job job = {
        .i420 = picture, .pts_us = 5, .duration_us = 62500, .out = out, .cap = sizeof(out)};
    assert_true(kt_encoder_encode(e, &job, &key, NULL) > 0);
    assert_int_equal(kt_encoder_encode(e, &job, &key, NULL), -EINVAL); /* time stood still */
    kt_encoder_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vp8),
        cmocka_unit_test(vp9),
        cmocka_unit_test(jpeg),
        cmocka_unit_test(no_room),
        cmocka_unit_test(bad_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
