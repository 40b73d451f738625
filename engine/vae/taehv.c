/* The tiny decoder (TAEHV, engine/MODEL.md). Two-dimensional filters; time enters in two places
 * only: a memory block also sees the frame before, and a level may split each pixel's channels into
 * several frames.
 *
 * Both are written as something cheaper than they read. A memory block's first filter over
 * concat(x, previous x) is a causal filter over two frames, so nothing is concatenated and the tail
 * holds one frame per block. The filter that grows time is pointwise, so it gives the same result
 * before the nearest up-sampling as after it, on a quarter of the pixels; the doubling itself is
 * folded into the filter that follows. */
#include "engine/base/assert.h"
#include "engine/vae/decoder.h"
#include "engine/vae/layers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { LEVELS = 3, BLOCKS = 3, FIRST_INDEX = 3, LEVEL_INDICES = 6, LAST_INDEX = 22 };

struct memory_block {
    struct kt_conv *conv[3];
    size_t tail_at; /* the block's last input frame */
};

struct level {
    int h, w, c, c_out, frames; /* of the blocks' input; frames at most */
    int time;                   /* frames made of one */
    struct memory_block block[BLOCKS];
    struct kt_linear *grow; /* c -> c * time */
    struct kt_conv *out;    /* up-samples where the level does */
};

struct kt_taehv {
    struct kt_device *dev;
    struct kt_scratch scratch;
    int z, latent_h, latent_w, width, height;
    struct kt_conv *in, *rgb;
    struct level level[LEVELS];
};

static struct kt_vae_filter filter(const char *name, int c_in, int c_out)
{
    return (struct kt_vae_filter){.name = name,
                                  .rank = 4,
                                  .desc = {.c_in = c_in,
                                           .c_out = c_out,
                                           .kt = 1,
                                           .kh = 3,
                                           .kw = 3,
                                           .st = 1,
                                           .sh = 1,
                                           .sw = 1,
                                           .pad_top = 1,
                                           .pad_bottom = 1,
                                           .pad_left = 1,
                                           .pad_right = 1}};
}

static int build_block(struct kt_vae_build *b, struct memory_block *m, const struct level *l,
                       int index)
{
    char name[64];
    m->tail_at =
        kt_tail_reserve(&b->tail, (size_t)l->h * (size_t)l->w * (size_t)l->c * b->dev->act_size);
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "decoder.%d.conv.%d", index, 2 * i);
        struct kt_vae_filter f = filter(name, l->c, l->c);
        if (i == 0) {
            f.memory = f.desc.causal = 1;
            f.desc.kt = 2;
        }
        int rc = kt_vae_load_conv(b, &m->conv[i], &f);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

static int build_level(struct kt_vae_build *b, struct level *l, int first_index, int upsample)
{
    char name[64];
    size_t in = (size_t)l->frames * (size_t)l->h * (size_t)l->w * b->dev->act_size;
    size_t grown = in * (size_t)l->time * (size_t)l->c;
    kt_scratch_need(b->scratch, KT_SCRATCH_X, grown);
    kt_scratch_need(b->scratch, KT_SCRATCH_MID, grown);
    kt_scratch_need(b->scratch, KT_SCRATCH_NORM, in * (size_t)l->c);
    kt_scratch_need(b->scratch, KT_SCRATCH_Y,
                    in * (size_t)l->time * (size_t)l->c_out * (upsample ? 4 : 1));
    for (int i = 0; i < BLOCKS; i++) {
        int rc = build_block(b, &l->block[i], l, first_index + i);
        if (rc < 0) {
            return rc;
        }
    }
    snprintf(name, sizeof(name), "decoder.%d.conv", first_index + BLOCKS + 1);
    struct kt_vae_filter grow = {
        .name = name,
        .rank = 4,
        .no_bias = 1,
        .desc = {.c_in = l->c, .c_out = l->c * l->time, .kt = 1, .kh = 1, .kw = 1}};
    int rc = kt_vae_load_pointwise(b, &l->grow, &grow);
    if (rc < 0) {
        return rc;
    }
    snprintf(name, sizeof(name), "decoder.%d", first_index + BLOCKS + 2);
    struct kt_vae_filter out = filter(name, l->c, l->c_out);
    out.no_bias = 1;
    out.desc.upsample = upsample;
    return kt_vae_load_conv(b, &l->out, &out);
}

static int build(struct kt_taehv *t, struct kt_vae_build *b, const struct kt_vae_config *c,
                 struct kt_vae_info *info)
{
    size_t pixels = (size_t)t->latent_h * (size_t)t->latent_w;
    struct kt_vae_filter in = filter("decoder.1", c->z_dim, c->widths[0]);
    kt_scratch_need(b->scratch, KT_SCRATCH_MID, 2 * pixels * (size_t)t->z * t->dev->act_size);
    int rc = kt_vae_load_conv(b, &t->in, &in);
    int h = t->latent_h, w = t->latent_w, frames = 1;
    for (int i = 0; rc == 0 && i < LEVELS; i++) {
        struct level *l = &t->level[i];
        *l = (struct level){.h = h,
                            .w = w,
                            .c = c->widths[i],
                            .c_out = c->widths[i + 1],
                            .frames = frames,
                            .time = c->time_upscale[i]};
        rc = build_level(b, l, FIRST_INDEX + LEVEL_INDICES * i, c->space_upscale[i] == 2);
        frames *= c->time_upscale[i];
        h *= c->space_upscale[i];
        w *= c->space_upscale[i];
    }
    if (rc == 0) {
        char name[64];
        snprintf(name, sizeof(name), "decoder.%d", LAST_INDEX);
        struct kt_vae_filter rgb = filter(name, c->widths[LEVELS], 3);
        rc = kt_vae_load_conv(b, &t->rgb, &rgb);
    }
    kt_scratch_need(b->scratch, KT_SCRATCH_Y,
                    (size_t)frames * (size_t)h * (size_t)w * 3 * t->dev->act_size);
    t->height = info->height = h;
    t->width = info->width = w;
    info->frames_per_latent = frames;
    return rc < 0 ? rc : kt_scratch_alloc(b->scratch, t->dev, "tiny vae scratch", b->err);
}

static int check_config(const struct kt_vae_config *c, struct kt_error *err)
{
    int frames = 1;
    for (int i = 0; i < LEVELS; i++) {
        frames *= c->time_upscale[i];
        if (c->widths[i] < 1 || c->time_upscale[i] < 1 || c->time_upscale[i] > 4 ||
            c->space_upscale[i] < 1 || c->space_upscale[i] > 2) {
            return kt_fail(
                err, -EINVAL,
                "vae: level %d has width %d, time x%d, space x%d: expected a positive width, "
                "time x1..4, space x1 or x2",
                i, c->widths[i], c->time_upscale[i], c->space_upscale[i]);
        }
    }
    if (c->widths[LEVELS] < 1 || c->z_dim < 1) {
        return kt_fail(err, -EINVAL, "vae: last width %d, z_dim %d: expected positive numbers",
                       c->widths[LEVELS], c->z_dim);
    }
    if (c->frames_to_trim < 0 || c->frames_to_trim >= frames) {
        return kt_fail(err, -EINVAL,
                       "vae: frames_to_trim is %d, expected 0..%d (a latent gives %d frames)",
                       c->frames_to_trim, frames - 1, frames);
    }
    return 0;
}

int kt_taehv_open(struct kt_taehv **out, struct kt_device *dev, const struct kt_vae_params *p,
                  struct kt_vae_info *info, struct kt_error *err)
{
    const struct kt_vae_config *c = p->config;
    int rc = check_config(c, err);
    if (rc < 0) {
        return rc;
    }
    struct kt_taehv *t = calloc(1, sizeof(*t));
    if (!t) {
        return kt_fail(err, -ENOMEM, "vae: out of memory");
    }
    t->dev = dev;
    t->z = c->z_dim;
    t->latent_h = p->latent_h;
    t->latent_w = p->latent_w;
    struct kt_vae_build b = {.dev = dev, .weights = p->weights, .scratch = &t->scratch, .err = err};
    *info = (struct kt_vae_info){.scale = 1.0f, .offset = 0.0f};
    rc = build(t, &b, c, info);
    if (rc < 0) {
        kt_taehv_close(&t);
        return rc;
    }
    info->first_frames = info->frames_per_latent - c->frames_to_trim;
    info->tail_bytes = b.tail.bytes;
    *out = t;
    return 0;
}

void kt_taehv_close(struct kt_taehv **tiny)
{
    if (!tiny || !*tiny) {
        return;
    }
    struct kt_taehv *t = *tiny;
    struct kt_kernels *k = &t->dev->k;
    for (int i = 0; i < LEVELS; i++) {
        for (int j = 0; j < BLOCKS * 3; j++) {
            k->conv_destroy(&t->level[i].block[j / 3].conv[j % 3]);
        }
        k->linear_destroy(&t->level[i].grow);
        k->conv_destroy(&t->level[i].out);
    }
    k->conv_destroy(&t->in);
    k->conv_destroy(&t->rgb);
    kt_scratch_free(&t->scratch, t->dev);
    free(t);
    *tiny = NULL;
}

/* relu( conv( relu(conv( relu(conv(x, previous frame)) )) ) + x ): X -> X */
static int run_block(struct kt_taehv *t, const struct kt_decode_args *call, const struct level *l,
                     const struct memory_block *m)
{
    struct kt_device *dev = t->dev;
    char **at = t->scratch.at;
    size_t frame = (size_t)l->h * (size_t)l->w * (size_t)l->c * dev->act_size;
    int n = call->frames;
    int rc = kt_device_copy(dev, call->next + m->tail_at,
                            at[KT_SCRATCH_X] + (size_t)(n - 1) * frame, frame);
    struct kt_conv_args a = {.x = at[KT_SCRATCH_X],
                             .past = call->past ? call->past + m->tail_at : NULL,
                             .y = at[KT_SCRATCH_MID],
                             .t_in = n,
                             .h = l->h,
                             .w = l->w,
                             .relu = 1};
    if (rc == 0) {
        rc = dev->k.conv(dev->q, m->conv[0], &a);
    }
    a.x = at[KT_SCRATCH_MID];
    a.past = NULL;
    a.y = at[KT_SCRATCH_NORM];
    if (rc == 0) {
        rc = dev->k.conv(dev->q, m->conv[1], &a);
    }
    a.x = at[KT_SCRATCH_NORM];
    a.y = at[KT_SCRATCH_Y];
    a.residual = at[KT_SCRATCH_X];
    if (rc == 0) {
        rc = dev->k.conv(dev->q, m->conv[2], &a);
    }
    kt_scratch_swap(&t->scratch);
    return rc;
}

static int run_level(struct kt_taehv *t, struct kt_decode_args *call, const struct level *l,
                     int relu)
{
    struct kt_device *dev = t->dev;
    char **at = t->scratch.at;
    int rc = 0;
    for (int i = 0; rc == 0 && i < BLOCKS; i++) {
        rc = run_block(t, call, l, &l->block[i]);
    }
    if (rc < 0) {
        return rc;
    }
    void *grown = at[KT_SCRATCH_MID];
    struct kt_linear_args g = {.x = at[KT_SCRATCH_X], .y = grown, .m = call->frames * l->h * l->w};
    rc = dev->k.linear(dev->q, l->grow, &g);
    if (rc == 0 && l->time > 1) {
        rc = dev->k.split_frames(dev->q, at[KT_SCRATCH_X], grown, call->frames, l->h, l->w, l->c,
                                 l->time);
        grown = at[KT_SCRATCH_X];
    }
    call->frames *= l->time;
    struct kt_conv_args a = {.x = grown,
                             .y = at[KT_SCRATCH_Y],
                             .t_in = call->frames,
                             .h = l->h,
                             .w = l->w,
                             .relu = relu};
    if (rc == 0) {
        rc = dev->k.conv(dev->q, l->out, &a);
    }
    kt_scratch_swap(&t->scratch);
    return rc;
}

static int run_input(struct kt_taehv *t, const float *latent)
{
    struct kt_device *dev = t->dev;
    size_t n = (size_t)t->z * (size_t)t->latent_h * (size_t)t->latent_w;
    char *planar = t->scratch.at[KT_SCRATCH_MID];
    char *clamped = planar + n * dev->act_size;
    int rc = dev->k.to_channels_last(dev->q, planar, latent, 1, t->z, t->latent_h, t->latent_w,
                                     NULL, NULL);
    if (rc == 0) {
        rc = dev->k.tanh3(dev->q, clamped, planar, n);
    }
    struct kt_conv_args a = {.x = clamped,
                             .y = t->scratch.at[KT_SCRATCH_X],
                             .t_in = 1,
                             .h = t->latent_h,
                             .w = t->latent_w,
                             .relu = 1};
    return rc < 0 ? rc : dev->k.conv(dev->q, t->in, &a);
}

int kt_taehv_run(struct kt_taehv *t, struct kt_decode_args *call)
{
    struct kt_device *dev = t->dev;
    call->frames = 1;
    int rc = run_input(t, call->latent);
    for (int i = 0; rc == 0 && i < LEVELS; i++) {
        rc = run_level(t, call, &t->level[i], i == LEVELS - 1);
    }
    if (rc < 0) {
        return rc;
    }
    int wanted = call->frames - call->skip_frames;
    size_t skip = (size_t)call->skip_frames * (size_t)t->height * (size_t)t->width *
                  (size_t)t->level[LEVELS - 1].c_out * dev->act_size;
    struct kt_conv_args a = {.x = t->scratch.at[KT_SCRATCH_X] + skip,
                             .y = t->scratch.at[KT_SCRATCH_Y],
                             .t_in = wanted,
                             .h = t->height,
                             .w = t->width};
    KT_ASSERT(wanted > 0);
    rc = dev->k.conv(dev->q, t->rgb, &a);
    return rc < 0 ? rc : dev->k.to_planar(dev->q, call->rgb, a.y, wanted, t->height, t->width, 3);
}
