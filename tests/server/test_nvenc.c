/* The calls that reach the driver, against a stand-in for it (driver/driver.h): their order and
 * settings, and that everything is undone whichever of them fails. Argument: the stand-in's path.
 */
#include "server/encode/nvenc.h"
#include "tests/proto/test.h"
#include "tests/server/driver/driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libavcodec/avcodec.h>

enum { W = 192, H = 112, FPS = 16, KBPS = 400, PACKET = 65536 };

static const char *library;
static struct driver_control *d;
static driver_reset_fn *reset;
static driver_alloc_fn *alloc;
static driver_free_fn *release;
static uint8_t picture[W * H * 3 / 2], out[PACKET];
static int64_t now_us;

static void find(void *handle, const char *name, void *to)
{
    void *found = dlsym(handle, name);
    assert_non_null(found);
    memcpy(to, &found, sizeof(found));
}

/* Kept open, so that what it saw outlives the library that is tested. */
static int load_driver(void **state)
{
    void *handle = dlopen(library, RTLD_NOW);
    if (!handle) {
        print_error("%s\n", dlerror());
        return -1;
    }
    find(handle, "driver_control", &d);
    find(handle, "driver_reset", &reset);
    find(handle, "driver_alloc", &alloc);
    find(handle, "driver_free", &release);
    return 0;
}

static int start_over(void **state)
{
    reset();
    now_us = 0;
    return 0;
}

static int nothing_left(void **state)
{
    if (d->violation[0]) {
        print_error("the driver saw: %s\n", d->violation);
        return -1;
    }
    const int left = d->contexts | d->context_depth | d->sessions | d->outputs | d->registered |
                     d->mapped | d->locked | d->allocations;
    if (left) {
        print_error(
            "left: contexts %d (current %d), sessions %d, outputs %d, registered %d, mapped "
            "%d, locked %d, allocations %d\n",
            d->contexts, d->context_depth, d->sessions, d->outputs, d->registered, d->mapped,
            d->locked, d->allocations);
        return -1;
    }
    return 0;
}

static struct kt_encoder_params settings(struct kt_nvenc *nvenc)
{
    return (struct kt_encoder_params){.codec = KT_CODEC_H264,
                                      .width = W,
                                      .height = H,
                                      .fps = FPS,
                                      .bitrate_kbps = KBPS,
                                      .nvenc = nvenc};
}

static int open_with(const char *cuda, const char *encode, struct kt_nvenc **nvenc,
                     struct kt_error *err)
{
    const struct kt_nvenc_params p = {.cuda_library = cuda, .encode_library = encode};
    const struct kt_encoder_params trial = settings(NULL);
    return kt_nvenc_open(nvenc, &p, &trial, err);
}

static struct kt_nvenc *open_nvenc(void)
{
    struct kt_nvenc *n = NULL;
    struct kt_error err = {0};
    if (open_with(library, library, &n, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return n;
}

static struct kt_encoder *open_encoder(struct kt_nvenc *nvenc)
{
    const struct kt_encoder_params p = settings(nvenc);
    struct kt_encoder *e = NULL;
    struct kt_error err = {0};
    if (kt_encoder_open(&e, &p, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return e;
}

static struct kt_encode_job job_of(const uint8_t *i420, struct kt_nv12 nv12)
{
    now_us += 62500;
    return (struct kt_encode_job){.i420 = i420,
                                  .nv12 = nv12,
                                  .pts_us = now_us,
                                  .duration_us = 62500,
                                  .out = out,
                                  .cap = sizeof(out)};
}

static int encode(struct kt_encoder *e, struct kt_nv12 nv12, int *key, struct kt_error *err)
{
    const struct kt_encode_job job = job_of(nv12.pointer ? NULL : picture, nv12);
    return kt_encoder_encode(e, &job, key, err);
}

/* A picture as a lane on the GPU would hand it out. */
static struct kt_nv12 device_picture(void)
{
    enum { PITCH = 320 };
    static char event;
    return (struct kt_nv12){
        .pointer = alloc((size_t)PITCH * H * 3 / 2), .pitch = PITCH, .ready = &event};
}

static int count_calls(const char *name)
{
    int n = 0;
    for (int i = 0; i < d->call_count && i < DRIVER_CALLS_MAX; i++) {
        n += strcmp(d->calls[i], name) == 0;
    }
    return n;
}

static void assert_calls(int from, const char *const *wanted)
{
    int i = from;
    for (; *wanted; wanted++, i++) {
        assert_true(i < d->call_count);
        assert_string_equal(d->calls[i], *wanted);
    }
    assert_int_equal(i, d->call_count);
}

/* ---- the calls ---- */

static void one_picture_from_the_device(void **state)
{
    static const char *const calls[] = {"cuCtxPushCurrent",      "cuEventSynchronize",
                                        "NvEncRegisterResource", "NvEncMapInputResource",
                                        "NvEncEncodePicture",    "NvEncLockBitstream",
                                        "NvEncUnlockBitstream",  "NvEncUnmapInputResource",
                                        "cuCtxPopCurrent",       NULL};
    static const char *const again[] = {
        "cuCtxPushCurrent",        "cuEventSynchronize", "NvEncMapInputResource",
        "NvEncEncodePicture",      "NvEncLockBitstream", "NvEncUnlockBitstream",
        "NvEncUnmapInputResource", "cuCtxPopCurrent",    NULL};
    struct kt_nvenc *n = open_nvenc();
    struct kt_encoder *e = open_encoder(n);
    const struct kt_nv12 nv12 = device_picture();
    int key = 0, before = d->call_count;
    assert_true(encode(e, nv12, &key, NULL) > 0);
    assert_true(key);
    assert_calls(before, calls);
    assert_true(d->input == nv12.pointer); /* the same memory: */
    assert_int_equal(d->copies, 0);
    assert_int_equal(d->flags, NV_ENC_PIC_FLAG_FORCEIDR | NV_ENC_PIC_FLAG_OUTPUT_SPSPPS);
    before = d->call_count;
    assert_true(encode(e, nv12, &key, NULL) > 0);
    assert_false(key);
    assert_calls(before, again);
    assert_int_equal(d->flags, 0);
    kt_encoder_request_key(e);
    assert_true(encode(e, nv12, &key, NULL) > 0);
    assert_true(key);
    kt_encoder_close(&e);
    kt_nvenc_close(&n);
    release(nv12.pointer);
}

static void a_picture_from_the_host_is_copied_once(void **state)
{
    struct kt_nvenc *n = open_nvenc();
    struct kt_encoder *e = open_encoder(n);
    int key;
    for (size_t i = 0; i < sizeof(picture); i++) {
        picture[i] = (uint8_t)(i * 7 + i / 100);
    }
    assert_true(encode(e, (struct kt_nv12){0}, &key, NULL) > 0);
    assert_int_equal(d->copies, 2); /* luma and chroma */
    const uint8_t *y = (const uint8_t *)(uintptr_t)d->input, *uv = y + H * (size_t)d->input_pitch;
    const uint8_t *u = picture + W * H, *v = u + W * H / 4;
    for (size_t j = 0; j < H; j++) {
        assert_memory_equal(y + j * d->input_pitch, picture + j * W, W);
    }
    for (size_t j = 0; j < H / 2; j++) {
        for (size_t i = 0; i < W / 2; i++) {
            assert_int_equal(uv[j * d->input_pitch + 2 * i], u[j * W / 2 + i]);
            assert_int_equal(uv[j * d->input_pitch + 2 * i + 1], v[j * W / 2 + i]);
        }
    }
    assert_true(encode(e, (struct kt_nv12){0}, &key, NULL) > 0);
    assert_int_equal(count_calls("NvEncRegisterResource"), 1);
    kt_encoder_close(&e);
    kt_nvenc_close(&n);
}

static void settings_are_for_low_latency(void **state)
{
    struct kt_nvenc *n = open_nvenc();
    struct kt_encoder *e = open_encoder(n);
    const NV_ENC_CONFIG *c = &d->config;
    const NV_ENC_CONFIG_H264 *h = &c->encodeCodecConfig.h264Config;
    assert_memory_equal(&d->init.encodeGUID, &NV_ENC_CODEC_H264_GUID, sizeof(GUID));
    assert_int_equal(d->init.tuningInfo, NV_ENC_TUNING_INFO_ULTRA_LOW_LATENCY);
    assert_int_equal(d->init.enablePTD, 1);
    assert_int_equal(d->init.enableEncodeAsync, 0);
    assert_int_equal(d->init.frameRateNum, FPS);
    assert_int_equal(c->gopLength, NVENC_INFINITE_GOPLENGTH);
    assert_int_equal(c->frameIntervalP, 1); /* no B pictures */
    assert_int_equal(c->rcParams.rateControlMode, NV_ENC_PARAMS_RC_CBR);
    assert_int_equal(c->rcParams.averageBitRate, KBPS * 1000);
    assert_int_equal(c->rcParams.vbvBufferSize, KBPS * 1000 / FPS); /* one picture */
    assert_int_equal(c->rcParams.zeroReorderDelay, 1);
    assert_int_equal(c->rcParams.enableLookahead, 0);
    assert_int_equal(h->idrPeriod, NVENC_INFINITE_GOPLENGTH);
    assert_int_equal(h->repeatSPSPPS, 1);
    assert_int_equal(h->disableSPSPPS, 0);
    assert_int_equal(h->enableIntraRefresh, 0);
    assert_int_equal(h->h264VUIParameters.bitstreamRestrictionFlag, 1);
    assert_int_equal(h->h264VUIParameters.videoSignalTypePresentFlag, 1);
    assert_int_equal(h->h264VUIParameters.videoFullRangeFlag, 0);
    assert_int_equal(h->h264VUIParameters.colourMatrix, 1); /* BT.709 */
    assert_string_equal(kt_nvenc_codec_string(n), "avc1.64000C");
    assert_string_equal(kt_encoder_codec_string(KT_CODEC_H264, n), "avc1.64000C");
    assert_string_equal(kt_encoder_codec_string(KT_CODEC_H264, NULL), "");
    kt_encoder_close(&e);
    kt_nvenc_close(&n);
}

/* More pictures than the session remembers, twice round: the oldest make room. */
static void registrations_are_bounded(void **state)
{
    enum { PICTURES = 80 };
    struct kt_nvenc *n = open_nvenc();
    struct kt_encoder *e = open_encoder(n);
    struct kt_nv12 pool[PICTURES];
    int key, most = 0;
    for (int i = 0; i < PICTURES; i++) {
        pool[i] = device_picture();
    }
    for (int i = 0; i < 2 * PICTURES; i++) {
        assert_true(encode(e, pool[i % PICTURES], &key, NULL) > 0);
        assert_true(d->input == pool[i % PICTURES].pointer);
        most = d->registered > most ? d->registered : most;
    }
    assert_int_equal(most, 64);
    const int before = count_calls("NvEncRegisterResource");
    for (int i = 0; i < 64; i++) { /* the last 64 are still known, whatever the order */
        assert_true(encode(e, pool[PICTURES - 1 - i], &key, NULL) > 0);
    }
    assert_int_equal(count_calls("NvEncRegisterResource"), before);
    kt_encoder_close(&e);
    kt_nvenc_close(&n);
    for (int i = 0; i < PICTURES; i++) {
        release(pool[i].pointer);
    }
}

/* ---- refusals ---- */

static void assert_refused(int rc, int wanted, const struct kt_error *err, const char *part)
{
    assert_int_equal(rc, wanted);
    if (!strstr(err->text, part)) {
        fail_msg("\"%s\" does not say \"%s\"", err->text, part);
    }
}

static void no_driver(void **state)
{
    struct kt_nvenc *n = NULL;
    struct kt_error err;
    int rc = open_with("libno-such-driver.so.1", library, &n, &err);
    assert_refused(rc, -ENOTSUP, &err, "no NVENC: libno-such-driver.so.1");
    rc = open_with(library, "libno-such-encoder.so.1", &n, &err);
    assert_refused(rc, -ENOTSUP, &err, "no NVENC: libno-such-encoder.so.1");
    rc = open_with("libm.so.6", library, &n, &err);
    assert_refused(rc, -ENOTSUP, &err, "has no cuInit");
    rc = open_with(library, "libm.so.6", &n, &err);
    assert_refused(rc, -ENOTSUP, &err, "has no NvEncodeAPIGetMaxSupportedVersion");
    assert_null(n);
    assert_int_equal(d->call_count, 0);
}

static void old_driver(void **state)
{
    struct kt_nvenc *n = NULL;
    struct kt_error err;
    d->version = 10 << 4;
    const int rc = open_with(library, library, &n, &err);
    assert_refused(rc, -ENOTSUP, &err, "version 10.0");
    assert_null(n);
}

static int find_call(const char *name)
{
    for (int i = 0; i < d->call_count; i++) {
        if (strcmp(d->calls[i], name) == 0) {
            return i;
        }
    }
    fail_msg("%s was not called", name);
    return -1;
}

static void gpu_without_encoder(void **state)
{
    static const struct {
        int status;
        const char *part;
    } cases[] = {
        {NV_ENC_ERR_NO_ENCODE_DEVICE, "H100, H200, A100 and B200 have none"},
        {NV_ENC_ERR_UNSUPPORTED_DEVICE, "no NVENC on this GPU (stand-in)"},
        {NV_ENC_ERR_OUT_OF_MEMORY, "no further session"},
        {NV_ENC_ERR_INCOMPATIBLE_CLIENT_KEY, "no further session"},
        {NV_ENC_ERR_INVALID_VERSION, "too old"},
        {NV_ENC_ERR_GENERIC, "generic error (20): as told"},
    };
    struct kt_nvenc *n = open_nvenc();
    kt_nvenc_close(&n);
    const int at = find_call("NvEncOpenEncodeSessionEx");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct kt_error err;
        reset();
        d->fail_at = at;
        d->fail_status = cases[i].status;
        const int rc = open_with(library, library, &n, &err);
        assert_refused(rc, -ENOTSUP, &err, cases[i].part);
        assert_null(n);
        assert_int_equal(nothing_left(state), 0);
    }
}

/* A session limit that is reached later is another matter than no encoder at all. */
static void no_further_session(void **state)
{
    struct kt_nvenc *n = open_nvenc();
    const struct kt_encoder_params p = settings(n);
    struct kt_encoder *e = NULL;
    struct kt_error err;
    d->fail_at = d->call_count + 1; /* the context, then the session */
    d->fail_status = NV_ENC_ERR_OUT_OF_MEMORY;
    assert_refused(kt_encoder_open(&e, &p, &err), -EBUSY, &err, "no further session");
    assert_null(e);
    kt_nvenc_close(&n);
}

static void bad_pictures(void **state)
{
    struct kt_nvenc *n = open_nvenc();
    struct kt_encoder *e = open_encoder(n), *vp8 = NULL, *jpeg = NULL, *none = NULL;
    const struct kt_nv12 nv12 = device_picture();
    struct kt_nv12 bad = nv12;
    struct kt_encoder_params p = settings(NULL);
    struct kt_error err;
    int key;
    bad.pitch = W - 4;
    assert_refused(encode(e, bad, &key, &err), -EINVAL, &err, "pitch of 188 bytes");
    bad.pitch = W + 2;
    assert_refused(encode(e, bad, &key, &err), -EINVAL, &err, "multiple of 4");
    bad = nv12;
    bad.context = &bad;
    assert_refused(encode(e, bad, &key, &err), -EINVAL, &err, "another CUDA context");
    struct kt_encode_job job = job_of(NULL, (struct kt_nv12){0});
    assert_refused(kt_encoder_encode(e, &job, &key, &err), -EINVAL, &err, "no picture");
    assert_true(encode(e, nv12, &key, NULL) > 0);
    assert_true(key); /* after errors */
    now_us -= 62500;
    assert_refused(encode(e, nv12, &key, &err), -EINVAL, &err, "pts");
    assert_refused(kt_encoder_open(&none, &p, &err), -ENOTSUP, &err, "none was opened");
    p.codec = KT_CODEC_VP8;
    assert_int_equal(kt_encoder_open(&vp8, &p, NULL), 0);
    p.codec = KT_CODEC_JPEG;
    assert_int_equal(kt_encoder_open(&jpeg, &p, NULL), 0);
    assert_refused(encode(vp8, nv12, &key, &err), -EINVAL, &err, "on the GPU only");
    assert_refused(encode(jpeg, nv12, &key, &err), -EINVAL, &err, "on the GPU only");
    kt_encoder_close(&vp8);
    kt_encoder_close(&jpeg);
    kt_encoder_close(&e);
    kt_nvenc_close(&n);
    release(nv12.pointer);
}

static void bad_packets(void **state)
{
    struct kt_nvenc *n = open_nvenc();
    struct kt_encoder *e = open_encoder(n);
    struct kt_error err;
    struct kt_encode_job small = job_of(picture, (struct kt_nv12){0});
    int key;
    small.cap = 4;
    memset(out, 0x5a, sizeof(out));
    assert_refused(kt_encoder_encode(e, &small, &key, &err), -ENOSPC, &err, "room for 4");
    assert_int_equal(out[0], 0x5a);
    d->ignore_idr = 1;
    assert_refused(encode(e, (struct kt_nv12){0}, &key, &err), -EIO, &err, "no key picture");
    d->ignore_idr = 0;
    d->empty_packets = 1;
    assert_refused(encode(e, (struct kt_nv12){0}, &key, &err), -EIO, &err, "no packet");
    d->empty_packets = 0;
    assert_true(encode(e, (struct kt_nv12){0}, &key, NULL) > 0);
    assert_true(key);
    kt_encoder_close(&e);
    kt_nvenc_close(&n);
}

/* ---- any call fails ---- */

/* One picture; after one that failed, the next must be a key picture. */
static void encode_after(struct kt_encoder *e, struct kt_nv12 nv12, int *failed)
{
    struct kt_error err = {0};
    int key = 0;
    const int n = encode(e, nv12, &key, &err);
    if (n > 0 && *failed) {
        assert_true(key);
    }
    if (n < 0) {
        assert_true(err.text[0]);
        assert_int_equal(n, -EIO);
    }
    *failed = n < 0;
}

/* A life: everything once, both kinds of picture, and two more after a possible failure. */
static void live_once(const struct kt_nv12 *nv12)
{
    struct kt_nvenc *n = NULL;
    struct kt_encoder *e = NULL;
    struct kt_error err = {0};
    if (open_with(library, library, &n, &err) < 0) {
        assert_null(n);
        assert_true(err.text[0]);
        return;
    }
    const struct kt_encoder_params p = settings(n);
    if (kt_encoder_open(&e, &p, &err) < 0) {
        assert_true(err.text[0]);
        kt_nvenc_close(&n);
        return;
    }
    int failed = 1;
    encode_after(e, *nv12, &failed);
    encode_after(e, (struct kt_nv12){0}, &failed);
    encode_after(e, *nv12, &failed);
    encode_after(e, (struct kt_nv12){0}, &failed);
    kt_encoder_close(&e);
    kt_nvenc_close(&n);
}

static void every_call_fails_once(void **state)
{
    struct kt_nv12 nv12 = device_picture();
    live_once(&nv12);
    const int calls = d->call_count;
    release(nv12.pointer);
    assert_int_equal(nothing_left(state), 0);
    assert_true(calls > 60);
    for (int i = 0; i < calls; i++) {
        start_over(state);
        nv12 = device_picture();
        d->fail_at = i;
        live_once(&nv12);
        assert_true(d->call_count > i);
        d->fail_at = -1;
        release(nv12.pointer);
        if (nothing_left(state) < 0) {
            fail_msg("after the failure of call %d, %s", i, d->calls[i]);
        }
    }
    print_message("%d calls failed one by one\n", calls);
}

/* ---- what a decoder sees ---- */

static void draw(int n)
{
    memset(picture, 63, W * H); /* red */
    memset(picture + W * H, 102, W * H / 4);
    memset(picture + W * H * 5 / 4, 240, W * H / 4);
    for (int j = 30; j < 60; j++) {
        memset(picture + j * W + 4 * n, 200, 30);
    }
}

static void assert_near(int a, int b)
{
    if (abs(a - b) > 4) {
        fail_msg("%d is not %d", a, b);
    }
}

/* One in, one out, in the colours that went in, from the stream that the page gets. */
static void decoded(void **state)
{
    d->real = 1;
    if (!avcodec_find_encoder_by_name("libx264")) {
        print_message("no libx264: not looked at\n");
        skip();
    }
    struct kt_nvenc *n = open_nvenc();
    struct kt_encoder *e = open_encoder(n);
    AVCodecContext *decoder = avcodec_alloc_context3(avcodec_find_decoder(AV_CODEC_ID_H264));
    AVPacket *packet = av_packet_alloc();
    AVFrame *frame = av_frame_alloc();
    decoder->thread_count = 1;
    decoder->flags |= AV_CODEC_FLAG_LOW_DELAY;
    assert_int_equal(avcodec_open2(decoder, NULL, NULL), 0);
    assert_true(strncmp(kt_nvenc_codec_string(n), "avc1.64", 7) == 0);
    for (int i = 0; i < 12; i++) {
        int key = 0;
        draw(i);
        if (i == 7) {
            kt_encoder_request_key(e);
        }
        packet->size = encode(e, (struct kt_nv12){0}, &key, NULL);
        assert_true(packet->size > 0);
        assert_int_equal(key, i == 0 || i == 7);
        packet->data = out;
        memset(out + packet->size, 0, AV_INPUT_BUFFER_PADDING_SIZE);
        assert_int_equal(avcodec_send_packet(decoder, packet), 0);
        assert_int_equal(avcodec_receive_frame(decoder, frame), 0);
        assert_near(frame->data[0][10 * frame->linesize[0] + 180], 63);
        assert_near(frame->data[1][5 * frame->linesize[1] + 90], 102);
        assert_near(frame->data[2][5 * frame->linesize[2] + 90], 240);
        assert_near(frame->data[0][45 * frame->linesize[0] + 4 * i + 15], 200);
        assert_int_equal(frame->colorspace, AVCOL_SPC_BT709);
    }
    av_frame_free(&frame);
    packet->data = NULL;
    av_packet_free(&packet);
    avcodec_free_context(&decoder);
    kt_encoder_close(&e);
    kt_nvenc_close(&n);
}

int main(int argc, char **argv)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, start_over, nothing_left)
    const struct CMUnitTest tests[] = {
        CASE(one_picture_from_the_device),
        CASE(a_picture_from_the_host_is_copied_once),
        CASE(settings_are_for_low_latency),
        CASE(registrations_are_bounded),
        CASE(no_driver),
        CASE(old_driver),
        CASE(gpu_without_encoder),
        CASE(no_further_session),
        CASE(bad_pictures),
        CASE(bad_packets),
        CASE(every_call_fails_once),
        CASE(decoded),
    };
    library = argc > 1 ? argv[1] : "";
    return cmocka_run_group_tests(tests, load_driver, NULL);
}
