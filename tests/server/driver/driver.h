/* A stand-in for the NVIDIA driver: one library that is both libcuda.so.1 and
 * libnvidia-encode.so.1, as far as server/encode/nvenc.c calls them. Device memory is host memory.
 * It
 *
 *   - keeps a list of the calls, and fails any one of them when told to;
 *   - knows what is open, registered, mapped and locked, and notes the first call that breaks the
 *     interface's rules (wrong version, wrong order, no context, undone twice, left behind);
 *   - returns either canned bytes or, `real`, what libx264 makes of the picture.
 *
 * A test loads the library under test's path and finds the control with dlsym. A server that is
 * started with the library in LD_LIBRARY_PATH makes real pictures.
 *
 * It shows that the calls are well-formed. It does not show that a real driver accepts them.
 *
 * Thread-safety: none; one thread at a time. */
#ifndef KT_TESTS_SERVER_DRIVER_H
#define KT_TESTS_SERVER_DRIVER_H

#include <ffnvcodec/dynlink_cuda.h>
#include <ffnvcodec/nvEncodeAPI.h>

enum { DRIVER_CALLS_MAX = 4096, DRIVER_NAME_BYTES = 40, DRIVER_PITCH = 256 };

struct driver_control {
    /* what the test sets */
    uint32_t version;  /* NvEncodeAPIGetMaxSupportedVersion */
    int fail_at;       /* the call of this number fails; -1: none */
    int fail_status;   /* with this status; 0: a common one */
    int ignore_idr;    /* pictures stay P pictures */
    int empty_packets; /* no bytes come out */
    int real;          /* libx264 encodes */
    /* what it sees */
    int call_count;
    char calls[DRIVER_CALLS_MAX][DRIVER_NAME_BYTES];
    char violation[256]; /* "": none */
    int contexts, context_depth, sessions, outputs, registered, mapped, locked, allocations;
    int no_context; /* cuCtxPushCurrent was made to fail: undoing goes on without it */
    int copies;     /* cuMemcpy2D */
    int events_waited;
    NV_ENC_INITIALIZE_PARAMS init;
    NV_ENC_CONFIG config;
    uint32_t flags; /* of the last picture */
    uint64_t input; /* device pointer of the last picture */
    uint32_t input_pitch;
};

/* Forgets everything, fails nothing. */
typedef void driver_reset_fn(void);
/* Device memory of the test's own, for pictures that come from the device. */
typedef CUdeviceptr driver_alloc_fn(size_t bytes);
typedef void driver_free_fn(CUdeviceptr pointer);

#endif
