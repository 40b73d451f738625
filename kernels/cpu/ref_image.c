/* RGB in [0, 1] to 8-bit I420, BT.709 matrix, limited range (ITU-R BT.709-6, items 3.2 to 3.5
 * and 4.6): Y' = 0.2126 R' + 0.7152 G' + 0.0722 B', Cb = (B' - Y') / 1.8556, Cr = (R' - Y')
 * / 1.5748; luma 16..235, chroma 16..240 about 128. A chroma sample is the mean of its 2x2 pixels
 * (taken of the clamped colour, centre siting). */
#include "kernels/cpu/ref.h"

#include <errno.h>
#include <math.h>

static float clamp_unit(float v)
{
    if (!(v > 0.0f)) { /* NaN too */
        return 0.0f;
    }
    return v < 1.0f ? v : 1.0f;
}

static uint8_t round_u8(float v)
{
    return (uint8_t)floorf(v + 0.5f); /* callers stay within 16..240 */
}

struct frame {
    const float *r, *g, *b; /* planes [h, w] */
    float scale, offset;
};

static void load_rgb(float rgb[3], const struct frame *f, size_t at)
{
    rgb[0] = clamp_unit(f->r[at] * f->scale + f->offset);
    rgb[1] = clamp_unit(f->g[at] * f->scale + f->offset);
    rgb[2] = clamp_unit(f->b[at] * f->scale + f->offset);
}

static float luma(const float rgb[3])
{
    return 0.2126f * rgb[0] + 0.7152f * rgb[1] + 0.0722f * rgb[2];
}

static void convert_frame(uint8_t *out, const struct frame *f, int w, int h)
{
    uint8_t *y_plane = out, *u = out + (size_t)w * h, *v = u + (size_t)(w / 2) * (h / 2);
    for (int y = 0; y < h; y += 2) {
        for (int x = 0; x < w; x += 2) {
            float mean[3] = {0.0f, 0.0f, 0.0f};
            for (int i = 0; i < 4; i++) {
                const size_t at = (size_t)(y + i / 2) * w + x + i % 2;
                float rgb[3];
                load_rgb(rgb, f, at);
                y_plane[at] = round_u8(16.0f + 219.0f * luma(rgb));
                for (int c = 0; c < 3; c++) {
                    mean[c] += 0.25f * rgb[c];
                }
            }
            const float mean_luma = luma(mean);
            *u++ = round_u8(128.0f + (224.0f / 1.8556f) * (mean[2] - mean_luma));
            *v++ = round_u8(128.0f + (224.0f / 1.5748f) * (mean[0] - mean_luma));
        }
    }
}

int kt_ref_to_i420(struct kt_queue *q, const struct kt_i420_args *a)
{
    if (a->frames < 0 || a->w < 2 || a->h < 2 || a->w % 2 || a->h % 2 ||
        a->frame_bytes < (size_t)a->w * a->h * 3 / 2) {
        return -EINVAL;
    }
    q->stats.launches++;
    const size_t plane = (size_t)a->w * a->h;
    for (int i = 0; i < a->frames; i++) {
        const float *rgb = (const float *)a->rgb + (size_t)i * 3 * plane;
        const struct frame f = {rgb, rgb + plane, rgb + 2 * plane, a->scale, a->offset};
        convert_frame(a->out + (size_t)i * a->frame_bytes, &f, a->w, a->h);
    }
    return 0;
}
