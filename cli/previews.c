/* `kinetype previews`: what could be shown of a prompt that nobody drafted before its pictures are
 * there, two ways, beside the pictures themselves (docs/previews.md).
 *
 *   A: the first latent of the real block as its first steps know it (kt_timeline_preview).
 *   B: a timeline of the same model at a smaller size, kept warm: every latent that is shown is
 *      encoded again from its pictures, made smaller. A commit recaches it under the new prompt,
 *      makes a block of few steps, and its pictures are made large.
 *
 * For each pair of prompts a stream runs under the first one; then everything is made of the same
 * instants: the old prompt's next pictures, the previews, the full pictures. The engine is idle
 * otherwise; in a server the live stream's own work comes on top of every way alike. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/files/sink.h"
#include "cli/previews/encoder.h"
#include "cli/previews/pixels.h"
#include "cli/previews/report.h"
#include "cli/takes.h"
#include "engine/base/clock.h"
#include "engine/engine.h"

enum { CLIP = KT_PREVIEWS_CLIP, FRAMES_MAX = 4096, SIDE_MAX = 4096, ROWS_MAX = 64, GAP = 4 };
enum { STEPS_SHOWN = 8 }; /* of way A */

/* What a preview's pictures are compared with and put into: one latent's. */
struct clip {
    float *rgb; /* [CLIP, 3, height, width] */
};

struct low {
    int width, height;
    struct kt_engine *e;
    struct kt_engine_info info;
    struct kt_previews_encoder *encoder;
    float *small;   /* [CLIP, 3, height, width] */
    float *latents; /* [latents_max, ...] of the stream so far */
    int latents_max, count;
    uint8_t *i420;
};

struct previews {
    const char *list, *model, *device, *precision, *encoder, *json, *sheet, *low_size;
    int threads, count, steps, rows, cell_width, quiet;
    struct kt_device_params device_params;
    struct kt_takes takes;
    struct kt_engine *e;
    struct kt_engine_info info;
    struct low low;
    size_t picture_bytes, picture_floats;
    uint8_t *i420; /* one latent's pictures */
    struct clip old, full, preview[KT_PREVIEWS_WAYS_MAX];
    float *cells[3];
    double way_ms[KT_PREVIEWS_WAYS_MAX], extra_ms[KT_PREVIEWS_WAYS_MAX];
    struct kt_previews_result *result;
    struct kt_sink *sink;
    uint8_t *sheet_i420;
    int sheet_width, sheet_height, cell_height, row;
    struct kt_error err;
};

/* The pair being compared. */
struct pair {
    const struct kt_take *take;
    struct kt_timeline *live, *next, *low;
    struct kt_context *from, *to, *low_from, *low_to;
    double text_ms;
};

static const int low_steps[] = {1, 2, 4};

static int context(struct kt_engine *e, struct kt_context **c, const struct kt_take_words *words,
                   struct kt_error *err)
{
    return words->text ? kt_context_from_text(e, c, words->text, words->bytes, err)
                       : kt_context_from_ids(e, c, words->ids, words->count, err);
}

/* The time since *start, once the device is done; the next part's time begins. */
static double lap(struct kt_engine *e, int64_t *start)
{
    kt_engine_sync(e);
    double ms = kt_ms_since(*start);
    *start = kt_now_ns();
    return ms;
}

static struct kt_previews_way *add_way(struct kt_previews_result *r, const char *kind, int steps)
{
    struct kt_previews_way *w = &r->way[r->ways++];
    snprintf(w->name, sizeof(w->name), steps ? "%s%d" : "%s", kind, steps);
    w->steps = steps;
    return w;
}

static void list_ways(struct previews *p)
{
    struct kt_previews_result *r = p->result;
    int steps = kt_engine_config(p->e)->sampler.steps;
    r->steps = p->steps = p->steps ? p->steps : steps;
    add_way(r, "old", 0);
    for (int i = 1; i < r->steps && i <= STEPS_SHOWN; i++) {
        add_way(r, "A", i);
    }
    for (size_t i = 0; i < sizeof(low_steps) / sizeof(low_steps[0]) && p->low.e; i++) {
        if (low_steps[i] <= steps) {
            add_way(r, "B", low_steps[i]);
        }
    }
}

/* ---- a stream under the first prompt ---- */

static void to_rgb(const struct previews *p, float *rgb)
{
    for (int f = 0; f < CLIP; f++) {
        kt_pixels_from_i420(rgb + (size_t)f * p->picture_floats,
                            p->i420 + (size_t)f * p->picture_bytes, p->info.width, p->info.height);
    }
}

/* Encodes what was just shown, `frames` pictures in p->i420: a stream's first counts four times. */
static int keep_warm(struct previews *p, int frames)
{
    struct low *l = &p->low;
    size_t small = 3 * (size_t)l->width * (size_t)l->height;
    if (!l->e) {
        return 0;
    }
    int64_t start = kt_now_ns();
    for (int f = 0; f < CLIP; f++) {
        int from = frames == CLIP ? f : 0;
        kt_pixels_from_i420(p->old.rgb, p->i420 + (size_t)from * p->picture_bytes, p->info.width,
                            p->info.height);
        kt_pixels_resize(l->small + (size_t)f * small, l->width, l->height, p->old.rgb,
                         p->info.width, p->info.height);
    }
    int rc = kt_previews_encode(l->encoder, l->small,
                                l->latents + (size_t)l->count * l->info.latent_floats, &p->err);
    l->count++;
    kt_samples_add(&p->result->stages.low_encode, lap(l->e, &start));
    return rc;
}

static int show_block(struct previews *p, struct kt_timeline *t, int *frame)
{
    int rc = kt_timeline_block(t, p->steps, &p->err);
    while (rc == 0 && kt_timeline_decoded(t) < kt_timeline_latents(t)) {
        int n = kt_timeline_decode(t, p->i420, p->picture_bytes, &p->err);
        rc = n < 0 ? n : keep_warm(p, n);
        *frame += n > 0 ? n : 0;
    }
    return rc;
}

static int play(struct previews *p, struct pair *pair)
{
    int frame = 0;
    int rc = context(p->e, &pair->from, &pair->take->prompt, &p->err);
    p->low.count = 0;
    rc = rc < 0 ? rc : kt_timeline_create(p->e, &pair->live, pair->take->seed, pair->from, &p->err);
    do {
        rc = rc < 0 ? rc : show_block(p, pair->live, &frame);
    } while (rc == 0 && frame < pair->take->at);
    return rc;
}

/* The small timeline as slack would have kept it: under the old prompt. */
static int warm(struct previews *p, struct pair *pair)
{
    struct low *l = &p->low;
    if (!l->e) {
        return 0;
    }
    int sink = l->info.sink;
    struct kt_cold cold = {.at = l->count,
                           .n = l->count,
                           .window = l->latents,
                           .sink = l->count > sink ? l->latents : NULL,
                           .seed = pair->take->seed};
    int rc = context(l->e, &pair->low_from, &pair->take->prompt, &p->err);
    int64_t start = kt_now_ns();
    cold.context = cold.sink_context = pair->low_from;
    rc = rc < 0 ? rc : kt_timeline_resume(l->e, &pair->low, &cold, &p->err);
    kt_samples_add(&p->result->stages.low_resume, lap(l->e, &start));
    return rc;
}

/* ---- the commit ---- */

/* Old pictures go on meanwhile. */
static int go_on(struct previews *p, struct pair *pair)
{
    int rc = kt_timeline_block(pair->live, p->steps, &p->err);
    rc = rc < 0 ? rc : kt_timeline_decode(pair->live, p->i420, p->picture_bytes, &p->err);
    if (rc >= 0) {
        to_rgb(p, p->old.rgb);
    }
    return rc < 0 ? rc : 0;
}

/* The full way, with previews after each step that are not in its time. */
static int full(struct previews *p, struct pair *pair)
{
    struct kt_previews_stages *s = &p->result->stages;
    int64_t start = kt_now_ns();
    int rc = context(p->e, &pair->to, &pair->take->change, &p->err);
    double ms = pair->text_ms = lap(p->e, &start), part;
    kt_samples_add(&s->text, ms);
    rc = rc < 0 ? rc
                : kt_timeline_switch(pair->next, pair->to, pair->take->transition,
                                     pair->take->recache, &p->err);
    ms += part = lap(p->e, &start);
    kt_samples_add(&s->recache, part);
    rc = rc < 0 ? rc : kt_timeline_block_begin(pair->next, p->steps, &p->err);
    for (int i = 1; i <= p->steps && rc >= 0; i++) {
        rc = kt_timeline_block_step(pair->next, &p->err);
        ms += part = lap(p->e, &start);
        kt_samples_add(&s->step, part);
        if (rc > 0 && i <= STEPS_SHOWN) {
            rc = kt_timeline_preview(pair->next, p->i420, p->picture_bytes, &p->err);
            part = lap(p->e, &start);
            kt_samples_add(&s->preview, part);
            p->way_ms[i] = ms + part;
            p->extra_ms[i] = part;
            to_rgb(p, p->preview[i].rgb);
            start = kt_now_ns();
        }
    }
    rc = rc < 0 ? rc : kt_timeline_block_commit(pair->next, &p->err);
    ms += part = lap(p->e, &start);
    kt_samples_add(&s->commit, part);
    rc = rc < 0 ? rc : kt_timeline_decode(pair->next, p->i420, p->picture_bytes, &p->err);
    ms += part = lap(p->e, &start);
    kt_samples_add(&s->decode, part);
    p->way_ms[0] = ms;
    p->extra_ms[0] = 0;
    to_rgb(p, p->full.rgb);
    return rc < 0 ? rc : 0;
}

static void enlarge(struct previews *p, float *out)
{
    struct low *l = &p->low;
    for (int f = 0; f < CLIP; f++) {
        kt_pixels_from_i420(l->small,
                            l->i420 + (size_t)f * ((size_t)l->width * (size_t)l->height) * 3 / 2,
                            l->width, l->height);
        kt_pixels_resize(out + (size_t)f * p->picture_floats, p->info.width, p->info.height,
                         l->small, l->width, l->height);
    }
}

/* A small block of `steps` on a branch of the recached timeline. */
static int small_block(struct previews *p, struct kt_timeline *t, int way, double before_ms)
{
    struct kt_previews_stages *s = &p->result->stages;
    struct low *l = &p->low;
    size_t bytes = (size_t)l->width * (size_t)l->height * 3 / 2;
    int64_t start = kt_now_ns();
    double ms = before_ms, part;
    int steps = p->result->way[way].steps;
    int rc = kt_timeline_block_begin(t, steps, &p->err);
    for (int i = 0; i < steps && rc >= 0; i++) {
        rc = kt_timeline_block_step(t, &p->err);
        ms += part = lap(l->e, &start);
        kt_samples_add(&s->low_step, part);
    }
    rc = rc < 0 ? rc : kt_timeline_preview(t, l->i420, bytes, &p->err);
    ms += part = lap(l->e, &start);
    kt_samples_add(&s->low_decode, part);
    if (rc >= 0) {
        enlarge(p, p->preview[way].rgb);
    }
    kt_timeline_block_abandon(t);
    p->way_ms[way] = ms + lap(l->e, &start);
    p->extra_ms[way] = p->way_ms[way];
    return rc < 0 ? rc : 0;
}

static int small(struct previews *p, struct pair *pair)
{
    struct kt_previews_result *r = p->result;
    struct low *l = &p->low;
    if (!l->e) {
        return 0;
    }
    int64_t start = kt_now_ns();
    int rc = context(l->e, &pair->low_to, &pair->take->change, &p->err);
    kt_samples_add(&r->stages.low_text, lap(l->e, &start));
    rc = rc < 0 ? rc
                : kt_timeline_switch(pair->low, pair->low_to, pair->take->transition,
                                     pair->take->recache, &p->err);
    double recache_ms = lap(l->e, &start);
    kt_samples_add(&r->stages.low_recache, recache_ms);
    for (int i = 0; i < r->ways && rc == 0; i++) {
        if (r->way[i].name[0] == 'B') {
            rc = small_block(p, pair->low, i, recache_ms);
            p->way_ms[i] += pair->text_ms; /* the text is encoded once for both sizes */
        }
    }
    return rc;
}

/* ---- what came out ---- */

static void judge(struct previews *p, struct kt_previews_way *w, const float *shown)
{
    size_t n = CLIP * p->picture_floats, cells = 0;
    const float *full_rgb = p->full.rgb, *old = p->old.rgb;
    double ssim = 0;
    for (size_t f = 0; f < CLIP; f++) {
        size_t at = f * p->picture_floats;
        ssim += kt_pixels_ssim(shown + at, full_rgb + at, p->info.width, p->info.height) / CLIP;
        kt_pixels_cells(p->cells[0] + cells, old + at, p->info.width, p->info.height);
        kt_pixels_cells(p->cells[1] + cells, shown + at, p->info.width, p->info.height);
        cells += kt_pixels_cells(p->cells[2] + cells, full_rgb + at, p->info.width, p->info.height);
    }
    double psnr = kt_pixels_psnr(shown, full_rgb, n);
    kt_samples_add(&w->psnr, psnr);
    kt_samples_add(&w->ssim, ssim);
    kt_samples_add(&w->distance, kt_pixels_distance(shown, full_rgb, n));
    kt_samples_add(&w->jump, kt_pixels_distance(old, shown, n));
    kt_samples_add(&w->share, kt_pixels_share(old, shown, full_rgb, n));
    kt_samples_add(&w->colours, kt_pixels_share(p->cells[0], p->cells[1], p->cells[2], cells));
    w->nearer += psnr > kt_pixels_psnr(old, full_rgb, n);
    w->pairs++;
}

static void judge_all(struct previews *p)
{
    struct kt_previews_result *r = p->result;
    for (int i = 0; i < r->ways; i++) {
        kt_samples_add(&r->way[i].first_ms, p->way_ms[i]);
        kt_samples_add(&r->way[i].full_ms, p->way_ms[0] + p->extra_ms[i]);
        judge(p, &r->way[i], i ? p->preview[i].rgb : p->old.rgb);
    }
    for (size_t f = 1; f < CLIP; f++) {
        const float *at = p->full.rgb + f * p->picture_floats;
        kt_samples_add(&r->motion,
                       kt_pixels_distance(at - p->picture_floats, at, p->picture_floats));
    }
}

/* A cell of the sheet: the latent's third picture. */
static void draw_cell(struct previews *p, const float *clip, int column)
{
    int w = p->cell_width, h = p->cell_height;
    size_t stride = (size_t)p->sheet_width, luma = stride * (size_t)p->sheet_height;
    size_t x = (size_t)(GAP + column * (w + GAP)), y = (size_t)(GAP + p->row * (h + GAP));
    uint8_t *u = p->sheet_i420 + luma + y / 2 * (stride / 2) + x / 2;
    kt_pixels_resize(p->cells[0], w, h, clip + 2 * p->picture_floats, p->info.width,
                     p->info.height);
    kt_pixels_to_i420(p->sheet_i420 + y * stride + x, stride, p->cells[0], w, h, u, u + luma / 4);
}

/* The old picture, the earliest of A, the earliest and the last of B, the full one. */
static void draw_row(struct previews *p)
{
    const struct kt_previews_result *r = p->result;
    int column = 0;
    draw_cell(p, p->old.rgb, column++);
    for (int i = 1; i < r->ways; i++) {
        if (r->way[i].name[0] != r->way[i - 1].name[0] ||
            (r->way[i].name[0] == 'B' && i + 1 == r->ways)) {
            draw_cell(p, p->preview[i].rgb, column++);
        }
    }
    draw_cell(p, p->full.rgb, column);
    p->row++;
}

static int compare(struct previews *p, const struct kt_take *take)
{
    struct pair pair = {.take = take};
    int rc = play(p, &pair);
    if (rc == 0) {
        rc = warm(p, &pair);
    }
    if (rc == 0) {
        rc = kt_timeline_branch(pair.live, &pair.next, kt_timeline_latents(pair.live), &p->err);
    }
    rc = rc < 0 ? rc : go_on(p, &pair);
    rc = rc < 0 ? rc : full(p, &pair);
    rc = rc < 0 ? rc : small(p, &pair);
    if (rc == 0) {
        judge_all(p);
        if (p->sink && p->row < p->rows) {
            draw_row(p);
        }
    }
    kt_timeline_destroy(&pair.live);
    kt_timeline_destroy(&pair.next);
    kt_timeline_destroy(&pair.low);
    kt_context_unref(&pair.from);
    kt_context_unref(&pair.to);
    kt_context_unref(&pair.low_from);
    kt_context_unref(&pair.low_to);
    return rc;
}

/* ---- opening ---- */

static int open_low(struct previews *p)
{
    struct low *l = &p->low;
    if (l->width == 0) {
        return 0;
    }
    struct kt_model_config c = *kt_engine_config(p->e);
    c.width = l->width;
    c.height = l->height;
    c.dit.latent_w = l->width / 8;
    c.dit.latent_h = l->height / 8;
    c.vocabulary = (struct kt_vocabulary){0};
    struct kt_engine_params params = {
        .model_dir = p->model, .config = &c, .device = p->device_params};
    int rc = kt_engine_open(&l->e, &params, &p->err);
    if (rc < 0) {
        return kt_fail_prefix(&p->err, rc, "--low %dx%d", l->width, l->height);
    }
    kt_engine_get_info(l->e, &l->info);
    l->latents_max = FRAMES_MAX / CLIP + 2 * l->info.block_latents;
    l->latents = malloc((size_t)l->latents_max * l->info.latent_floats * sizeof(float));
    l->small = malloc(CLIP * 3 * (size_t)l->width * (size_t)l->height * sizeof(float));
    l->i420 = malloc(CLIP * (size_t)l->width * (size_t)l->height * 3 / 2);
    if (!l->latents || !l->small || !l->i420) {
        return kt_fail(&p->err, -ENOMEM, "out of memory");
    }
    return kt_previews_encoder_open(&l->encoder, kt_engine_device(l->e), p->encoder, l->width,
                                    l->height, c.vae.z_dim, &p->err);
}

static int alloc_clips(struct previews *p)
{
    size_t bytes = CLIP * p->picture_floats * sizeof(float);
    int ok = (p->i420 = malloc(CLIP * p->picture_bytes)) != NULL;
    ok = ok && (p->old.rgb = malloc(bytes)) && (p->full.rgb = malloc(bytes));
    for (int i = 1; i < p->result->ways && ok; i++) {
        ok = (p->preview[i].rgb = malloc(bytes)) != NULL;
    }
    for (int i = 0; i < 3 && ok; i++) {
        ok = (p->cells[i] = malloc(bytes)) != NULL;
    }
    return ok ? 0 : kt_fail(&p->err, -ENOMEM, "out of memory");
}

/* The whole sheet goes to the sink as one picture. */
static int open_sheet(struct previews *p)
{
    if (!p->sheet) {
        return 0;
    }
    int columns = p->low.e ? 5 : 3, w = p->info.width;
    w = p->cell_width && p->cell_width < w ? p->cell_width / 2 * 2 : w;
    p->cell_width = w;
    p->cell_height = w * p->info.height / p->info.width / 2 * 2;
    p->rows = p->rows < p->count ? p->rows : p->count;
    p->sheet_width = GAP + columns * (w + GAP);
    p->sheet_height = GAP + p->rows * (p->cell_height + GAP);
    size_t luma = (size_t)p->sheet_width * (size_t)p->sheet_height;
    p->sheet_i420 = malloc(luma * 3 / 2);
    if (!p->sheet_i420) {
        return kt_fail(&p->err, -ENOMEM, "out of memory");
    }
    memset(p->sheet_i420, 16, luma);
    memset(p->sheet_i420 + luma, 128, luma / 2);
    struct kt_sink_params s = {.path = p->sheet,
                               .width = p->sheet_width,
                               .height = p->sheet_height,
                               .fps = p->info.fps,
                               .pictures = 1};
    return kt_sink_open(&p->sink, &s, &p->err);
}

static int check_takes(struct previews *p)
{
    for (int i = 0; i < p->count; i++) {
        const struct kt_take *t = &p->takes.take[i];
        if (!t->change.text && !t->change.ids) {
            return kt_fail(&p->err, -EINVAL, "%s: take %d has no \"switch\"", p->list, i);
        }
        if (t->at > FRAMES_MAX || t->blend) {
            return kt_fail(&p->err, -EINVAL, "%s: take %d: expected \"at\" up to %d and no blend",
                           p->list, i, FRAMES_MAX);
        }
    }
    return 0;
}

static int open_all(struct previews *p)
{
    struct kt_engine_params params = {
        .model_dir = p->model, .timelines_max = 3, .device = p->device_params};
    int rc = kt_takes_open(&p->takes, p->list, &p->err);
    if (rc < 0) {
        return rc;
    }
    p->count = p->count && p->count < p->takes.count ? p->count : p->takes.count;
    rc = check_takes(p);
    rc = rc < 0 ? rc : kt_engine_open(&p->e, &params, &p->err);
    if (rc < 0) {
        return rc;
    }
    kt_engine_get_info(p->e, &p->info);
    if (p->info.frames_per_latent != CLIP || p->info.height > SIDE_MAX) {
        return kt_fail(&p->err, -EINVAL, "model '%s': expected a VAE that makes %d frames a latent",
                       p->model, CLIP);
    }
    p->picture_floats = 3 * (size_t)p->info.width * (size_t)p->info.height;
    p->picture_bytes = p->picture_floats / 2;
    rc = open_low(p);
    if (rc < 0) {
        return rc;
    }
    list_ways(p);
    rc = alloc_clips(p);
    return rc < 0 ? rc : open_sheet(p);
}

static int run(struct previews *p)
{
    int rc = open_all(p);
    int64_t start = kt_now_ns(), told = start;
    for (int i = 0; i < p->count && rc == 0; i++) {
        rc = compare(p, &p->takes.take[i]);
        if (rc < 0) {
            return kt_fail_prefix(&p->err, rc, "take %d", i);
        }
        if (!p->quiet && (i + 1 == p->count || kt_ms_since(told) > 2000)) {
            told = kt_now_ns();
            fprintf(stderr, "%d of %d pairs, %.1f s\n", i + 1, p->count, kt_ms_since(start) / 1000);
        }
    }
    if (rc < 0) {
        return rc;
    }
    struct kt_previews_result *r = p->result;
    r->e = p->e;
    r->pairs = p->count;
    r->low_width = p->low.width;
    r->low_height = p->low.height;
    r->latent_ms = CLIP * 1000.0 / p->info.fps;
    if (!p->json || strcmp(p->json, "-") != 0) {
        kt_previews_report_text(r);
    }
    rc = p->json ? kt_previews_report_json(r, p->json) : 0;
    if (rc < 0) {
        return kt_fail(&p->err, rc, "%s: %s", p->json, strerror(-rc));
    }
    rc = p->sink ? kt_sink_write(p->sink, p->sheet_i420, &p->err) : 0;
    return rc < 0 ? rc : kt_sink_close(&p->sink, &p->err);
}

static void close_all(struct previews *p)
{
    kt_sink_abort(&p->sink);
    kt_previews_encoder_close(&p->low.encoder);
    kt_engine_close(&p->low.e);
    kt_engine_close(&p->e);
    kt_takes_close(&p->takes);
    for (int i = 0; i < KT_PREVIEWS_WAYS_MAX; i++) {
        free(p->preview[i].rgb);
    }
    void *held[] = {p->old.rgb,    p->full.rgb,  p->cells[0],    p->cells[1], p->cells[2], p->i420,
                    p->sheet_i420, p->low.small, p->low.latents, p->low.i420, p->result};
    for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++) {
        free(held[i]);
    }
}

/* "96x64", or "none". */
static int parse_low(struct previews *p)
{
    int w = 0, h = 0, end = 0;
    if (strcmp(p->low_size, "none") == 0) {
        return 0;
    }
    if (sscanf(p->low_size, "%4dx%4d%n", &w, &h, &end) != 2 || p->low_size[end] != '\0' || w < 16 ||
        h < 16 || w % 16 || h % 16 || w > SIDE_MAX || h > SIDE_MAX) {
        return kt_fail(&p->err, -EINVAL,
                       "--low: expected WIDTHxHEIGHT in multiples of 16, as in 96x64, or none, "
                       "found '%s'",
                       p->low_size);
    }
    p->low.width = w;
    p->low.height = h;
    return 0;
}

static int check(struct previews *p)
{
    if (!p->list) {
        return kt_fail(&p->err, -EINVAL,
                       "the list of pairs is missing (tools/previews/pairs.jsonl)");
    }
    p->device_params = (struct kt_device_params){.kind = p->device, .threads = p->threads};
    int rc = kt_precision_parse(&p->device_params.precision, p->precision, &p->err);
    return rc < 0 ? rc : parse_low(p);
}

int kt_command_previews(int argc, char **argv)
{
    struct previews p = {.model = "models/demo",
                         .device = "cpu",
                         .precision = "auto",
                         .encoder = "tools/train/state/vae-0.safetensors",
                         .low_size = "96x64",
                         .rows = 8};
    const struct kt_option options[] = {
        {"", KT_OPTION_TEXT, &p.list, 0, 0, "pairs of prompts, one JSON object a line"},
        {"model", KT_OPTION_TEXT, &p.model, 0, 0, "model directory (models/demo)"},
        {"encoder", KT_OPTION_TEXT, &p.encoder, 0, 0,
         "the demo VAE's encoder (tools/train/state/vae-0.safetensors)"},
        {"low", KT_OPTION_TEXT, &p.low_size, 0, 0, "size of the small timeline, or none (96x64)"},
        {"steps", KT_OPTION_INT, &p.steps, 0, 16, "denoising steps, 0: the model's list"},
        {"count", KT_OPTION_INT, &p.count, 0, 1 << 20, "how many pairs, 0: all"},
        {"json", KT_OPTION_TEXT, &p.json, 0, 0, "the figures to this file, - for stdout"},
        {"sheet", KT_OPTION_TEXT, &p.sheet, 0, 0,
         "a contact sheet (.png): old, A1, first and last B, full"},
        {"rows", KT_OPTION_INT, &p.rows, 1, ROWS_MAX, "pairs on the sheet (8)"},
        {"cell", KT_OPTION_INT, &p.cell_width, 16, SIDE_MAX, "width of its pictures (the video's)"},
        {"device", KT_OPTION_TEXT, &p.device, 0, 0, "cpu, cuda or cuda:N (cpu)"},
        {"precision", KT_OPTION_TEXT, &p.precision, 0, 0, KT_PRECISION_LIST("") " (auto)"},
        {"threads", KT_OPTION_INT, &p.threads, 0, 1024, "CPU threads, 0: all cores"},
        {"quiet", KT_OPTION_FLAG, &p.quiet, 0, 0, "no progress"},
        {NULL, KT_OPTION_FLAG, NULL, 0, 0, NULL},
    };
    int rc = kt_arguments_parse(argc, argv, options, "previews LIST [options]");
    if (rc) {
        return rc == 1 ? 0 : rc;
    }
    rc = check(&p);
    int usage = rc < 0;
    if (rc == 0) {
        p.result = calloc(1, sizeof(*p.result));
        rc = p.result ? run(&p) : kt_fail(&p.err, -ENOMEM, "out of memory");
    }
    close_all(&p);
    if (rc < 0) {
        fprintf(stderr, "kinetype previews: %s\n", p.err.text[0] ? p.err.text : strerror(-rc));
        return usage ? 2 : 1;
    }
    return 0;
}
