/* One picture in CUDA device memory, 8 bits, 4:2:0: what the GPU's own encoder reads without a
 * copy. The types are the driver's, spelled so that nobody needs its headers.
 *
 * Thread-safety: plain data. */
#ifndef KT_ENGINE_BASE_NV12_H
#define KT_ENGINE_BASE_NV12_H

#include <stddef.h>
#include <stdint.h>

/* BT.709 limited range. `pointer` is luma, [h] rows of `pitch` bytes; chroma, [h/2] rows of U and V
 * taking turns, begins at pointer + pitch * h. */
struct kt_nv12 {
    uint64_t pointer; /* CUdeviceptr; 0: there is no picture on the device */
    size_t pitch;     /* bytes; at least the width, a multiple of 4 */
    void *context;    /* CUcontext that it was allocated in; NULL: the device's primary one */
    void *ready;      /* CUevent recorded behind the work that writes it; NULL: it is written */
};

#endif
