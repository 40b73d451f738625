/* One stream: blocks in, prompt switches, frames out. What is kept of the past lives in
 * kv/history.c. */
#include <errno.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/clock.h"
#include "engine/base/hash.h"
#include "engine/parts.h"
#include "engine/probe.h"

/* Noise is keyed by (seed, latent, step), so a latent made again draws the same noise
 * (docs/design.md, invariant 1). */
enum { KT_NOISE_STEPS = 64 };

struct kt_timeline *kt_engine_take_timeline(struct kt_engine *e)
{
    for (int i = 0; i < e->timelines_max; i++) {
        if (!e->timelines[i].in_use) {
            struct kt_timeline *t = &e->timelines[i];
            t->engine = e;
            t->in_use = 1;
            t->block.active = t->block.uncached = 0;
            return t;
        }
    }
    return NULL;
}

int kt_timeline_create(struct kt_engine *e, struct kt_timeline **out, uint64_t seed,
                       struct kt_context *context, struct kt_error *err)
{
    struct kt_timeline *t = kt_engine_take_timeline(e);
    if (!t) {
        return kt_fail(err, -ENOBUFS, "all %d timelines are in use", e->timelines_max);
    }
    t->seed = seed;
    t->context = kt_context_ref(context);
    *out = t;
    return 0;
}

void kt_timeline_forget_cache(struct kt_timeline *t)
{
    struct kt_block *b = &t->block;
    if (b->uncached) {
        kt_engine_unref_items(b->prefix, b->prefix_count);
        kt_engine_unref_items(b->pages, t->engine->config.sampler.num_frame_per_block);
        b->uncached = 0;
    }
}

void kt_timeline_destroy(struct kt_timeline **out)
{
    if (!out || !*out) {
        return;
    }
    struct kt_timeline *t = *out;
    *out = NULL;
    if (t->in_use) {
        kt_timeline_forget_cache(t);
        kt_history_clear(&t->history);
        kt_context_unref(&t->context);
        t->in_use = 0;
    }
}

int64_t kt_timeline_latents(const struct kt_timeline *t)
{
    return t->history.latents;
}

int64_t kt_timeline_decoded(const struct kt_timeline *t)
{
    return t->history.decoded;
}

void kt_timeline_get_progress(const struct kt_timeline *t, struct kt_timeline_progress *out)
{
    *out = (struct kt_timeline_progress){
        .latents = t->history.latents,
        .decoded = t->history.decoded,
        .block_active = t->block.active,
        .steps_left = t->block.active ? t->block.steps - t->block.next : 0,
    };
}

int kt_engine_take_items(struct kt_slab *slab, struct kt_slab_item **out, int n)
{
    for (int i = 0; i < n; i++) {
        out[i] = kt_slab_take(slab);
        if (!out[i]) {
            while (i > 0) {
                kt_slab_unref(&out[--i]);
            }
            return -ENOBUFS;
        }
    }
    return 0;
}

void kt_engine_unref_items(struct kt_slab_item **items, int n)
{
    for (int i = 0; i < n; i++) {
        kt_slab_unref(&items[i]);
    }
}

/* ---- prompt switch ---- */

static int run_recache(struct kt_timeline *t, struct kt_context *context,
                       const struct kt_recache_plan *plan, struct kt_slab_item **pages,
                       struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    const float *x[KT_SLOTS_MAX];
    int64_t time[KT_SLOTS_MAX];
    for (int i = 0; i < plan->frames; i++) {
        x[i] = plan->clean[i]->data;
        time[i] = t->history.latents - plan->frames + i;
    }
    struct kt_dit_pass pass = {.prefix = plan->prefix,
                               .prefix_count = plan->prefix_count,
                               .x = x,
                               .time_index = time,
                               .frames = plan->frames,
                               .row = kt_dit_clean_row(e->dit),
                               .context = &context->dit,
                               .pages = pages};
    return kt_dit_run(e->dit, &pass, err);
}

int kt_timeline_switch(struct kt_timeline *t, struct kt_context *context, enum kt_transition tr,
                       int recache_latents, struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    struct kt_recache_plan plan;
    struct kt_slab_item *pages[KT_SLOTS_MAX];
    int keep_sink =
        tr == KT_TRANSITION_MODEL ? e->config.sampler.global_sink : tr == KT_TRANSITION_CUT;
    if (t->block.active) {
        return kt_fail(err, -EBUSY, "prompt switch: a block is in flight");
    }
    int rc = kt_timeline_block_cache(t, err);
    if (rc < 0) {
        return rc;
    }
    if (t->history.latents > 0) {
        kt_history_plan_recache(&t->history, &e->shape, keep_sink, recache_latents, &plan);
        rc = kt_engine_take_items(&e->pages, pages, plan.frames);
        if (rc < 0) {
            return kt_fail(err, rc, "prompt switch: %d pages needed, %d free", plan.frames,
                           e->pages.count - e->pages.used);
        }
        rc = run_recache(t, context, &plan, pages, err);
        if (rc < 0) {
            kt_engine_unref_items(pages, plan.frames);
            return rc;
        }
        kt_history_apply_recache(&t->history, &e->shape, &plan, pages);
    }
    struct kt_context *old = t->context;
    t->context = kt_context_ref(context);
    kt_context_unref(&old);
    return 0;
}

/* ---- one block ---- */

static size_t block_floats(const struct kt_timeline *t)
{
    return (size_t)t->engine->config.sampler.num_frame_per_block * t->engine->latent_floats;
}

static int draw_noise(struct kt_timeline *t, float *out, int step)
{
    struct kt_engine *e = t->engine;
    int frames = e->config.sampler.num_frame_per_block, rc = 0;
    for (int f = 0; f < frames && rc == 0; f++) {
        uint64_t latent = (uint64_t)(t->history.latents + f);
        rc = e->dev->k.noise(e->dev->q, out + e->latent_floats * (size_t)f, (int)e->latent_floats,
                             t->seed, latent * KT_NOISE_STEPS + (uint64_t)step);
    }
    return rc;
}

int kt_timeline_block_begin(struct kt_timeline *t, int steps, struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    struct kt_block *b = &t->block;
    int frames = e->config.sampler.num_frame_per_block;
    if (b->active) {
        return kt_fail(err, -EBUSY, "block: one is in flight already");
    }
    if (steps < 0 || steps > e->schedule.steps) {
        return kt_fail(err, -EINVAL, "steps: expected 0 (all) to %d, found %d", e->schedule.steps,
                       steps);
    }
    if (e->config.sampler.local_attn_size <= 0 && t->history.latents + frames > e->shape.window) {
        return kt_fail(err, -ENOSPC, "unbounded window: its %d latents are full", e->shape.window);
    }
    if (!e->config.sampler.relative_rope && t->history.latents + frames > 1024) {
        return kt_fail(err, -ERANGE, "absolute RoPE ends at latent 1024; use relative_rope");
    }
    int rc = kt_timeline_block_cache(t, err);
    if (rc < 0) {
        return rc;
    }
    b->steps = steps ? steps : e->schedule.steps;
    b->next = 0;
    b->given_steps = -1;
    kt_schedule_pick(&e->schedule, b->steps, b->picks);
    rc = draw_noise(t, b->x, 0);
    if (rc < 0) {
        return kt_fail(err, rc, "block: cannot draw noise");
    }
    b->active = 1;
    return 0;
}

int kt_timeline_block_set_noise(struct kt_timeline *t, const float *noise, const float *renoise)
{
    struct kt_block *b = &t->block;
    size_t n = block_floats(t) * sizeof(float);
    KT_ASSERT(b->active && b->next == 0);
    b->given_steps = b->steps - 1;
    int rc = kt_device_upload(t->engine->dev, b->x, noise, n);
    return rc < 0 || b->steps == 1
               ? rc
               : kt_device_upload(t->engine->dev, b->noise, renoise, n * (size_t)(b->steps - 1));
}

/* The slots before the block, and the block's own latents as the DiT wants them. */
static void block_pass(struct kt_timeline *t, struct kt_dit_pass *pass,
                       struct kt_slab_item **prefix, const float **x, int64_t *time)
{
    struct kt_engine *e = t->engine;
    int frames = e->config.sampler.num_frame_per_block;
    for (int f = 0; f < frames; f++) {
        x[f] = t->block.x + e->latent_floats * (size_t)f;
        time[f] = t->history.latents + f;
    }
    *pass = (struct kt_dit_pass){
        .prefix = prefix,
        .prefix_count = kt_history_window(&t->history, &e->shape, frames, prefix),
        .x = x,
        .time_index = time,
        .frames = frames,
        .context = &t->context->dit,
    };
}

/* The first latent is put by before the step changes it: a preview is what the step knew of it. */
static int sample_step(struct kt_timeline *t)
{
    struct kt_engine *e = t->engine;
    struct kt_block *b = &t->block;
    size_t latent = e->latent_floats * sizeof(float);
    int rc = e->dev->k.copy_rows(e->dev->q, b->before, 0, b->x, 0, 1, latent);
    if (rc < 0) {
        return rc;
    }
    int last = b->next == b->steps - 1, pick = b->picks[b->next];
    struct kt_sample_step_args a = {
        .x = b->x, .v = b->v, .sigma = e->schedule.sigma[pick], .n = (int)block_floats(t)};
    if (!last) {
        int target = b->picks[b->next + 1];
        float *noise = b->noise;
        if (b->given_steps >= 0) {
            noise += block_floats(t) * (size_t)b->next;
        } else {
            if ((rc = draw_noise(t, noise, target)) < 0) {
                return rc;
            }
        }
        a.noise = noise;
        a.sigma_next = e->schedule.sigma[target];
    }
    return e->dev->k.sample_step(e->dev->q, &a);
}

int kt_timeline_block_step(struct kt_timeline *t, struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    struct kt_block *b = &t->block;
    struct kt_slab_item *prefix[KT_SLOTS_MAX];
    const float *x[KT_SLOTS_MAX];
    int64_t time[KT_SLOTS_MAX];
    struct kt_dit_pass pass;
    if (!b->active || b->next >= b->steps) {
        return kt_fail(err, -EINVAL, "block step: no step is left");
    }
    block_pass(t, &pass, prefix, x, time);
    pass.row = b->picks[b->next];
    pass.v = b->v;
    int rc = kt_dit_run(e->dit, &pass, err);
    if (rc < 0) {
        return rc;
    }
    rc = sample_step(t);
    if (rc < 0) {
        return kt_fail(err, rc, "block step: sampler failed");
    }
    b->next++;
    return b->next < b->steps;
}

static int write_clean(struct kt_timeline *t, struct kt_slab_item **clean, int frames)
{
    struct kt_engine *e = t->engine;
    size_t bytes = e->latent_floats * sizeof(float);
    for (int f = 0; f < frames; f++) {
        int rc = e->dev->k.copy_rows(e->dev->q, clean[f]->data, 0,
                                     t->block.x + e->latent_floats * (size_t)f, 0, 1, bytes);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

/* Keeps what the t = 0 pass will need: the window as it is before the block enters it, and the
 * block's pages, whose places in the history are taken now. */
static void postpone_cache(struct kt_timeline *t, struct kt_slab_item **pages, int frames)
{
    struct kt_block *b = &t->block;
    b->prefix_count = kt_history_window(&t->history, &t->engine->shape, frames, b->prefix);
    for (int i = 0; i < b->prefix_count; i++) {
        kt_slab_ref(b->prefix[i]);
    }
    for (int f = 0; f < frames; f++) {
        b->pages[f] = kt_slab_ref(pages[f]);
    }
    b->first = t->history.latents;
    b->uncached = 1;
}

int kt_timeline_block_publish(struct kt_timeline *t, struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    struct kt_slab_item *pages[KT_SLACK_MAX], *clean[KT_SLACK_MAX];
    int frames = e->config.sampler.num_frame_per_block;
    if (!t->block.active || t->block.next < t->block.steps) {
        return kt_fail(err, -EINVAL, "block commit: %d of %d steps were made", t->block.next,
                       t->block.active ? t->block.steps : 0);
    }
    int rc = kt_engine_take_items(&e->pages, pages, frames);
    if (rc < 0) {
        return kt_fail(err, rc, "block commit: no free pages (%d of %d in use)", e->pages.used,
                       e->pages.count);
    }
    rc = kt_engine_take_items(&e->clean, clean, frames);
    if (rc < 0) {
        kt_engine_unref_items(pages, frames);
        return kt_fail(err, rc, "block commit: no free latents");
    }
    rc = write_clean(t, clean, frames);
    if (rc < 0) {
        kt_engine_unref_items(pages, frames);
        kt_engine_unref_items(clean, frames);
        return kt_fail(err, rc, "block commit: cannot keep its latents");
    }
    postpone_cache(t, pages, frames);
    for (int f = 0; f < frames; f++) {
        kt_history_append(&t->history, &e->shape, pages[f], clean[f]);
    }
    t->block.active = 0;
    return 0;
}

int kt_timeline_block_cache(struct kt_timeline *t, struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    struct kt_block *b = &t->block;
    const float *x[KT_SLACK_MAX];
    int64_t time[KT_SLACK_MAX];
    int frames = e->config.sampler.num_frame_per_block;
    if (!b->uncached) {
        return 0;
    }
    for (int f = 0; f < frames; f++) {
        x[f] = b->x + e->latent_floats * (size_t)f;
        time[f] = b->first + f;
    }
    struct kt_dit_pass pass = {.prefix = b->prefix,
                               .prefix_count = b->prefix_count,
                               .x = x,
                               .time_index = time,
                               .frames = frames,
                               .row = kt_dit_clean_row(e->dit),
                               .context = &t->context->dit,
                               .pages = b->pages};
    int rc = kt_dit_run(e->dit, &pass, err);
    if (rc < 0) {
        return rc;
    }
    kt_timeline_forget_cache(t);
    return 1;
}

int kt_timeline_block_commit(struct kt_timeline *t, struct kt_error *err)
{
    int rc = kt_timeline_block_publish(t, err);
    rc = rc < 0 ? rc : kt_timeline_block_cache(t, err);
    return rc < 0 ? rc : 0;
}

void kt_timeline_block_abandon(struct kt_timeline *t)
{
    t->block.active = 0;
}

int kt_timeline_block(struct kt_timeline *t, int steps, struct kt_error *err)
{
    int rc = kt_timeline_block_begin(t, steps, err);
    if (rc < 0) {
        return rc;
    }
    do {
        rc = kt_timeline_block_step(t, err);
    } while (rc > 0);
    if (rc == 0) {
        rc = kt_timeline_block_commit(t, err);
    }
    if (rc < 0) {
        kt_timeline_block_abandon(t);
    }
    return rc;
}

int kt_timeline_rewind(struct kt_timeline *t, int64_t at, struct kt_error *err)
{
    kt_timeline_block_abandon(t);
    int rc = t->block.uncached && at > t->block.first ? kt_timeline_block_cache(t, err) : 0;
    if (rc < 0) {
        return rc;
    }
    rc = kt_history_rewind(&t->history, &t->engine->shape, at);
    if (rc == 0) {
        kt_timeline_forget_cache(t); /* it was run, or its block is gone */
    }
    return rc < 0 ? kt_fail(err, rc, "rewind: latent %lld is not kept any more", (long long)at) : 0;
}

/* ---- reading and decoding ---- */

int kt_timeline_latent(const struct kt_timeline *t, int64_t index, float *out)
{
    struct kt_slab_item *clean = kt_history_clean(&t->history, index);
    return clean ? kt_device_download(t->engine->dev, out, clean->data,
                                      t->engine->latent_floats * sizeof(float))
                 : -ERANGE;
}

int kt_timeline_latent_hash(const struct kt_timeline *t, int64_t index, uint64_t *hash)
{
    struct kt_engine *e = t->engine;
    int rc = kt_timeline_latent(t, index, e->latent_host);
    if (rc == 0) {
        *hash = kt_hash64(e->latent_host, e->latent_floats * sizeof(float), 0);
    }
    return rc;
}

int kt_timeline_flow(const struct kt_timeline *t, float *out)
{
    if (!t->block.active || t->block.next == 0) {
        return -EINVAL;
    }
    return kt_device_download(t->engine->dev, out, t->block.v, block_floats(t) * sizeof(float));
}

int kt_timeline_kv(struct kt_timeline *t, int layer, float *k, float *v)
{
    struct kt_engine *e = t->engine;
    struct kt_slab_item *slots[KT_SLOTS_MAX];
    struct kt_error err;
    int count = kt_history_window(&t->history, &e->shape, 0, slots);
    size_t n = (size_t)kt_dit_tokens(e->dit) * (size_t)e->config.dit.dim;
    int rc = kt_timeline_block_cache(t, &err);
    for (int i = 0; i < count && rc >= 0; i++) {
        const void *rows_k = kt_dit_page_rows(e->dit, slots[i], layer, 0);
        const void *rows_v = kt_dit_page_rows(e->dit, slots[i], layer, 1);
        rc = kt_device_download_act(e->dev, k + n * (size_t)i, rows_k, n);
        rc = rc < 0 ? rc : kt_device_download_act(e->dev, v + n * (size_t)i, rows_v, n);
    }
    return rc < 0 ? rc : count;
}

int kt_timeline_decode_next(struct kt_timeline *t, struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    struct kt_vae_tail *next = NULL;
    int frames = 0;
    if (!e->vae) {
        return kt_fail(err, -ENOTSUP, "decode: model '%s' has no VAE", e->config.name);
    }
    if (t->history.decoded >= t->history.latents) {
        return kt_fail(err, -EAGAIN, "decode: all %lld latents are decoded",
                       (long long)t->history.latents);
    }
    struct kt_slab_item *clean = kt_history_clean(&t->history, t->history.decoded);
    if (!clean) {
        return kt_fail(err, -ERANGE, "decode: latent %lld left the window before it was decoded",
                       (long long)t->history.decoded);
    }
    int rc = kt_vae_decode(e->vae, kt_history_tail(&t->history), clean->data, e->rgb, &frames,
                           &next, err);
    if (rc < 0) {
        return rc;
    }
    kt_history_push_tail(&t->history, next, e->tails_kept);
    return frames;
}

/* Converts `frames` pictures in e->rgb and brings them to the host. */
static int convert(struct kt_engine *e, const struct kt_vae_info *vae, int frames, uint8_t *i420,
                   size_t frame_bytes, struct kt_error *err)
{
    size_t bytes = (size_t)vae->width * (size_t)vae->height * 3 / 2;
    struct kt_i420_args a = {.rgb = e->rgb,
                             .out = e->i420,
                             .frame_bytes = bytes,
                             .frames = frames,
                             .w = vae->width,
                             .h = vae->height,
                             .scale = vae->scale,
                             .offset = vae->offset};
    int rc = e->dev->k.queue_sync(e->dev->q); /* so that the decoder's time is not the copy's */
    int64_t start = kt_now_ns();
    if (rc == 0) {
        rc = e->dev->k.to_i420(e->dev->q, &a);
    }
    for (int f = 0; f < frames && i420 && rc == 0; f++) {
        rc = kt_device_download(e->dev, i420 + frame_bytes * (size_t)f, e->i420 + bytes * (size_t)f,
                                bytes);
    }
    e->convert_ms = kt_ms_since(start);
    return rc < 0 ? kt_fail(err, rc, "decode: conversion failed") : frames;
}

int kt_timeline_decode(struct kt_timeline *t, uint8_t *i420, size_t frame_bytes,
                       struct kt_error *err)
{
    int frames = kt_timeline_decode_next(t, err);
    return frames < 0 ? frames
                      : convert(t->engine, &t->engine->vae_info, frames, i420, frame_bytes, err);
}

/* ---- previews ---- */

/* x0 = x - sigma v of the block's first latent, as the last step saw it. */
static int predict_first(struct kt_timeline *t)
{
    struct kt_engine *e = t->engine;
    struct kt_block *b = &t->block;
    struct kt_sample_step_args a = {.x = e->preview,
                                    .v = b->v,
                                    .sigma = e->schedule.sigma[b->picks[b->next - 1]],
                                    .n = (int)e->latent_floats};
    int rc = e->dev->k.copy_rows(e->dev->q, e->preview, 0, b->before, 0, 1,
                                 e->latent_floats * sizeof(float));
    return rc < 0 ? rc : e->dev->k.sample_step(e->dev->q, &a);
}

/* The preview VAE keeps no state along the stream: the latent before gives it one, so that its
 * first pictures are not those of a stream's start. */
static int decode_preview(struct kt_timeline *t, int *frames, struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    struct kt_vae *vae = e->preview_vae ? e->preview_vae : e->vae;
    struct kt_vae_tail *before = NULL, *after = NULL;
    struct kt_slab_item *clean = kt_history_clean(&t->history, t->history.latents - 1);
    int rc = 0;
    if (!e->preview_vae) {
        before = kt_vae_tail_ref(kt_history_tail(&t->history));
    } else if (clean) {
        rc = kt_vae_decode(vae, NULL, clean->data, e->rgb, frames, &before, err);
    }
    if (rc == 0) {
        rc = kt_vae_decode(vae, before, e->preview, e->rgb, frames, &after, err);
    }
    kt_vae_tail_unref(&before);
    kt_vae_tail_unref(&after);
    return rc;
}

int kt_timeline_preview(struct kt_timeline *t, uint8_t *i420, size_t frame_bytes,
                        struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    int frames = 0, rc;
    if (!e->vae) {
        return kt_fail(err, -ENOTSUP, "preview: model '%s' has no VAE", e->config.name);
    }
    if (!t->block.active || t->block.next == 0) {
        return kt_fail(err, -EINVAL, "preview: no step of a block has been made");
    }
    if ((rc = predict_first(t)) < 0) {
        return kt_fail(err, rc, "preview: sampler failed");
    }
    if ((rc = decode_preview(t, &frames, err)) < 0) {
        return rc;
    }
    return convert(e, e->preview_vae ? &e->preview_info : &e->vae_info, frames, i420, frame_bytes,
                   err);
}

double kt_engine_convert_ms(const struct kt_engine *e)
{
    return e->convert_ms;
}

int kt_timeline_decode_rgb(struct kt_timeline *t, float *rgb, struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    size_t floats = (size_t)e->vae_info.width * (size_t)e->vae_info.height * 3;
    int frames = kt_timeline_decode_next(t, err);
    if (frames < 0) {
        return frames;
    }
    int rc = kt_device_download(e->dev, rgb, e->rgb, floats * (size_t)frames * sizeof(float));
    return rc < 0 ? rc : frames;
}
