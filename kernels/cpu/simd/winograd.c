/* Small 3x3 filters with fewer products (Winograd's minimal filtering, F(2,3)).
 *
 * Two neighbouring outputs of a three-tap filter g over inputs d0..d3 need six products done
 * directly, four like this: m0 = (d0 - d2) g0, m1 = (d1 + d2)(g0 + g1 + g2)/2, m2 = (d2 - d1)(g0 -
 * g1 + g2)/2, m3 = (d3 - d1) g2, and the outputs are m0 + m1 + m2 and m1 - m2 + m3. The filter sums
 * are made once, when the filter is prepared. Here the trick is applied down the picture (two rows
 * at once) and, in a causal filter over three frames, also along time (two frames at once): 16
 * products where the direct filter needs 36. A filter behind the nearest doubling sees each input
 * twice, so that two outputs need three products in each direction, (d0 - d1) g0, d1 (g0 + g1 + g2)
 * and (d2 - d1) g2: 9 instead of 36.
 *
 * The decoder's widest levels have 8 or 16 channels, too few to fill vectors with channels and
 * still have work for each load. So a piece of a row is turned on the way in, from pixels x
 * channels to one plane per channel, and all arithmetic runs on vectors of neighbouring pixels; on
 * the way out it is turned back. One piece with all it needs fits the first two levels of cache.
 *
 * Sums run over a fixed order that depends on the shape alone, so results do not depend on threads.
 * Against the reference the error is a few 1e-7 of the result's size. */
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/simd/simd.h"
#include "kernels/cpu/simd/turn.h"

#include <errno.h>
#include <stdlib.h>

enum {
    VECS = 3,                      /* vectors of output pixels in a piece, at most */
    OUT = VECS * KT_LANES,         /* floats of an output plane */
    PLANE = OUT + KT_LANES,        /* of an input plane: one pixel more at each side */
    TILE = KT_LANES == 16 ? 8 : 4, /* output channels in registers at once */
    RING = 4,                      /* input rows a tile of two output rows sees */
    CHANNELS_MAX = 128,            /* beyond it weights and planes outgrow the second-level cache */
    TASKS_PER_THREAD = 4
};

/* Channels turned at once; 0: c does not fit the vectors. */
static int chunk_of(int c)
{
    if (KT_LANES == 16 && c == 8) {
        return 8;
    }
    return c % KT_LANES == 0 ? KT_LANES : 0;
}

/* --- one piece: a few vectors of pixels of two output rows --- */

enum time_mode { ONE_FRAME, FRAME_PAIR, DOUBLED };

struct job {
    const struct kt_conv *c;
    const struct kt_conv_args *a;
    const float *weight;
    enum time_mode mode;
    int first, frames; /* output frames of this job */
    int planes;        /* input planes per channel: filter frames, or sums of frames */
    int tiles;         /* tiles of output rows in a frame */
    int x_blocks, bands;
    float *scratch;
    size_t worker_floats;
};

struct piece {
    const struct job *job;
    int c_in, c_out, padded, planes; /* padded: c_out up to whole register tiles */
    int x, vecs, width;              /* first pixel, vectors, picture width; of the input */
    const float *in[4];
    float *out[2];
    const float *residual[2];
    float *ring, *v, *m, *y, *edge; /* scratch */
};

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static int padded_of(int c_out)
{
    return (c_out + TILE - 1) / TILE * TILE;
}

/* Scratch of a piece in floats: ring, v, m, y, edge. */
static void scratch_layout(size_t *part, int c_in, int c_out)
{
    const size_t plane = (size_t)c_in * PLANE, out = (size_t)padded_of(c_out) * OUT;
    part[0] = RING * 4 * plane;
    part[1] = 4 * plane;
    part[2] = 4 * out;
    part[3] = 4 * out;
    part[4] = 4 * larger(plane, 2 * out);
}

/* Pixels [x - 1, x - 1 + n) of a row, zero outside the picture; a copy only where it sticks out. */
static const float *padded_row(const struct piece *p, const float *frame, int row, float *edge)
{
    const int n = (p->vecs + 1) * KT_LANES, c = p->c_in, first = p->x - 1;
    if (!frame || row < 0 || row >= p->job->a->h) {
        memset(edge, 0, (size_t)n * c * sizeof(float));
        return edge;
    }
    const float *src = frame + (size_t)row * p->width * c;
    if (first >= 0 && first + n <= p->width) {
        return src + (size_t)first * c;
    }
    const int begin = first < 0 ? 1 : 0, left = p->width - first;
    const int end = left < n ? left : n;
    memset(edge, 0, (size_t)begin * c * sizeof(float));
    memcpy(edge + (size_t)begin * c, src + (size_t)(first + begin) * c,
           (size_t)(end - begin) * c * sizeof(float));
    memset(edge + (size_t)end * c, 0, (size_t)(n - end) * c * sizeof(float));
    return edge;
}

/* a, a + b or a - b (sign 0, 1, -1), turned: [pixels][c] -> dst [c][PLANE] */
KT_INLINE void turn_in(float *dst, const float *a, const float *b, const int sign, const int c,
                       const int chunk)
{
    const int step = chunk == KT_LANES ? c : KT_LANES;
    kt_vf r[KT_LANES];
#pragma GCC unroll 16
    for (int i = 0; i < chunk; i++) {
        const kt_vf v = kt_load(a + (size_t)i * step);
        r[i] = sign == 0  ? v
               : sign > 0 ? v + kt_load(b + (size_t)i * step)
                          : v - kt_load(b + (size_t)i * step);
    }
    kt_unzip(r, chunk);
#pragma GCC unroll 16
    for (int i = 0; i < chunk; i++) {
        kt_store(dst + (size_t)i * PLANE, r[i]);
    }
}

KT_INLINE void turn_row(const struct piece *p, float *dst, const float *a, const float *b,
                        const int sign)
{
    for (int g = 0; g <= p->vecs; g++) {
        const size_t at = (size_t)g * KT_LANES * p->c_in;
        if (KT_LANES == 16 && p->c_in == 8) {
            turn_in(dst + g * KT_LANES, a + at, b + at, sign, 8, 8);
            continue;
        }
        for (int c = 0; c < p->c_in; c += KT_LANES) {
            turn_in(dst + (size_t)c * PLANE + g * KT_LANES, a + at + c, b + at + c, sign, p->c_in,
                    KT_LANES);
        }
    }
}

static float *ring_row(const struct piece *p, int row, int plane)
{
    return p->ring + (size_t)((row & (RING - 1)) * 4 + plane) * p->c_in * PLANE;
}

/* Brings input row `row` into the ring, as one plane set per filter frame or as the sums of F(2,3).
 */
static void load_row(const struct piece *p, int row)
{
    const float *d[4];
    const int frames = p->job->mode == FRAME_PAIR ? 4 : p->planes;
    for (int i = 0; i < frames; i++) {
        d[i] = padded_row(p, p->in[i], row, p->edge + (size_t)i * p->c_in * PLANE);
    }
    if (p->job->mode == FRAME_PAIR) {
        turn_row(p, ring_row(p, row, 0), d[0], d[2], -1);
        turn_row(p, ring_row(p, row, 1), d[1], d[2], 1);
        turn_row(p, ring_row(p, row, 2), d[2], d[1], -1);
        turn_row(p, ring_row(p, row, 3), d[3], d[1], -1);
        return;
    }
    for (int i = 0; i < frames; i++) {
        turn_row(p, ring_row(p, row, i), d[i], d[i], 0);
    }
}

struct product {
    float *m;         /* [padded][OUT], written */
    const float *v;   /* [planes][c_in][PLANE] */
    const float *w;   /* [c_out / TILE][planes][taps][c_in][TILE] */
    int planes, taps; /* taps: 3 neighbouring pixels, or 1 */
};

/* `outs` channels of m: sums over planes, taps and channels of v times w. */
KT_INLINE void multiply_tile(const struct product *r, const int c_in, const int outs,
                             const int vecs)
{
    const float *v = r->v, *w = r->w;
    kt_vf acc[TILE][VECS];
#pragma GCC unroll 8
    for (int o = 0; o < outs; o++) {
#pragma GCC unroll 3
        for (int j = 0; j < vecs; j++) {
            acc[o][j] = (kt_vf){0};
        }
    }
    for (int i = 0; i < r->planes; i++, v += (size_t)c_in * PLANE) {
        for (int dx = 0; dx < r->taps; dx++) {
            for (int c = 0; c < c_in; c++, w += TILE) {
                const float *x = v + (size_t)c * PLANE + dx;
                kt_vf b[VECS];
#pragma GCC unroll 3
                for (int j = 0; j < vecs; j++) {
                    b[j] = kt_load(x + j * KT_LANES);
                }
#pragma GCC unroll 8
                for (int o = 0; o < outs; o++) {
                    const float s = w[o];
#pragma GCC unroll 3
                    for (int j = 0; j < vecs; j++) {
                        acc[o][j] += s * b[j];
                    }
                }
            }
        }
    }
#pragma GCC unroll 8
    for (int o = 0; o < outs; o++) {
#pragma GCC unroll 3
        for (int j = 0; j < vecs; j++) {
            kt_store(r->m + (size_t)o * OUT + j * KT_LANES, acc[o][j]);
        }
    }
}

/* All output channels. RGB has only three. */
static void multiply(const struct piece *p, struct product r)
{
    const size_t tile = (size_t)r.planes * r.taps * p->c_in * TILE;
    for (int o = 0; o < p->c_out; o += TILE, r.w += tile, r.m += (size_t)TILE * OUT) {
        const int few = p->c_out - o <= 3;
        switch (few ? -p->vecs : p->vecs) {
        case 1: multiply_tile(&r, p->c_in, TILE, 1); break;
        case 2: multiply_tile(&r, p->c_in, TILE, 2); break;
        case 3: multiply_tile(&r, p->c_in, TILE, 3); break;
        case -1: multiply_tile(&r, p->c_in, 3, 1); break;
        case -2: multiply_tile(&r, p->c_in, 3, 2); break;
        default: multiply_tile(&r, p->c_in, 3, 3); break;
        }
    }
}

/* dst = a + sign * b over n floats */
KT_INLINE void combine(float *dst, const float *a, const float *b, const int sign, size_t n)
{
    for (size_t i = 0; i < n; i += KT_LANES) {
        kt_store(dst + i,
                 sign > 0 ? kt_load(a + i) + kt_load(b + i) : kt_load(a + i) - kt_load(b + i));
    }
}

/* Adds product k of F(2,3) to two output rows. */
KT_INLINE void spread(float *row0, float *row1, kt_vf v, const int k)
{
    if (k == 0) {
        kt_store(row0, v);
    } else if (k < 3) {
        kt_store(row0, kt_load(row0) + v);
    }
    if (k == 1) {
        kt_store(row1, v);
    } else if (k > 1) {
        kt_store(row1, k == 2 ? kt_load(row1) - v : kt_load(row1) + v);
    }
}

/* Products of row sum k, [planes][padded][OUT] in m, into the output rows y
 * [frame][row][padded][OUT]. */
KT_INLINE void add_products(const struct piece *p, const int k, const int pair)
{
    const size_t n = (size_t)p->c_out * OUT, set = (size_t)p->padded * OUT;
    for (size_t i = 0; i < n; i += KT_LANES) {
        const kt_vf m0 = kt_load(p->m + i);
        if (!pair) {
            spread(p->y + i, p->y + set + i, m0, k);
            continue;
        }
        const kt_vf m1 = kt_load(p->m + set + i), m2 = kt_load(p->m + 2 * set + i);
        const kt_vf m3 = kt_load(p->m + 3 * set + i);
        spread(p->y + i, p->y + set + i, m0 + (m1 + m2), k);
        spread(p->y + 2 * set + i, p->y + 3 * set + i, m3 + (m1 - m2), k);
    }
}

static void add_products_of(const struct piece *p, int k, int pair)
{
    switch (k) {
    case 0: pair ? add_products(p, 0, 1) : add_products(p, 0, 0); break;
    case 1: pair ? add_products(p, 1, 1) : add_products(p, 1, 0); break;
    case 2: pair ? add_products(p, 2, 1) : add_products(p, 2, 0); break;
    default: pair ? add_products(p, 3, 1) : add_products(p, 3, 0); break;
    }
}

/* --- planes back to pixels --- */

struct store {
    const float *planes; /* [c_out][stride] */
    size_t stride;
    float *out; /* the row's pixels from the piece's first on */
    const float *residual, *bias;
    int pixels, c, relu;
};

KT_INLINE kt_vf finish(kt_vf v, const float *residual, int relu)
{
    if (residual) {
        v += kt_load(residual);
    }
    return relu ? kt_select(v < 0.0f, (kt_vf){0}, v) : v;
}

KT_INLINE void turn_out(const struct store *s, int g, int c, const int chunk)
{
    kt_vf r[KT_LANES];
#pragma GCC unroll 16
    for (int i = 0; i < chunk; i++) {
        r[i] = kt_load(s->planes + (size_t)(c + i) * s->stride + g * KT_LANES) + s->bias[c + i];
    }
    kt_zip(r, chunk);
    const size_t step = chunk == KT_LANES ? (size_t)s->c : KT_LANES;
    const size_t at = (size_t)g * KT_LANES * s->c + c;
#pragma GCC unroll 16
    for (int i = 0; i < chunk; i++) {
        const float *residual = s->residual ? s->residual + at + i * step : NULL;
        kt_store(s->out + at + i * step, finish(r[i], residual, s->relu));
    }
}

static void store_pixels(const struct store *s, int begin)
{
    for (int i = begin; i < s->pixels; i++) {
        for (int c = 0; c < s->c; c++) {
            const size_t at = (size_t)i * s->c + c;
            const float v = s->planes[(size_t)c * s->stride + i] + s->bias[c] +
                            (s->residual ? s->residual[at] : 0.0f);
            s->out[at] = s->relu && v < 0.0f ? 0.0f : v;
        }
    }
}

static void store_row(const struct store *s)
{
    const int chunk = chunk_of(s->c), whole = chunk ? s->pixels / KT_LANES : 0;
    for (int g = 0; g < whole; g++) {
        if (KT_LANES == 16 && chunk == 8) {
            turn_out(s, g, 0, 8);
            continue;
        }
        for (int c = 0; c < s->c; c += KT_LANES) {
            turn_out(s, g, c, KT_LANES);
        }
    }
    store_pixels(s, whole * KT_LANES);
}

static void store_piece(const struct piece *p, const float *planes, int frame, int row)
{
    const struct kt_conv_args *a = p->job->a;
    const size_t at = ((size_t)row * p->width + p->x) * p->c_out;
    const int left = p->width - p->x;
    if (row >= a->h) {
        return;
    }
    const struct store s = {.planes = planes,
                            .stride = OUT,
                            .out = p->out[frame] + at,
                            .residual = p->residual[frame] ? p->residual[frame] + at : NULL,
                            .bias = p->job->c->bias,
                            .pixels = left < p->vecs * KT_LANES ? left : p->vecs * KT_LANES,
                            .c = p->c_out,
                            .relu = a->relu};
    store_row(&s);
}

/* --- tiles of two output rows --- */

static void plain_tile(const struct piece *p, int row)
{
    static const int plus[4] = {0, 1, 2, 3}, other[4] = {2, 2, 1, 1};
    const int pair = p->job->mode == FRAME_PAIR, sets = pair ? 4 : 1, depth = pair ? 1 : p->planes;
    const size_t plane = (size_t)p->c_in * PLANE, set = (size_t)p->padded * OUT;
    const size_t w_set = (size_t)p->padded * depth * 3 * p->c_in;
    const float *w = p->job->weight;
    for (int k = 0; k < 4; k++) {
        for (int i = 0; i < sets; i++, w += w_set) {
            for (int dt = 0; dt < depth; dt++) {
                const float *a = ring_row(p, row - 1 + plus[k], i + dt);
                const float *b = ring_row(p, row - 1 + other[k], i + dt);
                if (k == 1) {
                    combine(p->v + dt * plane, a, b, 1, plane);
                } else {
                    combine(p->v + dt * plane, a, b, -1, plane);
                }
            }
            multiply(p, (struct product){p->m + i * set, p->v, w, depth, 3});
        }
        add_products_of(p, k, pair);
    }
    for (int t = 0; t < (pair ? 2 : 1); t++) {
        store_piece(p, p->y + (size_t)(2 * t) * set, t, row);
        store_piece(p, p->y + (size_t)(2 * t + 1) * set, t, row + 1);
    }
}

/* d0 - d1, d1, d2 - d1 along x: [c_in][PLANE] -> [3][c_in][PLANE] */
static void doubled_columns(const struct piece *p, float *v, const float *row)
{
    const size_t plane = (size_t)p->c_in * PLANE;
    for (int c = 0; c < p->c_in; c++) {
        for (int j = 0; j < p->vecs; j++) {
            const size_t at = (size_t)c * PLANE + (size_t)j * KT_LANES;
            const kt_vf d0 = kt_load(row + at), d1 = kt_load(row + at + 1),
                        d2 = kt_load(row + at + 2);
            kt_store(v + at, d0 - d1);
            kt_store(v + plane + at, d1);
            kt_store(v + 2 * plane + at, d2 - d1);
        }
    }
}

/* Adds the products of row sum k to the four output pixels of each input pixel, y [row][column]. */
KT_INLINE void doubled_add(const struct piece *p, const int k)
{
    const size_t n = (size_t)p->c_out * OUT, set = (size_t)p->padded * OUT;
    for (size_t i = 0; i < n; i += KT_LANES) {
        const kt_vf mid = kt_load(p->m + set + i);
        const kt_vf left = kt_load(p->m + i) + mid, right = kt_load(p->m + 2 * set + i) + mid;
        for (int row = 0; row < 2; row++) {
            float *y = p->y + (size_t)(2 * row) * set + i;
            if (k == 1) { /* the shared row sum comes first */
                kt_store(y, left);
                kt_store(y + set, right);
            } else if (k == 2 * row) {
                kt_store(y, kt_load(y) + left);
                kt_store(y + set, kt_load(y + set) + right);
            }
        }
    }
}

static void doubled_store(const struct piece *p, int row)
{
    const struct kt_conv_args *a = p->job->a;
    const size_t set = (size_t)p->padded * OUT;
    const int left = p->width - p->x;
    for (int r = 0; r < 2; r++) {
        const float *even = p->y + (size_t)(2 * r) * set, *odd = even + set;
        for (size_t i = 0; i < (size_t)p->c_out * OUT; i += KT_LANES) {
            const kt_vf e = kt_load(even + i), o = kt_load(odd + i);
            kt_store(p->edge + 2 * i, KT_LOW(e, o, 0));
            kt_store(p->edge + 2 * i + KT_LANES, KT_LOW(e, o, KT_LANES / 2));
        }
        const size_t at = ((size_t)(2 * row + r) * 2 * p->width + 2 * (size_t)p->x) * p->c_out;
        const struct store s = {.planes = p->edge,
                                .stride = 2 * OUT,
                                .out = p->out[0] + at,
                                .residual = p->residual[0] ? p->residual[0] + at : NULL,
                                .bias = p->job->c->bias,
                                .pixels =
                                    2 * (left < p->vecs * KT_LANES ? left : p->vecs * KT_LANES),
                                .c = p->c_out,
                                .relu = a->relu};
        store_row(&s);
    }
}

/* Output rows 2 row and 2 row + 1 from input rows row - 1 .. row + 1. */
static void doubled_tile(const struct piece *p, int row)
{
    static const int order[3] = {1, 0, 2};
    const size_t plane = (size_t)p->c_in * PLANE, set = (size_t)p->padded * OUT;
    const float *mid = ring_row(p, row, 0);
    float *sum = p->v + 3 * plane;
    for (int i = 0; i < 3; i++) {
        const int k = order[i];
        const float *from = mid;
        if (k != 1) {
            combine(sum, ring_row(p, row - 1 + k, 0), mid, -1, plane);
            from = sum;
        }
        doubled_columns(p, p->v, from);
        for (int x = 0; x < 3; x++) {
            const float *w = p->job->weight + (size_t)(3 * k + x) * p->padded * p->c_in;
            multiply(p, (struct product){p->m + x * set, p->v + x * plane, w, 1, 1});
        }
        k == 0 ? doubled_add(p, 0) : k == 1 ? doubled_add(p, 1) : doubled_add(p, 2);
    }
    doubled_store(p, row);
}

/* --- the whole convolution --- */

static void open_piece(struct piece *p, const struct job *job, int worker, int frame)
{
    const struct kt_conv_desc *d = &job->c->d;
    const struct kt_conv_args *a = job->a;
    const int past = d->kt - 1, up = job->mode == DOUBLED ? 4 : 1;
    const size_t in = (size_t)a->h * a->w * d->c_in, out = (size_t)a->h * a->w * d->c_out * up;
    size_t part[5];
    *p = (struct piece){.job = job,
                        .c_in = d->c_in,
                        .c_out = d->c_out,
                        .padded = padded_of(d->c_out),
                        .planes = job->planes,
                        .width = a->w};
    const int outs = job->mode == FRAME_PAIR ? 2 : 1;
    for (int i = 0; i < past + outs; i++) {
        const int t = frame + i - past;
        p->in[i] = t >= 0    ? (const float *)a->x + (size_t)t * in
                   : a->past ? (const float *)a->past + (size_t)(t + past) * in
                             : NULL;
    }
    for (int i = 0; i < outs; i++) {
        p->out[i] = (float *)a->y + (size_t)(frame + i) * out;
        p->residual[i] =
            a->residual ? (const float *)a->residual + (size_t)(frame + i) * out : NULL;
    }
    scratch_layout(part, d->c_in, d->c_out);
    p->ring = job->scratch + (size_t)worker * job->worker_floats;
    p->v = p->ring + part[0];
    p->m = p->v + part[1];
    p->y = p->m + part[2];
    p->edge = p->y + part[3];
}

static void task(void *ctx, int item, int worker)
{
    const struct job *job = ctx;
    const int step = job->mode == FRAME_PAIR ? 2 : 1, rows = job->mode == DOUBLED ? 1 : 2;
    const int block = item % job->x_blocks, band = item / job->x_blocks % job->bands;
    const int frame = job->first + item / (job->x_blocks * job->bands) * step;
    const int vecs = (job->a->w + KT_LANES - 1) / KT_LANES;
    const int from = vecs * block / job->x_blocks, to = vecs * (block + 1) / job->x_blocks;
    const int begin = job->tiles * band / job->bands, end = job->tiles * (band + 1) / job->bands;
    struct piece p;
    open_piece(&p, job, worker, frame);
    p.x = from * KT_LANES;
    p.vecs = to - from;
    load_row(&p, begin * rows - 1);
    load_row(&p, begin * rows);
    for (int tile = begin; tile < end; tile++) {
        const int row = tile * rows;
        load_row(&p, row + 1);
        if (rows == 2) {
            load_row(&p, row + 2);
            plain_tile(&p, row);
        } else {
            doubled_tile(&p, row);
        }
    }
}

static void run(struct kt_queue *q, struct job *job, enum time_mode mode, int first, int frames)
{
    const struct kt_conv_desc *d = &job->c->d;
    const int vecs = (job->a->w + KT_LANES - 1) / KT_LANES, rows = mode == DOUBLED ? 1 : 2;
    const int groups = mode == FRAME_PAIR ? frames / 2 : frames;
    job->mode = mode;
    job->first = first;
    job->frames = frames;
    job->planes = d->kt;
    job->weight = job->c->winograd;
    if (mode == FRAME_PAIR) {
        job->weight += (size_t)padded_of(d->c_out) * 4 * d->kt * 3 * d->c_in;
    }
    job->tiles = (job->a->h + rows - 1) / rows;
    job->x_blocks = (vecs + VECS - 1) / VECS;
    job->bands =
        (q->threads * TASKS_PER_THREAD + job->x_blocks * groups - 1) / (job->x_blocks * groups);
    if (job->bands > job->tiles) {
        job->bands = job->tiles;
    }
    if (q->threads == 1) {
        job->bands = 1;
    }
    kt_parallel(q, groups * job->bands * job->x_blocks, task, job);
}

int KT_SIMD(winograd)(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a)
{
    struct kt_conv_shape s;
    struct job job = {.c = c, .a = a};
    size_t part[5];
    const int rc = kt_conv_shape_of(&s, &c->d, a);
    if (rc != 0) {
        return rc;
    }
    scratch_layout(part, c->d.c_in, c->d.c_out);
    job.worker_floats = part[0] + part[1] + part[2] + part[3] + part[4];
    job.scratch = kt_queue_workspace(q, job.worker_floats * sizeof(float) * (size_t)q->threads);
    if (!job.scratch) {
        return -ENOMEM;
    }
    q->stats.launches++;
    if (c->d.upsample) {
        run(q, &job, DOUBLED, 0, a->t_in);
        return 0;
    }
    const int paired = c->d.kt == 3 ? a->t_in / 2 * 2 : 0;
    if (paired > 0) {
        run(q, &job, FRAME_PAIR, 0, paired);
    }
    if (paired < a->t_in) {
        run(q, &job, ONE_FRAME, paired, a->t_in - paired);
    }
    return 0;
}

/* --- preparing a filter --- */

int KT_SIMD(winograd_takes)(const struct kt_conv_desc *d)
{
    const int square = d->kh == 3 && d->kw == 3 && d->sh == 1 && d->sw == 1 && d->st == 1 &&
                       d->pad_top == 1 && d->pad_bottom == 1 && d->pad_left == 1 &&
                       d->pad_right == 1;
    const int time = d->upsample ? d->kt == 1 : d->kt == 1 || (d->causal && d->kt <= 3);
    return square && time && chunk_of(d->c_in) && d->c_in <= CHANNELS_MAX &&
           d->c_out <= CHANNELS_MAX;
}

/* Rows of sums: F(2,3), and the three of a doubled input. */
static const float sums_f23[4][3] = {{1, 0, 0}, {.5f, .5f, .5f}, {.5f, -.5f, .5f}, {0, 0, 1}};
static const float sums_doubled[3][3] = {{1, 0, 0}, {1, 1, 1}, {0, 0, 1}};

/* Adds one checkpoint filter [kt, 3, 3] under sums `by_row` and `by_other` (over frames or
 * columns). */
static double summed(const float *g, const float *by_time, const float *by_row,
                     const float *by_column, int kt)
{
    double sum = 0;
    for (int dt = 0; dt < kt; dt++) {
        for (int dy = 0; dy < 3; dy++) {
            for (int dx = 0; dx < 3; dx++) {
                sum += (double)by_time[dt] * by_row[dy] * by_column[dx] * g[(dt * 3 + dy) * 3 + dx];
            }
        }
    }
    return sum;
}

/* Where output channel o and input channel i lie in [c_out / TILE][depth][c_in][TILE]. */
static size_t packed_at(const struct kt_conv_desc *d, int depths, int o, int depth, int i)
{
    return (((size_t)(o / TILE) * depths + depth) * d->c_in + i) * TILE + o % TILE;
}

static void pack_filter(float *w, const float *g, const struct kt_conv_desc *d, int o, int i)
{
    static const float unit[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}};
    const size_t row = (size_t)padded_of(d->c_out) * d->c_in;
    for (int k = 0; k < (d->upsample ? 9 : 0); k++) {
        w[k * row + packed_at(d, 1, o, 0, i)] =
            (float)summed(g, unit[0], sums_doubled[k / 3], sums_doubled[k % 3], 1);
    }
    if (d->upsample) {
        return;
    }
    const int depth = 3 * d->kt;
    for (int k = 0; k < 4; k++) {
        for (int j = 0; j < depth; j++) {
            w[k * depth * row + packed_at(d, depth, o, j, i)] =
                (float)summed(g, unit[j / 3], sums_f23[k], unit[j % 3], d->kt);
        }
    }
    w += 4 * (size_t)depth * row;
    for (int k = 0; k < (d->kt == 3 ? 16 : 0); k++) {
        for (int dx = 0; dx < 3; dx++) {
            w[(size_t)k * 3 * row + packed_at(d, 3, o, dx, i)] =
                (float)summed(g, sums_f23[k % 4], sums_f23[k / 4], unit[dx], 3);
        }
    }
}

/* Beside the bias: [9][padded, c_in] for a doubled input; else [4 rows][padded, kt * 3, c_in] for
 * single frames and, for three frames, [4 rows][4 frames][padded, 3, c_in] for pairs. */
int KT_SIMD(winograd_pack)(struct kt_conv *c, const float *weight)
{
    const struct kt_conv_desc *d = &c->d;
    const size_t row = (size_t)padded_of(d->c_out) * d->c_in;
    const size_t n = row * (d->upsample ? 9 : 12 * (size_t)d->kt + (d->kt == 3 ? 48 : 0));
    c->winograd = kt_cpu_alloc(n * sizeof(float));
    if (!c->winograd) {
        return -ENOMEM;
    }
    memset(c->winograd, 0, n * sizeof(float));
    for (int o = 0; o < d->c_out; o++) {
        for (int i = 0; i < d->c_in; i++) {
            pack_filter(c->winograd, weight + ((size_t)o * d->c_in + i) * d->kt * 9, d, o, i);
        }
    }
    return 0;
}
