/* The cross-attention keys and values of a prompt: made once when it is encoded, read by every pass
 * under it. */
#include <errno.h>
#include <math.h>

#include "engine/dit/parts.h"

static int copy_rows(struct kt_dit *d, void *dst, int ld_dst, const void *src, int ld_src, int rows)
{
    size_t size = d->dev->act_size;
    return d->dev->k.copy_rows(d->dev->q, dst, (size_t)ld_dst * size, src, (size_t)ld_src * size,
                               rows, (size_t)d->c.dim * size);
}

void *kt_dit_context_rows(const struct kt_dit *d, const struct kt_dit_context *ctx, int layer,
                          int which)
{
    size_t row = ((size_t)layer * 2 + (size_t)which) * (size_t)d->c.text_len;
    return kt_act_at(d->dev, ctx->kv, row * (size_t)d->c.dim);
}

int kt_dit_rms_norm(struct kt_dit *d, void *x, int ld, const float *weight, int rows)
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
        TRY(kt_dit_rms_norm(d, d->text_mid, 2 * dim, d->layers[l].cross_norm_k, used));
        TRY(copy_rows(d, kt_dit_context_rows(d, ctx, l, 0), dim, d->text_mid, 2 * dim, used));
        TRY(copy_rows(d, kt_dit_context_rows(d, ctx, l, 1), dim,
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
