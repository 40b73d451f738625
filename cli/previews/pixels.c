#include "cli/previews/pixels.h"

#include <math.h>
#include <string.h>

enum { WINDOW = 8, CELL = 16 };

static float clamp(float v, float low, float high)
{
    return v < low ? low : v > high ? high : v;
}

void kt_pixels_from_i420(float *rgb, const uint8_t *i420, int w, int h)
{
    size_t n = (size_t)w * (size_t)h;
    const uint8_t *u_plane = i420 + n, *v_plane = u_plane + n / 4;
    for (size_t i = 0; i < n; i++) {
        size_t at = i / (size_t)w / 2 * (size_t)(w / 2) + i % (size_t)w / 2;
        float y = ((float)i420[i] - 16) / 219;
        float u = ((float)u_plane[at] - 128) / 224, v = ((float)v_plane[at] - 128) / 224;
        const float c[3] = {y + 1.5748f * v, y - 0.18732f * u - 0.46812f * v, y + 1.8556f * u};
        for (size_t p = 0; p < 3; p++) {
            rgb[p * n + i] = clamp(c[p], 0, 1) * 2 - 1;
        }
    }
}

static float luma(const float *rgb, size_t n, size_t i)
{
    return 0.2126f * rgb[i] + 0.7152f * rgb[n + i] + 0.0722f * rgb[2 * n + i];
}

void kt_pixels_to_i420(uint8_t *y_plane, size_t stride, const float *rgb, int w, int h, uint8_t *u,
                       uint8_t *v)
{
    size_t n = (size_t)w * (size_t)h;
    for (size_t i = 0; i < n; i++) {
        size_t row = i / (size_t)w, column = i % (size_t)w;
        float y = (luma(rgb, n, i) + 1) / 2;
        y_plane[row * stride + column] = (uint8_t)lrintf(16 + 219 * clamp(y, 0, 1));
        if (row % 2 == 0 && column % 2 == 0) {
            float blue = (rgb[2 * n + i] + 1) / 2, red = (rgb[i] + 1) / 2;
            size_t at = row / 2 * (stride / 2) + column / 2;
            u[at] = (uint8_t)lrintf(clamp(128 + 224 * (blue - y) / 1.8556f, 16, 240));
            v[at] = (uint8_t)lrintf(clamp(128 + 224 * (red - y) / 1.5748f, 16, 240));
        }
    }
}

/* The value of pixel `i` of `n` made from a row of `m` values `stride` apart. */
static float sample(const float *in, int m, size_t stride, int i, int n)
{
    if (n < m) {
        float from = (float)i * (float)m / (float)n, to = (float)(i + 1) * (float)m / (float)n;
        float sum = 0;
        for (int k = (int)from; k < m && (float)k < to; k++) {
            sum += in[(size_t)k * stride] * (fminf(to, (float)(k + 1)) - fmaxf(from, (float)k));
        }
        return sum / (to - from);
    }
    float at = clamp(((float)i + 0.5f) * (float)m / (float)n - 0.5f, 0, (float)(m - 1));
    int k = (int)at, next = k + 1 < m ? k + 1 : k;
    return in[(size_t)k * stride] +
           (at - (float)k) * (in[(size_t)next * stride] - in[(size_t)k * stride]);
}

void kt_pixels_resize(float *out, int out_w, int out_h, const float *in, int w, int h)
{
    float column[4096]; /* one column of the input's rows, already as wide as the output */
    for (int p = 0; p < 3; p++, in += (size_t)w * (size_t)h) {
        for (int x = 0; x < out_w; x++) {
            for (int y = 0; y < h; y++) {
                column[y] = sample(in + (size_t)y * (size_t)w, w, 1, x, out_w);
            }
            for (int y = 0; y < out_h; y++) {
                out[((size_t)p * (size_t)out_h + (size_t)y) * (size_t)out_w + (size_t)x] =
                    sample(column, h, 1, y, out_h);
            }
        }
    }
}

double kt_pixels_distance(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += fabs((double)a[i] - (double)b[i]);
    }
    return sum / (double)n * 127.5;
}

double kt_pixels_psnr(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    double psnr = 10 * log10(4 / (sum / (double)n + 1e-30));
    return psnr < 99 ? psnr : 99;
}

static double ssim_window(const float *a, const float *b, size_t n, size_t first, int w)
{
    double sa = 0, sb = 0, saa = 0, sbb = 0, sab = 0;
    const double c1 = 0.02 * 0.02, c2 = 0.06 * 0.06, m = WINDOW * WINDOW; /* of a range of 2 */
    for (int y = 0; y < WINDOW; y++) {
        for (int x = 0; x < WINDOW; x++) {
            size_t i = first + (size_t)y * (size_t)w + (size_t)x;
            double p = (double)luma(a, n, i) + 1, q = (double)luma(b, n, i) + 1;
            sa += p, sb += q, saa += p * p, sbb += q * q, sab += p * q;
        }
    }
    double ma = sa / m, mb = sb / m;
    double va = saa / m - ma * ma, vb = sbb / m - mb * mb, vab = sab / m - ma * mb;
    return (2 * ma * mb + c1) * (2 * vab + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
}

double kt_pixels_ssim(const float *a, const float *b, int w, int h)
{
    size_t n = (size_t)w * (size_t)h;
    double sum = 0;
    int windows = 0;
    for (int y = 0; y + WINDOW <= h; y += WINDOW / 2) {
        for (int x = 0; x + WINDOW <= w; x += WINDOW / 2, windows++) {
            sum += ssim_window(a, b, n, (size_t)y * (size_t)w + (size_t)x, w);
        }
    }
    return windows ? sum / windows : 1;
}

size_t kt_pixels_cells(float *out, const float *rgb, int w, int h)
{
    int columns = w / CELL, rows = h / CELL;
    size_t n = 3 * (size_t)columns * (size_t)rows;
    memset(out, 0, n * sizeof(*out));
    for (int p = 0; p < 3; p++) {
        for (int y = 0; y < rows * CELL; y++) {
            for (int x = 0; x < columns * CELL; x++) {
                out[(p * rows + y / CELL) * columns + x / CELL] +=
                    rgb[((size_t)p * (size_t)h + (size_t)y) * (size_t)w + (size_t)x] /
                    (CELL * CELL);
            }
        }
    }
    return n;
}

double kt_pixels_share(const float *from, const float *at, const float *to, size_t n)
{
    double along = 0, whole = 0;
    for (size_t i = 0; i < n; i++) {
        double way = (double)to[i] - (double)from[i];
        along += ((double)at[i] - (double)from[i]) * way;
        whole += way * way;
    }
    return whole > 0 ? along / whole : 1;
}
