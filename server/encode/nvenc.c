/* H.264 by NVENC: one picture in, one packet out, at once.
 *
 * What makes it so: ultra-low-latency tuning, no B pictures, no look-ahead, a rate buffer of one
 * picture (so none is larger than the link takes in a picture's time, but for the key picture), and
 * bitstream restrictions in the stream, without which decoders keep pictures back for an order that
 * never changes. Nothing is lost on TCP, so there is one reference picture, no intra refresh, and a
 * key picture only when asked for; each brings its parameter sets, so a decoder can start there.
 *
 * On Linux NVENC is synchronous: NvEncLockBitstream waits for the picture. That is why this runs on
 * the encoder's thread, like the encoders on the CPU. */
#include "server/encode/nvenc_driver.h"

#include <errno.h>
#include <libyuv.h>
#include <stdlib.h>
#include <string.h>

enum {
    SURFACES_MAX = 64,
    KEY_SIZE = 3, /* a key picture may have the bits of three; 1, the default, is visibly soft */
    PARAMETER_BYTES = 256, /* both parameter sets take some 40 */
    VIDEO_FORMAT_UNSPECIFIED = 5,
};

/* Device memory that the session knows. */
struct surface {
    uint64_t pointer;
    size_t pitch;
    NV_ENC_REGISTERED_PTR handle;
    uint64_t used; /* when, in pictures */
};

struct nvenc {
    struct kt_nvenc *driver;
    void *session;
    NV_ENC_OUTPUT_PTR output;
    int width, height;
    int64_t last_pts;
    uint64_t pictures;
    struct surface surfaces[SURFACES_MAX];
    int surface_count;
    struct kt_nv12 own; /* where pictures from host memory go */
    uint8_t *chroma;    /* U and V taking turns, on their way there */
};

/* ---- errors ---- */

static const char *const status_names[] = {
    "success",
    "no encode device",
    "unsupported device",
    "invalid encoder device",
    "invalid device",
    "the device is gone",
    "invalid pointer",
    "invalid event",
    "invalid parameter",
    "invalid call",
    "out of memory",
    "encoder not initialized",
    "unsupported parameter",
    "lock busy",
    "not enough buffer",
    "invalid version",
    "map failed",
    "it wants another picture first",
    "encoder busy",
    "event not registered",
    "generic error",
    "incompatible client key",
    "not implemented",
    "register failed",
    "resource not registered",
    "resource not mapped",
};

static const char *status_name(NVENCSTATUS status)
{
    const size_t i = (size_t)status;
    return i < sizeof(status_names) / sizeof(status_names[0]) ? status_names[i] : "unknown error";
}

static int check(const struct nvenc *v, NVENCSTATUS status, const char *what, struct kt_error *err)
{
    if (status == NV_ENC_SUCCESS) {
        return 0;
    }
    const char *more = v->session ? v->driver->api.nvEncGetLastErrorString(v->session) : NULL;
    return kt_fail(err, -EIO, "NVENC: %s: %s (%d)%s%s", what, status_name(status), (int)status,
                   more && more[0] ? ": " : "", more && more[0] ? more : "");
}

static int check_cuda(const struct nvenc *v, CUresult result, const char *what,
                      struct kt_error *err)
{
    return kt_nvenc_check_cuda(v->driver, result, what, err);
}

/* ---- open ---- */

static int open_session(struct nvenc *v, struct kt_error *err)
{
    NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS p = {.version = NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS_VER,
                                              .deviceType = NV_ENC_DEVICE_TYPE_CUDA,
                                              .device = v->driver->context,
                                              .apiVersion = NVENCAPI_VERSION};
    const char *gpu = v->driver->device_name;
    const NVENCSTATUS status = v->driver->api.nvEncOpenEncodeSessionEx(&p, &v->session);
    switch (status) {
    case NV_ENC_ERR_NO_ENCODE_DEVICE:
    case NV_ENC_ERR_UNSUPPORTED_DEVICE:
        return kt_fail(err, -ENOTSUP,
                       "no NVENC on this GPU (%s); H100, H200, A100 and B200 have none", gpu);
    case NV_ENC_ERR_OUT_OF_MEMORY:
    case NV_ENC_ERR_INCOMPATIBLE_CLIENT_KEY:
        return kt_fail(err, -EBUSY,
                       "NVENC: no further session (%s: %s); consumer GPUs have a limit", gpu,
                       status_name(status));
    case NV_ENC_ERR_INVALID_VERSION:
        return kt_fail(err, -ENOTSUP, "NVENC: the driver of %s is too old for interface %d.%d", gpu,
                       NVENCAPI_MAJOR_VERSION, NVENCAPI_MINOR_VERSION);
    default: return check(v, status, "NvEncOpenEncodeSessionEx", err);
    }
}

static void fill_rate(NV_ENC_RC_PARAMS *rc, const struct kt_encoder_params *p)
{
    const int kbps = p->bitrate_kbps > 0 ? p->bitrate_kbps : kt_encoder_bitrate_kbps(p);
    rc->rateControlMode = NV_ENC_PARAMS_RC_CBR;
    rc->averageBitRate = rc->maxBitRate = (uint32_t)kbps * 1000;
    rc->vbvBufferSize = rc->vbvInitialDelay = rc->averageBitRate / (uint32_t)p->fps;
    rc->multiPass = NV_ENC_TWO_PASS_QUARTER_RESOLUTION;
    rc->lowDelayKeyFrameScale = KEY_SIZE;
    rc->zeroReorderDelay = 1;
    rc->enableAQ = 1;
    rc->enableLookahead = 0;
    rc->lookaheadDepth = 0;
}

/* Level and constraints are the driver's choice; the stream's name is read from what it wrote. */
static void fill_h264(NV_ENC_CONFIG_H264 *h)
{
    h->idrPeriod = NVENC_INFINITE_GOPLENGTH;
    h->repeatSPSPPS = 1;
    h->disableSPSPPS = 0;
    h->enableIntraRefresh = 0;
    h->outputAUD = 0;
    h->outputBufferingPeriodSEI = 0;
    h->outputPictureTimingSEI = 0;
    h->sliceMode = 3; /* by number: */
    h->sliceModeData = 1;
    h->maxNumRefFrames = 1;
    h->level = NV_ENC_LEVEL_AUTOSELECT;
    h->chromaFormatIDC = 1;
    h->entropyCodingMode = NV_ENC_H264_ENTROPY_CODING_MODE_CABAC;
    NV_ENC_CONFIG_H264_VUI_PARAMETERS *vui = &h->h264VUIParameters;
    vui->bitstreamRestrictionFlag = 1;
    vui->videoSignalTypePresentFlag = 1;
    vui->videoFormat = VIDEO_FORMAT_UNSPECIFIED;
    vui->videoFullRangeFlag = 0;
    vui->colourDescriptionPresentFlag = 1;
    vui->colourPrimaries = vui->transferCharacteristics = vui->colourMatrix = 1; /* BT.709 */
}

static int start(struct nvenc *v, const struct kt_encoder_params *p, struct kt_error *err)
{
    const NV_ENCODE_API_FUNCTION_LIST *api = &v->driver->api;
    NV_ENC_PRESET_CONFIG preset = {.version = NV_ENC_PRESET_CONFIG_VER,
                                   .presetCfg = {.version = NV_ENC_CONFIG_VER}};
    const int rc = check(
        v,
        api->nvEncGetEncodePresetConfigEx(v->session, NV_ENC_CODEC_H264_GUID, NV_ENC_PRESET_P4_GUID,
                                          NV_ENC_TUNING_INFO_ULTRA_LOW_LATENCY, &preset),
        "NvEncGetEncodePresetConfigEx", err);
    if (rc < 0) {
        return rc;
    }
    NV_ENC_CONFIG *config = &preset.presetCfg;
    config->version = NV_ENC_CONFIG_VER;
    config->profileGUID = NV_ENC_H264_PROFILE_HIGH_GUID;
    config->gopLength = NVENC_INFINITE_GOPLENGTH;
    config->frameIntervalP = 1;
    fill_rate(&config->rcParams, p);
    fill_h264(&config->encodeCodecConfig.h264Config);
    NV_ENC_INITIALIZE_PARAMS init = {.version = NV_ENC_INITIALIZE_PARAMS_VER,
                                     .encodeGUID = NV_ENC_CODEC_H264_GUID,
                                     .presetGUID = NV_ENC_PRESET_P4_GUID,
                                     .tuningInfo = NV_ENC_TUNING_INFO_ULTRA_LOW_LATENCY,
                                     .encodeWidth = (uint32_t)p->width,
                                     .encodeHeight = (uint32_t)p->height,
                                     .darWidth = (uint32_t)p->width,
                                     .darHeight = (uint32_t)p->height,
                                     .frameRateNum = (uint32_t)p->fps,
                                     .frameRateDen = 1,
                                     .enablePTD = 1,
                                     .encodeConfig = config};
    return check(v, api->nvEncInitializeEncoder(v->session, &init), "NvEncInitializeEncoder", err);
}

static int create_output(struct nvenc *v, struct kt_error *err)
{
    NV_ENC_CREATE_BITSTREAM_BUFFER p = {.version = NV_ENC_CREATE_BITSTREAM_BUFFER_VER};
    const int rc = check(v, v->driver->api.nvEncCreateBitstreamBuffer(v->session, &p),
                         "NvEncCreateBitstreamBuffer", err);
    v->output = rc < 0 ? NULL : p.bitstreamBuffer;
    return rc;
}

/* The trial's only: after it the driver is read by several threads. */
static int read_name(struct nvenc *v, struct kt_error *err)
{
    if (v->driver->codec_string[0]) {
        return 0;
    }
    uint8_t sets[PARAMETER_BYTES];
    uint32_t n = 0;
    NV_ENC_SEQUENCE_PARAM_PAYLOAD p = {.version = NV_ENC_SEQUENCE_PARAM_PAYLOAD_VER,
                                       .inBufferSize = sizeof(sets),
                                       .spsppsBuffer = sets,
                                       .outSPSPPSPayloadSize = &n};
    const int rc = check(v, v->driver->api.nvEncGetSequenceParams(v->session, &p),
                         "NvEncGetSequenceParams", err);
    if (rc < 0) {
        return rc;
    }
    if (n > sizeof(sets) || kt_h264_codec_string(v->driver->codec_string, sets, n) < 0) {
        return kt_fail(err, -EIO, "NVENC: %u bytes of parameter sets without an H.264 sequence", n);
    }
    return 0;
}

static int alloc_own(struct nvenc *v, struct kt_error *err)
{
    CUdeviceptr pointer = 0;
    const int rc = check_cuda(v,
                              v->driver->cuda.alloc_pitch(&pointer, &v->own.pitch, (size_t)v->width,
                                                          (size_t)v->height * 3 / 2, 16),
                              "cuMemAllocPitch", err);
    v->own.pointer = rc < 0 ? 0 : pointer;
    v->chroma = malloc((size_t)v->width * (size_t)v->height / 2);
    return rc < 0 || v->chroma ? rc : kt_fail(err, -ENOMEM, "encoder: out of memory");
}

/* Undoes what was done of the following, in the reverse order. A session that was refused may still
 * have a handle, and then must be destroyed. */
static void shut(struct nvenc *v)
{
    const NV_ENCODE_API_FUNCTION_LIST *api = &v->driver->api;
    if (v->pictures > 0) {
        NV_ENC_PIC_PARAMS end = {.version = NV_ENC_PIC_PARAMS_VER,
                                 .encodePicFlags = NV_ENC_PIC_FLAG_EOS};
        api->nvEncEncodePicture(v->session, &end);
    }
    for (int i = 0; i < v->surface_count; i++) {
        api->nvEncUnregisterResource(v->session, v->surfaces[i].handle);
    }
    if (v->own.pointer) {
        v->driver->cuda.free(v->own.pointer);
    }
    if (v->output) {
        api->nvEncDestroyBitstreamBuffer(v->session, v->output);
    }
    if (v->session) {
        api->nvEncDestroyEncoder(v->session);
    }
}

static void nvenc_close(void *state)
{
    struct nvenc *v = state;
    /* Also without the context (then the device is gone): what can be given back, is. */
    const int entered = kt_nvenc_enter(v->driver, NULL) == 0;
    shut(v);
    if (entered) {
        kt_nvenc_leave(v->driver);
    }
    free(v->chroma);
    free(v);
}

static int nvenc_open(void **state, const struct kt_encoder_params *p, struct kt_error *err)
{
    if (!p->nvenc) {
        return kt_fail(err, -ENOTSUP, "encoder: H.264 takes a GPU with NVENC, and none was opened");
    }
    struct nvenc *v = calloc(1, sizeof(*v));
    if (!v) {
        return kt_fail(err, -ENOMEM, "encoder: out of memory");
    }
    v->driver = p->nvenc;
    v->width = p->width;
    v->height = p->height;
    v->last_pts = -1;
    int rc = kt_nvenc_enter(v->driver, err);
    if (rc < 0) {
        free(v);
        return rc;
    }
    rc = open_session(v, err);
    rc = rc < 0 ? rc : start(v, p, err);
    rc = rc < 0 ? rc : create_output(v, err);
    rc = rc < 0 ? rc : read_name(v, err);
    rc = rc < 0 ? rc : alloc_own(v, err);
    kt_nvenc_leave(v->driver);
    if (rc < 0) {
        nvenc_close(v);
        return rc;
    }
    *state = v;
    return 0;
}

/* ---- surfaces ---- */

/* The place for one more: a free one, or that of the surface not seen for longest. */
static struct surface *make_room(struct nvenc *v, struct kt_error *err)
{
    if (v->surface_count < SURFACES_MAX) {
        return &v->surfaces[v->surface_count];
    }
    struct surface *oldest = v->surfaces;
    for (int i = 1; i < v->surface_count; i++) {
        oldest = v->surfaces[i].used < oldest->used ? &v->surfaces[i] : oldest;
    }
    const NVENCSTATUS status = v->driver->api.nvEncUnregisterResource(v->session, oldest->handle);
    if (check(v, status, "NvEncUnregisterResource", err) < 0) {
        return NULL;
    }
    struct surface *last = &v->surfaces[--v->surface_count];
    *oldest = *last;
    return last;
}

static int register_surface(struct nvenc *v, const struct kt_nv12 *nv12, struct surface **out,
                            struct kt_error *err)
{
    struct surface *s = make_room(v, err);
    if (!s) {
        return -EIO;
    }
    NV_ENC_REGISTER_RESOURCE p = {.version = NV_ENC_REGISTER_RESOURCE_VER,
                                  .resourceType = NV_ENC_INPUT_RESOURCE_TYPE_CUDADEVICEPTR,
                                  .width = (uint32_t)v->width,
                                  .height = (uint32_t)v->height,
                                  .pitch = (uint32_t)nv12->pitch,
                                  .bufferFormat = NV_ENC_BUFFER_FORMAT_NV12,
                                  .bufferUsage = NV_ENC_INPUT_IMAGE};
    /* The interface has one field for handles of every kind; CUDA's is a number. */
    memcpy(&p.resourceToRegister, &nv12->pointer, sizeof(p.resourceToRegister));
    const int rc = check(v, v->driver->api.nvEncRegisterResource(v->session, &p),
                         "NvEncRegisterResource", err);
    if (rc < 0) {
        return rc;
    }
    *s = (struct surface){nv12->pointer, nv12->pitch, p.registeredResource, 0};
    v->surface_count++;
    *out = s;
    return 0;
}

static int find_surface(struct nvenc *v, const struct kt_nv12 *nv12, struct surface **out,
                        struct kt_error *err)
{
    for (int i = 0; i < v->surface_count; i++) {
        struct surface *s = &v->surfaces[i];
        if (s->pointer == nv12->pointer && s->pitch == nv12->pitch) {
            *out = s;
            return 0;
        }
    }
    return register_surface(v, nv12, out, err);
}

static int check_picture(const struct nvenc *v, const struct kt_nv12 *nv12, struct kt_error *err)
{
    if (nv12->pitch < (size_t)v->width || nv12->pitch % 4 || nv12->pitch > UINT32_MAX) {
        return kt_fail(err, -EINVAL,
                       "encoder: a pitch of %zu bytes; expected a multiple of 4, %d or more",
                       nv12->pitch, v->width);
    }
    if (nv12->context && nv12->context != (void *)v->driver->context) {
        return kt_fail(
            err, -EINVAL,
            "encoder: the picture lies in another CUDA context; expected the primary one "
            "of %s",
            v->driver->device_name);
    }
    return 0;
}

/* Rows of `width` bytes, dense here, pitched there. */
static int upload(struct nvenc *v, const uint8_t *from, size_t row, int rows, struct kt_error *err)
{
    const CUDA_MEMCPY2D copy = {.srcMemoryType = CU_MEMORYTYPE_HOST,
                                .srcHost = from,
                                .srcPitch = (size_t)v->width,
                                .dstMemoryType = CU_MEMORYTYPE_DEVICE,
                                .dstDevice = v->own.pointer,
                                .dstPitch = v->own.pitch,
                                .dstY = row,
                                .WidthInBytes = (size_t)v->width,
                                .Height = (size_t)rows};
    return check_cuda(v, v->driver->cuda.copy_2d(&copy), "cuMemcpy2D", err);
}

static int upload_i420(struct nvenc *v, const uint8_t *y, struct kt_error *err)
{
    const size_t luma = (size_t)v->width * (size_t)v->height;
    const int w = v->width / 2, h = v->height / 2;
    MergeUVPlane(y + luma, w, y + luma + luma / 4, w, v->chroma, v->width, w, h);
    const int rc = upload(v, y, 0, v->height, err);
    return rc < 0 ? rc : upload(v, v->chroma, (size_t)v->height, h, err);
}

/* The picture as a surface that is written and known to the session. */
static int take_picture(struct nvenc *v, const struct kt_encode_job *job, struct surface **out,
                        struct kt_error *err)
{
    const struct kt_nv12 *nv12 = &job->nv12;
    int rc = 0;
    if (nv12->pointer) {
        rc = check_picture(v, nv12, err);
        if (rc == 0 && nv12->ready) {
            rc = check_cuda(v, v->driver->cuda.event_wait((CUevent)nv12->ready),
                            "cuEventSynchronize", err);
        }
    } else {
        nv12 = &v->own;
        rc = kt_encoder_want_host(job, err);
        rc = rc < 0 ? rc : upload_i420(v, job->i420, err);
    }
    return rc < 0 ? rc : find_surface(v, nv12, out, err);
}

/* ---- encode ---- */

static int submit(struct nvenc *v, const NV_ENC_MAP_INPUT_RESOURCE *map, size_t pitch,
                  const struct kt_encode_job *job, int key, struct kt_error *err)
{
    NV_ENC_PIC_PARAMS p = {.version = NV_ENC_PIC_PARAMS_VER,
                           .inputWidth = (uint32_t)v->width,
                           .inputHeight = (uint32_t)v->height,
                           .inputPitch = (uint32_t)pitch,
                           .inputBuffer = map->mappedResource,
                           .bufferFmt = map->mappedBufferFmt,
                           .outputBitstream = v->output,
                           .pictureStruct = NV_ENC_PIC_STRUCT_FRAME,
                           .frameIdx = (uint32_t)v->pictures,
                           .inputTimeStamp = (uint64_t)job->pts_us,
                           .inputDuration = (uint64_t)job->duration_us};
    if (key) {
        p.encodePicFlags = NV_ENC_PIC_FLAG_FORCEIDR | NV_ENC_PIC_FLAG_OUTPUT_SPSPPS;
    }
    v->pictures++;
    return check(v, v->driver->api.nvEncEncodePicture(v->session, &p), "NvEncEncodePicture", err);
}

static int copy_packet(const NV_ENC_LOCK_BITSTREAM *lock, const struct kt_encode_job *job, int *key,
                       struct kt_error *err)
{
    const size_t n = lock->bitstreamSizeInBytes;
    const int is_key = lock->pictureType == NV_ENC_PIC_TYPE_IDR;
    if (n == 0) {
        return kt_fail(err, -EIO, "encoder: NVENC gave no packet");
    }
    if (n > job->cap) {
        return kt_fail(err, -ENOSPC, "encoder: a packet of %zu bytes, room for %zu", n, job->cap);
    }
    if (*key && !is_key) {
        return kt_fail(err, -EIO, "encoder: NVENC gave no key picture when asked for one");
    }
    memcpy(job->out, lock->bitstreamBufferPtr, n);
    *key = is_key;
    return (int)n;
}

static int take_packet(struct nvenc *v, const struct kt_encode_job *job, int *key,
                       struct kt_error *err)
{
    NV_ENC_LOCK_BITSTREAM lock = {.version = NV_ENC_LOCK_BITSTREAM_VER,
                                  .outputBitstream = v->output};
    int rc =
        check(v, v->driver->api.nvEncLockBitstream(v->session, &lock), "NvEncLockBitstream", err);
    if (rc < 0) {
        return rc;
    }
    const int n = copy_packet(&lock, job, key, err);
    rc = check(v, v->driver->api.nvEncUnlockBitstream(v->session, v->output),
               "NvEncUnlockBitstream", n < 0 ? NULL : err);
    return n < 0 ? n : rc < 0 ? rc : n;
}

static int encode_surface(struct nvenc *v, struct surface *s, const struct kt_encode_job *job,
                          int *key, struct kt_error *err)
{
    NV_ENC_MAP_INPUT_RESOURCE map = {.version = NV_ENC_MAP_INPUT_RESOURCE_VER,
                                     .registeredResource = s->handle};
    int rc = check(v, v->driver->api.nvEncMapInputResource(v->session, &map),
                   "NvEncMapInputResource", err);
    if (rc < 0) {
        return rc;
    }
    rc = submit(v, &map, s->pitch, job, *key, err);
    s->used = v->pictures;
    const int n = rc < 0 ? rc : take_packet(v, job, key, err);
    rc = check(v, v->driver->api.nvEncUnmapInputResource(v->session, map.mappedResource),
               "NvEncUnmapInputResource", n < 0 ? NULL : err);
    return n < 0 ? n : rc < 0 ? rc : n;
}

static int nvenc_encode(void *state, const struct kt_encode_job *job, int *key,
                        struct kt_error *err)
{
    struct nvenc *v = state;
    struct surface *s = NULL;
    if (job->pts_us <= v->last_pts) {
        return kt_fail(err, -EINVAL, "encoder: pts %lld after %lld", (long long)job->pts_us,
                       (long long)v->last_pts);
    }
    v->last_pts = job->pts_us;
    int rc = kt_nvenc_enter(v->driver, err);
    if (rc < 0) {
        return rc;
    }
    rc = take_picture(v, job, &s, err);
    rc = rc < 0 ? rc : encode_surface(v, s, job, key, err);
    kt_nvenc_leave(v->driver);
    return rc;
}

const struct kt_encoder_ops kt_encoder_nvenc = {nvenc_open, nvenc_encode, nvenc_close};
