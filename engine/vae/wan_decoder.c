#include "engine/base/assert.h"
#include "engine/vae/decoder.h"
#include "engine/vae/wan_blocks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { MIDDLE_STAGES = 3 };

struct kt_wan_decoder {
    struct kt_device *dev;
    struct kt_scratch scratch;
    int z, latent_h, latent_w;
    float *mean, *std;       /* [f32] [z] */
    struct kt_linear *conv2; /* z -> z, before everything */
    struct kt_wan_causal conv1, head;
    struct kt_wan_stage *stages; /* middle, then the levels */
    int num_stages;
};

static int count_stages(const struct kt_vae_config *c)
{
    return MIDDLE_STAGES + c->levels * (c->num_res_blocks + 1) + c->levels - 1;
}

static int check_config(const struct kt_vae_config *c, struct kt_error *err)
{
    if (c->levels < 1 || c->levels > KT_VAE_LEVELS_MAX || c->dim < 1 || c->z_dim < 1 ||
        c->z_dim > KT_Z_DIM_MAX || c->num_res_blocks < 0) {
        return kt_fail(
            err, -EINVAL,
            "vae: levels %d, dim %d, z_dim %d, num_res_blocks %d: expected 1..%d levels, "
            "z_dim 1..%d and a positive dim",
            c->levels, c->dim, c->z_dim, c->num_res_blocks, KT_VAE_LEVELS_MAX, KT_Z_DIM_MAX);
    }
    for (int i = 0; i < c->levels; i++) {
        int width = c->dim * c->dim_mult[i];
        if (width < 1 || (i > 0 && width % 2 != 0)) {
            return kt_fail(
                err, -EINVAL,
                "vae: dim %d x dim_mult[%d] %d: expected a positive, even number of channels",
                c->dim, i, c->dim_mult[i]);
        }
    }
    return 0;
}

static int add_stage(struct kt_wan_decoder *d, struct kt_vae_build *b, const char *name,
                     struct kt_wan_stage stage, struct kt_wan_shape *s)
{
    d->stages[d->num_stages] = stage;
    return kt_wan_stage_build(b, &d->stages[d->num_stages++], name, s);
}

static int build_middle(struct kt_wan_decoder *d, struct kt_vae_build *b, struct kt_wan_shape *s)
{
    struct kt_wan_stage residual = {.kind = KT_WAN_RESIDUAL, .c_out = s->c};
    struct kt_wan_stage attention = {.kind = KT_WAN_ATTENTION, .c_out = s->c};
    int rc = add_stage(d, b, "decoder.middle.0", residual, s);
    if (rc == 0) {
        rc = add_stage(d, b, "decoder.middle.1", attention, s);
    }
    return rc < 0 ? rc : add_stage(d, b, "decoder.middle.2", residual, s);
}

/* The checkpoint numbers blocks and up-samplers of all levels in one row. Levels run from the last
 * dim_mult to the first; each up-sampler halves the channels, and the next level's first block
 * widens them again where its own width asks for it. */
static int build_levels(struct kt_wan_decoder *d, struct kt_vae_build *b,
                        const struct kt_vae_config *c, struct kt_wan_shape *s)
{
    char name[64];
    int index = 0;
    for (int level = c->levels - 1; level >= 0; level--) {
        int width = c->dim * c->dim_mult[level];
        for (int i = 0; i < c->num_res_blocks + 1; i++) {
            struct kt_wan_stage residual = {.kind = KT_WAN_RESIDUAL, .c_out = width};
            snprintf(name, sizeof(name), "decoder.upsamples.%d", index++);
            int rc = add_stage(d, b, name, residual, s);
            if (rc < 0) {
                return rc;
            }
        }
        if (level == 0) {
            break;
        }
        struct kt_wan_stage up = {
            .kind = KT_WAN_UP, .c_out = width / 2, .time = c->temporal_downsample[level - 1]};
        snprintf(name, sizeof(name), "decoder.upsamples.%d", index++);
        int rc = add_stage(d, b, name, up, s);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int build_input(struct kt_wan_decoder *d, struct kt_vae_build *b,
                       const struct kt_vae_config *c, struct kt_wan_shape *s)
{
    d->mean = kt_device_alloc_f32(d->dev, c->mean, (size_t)c->z_dim, "vae latent mean");
    d->std = kt_device_alloc_f32(d->dev, c->std, (size_t)c->z_dim, "vae latent std");
    if (!d->mean || !d->std) {
        return kt_fail(b->err, -ENOMEM, "vae: out of memory");
    }
    struct kt_vae_filter conv2 = {
        .name = "conv2",
        .rank = 5,
        .desc = {.c_in = c->z_dim, .c_out = c->z_dim, .kt = 1, .kh = 1, .kw = 1}};
    int rc = kt_vae_load_pointwise(b, &d->conv2, &conv2);
    if (rc < 0) {
        return rc;
    }
    int width = c->dim * c->dim_mult[c->levels - 1];
    size_t pixels = (size_t)s->h * (size_t)s->w;
    kt_scratch_need(b->scratch, KT_SCRATCH_MID, pixels * (size_t)s->c * d->dev->act_size);
    kt_scratch_need(b->scratch, KT_SCRATCH_X, pixels * (size_t)width * d->dev->act_size);
    rc = kt_wan_causal_build(b, &d->conv1, "decoder.conv1", NULL, s, width);
    s->c = width;
    return rc;
}

static int build(struct kt_wan_decoder *d, struct kt_vae_build *b, const struct kt_vae_config *c,
                 struct kt_wan_shape *s)
{
    int rc = build_input(d, b, c, s);
    if (rc == 0) {
        rc = build_middle(d, b, s);
    }
    if (rc == 0) {
        rc = build_levels(d, b, c, s);
    }
    if (rc == 0) {
        kt_scratch_need(b->scratch, KT_SCRATCH_Y,
                        (size_t)s->frames * (size_t)s->h * (size_t)s->w * 3 * d->dev->act_size);
        rc = kt_wan_causal_build(b, &d->head, "decoder.head.2", "decoder.head.0", s, 3);
    }
    return rc < 0 ? rc : kt_scratch_alloc(b->scratch, d->dev, "vae decoder scratch", b->err);
}

int kt_wan_decoder_open(struct kt_wan_decoder **out, struct kt_device *dev,
                        const struct kt_vae_params *p, struct kt_vae_info *info,
                        struct kt_error *err)
{
    const struct kt_vae_config *c = p->config;
    int rc = check_config(c, err);
    if (rc < 0) {
        return rc;
    }
    /* Attention reads K and V where the qkv linear left them. */
    KT_ASSERT(dev->act_size == dev->kv_size);
    struct kt_wan_decoder *d = calloc(1, sizeof(*d));
    if (!d) {
        return kt_fail(err, -ENOMEM, "vae: out of memory");
    }
    *d = (struct kt_wan_decoder){
        .dev = dev, .z = c->z_dim, .latent_h = p->latent_h, .latent_w = p->latent_w};
    d->stages = calloc((size_t)count_stages(c), sizeof(*d->stages));
    struct kt_vae_build b = {
        .dev = dev, .weights = p->weights, .scratch = &d->scratch, .err = err, .f8 = dev->f8};
    struct kt_wan_shape s = {c->z_dim, p->latent_h, p->latent_w, 1};
    rc = d->stages ? build(d, &b, c, &s) : kt_fail(err, -ENOMEM, "vae: out of memory");
    if (rc < 0) {
        kt_wan_decoder_close(&d);
        return rc;
    }
    KT_ASSERT(d->num_stages == count_stages(c));
    *info = (struct kt_vae_info){.width = s.w,
                                 .height = s.h,
                                 .first_frames = 1,
                                 .frames_per_latent = s.frames,
                                 .scale = 0.5f,
                                 .offset = 0.5f,
                                 .tail_bytes = b.tail.bytes};
    *out = d;
    return 0;
}

void kt_wan_decoder_close(struct kt_wan_decoder **dec)
{
    if (!dec || !*dec) {
        return;
    }
    struct kt_wan_decoder *d = *dec;
    for (int i = 0; i < d->num_stages; i++) {
        kt_wan_stage_free(&d->stages[i], d->dev);
    }
    free(d->stages);
    kt_wan_causal_free(&d->conv1, d->dev);
    kt_wan_causal_free(&d->head, d->dev);
    d->dev->k.linear_destroy(&d->conv2);
    kt_device_free(d->dev, d->mean);
    kt_device_free(d->dev, d->std);
    kt_scratch_free(&d->scratch, d->dev);
    free(d);
    *dec = NULL;
}

/* Latent, un-normalised and through conv2, into the first causal filter. */
static int run_input(struct kt_wan_decoder *d, const struct kt_wan_call *call, const float *latent)
{
    struct kt_device *dev = d->dev;
    struct kt_wan_feed feed;
    void *mid = d->scratch.at[KT_SCRATCH_MID];
    int rc = dev->k.to_channels_last(dev->q, mid, latent, 1, d->z, d->latent_h, d->latent_w, d->std,
                                     d->mean);
    if (rc == 0) {
        rc = kt_wan_causal_open(call, &d->conv1, &feed);
    }
    if (rc == 0) {
        struct kt_linear_args a = {.x = mid, .y = feed.tail, .m = d->latent_h * d->latent_w};
        rc = dev->k.linear(dev->q, d->conv2, &a);
    }
    return rc < 0 ? rc
                  : kt_wan_causal_close(call, &d->conv1, &feed, d->scratch.at[KT_SCRATCH_X], NULL);
}

int kt_wan_decoder_run(struct kt_wan_decoder *d, struct kt_decode_args *a)
{
    struct kt_device *dev = d->dev;
    struct kt_wan_call call = {
        .dev = dev, .scratch = &d->scratch, .past = a->past, .next = a->next, .frames = 1};
    int rc = run_input(d, &call, a->latent);
    if (rc == 0) {
        rc = kt_wan_stages_run(&call, d->stages, d->num_stages);
    }
    char *y = d->scratch.at[KT_SCRATCH_Y];
    if (rc == 0) {
        rc = kt_wan_causal_run(&call, &d->head, d->scratch.at[KT_SCRATCH_X], y, NULL);
    }
    if (rc < 0) {
        return rc;
    }
    KT_ASSERT(a->skip_frames == 0);
    a->frames = call.frames;
    return dev->k.to_planar(dev->q, a->rgb, y, call.frames, d->head.h, d->head.w, 3);
}
