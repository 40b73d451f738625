#include "engine/text/text_encoder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/text/position_bias.h"
#include "engine/weights/dtype.h"

enum { QKV = 3 };

struct layer {
    float *norm1, *norm2;  /* [f32] [dim] */
    struct kt_linear *qkv; /* dim -> 3 * dim_attn, in this order */
    struct kt_linear *o;
    struct kt_linear *fc1, *gate, *fc2;
};

struct kt_text_encoder {
    struct kt_device *dev;
    struct kt_text_config cfg;
    struct kt_tensor
        embedding; /* [vocab, dim] as in the file, our own copy in host memory: of 256,384
                      rows a prompt needs a few dozen, so they are converted when used */
    struct layer *layers;
    float *norm; /* [f32] [dim] */
    struct kt_position_bias *bias;
    float *rows;             /* host [text_len, dim] */
    void *scratch;           /* all below, for text_len tokens, [act] unless noted */
    void *x;                 /* [f32] [n, dim]: the stream */
    void *h;                 /* [n, dim]: a branch's input and output */
    void *qkv;               /* [n, 3, dim_attn] */
    void *mixed;             /* [n, dim_attn] */
    void *up, *gate, *gated; /* [n, dim_ffn] */
};

/* --- loading
 * -------------------------------------------------------------------------------------- */

/* The matrices stacked by rows, aligned, in the dtype they share, else in fp32. */
static void *stack(const struct kt_tensor *const *parts, int n, enum kt_dtype *dtype)
{
    size_t count = 0, at = 0;
    char *out;

    *dtype = parts[0]->dtype;
    for (int i = 0; i < n; i++) {
        count += parts[i]->count;
        *dtype = parts[i]->dtype == *dtype ? *dtype : KT_F32;
    }
    KT_ASSERT(count > 0);
    const size_t size = kt_dtype_size(*dtype);
    if (!(out = malloc(count * size))) {
        return NULL;
    }
    for (int i = 0; i < n; i++) {
        if (parts[i]->dtype == *dtype) {
            memcpy(out + at * size, parts[i]->data, parts[i]->bytes);
        } else {
            kt_tensor_to_f32(parts[i], (float *)(void *)out + at);
        }
        at += parts[i]->count;
    }
    return out;
}

static int create_linear(struct kt_text_encoder *e, struct kt_linear **l,
                         const struct kt_tensor *const *parts, int n, struct kt_error *err)
{
    struct kt_linear_desc desc = {.n = (int)parts[0]->shape[0] * n, .k = (int)parts[0]->shape[1]};
    void *weight = stack(parts, n, &desc.dtype);
    int r;

    if (!weight) {
        return kt_fail(err, -ENOMEM, "tensor '%s': out of memory", parts[0]->name);
    }
    desc.weight = weight;
    r = e->dev->k.linear_create(l, e->dev->q, &desc);
    free(weight);
    return r < 0 ? kt_fail(err, r, "tensor '%s': cannot prepare the matrix: %s", parts[0]->name,
                           strerror(-r))
                 : 0;
}

/* Loads blocks.`layer`.`name`.weight [n, k]. */
static int load_linear(struct kt_text_encoder *e, const struct kt_safetensors *st, int layer,
                       const char *name, int n, int k, struct kt_linear **l, struct kt_error *err)
{
    const int64_t shape[] = {n, k};
    const struct kt_tensor *t;
    int r = kt_safetensors_expect(st, &t, shape, 2, err, "blocks.%d.%s.weight", layer, name);

    return r < 0 ? r : create_linear(e, l, &t, 1, err);
}

static int load_qkv(struct kt_text_encoder *e, const struct kt_safetensors *st, int layer,
                    struct kt_error *err)
{
    static const char NAMES[QKV] = {'q', 'k', 'v'};
    const int64_t shape[] = {e->cfg.dim_attn, e->cfg.dim};
    const struct kt_tensor *parts[QKV];

    for (int i = 0; i < QKV; i++) {
        const int r = kt_safetensors_expect(st, &parts[i], shape, 2, err,
                                            "blocks.%d.attn.%c.weight", layer, NAMES[i]);
        if (r < 0) {
            return r;
        }
    }
    return create_linear(e, &e->layers[layer].qkv, parts, QKV, err);
}

static int load_norm(struct kt_text_encoder *e, const struct kt_safetensors *st, const char *name,
                     float **weight, struct kt_error *err)
{
    const int64_t dim = e->cfg.dim;
    float *host;
    int r = kt_safetensors_load_f32(st, &host, &dim, 1, err, "%s", name);

    if (r < 0) {
        return r;
    }
    *weight = kt_device_alloc_f32(e->dev, host, (size_t)dim, "text norm");
    free(host);
    return *weight ? 0 : kt_fail(err, -ENOMEM, "tensor '%s': out of memory", name);
}

static int load_layer_norms(struct kt_text_encoder *e, const struct kt_safetensors *st, int layer,
                            struct kt_error *err)
{
    char name[64];
    int r;

    snprintf(name, sizeof(name), "blocks.%d.norm1.weight", layer);
    if ((r = load_norm(e, st, name, &e->layers[layer].norm1, err)) < 0) {
        return r;
    }
    snprintf(name, sizeof(name), "blocks.%d.norm2.weight", layer);
    return load_norm(e, st, name, &e->layers[layer].norm2, err);
}

static int load_layer(struct kt_text_encoder *e, const struct kt_safetensors *st, int layer,
                      struct kt_error *err)
{
    const int dim = e->cfg.dim, attn = e->cfg.dim_attn, ffn = e->cfg.dim_ffn;
    struct layer *l = &e->layers[layer];
    int r;

    if ((r = load_layer_norms(e, st, layer, err)) < 0 || (r = load_qkv(e, st, layer, err)) < 0 ||
        (r = load_linear(e, st, layer, "attn.o", dim, attn, &l->o, err)) < 0 ||
        (r = load_linear(e, st, layer, "ffn.fc1", ffn, dim, &l->fc1, err)) < 0 ||
        (r = load_linear(e, st, layer, "ffn.gate.0", ffn, dim, &l->gate, err)) < 0) {
        return r;
    }
    return load_linear(e, st, layer, "ffn.fc2", dim, ffn, &l->fc2, err);
}

static int load_embedding(struct kt_text_encoder *e, const struct kt_safetensors *st,
                          struct kt_error *err)
{
    const int64_t shape[] = {e->cfg.vocab, e->cfg.dim};
    const struct kt_tensor *t;
    void *copy;
    int r = kt_safetensors_expect(st, &t, shape, 2, err, "token_embedding.weight");

    if (r < 0) {
        return r;
    }
    if (!(copy = malloc(t->bytes))) {
        return kt_fail(err, -ENOMEM, "tensor '%s': out of memory", t->name);
    }
    memcpy(copy, t->data, t->bytes);
    e->embedding = *t;
    e->embedding.name = NULL; /* belongs to the file */
    e->embedding.data = copy;
    return 0;
}

static int load_weights(struct kt_text_encoder *e, const struct kt_safetensors *st,
                        struct kt_error *err)
{
    int r = load_embedding(e, st, err);

    for (int i = 0; r == 0 && i < e->cfg.num_layers; i++) {
        r = load_layer(e, st, i, err);
    }
    if (r < 0 || (r = load_norm(e, st, "norm.weight", &e->norm, err)) < 0) {
        return r;
    }
    return kt_position_bias_open(&e->bias, e->dev, &e->cfg, st, err);
}

/* One allocation, carved in the order of the table. */
static int allocate_scratch(struct kt_text_encoder *e, struct kt_error *err)
{
    const size_t n = (size_t)e->cfg.text_len, act = e->dev->act_size;
    const struct {
        void **at;
        size_t row, size;
    } parts[] = {
        {&e->x, (size_t)e->cfg.dim, sizeof(float)},    {&e->h, (size_t)e->cfg.dim, act},
        {&e->qkv, QKV * (size_t)e->cfg.dim_attn, act}, {&e->mixed, (size_t)e->cfg.dim_attn, act},
        {&e->up, (size_t)e->cfg.dim_ffn, act},         {&e->gate, (size_t)e->cfg.dim_ffn, act},
        {&e->gated, (size_t)e->cfg.dim_ffn, act},
    };
    const size_t parts_n = sizeof(parts) / sizeof(parts[0]);
    size_t offset[sizeof(parts) / sizeof(parts[0])], total = 0;

    for (size_t i = 0; i < parts_n; i++) {
        offset[i] = total;
        total += (parts[i].row * n * parts[i].size + 63) / 64 * 64;
    }
    e->rows = malloc(n * (size_t)e->cfg.dim * sizeof(float));
    e->scratch = kt_device_alloc(e->dev, total, "text scratch");
    if (!e->rows || !e->scratch) {
        return kt_fail(err, -ENOMEM, "out of memory for the text encoder's %zu bytes of scratch",
                       total);
    }
    for (size_t i = 0; i < parts_n; i++) {
        *parts[i].at = (char *)e->scratch + offset[i];
    }
    return 0;
}

int kt_text_encoder_open(struct kt_text_encoder **enc, struct kt_device *dev,
                         const struct kt_text_config *cfg, const struct kt_safetensors *st,
                         struct kt_error *err)
{
    struct kt_text_encoder *e = calloc(1, sizeof(*e));
    int r;

    *enc = NULL;
    if (!e || !(e->layers = calloc((size_t)cfg->num_layers, sizeof(*e->layers)))) {
        free(e);
        return kt_fail(err, -ENOMEM, "out of memory for the text encoder");
    }
    e->dev = dev;
    e->cfg = *cfg;
    if ((r = allocate_scratch(e, err)) < 0 || (r = load_weights(e, st, err)) < 0) {
        kt_text_encoder_close(&e);
        return r;
    }
    *enc = e;
    return 0;
}

static void unload_layer(struct kt_text_encoder *e, struct layer *l)
{
    kt_device_free(e->dev, l->norm1);
    kt_device_free(e->dev, l->norm2);
    e->dev->k.linear_destroy(&l->qkv);
    e->dev->k.linear_destroy(&l->o);
    e->dev->k.linear_destroy(&l->fc1);
    e->dev->k.linear_destroy(&l->gate);
    e->dev->k.linear_destroy(&l->fc2);
}

void kt_text_encoder_close(struct kt_text_encoder **enc)
{
    struct kt_text_encoder *e = enc ? *enc : NULL;

    if (!e) {
        return;
    }
    for (int i = 0; i < e->cfg.num_layers; i++) {
        unload_layer(e, &e->layers[i]);
    }
    kt_position_bias_close(&e->bias);
    kt_device_free(e->dev, e->norm);
    kt_device_free(e->dev, e->scratch);
    free((void *)e->embedding.data);
    free(e->rows);
    free(e->layers);
    free(e);
    *enc = NULL;
}

/* --- running
 * -------------------------------------------------------------------------------------- */

static int embed(struct kt_text_encoder *e, const int32_t *ids, int n)
{
    const size_t dim = (size_t)e->cfg.dim, row = dim * kt_dtype_size(e->embedding.dtype);

    for (int i = 0; i < n; i++) {
        kt_dtype_to_f32(e->embedding.dtype, (const char *)e->embedding.data + (size_t)ids[i] * row,
                        e->rows + (size_t)i * dim, dim);
    }
    return kt_device_upload(e->dev, e->x, e->rows, (size_t)n * dim * sizeof(float));
}

static int norm(struct kt_text_encoder *e, void *y, const float *weight, int n)
{
    const struct kt_rms_norm_args a = {.x = e->x,
                                       .y = y,
                                       .weight = weight,
                                       .m = n,
                                       .dim = e->cfg.dim,
                                       .eps = e->cfg.eps,
                                       .x_f32 = 1};
    return e->dev->k.rms_norm(e->dev->q, &a);
}

static int linear(struct kt_text_encoder *e, const struct kt_linear *l, const void *x, void *y,
                  int n)
{
    const struct kt_linear_args a = {.x = x, .y = y, .m = n};
    return e->dev->k.linear(e->dev->q, l, &a);
}

/* x += h */
static int add_branch(struct kt_text_encoder *e, int n)
{
    const struct kt_residual_args a = {
        .x = e->x, .y = e->h, .m = n, .dim = e->cfg.dim, .rows_per_group = n};
    return e->dev->k.residual(e->dev->q, &a);
}

/* Bidirectional attention over the n tokens, without the usual 1/sqrt(head size). */
static int attend(struct kt_text_encoder *e, int layer, int n)
{
    const int width = e->cfg.dim_attn, heads = e->cfg.num_heads;
    const struct kt_attention_args a = {
        .q = e->qkv,
        .k = kt_act_at(e->dev, e->qkv, (size_t)width),
        .v = kt_act_at(e->dev, e->qkv, 2 * (size_t)width),
        .y = e->mixed,
        .tq = n,
        .tk = n,
        .heads = heads,
        .head_dim = width / heads,
        .ld_q = QKV * width,
        .ld_k = QKV * width,
        .ld_v = QKV * width,
        .bias = kt_position_bias_get(e->bias, layer, n),
        .scale = 1,
    };
    return a.bias ? e->dev->k.attention(e->dev->q, &a) : -EIO;
}

static int attention_branch(struct kt_text_encoder *e, int layer, int n)
{
    const struct layer *l = &e->layers[layer];
    int r;

    if ((r = norm(e, e->h, l->norm1, n)) < 0 || (r = linear(e, l->qkv, e->h, e->qkv, n)) < 0 ||
        (r = attend(e, layer, n)) < 0 || (r = linear(e, l->o, e->mixed, e->h, n)) < 0) {
        return r;
    }
    return add_branch(e, n);
}

static int ffn_branch(struct kt_text_encoder *e, int layer, int n)
{
    const struct layer *l = &e->layers[layer];
    int r;

    if ((r = norm(e, e->h, l->norm2, n)) < 0 || (r = linear(e, l->fc1, e->h, e->up, n)) < 0 ||
        (r = linear(e, l->gate, e->h, e->gate, n)) < 0 ||
        (r = e->dev->k.mul_gelu(e->dev->q, e->gated, e->up, e->gate,
                                (size_t)n * (size_t)e->cfg.dim_ffn)) < 0 ||
        (r = linear(e, l->fc2, e->gated, e->h, n)) < 0) {
        return r;
    }
    return add_branch(e, n);
}

static int check_ids(const struct kt_text_encoder *e, const int32_t *ids, int n,
                     struct kt_error *err)
{
    if (n < 1 || n > e->cfg.text_len) {
        return kt_fail(err, -EINVAL, "text encoder: expected 1..%d ids, found %d", e->cfg.text_len,
                       n);
    }
    for (int i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= e->cfg.vocab) {
            return kt_fail(err, -EINVAL, "text encoder: id %d: expected 0..%d, found %d", i,
                           e->cfg.vocab - 1, (int)ids[i]);
        }
    }
    return 0;
}

int kt_text_encoder_run(struct kt_text_encoder *e, const int32_t *ids, int n, void *out,
                        struct kt_error *err)
{
    int r = check_ids(e, ids, n, err);

    if (r < 0) {
        return r;
    }
    r = embed(e, ids, n);
    for (int i = 0; r == 0 && i < e->cfg.num_layers; i++) {
        if ((r = attention_branch(e, i, n)) == 0) {
            r = ffn_branch(e, i, n);
        }
    }
    if (r == 0) {
        r = norm(e, out, e->norm, n);
    }
    return r < 0 ? kt_fail(err, r, "text encoder: the device refused: %s", strerror(-r)) : 0;
}
