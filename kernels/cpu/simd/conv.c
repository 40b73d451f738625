/* Direct convolution, channels last. A row of output pixels is a product: its pixels (tile rows)
 * against the filter (tile columns), depth running over the taps and input channels. Per worker, a
 * ring of the last kh padded input rows of each of the kt frames is kept, so that past frames, zero
 * padding and the nearest doubling are dealt with once per row by copying, and the taps of a filter
 * row and their channels lie next to each other: one tile call covers kw * c_in.
 *
 * Filters are panels [ceil(c_out / cols)][kt, kh, kw, c_in][cols], cols one vector if c_out fits,
 * else two. */
#include "kernels/cpu/simd/simd.h"
#include "kernels/cpu/simd/vec.h"

#include "kernels/cpu/parallel.h"

#include <errno.h>
#include <stdlib.h>

static int vecs_of(int c_out)
{
    return c_out <= KT_LANES ? 1 : 2;
}

static int panels_of(int c_out)
{
    const int cols = vecs_of(c_out) * KT_LANES;
    return (c_out + cols - 1) / cols;
}

static int taps_of(const struct kt_conv_desc *d)
{
    return d->kt * d->kh * d->kw;
}

/* [c_out, c_in, taps] as checkpoints have it to panels */
static void pack_panels(float *dst, const float *src, const struct kt_conv_desc *d)
{
    const int cols = vecs_of(d->c_out) * KT_LANES, taps = taps_of(d);
    for (int first = 0; first < d->c_out; first += cols) {
        for (int tap = 0; tap < taps; tap++) {
            for (int i = 0; i < d->c_in; i++) {
                for (int o = first; o < first + cols; o++) {
                    *dst++ = o < d->c_out ? src[((size_t)o * d->c_in + i) * taps + tap] : 0.0f;
                }
            }
        }
    }
}

static int load_panels(struct kt_conv *c, const struct kt_conv_desc *d)
{
    const size_t depth = (size_t)taps_of(d) * d->c_in, n = depth * d->c_out;
    const size_t padded = (size_t)panels_of(d->c_out) * vecs_of(d->c_out) * KT_LANES;
    float *given = kt_cpu_alloc(n * sizeof(float));
    c->weight = kt_cpu_alloc(padded * depth * sizeof(float));
    c->bias = kt_cpu_alloc(padded * sizeof(float));
    int rc = given && c->weight && c->bias ? 0 : -ENOMEM;
    if (rc == 0) {
        rc = kt_cpu_to_f32(given, d->weight, d->dtype, n);
    }
    if (rc == 0) {
        pack_panels(c->weight, given, d);
        rc = KT_SIMD(winograd_takes)(d) ? KT_SIMD(winograd_pack)(c, given) : 0;
    }
    if (rc == 0) {
        memset(c->bias, 0, padded * sizeof(float));
        rc = d->bias ? kt_cpu_to_f32(c->bias, d->bias, d->dtype, (size_t)d->c_out) : 0;
    }
    free(given);
    return rc;
}

int KT_SIMD(conv_create)(struct kt_conv **c, struct kt_queue *q, const struct kt_conv_desc *d)
{
    if (!c || !q || !d || !kt_conv_desc_is_valid(d)) {
        return -EINVAL;
    }
#if KT_LANES == 16
    if (d->c_out <= 8 && !KT_SIMD(winograd_takes)(d)) {
        return kt_simd_conv_create_avx2(c, q, d);
    }
#endif
    struct kt_conv *made = calloc(1, sizeof(*made));
    if (!made) {
        return -ENOMEM;
    }
    made->d = *d;
    made->d.weight = made->d.bias = NULL;
    const int rc = load_panels(made, d);
    if (rc != 0) {
        free(made->weight);
        free(made->bias);
        free(made->winograd);
        free(made);
        return rc;
    }
    *c = made;
    return 0;
}

struct job {
    const struct kt_conv *c;
    const struct kt_conv_args *a;
    struct kt_conv_shape s;
    float *scratch;
    size_t row_floats; /* a padded input row */
    int rows_per_task, tasks_per_frame;
};

/* Frame t of what the filter sees, counted from the first frame before x; NULL: zeros. */
static const float *frame_at(const struct job *job, int t)
{
    const struct kt_conv_args *a = job->a;
    const size_t frame = (size_t)a->h * a->w * job->c->d.c_in;
    if (t >= job->s.past) {
        return (const float *)a->x + (size_t)(t - job->s.past) * frame;
    }
    return a->past ? (const float *)a->past + (size_t)t * frame : NULL;
}

/* Row y (may lie outside the picture) of a frame, padded left and right, doubled if asked for. */
static void load_row(float *dst, const struct job *job, const float *frame, int y)
{
    const struct kt_conv_desc *d = &job->c->d;
    if (!frame || y < 0 || y >= job->s.h_in) {
        memset(dst, 0, job->row_floats * sizeof(float));
        return;
    }
    const size_t c = (size_t)d->c_in, left = (size_t)d->pad_left * c, w = (size_t)job->a->w;
    const float *src = frame + (size_t)(d->upsample ? y / 2 : y) * w * c;
    memset(dst, 0, left * sizeof(float));
    dst += left;
    if (d->upsample) {
        for (size_t x = 0; x < w; x++, dst += 2 * c) {
            memcpy(dst, src + x * c, c * sizeof(float));
            memcpy(dst + c, src + x * c, c * sizeof(float));
        }
    } else {
        memcpy(dst, src, w * c * sizeof(float));
        dst += w * c;
    }
    memset(dst, 0, (size_t)d->pad_right * c * sizeof(float));
}

struct row { /* one row of output pixels against one panel */
    const float *ring, *panel, *bias, *residual;
    float *y;
    size_t row_floats;
    int kt, kh, top; /* `top`: ring slot of the window's first row */
    int depth, step; /* kw * c_in; floats from one output pixel's window to the next */
    int c_out, cols, relu;
};

KT_INLINE kt_vf finish(kt_vf v, const struct row *r, const float *residual, int cols)
{
    if (residual) {
        v += kt_load_n(residual, cols);
    }
    return r->relu ? kt_select(v < 0.0f, (kt_vf){0}, v) : v;
}

KT_INLINE void row_tile(const struct row *r, int x, const int rows, const int vecs)
{
    kt_vf acc[2 * KT_TILE_ROWS];
#pragma GCC unroll 32
    for (int i = 0; i < rows * vecs; i++) {
        acc[i] = kt_load(r->bias + (i % vecs) * KT_LANES);
    }
    const float *w = r->panel;
    for (int dt = 0; dt < r->kt; dt++) {
        for (int dy = 0; dy < r->kh; dy++) {
            const int slot = r->top + dy < r->kh ? r->top + dy : r->top + dy - r->kh;
            const float *in = r->ring + (size_t)(dt * r->kh + slot) * r->row_floats;
            kt_tile(acc, rows, vecs, in + (size_t)x * r->step, r->step, 1, w, r->depth);
            w += (size_t)r->depth * vecs * KT_LANES;
        }
    }
#pragma GCC unroll 32
    for (int i = 0; i < rows * vecs; i++) {
        const int col = i % vecs * KT_LANES;
        const size_t at = (size_t)(x + i / vecs) * r->c_out + col;
        const float *residual = r->residual ? r->residual + at : NULL;
        kt_store_n(r->y + at, finish(acc[i], r, residual, r->cols - col), r->cols - col);
    }
}

KT_INLINE void row_tile_1(const struct row *r, int x, const int rows)
{
    row_tile(r, x, rows, 1);
}

KT_INLINE void row_tile_2(const struct row *r, int x, const int rows)
{
    row_tile(r, x, rows, 2);
}

static void run_row(const struct row *r, int pixels)
{
    if (r->cols <= KT_LANES && r->c_out <= KT_LANES) {
        KT_FOR_TILES(row_tile_1, r, pixels, 2 * KT_TILE_ROWS);
    } else {
        KT_FOR_TILES(row_tile_2, r, pixels, KT_TILE_ROWS);
    }
}

/* All panels of output row (t, y); the ring holds its input rows, window row dy in slot (first +
 * dy) % kh. */
static void convolve_row(const struct job *job, const float *ring, int t, int y, int first)
{
    const struct kt_conv_desc *d = &job->c->d;
    const int panel_cols = vecs_of(d->c_out) * KT_LANES;
    const size_t at = ((size_t)t * job->s.h_out + y) * job->s.w_out * d->c_out;
    const float *residual = job->a->residual;
    for (int col = 0; col < d->c_out; col += panel_cols) {
        const struct row r = {
            .ring = ring,
            .panel = job->c->weight + (size_t)col * taps_of(d) * d->c_in,
            .bias = job->c->bias + col,
            .residual = residual ? residual + at + col : NULL,
            .y = (float *)job->a->y + at + col,
            .row_floats = job->row_floats,
            .kt = d->kt,
            .kh = d->kh,
            .top = first % d->kh,
            .depth = d->kw * d->c_in,
            .step = d->sw * d->c_in,
            .c_out = d->c_out,
            .cols = d->c_out - col,
            .relu = job->a->relu,
        };
        run_row(&r, job->s.w_out);
    }
}

static void conv_task(void *ctx, int item, int worker)
{
    const struct job *job = ctx;
    const struct kt_conv_desc *d = &job->c->d;
    const int t = item / job->tasks_per_frame,
              begin = item % job->tasks_per_frame * job->rows_per_task;
    const int left = job->s.h_out - begin;
    const int end = begin + (left < job->rows_per_task ? left : job->rows_per_task);
    float *ring = job->scratch + (size_t)worker * d->kt * d->kh * job->row_floats;
    int loaded = begin * d->sh; /* padded input rows below this one are in the ring or passed */
    for (int y = begin; y < end; y++) {
        const int first = y * d->sh;
        loaded = loaded < first ? first : loaded;
        for (; loaded < first + d->kh; loaded++) {
            for (int dt = 0; dt < d->kt; dt++) {
                float *slot = ring + (size_t)(dt * d->kh + loaded % d->kh) * job->row_floats;
                load_row(slot, job, frame_at(job, t * d->st + dt), loaded - d->pad_top);
            }
        }
        convolve_row(job, ring, t, y, first);
    }
}

/* A few tasks per thread; more rows in a task means fewer rows loaded twice. */
static void split_rows(struct job *job, int threads)
{
    int rows = job->s.t_out * job->s.h_out / (threads * 8);
    rows = rows < 1 ? 1 : rows > 16 ? 16 : rows;
    job->tasks_per_frame = (job->s.h_out + rows - 1) / rows;
    job->rows_per_task = (job->s.h_out + job->tasks_per_frame - 1) / job->tasks_per_frame;
    job->tasks_per_frame = (job->s.h_out + job->rows_per_task - 1) / job->rows_per_task;
}

int KT_SIMD(conv)(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a)
{
#if KT_LANES == 16
    if (c->d.c_out <= 8 && !KT_SIMD(winograd_takes)(&c->d)) {
        return kt_simd_conv_avx2(q, c, a);
    }
#endif
    if (c->winograd) {
        return KT_SIMD(winograd)(q, c, a);
    }
    struct job job = {.c = c, .a = a};
    const struct kt_conv_desc *d = &c->d;
    const int rc = kt_conv_shape_of(&job.s, d, a);
    if (rc != 0) {
        return rc;
    }
    job.row_floats = (size_t)(job.s.w_in + d->pad_left + d->pad_right) * d->c_in;
    split_rows(&job, q->threads);
    const size_t ring = (size_t)d->kt * d->kh * job.row_floats;
    job.scratch = kt_queue_workspace(q, ring * sizeof(float) * (size_t)q->threads);
    if (!job.scratch) {
        return -ENOMEM;
    }
    q->stats.launches++;
    kt_parallel(q, job.s.t_out * job.tasks_per_frame, conv_task, &job);
    return 0;
}
