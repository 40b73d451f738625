/* Encoding is a whole stream in one call: first one frame, then one latent's worth of frames at a
 * time, with the causal state going back and forth between two private slots of the same layout
 * that tails have. */
#include "engine/base/assert.h"
#include "engine/vae/decoder.h"
#include "engine/vae/wan_blocks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MIDDLE_STAGES = 3 };

struct kt_wan_encoder {
    struct kt_device *dev;
    struct kt_scratch scratch;
    int z, latent_h, latent_w, frames_per_latent;
    struct kt_wan_causal conv1, head;
    struct kt_wan_stage *stages; /* the levels, then middle */
    int num_stages;
    struct kt_linear *mean; /* conv1 of the checkpoint, its mean half, normalised */
    char *state[2];
};

static int count_stages(const struct kt_vae_config *c)
{
    return MIDDLE_STAGES + c->levels * c->num_res_blocks + c->levels - 1;
}

static int add_stage(struct kt_wan_encoder *e, struct kt_vae_build *b, const char *name,
                     struct kt_wan_stage stage, struct kt_wan_shape *s)
{
    e->stages[e->num_stages] = stage;
    return kt_wan_stage_build(b, &e->stages[e->num_stages++], name, s);
}

static int build_levels(struct kt_wan_encoder *e, struct kt_vae_build *b,
                        const struct kt_vae_config *c, struct kt_wan_shape *s)
{
    char name[64];
    int index = 0;
    for (int level = 0; level < c->levels; level++) {
        int width = c->dim * c->dim_mult[level];
        for (int i = 0; i < c->num_res_blocks; i++) {
            struct kt_wan_stage residual = {.kind = KT_WAN_RESIDUAL, .c_out = width};
            snprintf(name, sizeof(name), "encoder.downsamples.%d", index++);
            int rc = add_stage(e, b, name, residual, s);
            if (rc < 0) {
                return rc;
            }
        }
        if (level == c->levels - 1) {
            break;
        }
        struct kt_wan_stage down = {
            .kind = KT_WAN_DOWN, .c_out = s->c, .time = c->temporal_downsample[level]};
        snprintf(name, sizeof(name), "encoder.downsamples.%d", index++);
        int rc = add_stage(e, b, name, down, s);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int build_middle(struct kt_wan_encoder *e, struct kt_vae_build *b, struct kt_wan_shape *s)
{
    struct kt_wan_stage residual = {.kind = KT_WAN_RESIDUAL, .c_out = s->c};
    struct kt_wan_stage attention = {.kind = KT_WAN_ATTENTION, .c_out = s->c};
    int rc = add_stage(e, b, "encoder.middle.0", residual, s);
    if (rc == 0) {
        rc = add_stage(e, b, "encoder.middle.1", attention, s);
    }
    return rc < 0 ? rc : add_stage(e, b, "encoder.middle.2", residual, s);
}

/* The checkpoint's last filter gives mean and log-variance; only the mean is a latent, and its
 * normalisation (m - mean) / std is folded into the filter's rows. */
static int build_mean(struct kt_wan_encoder *e, struct kt_vae_build *b,
                      const struct kt_vae_config *c)
{
    int64_t two_z = 2 * (int64_t)c->z_dim, shape[5] = {two_z, two_z, 1, 1, 1};
    float *weight = NULL, *bias = NULL;
    int rc = kt_safetensors_load_f32(b->weights, &weight, shape, 5, b->err, "conv1.weight");
    if (rc == 0) {
        rc = kt_safetensors_load_f32(b->weights, &bias, &two_z, 1, b->err, "conv1.bias");
    }
    if (rc != 0) {
        goto out;
    }
    for (int i = 0; i < c->z_dim; i++) {
        for (int64_t j = 0; j < two_z; j++) {
            weight[i * two_z + j] /= c->std[i];
        }
        bias[i] = (bias[i] - c->mean[i]) / c->std[i];
    }
    struct kt_linear_desc d = {
        .n = c->z_dim, .k = (int)two_z, .dtype = KT_F32, .weight = weight, .bias = bias};
    rc = e->dev->k.linear_create(&e->mean, e->dev->q, &d);
    if (rc < 0) {
        kt_fail(b->err, rc, "vae: preparing conv1: %s", strerror(-rc));
    }
out:
    free(weight);
    free(bias);
    return rc;
}

static int alloc_state(struct kt_wan_encoder *e, struct kt_vae_build *b)
{
    for (int i = 0; i < 2; i++) {
        e->state[i] = kt_device_alloc(e->dev, b->tail.bytes, "vae encoder state");
        if (!e->state[i]) {
            return kt_fail(b->err, -ENOMEM, "vae: no memory for the encoder's state");
        }
    }
    return kt_scratch_alloc(b->scratch, e->dev, "vae encoder scratch", b->err);
}

static int build(struct kt_wan_encoder *e, struct kt_vae_build *b, const struct kt_vae_config *c)
{
    struct kt_wan_shape s = {3, e->latent_h << (c->levels - 1), e->latent_w << (c->levels - 1),
                             e->frames_per_latent};
    kt_scratch_need(b->scratch, KT_SCRATCH_X,
                    (size_t)s.frames * (size_t)s.h * (size_t)s.w * (size_t)c->dim *
                        e->dev->act_size);
    int rc = kt_wan_causal_build(b, &e->conv1, "encoder.conv1", NULL, &s, c->dim);
    s.c = c->dim;
    if (rc == 0) {
        rc = build_levels(e, b, c, &s);
    }
    if (rc == 0) {
        rc = build_middle(e, b, &s);
    }
    if (rc == 0) {
        size_t out = (size_t)s.h * (size_t)s.w * 2 * (size_t)c->z_dim * e->dev->act_size;
        kt_scratch_need(b->scratch, KT_SCRATCH_Y, out);
        kt_scratch_need(b->scratch, KT_SCRATCH_MID, out);
        rc = kt_wan_causal_build(b, &e->head, "encoder.head.2", "encoder.head.0", &s, 2 * c->z_dim);
    }
    if (rc == 0) {
        rc = build_mean(e, b, c);
    }
    return rc < 0 ? rc : alloc_state(e, b);
}

int kt_wan_encoder_open(struct kt_wan_encoder **out, struct kt_device *dev,
                        const struct kt_vae_params *p, struct kt_error *err)
{
    const struct kt_vae_config *c = p->config;
    struct kt_wan_encoder *e = calloc(1, sizeof(*e));
    if (!e) {
        return kt_fail(err, -ENOMEM, "vae: out of memory");
    }
    *e = (struct kt_wan_encoder){.dev = dev,
                                 .z = c->z_dim,
                                 .latent_h = p->latent_h,
                                 .latent_w = p->latent_w,
                                 .frames_per_latent = 1};
    for (int i = 0; i < c->levels - 1; i++) {
        e->frames_per_latent *= c->temporal_downsample[i] ? 2 : 1;
    }
    e->stages = calloc((size_t)count_stages(c), sizeof(*e->stages));
    struct kt_vae_build b = {.dev = dev, .weights = p->weights, .scratch = &e->scratch, .err = err};
    int rc = e->stages ? build(e, &b, c) : kt_fail(err, -ENOMEM, "vae: out of memory");
    if (rc < 0) {
        kt_wan_encoder_close(&e);
        return rc;
    }
    *out = e;
    return 0;
}

void kt_wan_encoder_close(struct kt_wan_encoder **enc)
{
    if (!enc || !*enc) {
        return;
    }
    struct kt_wan_encoder *e = *enc;
    for (int i = 0; i < e->num_stages; i++) {
        kt_wan_stage_free(&e->stages[i], e->dev);
    }
    free(e->stages);
    kt_wan_causal_free(&e->conv1, e->dev);
    kt_wan_causal_free(&e->head, e->dev);
    e->dev->k.linear_destroy(&e->mean);
    kt_device_free(e->dev, e->state[0]);
    kt_device_free(e->dev, e->state[1]);
    kt_scratch_free(&e->scratch, e->dev);
    free(e);
    *enc = NULL;
}

static int run_input(struct kt_wan_encoder *e, const struct kt_wan_call *call, const float *rgb)
{
    struct kt_device *dev = e->dev;
    struct kt_wan_feed feed;
    int h = e->conv1.h, w = e->conv1.w;
    int rc = kt_wan_causal_open(call, &e->conv1, &feed);
    if (rc == 0 && feed.n_head > 0) {
        rc = dev->k.to_channels_last(dev->q, feed.head, rgb, feed.n_head, 3, h, w, NULL, NULL);
    }
    if (rc == 0) {
        const float *last = rgb + (size_t)feed.n_head * 3 * (size_t)h * (size_t)w;
        rc = dev->k.to_channels_last(dev->q, feed.tail, last, feed.n_tail, 3, h, w, NULL, NULL);
    }
    return rc < 0 ? rc
                  : kt_wan_causal_close(call, &e->conv1, &feed, e->scratch.at[KT_SCRATCH_X], NULL);
}

/* One latent from the frames at `rgb`. */
static int encode_latent(struct kt_wan_encoder *e, struct kt_wan_call *call, const float *rgb,
                         float *latent)
{
    struct kt_device *dev = e->dev;
    char **at = e->scratch.at;
    int rc = run_input(e, call, rgb);
    if (rc == 0) {
        rc = kt_wan_stages_run(call, e->stages, e->num_stages);
    }
    if (rc < 0) {
        return rc;
    }
    KT_ASSERT(call->frames == 1);
    rc = kt_wan_causal_run(call, &e->head, at[KT_SCRATCH_X], at[KT_SCRATCH_Y], NULL);
    if (rc == 0) {
        struct kt_linear_args a = {
            .x = at[KT_SCRATCH_Y], .y = at[KT_SCRATCH_MID], .m = e->latent_h * e->latent_w};
        rc = dev->k.linear(dev->q, e->mean, &a);
    }
    return rc < 0 ? rc
                  : dev->k.to_planar(dev->q, latent, at[KT_SCRATCH_MID], 1, e->latent_h,
                                     e->latent_w, e->z);
}

int kt_wan_encoder_run(struct kt_wan_encoder *e, const float *rgb, int frames, float *latents,
                       struct kt_error *err)
{
    if (frames < 1 || (frames - 1) % e->frames_per_latent != 0) {
        return kt_fail(err, -EINVAL, "vae: %d frames to encode, expected 1 + a multiple of %d",
                       frames, e->frames_per_latent);
    }
    size_t frame = 3 * (size_t)e->conv1.h * (size_t)e->conv1.w;
    size_t latent = (size_t)e->z * (size_t)e->latent_h * (size_t)e->latent_w;
    const char *past = NULL;
    for (int done = 0, i = 0; done < frames; i++) {
        struct kt_wan_call call = {.dev = e->dev,
                                   .scratch = &e->scratch,
                                   .past = past,
                                   .next = e->state[i % 2],
                                   .frames = past ? e->frames_per_latent : 1};
        const float *from = rgb + (size_t)done * frame;
        done += call.frames;
        int rc = encode_latent(e, &call, from, latents + (size_t)i * latent);
        if (rc < 0) {
            return kt_fail(err, rc, "vae: encoding latent %d: %s", i, strerror(-rc));
        }
        past = call.next;
    }
    return 0;
}
