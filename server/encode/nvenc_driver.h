/* The NVIDIA driver as nvenc.c sees it: the few calls used of its two libraries, and the CUDA
 * context that everything happens in. Needs the NVENC headers (Debian: libffmpeg-nvenc-dev).
 *
 * Thread-safety: read-only after open. */
#ifndef KT_SERVER_ENCODE_NVENC_DRIVER_H
#define KT_SERVER_ENCODE_NVENC_DRIVER_H

#include "server/encode/h264.h"
#include "server/encode/nvenc.h"

#include <ffnvcodec/dynlink_cuda.h>
#include <ffnvcodec/nvEncodeAPI.h>

/* Named after the driver's symbols, whose versions they are. */
struct kt_cuda_calls {
    tcuInit *init;
    tcuDeviceGet *device_get;
    tcuDeviceGetName *device_get_name;
    tcuDevicePrimaryCtxRetain *context_retain;
    tcuDevicePrimaryCtxRelease *context_release;
    tcuCtxPushCurrent_v2 *context_push;
    tcuCtxPopCurrent_v2 *context_pop;
    tcuMemAllocPitch_v2 *alloc_pitch;
    tcuMemFree_v2 *free;
    tcuMemcpy2D_v2 *copy_2d;
    tcuEventSynchronize *event_wait;
    tcuGetErrorName *error_name;
};

struct kt_nvenc {
    void *cuda_library, *encode_library;
    struct kt_cuda_calls cuda;
    NV_ENCODE_API_FUNCTION_LIST api;
    CUdevice device;
    CUcontext context; /* NULL: not retained */
    char device_name[64];
    char codec_string[KT_H264_STRING_BYTES]; /* "": the trial has yet to fill it in */
};

/* 0, or -EIO and "NVENC: WHAT: the driver's name of the error". */
int kt_nvenc_check_cuda(const struct kt_nvenc *n, CUresult result, const char *what,
                        struct kt_error *err);
/* Makes the context current on this thread, and gives back what was. */
int kt_nvenc_enter(const struct kt_nvenc *n, struct kt_error *err);
void kt_nvenc_leave(const struct kt_nvenc *n);

#endif
