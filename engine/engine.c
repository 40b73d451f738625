#include "engine/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/parts.h"

enum {
    KT_TIMELINES_DEFAULT = 2,
    KT_SNAPSHOTS_PER_TIMELINE = 2,
    KT_CONTEXTS_DEFAULT = 16,
    KT_UNBOUNDED_DEFAULT = 64,
    KT_TAILS_DEFAULT = 6, /* decode lead 2 + send lead 2, and the state before and after */
};

static int open_weights(struct kt_safetensors **st, const struct kt_engine *e, const char *dir,
                        const char *file, struct kt_error *err)
{
    char path[4096];
    if (e->random_weights) {
        return kt_safetensors_open_random(st, err);
    }
    if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path)) {
        return kt_fail(err, -ENAMETOOLONG, "model directory name is too long: %s", dir);
    }
    return kt_safetensors_open(st, path, err);
}

static int open_text(struct kt_engine *e, const char *dir, struct kt_error *err)
{
    struct kt_safetensors *st = NULL;
    char path[4096];
    const struct kt_text_config *c = &e->config.text;
    if (c->vocab == 0) {
        return 0;
    }
    int rc = open_weights(&st, e, dir, c->file, err);
    if (rc == 0) {
        rc = kt_text_encoder_open(&e->encoder, e->dev, c, st, err);
        kt_device_name_weights(e->dev, "text weights");
    }
    kt_safetensors_close(&st);
    if (rc < 0 || c->tokenizer[0] == '\0' || e->random_weights) {
        return rc;
    }
    snprintf(path, sizeof(path), "%s/%s", dir, c->tokenizer);
    rc = kt_tokenizer_open(&e->tokenizer, path, err);
    if (rc == -ENOTSUP) { /* built without SentencePiece: prompts will be refused, the rest works */
        return 0;
    }
    if (rc == 0 && kt_tokenizer_vocab(e->tokenizer) > c->vocab) {
        return kt_fail(err, -EBADMSG, "%s: expected at most vocab %d pieces, found %d", path,
                       c->vocab, kt_tokenizer_vocab(e->tokenizer));
    }
    return rc;
}

static int open_one_vae(struct kt_engine *e, struct kt_vae **vae, const struct kt_vae_config *c,
                        int tails, const char *dir, struct kt_error *err)
{
    struct kt_safetensors *st = NULL;
    int rc = open_weights(&st, e, dir, c->file, err);
    if (rc == 0) {
        struct kt_vae_params p = {
            .config = c,
            .weights = st,
            .latent_h = e->config.dit.latent_h,
            .latent_w = e->config.dit.latent_w,
            .tails_max = tails,
        };
        rc = kt_vae_open(vae, e->dev, &p, err);
    }
    kt_safetensors_close(&st);
    return rc;
}

/* Previews are decoded from nothing but the latents before them: two tails. Whoever has not
 * downloaded the file has previews by the VAE. */
static int open_preview(struct kt_engine *e, const char *dir, struct kt_error *err)
{
    if (e->config.preview_vae.kind == KT_VAE_NONE || e->tiny_vae) {
        return 0;
    }
    int rc = open_one_vae(e, &e->preview_vae, &e->config.preview_vae, 2, dir, err);
    if (rc < 0) {
        return rc == -ENOENT ? 0 : rc;
    }
    kt_vae_get_info(e->preview_vae, &e->preview_info);
    if (e->preview_info.width != e->vae_info.width ||
        e->preview_info.height != e->vae_info.height) {
        return kt_fail(
            err, -EINVAL, "preview_vae: expected pictures of the vae's %dx%d, found %dx%d",
            e->vae_info.width, e->vae_info.height, e->preview_info.width, e->preview_info.height);
    }
    return 0;
}

/* The tail pool is sized for every timeline's kept positions, one being written, and what a
 * snapshot keeps. */
static int open_vae(struct kt_engine *e, const char *dir, struct kt_error *err)
{
    if (e->config.vae.kind == KT_VAE_NONE) {
        return 0;
    }
    e->tails_kept = KT_TAILS_DEFAULT;
    int tails = e->timelines_max * (e->tails_kept + 1) + e->snapshots_max * KT_SNAPSHOT_TAILS;
    int rc = open_one_vae(e, &e->vae, &e->config.vae, tails, dir, err);
    if (rc < 0) {
        return rc;
    }
    kt_vae_get_info(e->vae, &e->vae_info);
    kt_device_name_weights(e->dev, "vae weights");
    rc = open_preview(e, dir, err);
    kt_device_name_weights(e->dev, "preview vae weights");
    if (rc < 0) {
        return rc;
    }
    size_t pixels = (size_t)e->vae_info.width * (size_t)e->vae_info.height;
    size_t frames = (size_t)e->vae_info.frames_per_latent;
    size_t previews = (size_t)e->preview_info.frames_per_latent;
    frames = frames > previews ? frames : previews;
    e->rgb = kt_device_alloc(e->dev, frames * 3 * pixels * sizeof(float), "decoded rgb");
    e->i420 = kt_device_alloc(e->dev, frames * pixels * 3 / 2, "decoded i420");
    return e->rgb && e->i420 ? 0 : kt_fail(err, -ENOMEM, "decoded frames: out of device memory");
}

static int open_dit(struct kt_engine *e, const char *dir, struct kt_error *err)
{
    struct kt_safetensors *st = NULL;
    int rc = open_weights(&st, e, dir, e->config.dit.file, err);
    if (rc < 0) {
        return rc;
    }
    struct kt_dit_params p = {.config = &e->config.dit,
                              .sampler = &e->config.sampler,
                              .schedule = &e->schedule,
                              .weights = st,
                              .slots_max = e->shape.window};
    rc = kt_dit_open(&e->dit, e->dev, &p, err);
    kt_device_name_weights(e->dev, "dit weights");
    kt_safetensors_close(&st);
    return rc;
}

static int init_shape(struct kt_engine *e, const struct kt_engine_params *p, struct kt_error *err)
{
    const struct kt_sampler_config *s = &e->config.sampler;
    int unbounded = p->unbounded_frames_max ? p->unbounded_frames_max : KT_UNBOUNDED_DEFAULT;
    e->shape.window = s->local_attn_size > 0 ? s->local_attn_size : unbounded;
    e->shape.sink = s->local_attn_size > 0 ? s->sink_size : 0;
    e->shape.slack = KT_SLACK_BLOCKS * s->num_frame_per_block;
    if (e->shape.window > KT_SLOTS_MAX || s->num_frame_per_block > KT_SLACK_MAX / 2 ||
        e->shape.sink > KT_SINK_MAX) {
        return kt_fail(err, -EINVAL, "window %d, sink %d, block %d: at most %d, %d, %d",
                       e->shape.window, e->shape.sink, s->num_frame_per_block, KT_SLOTS_MAX,
                       KT_SINK_MAX, KT_SLACK_MAX / 2);
    }
    e->shape.slack = e->shape.slack < KT_SLACK_MAX ? e->shape.slack : KT_SLACK_MAX;
    if (e->shape.sink + s->num_frame_per_block > e->shape.window) {
        return kt_fail(err, -EINVAL, "local_attn_size %d: expected at least sink_size + block = %d",
                       e->shape.window, e->shape.sink + s->num_frame_per_block);
    }
    return 0;
}

/* Timelines never run dry, however far apart they are: each has its own window, its slack and the
 * block being committed, and one of them a recache. Snapshots share with the timeline they were
 * taken of and with each other; what one keeps for itself alone is counted as its slack, and
 * whoever takes more watches pages_used. Clean latents cost a thousandth of a page and do not run
 * dry before them: a snapshot may keep all of its own. */
static int init_pools(struct kt_engine *e, struct kt_error *err)
{
    int block = e->config.sampler.num_frame_per_block;
    int lists = e->shape.window + e->shape.slack + block;
    int extra = e->snapshots_max * e->shape.slack + e->shape.window;
    int extra_clean = e->snapshots_max * (e->shape.window + e->shape.slack) + e->shape.window;
    e->latent_floats = (size_t)e->config.dit.in_dim * (size_t)e->config.dit.latent_h *
                       (size_t)e->config.dit.latent_w;
    int pages = e->timelines_max * lists + extra;
    int rc = kt_slab_init(&e->pages, e->dev, kt_dit_page_bytes(e->dit), pages, "K/V pages");
    if (rc < 0) {
        return kt_fail(err, rc,
                       "no memory for %d K/V pages of %.1f MiB (%d timelines, %d snapshots) beside "
                       "%.1f MiB of other buffers",
                       pages, (double)kt_dit_page_bytes(e->dit) / 1048576, e->timelines_max,
                       e->snapshots_max, (double)e->dev->stats.bytes_allocated / 1048576);
    }
    rc = kt_slab_init(&e->clean, e->dev, e->latent_floats * sizeof(float),
                      e->timelines_max * lists + extra_clean, "clean latents");
    e->latent_host = malloc(e->latent_floats * sizeof(float));
    e->preview = kt_device_alloc(e->dev, e->latent_floats * sizeof(float), "previewed latent");
    rc = e->latent_host && e->preview ? rc : -ENOMEM;
    return rc < 0 ? kt_fail(err, rc, "clean latents: out of device memory") : 0;
}

static int init_contexts(struct kt_engine *e, struct kt_error *err)
{
    size_t kv = kt_dit_context_bytes(e->dit), n = (size_t)e->contexts_max;
    int of_encoder = e->config.text.text_len, of_dit = e->config.dit.text_len;
    e->text_rows_max = of_encoder > of_dit ? of_encoder : of_dit;
    size_t values = (size_t)e->text_rows_max * (size_t)e->config.dit.text_dim;
    size_t rows = (size_t)of_dit * (size_t)e->config.dit.text_dim * e->dev->act_size;
    e->contexts = calloc(n, sizeof(*e->contexts));
    e->context_texts = calloc(n, KT_PROMPT_BYTES_MAX + 1);
    e->context_memory = kt_device_alloc(e->dev, kv * n, "cross-attention K/V of prompts");
    e->context_rows = kt_device_alloc(e->dev, rows * n, "encoder output of prompts");
    e->text_rows = kt_device_alloc(e->dev, values * e->dev->act_size, "encoder output");
    e->text_given = kt_device_alloc(e->dev, values * sizeof(float), "encoder output as given");
    e->text_mixed = kt_device_alloc(e->dev, values * sizeof(float), "encoder output mixed in");
    if (!e->contexts || !e->context_texts || !e->context_memory || !e->context_rows ||
        !e->text_rows || !e->text_given || !e->text_mixed) {
        return kt_fail(err, -ENOMEM, "prompt contexts: out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        e->contexts[i].engine = e;
        e->contexts[i].dit.kv = (char *)e->context_memory + kv * i;
        e->contexts[i].rows = (char *)e->context_rows + rows * i;
        e->contexts[i].text = e->context_texts + (KT_PROMPT_BYTES_MAX + 1) * i;
    }
    return 0;
}

static int init_timelines(struct kt_engine *e, struct kt_error *err)
{
    size_t block = (size_t)e->config.sampler.num_frame_per_block * e->latent_floats;
    size_t floats = block * (size_t)(2 + e->schedule.steps) + e->latent_floats;
    e->timelines = calloc((size_t)e->timelines_max, sizeof(*e->timelines));
    e->snapshots = calloc((size_t)e->snapshots_max + 1, sizeof(*e->snapshots));
    if (!e->timelines || !e->snapshots) {
        return kt_fail(err, -ENOMEM, "timelines: out of memory");
    }
    for (int i = 0; i < e->timelines_max; i++) {
        float *memory = kt_device_alloc(e->dev, floats * sizeof(float), "block in flight");
        if (!memory) {
            return kt_fail(err, -ENOMEM, "block in flight: out of device memory");
        }
        struct kt_block *b = &e->timelines[i].block;
        b->x = memory;
        b->v = memory + block;
        b->noise = memory + 2 * block; /* one per renoise */
        b->before = memory + block * (size_t)(2 + e->schedule.steps);
    }
    return 0;
}

static void init_counts(struct kt_engine *e, const struct kt_engine_params *p)
{
    e->timelines_max = p->timelines_max ? p->timelines_max : KT_TIMELINES_DEFAULT;
    e->snapshots_max = p->snapshots_max < 0 ? 0
                       : p->snapshots_max   ? p->snapshots_max
                                            : KT_SNAPSHOTS_PER_TIMELINE * e->timelines_max;
    e->contexts_max = p->contexts_max ? p->contexts_max : KT_CONTEXTS_DEFAULT;
}

/* What the caller wants other than the model's config says. */
static int override_config(struct kt_engine *e, const struct kt_engine_params *p,
                           struct kt_error *err)
{
    e->random_weights = p->random_weights;
    e->tiny_vae = p->tiny_vae;
    if (p->window) {
        e->config.sampler.local_attn_size = p->window;
    }
    if (p->tiny_vae && e->config.preview_vae.kind == KT_VAE_NONE) {
        return kt_fail(err, -EINVAL, "model '%s' has no preview_vae", e->config.name);
    }
    if (p->tiny_vae) {
        e->config.vae = e->config.preview_vae;
    }
    return 0;
}

int kt_engine_open(struct kt_engine **engine, const struct kt_engine_params *p,
                   struct kt_error *err)
{
    struct kt_engine *e = calloc(1, sizeof(*e));
    int rc;
    if (!e) {
        return kt_fail(err, -ENOMEM, "engine: out of memory");
    }
    if (p->config) {
        e->config = *p->config;
        e->config.vocabulary = (struct kt_vocabulary){0}; /* stays the caller's */
    } else if ((rc = kt_model_config_load(&e->config, p->model_dir, err)) < 0) {
        goto error;
    }
    init_counts(e, p);
    if ((rc = override_config(e, p, err)) < 0) {
        goto error;
    }
    kt_schedule_init(&e->schedule, &e->config.sampler);
    if ((rc = init_shape(e, p, err)) < 0 || (rc = kt_device_open(&e->dev, &p->device, err)) < 0 ||
        (rc = open_text(e, p->model_dir, err)) < 0 || (rc = open_dit(e, p->model_dir, err)) < 0 ||
        (rc = open_vae(e, p->model_dir, err)) < 0 || (rc = init_pools(e, err)) < 0 ||
        (rc = init_contexts(e, err)) < 0 || (rc = init_timelines(e, err)) < 0) {
        goto error;
    }
    *engine = e;
    return 0;
error:
    kt_engine_close(&e);
    return rc;
}

static void close_timelines(struct kt_engine *e)
{
    for (int i = 0; e->timelines && i < e->timelines_max; i++) {
        struct kt_timeline *t = &e->timelines[i];
        kt_timeline_destroy(&t);
        kt_device_free(e->dev, e->timelines[i].block.x);
    }
    for (int i = 0; e->snapshots && i < e->snapshots_max; i++) {
        KT_ASSERT(e->snapshots[i].refs == 0);
    }
    free(e->timelines);
    free(e->snapshots);
}

void kt_engine_close(struct kt_engine **engine)
{
    if (!engine || !*engine) {
        return;
    }
    struct kt_engine *e = *engine;
    close_timelines(e);
    kt_slab_finish(&e->pages);
    kt_slab_finish(&e->clean);
    if (e->dev) {
        void *buffers[] = {e->context_memory, e->context_rows, e->text_rows, e->text_given,
                           e->text_mixed,     e->preview,      e->rgb,       e->i420};
        for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
            kt_device_free(e->dev, buffers[i]);
        }
    }
    free(e->contexts);
    free(e->context_texts);
    free(e->latent_host);
    kt_vae_close(&e->vae);
    kt_vae_close(&e->preview_vae);
    kt_dit_close(&e->dit);
    kt_text_encoder_close(&e->encoder);
    kt_tokenizer_close(&e->tokenizer);
    kt_device_close(&e->dev);
    kt_model_config_free(&e->config);
    free(e);
    *engine = NULL;
}

const struct kt_model_config *kt_engine_config(const struct kt_engine *e)
{
    return &e->config;
}

struct kt_device *kt_engine_device(struct kt_engine *e)
{
    return e->dev;
}

int kt_engine_sync(struct kt_engine *e)
{
    return e->dev->k.queue_sync(e->dev->q);
}

void kt_engine_get_info(const struct kt_engine *e, struct kt_engine_info *out)
{
    *out = (struct kt_engine_info){
        .width = e->vae_info.width,
        .height = e->vae_info.height,
        .fps = e->config.fps,
        .first_frames = e->vae_info.first_frames,
        .frames_per_latent = e->vae_info.frames_per_latent,
        .block_latents = e->config.sampler.num_frame_per_block,
        .tokens_per_latent = kt_dit_tokens(e->dit),
        .page_bytes = e->pages.item_bytes,
        .latent_floats = e->latent_floats,
        .tail_bytes = e->vae_info.tail_bytes,
        .window = e->shape.window,
        .sink = e->shape.sink,
        .slack = e->shape.slack,
        .pages_max = e->pages.count,
        .pages_used = e->pages.used,
        .tails_max = e->vae ? kt_vae_tails_max(e->vae) : 0,
        .tails_used = e->vae ? kt_vae_tails_in_use(e->vae) : 0,
        .timelines_max = e->timelines_max,
        .snapshots_max = e->snapshots_max,
        .encodings = e->encodings,
        .snapshot_bytes_copied = e->snapshot_bytes_copied,
    };
    for (int i = 0; i < e->snapshots_max; i++) {
        out->snapshots_used += e->snapshots[i].refs > 0;
    }
    for (int i = 0; i < e->contexts_max; i++) {
        out->contexts_used += e->contexts[i].refs > 0 || e->contexts[i].has_text;
        out->contexts_free += e->contexts[i].refs == 0;
    }
}

static int warm_text(struct kt_engine *e, struct kt_error *err)
{
    struct kt_context *c = NULL;
    int rc = 0;
    for (int n = 1; n <= e->config.text.text_len && n <= 64 && e->encoder && rc == 0; n++) {
        int32_t ids[64] = {0};
        rc = kt_text_encoder_run(e->encoder, ids, n, e->text_rows, err);
    }
    for (int n = 0; n < e->config.dit.text_len && rc == 0; n += 16) {
        float *rows = calloc((size_t)(n + 1) * (size_t)e->config.dit.text_dim, sizeof(float));
        rc = rows ? kt_context_from_rows(e, &c, rows, n, err)
                  : kt_fail(err, -ENOMEM, "warm-up: out of memory");
        free(rows);
        kt_context_unref(&c);
    }
    return rc;
}

static int take_zeroed_pages(struct kt_engine *e, struct kt_slab_item **pages, int n)
{
    for (int i = 0; i < n; i++) {
        pages[i] = kt_slab_take(&e->pages);
        if (!pages[i]) {
            return -ENOBUFS;
        }
        kt_device_zero(e->dev, pages[i]->data, e->pages.item_bytes);
    }
    return 0;
}

/* One pass of `frames` latents behind `prefix` pages of nothing, on a block's scratch. */
static int warm_pass(struct kt_engine *e, struct kt_timeline *t, struct kt_slab_item **pages,
                     int prefix, int frames, struct kt_error *err)
{
    const float *x[KT_SLOTS_MAX];
    int64_t time[KT_SLOTS_MAX];
    for (int f = 0; f < frames; f++) {
        x[f] = t->block.x;
        time[f] = prefix + f;
    }
    struct kt_dit_pass pass = {.prefix = pages,
                               .prefix_count = prefix,
                               .x = x,
                               .time_index = time,
                               .frames = frames,
                               .row = kt_dit_clean_row(e->dit),
                               .context = &t->context->dit,
                               .v = prefix ? t->block.v : NULL};
    return kt_dit_run(e->dit, &pass, err);
}

static int warm_preview(struct kt_timeline *t, struct kt_error *err)
{
    int rc = kt_timeline_block_begin(t, 0, err);
    if (rc == 0 && (rc = kt_timeline_block_step(t, err)) >= 0) {
        rc = kt_timeline_preview(t, NULL, 0, err);
    }
    kt_timeline_block_abandon(t);
    return rc < 0 ? rc : 0;
}

/* The extremes of every shape that follows: a block in an empty and in a full window, a recache of
 * the whole window and of one latent, and the first, second and third latent of a decode. */
static int warm_timeline(struct kt_engine *e, struct kt_timeline *t, struct kt_error *err)
{
    struct kt_slab_item *pages[KT_SLOTS_MAX] = {0};
    int window = e->shape.window, block = e->config.sampler.num_frame_per_block;
    int rc = kt_timeline_block(t, 1, err);
    for (int i = 0; i < 3 && i < block && rc == 0 && e->vae; i++) {
        int frames = kt_timeline_decode(t, NULL, 0, err);
        rc = frames < 0 ? frames : 0;
    }
    if (rc == 0 && e->vae) {
        rc = warm_preview(t, err);
    }
    if (rc == 0 && take_zeroed_pages(e, pages, window - block) < 0) {
        rc = kt_fail(err, -ENOBUFS, "warm-up: no free pages");
    }
    if (rc == 0) {
        rc = warm_pass(e, t, pages, window - block, block, err);
    }
    if (rc == 0) {
        rc = warm_pass(e, t, pages, 0, window, err);
    }
    if (rc == 0) {
        rc = warm_pass(e, t, pages, window - block, 1, err);
    }
    for (int i = 0; i < window - block; i++) {
        kt_slab_unref(&pages[i]);
    }
    return rc;
}

int kt_engine_warm_up(struct kt_engine *e, struct kt_error *err)
{
    struct kt_context *c = NULL;
    struct kt_timeline *t = NULL;
    float none = 0;
    int rc = warm_text(e, err);
    if (rc == 0) {
        rc = kt_context_from_rows(e, &c, &none, 0, err);
    }
    if (rc == 0) {
        rc = kt_timeline_create(e, &t, 0, c, err);
    }
    if (rc == 0) {
        rc = warm_timeline(e, t, err);
    }
    kt_timeline_destroy(&t);
    kt_context_unref(&c);
    return rc;
}
