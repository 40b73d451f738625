#include "kernels/cpu/ref.h"

#include <errno.h>
#include <string.h>

static int patch_is_valid(const struct kt_patch_args *a)
{
    return a->frames >= 0 && a->c > 0 && a->ph > 0 && a->pw > 0 && a->h > 0 && a->w > 0 &&
           a->h % a->ph == 0 && a->w % a->pw == 0;
}

/* Walks every latent value; a token's vector has the order (c, ph, pw) into the model and (ph, pw,
 * c) out of it. */
static int walk_patches(struct kt_queue *q, const struct kt_patch_args *a, int into)
{
    if (!patch_is_valid(a)) {
        return -EINVAL;
    }
    q->stats.launches++;
    const float *src = a->src;
    float *dst = a->dst;
    const size_t cols = (size_t)a->w / a->pw, rows = (size_t)a->h / a->ph;
    const size_t width = (size_t)a->c * a->ph * a->pw;
    for (int f = 0; f < a->frames; f++) {
        for (int c = 0; c < a->c; c++) {
            for (int y = 0; y < a->h; y++) {
                for (int x = 0; x < a->w; x++) {
                    const size_t token = ((size_t)f * rows + y / a->ph) * cols + x / a->pw;
                    const size_t patch = (size_t)(y % a->ph) * a->pw + x % a->pw;
                    if (into) {
                        dst[token * width + (size_t)c * a->ph * a->pw + patch] = *src++;
                    } else {
                        *dst++ = src[token * width + patch * a->c + c];
                    }
                }
            }
        }
    }
    return 0;
}

int kt_ref_patchify(struct kt_queue *q, const struct kt_patch_args *a)
{
    return walk_patches(q, a, 1);
}

int kt_ref_unpatchify(struct kt_queue *q, const struct kt_patch_args *a)
{
    return walk_patches(q, a, 0);
}

int kt_ref_upsample2x(struct kt_queue *q, void *y, const void *x, int t, int h, int w, int c)
{
    if (t < 0 || h < 1 || w < 1 || c < 1) {
        return -EINVAL;
    }
    q->stats.launches++;
    float *dst = y;
    const size_t rows = (size_t)t * 2 * h, cols = (size_t)2 * w;
    for (size_t row = 0; row < rows; row++) { /* frames are whole numbers of row pairs */
        for (size_t col = 0; col < cols; col++) {
            const float *src = (const float *)x + ((row / 2) * w + col / 2) * c;
            memcpy(dst + (row * cols + col) * c, src, (size_t)c * sizeof(float));
        }
    }
    return 0;
}

int kt_ref_split_frames(struct kt_queue *q, void *y, const void *x, int t, int h, int w, int c,
                        int f)
{
    if (t < 0 || h < 1 || w < 1 || c < 1 || f < 1) {
        return -EINVAL;
    }
    q->stats.launches++;
    const size_t pixels = (size_t)h * w;
    for (int i = 0; i < t; i++) {
        for (size_t p = 0; p < pixels; p++) {
            for (int g = 0; g < f; g++) {
                const float *src = (const float *)x + ((i * pixels + p) * f + g) * c;
                float *dst = (float *)y + (((size_t)i * f + g) * pixels + p) * c;
                memcpy(dst, src, (size_t)c * sizeof(float));
            }
        }
    }
    return 0;
}

int kt_ref_concat_channels(struct kt_queue *q, void *y, const void *a, const void *b, int pixels,
                           int ca, int cb)
{
    if (pixels < 0 || ca < 1 || cb < 1) {
        return -EINVAL;
    }
    q->stats.launches++;
    for (size_t p = 0; p < (size_t)pixels; p++) {
        float *dst = (float *)y + p * (ca + cb);
        memcpy(dst, (const float *)a + p * ca, (size_t)ca * sizeof(float));
        memcpy(dst + ca, (const float *)b + p * cb, (size_t)cb * sizeof(float));
    }
    return 0;
}

int kt_ref_to_channels_last(struct kt_queue *q, void *y, const float *x, int t, int c, int h, int w,
                            const float *scale, const float *shift)
{
    if (t < 0 || c < 1 || h < 1 || w < 1) {
        return -EINVAL;
    }
    q->stats.launches++;
    const size_t pixels = (size_t)h * w;
    for (int f = 0; f < t; f++) {
        for (int i = 0; i < c; i++) {
            const double mul = scale ? scale[i] : 1.0, add = shift ? shift[i] : 0.0;
            const float *src = x + ((size_t)f * c + i) * pixels;
            float *dst = (float *)y + (size_t)f * pixels * c + i;
            for (size_t p = 0; p < pixels; p++) {
                dst[p * c] = (float)(src[p] * mul + add);
            }
        }
    }
    return 0;
}

int kt_ref_to_planar(struct kt_queue *q, float *y, const void *x, int t, int h, int w, int c)
{
    if (t < 0 || c < 1 || h < 1 || w < 1) {
        return -EINVAL;
    }
    q->stats.launches++;
    const size_t pixels = (size_t)h * w;
    for (int f = 0; f < t; f++) {
        for (int i = 0; i < c; i++) {
            const float *src = (const float *)x + (size_t)f * pixels * c + i;
            float *dst = y + ((size_t)f * c + i) * pixels;
            for (size_t p = 0; p < pixels; p++) {
                dst[p] = src[p * c];
            }
        }
    }
    return 0;
}

int kt_ref_distance_bias(struct kt_queue *q, float *y, const float *table, int heads, int n,
                         int reach)
{
    if (heads < 1 || n < 1 || reach < n - 1) {
        return -EINVAL;
    }
    q->stats.launches++;
    for (int h = 0; h < heads; h++) {
        const float *zero = table + (size_t)h * (2 * (size_t)reach + 1) + reach;
        for (int i = 0; i < n; i++, y += n) {
            memcpy(y, zero - i, (size_t)n * sizeof(*y));
        }
    }
    return 0;
}

int kt_ref_copy_rows(struct kt_queue *q, void *dst, size_t dst_stride, const void *src,
                     size_t src_stride, int rows, size_t row_bytes)
{
    if (rows < 0 || (rows > 1 && (dst_stride < row_bytes || src_stride < row_bytes))) {
        return -EINVAL;
    }
    q->stats.launches++;
    for (size_t r = 0; r < (size_t)rows; r++) {
        memcpy((char *)dst + r * dst_stride, (const char *)src + r * src_stride, row_bytes);
    }
    return 0;
}
