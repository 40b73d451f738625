/* Row-wise operations: layer, RMS and channel norm, rotary embedding, gated residual. Sums run in
 * KT_LANES partial sums, which are then folded by halves: fixed by the row's length alone. */
#include "kernels/cpu/simd/simd.h"
#include "kernels/cpu/simd/vec.h"

#include "kernels/cpu/parallel.h"

#include <errno.h>
#include <math.h>

enum { TASK_VALUES = 16384 }; /* work of one task; less is not worth waking a thread for */

static int rows_per_task(int row_values)
{
    return row_values >= TASK_VALUES ? 1 : TASK_VALUES / row_values;
}

static int tasks_of(int rows, int row_values)
{
    const int per_task = rows_per_task(row_values);
    return (rows + per_task - 1) / per_task;
}

static int end_row(int item, int per_task, int rows)
{
    return (item + 1) * per_task < rows ? (item + 1) * per_task : rows;
}

KT_INLINE float sum_row(const float *x, int n)
{
    kt_vf sum = {0};
    int i = 0;
    for (; i + KT_LANES <= n; i += KT_LANES) {
        sum += kt_load(x + i);
    }
    return kt_sum_lanes(sum + kt_load_n(x + i, n - i));
}

KT_INLINE float sum_squares(const float *x, int n, float mean)
{
    kt_vf sum = {0};
    int i = 0;
    for (; i + KT_LANES <= n; i += KT_LANES) {
        const kt_vf d = kt_load(x + i) - mean;
        sum += d * d;
    }
    float total = kt_sum_lanes(sum);
    for (; i < n; i++) {
        total += (x[i] - mean) * (x[i] - mean);
    }
    return total;
}

static void layer_norm_row(float *y, const float *x, const struct kt_layer_norm_args *a,
                           size_t group)
{
    const float *scale = a->scale + group, *shift = a->shift + group;
    const float mean = sum_row(x, a->dim) / (float)a->dim;
    const float inv = 1.0f / sqrtf(sum_squares(x, a->dim, mean) / (float)a->dim + a->eps);
    for (int i = 0; i < a->dim; i += KT_LANES) {
        const int n = a->dim - i;
        const kt_vf normed = (kt_load_n(x + i, n) - mean) * inv;
        kt_store_n(y + i,
                   normed * (kt_load_n(scale + i, n) + a->scale_one) + kt_load_n(shift + i, n), n);
    }
}

static void layer_norm_task(void *ctx, int item, int worker)
{
    const struct kt_layer_norm_args *a = ctx;
    const int per_task = rows_per_task(a->dim), end = end_row(item, per_task, a->m);
    for (int r = item * per_task; r < end; r++) {
        layer_norm_row((float *)a->y + (size_t)r * a->dim, (const float *)a->x + (size_t)r * a->dim,
                       a, (size_t)(r / a->rows_per_group) * a->ld_mod);
    }
    (void)worker;
}

int KT_SIMD(layer_norm)(struct kt_queue *q, const struct kt_layer_norm_args *a)
{
    if (a->m < 0 || a->dim < 1 || a->rows_per_group < 1 || !a->scale || !a->shift) {
        return -EINVAL;
    }
    q->stats.launches++;
    struct kt_layer_norm_args copy = *a;
    kt_parallel(q, tasks_of(a->m, a->dim), layer_norm_task, &copy);
    return 0;
}

static void rms_norm_task(void *ctx, int item, int worker)
{
    const struct kt_rms_norm_args *a = ctx;
    const int per_task = rows_per_task(a->dim), end = end_row(item, per_task, a->m);
    for (int r = item * per_task; r < end; r++) {
        const float *x = (const float *)a->x + (size_t)r * (a->ld_x ? a->ld_x : a->dim);
        float *y = (float *)a->y + (size_t)r * (a->ld_y ? a->ld_y : a->dim);
        const float inv = 1.0f / sqrtf(sum_squares(x, a->dim, 0.0f) / (float)a->dim + a->eps);
        for (int i = 0; i < a->dim; i += KT_LANES) {
            const int n = a->dim - i;
            kt_store_n(y + i, kt_load_n(x + i, n) * inv * kt_load_n(a->weight + i, n), n);
        }
    }
    (void)worker;
}

int KT_SIMD(rms_norm)(struct kt_queue *q, const struct kt_rms_norm_args *a)
{
    const int ld_x = a->ld_x ? a->ld_x : a->dim, ld_y = a->ld_y ? a->ld_y : a->dim;
    if (a->m < 0 || a->dim < 1 || ld_x < a->dim || ld_y < a->dim || !a->weight) {
        return -EINVAL;
    }
    q->stats.launches++;
    struct kt_rms_norm_args copy = *a;
    kt_parallel(q, tasks_of(a->m, a->dim), rms_norm_task, &copy);
    return 0;
}

KT_INLINE void channel_norm_pixel(float *y, const float *x, const struct kt_channel_norm_args *a)
{
    const float norm = sqrtf(sum_squares(x, a->c, 0.0f));
    const float factor = sqrtf((float)a->c) / (norm > 1e-12f ? norm : 1e-12f);
    for (int i = 0; i < a->c; i += KT_LANES) {
        const int n = a->c - i;
        const kt_vf v = kt_load_n(x + i, n) * factor * kt_load_n(a->gamma + i, n);
        kt_store_n(y + i, a->silu ? kt_silu(v) : v, n);
    }
}

static void channel_norm_task(void *ctx, int item, int worker)
{
    const struct kt_channel_norm_args *a = ctx;
    const int per_task = rows_per_task(a->c), end = end_row(item, per_task, a->pixels);
    for (int p = item * per_task; p < end; p++) {
        channel_norm_pixel((float *)a->y + (size_t)p * a->c, (const float *)a->x + (size_t)p * a->c,
                           a);
    }
    (void)worker;
}

int KT_SIMD(channel_norm)(struct kt_queue *q, const struct kt_channel_norm_args *a)
{
    if (a->pixels < 0 || a->c < 1 || !a->gamma) {
        return -EINVAL;
    }
    if (KT_SIMD(channel_norm_takes)(a->c)) {
        q->stats.launches++;
        KT_SIMD(channel_norm_groups)(q, a);
        return 0;
    }
#if KT_LANES == 16
    if (a->c % 16 != 0 && a->c % 16 <= 8) {
        return kt_simd_channel_norm_avx2(q, a);
    }
#endif
    q->stats.launches++;
    struct kt_channel_norm_args copy = *a;
    kt_parallel(q, tasks_of(a->pixels, a->c), channel_norm_task, &copy);
    return 0;
}

/* Neighbours swapped; the lower half (the upper one from KT_LANES / 2) with each element twice. */
#if KT_LANES == 16
#define SWAP(v) __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14)
#define TWICE(v, from)                                                                             \
    __builtin_shufflevector(v, v, from, from, 1 + from, 1 + from, 2 + from, 2 + from, 3 + from,    \
                            3 + from, 4 + from, 4 + from, 5 + from, 5 + from, 6 + from, 6 + from,  \
                            7 + from, 7 + from)
static const kt_vf SIGN = {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1};
#else
#define SWAP(v) __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6)
#define TWICE(v, from)                                                                             \
    __builtin_shufflevector(v, v, from, from, 1 + from, 1 + from, 2 + from, 2 + from, 3 + from,    \
                            3 + from)
static const kt_vf SIGN = {-1, 1, -1, 1, -1, 1, -1, 1};
#endif

KT_INLINE void rotate_pairs(float *y, const float *x, kt_vf c, kt_vf s)
{
    const kt_vf v = kt_load(x);
    kt_store(y, v * c + SWAP(v) * (SIGN * s));
}

/* (re, im) -> (re c - im s, re s + im c): x times doubled cosines plus swapped x times signed
 * sines. */
static void rotate_head(float *y, const float *x, const float *cos, const float *sin, int pairs)
{
    int i = 0;
    for (; i + KT_LANES <= pairs; i += KT_LANES) {
        const kt_vf c = kt_load(cos + i), s = kt_load(sin + i);
        rotate_pairs(y + 2 * i, x + 2 * i, TWICE(c, 0), TWICE(s, 0));
        rotate_pairs(y + 2 * i + KT_LANES, x + 2 * i + KT_LANES, TWICE(c, KT_LANES / 2),
                     TWICE(s, KT_LANES / 2));
    }
    for (; i < pairs; i++) {
        const float re = x[2 * i], im = x[2 * i + 1];
        y[2 * i] = re * cos[i] - im * sin[i];
        y[2 * i + 1] = re * sin[i] + im * cos[i];
    }
}

static void rope_task(void *ctx, int item, int worker)
{
    const struct kt_rope_args *a = ctx;
    const int row = a->heads * a->head_dim, pairs = a->head_dim / 2;
    const int per_task = rows_per_task(row), end = end_row(item, per_task, a->m);
    for (int r = item * per_task; r < end; r++) {
        const float *x = (const float *)a->x + (size_t)r * (a->ld_x ? a->ld_x : row);
        float *y = (float *)a->y + (size_t)r * (a->ld_y ? a->ld_y : row);
        for (int h = 0; h < a->heads; h++) {
            rotate_head(y + (size_t)h * a->head_dim, x + (size_t)h * a->head_dim,
                        a->cos + (size_t)r * pairs, a->sin + (size_t)r * pairs, pairs);
        }
    }
    (void)worker;
}

int KT_SIMD(rope)(struct kt_queue *q, const struct kt_rope_args *a)
{
    const int row = a->heads * a->head_dim;
    const int ld_x = a->ld_x ? a->ld_x : row, ld_y = a->ld_y ? a->ld_y : row;
    if (a->m < 0 || a->heads < 1 || a->head_dim < 2 || a->head_dim % 2 || ld_x < row ||
        ld_y < row) {
        return -EINVAL;
    }
    q->stats.launches++;
    struct kt_rope_args copy = *a;
    kt_parallel(q, tasks_of(a->m, row), rope_task, &copy);
    return 0;
}

static void residual_task(void *ctx, int item, int worker)
{
    const struct kt_residual_args *a = ctx;
    const int per_task = rows_per_task(a->dim), end = end_row(item, per_task, a->m);
    for (int r = item * per_task; r < end; r++) {
        float *x = (float *)a->x + (size_t)r * a->dim;
        const float *y = (const float *)a->y + (size_t)r * a->dim;
        const float *gate = a->gate ? a->gate + (size_t)(r / a->rows_per_group) * a->ld_mod : NULL;
        for (int i = 0; i < a->dim; i += KT_LANES) {
            const int n = a->dim - i;
            const kt_vf add = kt_load_n(y + i, n);
            kt_store_n(x + i, kt_load_n(x + i, n) + (gate ? kt_load_n(gate + i, n) * add : add), n);
        }
    }
    (void)worker;
}

int KT_SIMD(residual)(struct kt_queue *q, const struct kt_residual_args *a)
{
    if (a->m < 0 || a->dim < 1 || (a->gate && a->rows_per_group < 1)) {
        return -EINVAL;
    }
    q->stats.launches++;
    struct kt_residual_args copy = *a;
    kt_parallel(q, tasks_of(a->m, a->dim), residual_task, &copy);
    return 0;
}

struct mul_gelu_job {
    float *y;
    const float *a, *b;
    size_t n;
};

static void mul_gelu_task(void *ctx, int item, int worker)
{
    const struct mul_gelu_job *job = ctx;
    const size_t begin = (size_t)item * TASK_VALUES;
    const size_t end = begin + TASK_VALUES < job->n ? begin + TASK_VALUES : job->n;
    for (size_t i = begin; i < end; i += KT_LANES) {
        const int n = end - i < KT_LANES ? (int)(end - i) : KT_LANES;
        kt_store_n(job->y + i, kt_load_n(job->a + i, n) * kt_gelu_tanh(kt_load_n(job->b + i, n)),
                   n);
    }
    (void)worker;
}

int KT_SIMD(mul_gelu)(struct kt_queue *q, void *y, const void *a, const void *b, size_t n)
{
    struct mul_gelu_job job = {y, a, b, n};
    q->stats.launches++;
    kt_parallel(q, (int)((n + TASK_VALUES - 1) / TASK_VALUES), mul_gelu_task, &job);
    return 0;
}
