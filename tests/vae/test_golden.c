/* The golden VAE cases: every listed output within a relative L2 error of 2e-5. Arguments: case
 * directories; those that are not there are skipped, and if none is, so is the test (77).
 * `--mask N` first: the levels of the CPU table to use (0: the reference). */
#include "engine/model/config.h"
#include "tests/vae/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const double bound = 2e-5;

struct golden {
    const char *dir;
    struct kt_device_params device;
    struct kt_model_config config;
    struct kt_safetensors *weights, *io;
    struct kt_device *dev;
    struct kt_vae *vae;
    struct kt_vae_info info;
    int latents, failed;
    const struct kt_tensor *latent;
    struct kt_error err;
};

static int report(struct golden *g, const char *what, const float *got, const char *tensor,
                  size_t count)
{
    const struct kt_tensor *want = kt_safetensors_find(g->io, tensor);
    if (!want || want->count != count) {
        printf("%s: %s: %zu values, but tensor %s has %zu\n", g->dir, what, count, tensor,
               want ? want->count : 0);
        g->failed = 1;
        return -1;
    }
    float *w = malloc(count * sizeof(float));
    kt_tensor_to_f32(want, w);
    double e = fixture_rel_l2(got, w, count);
    free(w);
    printf("%s: %-16s relative L2 %.3g (bound %.0e)\n", g->dir, what, e, bound);
    if (!(e <= bound)) {
        g->failed = 1;
    }
    return 0;
}

static int open_case(struct golden *g)
{
    char path[1024], kind[32];
    snprintf(path, sizeof(path), "%s/weights.safetensors", g->dir);
    int rc = kt_model_config_load_golden(&g->config, kind, g->dir, &g->err);
    if (rc == 0) {
        rc = kt_safetensors_open(&g->weights, path, &g->err);
    }
    snprintf(path, sizeof(path), "%s/io.safetensors", g->dir);
    if (rc == 0) {
        rc = kt_safetensors_open(&g->io, path, &g->err);
    }
    if (rc == 0) {
        rc = kt_device_open(&g->dev, &g->device, &g->err);
    }
    if (rc < 0) {
        return rc;
    }
    g->latent = kt_safetensors_find(g->io, "latents");
    if (!g->latent || g->latent->rank != 4) {
        return kt_fail(&g->err, -1, "no tensor latents [t, z, h, w]");
    }
    g->latents = (int)g->latent->shape[0];
    struct kt_vae_params p = {.config = &g->config.vae,
                              .weights = g->weights,
                              .latent_h = (int)g->latent->shape[2],
                              .latent_w = (int)g->latent->shape[3],
                              .tails_max = 2,
                              .with_encoder = kt_safetensors_find(g->io, "encode_in") != NULL};
    rc = kt_vae_open(&g->vae, g->dev, &p, &g->err);
    if (rc == 0) {
        kt_vae_get_info(g->vae, &g->info);
    }
    return rc;
}

/* All latents one call each; returns the frames in `rgb`. */
static int decode_all(struct golden *g, float *rgb, int untrimmed)
{
    size_t frame = 3 * (size_t)g->info.width * (size_t)g->info.height;
    size_t z = g->latent->count / (size_t)g->latents;
    float *latents = malloc(g->latent->count * sizeof(float));
    struct kt_vae_tail *tail = NULL;
    int total = 0, rc = 0;
    kt_tensor_to_f32(g->latent, latents);
    for (int i = 0; rc == 0 && i < g->latents; i++) {
        struct kt_vae_tail *next = NULL;
        int n = 0;
        rc = (untrimmed ? kt_vae_decode_untrimmed : kt_vae_decode)(
            g->vae, tail, latents + (size_t)i * z, rgb + (size_t)total * frame, &n, &next, &g->err);
        total += n;
        kt_vae_tail_unref(&tail);
        tail = next;
    }
    kt_vae_tail_unref(&tail);
    free(latents);
    return rc < 0 ? rc : total;
}

static int check_decoder(struct golden *g)
{
    size_t frame = 3 * (size_t)g->info.width * (size_t)g->info.height;
    size_t most = (size_t)g->latents * (size_t)g->info.frames_per_latent * frame;
    float *rgb = malloc(most * sizeof(float));
    int n = decode_all(g, rgb, 1);
    if (n > 0) {
        report(g, "pixels", rgb, "pixels", (size_t)n * frame);
        n = decode_all(g, rgb, 0);
    }
    float low = g->config.vae.kind == KT_VAE_WAN ? -1.0f : 0.0f;
    for (size_t i = 0; n > 0 && i < (size_t)n * frame; i++) {
        rgb[i] = rgb[i] < low ? low : rgb[i] > 1.0f ? 1.0f : rgb[i];
    }
    if (n > 0) {
        report(g, "pixels_clamped", rgb, "pixels_clamped", (size_t)n * frame);
    }
    free(rgb);
    return n < 0 ? n : 0;
}

static int check_encoder(struct golden *g)
{
    const struct kt_tensor *in = kt_safetensors_find(g->io, "encode_in");
    const struct kt_tensor *out = kt_safetensors_find(g->io, "encode_out");
    if (!in || !out) {
        return 0;
    }
    float *rgb = malloc(in->bytes), *latents = malloc(out->bytes);
    kt_tensor_to_f32(in, rgb);
    int rc = kt_vae_encode(g->vae, rgb, (int)in->shape[0], latents, &g->err);
    if (rc == 0) {
        report(g, "encode_out", latents, "encode_out", out->count);
    }
    free(rgb);
    free(latents);
    return rc;
}

static int run_case(const char *dir, struct kt_device_params device)
{
    struct golden g = {.dir = dir, .device = device};
    int rc = open_case(&g);
    if (rc == 0) {
        rc = check_decoder(&g);
    }
    if (rc == 0) {
        rc = check_encoder(&g);
    }
    if (rc < 0) {
        printf("%s: %s\n", dir, g.err.text);
    }
    kt_vae_close(&g.vae);
    kt_device_close(&g.dev);
    kt_safetensors_close(&g.weights);
    kt_safetensors_close(&g.io);
    kt_model_config_free(&g.config);
    return rc < 0 || g.failed;
}

int main(int argc, char **argv)
{
    int ran = 0, failed = 0, first = 1;
    struct kt_device_params device = {0};
    if (argc > 2 && strcmp(argv[1], "--mask") == 0) {
        device.cpu_mask = (unsigned)atoi(argv[2]);
        device.cpu_mask_set = 1;
        first = 3;
    }
    for (int i = first; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) == 0) {
            ran++;
            failed += run_case(argv[i], device);
        }
    }
    if (ran == 0) {
        printf("no golden case found\n");
        return 77;
    }
    return failed ? 1 : 0;
}
