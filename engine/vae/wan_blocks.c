/* The causal cache without copies. A 3x3x3 causal filter over n new frames reads two frames more,
 * the last ones of the call before. The new tail is the last two frames of the filter's input. So
 * the norm in front of the filter writes the last two frames straight into the new tail and the
 * others into scratch, and the filter runs in two parts: over the scratch frames behind the old
 * tail, then over the new tail behind the last scratch frames. Only a call that brings a single
 * frame (the lowest level, where frames are smallest) moves one old frame. */
#include "engine/vae/wan_blocks.h"

#include "engine/base/assert.h"

#include <math.h>
#include <stdio.h>

enum { NAME_MAX_LEN = 96 };

static size_t frame_bytes(const struct kt_device *dev, int h, int w, int c)
{
    return (size_t)h * (size_t)w * (size_t)c * dev->act_size;
}

static void conv_desc(struct kt_conv_desc *d, int c_in, int c_out, int k_time, int k_space)
{
    int pad = k_space / 2;
    *d = (struct kt_conv_desc){.c_in = c_in,
                               .c_out = c_out,
                               .kt = k_time,
                               .kh = k_space,
                               .kw = k_space,
                               .st = 1,
                               .sh = 1,
                               .sw = 1,
                               .pad_top = pad,
                               .pad_bottom = pad,
                               .pad_left = pad,
                               .pad_right = pad};
}

/* --- causal filter --- */

/* Bytes of a frame of the filter's input. */
static size_t in_frame_bytes(const struct kt_device *dev, const struct kt_wan_causal *c)
{
    size_t size = c->scale > 0 ? (size_t)dev->k.f8_size : dev->act_size;
    return (size_t)c->h * (size_t)c->w * (size_t)c->c_in * size;
}

/* The norm, and with it whether the filter behind it may run in 8 bits: the norm bounds its input,
 * so that the scale needs no samples. */
static int load_norm(struct kt_vae_build *b, struct kt_wan_causal *c, const char *name,
                     const struct kt_conv_desc *d)
{
    float reach;
    int rc = kt_vae_load_gamma(b, &c->gamma, c->c_in, 4, name, &reach);
    const struct kt_kernels *k = &b->dev->k;
    if (rc == 0 && b->f8 && reach > 0 && k->conv_takes_f8 && k->conv_takes_f8(d)) {
        c->scale = kt_f8_scale(reach);
    }
    return rc;
}

int kt_wan_causal_build(struct kt_vae_build *b, struct kt_wan_causal *c, const char *name,
                        const char *norm_name, const struct kt_wan_shape *in, int c_out)
{
    *c = (struct kt_wan_causal){.c_in = in->c, .c_out = c_out, .h = in->h, .w = in->w};
    struct kt_vae_filter f = {.name = name, .rank = 5};
    conv_desc(&f.desc, in->c, c_out, 3, 3);
    f.desc.causal = 1;
    if (norm_name) {
        int rc = load_norm(b, c, norm_name, &f.desc);
        if (rc < 0) {
            return rc;
        }
    }
    f.desc.x_scale = c->scale;
    size_t frame = in_frame_bytes(b->dev, c);
    c->tail_at = kt_tail_reserve(&b->tail, 2 * frame);
    if (in->frames > 2) {
        kt_scratch_need(b->scratch, KT_SCRATCH_NORM, (size_t)(in->frames - 2) * frame);
    }
    return kt_vae_load_conv(b, &c->conv, &f);
}

void kt_wan_causal_free(struct kt_wan_causal *c, struct kt_device *dev)
{
    dev->k.conv_destroy(&c->conv);
    kt_device_free(dev, c->gamma);
    c->gamma = NULL;
}

int kt_wan_causal_open(const struct kt_wan_call *call, const struct kt_wan_causal *c,
                       struct kt_wan_feed *feed)
{
    size_t frame = in_frame_bytes(call->dev, c);
    char *tail = call->next + c->tail_at;
    /* One frame, then powers of two: the last two frames are never half old, half scratch. */
    KT_ASSERT(call->frames == 1 || call->frames % 2 == 0);
    if (call->frames > 1) {
        *feed = (struct kt_wan_feed){call->scratch->at[KT_SCRATCH_NORM], tail, call->frames - 2, 2};
        return 0;
    }
    *feed = (struct kt_wan_feed){NULL, tail + frame, 0, 1};
    if (!call->past) {
        return kt_device_zero(call->dev, tail, frame);
    }
    return kt_device_copy(call->dev, tail, call->past + c->tail_at + frame, frame);
}

int kt_wan_causal_close(const struct kt_wan_call *call, const struct kt_wan_causal *c,
                        const struct kt_wan_feed *feed, void *y, const void *residual)
{
    struct kt_device *dev = call->dev;
    size_t in_frame = in_frame_bytes(dev, c);
    size_t out_head = (size_t)feed->n_head * frame_bytes(dev, c->h, c->w, c->c_out);
    struct kt_conv_args a = {
        .past = call->past ? call->past + c->tail_at : NULL, .h = c->h, .w = c->w};
    if (feed->n_head > 0) {
        a.x = feed->head;
        a.y = y;
        a.t_in = feed->n_head;
        a.residual = residual;
        int rc = dev->k.conv(dev->q, c->conv, &a);
        if (rc < 0) {
            return rc;
        }
        a.past = feed->head + (size_t)(feed->n_head - 2) * in_frame;
    }
    a.x = feed->tail;
    a.y = (char *)y + out_head;
    a.t_in = feed->n_tail;
    a.residual = residual ? (const char *)residual + out_head : NULL;
    return dev->k.conv(dev->q, c->conv, &a);
}

static int norm(const struct kt_wan_call *call, const struct kt_wan_causal *c, const void *x,
                void *y, int frames)
{
    struct kt_channel_norm_args a = {.x = x,
                                     .y = y,
                                     .gamma = c->gamma,
                                     .pixels = frames * c->h * c->w,
                                     .c = c->c_in,
                                     .silu = 1,
                                     .y_scale = c->scale};
    return call->dev->k.channel_norm(call->dev->q, &a);
}

int kt_wan_causal_run(const struct kt_wan_call *call, const struct kt_wan_causal *c, const void *x,
                      void *y, const void *residual)
{
    struct kt_wan_feed feed;
    int rc = kt_wan_causal_open(call, c, &feed);
    if (rc == 0 && feed.n_head > 0) {
        rc = norm(call, c, x, feed.head, feed.n_head);
    }
    if (rc == 0) {
        const char *last =
            (const char *)x + (size_t)feed.n_head * frame_bytes(call->dev, c->h, c->w, c->c_in);
        rc = norm(call, c, last, feed.tail, feed.n_tail);
    }
    return rc < 0 ? rc : kt_wan_causal_close(call, c, &feed, y, residual);
}

/* --- residual block --- */

static int residual_build(struct kt_vae_build *b, struct kt_wan_stage *st, const char *name,
                          struct kt_wan_shape *s)
{
    char conv[NAME_MAX_LEN], gamma[NAME_MAX_LEN];
    snprintf(conv, sizeof(conv), "%s.residual.2", name);
    snprintf(gamma, sizeof(gamma), "%s.residual.0", name);
    int rc = kt_wan_causal_build(b, &st->first, conv, gamma, s, st->c_out);
    if (rc < 0) {
        return rc;
    }
    s->c = st->c_out;
    snprintf(conv, sizeof(conv), "%s.residual.6", name);
    snprintf(gamma, sizeof(gamma), "%s.residual.3", name);
    rc = kt_wan_causal_build(b, &st->second, conv, gamma, s, st->c_out);
    if (rc < 0) {
        return rc;
    }
    size_t out = (size_t)s->frames * frame_bytes(b->dev, s->h, s->w, s->c);
    kt_scratch_need(b->scratch, KT_SCRATCH_MID, out);
    kt_scratch_need(b->scratch, KT_SCRATCH_Y, out);
    if (st->c_in == st->c_out) {
        return 0;
    }
    kt_scratch_need(b->scratch, KT_SCRATCH_SKIP, out);
    snprintf(conv, sizeof(conv), "%s.shortcut", name);
    struct kt_vae_filter f = {.name = conv, .rank = 5};
    conv_desc(&f.desc, st->c_in, st->c_out, 1, 1);
    return kt_vae_load_pointwise(b, &st->shortcut, &f);
}

static int residual_run(struct kt_wan_call *call, const struct kt_wan_stage *st)
{
    struct kt_device *dev = call->dev;
    struct kt_scratch *s = call->scratch;
    const void *skip = s->at[KT_SCRATCH_X];
    int rc = kt_wan_causal_run(call, &st->first, s->at[KT_SCRATCH_X], s->at[KT_SCRATCH_MID], NULL);
    if (rc == 0 && st->shortcut) {
        struct kt_linear_args a = {
            .x = skip, .y = s->at[KT_SCRATCH_SKIP], .m = call->frames * st->h * st->w};
        rc = dev->k.linear(dev->q, st->shortcut, &a);
        skip = s->at[KT_SCRATCH_SKIP];
    }
    if (rc == 0) {
        rc = kt_wan_causal_run(call, &st->second, s->at[KT_SCRATCH_MID], s->at[KT_SCRATCH_Y], skip);
    }
    kt_scratch_swap(s);
    return rc;
}

/* --- attention over the pixels of each frame, one head --- */

static int attention_build(struct kt_vae_build *b, struct kt_wan_stage *st, const char *name,
                           struct kt_wan_shape *s)
{
    char part[NAME_MAX_LEN];
    size_t frame = frame_bytes(b->dev, s->h, s->w, s->c);
    kt_scratch_need(b->scratch, KT_SCRATCH_NORM, (size_t)s->frames * frame);
    kt_scratch_need(b->scratch, KT_SCRATCH_MID, (size_t)s->frames * frame * 3);
    kt_scratch_need(b->scratch, KT_SCRATCH_Y, (size_t)s->frames * frame);
    snprintf(part, sizeof(part), "%s.norm", name);
    int rc = kt_vae_load_gamma(b, &st->gamma, s->c, 3, part, NULL);
    if (rc < 0) {
        return rc;
    }
    struct kt_vae_filter f = {.name = part, .rank = 4};
    conv_desc(&f.desc, s->c, 3 * s->c, 1, 1);
    snprintf(part, sizeof(part), "%s.to_qkv", name);
    rc = kt_vae_load_pointwise(b, &st->qkv, &f);
    if (rc < 0) {
        return rc;
    }
    f.desc.c_out = s->c;
    snprintf(part, sizeof(part), "%s.proj", name);
    return kt_vae_load_pointwise(b, &st->proj, &f);
}

static int attend_frame(struct kt_wan_call *call, const struct kt_wan_stage *st, int frame)
{
    struct kt_device *dev = call->dev;
    size_t tokens = (size_t)st->h * (size_t)st->w, c = (size_t)st->c_in;
    size_t row = (size_t)frame * tokens;
    const void *qkv = call->scratch->at[KT_SCRATCH_MID];
    struct kt_attention_args a = {.q = kt_act_at(dev, qkv, row * 3 * c),
                                  .k = kt_act_at(dev, qkv, row * 3 * c + c),
                                  .v = kt_act_at(dev, qkv, row * 3 * c + 2 * c),
                                  .y = kt_act_at(dev, call->scratch->at[KT_SCRATCH_Y], row * c),
                                  .tq = (int)tokens,
                                  .tk = (int)tokens,
                                  .heads = 1,
                                  .head_dim = st->c_in,
                                  .ld_q = 3 * st->c_in,
                                  .ld_k = 3 * st->c_in,
                                  .ld_v = 3 * st->c_in,
                                  .ld_y = st->c_in,
                                  .scale = 1.0f / sqrtf((float)st->c_in)};
    return dev->k.attention(dev->q, &a);
}

static int attention_run(struct kt_wan_call *call, const struct kt_wan_stage *st)
{
    struct kt_device *dev = call->dev;
    struct kt_scratch *s = call->scratch;
    int m = call->frames * st->h * st->w;
    void *x = s->at[KT_SCRATCH_X], *normed = s->at[KT_SCRATCH_NORM];
    struct kt_channel_norm_args n = {
        .x = x, .y = normed, .gamma = st->gamma, .pixels = m, .c = st->c_in};
    int rc = dev->k.channel_norm(dev->q, &n);
    if (rc == 0) {
        struct kt_linear_args a = {.x = normed, .y = s->at[KT_SCRATCH_MID], .m = m};
        rc = dev->k.linear(dev->q, st->qkv, &a);
    }
    for (int f = 0; rc == 0 && f < call->frames; f++) {
        rc = attend_frame(call, st, f);
    }
    if (rc == 0) {
        struct kt_linear_args a = {.x = s->at[KT_SCRATCH_Y], .y = normed, .m = m};
        rc = dev->k.linear(dev->q, st->proj, &a);
    }
    if (rc == 0) {
        struct kt_residual_args a = {
            .x = x, .y = normed, .m = m, .dim = st->c_in, .rows_per_group = m, .x_act = 1};
        rc = dev->k.residual(dev->q, &a);
    }
    return rc;
}

/* --- up- and down-sampling --- */

static int resample_load(struct kt_vae_build *b, struct kt_wan_stage *st, const char *name)
{
    char part[NAME_MAX_LEN];
    int up = st->kind == KT_WAN_UP;
    struct kt_vae_filter f = {.name = part, .rank = 4};
    conv_desc(&f.desc, st->c_in, st->c_out, 1, 3);
    f.desc.upsample = up;
    if (!up) {
        f.desc.sh = f.desc.sw = 2;
        f.desc.pad_top = f.desc.pad_left = 0; /* padded at the right and the bottom only */
    }
    snprintf(part, sizeof(part), "%s.resample.1", name);
    int rc = kt_vae_load_conv(b, &st->space_conv, &f);
    if (rc < 0 || !st->time) {
        return rc;
    }
    f.rank = 5;
    conv_desc(&f.desc, st->c_in, up ? 2 * st->c_in : st->c_in, 3, 1);
    f.desc.causal = up;
    f.desc.st = up ? 1 : 2;
    snprintf(part, sizeof(part), "%s.time_conv", name);
    return kt_vae_load_conv(b, &st->time_conv, &f);
}

static int up_build(struct kt_vae_build *b, struct kt_wan_stage *st, const char *name,
                    struct kt_wan_shape *s)
{
    size_t frame = frame_bytes(b->dev, s->h, s->w, s->c);
    if (st->time) {
        st->tail_at = kt_tail_reserve(&b->tail, 2 * frame);
        kt_scratch_need(b->scratch, KT_SCRATCH_MID, (size_t)s->frames * 2 * frame);
        kt_scratch_need(b->scratch, KT_SCRATCH_Y, (size_t)s->frames * 2 * frame);
        s->frames *= 2;
    }
    *s = (struct kt_wan_shape){st->c_out, 2 * s->h, 2 * s->w, s->frames};
    kt_scratch_need(b->scratch, KT_SCRATCH_Y,
                    (size_t)s->frames * frame_bytes(b->dev, s->h, s->w, s->c));
    return resample_load(b, st, name);
}

/* Leaves the last two input frames of the time filter in the new tail. */
static int up_keep(const struct kt_wan_call *call, const struct kt_wan_stage *st)
{
    struct kt_device *dev = call->dev;
    size_t frame = frame_bytes(dev, st->h, st->w, st->c_in);
    const char *x = call->scratch->at[KT_SCRATCH_X];
    char *tail = call->next + st->tail_at;
    if (!call->past) {
        /* The first latent does not enter this cache: the second sees two zero frames before it. */
        return kt_device_zero(dev, tail, 2 * frame);
    }
    if (call->frames > 1) {
        return kt_device_copy(dev, tail, x + (size_t)(call->frames - 2) * frame, 2 * frame);
    }
    int rc = kt_device_copy(dev, tail, call->past + st->tail_at + frame, frame);
    return rc < 0 ? rc : kt_device_copy(dev, tail + frame, x, frame);
}

/* Doubles the frames: [n, h, w, c] in X -> [2n, h, w, c] in Y. */
static int up_time(struct kt_wan_call *call, const struct kt_wan_stage *st)
{
    struct kt_device *dev = call->dev;
    struct kt_scratch *s = call->scratch;
    struct kt_conv_args a = {.x = s->at[KT_SCRATCH_X],
                             .past = call->past + st->tail_at,
                             .y = s->at[KT_SCRATCH_MID],
                             .t_in = call->frames,
                             .h = st->h,
                             .w = st->w};
    int rc = dev->k.conv(dev->q, st->time_conv, &a);
    if (rc < 0) {
        return rc;
    }
    rc = dev->k.split_frames(dev->q, s->at[KT_SCRATCH_Y], s->at[KT_SCRATCH_MID], call->frames,
                             st->h, st->w, st->c_in, 2);
    call->frames *= 2;
    return rc;
}

static int up_run(struct kt_wan_call *call, const struct kt_wan_stage *st)
{
    struct kt_device *dev = call->dev;
    struct kt_scratch *s = call->scratch;
    int rc = st->time ? up_keep(call, st) : 0;
    if (rc == 0 && st->time && call->past) {
        rc = up_time(call, st);
        kt_scratch_swap(s);
    }
    if (rc < 0) {
        return rc;
    }
    struct kt_conv_args a = {.x = s->at[KT_SCRATCH_X],
                             .y = s->at[KT_SCRATCH_Y],
                             .t_in = call->frames,
                             .h = st->h,
                             .w = st->w};
    rc = dev->k.conv(dev->q, st->space_conv, &a);
    kt_scratch_swap(s);
    return rc;
}

static int down_build(struct kt_vae_build *b, struct kt_wan_stage *st, const char *name,
                      struct kt_wan_shape *s)
{
    *s = (struct kt_wan_shape){st->c_out, s->h / 2, s->w / 2, s->frames};
    size_t frame = frame_bytes(b->dev, s->h, s->w, s->c);
    kt_scratch_need(b->scratch, KT_SCRATCH_Y, (size_t)s->frames * frame);
    if (st->time) {
        st->tail_at = kt_tail_reserve(&b->tail, frame);
        kt_scratch_need(b->scratch, KT_SCRATCH_MID, (size_t)(s->frames + 1) * frame);
        s->frames /= 2;
    }
    return resample_load(b, st, name);
}

/* Halves the frames: the time filter takes every second frame, over [last frame of the call before,
 * frames in MID from the second place on] -> Y. */
static int down_time(struct kt_wan_call *call, const struct kt_wan_stage *st, size_t frame)
{
    struct kt_device *dev = call->dev;
    char *mid = call->scratch->at[KT_SCRATCH_MID];
    int rc = kt_device_copy(dev, mid, call->past + st->tail_at, frame);
    if (rc < 0) {
        return rc;
    }
    struct kt_conv_args a = {.x = mid,
                             .y = call->scratch->at[KT_SCRATCH_Y],
                             .t_in = call->frames + 1,
                             .h = st->h / 2,
                             .w = st->w / 2};
    call->frames /= 2;
    return dev->k.conv(dev->q, st->time_conv, &a);
}

static int down_run(struct kt_wan_call *call, const struct kt_wan_stage *st)
{
    struct kt_device *dev = call->dev;
    struct kt_scratch *s = call->scratch;
    size_t frame = frame_bytes(dev, st->h / 2, st->w / 2, st->c_out);
    int halve = st->time && call->past;
    char *y = halve ? s->at[KT_SCRATCH_MID] + frame : s->at[KT_SCRATCH_Y];
    struct kt_conv_args a = {
        .x = s->at[KT_SCRATCH_X], .y = y, .t_in = call->frames, .h = st->h, .w = st->w};
    int rc = dev->k.conv(dev->q, st->space_conv, &a);
    if (rc == 0 && st->time) {
        /* The first frame of a stream bypasses the time filter but is what the next call sees
         * before its own. */
        const char *last = y + (size_t)(call->frames - 1) * frame;
        rc = kt_device_copy(dev, call->next + st->tail_at, last, frame);
    }
    if (rc == 0 && halve) {
        rc = down_time(call, st, frame);
    }
    kt_scratch_swap(s);
    return rc;
}

/* --- stages --- */

int kt_wan_stage_build(struct kt_vae_build *b, struct kt_wan_stage *st, const char *name,
                       struct kt_wan_shape *s)
{
    st->c_in = s->c;
    st->h = s->h;
    st->w = s->w;
    st->frames = s->frames;
    switch (st->kind) {
    case KT_WAN_RESIDUAL: return residual_build(b, st, name, s);
    case KT_WAN_ATTENTION: return attention_build(b, st, name, s);
    case KT_WAN_UP: return up_build(b, st, name, s);
    case KT_WAN_DOWN: return down_build(b, st, name, s);
    }
    KT_ASSERT(0 && "stage kind");
}

void kt_wan_stage_free(struct kt_wan_stage *st, struct kt_device *dev)
{
    kt_wan_causal_free(&st->first, dev);
    kt_wan_causal_free(&st->second, dev);
    dev->k.linear_destroy(&st->shortcut);
    dev->k.linear_destroy(&st->qkv);
    dev->k.linear_destroy(&st->proj);
    dev->k.conv_destroy(&st->time_conv);
    dev->k.conv_destroy(&st->space_conv);
    kt_device_free(dev, st->gamma);
    st->gamma = NULL;
}

int kt_wan_stage_run(struct kt_wan_call *call, const struct kt_wan_stage *st)
{
    KT_ASSERT(call->frames <= st->frames);
    switch (st->kind) {
    case KT_WAN_RESIDUAL: return residual_run(call, st);
    case KT_WAN_ATTENTION: return attention_run(call, st);
    case KT_WAN_UP: return up_run(call, st);
    case KT_WAN_DOWN: return down_run(call, st);
    }
    KT_ASSERT(0 && "stage kind");
}

int kt_wan_stages_run(struct kt_wan_call *call, const struct kt_wan_stage *stages, int n)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        rc = kt_wan_stage_run(call, &stages[i]);
    }
    return rc;
}
