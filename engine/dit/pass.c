/* One forward pass of the DiT, and the cross-attention keys and values of a prompt.
 *
 * The pass keeps a dense working copy of the window (keys rotated for their slot), filled from
 * pages when a slot's page changes; its own frames' keys and values are written behind the prefix.
 * Linears run in chunks of one block of rows, so that few matrix shapes exist whatever a recache
 * covers (design.md, invariant 4). */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/dit/parts.h"

#define TRY(expr)                                                                                  \
    do {                                                                                           \
        int rc_ = (expr);                                                                          \
        if (rc_ < 0) {                                                                             \
            return rc_;                                                                            \
        }                                                                                          \
    } while (0)

int kt_dit_clean_row(const struct kt_dit *d)
{
    return d->clean_row;
}

int kt_dit_tokens(const struct kt_dit *d)
{
    return d->tokens;
}

static size_t page_rows_bytes(const struct kt_dit *d)
{
    return (size_t)d->tokens * (size_t)d->c.dim * d->dev->kv_size;
}

size_t kt_dit_page_bytes(const struct kt_dit *d)
{
    return (size_t)d->c.num_layers * 2 * page_rows_bytes(d);
}

size_t kt_dit_context_bytes(const struct kt_dit *d)
{
    return (size_t)d->c.num_layers * 2 * (size_t)d->c.text_len * (size_t)d->c.dim *
           d->dev->act_size;
}

static void *page_rows(const struct kt_dit *d, const struct kt_slab_item *page, int layer,
                       int which)
{
    return (char *)page->data + ((size_t)layer * 2 + (size_t)which) * page_rows_bytes(d);
}

const void *kt_dit_page_rows(const struct kt_dit *d, const struct kt_slab_item *page, int layer,
                             int which)
{
    return page_rows(d, page, layer, which);
}

/* Rows `slot * tokens` onwards of the working copy of one layer. */
static void *window_rows(const struct kt_dit *d, void *window, int layer, int slot)
{
    size_t row = (size_t)layer * (size_t)d->rows_max + (size_t)slot * (size_t)d->tokens;
    return (char *)window + row * (size_t)d->c.dim * d->dev->kv_size;
}

static void *context_rows(const struct kt_dit *d, const struct kt_dit_context *ctx, int layer,
                          int which)
{
    size_t row = ((size_t)layer * 2 + (size_t)which) * (size_t)d->c.text_len;
    return kt_act_at(d->dev, ctx->kv, row * (size_t)d->c.dim);
}

/* y = act(x W^T + b) over `rows` rows, in chunks of a block, then of a latent frame. */
struct linear_out {
    void *y;
    int n, y_f32; /* columns; non-zero: y is [f32], else [act] */
    enum kt_act act;
};

static int linear_chunks(struct kt_dit *d, const struct kt_linear *l, const void *x, int k,
                         const struct linear_out *out, int rows)
{
    size_t size = out->y_f32 ? sizeof(float) : d->dev->act_size;
    int chunk = d->block_frames * d->tokens;
    for (int at = 0; at < rows;) {
        int m = rows - at >= chunk ? chunk : d->tokens;
        struct kt_linear_args a = {.x = kt_act_at(d->dev, x, (size_t)at * (size_t)k),
                                   .y = (char *)out->y + (size_t)at * (size_t)out->n * size,
                                   .m = m,
                                   .y_f32 = out->y_f32,
                                   .act = out->act};
        TRY(d->dev->k.linear(d->dev->q, l, &a));
        at += m;
    }
    return 0;
}

static int linear_rows(struct kt_dit *d, const struct kt_linear *l, const void *x, int k, void *y,
                       int n, int rows)
{
    return linear_chunks(d, l, x, k, &(struct linear_out){.y = y, .n = n}, rows);
}

static int linear_rows_f32(struct kt_dit *d, const struct kt_linear *l, const void *x, int k,
                           float *y, int n, int rows)
{
    return linear_chunks(d, l, x, k, &(struct linear_out){.y = y, .n = n, .y_f32 = 1}, rows);
}

static int copy_rows(struct kt_dit *d, void *dst, int ld_dst, const void *src, int ld_src, int rows)
{
    size_t size = d->dev->act_size;
    return d->dev->k.copy_rows(d->dev->q, dst, (size_t)ld_dst * size, src, (size_t)ld_src * size,
                               rows, (size_t)d->c.dim * size);
}

static int rope_rows(struct kt_dit *d, void *y, int ld_y, const void *x, int ld_x, const float *cos,
                     const float *sin, int rows)
{
    struct kt_rope_args a = {.x = x,
                             .y = y,
                             .cos = cos,
                             .sin = sin,
                             .m = rows,
                             .heads = d->c.num_heads,
                             .head_dim = d->head_dim,
                             .ld_x = ld_x,
                             .ld_y = ld_y};
    return d->dev->k.rope(d->dev->q, &a);
}

static int rms_norm(struct kt_dit *d, void *x, int ld, const float *weight, int rows)
{
    struct kt_rms_norm_args a = {.x = x,
                                 .y = x,
                                 .weight = weight,
                                 .m = rows,
                                 .dim = d->c.dim,
                                 .ld_x = ld,
                                 .ld_y = ld,
                                 .eps = d->c.eps};
    return d->dev->k.rms_norm(d->dev->q, &a);
}

/* One group for all rows: a block's frames share their timestep. */
static int layer_norm(struct kt_dit *d, const float *x, void *y, const float *scale,
                      const float *shift, float scale_one, int rows)
{
    struct kt_layer_norm_args a = {.x = x,
                                   .y = y,
                                   .scale = scale,
                                   .shift = shift,
                                   .m = rows,
                                   .dim = d->c.dim,
                                   .rows_per_group = rows,
                                   .ld_mod = d->c.dim,
                                   .scale_one = scale_one,
                                   .eps = d->c.eps};
    return d->dev->k.layer_norm(d->dev->q, &a);
}

static int residual(struct kt_dit *d, float *x, const void *y, const float *gate, int rows)
{
    struct kt_residual_args a = {.x = x,
                                 .y = y,
                                 .gate = gate,
                                 .m = rows,
                                 .dim = d->c.dim,
                                 .rows_per_group = rows,
                                 .ld_mod = d->c.dim};
    return d->dev->k.residual(d->dev->q, &a);
}

/* ---- the window's working copy ---- */

static int load_slot(struct kt_dit *d, const struct kt_slab_item *page, int slot)
{
    int dim = d->c.dim;
    size_t table = (size_t)slot * (size_t)d->tokens * (size_t)(d->head_dim / 2);
    for (int l = 0; l < d->c.num_layers; l++) {
        void *k = window_rows(d, d->window_k, l, slot);
        const void *page_k = page_rows(d, page, l, 0);
        if (d->relative_rope) {
            TRY(rope_rows(d, k, dim, page_k, dim, d->slot_cos + table, d->slot_sin + table,
                          d->tokens));
        } else {
            TRY(copy_rows(d, k, dim, page_k, dim, d->tokens));
        }
        TRY(copy_rows(d, window_rows(d, d->window_v, l, slot), dim, page_rows(d, page, l, 1), dim,
                      d->tokens));
    }
    d->loaded[slot] = page->serial;
    return 0;
}

static int load_window(struct kt_dit *d, const struct kt_dit_pass *p)
{
    for (int slot = 0; slot < p->prefix_count; slot++) {
        if (d->loaded[slot] != p->prefix[slot]->serial) {
            TRY(load_slot(d, p->prefix[slot], slot));
        }
    }
    return 0;
}

/* Points cos and sin at the table rows of the pass's own frames. */
static int pass_rope(struct kt_dit *d, const struct kt_dit_pass *p, const float **cos,
                     const float **sin)
{
    size_t per_frame = (size_t)d->tokens * (size_t)(d->head_dim / 2);
    if (d->relative_rope) {
        *cos = d->slot_cos + per_frame * (size_t)(p->prefix_count - p->unseen);
        *sin = d->slot_sin + per_frame * (size_t)(p->prefix_count - p->unseen);
        return 0;
    }
    size_t bytes = (size_t)p->frames * sizeof(int64_t), n = per_frame * (size_t)p->frames;
    if (d->rope_frames != p->frames || memcmp(d->rope_time, p->time_index, bytes) != 0) {
        memcpy(d->rope_time, p->time_index, bytes);
        d->rope_frames = p->frames;
        kt_rope_fill(&d->grid, p->time_index, p->frames, d->rope_host, d->rope_host + n);
        TRY(kt_device_upload(d->dev, d->pass_cos, d->rope_host, n * sizeof(float)));
        TRY(kt_device_upload(d->dev, d->pass_sin, d->rope_host + n, n * sizeof(float)));
    }
    *cos = d->pass_cos;
    *sin = d->pass_sin;
    return 0;
}

/* ---- one layer ---- */

static int write_pages(struct kt_dit *d, const struct kt_dit_pass *p, int layer)
{
    int dim = d->c.dim;
    for (int f = p->unseen; f < p->frames; f++) {
        size_t row = (size_t)f * (size_t)d->tokens * 3 * (size_t)dim;
        int slot = p->prefix_count + f - p->unseen;
        const void *k = d->relative_rope ? kt_act_at(d->dev, d->qkv, row + (size_t)dim)
                                         : window_rows(d, d->window_k, layer, slot);
        TRY(copy_rows(d, page_rows(d, p->pages[f], layer, 0), dim, k,
                      d->relative_rope ? 3 * dim : dim, d->tokens));
        TRY(copy_rows(d, page_rows(d, p->pages[f], layer, 1), dim,
                      window_rows(d, d->window_v, layer, slot), dim, d->tokens));
    }
    return 0;
}

/* q, k, v of the pass's frames: q normalised and rotated in d->qkv, k and v in the window. */
static int self_qkv(struct kt_dit *d, const struct kt_dit_pass *p, int layer, const float *mod,
                    const float *cos, const float *sin)
{
    const struct kt_dit_layer *l = &d->layers[layer];
    int dim = d->c.dim, rows = p->frames * d->tokens, skip = p->unseen * d->tokens;
    size_t at = (size_t)skip * 3 * (size_t)dim, table = (size_t)skip * (size_t)(d->head_dim / 2);
    void *q = d->qkv, *k = kt_act_at(d->dev, q, (size_t)dim);
    TRY(layer_norm(d, d->x, d->h, mod + dim, mod, 1.0f, rows));
    TRY(linear_rows(d, l->qkv, d->h, dim, q, 3 * dim, rows));
    TRY(rms_norm(d, q, 3 * dim, l->norm_q, rows));
    TRY(rms_norm(d, k, 3 * dim, l->norm_k, rows));
    TRY(rope_rows(d, q, 3 * dim, q, 3 * dim, cos, sin, rows));
    TRY(rope_rows(d, window_rows(d, d->window_k, layer, p->prefix_count), dim,
                  kt_act_at(d->dev, k, at), 3 * dim, cos + table, sin + table, rows - skip));
    TRY(copy_rows(d, window_rows(d, d->window_v, layer, p->prefix_count), dim,
                  kt_act_at(d->dev, q, at + 2 * (size_t)dim), 3 * dim, rows - skip));
    return p->pages ? write_pages(d, p, layer) : 0;
}

static int self_attention(struct kt_dit *d, const struct kt_dit_pass *p, int layer,
                          const float *mod)
{
    const struct kt_dit_layer *l = &d->layers[layer];
    int dim = d->c.dim, rows = p->frames * d->tokens;
    struct kt_attention_args a = {.q = d->qkv,
                                  .k = window_rows(d, d->window_k, layer, 0),
                                  .v = window_rows(d, d->window_v, layer, 0),
                                  .y = d->h,
                                  .tq = rows,
                                  .tk = (p->prefix_count + p->frames - p->unseen) * d->tokens,
                                  .heads = d->c.num_heads,
                                  .head_dim = d->head_dim,
                                  .ld_q = 3 * dim,
                                  .scale = 1.0f / sqrtf((float)d->head_dim)};
    TRY(d->dev->k.attention(d->dev->q, &a));
    TRY(linear_rows(d, l->o, d->h, dim, d->y, dim, rows));
    return residual(d, d->x, d->y, mod + 2 * dim, rows);
}

static int cross_attention(struct kt_dit *d, const struct kt_dit_pass *p, int layer)
{
    const struct kt_dit_layer *l = &d->layers[layer];
    int dim = d->c.dim, rows = p->frames * d->tokens;
    TRY(layer_norm(d, d->x, d->h, l->norm3_weight, l->norm3_bias, 0.0f, rows));
    TRY(linear_rows(d, l->cross_q, d->h, dim, d->y, dim, rows));
    TRY(rms_norm(d, d->y, dim, l->cross_norm_q, rows));
    struct kt_attention_args a = {.q = d->y,
                                  .k = context_rows(d, p->context, layer, 0),
                                  .v = context_rows(d, p->context, layer, 1),
                                  .y = d->h,
                                  .tq = rows,
                                  .tk = p->context->rows,
                                  .heads = d->c.num_heads,
                                  .head_dim = d->head_dim,
                                  .scale = 1.0f / sqrtf((float)d->head_dim),
                                  .tail_logit = p->context->tail_logit};
    TRY(d->dev->k.attention(d->dev->q, &a));
    TRY(linear_rows(d, l->cross_o, d->h, dim, d->y, dim, rows));
    return residual(d, d->x, d->y, NULL, rows);
}

static int feed_forward(struct kt_dit *d, const struct kt_dit_pass *p, int layer, const float *mod)
{
    const struct kt_dit_layer *l = &d->layers[layer];
    int dim = d->c.dim, rows = p->frames * d->tokens, chunk = d->block_frames * d->tokens;
    TRY(layer_norm(d, d->x, d->h, mod + 4 * dim, mod + 3 * dim, 1.0f, rows));
    for (int at = 0; at < rows;) {
        int m = rows - at >= chunk ? chunk : d->tokens;
        size_t row = (size_t)at * (size_t)dim;
        struct linear_out up = {.y = d->ffn, .n = d->c.ffn_dim, .act = KT_ACT_GELU_TANH};
        TRY(linear_chunks(d, l->ffn_up, kt_act_at(d->dev, d->h, row), dim, &up, m));
        TRY(linear_rows(d, l->ffn_down, d->ffn, d->c.ffn_dim, kt_act_at(d->dev, d->y, row), dim,
                        m));
        at += m;
    }
    return residual(d, d->x, d->y, mod + 5 * dim, rows);
}

static int run_layers(struct kt_dit *d, const struct kt_dit_pass *p)
{
    const float *cos, *sin;
    TRY(pass_rope(d, p, &cos, &sin));
    for (int l = 0; l < d->c.num_layers; l++) {
        size_t row = (size_t)p->row * (size_t)d->c.num_layers + (size_t)l;
        const float *mod = d->mod.layer + row * 6 * (size_t)d->c.dim;
        TRY(self_qkv(d, p, l, mod, cos, sin));
        if (!p->v && l == d->c.num_layers - 1) {
            break;
        }
        TRY(self_attention(d, p, l, mod));
        TRY(cross_attention(d, p, l));
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
    const float *mod = d->mod.head + (size_t)p->row * 2 * (size_t)dim;
    TRY(layer_norm(d, d->x, d->h, mod + dim, mod, 1.0f, rows));
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
    TRY(load_window(d, p));
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
    return rc < 0 ? kt_fail(err, rc, "dit: a device operation failed (%d)", rc) : 0;
}

/* ---- contexts ---- */

static int fill_context(struct kt_dit *d, struct kt_dit_context *ctx, const void *rows, int n)
{
    int dim = d->c.dim, used = n < d->c.text_len ? n + 1 : n, padded = (used + 15) / 16 * 16;
    size_t in = (size_t)d->c.text_dim * d->dev->act_size;
    TRY(kt_device_zero(d->dev, d->text_in, in * (size_t)padded));
    if (n > 0) {
        TRY(d->dev->k.copy_rows(d->dev->q, d->text_in, in, rows, in, n, in));
    }
    struct kt_linear_args a = {
        .x = d->text_in, .y = d->text_mid, .m = padded, .act = KT_ACT_GELU_TANH};
    TRY(d->dev->k.linear(d->dev->q, d->text0, &a));
    a = (struct kt_linear_args){.x = d->text_mid, .y = d->text_out, .m = padded};
    TRY(d->dev->k.linear(d->dev->q, d->text2, &a));
    for (int l = 0; l < d->c.num_layers; l++) {
        a = (struct kt_linear_args){.x = d->text_out, .y = d->text_mid, .m = padded};
        TRY(d->dev->k.linear(d->dev->q, d->layers[l].cross_kv, &a));
        TRY(rms_norm(d, d->text_mid, 2 * dim, d->layers[l].cross_norm_k, used));
        TRY(copy_rows(d, context_rows(d, ctx, l, 0), dim, d->text_mid, 2 * dim, used));
        TRY(copy_rows(d, context_rows(d, ctx, l, 1), dim,
                      kt_act_at(d->dev, d->text_mid, (size_t)dim), 2 * dim, used));
    }
    ctx->rows = used;
    ctx->tail_logit = n < d->c.text_len ? logf((float)(d->c.text_len - n)) : 0.0f;
    return 0;
}

int kt_dit_context_fill(struct kt_dit *d, struct kt_dit_context *ctx, const void *rows, int n,
                        struct kt_error *err)
{
    if (n < 0 || n > d->c.text_len) {
        return kt_fail(err, -EINVAL, "context: expected 0 to %d rows, found %d", d->c.text_len, n);
    }
    int rc = fill_context(d, ctx, rows, n);
    return rc < 0 ? kt_fail(err, rc, "context: a device operation failed (%d)", rc) : 0;
}
