/* The dense working copy of the window, one range of rows a slot: keys turned for their slot and
 * values, ready for attention. Pages are the truth; a slot is filled again when another page takes
 * its place, and a pass writes its own frames behind the prefix. */
#include <string.h>

#include "engine/base/assert.h"
#include "engine/dit/parts.h"
#include "engine/kv/history.h"

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

/* One layer's part of the working copy. */
static void *layer_window(const struct kt_dit *d, void *window, int layer)
{
    size_t rows = (size_t)layer * (size_t)d->window_rows;
    return (char *)window + rows * (size_t)d->c.dim * d->dev->kv_size;
}

const void *kt_dit_window_keys(const struct kt_dit *d, int layer)
{
    return layer_window(d, d->window_k, layer);
}

const void *kt_dit_window_values(const struct kt_dit *d, int layer)
{
    return layer_window(d, d->window_v, layer);
}

/* What every store into `layer` has in common. */
static struct kt_kv_store_args store_args(const struct kt_dit *d, int layer)
{
    const struct kt_dit_scales *s = &d->layers[layer].scales;
    return (struct kt_kv_store_args){.heads = d->c.num_heads,
                                     .head_dim = d->head_dim,
                                     .eps = d->c.eps,
                                     .window_k = layer_window(d, d->window_k, layer),
                                     .window_v = layer_window(d, d->window_v, layer),
                                     .ld_v = d->window_rows,
                                     .page_rows = d->tokens,
                                     .q_scale = s->q,
                                     .k_scale = s->k,
                                     .v_scale = s->k > 0 ? s->v : 0};
}

/* Slots first.. of a pass's prefix, `count` of them, in all layers. */
static int load_slots(struct kt_dit *d, const struct kt_dit_pass *p, int first, int count)
{
    size_t table = (size_t)first * (size_t)d->tokens * (size_t)(d->head_dim / 2);
    const void *k[KT_SLOTS_MAX], *v[KT_SLOTS_MAX];
    for (int l = 0; l < d->c.num_layers; l++) {
        struct kt_kv_store_args a = store_args(d, l);
        for (int i = 0; i < count; i++) {
            k[i] = page_rows(d, p->prefix[first + i], l, 0);
            v[i] = page_rows(d, p->prefix[first + i], l, 1);
        }
        a.from_k = k;
        a.from_v = v;
        a.rows = count * d->tokens;
        a.row0 = first * d->tokens;
        if (d->relative_rope) { /* else the page's keys are turned already */
            a.cos = d->slot_cos + table;
            a.sin = d->slot_sin + table;
        }
        TRY(kt_kv_store(&d->dev->k, d->dev->q, &a));
    }
    for (int i = 0; i < count; i++) {
        d->loaded[first + i] = p->prefix[first + i]->serial;
    }
    return 0;
}

/* Slots that change together are loaded together: when the window has moved, all but the sink. */
int kt_dit_load_window(struct kt_dit *d, const struct kt_dit_pass *p)
{
    for (int slot = 0, from; slot < p->prefix_count; slot++) {
        for (from = slot; slot < p->prefix_count && d->loaded[slot] != p->prefix[slot]->serial;) {
            slot++;
        }
        if (slot > from) {
            TRY(load_slots(d, p, from, slot - from));
        }
    }
    return 0;
}

/* Points cos and sin at the table rows of the pass's own frames. */
int kt_dit_pass_rope(struct kt_dit *d, const struct kt_dit_pass *p, const float **cos,
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

int kt_dit_store(struct kt_dit *d, const struct kt_dit_pass *p, int layer, const float *cos,
                 const float *sin)
{
    void *page_k[KT_SLOTS_MAX], *page_v[KT_SLOTS_MAX];
    struct kt_kv_store_args a = store_args(d, layer);
    int dim = d->c.dim;
    for (int f = p->unseen; p->pages && f < p->frames; f++) {
        page_k[f - p->unseen] = page_rows(d, p->pages[f], layer, 0);
        page_v[f - p->unseen] = page_rows(d, p->pages[f], layer, 1);
    }
    a.q = d->qkv;
    a.k = kt_act_at(d->dev, d->qkv, (size_t)dim);
    a.v = kt_act_at(d->dev, d->qkv, 2 * (size_t)dim);
    a.ld = 3 * dim;
    a.rows = p->frames * d->tokens;
    a.norm_q = d->layers[layer].norm_q;
    a.norm_k = d->layers[layer].norm_k;
    a.cos = cos;
    a.sin = sin;
    a.q_out = d->h;
    a.ld_q = dim;
    a.skip = p->unseen * d->tokens;
    a.row0 = p->prefix_count * d->tokens;
    a.page_k = p->pages ? page_k : NULL;
    a.page_v = p->pages ? page_v : NULL;
    a.page_turned = !d->relative_rope;
    return kt_kv_store(&d->dev->k, d->dev->q, &a);
}
