#include "cli/bench_encoder.h"

#include <stddef.h>

int kt_bench_encoder_open(struct kt_bench_encoder **e, int width, int height, int fps)
{
    *e = NULL;
    return 0;
}

void kt_bench_encoder_close(struct kt_bench_encoder **e)
{
}

const char *kt_bench_encoder_name(const struct kt_bench_encoder *e)
{
    return "none";
}

int kt_bench_encoder_run(struct kt_bench_encoder *e, const uint8_t *i420)
{
    return 0;
}
