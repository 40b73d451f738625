/* A build without sm_90a: what only Hopper has is never chosen, since attention has no workspace
 * and no filter is taken. */
#include "kernels/cuda/attention.h"
#include "kernels/cuda/conv.h"

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

int ktc_filter_takes(const struct kt_conv_desc *d)
{
    (void)d;
    return 0;
}

int ktc_filter_takes_f8(const struct kt_conv_desc *d)
{
    (void)d;
    return 0;
}

int ktc_filter_create_f8(struct ktc_filter **c, cudaStream_t stream, const struct kt_conv_desc *d)
{
    (void)c, (void)stream, (void)d;
    return -ENOSYS;
}

int ktc_filter_create(struct ktc_filter **c, cudaStream_t stream, const struct kt_conv_desc *d)
{
    (void)c, (void)stream, (void)d;
    return -ENOSYS;
}

size_t ktc_filter_bytes(const struct ktc_filter *c)
{
    (void)c;
    return 0;
}

void ktc_filter_destroy(struct ktc_filter **c)
{
    (void)c;
}

int ktc_filter_run(cudaStream_t stream, const struct ktc_filter *c, const struct kt_conv_args *a)
{
    (void)stream, (void)c, (void)a;
    return -ENOSYS;
}
