#include "kernels/conv_shape.h"

#include <errno.h>

int kt_conv_desc_is_valid(const struct kt_conv_desc *d)
{
    return d->c_in > 0 && d->c_out > 0 && d->kt > 0 && d->kh > 0 && d->kw > 0 && d->st > 0 &&
           d->sh > 0 && d->sw > 0 && d->pad_top >= 0 && d->pad_bottom >= 0 && d->pad_left >= 0 &&
           d->pad_right >= 0 && d->weight && (!d->causal || d->st == 1);
}

int kt_conv_shape_of(struct kt_conv_shape *s, const struct kt_conv_desc *d,
                     const struct kt_conv_args *a)
{
    if (a->t_in < 1 || a->h < 1 || a->w < 1 || (a->past && !d->causal)) {
        return -EINVAL;
    }
    s->past = d->causal ? d->kt - 1 : 0;
    s->h_in = d->upsample ? 2 * a->h : a->h;
    s->w_in = d->upsample ? 2 * a->w : a->w;
    const int t = a->t_in + s->past - d->kt, h = s->h_in + d->pad_top + d->pad_bottom - d->kh;
    const int w = s->w_in + d->pad_left + d->pad_right - d->kw;
    if (t < 0 || h < 0 || w < 0) {
        return -EINVAL;
    }
    s->t_out = t / d->st + 1;
    s->h_out = h / d->sh + 1;
    s->w_out = w / d->sw + 1;
    return 0;
}
