/* The step programs and packed weights of kernels/cuda/conv_plan.c, run by a few plain loops in the
 * kernel's place and compared with the convolution they stand for. Needs no card. */
#include "kernels/cuda/conv_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { H = 3, W = 4 };

static float value(unsigned i)
{
    i = (i ^ i >> 15) * 0x2c1b3c6du;
    i = (i ^ i >> 12) * 0x297a2d39u;
    return (float)((int)((i ^ i >> 15) % 33) - 16) / 16.0f; /* exact in bf16; sums of four too */
}

static float from_bf16(const uint8_t *p)
{
    uint16_t b;
    memcpy(&b, p, sizeof(b));
    const uint32_t u = (uint32_t)b << 16;
    float f;
    memcpy(&f, &u, sizeof(f));
    return f;
}

/* Input value of frame f (below 0: past), any pixel, zero outside the picture. */
static float x_at(const struct ktc_filter_plan *p, int f, int y, int x, int c)
{
    if (y < 0 || y >= H || x < 0 || x >= W || c >= p->c_in) {
        return 0.0f;
    }
    return value((unsigned)((((f + 8) * H + y) * W + x) * p->c_in + c));
}

static float w_at(const struct ktc_filter_plan *p, const float *w, int co, int ci, int dt, int k)
{
    return w[((co * p->c_in + ci) * p->kt + dt) * p->kh * p->kw + k];
}

static float expected(const struct ktc_filter_plan *p, const float *w, int t, int y, int x, int co)
{
    double sum = 0.0;
    for (int dt = 0; dt < p->kt; dt++) {
        for (int k = 0; k < p->kh * p->kw; k++) {
            const int iy = y + k / p->kw - p->pad_top, ix = x + k % p->kw - p->pad_left;
            const int inside = iy >= 0 && iy < H * p->up && ix >= 0 && ix < W * p->up;
            for (int ci = 0; inside && ci < p->c_in; ci++) {
                sum += (double)w_at(p, w, co, ci, dt, k) *
                       (double)x_at(p, t + dt - p->past_frames, iy / p->up, ix / p->up, ci);
            }
        }
    }
    return (float)sum;
}

/* Row `row` of a block of weights, as the matrix unit sees it. */
static float packed_at(const struct ktc_filter_plan *p, const uint8_t *block, int row, int i)
{
    const size_t mask = p->row_bytes == 128 ? 7 : p->row_bytes == 64 ? 3 : 1;
    size_t at = (size_t)row * (size_t)p->row_bytes + 2 * (size_t)i;
    at ^= (at >> 7 & mask) << 4;
    return from_bf16(block + at);
}

/* The columns of n-tile n at stored pixel (y, x), output frame t. */
static void run_tile(const struct ktc_filter_plan *p, const uint8_t *block, int n, int t, int y,
                     int x, float *columns)
{
    struct ktc_step steps[KTC_PLAN_STEPS];
    memset(columns, 0, (size_t)p->nt * sizeof(*columns));
    ktc_filter_steps(p, n, steps);
    for (int i = 0; i < p->frames * p->chunks * p->steps; i++) {
        const struct ktc_step *s = &steps[i % p->steps];
        const int chunk = i / p->steps % p->chunks, frame = i / p->steps / p->chunks;
        for (int r = 0; r < p->nt; r++) {
            for (int k = 0; k < p->chunk_channels; k++) {
                columns[r] += packed_at(p, block, r, k) *
                              x_at(p, t + frame - p->past_frames, y + s->dy - p->pad_top,
                                   x + s->dx - p->pad_left, chunk * p->chunk_channels + k);
            }
        }
        block += (size_t)(p->nt * p->row_bytes);
    }
}

static void check_column(const struct ktc_filter_plan *p, const float *w, int n, int t, int y,
                         int x, int column, float got)
{
    const int co = n / p->variants * p->nt + column;
    const int py = p->up == 2 ? n >> 1 & 1 : 0, px = p->up == 2 ? n & 1 : 0;
    const float want = co < p->c_out ? expected(p, w, t, y * p->up + py, x * p->up + px, co) : 0.0f;
    if (fabsf(got - want) > 1e-3f) {
        print_message("n %d pixel %d,%d column %d: want %g got %g\n", n, y, x, column, (double)want,
                      (double)got);
        fail();
    }
}

static void check_filter(const struct kt_conv_desc *d)
{
    struct ktc_filter_plan p;
    assert_int_equal(ktc_filter_of(&p, d, 0), 0);
    const int count = d->c_out * d->c_in * d->kt * d->kh * d->kw;
    float *w = malloc((size_t)count * sizeof(float));
    for (int i = 0; i < count; i++) {
        w[i] = value((unsigned)i + 12345u);
    }
    uint8_t *image = malloc((size_t)p.n_tiles * p.n_bytes);
    memset(image, 0x7f, (size_t)p.n_tiles * p.n_bytes);
    ktc_filter_pack(&p, w, NULL, image);
    float columns[192];
    for (int n = 0; n < p.n_tiles; n++) {
        for (int at = 0; at < H * W; at += 5) { /* corners and an inner pixel */
            run_tile(&p, image + (size_t)n * p.n_bytes, n, 0, at / W, at % W, columns);
            for (int c = 0; c < p.nt; c += 7) {
                check_column(&p, w, n, 0, at / W, at % W, c, columns[c]);
            }
        }
    }
    free(w);
    free(image);
}

static struct kt_conv_desc filter(int c_in, int c_out, int kt, int k, int upsample)
{
    return (struct kt_conv_desc){.c_in = c_in,
                                 .c_out = c_out,
                                 .kt = kt,
                                 .kh = k,
                                 .kw = k,
                                 .st = 1,
                                 .sh = 1,
                                 .sw = 1,
                                 .pad_top = k / 2,
                                 .pad_bottom = k / 2,
                                 .pad_left = k / 2,
                                 .pad_right = k / 2,
                                 .causal = kt > 1,
                                 .upsample = upsample};
}

static void test_plans_are_the_convolution(void **state)
{
    (void)state;
    static const int CASES[][5] = {
        {64, 192, 3, 3, 0}, {32, 384, 3, 3, 0}, {16, 128, 1, 3, 0}, {96, 96, 3, 3, 0},
        {64, 64, 2, 3, 0},  {32, 64, 1, 3, 0},  {96, 3, 3, 3, 0},   {64, 8, 1, 3, 0},
        {64, 768, 3, 1, 0}, {64, 192, 1, 3, 1}, {64, 384, 1, 3, 1}, {64, 96, 1, 3, 1},
        {64, 64, 1, 3, 1},
    };
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        const int *k = CASES[i];
        const struct kt_conv_desc d = filter(k[0], k[1], k[2], k[3], k[4]);
        check_filter(&d);
    }
}

static void test_other_filters_are_refused(void **state)
{
    (void)state;
    struct ktc_filter_plan p;
    struct kt_conv_desc d = filter(64, 192, 3, 3, 0);
    d.sh = 2;
    assert_int_not_equal(ktc_filter_of(&p, &d, 0), 0);
    d = filter(64, 192, 3, 3, 0);
    d.pad_right = 0;
    assert_int_not_equal(ktc_filter_of(&p, &d, 0), 0);
    d = filter(64, 100, 3, 3, 0);
    assert_int_not_equal(ktc_filter_of(&p, &d, 0), 0);
    d = filter(12, 192, 3, 3, 0);
    assert_int_not_equal(ktc_filter_of(&p, &d, 0), 0);
    d = filter(64, 192, 3, 3, 0);
    d.causal = 0;
    assert_int_not_equal(ktc_filter_of(&p, &d, 0), 0);
}

static void test_eight_bit_rounding(void **state)
{
    (void)state;
    static const struct {
        float v;
        uint8_t code;
    } CASES[] = {{0.0f, 0},         {1.0f, 0x38},    {-1.0f, 0xb8},     {448.0f, 0x7e},
                 {1e9f, 0x7e},      {463.0f, 0x7e},  {0.001953125f, 1}, {0.0009f, 0},
                 {0.015625f, 0x08}, {1.0625f, 0x38}, {1.1875f, 0x3a},   {15.9f, 0x58}};
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        assert_int_equal(ktc_to_e4m3(CASES[i].v), CASES[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plans_are_the_convolution),
        cmocka_unit_test(test_other_filters_are_refused),
        cmocka_unit_test(test_eight_bit_rounding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
