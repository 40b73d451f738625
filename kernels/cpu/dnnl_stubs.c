#include "kernels/cpu/dnnl.h"

void kt_dnnl_fill(struct kt_kernels *k)
{
    (void)k;
}

int kt_dnnl_allows(unsigned level)
{
    (void)level;
    return 1;
}
