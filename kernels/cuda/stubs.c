/* A build without CUDA. */
#include "kernels/kernels.h"

#include <errno.h>
#include <stdio.h>

int kt_kernels_cuda(struct kt_kernels *out, int device, enum kt_precision precision, char *err,
                    size_t err_cap)
{
    (void)out, (void)device, (void)precision;
    snprintf(err, err_cap, "this build has no CUDA (configure with -Dcuda=enabled)");
    return -ENOTSUP;
}
