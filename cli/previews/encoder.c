#include "cli/previews/encoder.h"

#include "engine/weights/safetensors.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNSHUFFLE = 4, CHANNELS = 3 * KT_PREVIEWS_CLIP * UNSHUFFLE * UNSHUFFLE, BLOCKS = 2 };

struct block { /* x + conv2(norm_silu(conv1(norm_silu(x)))) */
    struct kt_conv *conv1, *conv2;
    float *gamma1, *gamma2; /* [f32] [c], device */
};

struct kt_previews_encoder {
    struct kt_device *dev;
    const struct kt_safetensors *weights; /* while opening */
    struct kt_error *err;                 /* while opening */
    int width, height, z, fine_c, coarse_c;
    struct kt_conv *enter, *down, *leave;
    struct block fine[BLOCKS], coarse[BLOCKS];
    float *gamma;         /* before `leave` */
    float *scale, *shift; /* host, [z]: what whitening and the latents' statistics come to */
    float *unshuffled;
    float *given, *found;   /* [f32] device */
    void *in, *x, *y, *mid; /* [act] device */
};

static int load_conv(struct kt_previews_encoder *e, struct kt_conv **out, const char *name, int in,
                     int c, int stride)
{
    int64_t shape[4] = {c, in, 3, 3}, n = c;
    float *weight = NULL, *bias = NULL;
    int rc = kt_safetensors_load_f32(e->weights, &weight, shape, 4, e->err, "%s.weight", name);
    if (rc == 0) {
        rc = kt_safetensors_load_f32(e->weights, &bias, &n, 1, e->err, "%s.bias", name);
    }
    if (rc == 0) {
        struct kt_conv_desc d = {.c_in = in,
                                 .c_out = c,
                                 .kt = 1,
                                 .kh = 3,
                                 .kw = 3,
                                 .st = 1,
                                 .sh = stride,
                                 .sw = stride,
                                 .pad_top = 1,
                                 .pad_bottom = 1,
                                 .pad_left = 1,
                                 .pad_right = 1,
                                 .dtype = KT_F32,
                                 .weight = weight,
                                 .bias = bias};
        rc = e->dev->k.conv_create(out, e->dev->q, &d);
        rc = rc < 0 ? kt_fail(e->err, rc, "encoder: preparing %s: %s", name, strerror(-rc)) : 0;
    }
    free(weight);
    free(bias);
    return rc;
}

static int load_gamma(struct kt_previews_encoder *e, float **out, const char *name, int c)
{
    int64_t shape[3] = {c, 1, 1};
    float *gamma = NULL;
    int rc = kt_safetensors_load_f32(e->weights, &gamma, shape, 3, e->err, "%s.gamma", name);
    if (rc == 0) {
        *out = kt_device_alloc_f32(e->dev, gamma, (size_t)c, "previews encoder");
        rc = *out ? 0 : kt_fail(e->err, -ENOMEM, "encoder: out of memory");
    }
    free(gamma);
    return rc;
}

static int load_blocks(struct kt_previews_encoder *e, struct block *blocks, const char *name, int c)
{
    int rc = 0;
    for (int i = 0; i < BLOCKS && rc == 0; i++) {
        struct block *b = &blocks[i];
        char part[4][64];
        static const char *const parts[4] = {"norm1", "conv1", "norm2", "conv2"};
        for (int p = 0; p < 4; p++) {
            snprintf(part[p], sizeof(part[p]), "encoder.%s.%d.%s", name, i, parts[p]);
        }
        rc = load_gamma(e, &b->gamma1, part[0], c);
        rc = rc < 0 ? rc : load_conv(e, &b->conv1, part[1], c, c, 1);
        rc = rc < 0 ? rc : load_gamma(e, &b->gamma2, part[2], c);
        rc = rc < 0 ? rc : load_conv(e, &b->conv2, part[3], c, c, 1);
    }
    return rc;
}

/* ((v - running_mean) / sqrt(running_var + 1e-5) - mean) / std, as one factor and one summand. */
static int load_statistics(struct kt_previews_encoder *e)
{
    static const char *const names[4] = {"encoder.whiten.running_mean",
                                         "encoder.whiten.running_var", "mean", "std"};
    float *v[4] = {NULL, NULL, NULL, NULL};
    int64_t shape = e->z;
    int rc = 0;
    for (int i = 0; i < 4 && rc == 0; i++) {
        rc = kt_safetensors_load_f32(e->weights, &v[i], &shape, 1, e->err, "%s", names[i]);
    }
    for (int c = 0; c < e->z && rc == 0; c++) {
        float white = 1.0f / sqrtf(v[1][c] + 1e-5f);
        e->scale[c] = white / v[3][c];
        e->shift[c] = (-v[0][c] * white - v[2][c]) / v[3][c];
    }
    for (int i = 0; i < 4; i++) {
        free(v[i]);
    }
    return rc;
}

/* The widths are the file's: what its first filters say. */
static int find_widths(struct kt_previews_encoder *e)
{
    const struct kt_tensor *fine = kt_safetensors_find(e->weights, "encoder.enter.bias");
    const struct kt_tensor *coarse = kt_safetensors_find(e->weights, "encoder.down.bias");
    if (!fine || !coarse || fine->rank != 1 || coarse->rank != 1 || fine->count > 4096 ||
        coarse->count > 4096) {
        return kt_fail(e->err, -EBADMSG,
                       "%s: expected the encoder that trained the demo model's VAE "
                       "(encoder.enter, encoder.down), as in tools/train/state/vae-0.safetensors",
                       kt_safetensors_path(e->weights));
    }
    e->fine_c = (int)fine->count;
    e->coarse_c = (int)coarse->count;
    return 0;
}

static int load(struct kt_previews_encoder *e)
{
    int rc = find_widths(e);
    rc = rc < 0 ? rc : load_conv(e, &e->enter, "encoder.enter", CHANNELS, e->fine_c, 1);
    rc = rc < 0 ? rc : load_blocks(e, e->fine, "fine", e->fine_c);
    rc = rc < 0 ? rc : load_conv(e, &e->down, "encoder.down", e->fine_c, e->coarse_c, 2);
    rc = rc < 0 ? rc : load_blocks(e, e->coarse, "coarse", e->coarse_c);
    rc = rc < 0 ? rc : load_gamma(e, &e->gamma, "encoder.norm", e->coarse_c);
    rc = rc < 0 ? rc : load_conv(e, &e->leave, "encoder.leave", e->coarse_c, e->z, 1);
    return rc;
}

static int alloc(struct kt_previews_encoder *e)
{
    struct kt_device *dev = e->dev;
    size_t fine = (size_t)(e->width / UNSHUFFLE) * (size_t)(e->height / UNSHUFFLE);
    size_t wide = (size_t)(e->fine_c > e->coarse_c ? e->fine_c : e->coarse_c);
    size_t latent = fine / 4 * (size_t)e->z;
    e->unshuffled = malloc(fine * CHANNELS * sizeof(float));
    e->given = kt_device_alloc(dev, fine * CHANNELS * sizeof(float), "previews encoder");
    e->in = kt_device_alloc(dev, fine * CHANNELS * dev->act_size, "previews encoder");
    e->x = kt_device_alloc(dev, fine * wide * dev->act_size, "previews encoder");
    e->y = kt_device_alloc(dev, fine * wide * dev->act_size, "previews encoder");
    e->mid = kt_device_alloc(dev, fine * wide * dev->act_size, "previews encoder");
    e->found = kt_device_alloc(dev, latent * sizeof(float), "previews encoder");
    e->scale = malloc((size_t)e->z * sizeof(float));
    e->shift = malloc((size_t)e->z * sizeof(float));
    int ok = e->unshuffled && e->given && e->in && e->x && e->y && e->mid && e->found && e->scale &&
             e->shift;
    return ok ? 0 : kt_fail(e->err, -ENOMEM, "encoder: out of memory");
}

int kt_previews_encoder_open(struct kt_previews_encoder **out, struct kt_device *dev,
                             const char *path, int width, int height, int z, struct kt_error *err)
{
    struct kt_safetensors *st = NULL;
    struct kt_previews_encoder *e = calloc(1, sizeof(*e));
    if (!e) {
        return kt_fail(err, -ENOMEM, "encoder: out of memory");
    }
    int rc = kt_safetensors_open(&st, path, err);
    *e = (struct kt_previews_encoder){
        .dev = dev, .weights = st, .err = err, .width = width, .height = height, .z = z};
    rc = rc < 0 ? rc : load(e);
    rc = rc < 0 ? rc : alloc(e);
    rc = rc < 0 ? rc : load_statistics(e);
    kt_safetensors_close(&st);
    e->weights = NULL;
    e->err = NULL;
    if (rc < 0) {
        kt_previews_encoder_close(&e);
        return rc;
    }
    *out = e;
    return 0;
}

static void close_blocks(struct kt_device *dev, struct block *blocks)
{
    for (int i = 0; i < BLOCKS; i++) {
        dev->k.conv_destroy(&blocks[i].conv1);
        dev->k.conv_destroy(&blocks[i].conv2);
        kt_device_free(dev, blocks[i].gamma1);
        kt_device_free(dev, blocks[i].gamma2);
    }
}

void kt_previews_encoder_close(struct kt_previews_encoder **out)
{
    if (!out || !*out) {
        return;
    }
    struct kt_previews_encoder *e = *out;
    struct kt_device *dev = e->dev;
    close_blocks(dev, e->fine);
    close_blocks(dev, e->coarse);
    dev->k.conv_destroy(&e->enter);
    dev->k.conv_destroy(&e->down);
    dev->k.conv_destroy(&e->leave);
    void *held[] = {e->gamma, e->given, e->found, e->in, e->x, e->y, e->mid};
    for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++) {
        kt_device_free(dev, held[i]);
    }
    free(e->unshuffled);
    free(e->scale);
    free(e->shift);
    free(e);
    *out = NULL;
}

/* [12, height, width] -> [height / 4, width / 4, 12 * 16], as PyTorch's pixel_unshuffle orders
 * channels. */
static void unshuffle(const struct kt_previews_encoder *e, const float *rgb)
{
    int h = e->height / UNSHUFFLE, w = e->width / UNSHUFFLE;
    float *out = e->unshuffled;
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            for (int c = 0; c < CHANNELS; c++) {
                int plane = c / (UNSHUFFLE * UNSHUFFLE), dy = c / UNSHUFFLE % UNSHUFFLE;
                int row = plane * e->height + y * UNSHUFFLE + dy;
                *out++ =
                    rgb[(size_t)row * (size_t)e->width + (size_t)(x * UNSHUFFLE + c % UNSHUFFLE)];
            }
        }
    }
}

static int conv(struct kt_previews_encoder *e, const struct kt_conv *c, const void *x, void *y,
                int h, int w, const void *residual)
{
    struct kt_conv_args a = {.x = x, .y = y, .t_in = 1, .h = h, .w = w, .residual = residual};
    return e->dev->k.conv(e->dev->q, c, &a);
}

static int norm(struct kt_previews_encoder *e, const void *x, void *y, const float *gamma,
                int pixels, int c)
{
    struct kt_channel_norm_args a = {
        .x = x, .y = y, .gamma = gamma, .pixels = pixels, .c = c, .silu = 1};
    return e->dev->k.channel_norm(e->dev->q, &a);
}

/* e->x through both blocks; the result is in e->x again. */
static int run_blocks(struct kt_previews_encoder *e, const struct block *blocks, int h, int w,
                      int c)
{
    int rc = 0;
    for (int i = 0; i < BLOCKS && rc == 0; i++) {
        const struct block *b = &blocks[i];
        rc = norm(e, e->x, e->y, b->gamma1, h * w, c);
        rc = rc < 0 ? rc : conv(e, b->conv1, e->y, e->mid, h, w, NULL);
        rc = rc < 0 ? rc : norm(e, e->mid, e->mid, b->gamma2, h * w, c);
        rc = rc < 0 ? rc : conv(e, b->conv2, e->mid, e->y, h, w, e->x);
        void *was = e->x;
        e->x = e->y;
        e->y = was;
    }
    return rc;
}

static int run(struct kt_previews_encoder *e)
{
    struct kt_device *dev = e->dev;
    int h = e->height / UNSHUFFLE, w = e->width / UNSHUFFLE;
    size_t n = (size_t)h * (size_t)w * CHANNELS;
    int rc = kt_device_upload(dev, e->given, e->unshuffled, n * sizeof(float));
    rc = rc < 0 ? rc : dev->k.to_act(dev->q, e->in, e->given, n);
    rc = rc < 0 ? rc : conv(e, e->enter, e->in, e->x, h, w, NULL);
    rc = rc < 0 ? rc : run_blocks(e, e->fine, h, w, e->fine_c);
    rc = rc < 0 ? rc : conv(e, e->down, e->x, e->mid, h, w, NULL);
    void *was = e->x;
    e->x = e->mid;
    e->mid = was;
    h /= 2;
    w /= 2;
    rc = rc < 0 ? rc : run_blocks(e, e->coarse, h, w, e->coarse_c);
    rc = rc < 0 ? rc : norm(e, e->x, e->y, e->gamma, h * w, e->coarse_c);
    rc = rc < 0 ? rc : conv(e, e->leave, e->y, e->mid, h, w, NULL);
    return rc < 0 ? rc : dev->k.to_planar(dev->q, e->found, e->mid, 1, h, w, e->z);
}

int kt_previews_encode(struct kt_previews_encoder *e, const float *rgb, float *latent,
                       struct kt_error *err)
{
    size_t plane = (size_t)(e->width / 8) * (size_t)(e->height / 8);
    unshuffle(e, rgb);
    int rc = run(e);
    if (rc == 0) {
        rc = kt_device_download(e->dev, latent, e->found, plane * (size_t)e->z * sizeof(float));
    }
    if (rc < 0) {
        return kt_fail(err, rc, "encoder: %s", strerror(-rc));
    }
    for (size_t i = 0; i < plane * (size_t)e->z; i++) {
        latent[i] = latent[i] * e->scale[i / plane] + e->shift[i / plane];
    }
    return 0;
}
