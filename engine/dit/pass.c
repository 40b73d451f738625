/* One forward pass of the DiT. Each sub-layer's residual is added together with the norm of the
 * next one, so that the stream is read once a sub-layer.
 *
 * Linears run in chunks of three blocks, one block or one latent, so that few matrix shapes exist
 * whatever a recache covers (docs/design.md, invariant 4). */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/dit/parts.h"

int kt_dit_clean_row(const struct kt_dit *d)
{
    return d->clean_row;
}

int kt_dit_tokens(const struct kt_dit *d)
{
    return d->tokens;
}

struct linear_out {
    void *y;
    int n, y_f32; /* columns; non-zero: y is [f32], else [act] or, with y_scale, [f8] */
    enum kt_act act;
    float y_scale;
};

/* Bytes of one element of what a linear or a norm reads or writes: [f8] with a scale, else [act].
 */
static size_t element(const struct kt_dit *d, float scale)
{
    return scale > 0 ? (size_t)d->dev->k.f8_size : d->dev->act_size;
}

/* How many of `rows` rows a linear takes at a time: three blocks, a block or a latent frame. */
static int chunk_rows(const struct kt_dit *d, int rows)
{
    int block = d->block_frames * d->tokens;
    return rows >= KT_CHUNK_BLOCKS * block ? KT_CHUNK_BLOCKS * block
           : rows >= block                 ? block
                                           : d->tokens;
}

/* y = act(x W^T + b) over `rows` rows, in chunks. x_scale: of the linear. */
static int linear_chunks(struct kt_dit *d, const struct kt_linear *l, const void *x, int k,
                         float x_scale, const struct linear_out *out, int rows)
{
    size_t in = (size_t)k * element(d, x_scale);
    size_t to = (size_t)out->n * (out->y_f32 ? sizeof(float) : element(d, out->y_scale));
    for (int at = 0; at < rows;) {
        int m = chunk_rows(d, rows - at);
        struct kt_linear_args a = {.x = (const char *)x + (size_t)at * in,
                                   .y = (char *)out->y + (size_t)at * to,
                                   .m = m,
                                   .y_f32 = out->y_f32,
                                   .y_scale = out->y_scale,
                                   .act = out->act};
        TRY(kt_linear(&d->dev->k, d->dev->q, l, &a, out->n));
        at += m;
    }
    return 0;
}

static int linear_rows(struct kt_dit *d, const struct kt_linear *l, const void *x, int k, void *y,
                       int n, int rows)
{
    return linear_chunks(d, l, x, k, 0, &(struct linear_out){.y = y, .n = n}, rows);
}

static int linear_rows_f32(struct kt_dit *d, const struct kt_linear *l, const void *x, int k,
                           float *y, int n, int rows)
{
    return linear_chunks(d, l, x, k, 0, &(struct linear_out){.y = y, .n = n, .y_f32 = 1}, rows);
}

/* One sub-layer's end and the next one's beginning: x += gate * y (y NULL: nothing), h = norm(x).
 */
struct next_norm {
    const float *scale, *shift; /* [f32] [dim] */
    float scale_one, h_scale;
};

static int residual_norm(struct kt_dit *d, const void *y, const float *gate,
                         const struct next_norm *next, int rows)
{
    struct kt_residual_norm_args a = {.x = d->x,
                                      .y = y,
                                      .gate = gate,
                                      .h = d->h,
                                      .scale = next->scale,
                                      .shift = next->shift,
                                      .m = rows,
                                      .dim = d->c.dim,
                                      .scale_one = next->scale_one,
                                      .eps = d->c.eps,
                                      .h_scale = next->h_scale};
    return kt_residual_norm(&d->dev->k, d->dev->q, &a);
}

/* ---- one layer ---- */

static const float *layer_mod(const struct kt_dit *d, int row, int layer)
{
    size_t at = (size_t)row * (size_t)d->c.num_layers + (size_t)layer;
    return d->mod.layer + at * 6 * (size_t)d->c.dim;
}

/* The norm that reads the stream after layer `layer` - 1: the next layer's first, or the head's. */
static struct next_norm norm_before(const struct kt_dit *d, int row, int layer)
{
    int dim = d->c.dim;
    const float *mod = layer < d->c.num_layers ? layer_mod(d, row, layer)
                                               : d->mod.head + (size_t)row * 2 * (size_t)dim;
    float scale = layer < d->c.num_layers ? d->layers[layer].scales.qkv_in : 0;
    return (struct next_norm){mod + dim, mod, 1.0f, scale};
}

static int self_qkv(struct kt_dit *d, const struct kt_dit_pass *p, int layer, const float *cos,
                    const float *sin)
{
    const struct kt_dit_layer *l = &d->layers[layer];
    int dim = d->c.dim, rows = p->frames * d->tokens;
    struct linear_out qkv = {.y = d->qkv, .n = 3 * dim};
    TRY(linear_chunks(d, l->qkv, d->h, dim, l->scales.qkv_in, &qkv, rows));
    return kt_dit_store(d, p, layer, cos, sin);
}

/* Turned queries are read from d->h; y must not be there. */
static int attend_window(struct kt_dit *d, const struct kt_dit_pass *p, int layer, void *y)
{
    const struct kt_dit_scales *s = &d->layers[layer].scales;
    struct kt_attention_args a = {.q = d->h,
                                  .k = kt_dit_window_keys(d, layer),
                                  .v = kt_dit_window_values(d, layer),
                                  .y = y,
                                  .tq = p->frames * d->tokens,
                                  .tk = (p->prefix_count + p->frames - p->unseen) * d->tokens,
                                  .heads = d->c.num_heads,
                                  .head_dim = d->head_dim,
                                  .scale = 1.0f / sqrtf((float)d->head_dim)};
    if (s->k > 0) {
        a.f8 = 1;
        a.scale /= s->q * s->k;
        a.ld_v = d->window_rows;
    }
    return kt_attention(&d->dev->k, d->dev->q, &a);
}

static int self_attention(struct kt_dit *d, const struct kt_dit_pass *p, int layer,
                          const float *mod)
{
    const struct kt_dit_layer *l = &d->layers[layer];
    int dim = d->c.dim, rows = p->frames * d->tokens;
    struct linear_out out = {.y = d->y, .n = dim};
    void *attended = d->qkv;
    TRY(attend_window(d, p, layer, attended));
    if (l->scales.v > 0 && l->scales.k <= 0) { /* 8-bit linears behind attention that is not */
        TRY(d->dev->k.to_f8(d->dev->q, d->h, attended, (size_t)rows * (size_t)dim, l->scales.v));
        attended = d->h;
    }
    TRY(linear_chunks(d, l->o, attended, dim, l->scales.v, &out, rows));
    return residual_norm(d, d->y, mod + 2 * (ptrdiff_t)dim,
                         &(struct next_norm){l->norm3_weight, l->norm3_bias, 0, 0}, rows);
}

static int cross_attention(struct kt_dit *d, const struct kt_dit_pass *p, int layer,
                           const float *mod)
{
    const struct kt_dit_layer *l = &d->layers[layer];
    int dim = d->c.dim, rows = p->frames * d->tokens;
    TRY(linear_rows(d, l->cross_q, d->h, dim, d->y, dim, rows));
    TRY(kt_dit_rms_norm(d, d->y, dim, l->cross_norm_q, rows));
    struct kt_attention_args a = {.q = d->y,
                                  .k = kt_dit_context_rows(d, p->context, layer, 0),
                                  .v = kt_dit_context_rows(d, p->context, layer, 1),
                                  .y = d->h,
                                  .tq = rows,
                                  .tk = p->context->rows,
                                  .heads = d->c.num_heads,
                                  .head_dim = d->head_dim,
                                  .scale = 1.0f / sqrtf((float)d->head_dim),
                                  .tail_logit = p->context->tail_logit};
    TRY(d->dev->k.attention(d->dev->q, &a));
    TRY(linear_rows(d, l->cross_o, d->h, dim, d->y, dim, rows));
    struct next_norm next = {mod + 4 * (ptrdiff_t)dim, mod + 3 * (ptrdiff_t)dim, 1.0f,
                             l->scales.ffn_in};
    return residual_norm(d, d->y, NULL, &next, rows);
}

static int feed_forward(struct kt_dit *d, const struct kt_dit_pass *p, int layer, const float *mod)
{
    const struct kt_dit_layer *l = &d->layers[layer];
    const struct kt_dit_scales *s = &l->scales;
    int dim = d->c.dim, rows = p->frames * d->tokens;
    struct linear_out up = {
        .y = d->ffn, .n = d->c.ffn_dim, .act = KT_ACT_GELU_TANH, .y_scale = s->ffn_mid};
    for (int at = 0; at < rows;) {
        int m = chunk_rows(d, rows - at);
        size_t row = (size_t)at * (size_t)dim;
        const void *in = (const char *)d->h + row * element(d, s->ffn_in);
        struct linear_out down = {.y = kt_act_at(d->dev, d->y, row), .n = dim};
        TRY(linear_chunks(d, l->ffn_up, in, dim, s->ffn_in, &up, m));
        TRY(linear_chunks(d, l->ffn_down, d->ffn, d->c.ffn_dim, s->ffn_mid, &down, m));
        at += m;
    }
    struct next_norm next = norm_before(d, p->row, layer + 1);
    return residual_norm(d, d->y, mod + 5 * (ptrdiff_t)dim, &next, rows);
}

static int run_layers(struct kt_dit *d, const struct kt_dit_pass *p)
{
    const float *cos, *sin;
    struct next_norm first = norm_before(d, p->row, 0);
    TRY(kt_dit_pass_rope(d, p, &cos, &sin));
    TRY(residual_norm(d, NULL, NULL, &first, p->frames * d->tokens));
    for (int l = 0; l < d->c.num_layers; l++) {
        const float *mod = layer_mod(d, p->row, l);
        TRY(self_qkv(d, p, l, cos, sin));
        if (!p->v && l == d->c.num_layers - 1) {
            break;
        }
        TRY(self_attention(d, p, l, mod));
        TRY(cross_attention(d, p, l, mod));
        TRY(feed_forward(d, p, l, mod));
    }
    return 0;
}

/* ---- in and out ---- */

static struct kt_patch_args patch_args(const struct kt_dit *d, const void *src, void *dst,
                                       int frames, int channels)
{
    return (struct kt_patch_args){.src = src,
                                  .dst = dst,
                                  .frames = frames,
                                  .c = channels,
                                  .h = d->c.latent_h,
                                  .w = d->c.latent_w,
                                  .ph = d->c.patch_h,
                                  .pw = d->c.patch_w};
}

static int embed(struct kt_dit *d, const struct kt_dit_pass *p)
{
    size_t n = (size_t)d->c.in_dim * (size_t)(d->c.latent_h * d->c.latent_w);
    for (int f = 0; f < p->frames; f++) {
        TRY(d->dev->k.copy_rows(d->dev->q, d->planar + n * (size_t)f, 0, p->x[f], 0, 1,
                                n * sizeof(float)));
    }
    struct kt_patch_args a = patch_args(d, d->planar, d->patches, p->frames, d->c.in_dim);
    TRY(d->dev->k.patchify(d->dev->q, &a));
    return linear_rows_f32(d, d->patch, d->patches, d->c.in_dim * d->c.patch_h * d->c.patch_w, d->x,
                           d->c.dim, p->frames * d->tokens);
}

static int project(struct kt_dit *d, const struct kt_dit_pass *p)
{
    int dim = d->c.dim, rows = p->frames * d->tokens;
    TRY(linear_rows_f32(d, d->head, d->h, dim, d->patches,
                        d->c.out_dim * d->c.patch_h * d->c.patch_w, rows));
    struct kt_patch_args a = patch_args(d, d->patches, p->v, p->frames, d->c.out_dim);
    return d->dev->k.unpatchify(d->dev->q, &a);
}

static int run(struct kt_dit *d, const struct kt_dit_pass *p)
{
    for (int f = 0; f < p->frames - p->unseen; f++) {
        d->loaded[p->prefix_count + f] = 0; /* until this pass has written the slot as a page */
    }
    TRY(kt_dit_load_window(d, p));
    TRY(embed(d, p));
    TRY(run_layers(d, p));
    for (int f = p->unseen; p->pages && f < p->frames; f++) {
        d->loaded[p->prefix_count + f - p->unseen] = p->pages[f]->serial;
    }
    return p->v ? project(d, p) : 0;
}

int kt_dit_run(struct kt_dit *d, const struct kt_dit_pass *p, struct kt_error *err)
{
    KT_ASSERT(p->frames >= 1 && p->prefix_count >= 0);
    KT_ASSERT(p->prefix_count + p->frames - p->unseen <= d->slots_max);
    KT_ASSERT(p->unseen >= 0 && p->unseen <= p->prefix_count && p->unseen < p->frames);
    KT_ASSERT(p->row >= 0 && p->row <= d->clean_row);
    int rc = run(d, p);
    return rc < 0 ? kt_fail(err, rc, "dit: a device operation failed (%d): %s", rc,
                            kt_device_why(d->dev))
                  : 0;
}
