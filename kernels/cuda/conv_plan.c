/* Tiles are 192, 128, 96, 64 or 8 output channels wide, one step per spatial tap, frame and chunk.
 *
 * A filter that sees a doubled image: output (2y + py, 2x + px) sees stored rows y - 1 and y, or y
 * and y + 1, so it is four filters of 2x2 sums of taps, one per parity: 4/9 of the multiplications.
 */
#include "kernels/cuda/conv_plan.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static int is_taken(const struct kt_conv_desc *d)
{
    const int same = d->pad_top + d->pad_bottom == d->kh - 1 &&
                     d->pad_left + d->pad_right == d->kw - 1 && d->pad_top >= 0 &&
                     d->pad_bottom >= 0 && d->pad_left >= 0 && d->pad_right >= 0;
    const int up_ok = !d->upsample || (d->kt == 1 && d->kh == 3 && d->kw == 3 && d->pad_top == 1 &&
                                       d->pad_left == 1 && d->c_out > 8);
    return d->st == 1 && d->sh == 1 && d->sw == 1 && d->kt >= 1 && d->kt <= 3 && d->kh >= 1 &&
           d->kh <= 3 && d->kw >= 1 && d->kw <= 3 && (d->kt == 1 || d->causal) && same && up_ok &&
           d->c_in >= 16 && d->c_in % 8 == 0;
}

static int columns_of(int c_out)
{
    if (c_out == 96 || c_out == 64) {
        return c_out;
    }
    return c_out <= 8 ? 8 : c_out % 192 == 0 ? 192 : c_out % 128 == 0 ? 128 : 0;
}

int ktc_filter_of(struct ktc_filter_plan *p, const struct kt_conv_desc *d, int f8)
{
    memset(p, 0, sizeof(*p));
    p->nt = is_taken(d) ? columns_of(d->c_out) : 0;
    if (p->nt == 0 || (f8 && d->c_in % 32 != 0)) {
        return -EINVAL;
    }
    p->c_in = d->c_in;
    p->c_out = d->c_out;
    p->kt = p->frames = d->kt;
    p->kh = d->kh;
    p->kw = d->kw;
    p->pad_top = d->pad_top;
    p->pad_left = d->pad_left;
    p->up = d->upsample ? 2 : 1;
    p->f8 = f8;
    const int bytes = d->c_in * (f8 ? 1 : 2);
    p->row_bytes = bytes % 128 == 0 ? 128 : bytes % 64 == 0 || !f8 ? 64 : 32;
    p->chunk_channels = p->row_bytes / (f8 ? 1 : 2);
    p->chunks = (d->c_in + p->chunk_channels - 1) / p->chunk_channels;
    p->past_frames = d->causal ? d->kt - 1 : 0;
    p->variants = p->up == 1 ? 1 : 4;
    p->n_tiles = p->variants * (d->c_out <= p->nt ? 1 : d->c_out / p->nt);
    p->steps = p->up == 2 ? 4 : p->kh * p->kw;
    p->n_bytes = (size_t)(p->frames * p->steps * p->chunks) * (size_t)(p->nt * p->row_bytes);
    return 0;
}

/* Rows (or columns) of a filter of three that fall on stored row y + offset - 1 for outputs of
 * parity `parity`. */
static unsigned parity_mask(int parity, int offset)
{
    static const unsigned MASK[2][3] = {{1, 6, 0}, {0, 3, 4}};
    return MASK[parity][offset];
}

void ktc_filter_steps(const struct ktc_filter_plan *p, int n, struct ktc_step *steps)
{
    const int doubled = p->up == 2, py = n >> 1 & 1, px = n & 1;
    int count = 0;
    for (int dy = 0; dy < p->kh; dy++) {
        for (int dx = 0; dx < p->kw; dx++) {
            const unsigned rows = doubled ? parity_mask(py, dy) : 1u << dy;
            const unsigned cols = doubled ? parity_mask(px, dx) : 1u << dx;
            if (rows && cols) {
                steps[count++] = (struct ktc_step){dy, dx, rows, cols};
            }
        }
    }
}

static float tap_sum(const struct ktc_filter_plan *p, const float *weight, int co, int ci, int dt,
                     const struct ktc_step *s)
{
    const float *w =
        weight + (((size_t)co * (size_t)p->c_in + (size_t)ci) * (size_t)p->kt + (size_t)dt) *
                     (size_t)(p->kh * p->kw);
    float sum = 0.0f;
    for (int dy = 0; dy < p->kh; dy++) {
        for (int dx = 0; dx < p->kw; dx++) {
            if (s->rows >> dy & 1 && s->cols >> dx & 1) {
                sum += w[dy * p->kw + dx];
            }
        }
    }
    return sum;
}

/* The swizzle of the copy engine and the matrix unit: 16-byte columns turned by the row. */
static size_t swizzled(size_t at, int row_bytes)
{
    const size_t mask = row_bytes == 128 ? 7 : row_bytes == 64 ? 3 : 1;
    return at ^ (at >> 7 & mask) << 4;
}

static void put(const struct ktc_filter_plan *p, uint8_t *block, size_t row, int channel, float v)
{
    const size_t bytes = p->f8 ? 1 : 2;
    const size_t at = row * (size_t)p->row_bytes + (size_t)channel * bytes;
    if (p->f8) {
        block[swizzled(at, p->row_bytes)] = ktc_to_e4m3(v);
    } else {
        const uint16_t b = ktc_to_bf16(v);
        memcpy(block + swizzled(at, p->row_bytes), &b, sizeof(b));
    }
}

/* A step's block for one chunk of channels: `first_out` and `first_in` are its first channels. */
static void pack_step(const struct ktc_filter_plan *p, const float *weight, const float *scale,
                      const struct ktc_step *s, int dt, int first_out, int first_in, uint8_t *block)
{
    for (int r = 0; r < p->nt; r++) {
        const int co = first_out + r;
        for (int i = 0; i < p->chunk_channels; i++) {
            const int ci = first_in + i;
            float v = 0.0f;
            if (co < p->c_out && ci < p->c_in) {
                v = tap_sum(p, weight, co, ci, dt, s);
                v = p->f8 ? v / scale[co] : v;
            }
            put(p, block, (size_t)r, i, v);
        }
    }
}

void ktc_filter_pack(const struct ktc_filter_plan *p, const float *weight, const float *scale,
                     uint8_t *out)
{
    struct ktc_step steps[KTC_PLAN_STEPS];
    for (int n = 0; n < p->n_tiles; n++) {
        ktc_filter_steps(p, n, steps);
        for (int i = 0; i < p->frames * p->chunks * p->steps; i++) {
            const int step = i % p->steps, chunk = i / p->steps % p->chunks;
            pack_step(p, weight, scale, &steps[step], i / p->steps / p->chunks,
                      n / p->variants * p->nt, chunk * p->chunk_channels, out);
            out += (size_t)(p->nt * p->row_bytes);
        }
    }
}

void ktc_filter_scales(const struct ktc_filter_plan *p, const float *weight, float *scale)
{
    struct ktc_step steps[KTC_PLAN_STEPS];
    for (int co = 0; co < p->c_out; co++) {
        float max = 0.0f;
        for (int v = 0; v < p->variants; v++) {
            ktc_filter_steps(p, v, steps);
            for (int i = 0; i < p->steps * p->frames * p->c_in; i++) {
                max = fmaxf(max, fabsf(tap_sum(p, weight, co, i % p->c_in, i / p->c_in % p->frames,
                                               &steps[i / p->c_in / p->frames])));
            }
        }
        scale[co] = max > 0.0f ? max / KT_F8_LARGEST : 1.0f;
    }
}

uint16_t ktc_to_bf16(float v)
{
    uint32_t u;
    memcpy(&u, &v, sizeof(u));
    if ((u & 0x7fffffffu) > 0x7f800000u) {
        return (uint16_t)(u >> 16 | 0x40u);
    }
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

uint8_t ktc_to_e4m3(float v)
{
    const uint8_t sign = signbit(v) ? 0x80 : 0;
    const float a = fabsf(v);
    if (!(a < 464.0f)) {
        return (uint8_t)(sign | (isnan(v) ? 0x7f : 0x7e));
    }
    int exp;
    frexpf(a, &exp);
    const int e = exp - 1 < -6 ? -6 : exp - 1; /* exponent of the last place: e - 3 */
    const int units = (int)rintf(ldexpf(a, 3 - e));
    const int code = units < 8 ? units : (e + 7) * 8 + units - 8; /* 16 units carry by themselves */
    return (uint8_t)(sign | (code > 0x7e ? 0x7e : code));
}
