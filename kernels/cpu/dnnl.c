/* Primitives are built per shape at first use, kept with the weights and counted as allocations:
 * after warm-up every shape has its plan. Weights are reordered into the layout that the first plan
 * likes; a later plan that likes another gets a copy of its own. */
#include "kernels/cpu/dnnl.h"

#include <dnnl.h>
#include <errno.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/ref.h"

enum { PLANS_MAX = 64, KEYS = 6, ARGS_MAX = 5 };

struct plan {
    int key[KEYS];
    dnnl_primitive_t primitive;
    dnnl_memory_t src, dst, weights, bias, scratch;
    size_t scratch_bytes;
    int owns_weights;
};

struct kt_dnnl_plans {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int count;
    struct plan plans[PLANS_MAX];
};

int kt_dnnl_allows(unsigned level)
{
    /* The ISA values are bit sets: a wider one contains the narrower. */
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    const unsigned need = level == KT_CPU_AVX512 ? dnnl_cpu_isa_avx512_core : dnnl_cpu_isa_avx2;
    return isa == (unsigned)dnnl_cpu_isa_all || (isa & need) == need;
}

static void plan_finish(struct plan *p)
{
    dnnl_memory_t memories[] = {p->src, p->dst, p->bias, p->scratch,
                                p->owns_weights ? p->weights : NULL};
    for (size_t i = 0; i < sizeof(memories) / sizeof(memories[0]); i++) {
        if (memories[i]) {
            dnnl_memory_destroy(memories[i]);
        }
    }
    if (p->primitive) {
        dnnl_primitive_destroy(p->primitive);
    }
    memset(p, 0, sizeof(*p));
}

static void plans_destroy(struct kt_dnnl_plans **plans)
{
    struct kt_dnnl_plans *s = *plans;
    if (!s) {
        return;
    }
    for (int i = s->count - 1; i >= 0; i--) {
        plan_finish(&s->plans[i]);
    }
    if (s->stream) {
        dnnl_stream_destroy(s->stream);
    }
    if (s->engine) {
        dnnl_engine_destroy(s->engine);
    }
    free(s);
    *plans = NULL;
}

static int plans_create(struct kt_dnnl_plans **plans)
{
    struct kt_dnnl_plans *s = calloc(1, sizeof(*s));
    if (!s) {
        return -ENOMEM;
    }
    if (dnnl_engine_create(&s->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&s->stream, s->engine, dnnl_stream_default_flags) != dnnl_success) {
        plans_destroy(&s);
        return -ENOMEM;
    }
    *plans = s;
    return 0;
}

static struct plan *find_plan(struct kt_dnnl_plans *s, const int key[KEYS])
{
    for (int i = 0; i < s->count; i++) {
        if (memcmp(s->plans[i].key, key, sizeof(s->plans[i].key)) == 0) {
            return &s->plans[i];
        }
    }
    return NULL;
}

/* Weights as `given` describes them, in the layout `wanted`: an earlier plan's, or a reordered
 * copy. */
static int take_weights(struct kt_dnnl_plans *s, struct plan *p, float *data,
                        const dnnl_memory_desc_t *given, const dnnl_memory_desc_t *wanted)
{
    for (int i = 0; i < s->count; i++) {
        const dnnl_memory_desc_t *md;
        dnnl_memory_get_memory_desc(s->plans[i].weights, &md);
        if (dnnl_memory_desc_equal(md, wanted)) {
            p->weights = s->plans[i].weights;
            return 0;
        }
    }
    dnnl_memory_t from = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    int rc = -ENOMEM;
    if (dnnl_memory_create(&from, given, s->engine, data) == dnnl_success &&
        dnnl_memory_create(&p->weights, wanted, s->engine, DNNL_MEMORY_ALLOCATE) == dnnl_success &&
        dnnl_reorder_primitive_desc_create(&pd, given, s->engine, wanted, s->engine, NULL) ==
            dnnl_success &&
        dnnl_primitive_create(&reorder, pd) == dnnl_success) {
        dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, p->weights}};
        p->owns_weights = 1;
        rc = dnnl_primitive_execute(reorder, s->stream, 2, args) == dnnl_success ? 0 : -EIO;
        dnnl_stream_wait(s->stream);
    }
    if (reorder) {
        dnnl_primitive_destroy(reorder);
    }
    if (pd) {
        dnnl_primitive_desc_destroy(pd);
    }
    if (from) {
        dnnl_memory_destroy(from);
    }
    return rc;
}

/* Everything a plan needs once its primitive descriptor stands. */
static int complete_plan(struct kt_dnnl_plans *s, struct plan *p, dnnl_primitive_desc_t pd,
                         float *weights, const dnnl_memory_desc_t *given, float *bias)
{
    const dnnl_memory_desc_t *src = dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0);
    const dnnl_memory_desc_t *dst = dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0);
    const dnnl_memory_desc_t *w = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    const dnnl_memory_desc_t *b = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 1);
    const dnnl_memory_desc_t *scratch =
        dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    p->scratch_bytes = dnnl_memory_desc_get_size(scratch);
    if (dnnl_primitive_create(&p->primitive, pd) != dnnl_success ||
        dnnl_memory_create(&p->src, src, s->engine, DNNL_MEMORY_NONE) != dnnl_success ||
        dnnl_memory_create(&p->dst, dst, s->engine, DNNL_MEMORY_NONE) != dnnl_success ||
        dnnl_memory_create(&p->scratch, scratch, s->engine, DNNL_MEMORY_NONE) != dnnl_success ||
        (bias && dnnl_memory_create(&p->bias, b, s->engine, bias) != dnnl_success)) {
        return -ENOMEM;
    }
    return take_weights(s, p, weights, given, w);
}

static int execute(struct kt_dnnl_plans *s, struct plan *p, const void *x, void *y, void *scratch)
{
    dnnl_exec_arg_t args[ARGS_MAX] = {{DNNL_ARG_SRC, p->src},
                                      {DNNL_ARG_DST, p->dst},
                                      {DNNL_ARG_WEIGHTS, p->weights},
                                      {DNNL_ARG_SCRATCHPAD, p->scratch},
                                      {DNNL_ARG_BIAS, p->bias}};
    dnnl_memory_set_data_handle(p->src, (void *)x);
    dnnl_memory_set_data_handle(p->dst, y);
    dnnl_memory_set_data_handle(p->scratch, scratch);
    dnnl_status_t status = dnnl_primitive_execute(p->primitive, s->stream, p->bias ? 5 : 4, args);
    return status == dnnl_success && dnnl_stream_wait(s->stream) == dnnl_success ? 0 : -EIO;
}

static dnnl_primitive_attr_t make_attr(void)
{
    dnnl_primitive_attr_t attr = NULL;
    if (dnnl_primitive_attr_create(&attr) == dnnl_success) {
        dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    }
    return attr;
}

static void set_post_ops(dnnl_primitive_attr_t attr, int sum, dnnl_alg_kind_t eltwise, float alpha)
{
    dnnl_post_ops_t ops = NULL;
    if (dnnl_post_ops_create(&ops) != dnnl_success) {
        return;
    }
    if (sum) {
        dnnl_post_ops_append_sum(ops, 1.0f);
    }
    if (eltwise != dnnl_alg_kind_undef) {
        dnnl_post_ops_append_eltwise(ops, 1.0f, eltwise, alpha, 0.0f);
    }
    dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
}

/* Builds a plan from an operation descriptor, into the next free place. */
static struct plan *add_plan(struct kt_queue *q, struct kt_dnnl_plans *s, const int key[KEYS],
                             const_dnnl_op_desc_t op, dnnl_primitive_attr_t attr, float *weights,
                             const dnnl_memory_desc_t *given, float *bias)
{
    struct plan *p = &s->plans[s->count];
    dnnl_primitive_desc_t pd = NULL;
    if (dnnl_primitive_desc_create(&pd, op, attr, s->engine, NULL) != dnnl_success) {
        return NULL;
    }
    memset(p, 0, sizeof(*p));
    memcpy(p->key, key, sizeof(p->key));
    int rc = complete_plan(s, p, pd, weights, given, bias);
    dnnl_primitive_desc_destroy(pd);
    if (rc < 0) {
        plan_finish(p);
        return NULL;
    }
    s->count++;
    q->stats.allocs++;
    return p;
}

/* ---- linear ---- */

static int linear_create(struct kt_linear **l, struct kt_queue *q, const struct kt_linear_desc *d)
{
    int rc = kt_ref_linear_create(l, q, d);
    if (rc == 0 && (rc = plans_create(&(*l)->dnnl)) < 0) {
        kt_ref_linear_destroy(l);
    }
    return rc;
}

static void linear_destroy(struct kt_linear **l)
{
    if (l && *l) {
        plans_destroy(&(*l)->dnnl);
    }
    kt_ref_linear_destroy(l);
}

static struct plan *plan_linear(struct kt_queue *q, const struct kt_linear *l, const int key[KEYS])
{
    const int m = key[0], ld_x = key[1], ld_y = key[2];
    dnnl_memory_desc_t x, y, w, any, b;
    dnnl_matmul_desc_t op;
    dnnl_primitive_attr_t attr = make_attr();
    dnnl_memory_desc_init_by_strides(&x, 2, (dnnl_dims_t){m, l->k}, dnnl_f32,
                                     (dnnl_dims_t){ld_x, 1});
    dnnl_memory_desc_init_by_strides(&y, 2, (dnnl_dims_t){m, l->n}, dnnl_f32,
                                     (dnnl_dims_t){ld_y, 1});
    dnnl_memory_desc_init_by_tag(&w, 2, (dnnl_dims_t){l->k, l->n}, dnnl_f32, dnnl_ab);
    dnnl_memory_desc_init_by_tag(&any, 2, (dnnl_dims_t){l->k, l->n}, dnnl_f32, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&b, 2, (dnnl_dims_t){1, l->n}, dnnl_f32, dnnl_ab);
    if (key[3] == KT_ACT_GELU_TANH) {
        set_post_ops(attr, 0, dnnl_eltwise_gelu_tanh, 0.0f);
    } else if (key[3] == KT_ACT_SILU) {
        set_post_ops(attr, 0, dnnl_eltwise_swish, 1.0f);
    }
    struct plan *p = NULL;
    if (attr && dnnl_matmul_desc_init(&op, &x, &any, l->bias ? &b : NULL, &y) == dnnl_success) {
        p = add_plan(q, l->dnnl, key, &op, attr, l->weight, &w, l->bias);
    }
    dnnl_primitive_attr_destroy(attr);
    return p;
}

static int linear(struct kt_queue *q, const struct kt_linear *l, const struct kt_linear_args *a)
{
    const int key[KEYS] = {a->m, a->ld_x ? a->ld_x : l->k, a->ld_y ? a->ld_y : l->n, (int)a->act};
    if (a->m < 0 || key[1] < l->k || key[2] < l->n) {
        return -EINVAL;
    }
    if (a->m == 0) {
        return 0;
    }
    omp_set_num_threads(q->threads); /* a plan is built for, and run by, that many */
    struct plan *p = find_plan(l->dnnl, key);
    if (!p && (l->dnnl->count == PLANS_MAX || !(p = plan_linear(q, l, key)))) {
        return kt_ref_linear(q, l, a); /* slow but right: more shapes than a model has */
    }
    void *scratch = kt_queue_workspace(q, p->scratch_bytes + 1);
    if (!scratch) {
        return -ENOMEM;
    }
    q->stats.launches++;
    return execute(l->dnnl, p, a->x, a->y, scratch);
}

/* ---- convolution ---- */

static int conv_create(struct kt_conv **c, struct kt_queue *q, const struct kt_conv_desc *d)
{
    int rc = kt_ref_conv_create(c, q, d);
    if (rc == 0 && (rc = plans_create(&(*c)->dnnl)) < 0) {
        kt_ref_conv_destroy(c);
    }
    return rc;
}

static void conv_destroy(struct kt_conv **c)
{
    if (c && *c) {
        plans_destroy(&(*c)->dnnl);
    }
    kt_ref_conv_destroy(c);
}

/* key: frames the filter sees, its height and width, residual, relu. */
static struct plan *plan_conv(struct kt_queue *q, const struct kt_conv *c, const int key[KEYS],
                              const struct kt_conv_shape *s)
{
    const struct kt_conv_desc *d = &c->d;
    dnnl_memory_desc_t x, y, w, any, b;
    dnnl_convolution_desc_t op;
    dnnl_primitive_attr_t attr = make_attr();
    const dnnl_dims_t filter = {d->c_out, d->c_in, d->kt, d->kh, d->kw};
    dnnl_memory_desc_init_by_tag(&x, 5, (dnnl_dims_t){1, d->c_in, key[0], key[1], key[2]}, dnnl_f32,
                                 dnnl_ndhwc);
    dnnl_memory_desc_init_by_tag(&y, 5, (dnnl_dims_t){1, d->c_out, s->t_out, s->h_out, s->w_out},
                                 dnnl_f32, dnnl_ndhwc);
    dnnl_memory_desc_init_by_tag(&w, 5, filter, dnnl_f32, dnnl_dhwio);
    dnnl_memory_desc_init_by_tag(&any, 5, filter, dnnl_f32, dnnl_format_tag_any);
    dnnl_memory_desc_init_by_tag(&b, 1, (dnnl_dims_t){d->c_out}, dnnl_f32, dnnl_a);
    set_post_ops(attr, key[3], key[4] ? dnnl_eltwise_relu : dnnl_alg_kind_undef, 0.0f);
    struct plan *p = NULL;
    if (attr &&
        dnnl_convolution_forward_desc_init(
            &op, dnnl_forward_inference, dnnl_convolution_auto, &x, &any, c->bias ? &b : NULL, &y,
            (dnnl_dims_t){d->st, d->sh, d->sw}, (dnnl_dims_t){0, d->pad_top, d->pad_left},
            (dnnl_dims_t){0, d->pad_bottom, d->pad_right}) == dnnl_success) {
        p = add_plan(q, c->dnnl, key, &op, attr, c->weight, &w, c->bias);
    }
    dnnl_primitive_attr_destroy(attr);
    return p;
}

/* What the filter sees in one piece: past frames (or zeros) before x, doubled in space where it
 * upsamples. */
static void gather_input(float *out, const struct kt_conv *c, const struct kt_conv_args *a,
                         const struct kt_conv_shape *s)
{
    const size_t channels = (size_t)c->d.c_in, frame = (size_t)a->h * a->w * channels;
    const int shift = c->d.upsample ? 1 : 0;
    for (int t = 0; t < s->past + a->t_in; t++) {
        const float *from = t < s->past ? (const float *)a->past : (const float *)a->x;
        const size_t at = (size_t)(t < s->past ? t : t - s->past) * frame;
        for (int y = 0; y < s->h_in; y++) {
            for (int x = 0; x < s->w_in; x++, out += channels) {
                if (!from) {
                    memset(out, 0, channels * sizeof(float));
                    continue;
                }
                const size_t pixel = (size_t)(y >> shift) * a->w + (size_t)(x >> shift);
                memcpy(out, from + at + pixel * channels, channels * sizeof(float));
            }
        }
    }
}

static int conv(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a)
{
    struct kt_conv_shape s;
    const int rc = kt_conv_shape_of(&s, &c->d, a);
    if (rc < 0) {
        return rc;
    }
    const int key[KEYS] = {s.past + a->t_in, s.h_in, s.w_in, a->residual != NULL, a->relu != 0};
    omp_set_num_threads(q->threads);
    struct plan *p = find_plan(c->dnnl, key);
    if (!p && (c->dnnl->count == PLANS_MAX || !(p = plan_conv(q, c, key, &s)))) {
        return kt_ref_conv(q, c, a);
    }
    const int gather = s.past > 0 || c->d.upsample;
    const size_t seen = (size_t)key[0] * key[1] * key[2] * c->d.c_in * sizeof(float);
    const size_t before = gather ? (seen + 63) / 64 * 64 : 0;
    char *workspace = kt_queue_workspace(q, before + p->scratch_bytes + 1);
    if (!workspace) {
        return -ENOMEM;
    }
    if (gather) {
        gather_input((float *)workspace, c, a, &s);
    }
    if (a->residual) {
        memcpy(a->y, a->residual, (size_t)s.t_out * s.h_out * s.w_out * c->d.c_out * sizeof(float));
    }
    q->stats.launches++;
    return execute(c->dnnl, p, gather ? workspace : a->x, a->y, workspace + before);
}

void kt_dnnl_fill(struct kt_kernels *k)
{
    k->name = "cpu-dnnl";
    k->linear_create = linear_create;
    k->linear_destroy = linear_destroy;
    k->linear = linear;
    k->conv_create = conv_create;
    k->conv_destroy = conv_destroy;
    k->conv = conv;
}
