/* What oneDNN makes of our shapes, for `checkkern --bench --level yardstick`: it decides whether a
 * product of our own is worth its lines. Plain matmul and convolution without the activations, past
 * frames and doubling that ours include; weights in the layout it likes best. */
#include "tests/kernels/checkkern.h"

#include <dnnl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct primitive {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_exec_arg_t args[4];
    const char *impl;
};

static void call(void *ctx)
{
    struct primitive *p = ctx;
    dnnl_primitive_execute(p->primitive, p->stream, 4, p->args);
    dnnl_stream_wait(p->stream);
}

static dnnl_memory_t zeros(dnnl_engine_t engine, const dnnl_memory_desc_t *d)
{
    dnnl_memory_t m;
    void *data;
    dnnl_memory_create(&m, d, engine, DNNL_MEMORY_ALLOCATE);
    dnnl_memory_get_data_handle(m, &data);
    memset(data, 0, dnnl_memory_desc_get_size(d));
    return m;
}

static int make(struct primitive *p, const_dnnl_op_desc_t op, const dnnl_memory_desc_t *x,
                const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *y)
{
    dnnl_primitive_desc_t pd;
    if (dnnl_primitive_desc_create(&pd, op, NULL, p->engine, NULL) != dnnl_success) {
        return -1;
    }
    const dnnl_memory_desc_t *w = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&p->impl);
    dnnl_primitive_create(&p->primitive, pd);
    p->args[0] = (dnnl_exec_arg_t){DNNL_ARG_SRC, zeros(p->engine, x)};
    p->args[1] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, zeros(p->engine, w)};
    p->args[2] = (dnnl_exec_arg_t){DNNL_ARG_BIAS, zeros(p->engine, b)};
    p->args[3] = (dnnl_exec_arg_t){DNNL_ARG_DST, zeros(p->engine, y)};
    return 0;
}

static void run(struct ck *c, struct primitive *p, const char *op, const char *shape, double flop)
{
    char text[64];
    snprintf(text, sizeof(text), "%s %s", shape, p->impl);
    ck_time(c, &(struct ck_bench){op, text, flop, 0, call, p});
    dnnl_primitive_destroy(p->primitive);
    for (int i = 0; i < 4; i++) {
        dnnl_memory_destroy(p->args[i].memory);
    }
}

static void time_matmul(struct ck *c, struct primitive *p, int m, int k, int n)
{
    const dnnl_dims_t xd = {m, k}, wd = {k, n}, bd = {1, n}, yd = {m, n};
    dnnl_memory_desc_t x, w, b, y;
    dnnl_matmul_desc_t d;
    char shape[32];
    snprintf(shape, sizeof(shape), "m%d k%d n%d", m, k, n);
    dnnl_memory_desc_init_by_tag(&x, 2, xd, dnnl_f32, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&w, 2, wd, dnnl_f32, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&b, 2, bd, dnnl_f32, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&y, 2, yd, dnnl_f32, dnnl_ab);
    if (dnnl_matmul_desc_init(&d, &x, &w, &b, &y) == dnnl_success && make(p, &d, &x, &b, &y) == 0) {
        run(c, p, "matmul", shape, 2.0 * m * k * n);
    }
}

/* 3x3x3 with the two past frames already in front of t new ones. */
static void time_conv(struct ck *c, struct primitive *p, int c_in, int c_out, const int dim[3])
{
    const dnnl_dims_t xd = {1, c_in, dim[0] + 2, dim[1], dim[2]}, wd = {c_out, c_in, 3, 3, 3};
    const dnnl_dims_t bd = {c_out}, yd = {1, c_out, dim[0], dim[1], dim[2]};
    const dnnl_dims_t stride = {1, 1, 1}, pad = {0, 1, 1};
    dnnl_memory_desc_t x, w, b, y;
    dnnl_convolution_desc_t d;
    char shape[32];
    snprintf(shape, sizeof(shape), "%d->%d t%d %dx%d", c_in, c_out, dim[0], dim[1], dim[2]);
    dnnl_memory_desc_init_by_tag(&x, 5, xd, dnnl_f32, dnnl_ndhwc);
    dnnl_memory_desc_init_by_tag(&w, 5, wd, dnnl_f32, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&b, 1, bd, dnnl_f32, dnnl_a);
    dnnl_memory_desc_init_by_tag(&y, 5, yd, dnnl_f32, dnnl_ndhwc);
    if (dnnl_convolution_forward_desc_init(&d, dnnl_forward_inference, dnnl_convolution_direct, &x,
                                           &w, &b, &y, stride, pad, pad) == dnnl_success &&
        make(p, &d, &x, &b, &y) == 0) {
        run(c, p, "conv3d", shape, 54.0 * c_in * c_out * dim[0] * dim[1] * dim[2]);
    }
}

void ck_yardstick(struct ck *c)
{
    struct primitive p = {0};
    omp_set_num_threads(c->threads);
    if (dnnl_engine_create(&p.engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&p.stream, p.engine, dnnl_stream_default_flags) != dnnl_success) {
        return;
    }
    time_matmul(c, &p, 252, 256, 256);
    time_matmul(c, &p, 252, 256, 768);
    time_matmul(c, &p, 252, 256, 1024);
    time_matmul(c, &p, 252, 1024, 256);
    time_matmul(c, &p, 96, 1536, 1536);
    time_conv(c, &p, 64, 64, (const int[3]){1, 14, 24});
    time_conv(c, &p, 32, 32, (const int[3]){2, 28, 48});
    time_conv(c, &p, 16, 16, (const int[3]){4, 56, 96});
    time_conv(c, &p, 8, 8, (const int[3]){4, 112, 192});
    time_conv(c, &p, 8, 3, (const int[3]){4, 112, 192});
    dnnl_stream_destroy(p.stream);
    dnnl_engine_destroy(p.engine);
}
