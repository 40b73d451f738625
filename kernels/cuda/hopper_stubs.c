/* A build without sm_90a: what only Hopper has is never chosen, since it has no workspace. */
#include "kernels/cuda/attention.h"

#include <errno.h>

size_t ktc_attention_work_bytes(void)
{
    return 0;
}

int ktc_attention_bf16(cudaStream_t stream, const struct ktc_attention *a)
{
    (void)stream, (void)a;
    return -ENOSYS;
}

int ktc_attention_f8(cudaStream_t stream, const struct ktc_attention_f8 *a)
{
    (void)stream, (void)a;
    return -ENOSYS;
}
