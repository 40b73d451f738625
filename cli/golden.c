/* `kinetype golden DIR`: runs one golden case through the same engine calls as `serve` and compares
 * every output that the case lists. Prints each output's relative L2 error; fails past the bound.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "engine/engine.h"
#include "engine/probe.h"
#include "engine/sched/timestep.h"
#include "engine/text/text_encoder.h"
#include "engine/vae/vae.h"
#include "engine/weights/safetensors.h"

/* fp32 only; what bf16 may be off by is measured elsewhere, and given here by --bound. */
#define BOUND 2e-5

struct golden {
    const char *dir;
    char kind[32];
    struct kt_model_config config;
    struct kt_safetensors *io;
    struct kt_device_params device;
    double bound;
    int compared, failed;
    struct kt_error err;
};

static float *read_tensor(struct golden *g, const char *name, const struct kt_tensor **out)
{
    const struct kt_tensor *t = kt_safetensors_find(g->io, name);
    if (!t || t->dtype == KT_I32) {
        kt_fail(&g->err, -ENOENT, "%s: expected a float tensor '%s'", kt_safetensors_path(g->io),
                name);
        return NULL;
    }
    float *p = malloc(t->bytes * 2 + 4);
    if (p) {
        kt_tensor_to_f32(t, p);
        *out = t;
    } else {
        kt_fail(&g->err, -ENOMEM, "%s: out of memory", name);
    }
    return p;
}

/* Compares `count` values with the first `count` of tensor `name`; a case that does not list it is
 * not an error. NaN never passes. */
static int compare(struct golden *g, const char *name, const float *found, size_t count)
{
    const struct kt_tensor *t;
    double diff = 0, norm = 0;
    if (!kt_safetensors_find(g->io, name)) {
        return 0;
    }
    float *want = read_tensor(g, name, &t);
    if (!want) {
        return -EBADMSG;
    }
    if (t->count != count) {
        free(want);
        return kt_fail(&g->err, -EBADMSG, "%s: the engine gave %zu values, the case lists %zu",
                       name, count, t->count);
    }
    for (size_t i = 0; i < count; i++) {
        double d = (double)found[i] - want[i];
        diff += d * d;
        norm += (double)want[i] * want[i];
    }
    free(want);
    double error = norm > 0 ? sqrt(diff / norm) : sqrt(diff);
    int ok = error <= g->bound;
    printf("%-24s relative L2 %.3e  %s\n", name, error, ok ? "ok" : "FAILED");
    g->compared++;
    g->failed += !ok;
    return 0;
}

/* ---- causal_wan_rollout ---- */

static int check_flow(struct golden *g, struct kt_timeline *t, int block, int step, float *scratch,
                      size_t n)
{
    char name[48];
    snprintf(name, sizeof(name), "flow.block%d.step%d", block, step);
    if (!kt_safetensors_find(g->io, name)) {
        return 0;
    }
    int rc = kt_timeline_flow(t, scratch);
    return rc < 0 ? rc : compare(g, name, scratch, n);
}

static int rollout_block(struct golden *g, struct kt_timeline *t, int block, const float *noise,
                         const float *renoise, float *out)
{
    const struct kt_sampler_config *s = &g->config.sampler;
    const struct kt_dit_config *c = &g->config.dit;
    size_t latent = (size_t)c->in_dim * (size_t)(c->latent_h * c->latent_w);
    size_t n = latent * (size_t)s->num_frame_per_block;
    float *flow = malloc(n * sizeof(float));
    int rc = flow ? kt_timeline_block_begin(t, 0, &g->err) : -ENOMEM;
    if (rc == 0) {
        rc = kt_timeline_block_set_noise(t, noise + n * (size_t)block,
                                         renoise + n * (size_t)(s->steps - 1) * (size_t)block);
    }
    for (int step = 0; step < s->steps && rc >= 0; step++) {
        rc = kt_timeline_block_step(t, &g->err);
        if (rc >= 0) {
            int checked = check_flow(g, t, block, step, flow, n);
            rc = checked < 0 ? checked : rc;
        }
    }
    if (rc == 0) {
        rc = kt_timeline_block_commit(t, &g->err);
    }
    int64_t first = kt_timeline_latents(t) - s->num_frame_per_block;
    for (int f = 0; f < s->num_frame_per_block && rc == 0; f++) {
        rc = kt_timeline_latent(t, first + f, out + latent * (size_t)(first + f));
    }
    free(flow);
    return rc;
}

static int switch_to(struct golden *g, struct kt_engine *e, struct kt_timeline **t, int index)
{
    char name[32];
    const struct kt_tensor *rows;
    struct kt_context *context = NULL;
    snprintf(name, sizeof(name), "context.%d", index);
    float *host = read_tensor(g, name, &rows);
    int rc = host ? kt_context_from_rows(e, &context, host, (int)rows->shape[0], &g->err) : -ENOENT;
    free(host);
    if (rc < 0) {
        return rc;
    }
    rc = *t ? kt_timeline_switch(*t, context, KT_TRANSITION_MODEL, 0, &g->err)
            : kt_timeline_create(e, t, 0, context, &g->err);
    kt_context_unref(&context);
    return rc;
}

static int check_cache(struct golden *g, struct kt_timeline *t)
{
    const struct kt_tensor *want_k = kt_safetensors_find(g->io, "kv.k.layer0");
    if (!want_k) {
        return 0;
    }
    /* The case lists the whole buffer; slots beyond the stream's latents are zero there. */
    const struct kt_dit_config *c = &g->config.dit;
    size_t tokens = (size_t)(c->latent_h / c->patch_h) * (size_t)(c->latent_w / c->patch_w);
    size_t slots = (size_t)kt_timeline_latents(t) + 1, n = slots * tokens * (size_t)c->dim;
    n = n > want_k->count ? n : want_k->count;
    float *k = calloc(n, sizeof(float)), *v = calloc(n, sizeof(float));
    int rc = k && v ? kt_timeline_kv(t, 0, k, v) : -ENOMEM;
    if (rc >= 0) {
        rc = compare(g, "kv.k.layer0", k, want_k->count);
    }
    if (rc == 0) {
        rc = compare(g, "kv.v.layer0", v, want_k->count);
    }
    free(k);
    free(v);
    return rc;
}

static int check_timesteps(struct golden *g)
{
    struct kt_schedule s;
    kt_schedule_init(&s, &g->config.sampler);
    return compare(g, "timesteps", s.timestep, (size_t)s.steps);
}

static int rollout_blocks(struct golden *g, struct kt_engine *e, const float *noise,
                          const float *renoise, float *out, int frames)
{
    struct kt_timeline *t = NULL;
    int next = 0, block = g->config.sampler.num_frame_per_block;
    int rc = switch_to(g, e, &t, 0);
    for (int b = 0; b < frames / block && rc == 0; b++) {
        /* One switch per boundary: a second that is due already waits for the next block. */
        if (rc == 0 && next < g->config.golden.switches &&
            g->config.golden.switch_frames[next] <= b * block) {
            rc = switch_to(g, e, &t, ++next);
        }
        if (rc == 0) {
            rc = rollout_block(g, t, b, noise, renoise, out);
        }
    }
    if (rc == 0) {
        rc = check_cache(g, t);
    }
    kt_timeline_destroy(&t);
    return rc;
}

static int run_rollout(struct golden *g)
{
    struct kt_engine *e = NULL;
    const struct kt_tensor *noise_t, *renoise_t = NULL;
    float *noise = read_tensor(g, "noise", &noise_t), *renoise = NULL, *out = NULL;
    int rc = noise ? check_timesteps(g) : -ENOENT;
    if (rc == 0 && g->config.sampler.steps > 1) {
        renoise = read_tensor(g, "renoise", &renoise_t);
        rc = renoise ? 0 : -ENOENT;
    }
    if (rc == 0) {
        struct kt_engine_params p = {.model_dir = g->dir,
                                     .config = &g->config,
                                     .device = g->device,
                                     .timelines_max = 1,
                                     .unbounded_frames_max = (int)noise_t->shape[0]};
        out = malloc(noise_t->bytes);
        rc = out ? kt_engine_open(&e, &p, &g->err) : -ENOMEM;
    }
    if (rc == 0) {
        rc = rollout_blocks(g, e, noise, renoise, out, (int)noise_t->shape[0]);
    }
    if (rc == 0) {
        rc = compare(g, "latents", out, noise_t->count);
    }
    kt_engine_close(&e);
    free(noise);
    free(renoise);
    free(out);
    return rc;
}

/* The device and the case's weights, for the cases of one part. On error what was opened stays the
 * caller's to close. */
static int open_weights(struct golden *g, struct kt_device **dev, struct kt_safetensors **st)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/weights.safetensors", g->dir);
    int rc = kt_device_open(dev, &g->device, &g->err);
    return rc < 0 ? rc : kt_safetensors_open(st, path, &g->err);
}

/* ---- umt5_encoder ---- */

static int encode_case(struct golden *g, struct kt_device *dev, struct kt_text_encoder *enc,
                       int index)
{
    char name[32];
    snprintf(name, sizeof(name), "ids.%d", index);
    const struct kt_tensor *ids = kt_safetensors_find(g->io, name);
    if (!ids) {
        return -ENOENT;
    }
    size_t n = ids->count * (size_t)g->config.text.dim;
    int32_t *host_ids = malloc(ids->bytes);
    float *host = malloc(n * sizeof(float));
    void *out = kt_device_alloc(dev, n * dev->act_size, "golden context");
    int rc = host_ids && host && out ? 0 : -ENOMEM;
    if (rc == 0) {
        memcpy(host_ids, ids->data, ids->bytes);
        rc = kt_text_encoder_run(enc, host_ids, (int)ids->count, out, &g->err);
    }
    if (rc == 0) {
        rc = kt_device_download_act(dev, host, out, n);
    }
    snprintf(name, sizeof(name), "context.%d", index);
    if (rc == 0) {
        rc = compare(g, name, host, n);
    }
    kt_device_free(dev, out);
    free(host_ids);
    free(host);
    return rc;
}

static int run_text(struct golden *g)
{
    struct kt_device *dev = NULL;
    struct kt_text_encoder *enc = NULL;
    struct kt_safetensors *st = NULL;
    int rc = open_weights(g, &dev, &st);
    if (rc == 0) {
        rc = kt_text_encoder_open(&enc, dev, &g->config.text, st, &g->err);
    }
    for (int i = 0; rc == 0; i++) {
        rc = encode_case(g, dev, enc, i);
        if (rc == -ENOENT && i > 0) {
            rc = 0;
            break;
        }
    }
    kt_text_encoder_close(&enc);
    kt_safetensors_close(&st);
    kt_device_close(&dev);
    return rc;
}

/* ---- wan_vae, taehv_decoder ---- */

static int decode_all(struct golden *g, struct kt_device *dev, struct kt_vae *vae,
                      const float *latents, int count, size_t latent_floats, float *pixels,
                      int *frames)
{
    struct kt_vae_info info;
    struct kt_vae_tail *tail = NULL, *next = NULL;
    kt_vae_get_info(vae, &info);
    size_t frame = 3 * (size_t)info.width * (size_t)info.height;
    float *latent = kt_device_alloc(dev, latent_floats * sizeof(float), "golden latent");
    float *rgb =
        kt_device_alloc(dev, frame * (size_t)info.frames_per_latent * sizeof(float), "golden rgb");
    int rc = latent && rgb ? 0 : -ENOMEM;
    *frames = 0;
    for (int i = 0; i < count && rc == 0; i++) {
        int made = 0;
        kt_device_upload(dev, latent, latents + latent_floats * (size_t)i,
                         latent_floats * sizeof(float));
        rc = kt_vae_decode_untrimmed(vae, tail, latent, rgb, &made, &next, &g->err);
        if (rc == 0) {
            rc = kt_device_download(dev, pixels + frame * (size_t)*frames, rgb,
                                    frame * (size_t)made * sizeof(float));
            *frames += made;
            kt_vae_tail_unref(&tail);
            tail = next;
        }
    }
    kt_vae_tail_unref(&tail);
    kt_device_free(dev, latent);
    kt_device_free(dev, rgb);
    return rc;
}

static void clamp_all(float *x, size_t n, float low, float high)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = x[i] < low ? low : x[i] > high ? high : x[i];
    }
}

static int check_decode(struct golden *g, struct kt_device *dev, struct kt_vae *vae)
{
    struct kt_vae_info info;
    const struct kt_tensor *t;
    int frames = 0, tiny = g->config.vae.kind == KT_VAE_TAEHV;
    float *latents = read_tensor(g, "latents", &t);
    if (!latents) {
        return -ENOENT;
    }
    kt_vae_get_info(vae, &info);
    size_t frame = 3 * (size_t)info.width * (size_t)info.height;
    size_t max = frame * (size_t)info.frames_per_latent * (size_t)t->shape[0];
    float *pixels = malloc(max * sizeof(float));
    int rc = pixels ? decode_all(g, dev, vae, latents, (int)t->shape[0],
                                 t->count / (size_t)t->shape[0], pixels, &frames)
                    : -ENOMEM;
    if (rc == 0) {
        rc = compare(g, "pixels", pixels, frame * (size_t)frames);
    }
    if (rc == 0) {
        size_t skip = tiny ? frame * (size_t)g->config.vae.frames_to_trim : 0;
        clamp_all(pixels, frame * (size_t)frames, tiny ? 0.0f : -1.0f, 1.0f);
        rc = compare(g, "pixels_clamped", pixels + skip, frame * (size_t)frames - skip);
    }
    free(latents);
    free(pixels);
    return rc;
}

static int check_encode(struct golden *g, struct kt_device *dev, struct kt_vae *vae)
{
    const struct kt_tensor *in, *want = kt_safetensors_find(g->io, "encode_out");
    if (!want || !kt_safetensors_find(g->io, "encode_in")) {
        return 0;
    }
    float *host = read_tensor(g, "encode_in", &in);
    float *rgb = host ? kt_device_alloc_f32(dev, host, in->count, "golden rgb") : NULL;
    float *out = kt_device_alloc(dev, want->count * sizeof(float), "golden latents");
    float *found = malloc(want->count * sizeof(float));
    int rc =
        rgb && out && found ? kt_vae_encode(vae, rgb, (int)in->shape[0], out, &g->err) : -ENOMEM;
    if (rc == 0) {
        rc = kt_device_download(dev, found, out, want->count * sizeof(float));
    }
    if (rc == 0) {
        rc = compare(g, "encode_out", found, want->count);
    }
    free(found);
    kt_device_free(dev, rgb);
    kt_device_free(dev, out);
    free(host);
    return rc;
}

static int run_vae(struct golden *g)
{
    struct kt_device *dev = NULL;
    struct kt_vae *vae = NULL;
    struct kt_safetensors *st = NULL;
    int rc = open_weights(g, &dev, &st);
    if (rc == 0) {
        struct kt_vae_params p = {.config = &g->config.vae,
                                  .weights = st,
                                  .latent_h = g->config.dit.latent_h,
                                  .latent_w = g->config.dit.latent_w,
                                  .tails_max = 3,
                                  .with_encoder = kt_safetensors_find(g->io, "encode_in") != NULL};
        rc = kt_vae_open(&vae, dev, &p, &g->err);
    }
    if (rc == 0) {
        rc = check_decode(g, dev, vae);
    }
    if (rc == 0) {
        rc = check_encode(g, dev, vae);
    }
    kt_vae_close(&vae);
    kt_safetensors_close(&st);
    kt_device_close(&dev);
    return rc;
}

/* ---- the command ---- */

static int run_case(struct golden *g)
{
    char path[4096];
    int rc = kt_model_config_load_golden(&g->config, g->kind, g->dir, &g->err);
    if (rc < 0) {
        return rc;
    }
    snprintf(path, sizeof(path), "%s/io.safetensors", g->dir);
    rc = kt_safetensors_open(&g->io, path, &g->err);
    if (rc < 0) {
        return rc;
    }
    if (strcmp(g->kind, "causal_wan_rollout") == 0) {
        return run_rollout(g);
    }
    if (strcmp(g->kind, "umt5_encoder") == 0) {
        return run_text(g);
    }
    return run_vae(g);
}

int kt_command_golden(int argc, char **argv)
{
    struct golden g = {.bound = BOUND, .device = {.precision = KT_PRECISION_FP32}};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--reference") == 0) {
            g.device.cpu_mask_set = 1;
        } else if (strcmp(argv[i], "--device") == 0 && i + 1 < argc) {
            g.device.kind = argv[++i];
        } else if (strcmp(argv[i], "--precision") == 0 && i + 1 < argc) {
            if (kt_precision_parse(&g.device.precision, argv[++i], &g.err) < 0) {
                fprintf(stderr, "kinetype golden: %s\n", g.err.text);
                return 2;
            }
        } else if (strcmp(argv[i], "--bound") == 0 && i + 1 < argc) {
            g.bound = strtod(argv[++i], NULL);
        } else if (argv[i][0] != '-' && !g.dir) {
            g.dir = argv[i];
        } else {
            g.dir = NULL;
            break;
        }
    }
    if (!g.dir) {
        fprintf(stderr, "usage: kinetype golden [--reference] [--device cpu|cuda|cuda:N] "
                        "[--precision WORD] [--bound X] DIR\n");
        return 2;
    }
    int rc = run_case(&g);
    kt_safetensors_close(&g.io);
    kt_model_config_free(&g.config);
    if (rc < 0) {
        fprintf(stderr, "kinetype golden: %s\n", g.err.text[0] ? g.err.text : strerror(-rc));
        return 1;
    }
    if (g.compared == 0) {
        fprintf(stderr, "kinetype golden: %s lists no output to compare\n", g.dir);
        return 1;
    }
    return g.failed ? 1 : 0;
}
