/* Pictures as planar RGB in [-1, 1], fp32, [3, h, w]: sizes, and how far one is from another.
 *
 * Thread-safety: pure. */
#ifndef KT_CLI_PREVIEWS_PIXELS_H
#define KT_CLI_PREVIEWS_PIXELS_H

#include <stddef.h>
#include <stdint.h>

/* I420 (BT.709, limited range, planes dense, even sizes) and back. */
void kt_pixels_from_i420(float *rgb, const uint8_t *i420, int w, int h);
void kt_pixels_to_i420(uint8_t *i420, size_t luma_stride, const float *rgb, int w, int h,
                       uint8_t *u, uint8_t *v);

/* Another size: where it shrinks, each pixel is the mean of what it covers; where it grows, linear
 * between centres. Both directions at once, either kind each. */
void kt_pixels_resize(float *out, int out_w, int out_h, const float *in, int w, int h);

/* Mean absolute difference in levels of 255. */
double kt_pixels_distance(const float *a, const float *b, size_t n);
/* Peak signal to noise ratio in dB, at most 99. */
double kt_pixels_psnr(const float *a, const float *b, size_t n);
/* Structural similarity of luma, -1..1: the mean over windows of 8x8, half overlapping, with the
 * constants of Wang et al. 2004 and flat weights. One picture. */
double kt_pixels_ssim(const float *a, const float *b, int w, int h);
/* Colours alone: the mean of each cell of 16 x 16, [3, h / 16, w / 16]. Returns the floats. */
size_t kt_pixels_cells(float *out, const float *rgb, int w, int h);
/* How much of the way from `from` to `to` the picture `at` has gone: its component along that way,
 * 0 at `from`, 1 at `to`. Where they are the same: 1. */
double kt_pixels_share(const float *from, const float *at, const float *to, size_t n);

#endif
