#include "kernels/cpu/ref.h"

#include <errno.h>

/* One head: channels (2i, 2i+1) are a complex number, times cos[i] + j sin[i]. */
static void rotate(float *y, const float *x, const float *cos, const float *sin, int pairs)
{
    for (int i = 0; i < pairs; i++) {
        const double re = x[2 * i], im = x[2 * i + 1];
        y[2 * i] = (float)(re * cos[i] - im * sin[i]);
        y[2 * i + 1] = (float)(re * sin[i] + im * cos[i]);
    }
}

int kt_ref_rope(struct kt_queue *q, const struct kt_rope_args *a)
{
    const int row = a->heads * a->head_dim, pairs = a->head_dim / 2;
    const int ld_x = a->ld_x ? a->ld_x : row, ld_y = a->ld_y ? a->ld_y : row;
    if (a->m < 0 || a->heads < 1 || a->head_dim < 2 || a->head_dim % 2 || ld_x < row ||
        ld_y < row) {
        return -EINVAL;
    }
    q->stats.launches++;
    for (int r = 0; r < a->m; r++) {
        for (int h = 0; h < a->heads; h++) {
            const size_t head = (size_t)h * a->head_dim, angle = (size_t)r * pairs;
            rotate((float *)a->y + (size_t)r * ld_y + head,
                   (const float *)a->x + (size_t)r * ld_x + head, a->cos + angle, a->sin + angle,
                   pairs);
        }
    }
    return 0;
}
