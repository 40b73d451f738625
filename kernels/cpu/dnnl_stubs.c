#include "kernels/cpu/dnnl.h"

int kt_dnnl_allows(unsigned level)
{
    (void)level;
    return 1;
}

void kt_dnnl_fill(struct kt_kernels *k)
{
    (void)k;
}
