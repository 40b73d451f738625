#include "driver.h"

#include "coder.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THINGS_MAX = 256, FLAG_LIVE = 1, FLAG_MAPPED = 2, FLAG_LOCKED = 4, FLAG_PENDING = 8 };

/* Anything with a handle: the handle is its address. */
struct thing {
    int flags;
    uint64_t pointer; /* allocation, registration: device address */
    size_t pitch, bytes;
};

struct session {
    int live, initialized;
    struct coder *coder;
    struct thing output; /* one is enough here */
    const uint8_t *packet;
    size_t packet_bytes;
    int packet_key;
};

extern struct driver_control driver_control;
driver_reset_fn driver_reset;
driver_alloc_fn driver_alloc;
driver_free_fn driver_free;
struct driver_control driver_control = {
    .version = NVENCAPI_MAJOR_VERSION << 4 | NVENCAPI_MINOR_VERSION, .fail_at = -1, .real = 1};

static struct driver_control *const d = &driver_control;
static struct thing allocations[THINGS_MAX], registrations[THINGS_MAX];
static struct session sessions[THINGS_MAX];
static int session_count;

/* As a small stream begins: High profile, level 1.2. */
static const uint8_t canned[] = {0,    0, 0, 1, 0x67, 0x64, 0,    0x0c,
                                 0xac, 0, 0, 0, 1,    0x68, 0xee, 0x3c};

void driver_reset(void)
{
    for (int i = 0; i < THINGS_MAX; i++) {
        if (allocations[i].flags) {
            free((void *)(uintptr_t)allocations[i].pointer);
        }
        coder_close(&sessions[i].coder);
    }
    memset(allocations, 0, sizeof(allocations));
    memset(registrations, 0, sizeof(registrations));
    memset(sessions, 0, sizeof(sessions));
    session_count = 0;
    memset(d, 0, sizeof(*d));
    d->version = NVENCAPI_MAJOR_VERSION << 4 | NVENCAPI_MINOR_VERSION;
    d->fail_at = -1;
}

/* ---- rules ---- */

__attribute__((format(printf, 2, 3))) static void demand(int condition, const char *format, ...)
{
    if (!condition && !d->violation[0]) {
        va_list args;
        va_start(args, format);
        vsnprintf(d->violation, sizeof(d->violation), format, args);
        va_end(args);
    }
}

/* Notes the call; the status it has to fail with, or 0. */
static int called(const char *name, int usual)
{
    const int n = d->call_count++;
    if (n < DRIVER_CALLS_MAX) {
        snprintf(d->calls[n], DRIVER_NAME_BYTES, "%s", name);
    }
    return n == d->fail_at ? (d->fail_status ? d->fail_status : usual) : 0;
}

static int called_cuda(const char *name)
{
    return called(name, 2); /* CUDA_ERROR_OUT_OF_MEMORY */
}

static struct session *called_nvenc(const char *name, void *encoder, int *status)
{
    struct session *s = encoder;
    *status = called(name, NV_ENC_ERR_GENERIC);
    demand(d->context_depth > 0 || d->no_context, "%s: no current context", name);
    demand(s >= sessions && s < sessions + session_count && s->live, "%s: no such session", name);
    return s;
}

static void demand_version(const char *name, uint32_t found, uint32_t wanted)
{
    demand(found == wanted, "%s: version %08x, not %08x", name, found, wanted);
}

static struct thing *place(struct thing *list)
{
    for (int i = 0; i < THINGS_MAX; i++) {
        if (!list[i].flags) {
            return &list[i];
        }
    }
    return NULL;
}

/* ---- CUDA ---- */

static char context_handle;

tcuInit cuInit;
tcuDeviceGet cuDeviceGet;
tcuDeviceGetName cuDeviceGetName;
tcuDevicePrimaryCtxRetain cuDevicePrimaryCtxRetain;
tcuDevicePrimaryCtxRelease cuDevicePrimaryCtxRelease;
tcuCtxPushCurrent_v2 cuCtxPushCurrent_v2;
tcuCtxPopCurrent_v2 cuCtxPopCurrent_v2;
tcuMemAllocPitch_v2 cuMemAllocPitch_v2;
tcuMemFree_v2 cuMemFree_v2;
tcuMemcpy2D_v2 cuMemcpy2D_v2;
tcuEventSynchronize cuEventSynchronize;
tcuGetErrorName cuGetErrorName;

CUresult cuInit(unsigned flags)
{
    return called_cuda("cuInit");
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    *device = 40 + ordinal;
    return called_cuda("cuDeviceGet");
}

CUresult cuDeviceGetName(char *name, int bytes, CUdevice device)
{
    snprintf(name, (size_t)bytes, "stand-in");
    return called_cuda("cuDeviceGetName");
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    const int status = called_cuda("cuDevicePrimaryCtxRetain");
    demand(device == 40, "cuDevicePrimaryCtxRetain: device %d", device);
    if (status == 0) {
        d->contexts++;
        *context = (CUcontext)(void *)&context_handle;
    }
    return (CUresult)status;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    demand(d->contexts-- > 0, "cuDevicePrimaryCtxRelease: not retained");
    demand(d->sessions == 0 && d->allocations == 0 && d->context_depth == 0,
           "cuDevicePrimaryCtxRelease: %d sessions, %d allocations, %d times current", d->sessions,
           d->allocations, d->context_depth);
    return called_cuda("cuDevicePrimaryCtxRelease");
}

CUresult cuCtxPushCurrent_v2(CUcontext context)
{
    const int status = called_cuda("cuCtxPushCurrent");
    demand(d->contexts > 0 && (void *)context == &context_handle, "cuCtxPushCurrent: which?");
    d->context_depth += status == 0;
    d->no_context |= status != 0;
    return (CUresult)status;
}

CUresult cuCtxPopCurrent_v2(CUcontext *context)
{
    demand(d->context_depth-- > 0, "cuCtxPopCurrent: none is current");
    *context = (CUcontext)(void *)&context_handle;
    return called_cuda("cuCtxPopCurrent");
}

CUresult cuMemAllocPitch_v2(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height,
                            unsigned element)
{
    const int status = called_cuda("cuMemAllocPitch");
    struct thing *t = place(allocations);
    demand(d->context_depth > 0, "cuMemAllocPitch: no current context");
    if (status == 0) {
        *pitch = (width + DRIVER_PITCH - 1) / DRIVER_PITCH * DRIVER_PITCH;
        *t = (struct thing){.flags = FLAG_LIVE, .pitch = *pitch, .bytes = *pitch * height};
        t->pointer = (uint64_t)(uintptr_t)calloc(1, t->bytes);
        *pointer = t->pointer;
        d->allocations++;
    }
    return (CUresult)status;
}

static struct thing *find_allocation(uint64_t pointer)
{
    for (int i = 0; i < THINGS_MAX; i++) {
        if (allocations[i].flags && allocations[i].pointer == pointer) {
            return &allocations[i];
        }
    }
    return NULL;
}

static void demand_unregistered(uint64_t pointer)
{
    for (int i = 0; i < THINGS_MAX; i++) {
        demand(!registrations[i].flags || registrations[i].pointer != pointer,
               "memory freed that is still registered");
    }
}

CUresult cuMemFree_v2(CUdeviceptr pointer)
{
    struct thing *t = find_allocation(pointer);
    demand(t && (d->context_depth > 0 || d->no_context),
           "cuMemFree: not allocated, or no current context");
    demand_unregistered(pointer);
    if (t) {
        free((void *)(uintptr_t)t->pointer);
        t->flags = 0;
        d->allocations--;
    }
    return called_cuda("cuMemFree");
}

CUdeviceptr driver_alloc(size_t bytes)
{
    struct thing *t = place(allocations);
    *t = (struct thing){.flags = FLAG_LIVE, .pitch = 0, .bytes = bytes};
    t->pointer = (uint64_t)(uintptr_t)calloc(1, bytes);
    return t->pointer;
}

void driver_free(CUdeviceptr pointer)
{
    struct thing *t = find_allocation(pointer);
    demand_unregistered(pointer);
    free((void *)(uintptr_t)pointer);
    t->flags = 0;
}

CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D *p)
{
    const int status = called_cuda("cuMemcpy2D");
    const struct thing *t = find_allocation(p->dstDevice);
    d->copies++;
    demand(p->srcMemoryType == CU_MEMORYTYPE_HOST && p->dstMemoryType == CU_MEMORYTYPE_DEVICE &&
               d->context_depth > 0,
           "cuMemcpy2D: from host to device in a context only");
    demand(t && p->dstPitch == t->pitch && p->WidthInBytes <= p->dstPitch &&
               (p->dstY + p->Height) * p->dstPitch <= t->bytes,
           "cuMemcpy2D: outside the allocation");
    for (size_t i = 0; !status && t && i < p->Height; i++) {
        memcpy((uint8_t *)(uintptr_t)t->pointer + (p->dstY + i) * p->dstPitch,
               (const uint8_t *)p->srcHost + i * p->srcPitch, p->WidthInBytes);
    }
    return (CUresult)status;
}

CUresult cuEventSynchronize(CUevent event)
{
    d->events_waited++;
    return called_cuda("cuEventSynchronize");
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
    *name = "CUDA_ERROR_OF_THE_STAND_IN";
    return CUDA_SUCCESS;
}

/* ---- NVENC: sessions ---- */

static NVENCSTATUS open_session(NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS *p, void **encoder)
{
    const int status = called("NvEncOpenEncodeSessionEx", NV_ENC_ERR_NO_ENCODE_DEVICE);
    demand_version("NvEncOpenEncodeSessionEx", p->version,
                   NV_ENC_OPEN_ENCODE_SESSION_EX_PARAMS_VER);
    demand(p->apiVersion == NVENCAPI_VERSION && p->deviceType == NV_ENC_DEVICE_TYPE_CUDA &&
               p->device == &context_handle && d->context_depth > 0,
           "NvEncOpenEncodeSessionEx: wrong interface, device or context");
    struct session *s = &sessions[session_count++];
    s->live = 1; /* a refused one too: the interface wants it destroyed */
    d->sessions++;
    *encoder = s;
    return (NVENCSTATUS)status;
}

static NVENCSTATUS destroy_session(void *encoder)
{
    int status;
    struct session *s = called_nvenc("NvEncDestroyEncoder", encoder, &status);
    demand(d->registered == 0 && d->mapped == 0 && d->outputs == 0,
           "NvEncDestroyEncoder: %d registered, %d mapped, %d outputs left", d->registered,
           d->mapped, d->outputs);
    s->live = 0;
    coder_close(&s->coder);
    d->sessions--;
    return (NVENCSTATUS)status;
}

static const char *last_error(void *encoder)
{
    return "as told";
}

/* Everything that a low-latency stream must not have. */
static NVENCSTATUS preset_config(void *encoder, GUID codec, GUID preset, NV_ENC_TUNING_INFO tuning,
                                 NV_ENC_PRESET_CONFIG *p)
{
    int status;
    called_nvenc("NvEncGetEncodePresetConfigEx", encoder, &status);
    demand_version("NvEncGetEncodePresetConfigEx", p->version, NV_ENC_PRESET_CONFIG_VER);
    demand_version("its config", p->presetCfg.version, NV_ENC_CONFIG_VER);
    NV_ENC_CONFIG *c = &p->presetCfg;
    c->gopLength = 250;
    c->frameIntervalP = 4;
    c->rcParams.enableLookahead = 1;
    c->rcParams.lookaheadDepth = 8;
    c->rcParams.rateControlMode = NV_ENC_PARAMS_RC_VBR;
    c->encodeCodecConfig.h264Config.idrPeriod = 250;
    c->encodeCodecConfig.h264Config.enableIntraRefresh = 1;
    c->encodeCodecConfig.h264Config.disableSPSPPS = 1;
    return (NVENCSTATUS)status;
}

static NVENCSTATUS initialize(void *encoder, NV_ENC_INITIALIZE_PARAMS *p)
{
    int status;
    struct session *s = called_nvenc("NvEncInitializeEncoder", encoder, &status);
    demand_version("NvEncInitializeEncoder", p->version, NV_ENC_INITIALIZE_PARAMS_VER);
    demand(p->encodeConfig != NULL && !s->initialized,
           "NvEncInitializeEncoder: no config, or twice");
    if (status) {
        return (NVENCSTATUS)status;
    }
    demand_version("its config", p->encodeConfig->version, NV_ENC_CONFIG_VER);
    d->init = *p;
    d->config = *p->encodeConfig;
    s->initialized = 1;
    if (d->real) {
        const struct coder_params c = {(int)p->encodeWidth, (int)p->encodeHeight,
                                       (int)p->frameRateNum,
                                       (int)p->encodeConfig->rcParams.averageBitRate};
        s->coder = coder_open(&c);
        return s->coder ? NV_ENC_SUCCESS : NV_ENC_ERR_UNIMPLEMENTED;
    }
    return NV_ENC_SUCCESS;
}

static NVENCSTATUS sequence_params(void *encoder, NV_ENC_SEQUENCE_PARAM_PAYLOAD *p)
{
    int status;
    struct session *s = called_nvenc("NvEncGetSequenceParams", encoder, &status);
    size_t n = sizeof(canned);
    const uint8_t *sets = s->coder ? coder_headers(s->coder, &n) : canned;
    demand_version("NvEncGetSequenceParams", p->version, NV_ENC_SEQUENCE_PARAM_PAYLOAD_VER);
    demand(s->initialized, "NvEncGetSequenceParams: not initialized");
    if (!status && n > p->inBufferSize) {
        /* libx264 adds a text about itself; the sequence comes first */
        n = p->inBufferSize;
    }
    if (!status) {
        memcpy(p->spsppsBuffer, sets, n);
        *p->outSPSPPSPayloadSize = (uint32_t)n;
    }
    return (NVENCSTATUS)status;
}

/* ---- NVENC: buffers ---- */

static NVENCSTATUS create_output(void *encoder, NV_ENC_CREATE_BITSTREAM_BUFFER *p)
{
    int status;
    struct session *s = called_nvenc("NvEncCreateBitstreamBuffer", encoder, &status);
    demand_version("NvEncCreateBitstreamBuffer", p->version, NV_ENC_CREATE_BITSTREAM_BUFFER_VER);
    demand(s->initialized, "NvEncCreateBitstreamBuffer: not initialized");
    if (!status) {
        s->output.flags = FLAG_LIVE;
        d->outputs++;
        p->bitstreamBuffer = &s->output;
    }
    return (NVENCSTATUS)status;
}

static NVENCSTATUS destroy_output(void *encoder, NV_ENC_OUTPUT_PTR output)
{
    int status;
    struct session *s = called_nvenc("NvEncDestroyBitstreamBuffer", encoder, &status);
    demand(output == &s->output && s->output.flags & FLAG_LIVE && !(s->output.flags & FLAG_LOCKED),
           "NvEncDestroyBitstreamBuffer: not there, or locked");
    s->output.flags = 0;
    d->outputs--;
    return (NVENCSTATUS)status;
}

static NVENCSTATUS register_resource(void *encoder, NV_ENC_REGISTER_RESOURCE *p)
{
    int status;
    called_nvenc("NvEncRegisterResource", encoder, &status);
    demand_version("NvEncRegisterResource", p->version, NV_ENC_REGISTER_RESOURCE_VER);
    demand(p->resourceType == NV_ENC_INPUT_RESOURCE_TYPE_CUDADEVICEPTR &&
               p->bufferFormat == NV_ENC_BUFFER_FORMAT_NV12 &&
               p->bufferUsage == NV_ENC_INPUT_IMAGE && p->width == d->init.encodeWidth &&
               p->height == d->init.encodeHeight && p->pitch >= p->width && p->pitch % 4 == 0,
           "NvEncRegisterResource: not an NV12 picture of this session");
    const uint64_t pointer = (uint64_t)(uintptr_t)p->resourceToRegister;
    demand(find_allocation(pointer) != NULL, "NvEncRegisterResource: not device memory");
    for (int i = 0; i < THINGS_MAX; i++) {
        demand(!registrations[i].flags || registrations[i].pointer != pointer,
               "NvEncRegisterResource: registered already");
    }
    if (!status) {
        struct thing *t = place(registrations);
        *t = (struct thing){.flags = FLAG_LIVE, .pointer = pointer, .pitch = p->pitch};
        d->registered++;
        p->registeredResource = t;
    }
    return (NVENCSTATUS)status;
}

static NVENCSTATUS unregister_resource(void *encoder, NV_ENC_REGISTERED_PTR resource)
{
    int status;
    struct thing *t = resource;
    called_nvenc("NvEncUnregisterResource", encoder, &status);
    demand(t && t->flags == FLAG_LIVE, "NvEncUnregisterResource: not registered, or mapped");
    t->flags = 0;
    d->registered--;
    return (NVENCSTATUS)status;
}

static NVENCSTATUS map_resource(void *encoder, NV_ENC_MAP_INPUT_RESOURCE *p)
{
    int status;
    struct thing *t = p->registeredResource;
    called_nvenc("NvEncMapInputResource", encoder, &status);
    demand_version("NvEncMapInputResource", p->version, NV_ENC_MAP_INPUT_RESOURCE_VER);
    demand(t && t->flags == FLAG_LIVE, "NvEncMapInputResource: not registered, or mapped");
    if (!status) {
        t->flags |= FLAG_MAPPED;
        d->mapped++;
        p->mappedResource = (char *)t + 1; /* another handle than the registration's */
        p->mappedBufferFmt = NV_ENC_BUFFER_FORMAT_NV12;
    }
    return (NVENCSTATUS)status;
}

static struct thing *mapped_thing(void *mapped)
{
    return (struct thing *)(void *)((char *)mapped - 1);
}

static NVENCSTATUS unmap_resource(void *encoder, NV_ENC_INPUT_PTR input)
{
    int status;
    struct session *s = called_nvenc("NvEncUnmapInputResource", encoder, &status);
    struct thing *t = mapped_thing(input);
    demand(t >= registrations && t < registrations + THINGS_MAX && t->flags & FLAG_MAPPED,
           "NvEncUnmapInputResource: not mapped");
    demand(!(s->output.flags & (FLAG_PENDING | FLAG_LOCKED)),
           "NvEncUnmapInputResource: its picture was not fetched");
    t->flags &= ~FLAG_MAPPED;
    d->mapped--;
    return (NVENCSTATUS)status;
}

/* ---- NVENC: pictures ---- */

static void make_packet(struct session *s, const struct thing *t, int key)
{
    s->packet = canned;
    s->packet_bytes = d->empty_packets ? 0 : sizeof(canned);
    s->packet_key = key;
    if (s->coder) {
        s->packet = coder_encode(s->coder, (const uint8_t *)(uintptr_t)t->pointer, t->pitch, key,
                                 &s->packet_bytes);
        demand(s->packet != NULL, "libx264 failed");
    }
}

static NVENCSTATUS encode_picture(void *encoder, NV_ENC_PIC_PARAMS *p)
{
    int status;
    struct session *s = called_nvenc("NvEncEncodePicture", encoder, &status);
    demand_version("NvEncEncodePicture", p->version, NV_ENC_PIC_PARAMS_VER);
    demand(!(s->output.flags & (FLAG_PENDING | FLAG_LOCKED)), "NvEncEncodePicture: output in use");
    if (p->encodePicFlags & NV_ENC_PIC_FLAG_EOS) {
        demand(!p->inputBuffer && d->mapped == 0, "NvEncEncodePicture: an end with a picture");
        return (NVENCSTATUS)status;
    }
    struct thing *t = mapped_thing(p->inputBuffer);
    demand(t >= registrations && t < registrations + THINGS_MAX && t->flags & FLAG_MAPPED,
           "NvEncEncodePicture: the picture is not mapped");
    demand(p->outputBitstream == &s->output && p->bufferFmt == NV_ENC_BUFFER_FORMAT_NV12 &&
               p->inputWidth == d->init.encodeWidth && p->inputHeight == d->init.encodeHeight &&
               p->inputPitch == t->pitch && p->pictureStruct == NV_ENC_PIC_STRUCT_FRAME,
           "NvEncEncodePicture: not as registered");
    d->flags = p->encodePicFlags;
    d->input = t->pointer;
    d->input_pitch = p->inputPitch;
    if (!status) {
        make_packet(s, t, (p->encodePicFlags & NV_ENC_PIC_FLAG_FORCEIDR) && !d->ignore_idr);
        s->output.flags |= FLAG_PENDING;
    }
    return (NVENCSTATUS)status;
}

static NVENCSTATUS lock_output(void *encoder, NV_ENC_LOCK_BITSTREAM *p)
{
    int status;
    struct session *s = called_nvenc("NvEncLockBitstream", encoder, &status);
    demand_version("NvEncLockBitstream", p->version, NV_ENC_LOCK_BITSTREAM_VER);
    demand(p->outputBitstream == &s->output && s->output.flags & FLAG_PENDING && !p->doNotWait,
           "NvEncLockBitstream: nothing to wait for");
    s->output.flags &= ~FLAG_PENDING;
    if (!status) {
        s->output.flags |= FLAG_LOCKED;
        d->locked++;
        p->bitstreamBufferPtr = (void *)(uintptr_t)s->packet;
        p->bitstreamSizeInBytes = (uint32_t)s->packet_bytes;
        p->pictureType = s->packet_key ? NV_ENC_PIC_TYPE_IDR : NV_ENC_PIC_TYPE_P;
    }
    return (NVENCSTATUS)status;
}

static NVENCSTATUS unlock_output(void *encoder, NV_ENC_OUTPUT_PTR output)
{
    int status;
    struct session *s = called_nvenc("NvEncUnlockBitstream", encoder, &status);
    demand(output == &s->output && s->output.flags & FLAG_LOCKED,
           "NvEncUnlockBitstream: not locked");
    s->output.flags &= ~FLAG_LOCKED;
    d->locked--;
    return (NVENCSTATUS)status;
}

/* ---- the library's entries ---- */

NVENCSTATUS NVENCAPI NvEncodeAPIGetMaxSupportedVersion(uint32_t *version)
{
    *version = d->version;
    return (NVENCSTATUS)called("NvEncodeAPIGetMaxSupportedVersion", NV_ENC_ERR_GENERIC);
}

NVENCSTATUS NVENCAPI NvEncodeAPICreateInstance(NV_ENCODE_API_FUNCTION_LIST *list)
{
    demand_version("NvEncodeAPICreateInstance", list->version, NV_ENCODE_API_FUNCTION_LIST_VER);
    list->nvEncOpenEncodeSessionEx = open_session;
    list->nvEncDestroyEncoder = destroy_session;
    list->nvEncGetLastErrorString = last_error;
    list->nvEncGetEncodePresetConfigEx = preset_config;
    list->nvEncInitializeEncoder = initialize;
    list->nvEncGetSequenceParams = sequence_params;
    list->nvEncCreateBitstreamBuffer = create_output;
    list->nvEncDestroyBitstreamBuffer = destroy_output;
    list->nvEncRegisterResource = register_resource;
    list->nvEncUnregisterResource = unregister_resource;
    list->nvEncMapInputResource = map_resource;
    list->nvEncUnmapInputResource = unmap_resource;
    list->nvEncEncodePicture = encode_picture;
    list->nvEncLockBitstream = lock_output;
    list->nvEncUnlockBitstream = unlock_output;
    return (NVENCSTATUS)called("NvEncodeAPICreateInstance", NV_ENC_ERR_INVALID_VERSION);
}
