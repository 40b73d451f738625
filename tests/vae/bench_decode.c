/* What one latent costs at the demo geometry (192x112, decoder dim 8 x [1,2,4,8], random weights):
 * milliseconds per latent and per class of op, and each convolution shape with the rate it reaches.
 *
 * The device's op table is plain data, so timing goes between the decoder and the ops without the
 * decoder knowing. Options: --mask N (levels of the CPU table), --threads N, --latents N, --convs.
 */
#include "tests/vae/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LATENT_H = 14, LATENT_W = 24, SHAPES_MAX = 64, CONVS_MAX = 64 };

enum op_class { OP_CONV, OP_LINEAR, OP_NORM, OP_ATTENTION, OP_LAYOUT, OP_OTHER, OP_COUNT };
static const char *const class_names[OP_COUNT] = {"conv",      "linear", "channel_norm",
                                                  "attention", "layout", "residual"};

struct shape {
    char name[64];
    double ms, gflop;
    int calls;
};

/* The ops being timed and what was measured; one benchmark per process. */
static struct {
    struct kt_kernels real;
    double ms[OP_COUNT];
    struct shape shapes[SHAPES_MAX];
    int num_shapes;
    const struct kt_conv *conv[CONVS_MAX]; /* with the description each was made from */
    struct kt_conv_desc desc[CONVS_MAX];
    int num_convs;
    clockid_t clock;
} timed;

/* Nanoseconds of wall or of this thread's processor time. The latter ignores who else uses the
 * machine, and means something only with one thread. */
static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(timed.clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double ms_since(int64_t start)
{
    return (double)(now_ns() - start) * 1e-6;
}

static struct shape *shape_named(const char *name)
{
    for (int i = 0; i < timed.num_shapes; i++) {
        if (strcmp(timed.shapes[i].name, name) == 0) {
            return &timed.shapes[i];
        }
    }
    struct shape *s = &timed.shapes[timed.num_shapes];
    timed.num_shapes += timed.num_shapes < SHAPES_MAX - 1;
    memset(s, 0, sizeof(*s));
    snprintf(s->name, sizeof(s->name), "%s", name);
    return s;
}

static int conv_create(struct kt_conv **c, struct kt_queue *q, const struct kt_conv_desc *d)
{
    int rc = timed.real.conv_create(c, q, d);
    if (rc == 0 && timed.num_convs < CONVS_MAX) {
        timed.conv[timed.num_convs] = *c;
        timed.desc[timed.num_convs++] = *d;
    }
    return rc;
}

static void note_conv(const struct kt_conv *c, const struct kt_conv_args *a, double ms)
{
    for (int i = 0; i < timed.num_convs; i++) {
        if (timed.conv[i] != c) {
            continue;
        }
        char name[64];
        const struct kt_conv_desc *d = &timed.desc[i];
        int up = d->upsample ? 2 : 1, h = a->h * up, w = a->w * up;
        snprintf(name, sizeof(name), "%dx%dx%d %3d->%-3d %2d x %dx%d%s%s", d->kt, d->kh, d->kw,
                 d->c_in, d->c_out, a->t_in, w, h, up == 2 ? " up" : "",
                 a->residual ? " +res" : "");
        struct shape *s = shape_named(name);
        s->ms += ms;
        s->calls++;
        s->gflop += 2e-9 * d->kt * d->kh * d->kw * d->c_in * d->c_out * a->t_in * h * w;
        return;
    }
}

static int conv(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *a)
{
    int64_t t = now_ns();
    int rc = timed.real.conv(q, c, a);
    double ms = ms_since(t);
    timed.ms[OP_CONV] += ms;
    note_conv(c, a, ms);
    return rc;
}

#define TIMED(class, call)                                                                         \
    int64_t t = now_ns();                                                                          \
    int rc = timed.real.call;                                                                      \
    timed.ms[class] += ms_since(t);                                                                \
    return rc

static int linear(struct kt_queue *q, const struct kt_linear *l, const struct kt_linear_args *a)
{
    TIMED(OP_LINEAR, linear(q, l, a));
}

static int channel_norm(struct kt_queue *q, const struct kt_channel_norm_args *a)
{
    TIMED(OP_NORM, channel_norm(q, a));
}

static int attention(struct kt_queue *q, const struct kt_attention_args *a)
{
    TIMED(OP_ATTENTION, attention(q, a));
}

static int residual(struct kt_queue *q, const struct kt_residual_args *a)
{
    TIMED(OP_OTHER, residual(q, a));
}

static int split_frames(struct kt_queue *q, void *y, const void *x, int t_in, int h, int w, int c,
                        int f)
{
    TIMED(OP_LAYOUT, split_frames(q, y, x, t_in, h, w, c, f));
}

static int to_channels_last(struct kt_queue *q, void *y, const float *x, int t_in, int c, int h,
                            int w, const float *scale, const float *shift)
{
    TIMED(OP_LAYOUT, to_channels_last(q, y, x, t_in, c, h, w, scale, shift));
}

static int to_planar(struct kt_queue *q, float *y, const void *x, int t_in, int h, int w, int c)
{
    TIMED(OP_LAYOUT, to_planar(q, y, x, t_in, h, w, c));
}

static void time_ops(struct kt_kernels *k)
{
    timed.real = *k;
    k->conv_create = conv_create;
    k->conv = conv;
    k->linear = linear;
    k->channel_norm = channel_norm;
    k->attention = attention;
    k->residual = residual;
    k->split_frames = split_frames;
    k->to_channels_last = to_channels_last;
    k->to_planar = to_planar;
}

static struct kt_vae_config demo_config(void)
{
    struct kt_vae_config c = {.kind = KT_VAE_WAN,
                              .dim = 8,
                              .z_dim = 16,
                              .num_res_blocks = 1,
                              .levels = 4,
                              .dim_mult = {1, 2, 4, 8},
                              .temporal_downsample = {0, 1, 1}};
    for (int i = 0; i < c.z_dim; i++) {
        c.std[i] = 1.0f;
    }
    return c;
}

struct options {
    int mask, threads, latents, convs;
};

static int open_vae(struct kt_device **dev, struct kt_vae **vae, const struct options *o,
                    struct kt_error *err)
{
    char path[64];
    struct kt_vae_config config = demo_config();
    struct kt_safetensors *weights = NULL;
    struct kt_device_params dp = {.threads = o->threads,
                                  .cpu_mask = (unsigned)(o->mask < 0 ? 0 : o->mask),
                                  .cpu_mask_set = o->mask >= 0};
    snprintf(path, sizeof(path), "bench_decode_%d.safetensors", (int)getpid());
    int rc = fixture_write_weights(path, &config, NULL, NULL, err);
    if (rc == 0) {
        rc = kt_safetensors_open(&weights, path, err);
    }
    if (rc == 0) {
        rc = kt_device_open(dev, &dp, err);
    }
    if (rc == 0) {
        time_ops(&(*dev)->k);
        struct kt_vae_params p = {.config = &config,
                                  .weights = weights,
                                  .latent_h = LATENT_H,
                                  .latent_w = LATENT_W,
                                  .tails_max = 2};
        rc = kt_vae_open(vae, *dev, &p, err);
    }
    kt_safetensors_close(&weights);
    unlink(path);
    return rc;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_shapes(int latents)
{
    printf("%-42s %6s %8s %8s %8s\n", "convolution", "calls", "ms", "GFLOP", "GFLOP/s");
    for (int i = 0; i < timed.num_shapes; i++) {
        const struct shape *s = &timed.shapes[i];
        printf("%-42s %6.1f %8.3f %8.4f %8.1f\n", s->name, (double)s->calls / latents,
               s->ms / latents, s->gflop / latents, s->gflop / (s->ms * 1e-3));
    }
}

static int bench(struct kt_vae *vae, const struct options *o, struct kt_error *err)
{
    enum { WARM = 4 };
    struct kt_vae_info info;
    kt_vae_get_info(vae, &info);
    size_t n = 16 * LATENT_H * LATENT_W;
    size_t frames_size =
        (size_t)info.frames_per_latent * 3 * (size_t)info.width * (size_t)info.height;
    float *latent = malloc(n * sizeof(float)), *rgb = malloc(frames_size * sizeof(float));
    double *ms = malloc((size_t)o->latents * sizeof(double)), total = 0;
    struct kt_vae_tail *tail = NULL, *next = NULL;
    int rc = 0, frames = 0;
    for (int i = 0; rc == 0 && i < WARM + o->latents; i++) {
        if (i == WARM) {
            memset(timed.ms, 0, sizeof(timed.ms));
            timed.num_shapes = 0;
        }
        fixture_normals(latent, n, (unsigned)i, 1.0f);
        int64_t t = now_ns();
        rc = kt_vae_decode(vae, tail, latent, rgb, &frames, &next, err);
        if (i >= WARM) {
            ms[i - WARM] = ms_since(t);
            total += ms[i - WARM];
        }
        kt_vae_tail_unref(&tail);
        tail = next;
    }
    kt_vae_tail_unref(&tail);
    if (rc == 0) {
        qsort(ms, (size_t)o->latents, sizeof(*ms), by_value);
        printf(
            "%dx%d, %s, %d latents: median %.2f ms per latent (%d frames), best %.2f, mean %.2f; "
            "tail %.2f MiB\n",
            info.width, info.height, timed.real.name, o->latents, ms[o->latents / 2], frames, ms[0],
            total / o->latents, (double)info.tail_bytes / (1 << 20));
        for (int i = 0; i < OP_COUNT; i++) {
            printf("  %-14s %7.3f ms\n", class_names[i], timed.ms[i] / o->latents);
            total -= timed.ms[i];
        }
        printf("  %-14s %7.3f ms\n", "rest (copies)", total / o->latents);
        if (o->convs) {
            print_shapes(o->latents);
        }
    }
    free(latent);
    free(rgb);
    free(ms);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.mask = -1, .latents = 40};
    timed.clock = CLOCK_MONOTONIC;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "0";
        if (strcmp(argv[i], "--convs") == 0) {
            o.convs = 1;
            continue;
        }
        if (strcmp(argv[i], "--cpu-time") == 0) {
            timed.clock = CLOCK_THREAD_CPUTIME_ID;
            o.threads = 1;
            continue;
        }
        int *to = strcmp(argv[i], "--mask") == 0      ? &o.mask
                  : strcmp(argv[i], "--threads") == 0 ? &o.threads
                  : strcmp(argv[i], "--latents") == 0 ? &o.latents
                                                      : NULL;
        if (!to || i + 1 == argc) {
            fprintf(stderr, "usage: bench_decode [--mask N] [--threads N] [--latents N] [--convs] "
                            "[--cpu-time]\n");
            return 2;
        }
        *to = atoi(value);
        i++;
    }
    struct kt_device *dev = NULL;
    struct kt_vae *vae = NULL;
    struct kt_error err = {""};
    o.latents = o.latents < 1 ? 1 : o.latents;
    int rc = open_vae(&dev, &vae, &o, &err);
    if (rc == 0) {
        rc = bench(vae, &o, &err);
    }
    if (rc < 0) {
        fprintf(stderr, "bench_decode: %s\n", err.text);
    }
    kt_vae_close(&vae);
    kt_device_close(&dev);
    return rc < 0;
}
