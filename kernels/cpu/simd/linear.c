/* y = act(x W^T + b). W is kept as panels [ceil(n / KT_TILE_COLS)][k][KT_TILE_COLS], zero filled,
 * so that a tile reads it in one stream; x is read where it lies. */
#include "kernels/cpu/simd/simd.h"
#include "kernels/cpu/simd/vec.h"

#include "kernels/cpu/parallel.h"

#include <errno.h>
#include <stdlib.h>

enum {
    DEPTH_BLOCK = 512, /* a panel of this depth (32 or 64 KiB) stays in L2 while the rows pass by */
    ROW_BLOCK = 84,    /* rows of one task, whole tiles on either instruction set */
};

static int panels_of(const struct kt_linear *l)
{
    return (l->n + KT_TILE_COLS - 1) / KT_TILE_COLS;
}

/* [n, k] as checkpoints have it to panels */
static void pack_panels(float *dst, const float *src, int n, int k)
{
    for (int first = 0; first < n; first += KT_TILE_COLS) {
        for (int i = 0; i < k; i++) {
            for (int j = 0; j < KT_TILE_COLS; j++) {
                *dst++ = first + j < n ? src[(size_t)(first + j) * k + i] : 0.0f;
            }
        }
    }
}

static int load_panels(struct kt_linear *l, const struct kt_linear_desc *d)
{
    const size_t n = (size_t)d->n, k = (size_t)d->k;
    const size_t padded = (size_t)panels_of(l) * KT_TILE_COLS;
    float *given = kt_cpu_alloc(n * k * sizeof(float));
    l->weight = kt_cpu_alloc(padded * k * sizeof(float));
    l->bias = kt_cpu_alloc(padded * sizeof(float));
    int rc = given && l->weight && l->bias ? 0 : -ENOMEM;
    if (rc == 0) {
        rc = kt_cpu_to_f32(given, d->weight, d->dtype, n * k);
    }
    if (rc == 0) {
        pack_panels(l->weight, given, d->n, d->k);
        memset(l->bias, 0, padded * sizeof(float));
        rc = d->bias ? kt_cpu_to_f32(l->bias, d->bias, d->dtype, n) : 0;
    }
    free(given);
    return rc;
}

int KT_SIMD(linear_create)(struct kt_linear **l, struct kt_queue *q, const struct kt_linear_desc *d)
{
    if (!l || !q || !d || d->n < 1 || d->k < 1 || !d->weight) {
        return -EINVAL;
    }
    struct kt_linear *made = calloc(1, sizeof(*made));
    if (!made) {
        return -ENOMEM;
    }
    made->n = d->n;
    made->k = d->k;
    const int rc = load_panels(made, d);
    if (rc != 0) {
        free(made->weight);
        free(made->bias);
        free(made);
        return rc;
    }
    *l = made;
    return 0;
}

struct block { /* rows of x against one panel */
    const float *x, *panel, *bias;
    float *y;
    int ld_x, ld_y, depth, cols;
    int first, last; /* of the depth blocks */
    enum kt_act act;
};

KT_INLINE kt_vf activate(kt_vf v, enum kt_act act)
{
    return act == KT_ACT_GELU_TANH ? kt_gelu_tanh(v) : act == KT_ACT_SILU ? kt_silu(v) : v;
}

KT_INLINE void block_tile(const struct block *b, int row, const int rows)
{
    kt_vf acc[2 * KT_TILE_ROWS];
    float *y = b->y + (size_t)row * b->ld_y;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        const float *from = y + (size_t)i * b->ld_y;
        acc[2 * i] = b->first ? kt_load(b->bias) : kt_load_n(from, b->cols);
        acc[2 * i + 1] =
            b->first ? kt_load(b->bias + KT_LANES) : kt_load_n(from + KT_LANES, b->cols - KT_LANES);
    }
    kt_tile(acc, rows, 2, b->x + (size_t)row * b->ld_x, b->ld_x, 1, b->panel, b->depth);
    const enum kt_act act = b->last ? b->act : KT_ACT_NONE;
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        float *to = y + (size_t)i * b->ld_y;
        kt_store_n(to, activate(acc[2 * i], act), b->cols);
        kt_store_n(to + KT_LANES, activate(acc[2 * i + 1], act), b->cols - KT_LANES);
    }
}

static void run_block(const struct block *b, int rows)
{
    KT_FOR_TILES(block_tile, b, rows, KT_TILE_ROWS);
}

struct job {
    const struct kt_linear *l;
    const struct kt_linear_args *a;
    int ld_x, ld_y;
};

static void linear_task(void *ctx, int item, int worker)
{
    const struct job *job = ctx;
    const struct kt_linear *l = job->l;
    const int panel = item % panels_of(l), row = item / panels_of(l) * ROW_BLOCK;
    const int rows = job->a->m - row < ROW_BLOCK ? job->a->m - row : ROW_BLOCK;
    const int col = panel * KT_TILE_COLS;
    for (int p = 0; p < l->k; p += DEPTH_BLOCK) {
        const int left = l->k - p;
        const struct block b = {
            .x = (const float *)job->a->x + (size_t)row * job->ld_x + p,
            .panel = l->weight + ((size_t)panel * l->k + p) * KT_TILE_COLS,
            .bias = l->bias + col,
            .y = (float *)job->a->y + (size_t)row * job->ld_y + col,
            .ld_x = job->ld_x,
            .ld_y = job->ld_y,
            .depth = left < DEPTH_BLOCK ? left : DEPTH_BLOCK,
            .cols = l->n - col,
            .first = p == 0,
            .last = left <= DEPTH_BLOCK,
            .act = job->a->act,
        };
        run_block(&b, rows);
    }
    (void)worker;
}

int KT_SIMD(linear)(struct kt_queue *q, const struct kt_linear *l, const struct kt_linear_args *a)
{
    struct job job = {l, a, a->ld_x ? a->ld_x : l->k, a->ld_y ? a->ld_y : l->n};
    if (a->m < 0 || job.ld_x < l->k || job.ld_y < l->n) {
        return -EINVAL;
    }
    q->stats.launches++;
    const int row_blocks = (a->m + ROW_BLOCK - 1) / ROW_BLOCK;
    kt_parallel(q, row_blocks * panels_of(l), linear_task, &job);
    return 0;
}
