/* What bf16 and fp8 cost a VAE's pixels, against fp32 on the same card (which the golden cases
 * prove), on a small picture; and how long 12 frames of the model's own size take.
 *
 * Usage: vae_decode MODEL [--preview] [--no-timing]. MODEL needs its config.json only: weights are
 * random. Exits 77 without a card.
 *
 * Bounds: bf16 rounds some 40 values one behind the other, each to 2e-3; fp8 rounds the inputs and
 * weights of all filters behind a norm to 3 bits (2.6e-2 each, so 3.7e-2 a filter, added to a
 * residual stream). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/model/config.h"
#include "engine/vae/vae.h"
#include "tests/cuda/distance.h"

enum { LATENTS = 4, TIMED = 12, SMALL_H = 12, SMALL_W = 20, PARTS = 3, FRAMES_MAX = 4 };

static const struct part {
    const char *name;
    enum kt_precision precision;
    double bound;
} PART[PARTS] = {{"fp32", KT_PRECISION_FP32, 0},
                 {"bf16", KT_PRECISION_BF16, 2e-2},
                 {"fp8", KT_PRECISION_FP8, 1.5e-1}};

struct stream {
    struct kt_device *dev;
    struct kt_safetensors *weights;
    struct kt_vae *vae;
    struct kt_vae_info info;
    float *latent, *rgb; /* device */
    size_t latent_floats, frame_floats;
};

static void close_stream(struct stream *s)
{
    kt_vae_close(&s->vae);
    kt_safetensors_close(&s->weights);
    if (s->dev) {
        kt_device_free(s->dev, s->latent);
        kt_device_free(s->dev, s->rgb);
    }
    kt_device_close(&s->dev);
}

static int open_stream(struct stream *s, const struct kt_vae_config *c, enum kt_precision precision,
                       int h, int w, struct kt_error *err)
{
    memset(s, 0, sizeof(*s));
    struct kt_device_params dp = {.kind = "cuda", .precision = precision};
    int rc = kt_device_open(&s->dev, &dp, err);
    if (rc == 0) {
        rc = kt_safetensors_open_random(&s->weights, err);
    }
    if (rc == 0) {
        struct kt_vae_params p = {
            .config = c, .weights = s->weights, .latent_h = h, .latent_w = w, .tails_max = 3};
        rc = kt_vae_open(&s->vae, s->dev, &p, err);
    }
    if (rc < 0) {
        return rc;
    }
    kt_vae_get_info(s->vae, &s->info);
    s->latent_floats = (size_t)c->z_dim * (size_t)h * (size_t)w;
    s->frame_floats = 3 * (size_t)s->info.height * (size_t)s->info.width;
    s->latent = kt_device_alloc(s->dev, s->latent_floats * sizeof(float), "test latent");
    s->rgb = kt_device_alloc(s->dev, FRAMES_MAX * s->frame_floats * sizeof(float), "test frames");
    return s->latent && s->rgb ? 0 : kt_fail(err, -ENOMEM, "out of memory");
}

/* Decodes latent `number`; the frames go to `out` on the host, where given. Returns their count. */
static int decode(struct stream *s, struct kt_vae_tail **tail, int number, float *out,
                  struct kt_error *err)
{
    struct kt_vae_tail *next = NULL;
    int frames = 0;
    int rc = s->dev->k.noise(s->dev->q, s->latent, (int)s->latent_floats, 5, (uint64_t)number);
    if (rc == 0) {
        rc = kt_vae_decode(s->vae, *tail, s->latent, s->rgb, &frames, &next, err);
    }
    if (rc == 0) {
        kt_vae_tail_unref(tail);
        *tail = next;
    }
    if (rc == 0 && out) {
        rc = kt_device_download(s->dev, out, s->rgb, (size_t)frames * s->frame_floats * 4);
    }
    return rc < 0 ? rc : frames;
}

static int pixels_of(const struct kt_vae_config *c, enum kt_precision precision, float **out,
                     size_t *n, struct kt_error *err)
{
    struct stream s;
    struct kt_vae_tail *tail = NULL;
    int rc = open_stream(&s, c, precision, SMALL_H, SMALL_W, err);
    *n = 0;
    if (rc == 0) {
        *out = malloc(LATENTS * FRAMES_MAX * s.frame_floats * sizeof(float));
        rc = *out ? 0 : -ENOMEM;
    }
    for (int i = 0; i < LATENTS && rc >= 0; i++) {
        rc = decode(&s, &tail, i, *out + *n, err);
        *n += rc > 0 ? (size_t)rc * s.frame_floats : 0;
    }
    kt_vae_tail_unref(&tail);
    close_stream(&s);
    return rc < 0 ? rc : 0;
}

static int compare_median(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median of three latents' decoding, in ms. */
static int time_three(const struct kt_vae_config *c, enum kt_precision precision, int h, int w,
                      struct kt_error *err)
{
    struct stream s;
    struct kt_vae_tail *tail = NULL;
    double ms[TIMED];
    int rc = open_stream(&s, c, precision, h, w, err);
    for (int i = 0; i < 3 && rc >= 0; i++) {
        rc = decode(&s, &tail, i, NULL, err);
    }
    struct kt_queue_stats before = {0}, after = {0};
    kt_device_queue_stats(s.dev, &before);
    for (int k = 0; k < TIMED && rc >= 0; k++) {
        s.dev->k.queue_sync(s.dev->q);
        int64_t start = kt_now_ns();
        for (int i = 0; i < 3 && rc >= 0; i++) {
            rc = decode(&s, &tail, 3 * k + i, NULL, err);
        }
        s.dev->k.queue_sync(s.dev->q);
        ms[k] = kt_ms_since(start);
    }
    if (rc >= 0) {
        kt_device_queue_stats(s.dev, &after);
        qsort(ms, TIMED, sizeof(ms[0]), compare_median);
        printf("%s  %dx%d: 12 frames in %.2f ms (best %.2f), %.0f launches, tail %.1f MB\n",
               kt_precision_name(precision), s.info.width, s.info.height, ms[TIMED / 2], ms[0],
               (double)(after.launches - before.launches) / TIMED,
               (double)s.info.tail_bytes * 1e-6);
    }
    kt_vae_tail_unref(&tail);
    close_stream(&s);
    return rc < 0 ? rc : 0;
}

static int check_pixels(const struct kt_vae_config *c, struct kt_error *err)
{
    float *pixels[PARTS] = {NULL};
    size_t n[PARTS] = {0};
    int rc = 0, failed = 0;
    for (int i = 0; i < PARTS && rc == 0; i++) {
        rc = pixels_of(c, PART[i].precision, &pixels[i], &n[i], err);
        if (rc == 0 && i > 0) {
            double error = relative_l2(pixels[0], pixels[i], n[0]);
            int ok = n[i] == n[0] && error <= PART[i].bound;
            failed += !ok;
            printf("%s  pixels off by %.2e (bound %.1e) %s\n", PART[i].name, error, PART[i].bound,
                   ok ? "ok" : "FAIL");
        }
    }
    for (int i = 0; i < PARTS; i++) {
        free(pixels[i]);
    }
    return rc < 0 ? rc : failed;
}

int main(int argc, char **argv)
{
    struct kt_model_config *config = calloc(1, sizeof(*config));
    struct kt_error err = {0};
    int preview = 0, timing = 1;
    const char *model = NULL;
    for (int i = 1; i < argc; i++) {
        preview |= strcmp(argv[i], "--preview") == 0;
        timing &= strcmp(argv[i], "--no-timing") != 0;
        model = argv[i][0] == '-' ? model : argv[i];
    }
    if (!model || !config) {
        fprintf(stderr, "usage: vae_decode MODEL [--preview] [--no-timing]\n");
        return 2;
    }
    int rc = kt_model_config_load(config, model, &err), failed = 0;
    const struct kt_vae_config *c = preview ? &config->preview_vae : &config->vae;
    if (rc == 0) {
        rc = check_pixels(c, &err);
        failed = rc > 0;
    }
    for (int i = 1; i < PARTS && rc >= 0 && timing; i++) {
        rc = time_three(c, PART[i].precision, config->dit.latent_h, config->dit.latent_w, &err);
    }
    if (rc < 0) {
        printf("%s: %s\n", rc == -ENODEV || rc == -ENOTSUP ? "skipped" : "FAIL", err.text);
    }
    free(config);
    return rc == -ENODEV || rc == -ENOTSUP ? 77 : rc < 0 || failed;
}
