/* Finding out whether there is an NVENC. Each step has its own way to be missing: no driver, a
 * driver without the encoder's library (containers), one that is older than the headers, no GPU, a
 * GPU without an encoder, all sessions taken. The sentence that names the step is the one line that
 * people see. */
#include "server/encode/nvenc_driver.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef NVENCSTATUS NVENCAPI create_instance(NV_ENCODE_API_FUNCTION_LIST *list);
typedef NVENCSTATUS NVENCAPI max_version(uint32_t *version);

/* ---- the context ---- */

int kt_nvenc_check_cuda(const struct kt_nvenc *n, CUresult result, const char *what,
                        struct kt_error *err)
{
    const char *name = NULL;
    if (result == CUDA_SUCCESS) {
        return 0;
    }
    if (n->cuda.error_name(result, &name) != CUDA_SUCCESS || !name) {
        name = "unknown error";
    }
    return kt_fail(err, -EIO, "NVENC: %s: %s (%d)", what, name, (int)result);
}

int kt_nvenc_enter(const struct kt_nvenc *n, struct kt_error *err)
{
    return kt_nvenc_check_cuda(n, n->cuda.context_push(n->context), "cuCtxPushCurrent", err);
}

void kt_nvenc_leave(const struct kt_nvenc *n)
{
    CUcontext mine;
    n->cuda.context_pop(&mine);
}

/* ---- the libraries ---- */

static int load(void **library, const char *wanted, const char *usual, struct kt_error *err)
{
    const char *name = wanted ? wanted : usual;
    *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    return *library ? 0 : kt_fail(err, -ENOTSUP, "no NVENC: %s", dlerror());
}

/* ISO C has no conversion from an object's pointer to a function's; POSIX promises that this is
 * one.
 */
static int find(void *library, const char *symbol, void *function, struct kt_error *err)
{
    void *found = dlsym(library, symbol);
    memcpy(function, &found, sizeof(found));
    return found ? 0 : kt_fail(err, -ENOTSUP, "no NVENC: the driver's library has no %s", symbol);
}

static int load_cuda(struct kt_nvenc *n, const char *name, struct kt_error *err)
{
    struct kt_cuda_calls *c = &n->cuda;
    const struct {
        const char *symbol;
        void *function;
    } wanted[] = {
        {"cuInit", &c->init},
        {"cuDeviceGet", &c->device_get},
        {"cuDeviceGetName", &c->device_get_name},
        {"cuDevicePrimaryCtxRetain", &c->context_retain},
        {"cuDevicePrimaryCtxRelease", &c->context_release},
        {"cuCtxPushCurrent_v2", &c->context_push},
        {"cuCtxPopCurrent_v2", &c->context_pop},
        {"cuMemAllocPitch_v2", &c->alloc_pitch},
        {"cuMemFree_v2", &c->free},
        {"cuMemcpy2D_v2", &c->copy_2d},
        {"cuEventSynchronize", &c->event_wait},
        {"cuGetErrorName", &c->error_name},
    };
    int rc = load(&n->cuda_library, name, "libcuda.so.1", err);
    for (size_t i = 0; rc == 0 && i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        rc = find(n->cuda_library, wanted[i].symbol, wanted[i].function, err);
    }
    return rc;
}

/* The driver must know at least the interface that the headers describe; later ones keep it. */
static int check_version(max_version *get, struct kt_error *err)
{
    const uint32_t wanted = NVENCAPI_MAJOR_VERSION << 4 | NVENCAPI_MINOR_VERSION;
    uint32_t found = 0;
    if (get(&found) == NV_ENC_SUCCESS && found >= wanted) {
        return 0;
    }
    return kt_fail(err, -ENOTSUP,
                   "no NVENC: the driver knows version %u.%u of its interface, this build needs "
                   "%d.%d or later (newer driver wanted)",
                   found >> 4, found & 15, NVENCAPI_MAJOR_VERSION, NVENCAPI_MINOR_VERSION);
}

static int load_encode(struct kt_nvenc *n, const char *name, struct kt_error *err)
{
    create_instance *create = NULL;
    max_version *version = NULL;
    int rc = load(&n->encode_library, name, "libnvidia-encode.so.1", err);
    rc = rc < 0 ? rc : find(n->encode_library, "NvEncodeAPIGetMaxSupportedVersion", &version, err);
    rc = rc < 0 ? rc : find(n->encode_library, "NvEncodeAPICreateInstance", &create, err);
    rc = rc < 0 ? rc : check_version(version, err);
    if (rc < 0) {
        return rc;
    }
    n->api.version = NV_ENCODE_API_FUNCTION_LIST_VER;
    return create(&n->api) == NV_ENC_SUCCESS
               ? 0
               : kt_fail(err, -ENOTSUP, "no NVENC: the driver refuses its function table");
}

/* ---- open ---- */

static int retain_context(struct kt_nvenc *n, int device, struct kt_error *err)
{
    int rc = kt_nvenc_check_cuda(n, n->cuda.init(0), "cuInit", err);
    rc = rc < 0
             ? rc
             : kt_nvenc_check_cuda(n, n->cuda.device_get(&n->device, device), "cuDeviceGet", err);
    rc = rc < 0
             ? rc
             : kt_nvenc_check_cuda(n,
                                   n->cuda.device_get_name(
                                       n->device_name, (int)sizeof(n->device_name) - 1, n->device),
                                   "cuDeviceGetName", err);
    return rc < 0 ? rc
                  : kt_nvenc_check_cuda(n, n->cuda.context_retain(&n->context, n->device),
                                        "cuDevicePrimaryCtxRetain", err);
}

/* The whole way that a session takes, less the pictures. It leaves the name of its stream. */
static int try_session(struct kt_nvenc *n, const struct kt_encoder_params *trial,
                       struct kt_error *err)
{
    struct kt_encoder_params p = *trial;
    struct kt_encoder *e = NULL;
    p.codec = KT_CODEC_H264;
    p.nvenc = n;
    const int rc = kt_encoder_open(&e, &p, err);
    kt_encoder_close(&e);
    return rc;
}

int kt_nvenc_open(struct kt_nvenc **out, const struct kt_nvenc_params *p,
                  const struct kt_encoder_params *trial, struct kt_error *err)
{
    struct kt_nvenc *n = calloc(1, sizeof(*n));
    if (!n) {
        return kt_fail(err, -ENOMEM, "no NVENC: out of memory");
    }
    int rc = load_cuda(n, p->cuda_library, err);
    rc = rc < 0 ? rc : load_encode(n, p->encode_library, err);
    rc = rc < 0 ? rc : retain_context(n, p->device, err);
    rc = rc < 0 ? rc : try_session(n, trial, err);
    if (rc < 0) {
        kt_nvenc_close(&n);
        return -ENOTSUP;
    }
    *out = n;
    return 0;
}

void kt_nvenc_close(struct kt_nvenc **nvenc)
{
    struct kt_nvenc *n = nvenc ? *nvenc : NULL;
    if (!n) {
        return;
    }
    *nvenc = NULL;
    if (n->context) {
        n->cuda.context_release(n->device);
    }
    if (n->encode_library) {
        dlclose(n->encode_library);
    }
    if (n->cuda_library) {
        dlclose(n->cuda_library);
    }
    free(n);
}

const char *kt_nvenc_codec_string(const struct kt_nvenc *nvenc)
{
    return nvenc ? nvenc->codec_string : "";
}
