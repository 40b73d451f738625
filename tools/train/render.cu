// Draws the demo world: one call of pixel() makes one pixel of one frame from that frame's
// parameters.
//
// The file is CUDA C and plain C++ at once. nvcc builds the training renderer (about 300 frames a
// millisecond on an H200); a host compiler builds the same pictures on a CPU, slowly, for tests and
// contact sheets. Everything that varies in time or between scenes comes in through the parameters
// (world.py fills them); two scenes in mid-change are weighted sums, so a prompt switch is a
// dissolve of the background and a morph of the object's outline.
#include <math.h>
#include <stdint.h>
#ifdef __CUDACC__
#include <cuda_bf16.h>
#define FN __device__ static inline
#else
#define FN static inline
#endif

enum { // parameter slots of a frame; keep in step with world.py
    P_TIME = 0,
    P_SEED = 1,
    P_BACKGROUND = 5, // 9 weights: ocean hills desert mountains city forest | underwater space wall
    P_LIGHT = 14,     // 3 weights: day dusk night
    P_RAIN = 17,
    P_SNOW = 18,
    P_X = 20,
    P_Y = 21,
    P_COS = 22,
    P_SIN = 23,
    P_RADIUS = 24,
    P_OUTLINE = 25, // brightness of the outline
    P_RGB = 26,
    P_SHAPE = 29, // 8 weights: ball square triangle star heart ring cross moon
    P_CROP = 40,  // x, y of the top left pixel drawn
    P_COUNT = 48
};

#define PI2 6.2831853f

struct rgb {
    float r, g, b;
};

FN float clamp01(float x)
{
    return fminf(fmaxf(x, 0.f), 1.f);
}
FN float step01(float a, float b, float x)
{
    float t = clamp01((x - a) / (b - a));
    return t * t * (3.f - 2.f * t);
}
FN rgb mix(rgb a, rgb b, float t)
{
    return rgb{a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}
FN rgb gradient(float r0, float g0, float b0, float r1, float g1, float b1, float t)
{
    return mix(rgb{r0, g0, b0}, rgb{r1, g1, b1}, clamp01(t));
}

// A number in [0, 1) for a lattice cell and a scene seed.
FN float noise(int i, int j, float seed)
{
    uint32_t h = (uint32_t)i * 0x9E3779B1u ^ (uint32_t)j * 0x85EBCA77u ^
                 (uint32_t)(int)(seed * 4096.f) * 0xC2B2AE3Du;
    h ^= h >> 15;
    h *= 0x2C1B3C6Du;
    h ^= h >> 12;
    h *= 0x297A2D39u;
    h ^= h >> 15;
    return (float)(h >> 8) * (1.f / 16777216.f);
}

// Soft drifting clouds in the upper part of the sky.
FN float clouds(float X, float Y, float t, float seed)
{
    float u = X + 5.f * t;
    float a = sinf(u * PI2 / 96.f + seed) + .6f * sinf(u * PI2 / 41.f + 2.f * seed + Y * .05f);
    float band = 1.f - fabsf(Y - 18.f - 4.f * sinf(u * PI2 / 150.f)) / 13.f;
    return .8f * step01(.35f, 1.1f, a * .7f + band * .6f) * clamp01(band * 3.f);
}

// Small dots, one at most per cell; `share` of the cells have one.
FN float dots(float X, float Y, float cell, float radius, float share, float seed, float twinkle)
{
    int i = (int)floorf(X / cell), j = (int)floorf(Y / cell);
    float kind = noise(i, j, seed);
    if (kind >= share)
        return 0.f;
    float cx = (i + .25f + .5f * noise(i, j, seed + 1.7f)) * cell,
          cy = (j + .25f + .5f * noise(i, j, seed + 3.1f)) * cell;
    float d = hypotf(X - cx, Y - cy);
    return clamp01(radius + .5f - d) * (.85f + .15f * sinf(twinkle * 2.5f + kind * 60.f));
}

FN rgb ocean(float X, float Y, float t, const float *s)
{
    rgb sky = gradient(.40f, .70f, .98f, .84f, .95f, 1.f, Y / 52.f);
    sky = mix(sky, rgb{1.f, 1.f, 1.f}, clouds(X, Y, t, s[0]));
    rgb sea = gradient(.12f, .50f, .78f, .02f, .20f, .48f, (Y - 52.f) / 60.f);
    float depth = (Y - 52.f) / 60.f, pitch = 9.f + 5.f * depth;
    float wave = sinf((Y - 52.f) * PI2 / pitch + 1.3f * sinf(X * PI2 / 64.f + t * 1.5f + s[1]));
    sea = mix(sea, rgb{.75f, .90f, 1.f}, .40f * step01(.45f, 1.f, wave));
    return mix(sky, sea, clamp01(Y - (52.f + 1.5f * sinf(X * PI2 / 96.f + t * .8f + s[2])) + .5f));
}

FN rgb hills(float X, float Y, float t, const float *s)
{
    rgb c = gradient(.38f, .68f, .98f, .85f, .95f, 1.f, Y / 75.f);
    c = mix(c, rgb{1.f, 1.f, 1.f}, clouds(X, Y, t, s[0]));
    float back = 66.f + 9.f * sinf(X * PI2 / 170.f + s[1]),
          front = 88.f + 7.f * sinf(X * PI2 / 120.f + s[2]);
    c = mix(c, gradient(.50f, .78f, .36f, .36f, .66f, .28f, (Y - back) / 30.f),
            clamp01(Y - back + .5f));
    return mix(c, gradient(.26f, .60f, .20f, .14f, .42f, .14f, (Y - front) / 26.f),
               clamp01(Y - front + .5f));
}

FN rgb desert(float X, float Y, const float *s)
{
    rgb c = gradient(.96f, .80f, .56f, 1.f, .94f, .80f, Y / 75.f);
    float back = 68.f + 8.f * sinf(X * PI2 / 150.f + s[1]),
          front = 90.f + 6.f * sinf(X * PI2 / 105.f + s[2]);
    c = mix(c, gradient(.92f, .72f, .40f, .82f, .58f, .30f, (Y - back) / 30.f),
            clamp01(Y - back + .5f));
    return mix(c, gradient(.80f, .55f, .27f, .64f, .40f, .18f, (Y - front) / 24.f),
               clamp01(Y - front + .5f));
}

FN rgb mountains(float X, float Y, const float *s)
{
    rgb c = gradient(.55f, .72f, .92f, .88f, .94f, 1.f, Y / 80.f);
    float u = X / 72.f + s[1], w = u - floorf(u), tall = 16.f * noise((int)floorf(u), 3, s[2]);
    float peak = 26.f + tall, ridge = peak + fabsf(w - .5f) * 110.f;
    float cap = peak + 18.f + 4.f * fabsf(fmodf(w * 10.f, 2.f) - 1.f);
    rgb rock = mix(rgb{.50f, .54f, .64f}, rgb{.38f, .42f, .54f}, clamp01((w - .5f) * 12.f));
    rock = mix(rgb{.96f, .98f, 1.f}, rock, clamp01(Y - cap + .5f));
    c = mix(c, rock, clamp01((Y - ridge) * .5f + .5f));
    float snow = 90.f + 5.f * sinf(X * PI2 / 140.f + s[0]);
    return mix(c, gradient(.93f, .96f, 1.f, .78f, .86f, .96f, (Y - snow) / 22.f),
               clamp01(Y - snow + .5f));
}

// `lit` returns how much a lit window covers the pixel: windows shine after the light is graded.
FN rgb city(float X, float Y, const float *s, float *lit)
{
    rgb c = gradient(.52f, .74f, .94f, .88f, .93f, .96f, Y / 90.f);
    int i = (int)floorf((X + 8.f * s[1]) / 24.f);
    float left = X + 8.f * s[1] - 24.f * i, roof = 112.f - (30.f + 38.f * noise(i, 2, s[2]));
    float shade = .30f + .16f * noise(i, 7, s[2]), inside = clamp01(Y - roof + .5f);
    int wi = (int)floorf(left / 8.f), wj = (int)floorf((Y - 2.f) / 10.f);
    float wx = fabsf(left - 8.f * wi - 4.f), wy = fabsf(Y - 2.f - 10.f * wj - 5.f);
    float pane = clamp01(2.4f - wx + .5f) * clamp01(3.f - wy + .5f) * (Y > roof + 4.f ? 1.f : 0.f);
    *lit = pane * inside * (noise(i * 3 + wi, wj, s[3]) < .5f ? 1.f : 0.f);
    rgb wall = mix(rgb{shade, shade * 1.06f, shade * 1.25f}, rgb{.72f, .82f, .90f}, .6f * pane);
    return mix(c, wall, inside);
}

FN rgb forest(float X, float Y, const float *s)
{
    rgb c = gradient(.66f, .84f, .80f, .90f, .95f, .86f, Y / 90.f);
    for (int k = 0; k < 2; k++) { // a far row of pines, then a near one
        float pitch = k ? 32.f : 26.f, slope = k ? .24f : .26f;
        float u = X + pitch * s[1 + k] * .3f;
        int i = (int)floorf(u / pitch);
        float top = (k ? 44.f : 26.f) + 22.f * noise(i, k, s[2]);
        float in = clamp01((Y - top) * slope - fabsf(u - pitch * (i + .5f)) + .5f);
        c = mix(c, k ? rgb{.08f, .32f, .17f} : rgb{.34f, .56f, .44f}, in);
    }
    float ground = 98.f + 2.f * sinf(X * PI2 / 70.f + s[0]);
    return mix(c, rgb{.20f, .44f, .18f}, clamp01(Y - ground + .5f));
}

FN rgb underwater(float X, float Y, float t, const float *s)
{
    rgb c = gradient(.08f, .58f, .72f, .01f, .14f, .32f, Y / 112.f);
    float ray = .09f * sinf(X * PI2 / 72.f + Y * .045f + t * .8f + s[1]) * (1.f - Y / 112.f);
    c = rgb{c.r + ray, c.g + ray, c.b + ray};
    float v = Y + 18.f * t;
    int i = (int)floorf(X / 32.f), j = (int)floorf(v / 32.f);
    float kind = noise(i, j, s[2]);
    if (kind < .45f) { // bubbles
        float cx = 32.f * i + 9.f + 14.f * noise(i, j, s[2] + 1.3f),
              cy = 32.f * j + 9.f + 14.f * noise(i, j, s[2] + 2.9f);
        float d = fabsf(hypotf(X - cx, v - cy) - 2.5f - 4.f * kind);
        c = mix(c, rgb{.80f, .96f, 1.f}, .7f * clamp01(1.4f - d));
    }
    float sand = 102.f + 3.f * sinf(X * PI2 / 100.f + s[3]);
    return mix(c, rgb{.30f, .42f, .42f}, clamp01(Y - sand + .5f));
}

FN rgb space(float X, float Y, float t, const float *s)
{
    rgb c = gradient(.02f, .02f, .08f, .10f, .05f, .20f, Y / 112.f);
    c = mix(c, rgb{1.f, .98f, .92f}, dots(X, Y, 18.f, 1.1f, .5f, s[0], t));
    float cx = 30.f + 22.f * s[1], d = hypotf(X - cx, Y - 150.f); // a planet's rim
    float band = .5f + .5f * sinf((Y + .25f * X) * .35f);
    rgb planet = mix(rgb{.42f, .26f, .52f}, rgb{.60f, .40f, .56f}, band);
    planet = mix(planet, rgb{.10f, .06f, .16f}, clamp01((X - cx) / 90.f + .3f));
    return mix(c, planet, clamp01(62.f - d + .5f));
}

FN rgb wall(float X, float Y)
{
    float v = .80f - .10f * hypotf((X - 96.f) / 96.f, (Y - 50.f) / 70.f);
    return mix(rgb{v, v, v + .02f}, rgb{v * .74f, v * .70f, v * .66f}, clamp01(Y - 96.f + .5f));
}

// The background with its light. Outdoor scenes are graded; the others keep their own.
FN rgb background(const float *p, float X, float Y)
{
    const float *w = p + P_BACKGROUND, *s = p + P_SEED;
    float t = p[P_TIME], lit = 0.f, out = 0.f;
    rgb c = {0.f, 0.f, 0.f};
    for (int k = 0; k < 6; k++) {
        if (w[k] <= 0.f)
            continue;
        rgb b = k == 0   ? ocean(X, Y, t, s)
                : k == 1 ? hills(X, Y, t, s)
                : k == 2 ? desert(X, Y, s)
                : k == 3 ? mountains(X, Y, s)
                : k == 4 ? city(X, Y, s, &lit)
                         : forest(X, Y, s);
        c = rgb{c.r + w[k] * b.r, c.g + w[k] * b.g, c.b + w[k] * b.b};
        out += w[k];
    }
    if (out > 0.f) {
        float dusk = p[P_LIGHT + 1], night = p[P_LIGHT + 2], low = clamp01(Y / 70.f);
        c = mix(
            c,
            rgb{c.r * 1.f + .10f * low * out, c.g * (.52f + .14f * low), c.b * (.62f - .16f * low)},
            dusk);
        c = mix(c, rgb{c.r * .20f + .01f * out, c.g * .25f + .015f * out, c.b * .42f + .05f * out},
                night);
        c = mix(c, rgb{1.f, .86f, .45f}, lit * w[4] * (.9f * night + .5f * dusk));
        if (night > 0.f && Y < 44.f)
            c = mix(c, rgb{.95f, .95f, .90f},
                    night * out * clamp01((44.f - Y) / 12.f) *
                        dots(X, Y, 22.f, 1.f, .45f, s[3], t));
        float rain = p[P_RAIN] * .45f, grey = (c.r + c.g + c.b) / 3.f * .85f;
        c = mix(c, rgb{grey, grey, grey * 1.05f}, rain);
    }
    for (int k = 6; k < 9; k++) {
        if (w[k] <= 0.f)
            continue;
        rgb b = k == 6 ? underwater(X, Y, t, s) : k == 7 ? space(X, Y, t, s) : wall(X, Y);
        c = rgb{c.r + w[k] * b.r, c.g + w[k] * b.g, c.b + w[k] * b.b};
    }
    return c;
}

FN float box(float x, float y, float a, float b)
{
    float dx = fabsf(x) - a, dy = fabsf(y) - b;
    return hypotf(fmaxf(dx, 0.f), fmaxf(dy, 0.f)) + fminf(fmaxf(dx, dy), 0.f);
}

FN float star(float x, float y, float r)
{
    const float wedge = PI2 / 10.f;
    float a = fabsf(atan2f(x, y)); // 0 at a tip, mirrored
    a = fabsf(fmodf(a + wedge, 2.f * wedge) - wedge);
    float d = hypotf(x, y), px = d * cosf(a), py = d * sinf(a), inner = .45f * r;
    float ex = inner * cosf(wedge) - r, ey = inner * sinf(wedge), len = hypotf(ex, ey);
    return ((px - r) * ey - py * ex) / len;
}

FN float heart(float x, float y, float r)
{
    float s = 1.72f * r;
    x = fabsf(x) / s;
    y = y / s + .56f;
    if (x + y > 1.f)
        return s * (hypotf(x - .25f, y - .75f) - .35355f);
    float m = .5f * fmaxf(x + y, 0.f), d = fminf(hypotf(x, y - 1.f), hypotf(x - m, y - m));
    return s * (x > y ? d : -d);
}

FN float triangle(float x, float y, float r)
{
    y += .12f * r;
    return fmaxf(-y - .55f * r, .8660254f * fabsf(x) + .5f * y - .55f * r);
}

// Signed distance to shape k of radius r; y points up.
FN float outline(int k, float x, float y, float r)
{
    switch (k) {
    case 0: return hypotf(x, y) - r;
    case 1: return box(x, y, .80f * r, .80f * r) - .04f * r;
    case 2: return triangle(x, y, 1.08f * r);
    case 3: return star(x, y, 1.18f * r);
    case 4: return heart(x, y, r);
    case 5: return fabsf(hypotf(x, y) - .67f * r) - .33f * r;
    case 6: return fminf(box(x, y, r, .33f * r), box(x, y, .33f * r, r));
    default: return fmaxf(hypotf(x, y) - r, .80f * r - hypotf(x - .48f * r, y - .14f * r));
    }
}

// Draws the object over c; returns how much of the pixel it covers.
FN float object(const float *p, float X, float Y, rgb *c)
{
    float r = p[P_RADIUS], dx = X - p[P_X], dy = Y - p[P_Y];
    if (r < 1.f || fabsf(dx) > 1.5f * r || fabsf(dy) > 1.5f * r)
        return 0.f;
    float x = dx * p[P_COS] + dy * p[P_SIN], y = dx * p[P_SIN] - dy * p[P_COS], d = 0.f;
    for (int k = 0; k < 8; k++)
        if (p[P_SHAPE + k] > 0.f)
            d += p[P_SHAPE + k] * outline(k, x, y, r);
    float cover = clamp01(.5f - d), fill = clamp01(-1.9f - d), light = 1.f - .16f * (dx + dy) / r;
    rgb inner = {clamp01(p[P_RGB] * light), clamp01(p[P_RGB + 1] * light),
                 clamp01(p[P_RGB + 2] * light)};
    rgb rim = {p[P_OUTLINE], p[P_OUTLINE], p[P_OUTLINE]};
    *c = mix(*c, mix(rim, inner, fill), cover);
    return cover;
}

FN void weather(const float *p, float X, float Y, rgb *c)
{
    float t = p[P_TIME], s = p[P_SEED + 3];
    if (p[P_RAIN] > 0.f) {
        float u = X + .22f * Y, v = Y - 150.f * t;
        int i = (int)floorf(u / 12.f), j = (int)floorf(v / 28.f);
        float cx = 12.f * i + 3.f + 6.f * noise(i, j, s),
              cy = 28.f * j + 8.f + 12.f * noise(i, j, s + 2.f);
        float a = clamp01(1.3f - fabsf(u - cx)) * clamp01((6.5f - fabsf(v - cy)) * .7f);
        *c = mix(*c, rgb{.82f, .90f, 1.f},
                 .62f * p[P_RAIN] * a * (noise(i, j, s + 5.f) < .75f ? 1.f : 0.f));
    }
    if (p[P_SNOW] > 0.f) {
        float v = Y - 26.f * t, u = X + 3.f * sinf(v * .06f + s);
        int i = (int)floorf(u / 18.f), j = (int)floorf(v / 18.f);
        float cx = 18.f * i + 5.f + 8.f * noise(i, j, s),
              cy = 18.f * j + 5.f + 8.f * noise(i, j, s + 2.f);
        float a = clamp01(1.9f + .8f * noise(i, j, s + 4.f) - hypotf(u - cx, v - cy));
        *c = mix(*c, rgb{1.f, 1.f, 1.f},
                 .95f * p[P_SNOW] * a * (noise(i, j, s + 5.f) < .7f ? 1.f : 0.f));
    }
}

FN float pixel(const float *p, int column, int line, float out[3])
{
    float X = column + .5f + p[P_CROP], Y = line + .5f + p[P_CROP + 1];
    rgb c = background(p, X, Y);
    float cover = object(p, X, Y, &c);
    weather(p, X, Y, &c);
    out[0] = 2.f * clamp01(c.r) - 1.f;
    out[1] = 2.f * clamp01(c.g) - 1.f;
    out[2] = 2.f * clamp01(c.b) - 1.f;
    return cover;
}

// Frames are [n, 3, height, width] in [-1, 1]; cover is [n, height, width], 0..255.
#ifdef __CUDACC__
__global__ void draw(const float *params, __nv_bfloat16 *frames, uint8_t *cover, int height,
                     int width, int tiles)
{
    __shared__ float p[P_COUNT];
    int n = blockIdx.x / tiles, at = (blockIdx.x % tiles) * blockDim.x + threadIdx.x,
        area = height * width;
    if (threadIdx.x < P_COUNT)
        p[threadIdx.x] = params[(size_t)n * P_COUNT + threadIdx.x];
    __syncthreads();
    if (at >= area)
        return;
    float c[3], a = pixel(p, at % width, at / width, c);
    for (int k = 0; k < 3; k++)
        frames[((size_t)n * 3 + k) * area + at] = __float2bfloat16(c[k]);
    cover[(size_t)n * area + at] = (uint8_t)(255.f * a);
}

extern "C" int render(const float *params, void *frames, uint8_t *cover, long n, int height,
                      int width, void *stream)
{
    int tiles = (height * width + 255) / 256;
    draw<<<(unsigned)(n * tiles), 256, 0, (cudaStream_t)stream>>>(params, (__nv_bfloat16 *)frames,
                                                                  cover, height, width, tiles);
    return (int)cudaGetLastError();
}
#else
extern "C" int render(const float *params, void *frames, uint8_t *cover, long n, int height,
                      int width, void *stream)
{
    (void)stream;
    long area = (long)height * width;
    for (long f = 0; f < n; f++)
        for (long at = 0; at < area; at++) {
            float c[3], a = pixel(params + f * P_COUNT, (int)(at % width), (int)(at / width), c);
            for (int k = 0; k < 3; k++)
                ((float *)frames)[(f * 3 + k) * area + at] = c[k];
            cover[f * area + at] = (uint8_t)(255.f * a);
        }
    return 0;
}
#endif
