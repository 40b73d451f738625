/* `kinetype bench`: how fast this machine runs a model, end to end and per stage, in the same
 * engine calls as `serve` and with the same encoder, one after the other on one thread: a lower
 * bound of what the server, which encodes beside the device, sustains. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/bench_encoder.h"
#include "cli/bench_report.h"
#include "cli/command.h"
#include "engine/base/clock.h"
#include "engine/engine.h"
#include "engine/snapshot.h"

enum { TEXT_TOKENS = 40, SWITCHES = 5, SNAPSHOTS = 20 };

struct bench {
    const char *model, *prompt, *device, *precision_word;
    int threads, json, reference, window, tiny_vae, no_vae, no_text;
    double seconds;

    struct kt_model_config config;
    struct kt_engine_info info;
    struct kt_bench_encoder *encoder;
    uint8_t *pictures;
    size_t picture_bytes;
    int64_t frames;
    uint64_t encoded_bytes;
    struct kt_bench_result r;
    struct kt_error err;
};

static struct kt_device *device(const struct bench *b)
{
    return kt_engine_device(b->r.e);
}

/* Waits for the device, so that the time since `start` is that of a stage. */
static void add(struct bench *b, struct kt_samples *s, int64_t start)
{
    device(b)->k.queue_sync(device(b)->q);
    kt_samples_add(s, kt_ms_since(start));
}

/* As many rows of encoder output, with nothing in them. */
static int blank_prompt(struct bench *b, struct kt_context **c)
{
    const struct kt_dit_config *d = &kt_engine_config(b->r.e)->dit;
    int n = d->text_len < TEXT_TOKENS ? d->text_len : TEXT_TOKENS;
    float *rows = calloc((size_t)n * (size_t)d->text_dim, sizeof(*rows));
    int64_t start = kt_now_ns();
    int rc = rows ? kt_context_from_rows(b->r.e, c, rows, n, &b->err) : -ENOMEM;
    add(b, &b->r.text, start);
    free(rows);
    return rc;
}

/* As many ids as a typical prompt has, other ones for another text. */
static int encode_ids(struct bench *b, struct kt_context **c, const char *text)
{
    const struct kt_text_config *t = &kt_engine_config(b->r.e)->text;
    const size_t length = strlen(text);
    int32_t ids[TEXT_TOKENS];
    int n = t->text_len < TEXT_TOKENS ? t->text_len : TEXT_TOKENS;
    for (int i = 0; i < n; i++) {
        int byte = length ? (unsigned char)text[(size_t)i % length] : 0;
        ids[i] = (byte * 31 + i) % t->vocab;
    }
    b->r.text_tokens = n;
    return kt_context_from_ids(b->r.e, c, ids, n, &b->err);
}

/* Words where there is a tokenizer, else ids; nothing where there is no text encoder. */
static int encode_prompt(struct bench *b, struct kt_context **c, const char *text)
{
    if (kt_engine_config(b->r.e)->text.vocab == 0) {
        return blank_prompt(b, c);
    }
    int64_t start = kt_now_ns();
    int rc = b->r.random ? -ENOTSUP : kt_context_from_text(b->r.e, c, text, strlen(text), &b->err);
    if (rc == -ENOTSUP) {
        rc = encode_ids(b, c, text);
    }
    add(b, &b->r.text, start);
    return rc;
}

static int decode_and_encode(struct bench *b, struct kt_timeline *t)
{
    int64_t start = kt_now_ns();
    int frames = kt_timeline_decode(t, b->pictures, b->picture_bytes, &b->err);
    if (frames < 0) {
        return frames;
    }
    double convert = kt_engine_convert_ms(b->r.e);
    kt_samples_add(&b->r.decode, kt_ms_since(start) - convert);
    kt_samples_add(&b->r.convert, convert);
    for (int f = 0; f < frames; f++) {
        start = kt_now_ns();
        int bytes = kt_bench_encoder_run(b->encoder, b->pictures + b->picture_bytes * (size_t)f);
        if (bytes < 0) {
            return kt_fail(&b->err, bytes, "encoder failed");
        }
        b->encoded_bytes += (uint64_t)bytes;
        kt_samples_add(&b->r.encode, kt_ms_since(start));
    }
    b->frames += frames;
    return 0;
}

/* The latents that have no pictures yet. */
static int decode_rest(struct bench *b, struct kt_timeline *t)
{
    int rc = 0;
    while (rc == 0 && !b->no_vae && kt_timeline_decoded(t) < kt_timeline_latents(t)) {
        rc = decode_and_encode(b, t);
    }
    return rc;
}

static int make_block(struct bench *b, struct kt_timeline *t)
{
    int64_t start = kt_now_ns();
    int rc = kt_timeline_block(t, b->r.steps, &b->err);
    add(b, &b->r.block, start);
    return rc < 0 ? rc : decode_rest(b, t);
}

/* From process start to the first encoded picture, without warm-up: what a newcomer waits for. */
static int first_frame(struct bench *b, struct kt_timeline **t, int64_t start_ns)
{
    struct kt_context *c = NULL;
    int rc = encode_prompt(b, &c, b->prompt);
    if (rc == 0) {
        rc = kt_timeline_create(b->r.e, t, 7, c, &b->err);
    }
    kt_context_unref(&c);
    if (rc == 0) {
        rc = kt_timeline_block(*t, b->r.steps, &b->err);
    }
    if (rc == 0) {
        rc = b->no_vae ? 0 : decode_and_encode(b, *t);
    }
    b->r.first_frame_ms = kt_ms_since(start_ns);
    return rc;
}

static void forget_samples(struct bench *b)
{
    struct kt_bench_result *r = &b->r;
    struct kt_samples *all[] = {&r->text,   &r->block,   &r->recache,
                                &r->decode, &r->convert, &r->encode};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        all[i]->count = 0;
    }
    b->frames = 0;
    b->encoded_bytes = 0;
}

static int steady_state(struct bench *b, struct kt_timeline *t)
{
    int64_t start = kt_now_ns();
    int rc = 0;
    while (rc == 0 && kt_ms_since(start) < b->seconds * 1000.0) {
        rc = make_block(b, t);
    }
    b->r.fps = (double)b->frames * 1000.0 / kt_ms_since(start);
    return rc;
}

static int switches(struct bench *b, struct kt_timeline *t)
{
    int rc = 0;
    for (int i = 0; i < SWITCHES && rc == 0; i++) {
        struct kt_context *c = NULL;
        char text[64];
        snprintf(text, sizeof(text), "a blue circle number %d moves to the left", i);
        rc = encode_prompt(b, &c, text);
        int64_t start = kt_now_ns();
        if (rc == 0) {
            rc = kt_timeline_switch(t, c, KT_TRANSITION_CUT, 0, &b->err);
            add(b, &b->r.recache, start);
        }
        kt_context_unref(&c);
    }
    return rc;
}

static int snapshots(struct bench *b, struct kt_timeline *t)
{
    int rc = 0;
    for (int i = 0; i < SNAPSHOTS && rc == 0; i++) {
        struct kt_snapshot *s = NULL;
        int64_t start = kt_now_ns();
        rc = kt_timeline_snapshot(t, &s, &b->err);
        if (rc == 0) {
            rc = kt_timeline_restore(t, s, &b->err);
        }
        kt_snapshot_unref(&s);
        kt_samples_add(&b->r.snapshot, kt_ms_since(start));
    }
    return rc;
}

/* What one block and its frames ask of the device. */
static int count_block(struct bench *b, struct kt_timeline *t)
{
    struct kt_queue_stats before, after, *d = &b->r.per_block;
    uint64_t allocs = device(b)->stats.allocs;
    kt_device_queue_stats(device(b), &before);
    int rc = kt_timeline_block(t, b->r.steps, &b->err);
    rc = rc < 0 ? rc : decode_rest(b, t);
    kt_device_queue_stats(device(b), &after);
    b->r.device_allocs_per_block = device(b)->stats.allocs - allocs;
    *d = (struct kt_queue_stats){.launches = after.launches - before.launches,
                                 .allocs = after.allocs - before.allocs,
                                 .syncs = after.syncs - before.syncs,
                                 .uploads = after.uploads - before.uploads,
                                 .downloads = after.downloads - before.downloads,
                                 .bytes_downloaded =
                                     after.bytes_downloaded - before.bytes_downloaded};
    return rc;
}

/* Everything that is measured with a full window. */
static int measure(struct bench *b, struct kt_timeline *t)
{
    int rc = 0;
    for (int i = 0; i < 5 && rc == 0; i++) { /* fill the window */
        rc = make_block(b, t);
    }
    forget_samples(b);
    if (rc == 0) {
        rc = steady_state(b, t);
    }
    if (rc == 0) {
        rc = count_block(b, t);
    }
    if (rc == 0) {
        rc = switches(b, t);
    }
    return rc < 0 ? rc : snapshots(b, t);
}

/* The model without the parts that are not to be measured (nor loaded). */
static int leave_out(struct bench *b)
{
    int rc = kt_model_config_load(&b->config, b->model, &b->err);
    if (b->no_vae) {
        b->config.vae.kind = KT_VAE_NONE;
    }
    if (b->no_text) {
        b->config.text.vocab = 0;
    }
    return rc;
}

/* Where pictures go, and what encodes them. */
static int open_pictures(struct bench *b)
{
    const struct kt_engine_info *info = &b->info;
    b->picture_bytes = (size_t)info->width * (size_t)info->height * 3 / 2;
    b->pictures =
        device(b)->k.host_alloc(device(b)->q, b->picture_bytes * (size_t)info->frames_per_latent);
    if (!b->pictures) {
        return kt_fail(&b->err, -ENOMEM, "pictures: out of memory");
    }
    int rc = kt_bench_encoder_open(&b->encoder, info->width, info->height, info->fps);
    return rc < 0 ? kt_fail(&b->err, rc, "encoder: %s", strerror(-rc)) : 0;
}

static int open_bench(struct bench *b)
{
    struct kt_engine_params p = {
        .model_dir = b->model,
        .timelines_max = 2,
        .snapshots_max = 2,
        .contexts_max = 8,
        .random_weights = b->r.random,
        .window = b->window,
        .tiny_vae = b->tiny_vae,
        .device = {.kind = b->device, .threads = b->threads, .cpu_mask_set = b->reference}};
    int rc = kt_precision_parse(&p.device.precision, b->precision_word, &b->err);
    if (rc == 0 && (b->no_vae || b->no_text)) {
        rc = leave_out(b);
        p.config = &b->config;
    }
    if (rc == 0) {
        rc = kt_engine_open(&b->r.e, &p, &b->err);
    }
    if (rc < 0) {
        return rc;
    }
    b->r.precision = kt_precision_name(kt_device_precision(device(b)));
    kt_engine_get_info(b->r.e, &b->info);
    return b->no_vae ? 0 : open_pictures(b);
}

static int run(struct bench *b, int64_t start_ns)
{
    struct kt_timeline *t = NULL;
    int rc = open_bench(b);
    if (rc == 0) {
        rc = first_frame(b, &t, start_ns);
    }
    int64_t warm = kt_now_ns();
    if (rc == 0) {
        rc = kt_engine_warm_up(b->r.e, &b->err);
    }
    b->r.warm_up_ms = kt_ms_since(warm);
    if (rc == 0) {
        rc = measure(b, t);
    }
    kt_timeline_destroy(&t);
    return rc;
}

static void report(struct bench *b)
{
    struct kt_bench_result *r = &b->r;
    r->encoder = kt_bench_encoder_name(b->encoder);
    r->encoded_bytes_per_s =
        b->frames ? (double)b->encoded_bytes * b->info.fps / (double)b->frames : 0;
    if (b->json) {
        kt_bench_report_json(r);
    } else {
        kt_bench_report_text(r);
    }
}

static void close_bench(struct bench *b)
{
    kt_bench_encoder_close(&b->encoder);
    if (b->pictures) {
        device(b)->k.host_free(device(b)->q, b->pictures);
    }
    kt_engine_close(&b->r.e);
    kt_model_config_free(&b->config);
    free(b);
}

int kt_command_bench(int argc, char **argv)
{
    int64_t start = kt_now_ns();
    struct bench *b = calloc(1, sizeof(*b));
    if (!b) {
        return 1;
    }
    b->model = "models/demo";
    b->prompt = "a red circle moves to the right over a green field";
    b->seconds = 10;
    b->device = "cpu";
    b->precision_word = "auto";
    const struct kt_option options[] = {
        {"", KT_OPTION_TEXT, &b->model, 0, 0, NULL},
        {"model", KT_OPTION_TEXT, &b->model, 0, 0, "model directory (models/demo)"},
        {"prompt", KT_OPTION_TEXT, &b->prompt, 0, 0, "text of the first prompt"},
        {"seconds", KT_OPTION_NUMBER, &b->seconds, 0.1, 3600, "how long to measure (10)"},
        {"steps", KT_OPTION_INT, &b->r.steps, 0, 16, "denoising steps, 0: the model's list"},
        {"device", KT_OPTION_TEXT, &b->device, 0, 0, "cpu, cuda or cuda:N (cpu)"},
        {"precision", KT_OPTION_TEXT, &b->precision_word, 0, 0, KT_PRECISION_LIST("") " (auto)"},
        {"threads", KT_OPTION_INT, &b->threads, 0, 1024, "CPU threads, 0: all cores"},
        {"reference", KT_OPTION_FLAG, &b->reference, 0, 0, "plain C kernels only"},
        {"random", KT_OPTION_FLAG, &b->r.random, 0, 0,
         "random weights: MODEL needs its config only"},
        {"window", KT_OPTION_INT, &b->window, 0, 64, "latents in the window (the model's)"},
        {"tiny-vae", KT_OPTION_FLAG, &b->tiny_vae, 0, 0, "decode with the model's preview VAE"},
        {"no-vae", KT_OPTION_FLAG, &b->no_vae, 0, 0, "leave decoding and encoding out"},
        {"no-text", KT_OPTION_FLAG, &b->no_text, 0, 0, "leave the text encoder out"},
        {"json", KT_OPTION_FLAG, &b->json, 0, 0, "machine-readable report"},
        {NULL, KT_OPTION_FLAG, NULL, 0, 0, NULL},
    };
    int rc = kt_arguments_parse(argc, argv, options, "bench [MODEL] [options]");
    if (rc == 0) {
        rc = run(b, start);
        if (rc < 0) {
            fprintf(stderr, "kinetype bench: %s\n", b->err.text[0] ? b->err.text : strerror(-rc));
            rc = 1;
        } else {
            report(b);
        }
    } else {
        rc = rc == 1 ? 0 : rc;
    }
    close_bench(b);
    return rc;
}
