#include "engine/dit/rope.h"

#include <math.h>

static void fill_axis(float *c, float *s, int pairs, int64_t position)
{
    for (int i = 0; i < pairs; i++) {
        double angle = (double)position * pow(10000.0, -(double)i / pairs);
        c[i] = (float)cos(angle);
        s[i] = (float)sin(angle);
    }
}

void kt_rope_fill(const struct kt_rope_grid *g, const int64_t *time, int frames, float *cos_out,
                  float *sin_out)
{
    int half = g->head_dim / 2, space = g->head_dim / 6, pairs_t = half - 2 * space;
    for (int f = 0; f < frames; f++) {
        for (int y = 0; y < g->h; y++) {
            for (int x = 0; x < g->w; x++) {
                fill_axis(cos_out, sin_out, pairs_t, time[f]);
                fill_axis(cos_out + pairs_t, sin_out + pairs_t, space, y);
                fill_axis(cos_out + pairs_t + space, sin_out + pairs_t + space, space, x);
                cos_out += half;
                sin_out += half;
            }
        }
    }
}
