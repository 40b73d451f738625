/* Loading the DiT: every tensor by name with its exact shape, q, k and v fused into one matrix. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/dit/parts.h"

struct part {
    const char *name; /* "self_attn.q" */
    int rows;
};

/* Stacks `count` matrices [rows, k] and their biases into one linear. Names are prefix + part.
 * x_scale: of an 8-bit linear, else 0. */
static int load_stacked(struct kt_dit *d, const struct kt_safetensors *st, struct kt_linear **out,
                        const char *prefix, const struct part *parts, int count, int k,
                        float x_scale, struct kt_error *err)
{
    int n = 0, at = 0, rc = 0;
    for (int i = 0; i < count; i++) {
        n += parts[i].rows;
    }
    float *w = malloc((size_t)n * (size_t)k * sizeof(float));
    float *b = malloc((size_t)n * sizeof(float));
    if (!w || !b) {
        rc = kt_fail(err, -ENOMEM, "%s%s: out of memory", prefix, parts[0].name);
    }
    for (int i = 0; i < count && rc == 0; at += parts[i].rows, i++) {
        const struct kt_tensor *tw, *tb;
        rc = kt_safetensors_expect(st, &tw, (int64_t[]){parts[i].rows, k}, 2, err, "%s%s.weight",
                                   prefix, parts[i].name);
        if (rc == 0) {
            rc = kt_safetensors_expect(st, &tb, (int64_t[]){parts[i].rows}, 1, err, "%s%s.bias",
                                       prefix, parts[i].name);
        }
        if (rc == 0) {
            kt_tensor_to_f32(tw, w + (size_t)at * (size_t)k);
            kt_tensor_to_f32(tb, b + at);
        }
    }
    if (rc == 0) {
        struct kt_linear_desc desc = {
            .n = n, .k = k, .dtype = KT_F32, .weight = w, .bias = b, .x_scale = x_scale};
        rc = kt_linear_create(&d->dev->k, out, d->dev->q, &desc);
        if (rc < 0) {
            kt_fail(err, rc, "%s%s: cannot prepare the matrix", prefix, parts[0].name);
        }
    }
    free(w);
    free(b);
    return rc;
}

static int load_vector(struct kt_dit *d, const struct kt_safetensors *st, float **out,
                       const char *prefix, const char *name, struct kt_error *err)
{
    float *host = NULL;
    int rc =
        kt_safetensors_load_f32(st, &host, (int64_t[]){d->c.dim}, 1, err, "%s%s", prefix, name);
    if (rc == 0) {
        *out = kt_device_alloc_f32(d->dev, host, (size_t)d->c.dim, "dit norm");
        rc = *out ? 0 : kt_fail(err, -ENOMEM, "%s%s: out of device memory", prefix, name);
    }
    free(host);
    return rc;
}

static int load_layer(struct kt_dit *d, const struct kt_safetensors *st, int index,
                      struct kt_error *err)
{
    struct kt_dit_layer *l = &d->layers[index];
    int dim = d->c.dim, ffn = d->c.ffn_dim;
    const struct {
        struct kt_linear **out;
        struct part parts[3];
        int count, k;
        float x_scale;
    } linears[] = {
        {&l->qkv,
         {{"self_attn.q", dim}, {"self_attn.k", dim}, {"self_attn.v", dim}},
         3,
         dim,
         l->scales.qkv_in},
        {&l->o, {{"self_attn.o", dim}}, 1, dim, l->scales.v},
        {&l->cross_q, {{"cross_attn.q", dim}}, 1, dim, 0},
        {&l->cross_kv, {{"cross_attn.k", dim}, {"cross_attn.v", dim}}, 2, dim, 0},
        {&l->cross_o, {{"cross_attn.o", dim}}, 1, dim, 0},
        {&l->ffn_up, {{"ffn.0", ffn}}, 1, dim, l->scales.ffn_in},
        {&l->ffn_down, {{"ffn.2", dim}}, 1, ffn, l->scales.ffn_mid},
    };
    const struct {
        float **out;
        const char *name;
    } vectors[] = {
        {&l->norm_q, "self_attn.norm_q.weight"},
        {&l->norm_k, "self_attn.norm_k.weight"},
        {&l->cross_norm_q, "cross_attn.norm_q.weight"},
        {&l->cross_norm_k, "cross_attn.norm_k.weight"},
        {&l->norm3_weight, "norm3.weight"},
        {&l->norm3_bias, "norm3.bias"},
    };
    char prefix[32];
    snprintf(prefix, sizeof(prefix), "blocks.%d.", index);
    int rc = 0;
    for (size_t i = 0; i < sizeof(linears) / sizeof(linears[0]) && rc == 0; i++) {
        rc = load_stacked(d, st, linears[i].out, prefix, linears[i].parts, linears[i].count,
                          linears[i].k, linears[i].x_scale, err);
    }
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]) && rc == 0; i++) {
        rc = load_vector(d, st, vectors[i].out, prefix, vectors[i].name, err);
    }
    return rc;
}

/* patch_embedding is a Conv3d whose kernel is its stride: a matrix over flattened (c, ph, pw). */
static int load_patch(struct kt_dit *d, const struct kt_safetensors *st, struct kt_error *err)
{
    const struct kt_dit_config *c = &d->c;
    int64_t shape[] = {c->dim, c->in_dim, 1, c->patch_h, c->patch_w};
    float *w = NULL, *b = NULL;
    int rc = kt_safetensors_load_f32(st, &w, shape, 5, err, "patch_embedding.weight");
    if (rc == 0) {
        rc = kt_safetensors_load_f32(st, &b, (int64_t[]){c->dim}, 1, err, "patch_embedding.bias");
    }
    if (rc == 0) {
        struct kt_linear_desc desc = {.n = c->dim,
                                      .k = c->in_dim * c->patch_h * c->patch_w,
                                      .dtype = KT_F32,
                                      .weight = w,
                                      .bias = b};
        rc = d->dev->k.linear_create(&d->patch, d->dev->q, &desc);
    }
    free(w);
    free(b);
    return rc;
}

static int load_weights(struct kt_dit *d, const struct kt_safetensors *st, struct kt_error *err)
{
    const struct kt_dit_config *c = &d->c;
    int rc;
    if ((rc = load_patch(d, st, err)) < 0 ||
        (rc = load_stacked(d, st, &d->text0, "", (struct part[]){{"text_embedding.0", c->dim}}, 1,
                           c->text_dim, 0, err)) < 0 ||
        (rc = load_stacked(d, st, &d->text2, "", (struct part[]){{"text_embedding.2", c->dim}}, 1,
                           c->dim, 0, err)) < 0 ||
        (rc = load_stacked(d, st, &d->head, "",
                           (struct part[]){{"head.head", c->out_dim * c->patch_h * c->patch_w}}, 1,
                           c->dim, 0, err)) < 0) {
        return rc;
    }
    for (int i = 0; i < c->num_layers && rc == 0; i++) {
        rc = load_layer(d, st, i, err);
    }
    return rc;
}

static int alloc_scratch(struct kt_dit *d, struct kt_error *err)
{
    size_t dim = (size_t)d->c.dim, rows = (size_t)d->rows_max, act = d->dev->act_size;
    size_t patch = (size_t)(d->c.in_dim > d->c.out_dim ? d->c.in_dim : d->c.out_dim) *
                   (size_t)(d->c.patch_h * d->c.patch_w);
    size_t chunk = (size_t)(KT_CHUNK_BLOCKS * d->block_frames) * (size_t)d->tokens;
    chunk = chunk < rows ? chunk : rows;
    size_t text = ((size_t)d->c.text_len + 15) / 16 * 16;
    size_t window = (size_t)d->c.num_layers * (size_t)d->window_rows * dim * d->dev->kv_size;
    size_t rope = rows * (size_t)(d->head_dim / 2) * sizeof(float);
    const struct {
        void **p;
        size_t bytes;
        const char *name;
    } spec[] = {
        {&d->patches, rows * patch * sizeof(float), "dit patches"},
        {(void **)&d->x, rows * dim * sizeof(float), "dit residual stream"},
        {&d->h, rows * dim * act, "dit hidden"},
        {&d->y, rows * dim * act, "dit branch output"},
        {&d->qkv, rows * 3 * dim * act, "dit q, k, v"},
        {&d->ffn, chunk * (size_t)d->c.ffn_dim * act, "dit ffn"},
        {&d->text_in, text * (size_t)d->c.text_dim * act, "dit text in"},
        {&d->text_mid, text * 2 * dim * act, "dit text hidden"},
        {&d->text_out, text * dim * act, "dit text out"},
        {(void **)&d->planar, rows * patch * sizeof(float), "dit latents"},
        {&d->window_k, window, "window keys"},
        {&d->window_v, window, "window values"},
        {(void **)&d->slot_cos, rope, "rope cos by slot"},
        {(void **)&d->slot_sin, rope, "rope sin by slot"},
        {(void **)&d->pass_cos, rope, "rope cos of the pass"},
        {(void **)&d->pass_sin, rope, "rope sin of the pass"},
    };
    for (size_t i = 0; i < sizeof(spec) / sizeof(spec[0]); i++) {
        *spec[i].p = kt_device_alloc(d->dev, spec[i].bytes, spec[i].name);
        if (!*spec[i].p) {
            return kt_fail(err, -ENOMEM, "%s: out of device memory (%zu bytes)", spec[i].name,
                           spec[i].bytes);
        }
    }
    /* Attention reads whole groups of keys and weighs those behind the last with 0: they must be
     * numbers. */
    int rc = kt_device_zero(d->dev, d->window_k, window);
    if (rc < 0 || (rc = kt_device_zero(d->dev, d->window_v, window)) < 0) {
        return kt_fail(err, rc, "dit: clearing the window: %s", kt_device_why(d->dev));
    }
    d->loaded = calloc((size_t)d->slots_max, sizeof(*d->loaded));
    d->rope_time = calloc((size_t)d->slots_max, sizeof(*d->rope_time));
    d->rope_host = malloc(2 * rope);
    return d->loaded && d->rope_time && d->rope_host ? 0
                                                     : kt_fail(err, -ENOMEM, "dit: out of memory");
}

static int fill_slot_rope(struct kt_dit *d)
{
    size_t n = (size_t)d->rows_max * (size_t)(d->head_dim / 2);
    for (int i = 0; i < d->slots_max; i++) {
        d->rope_time[i] = i;
    }
    kt_rope_fill(&d->grid, d->rope_time, d->slots_max, d->rope_host, d->rope_host + n);
    int rc = kt_device_upload(d->dev, d->slot_cos, d->rope_host, n * sizeof(float));
    return rc < 0 ? rc : kt_device_upload(d->dev, d->slot_sin, d->rope_host + n, n * sizeof(float));
}

static int check_geometry(const struct kt_dit_config *c, struct kt_error *err)
{
    if (c->num_heads < 1 || c->dim % c->num_heads || c->dim / c->num_heads % 2) {
        return kt_fail(err, -EINVAL, "dit: dim %d must be an even multiple of num_heads %d", c->dim,
                       c->num_heads);
    }
    if (c->latent_h % c->patch_h || c->latent_w % c->patch_w) {
        return kt_fail(err, -EINVAL, "dit: latent %dx%d is not a multiple of the patch %dx%d",
                       c->latent_w, c->latent_h, c->patch_w, c->patch_h);
    }
    return 0;
}

int kt_dit_open(struct kt_dit **dit, struct kt_device *dev, const struct kt_dit_params *p,
                struct kt_error *err)
{
    int rc = check_geometry(p->config, err);
    if (rc < 0) {
        return rc;
    }
    struct kt_dit *d = calloc(1, sizeof(*d));
    if (!d) {
        return kt_fail(err, -ENOMEM, "dit: out of memory");
    }
    d->dev = dev;
    d->c = *p->config;
    d->relative_rope = p->sampler->relative_rope;
    d->block_frames = p->sampler->num_frame_per_block;
    d->slots_max = p->slots_max;
    d->tokens_h = d->c.latent_h / d->c.patch_h;
    d->tokens_w = d->c.latent_w / d->c.patch_w;
    d->tokens = d->tokens_h * d->tokens_w;
    d->rows_max = d->slots_max * d->tokens;
    d->window_rows = (d->rows_max + 15) / 16 * 16;
    d->head_dim = d->c.dim / d->c.num_heads;
    d->grid = (struct kt_rope_grid){d->head_dim, d->tokens_h, d->tokens_w};
    d->clean_row = p->schedule->steps;
    KT_ASSERT(d->slots_max >= d->block_frames);

    float t[KT_STEPS_MAX + 1];
    memcpy(t, p->schedule->timestep, sizeof(float) * (size_t)p->schedule->steps);
    t[d->clean_row] = p->sampler->context_noise;
    d->layers = calloc((size_t)d->c.num_layers, sizeof(*d->layers));
    if (!d->layers) {
        rc = kt_fail(err, -ENOMEM, "dit: out of memory");
        goto error;
    }
    if ((rc = kt_modulation_init(&d->mod, dev, &d->c, p->weights, t, d->clean_row + 1, err)) < 0 ||
        (rc = kt_dit_find_scales(d, p->weights, err)) < 0 ||
        (rc = load_weights(d, p->weights, err)) < 0 || (rc = alloc_scratch(d, err)) < 0 ||
        (rc = fill_slot_rope(d)) < 0) {
        goto error;
    }
    *dit = d;
    return 0;
error:
    kt_dit_close(&d);
    return rc;
}

static void layer_finish(struct kt_dit *d, struct kt_dit_layer *l)
{
    struct kt_linear **linears[] = {&l->qkv,     &l->o,      &l->cross_q, &l->cross_kv,
                                    &l->cross_o, &l->ffn_up, &l->ffn_down};
    float *vectors[] = {l->norm_q,       l->norm_k,       l->cross_norm_q,
                        l->cross_norm_k, l->norm3_weight, l->norm3_bias};
    for (size_t i = 0; i < sizeof(linears) / sizeof(linears[0]); i++) {
        d->dev->k.linear_destroy(linears[i]);
    }
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        kt_device_free(d->dev, vectors[i]);
    }
}

void kt_dit_close(struct kt_dit **dit)
{
    if (!dit || !*dit) {
        return;
    }
    struct kt_dit *d = *dit;
    void *buffers[] = {d->patches,  d->x,        d->h,        d->y,       d->qkv,      d->ffn,
                       d->text_in,  d->text_mid, d->text_out, d->planar,  d->window_k, d->window_v,
                       d->slot_cos, d->slot_sin, d->pass_cos, d->pass_sin};
    struct kt_linear **linears[] = {&d->patch, &d->text0, &d->text2, &d->head};
    for (int i = 0; d->layers && i < d->c.num_layers; i++) {
        layer_finish(d, &d->layers[i]);
    }
    for (size_t i = 0; i < sizeof(linears) / sizeof(linears[0]); i++) {
        d->dev->k.linear_destroy(linears[i]);
    }
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
        kt_device_free(d->dev, buffers[i]);
    }
    kt_modulation_finish(&d->mod, d->dev);
    free(d->layers);
    free(d->loaded);
    free(d->rope_time);
    free(d->rope_host);
    free(d);
    *dit = NULL;
}
