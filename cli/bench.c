/* `kinetype bench`: how fast this machine runs a model, end to end and per stage, in the same
 * engine calls as `serve` and with the same encoder, one after the other on one thread: a lower
 * bound of what the server, which encodes beside the device, sustains. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <jansson.h>

#include "cli/arguments.h"
#include "cli/bench_encoder.h"
#include "cli/command.h"
#include "engine/base/clock.h"
#include "engine/engine.h"

enum { SAMPLES_MAX = 4096 };

struct samples {
    double ms[SAMPLES_MAX];
    int count;
};

struct bench {
    const char *model, *prompt;
    int steps, threads, json, reference, random, window, tiny_vae;
    double seconds;

    struct kt_engine *e;
    struct kt_engine_info info;
    struct kt_bench_encoder *encoder;
    uint8_t *pictures;
    size_t picture_bytes;
    struct samples text, block, recache, decode, convert, encode;
    double first_frame_ms, warm_up_ms, fps;
    int64_t frames;
    uint64_t encoded_bytes;
    struct kt_error err;
};

static void add(struct samples *s, double ms)
{
    if (s->count < SAMPLES_MAX) {
        s->ms[s->count++] = ms;
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(struct samples *s)
{
    if (s->count == 0) {
        return 0;
    }
    qsort(s->ms, (size_t)s->count, sizeof(s->ms[0]), by_value);
    return s->ms[s->count / 2];
}

static int encode_prompt(struct bench *b, struct kt_context **c, const char *text)
{
    int64_t start = kt_now_ns();
    int rc = kt_context_from_text(b->e, c, text, strlen(text), &b->err);
    if (rc ==
        -ENOTSUP) { /* no tokenizer in this build: the cost of the rest does not depend on words */
        float none = 0;
        return kt_context_from_rows(b->e, c, &none, 0, &b->err);
    }
    add(&b->text, kt_ms_since(start));
    return rc;
}

static int decode_and_encode(struct bench *b, struct kt_timeline *t)
{
    int64_t start = kt_now_ns();
    int frames = kt_timeline_decode(t, b->pictures, b->picture_bytes, &b->err);
    if (frames < 0) {
        return frames;
    }
    double convert = kt_engine_convert_ms(b->e);
    add(&b->decode, kt_ms_since(start) - convert);
    add(&b->convert, convert);
    for (int f = 0; f < frames; f++) {
        start = kt_now_ns();
        int bytes = kt_bench_encoder_run(b->encoder, b->pictures + b->picture_bytes * (size_t)f);
        if (bytes < 0) {
            return kt_fail(&b->err, bytes, "encoder failed");
        }
        b->encoded_bytes += (uint64_t)bytes;
        add(&b->encode, kt_ms_since(start));
    }
    b->frames += frames;
    return 0;
}

static int make_block(struct bench *b, struct kt_timeline *t)
{
    int64_t start = kt_now_ns();
    int rc = kt_timeline_block(t, b->steps, &b->err);
    add(&b->block, kt_ms_since(start));
    while (rc == 0 && kt_timeline_decoded(t) < kt_timeline_latents(t)) {
        rc = decode_and_encode(b, t);
    }
    return rc;
}

/* From process start to the first encoded picture, without warm-up: what a newcomer waits for. */
static int first_frame(struct bench *b, struct kt_timeline **t, int64_t start_ns)
{
    struct kt_context *c = NULL;
    int rc = encode_prompt(b, &c, b->prompt);
    if (rc == 0) {
        rc = kt_timeline_create(b->e, t, 7, c, &b->err);
    }
    kt_context_unref(&c);
    if (rc == 0) {
        rc = kt_timeline_block(*t, b->steps, &b->err);
    }
    if (rc == 0) {
        rc = decode_and_encode(b, *t);
    }
    b->first_frame_ms = kt_ms_since(start_ns);
    return rc;
}

static void forget_samples(struct bench *b)
{
    struct samples *all[] = {&b->text, &b->block, &b->recache, &b->decode, &b->convert, &b->encode};
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
    b->fps = (double)b->frames * 1000.0 / kt_ms_since(start);
    return rc;
}

static int switches(struct bench *b, struct kt_timeline *t)
{
    int rc = 0;
    for (int i = 0; i < 5 && rc == 0; i++) {
        struct kt_context *c = NULL;
        char text[64];
        snprintf(text, sizeof(text), "a blue circle number %d moves to the left", i);
        rc = encode_prompt(b, &c, text);
        int64_t start = kt_now_ns();
        if (rc == 0) {
            rc = kt_timeline_switch(t, c, KT_TRANSITION_CUT, 0, &b->err);
            add(&b->recache, kt_ms_since(start));
        }
        kt_context_unref(&c);
    }
    return rc;
}

static int run(struct bench *b, int64_t start_ns)
{
    struct kt_timeline *t = NULL;
    struct kt_engine_params p = {.model_dir = b->model,
                                 .timelines_max = 2,
                                 .snapshots_max = 2,
                                 .random_weights = b->random,
                                 .window = b->window,
                                 .tiny_vae = b->tiny_vae,
                                 .device = {.threads = b->threads, .cpu_mask_set = b->reference}};
    int rc = kt_engine_open(&b->e, &p, &b->err);
    if (rc < 0) {
        return rc;
    }
    kt_engine_get_info(b->e, &b->info);
    b->picture_bytes = (size_t)b->info.width * (size_t)b->info.height * 3 / 2;
    b->pictures = malloc(b->picture_bytes * (size_t)b->info.frames_per_latent);
    rc = b->pictures
             ? kt_bench_encoder_open(&b->encoder, b->info.width, b->info.height, b->info.fps)
             : -ENOMEM;
    if (rc == 0) {
        rc = first_frame(b, &t, start_ns);
    }
    int64_t warm = kt_now_ns();
    if (rc == 0) {
        rc = kt_engine_warm_up(b->e, &b->err);
    }
    b->warm_up_ms = kt_ms_since(warm);
    for (int i = 0; i < 5 && rc == 0; i++) { /* fill the window */
        rc = make_block(b, t);
    }
    forget_samples(b);
    if (rc == 0) {
        rc = steady_state(b, t);
    }
    if (rc == 0) {
        rc = switches(b, t);
    }
    kt_timeline_destroy(&t);
    return rc;
}

static double peak_rss_mib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024.0;
}

static void print_report(struct bench *b)
{
    const struct kt_model_config *c = kt_engine_config(b->e);
    struct kt_device *dev = kt_engine_device(b->e);
    json_t *report = json_pack(
        "{s:s, s:s, s:i, s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:s, s:I,"
        " s:{s:f, s:f, s:f, s:f, s:f, s:f}}",
        "model", c->name, "device", dev->k.name, "threads", dev->threads, "precision", "fp32",
        "steps", b->steps ? b->steps : c->sampler.steps, "width", b->info.width, "height",
        b->info.height, "model_fps", b->info.fps, "fps_end_to_end", b->fps, "first_frame_ms",
        b->first_frame_ms, "warm_up_ms", b->warm_up_ms, "peak_rss_mib", peak_rss_mib(), "encoder",
        kt_bench_encoder_name(b->encoder), "encoded_bytes_per_s",
        (json_int_t)(b->frames ? (double)b->encoded_bytes * b->info.fps / (double)b->frames : 0),
        "stage_ms", "text", median(&b->text), "denoise_block", median(&b->block), "recache",
        median(&b->recache), "vae_decode", median(&b->decode), "convert", median(&b->convert),
        "encode", median(&b->encode));
    if (!report) {
        return;
    }
    if (b->json) {
        json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(5));
        printf("\n");
    } else {
        printf("%s on %s, %d threads, %d steps: %.1f frames/s end to end (the video plays at %d)\n",
               c->name, dev->k.name, dev->threads, b->steps ? b->steps : c->sampler.steps, b->fps,
               b->info.fps);
        printf("first frame %.0f ms after start, warm-up %.0f ms, peak memory %.0f MiB\n",
               b->first_frame_ms, b->warm_up_ms, peak_rss_mib());
        printf("medians: text %.1f, block %.1f (%d latents), recache %.1f, decode %.1f a latent, "
               "convert %.2f, encode %.2f a frame (ms)\n",
               median(&b->text), median(&b->block), b->info.block_latents, median(&b->recache),
               median(&b->decode), median(&b->convert), median(&b->encode));
    }
    json_decref(report);
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
    const struct kt_option options[] = {
        {"", KT_OPTION_TEXT, &b->model, 0, 0, NULL},
        {"model", KT_OPTION_TEXT, &b->model, 0, 0, "model directory (models/demo)"},
        {"prompt", KT_OPTION_TEXT, &b->prompt, 0, 0, "text of the first prompt"},
        {"seconds", KT_OPTION_NUMBER, &b->seconds, 0.1, 3600, "how long to measure (10)"},
        {"steps", KT_OPTION_INT, &b->steps, 0, 16, "denoising steps, 0: the model's list"},
        {"threads", KT_OPTION_INT, &b->threads, 0, 1024, "CPU threads, 0: all cores"},
        {"reference", KT_OPTION_FLAG, &b->reference, 0, 0, "plain C kernels only"},
        {"random", KT_OPTION_FLAG, &b->random, 0, 0, "random weights: MODEL needs its config only"},
        {"window", KT_OPTION_INT, &b->window, 0, 64, "latents in the window (the model's)"},
        {"tiny-vae", KT_OPTION_FLAG, &b->tiny_vae, 0, 0, "decode with the model's preview VAE"},
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
            print_report(b);
        }
    } else {
        rc = rc == 1 ? 0 : rc;
    }
    kt_bench_encoder_close(&b->encoder);
    kt_engine_close(&b->e);
    free(b->pictures);
    free(b);
    return rc;
}
