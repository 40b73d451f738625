/* What a convolution covers, by arithmetic on its shapes alone: every table's convolutions begin
 * with it. Private to kernels.
 *
 * Thread-safety: pure. */
#ifndef KT_KERNELS_CONV_SHAPE_H
#define KT_KERNELS_CONV_SHAPE_H

#include "kernels/kernels.h"

/* Non-zero where sizes, strides and padding make sense and there are weights; their dtype is the
 * loader's to check. */
int kt_conv_desc_is_valid(const struct kt_conv_desc *d);

struct kt_conv_shape {
    int past;       /* frames before x: kt - 1 if causal, else 0 */
    int h_in, w_in; /* what the filter sees: doubled if the convolution upsamples */
    int t_out, h_out, w_out;
};

/* -EINVAL where the input is too small for the filter, or has a past that the filter does not
 * read. */
int kt_conv_shape_of(struct kt_conv_shape *s, const struct kt_conv_desc *d,
                     const struct kt_conv_args *a);

#endif
