/* Going on from cold latents. What a window holds is made again in the two passes that come closest
 * to how it was made: the sink alone, under its own prompt, and everything after it at once, as a
 * prompt switch does. A stream that was never stopped made its pages block by block, each seeing
 * only what came before it, and each perhaps under an older prompt: hence not the same bits. Where
 * the sink was made as one block, it is exactly the stream that switches here to its own prompt. On
 * the demo model the next latent differs from the never stopped stream's by 0.3 of its norm, which
 * is what any recache does to it: the scene stays, a motion may turn. */
#include <errno.h>
#include <string.h>

#include "engine/parts.h"

/* Latents decoded again, so that the decoder's state is that of a running stream. With 2, 3, 4, 6
 * of them the demo model's next pictures differ by 0.53, 0.23, 0.10, 0.02 of 255 (root mean square)
 * from those of a decoder that never stopped. */
enum { TAIL_WARM_UP = 4 };

static int check(const struct kt_engine *e, const struct kt_cold *c, struct kt_error *err)
{
    int64_t needed = c->at < e->shape.window ? c->at : e->shape.window;
    int has_sink = c->at <= e->shape.sink || c->sink || e->shape.sink == 0;
    if (c->at < 1 || c->n < needed || c->n > c->at || !c->window || !has_sink || !c->context ||
        !c->sink_context || c->sink_at < 0 ||
        (c->at > e->shape.sink && c->sink_at + e->shape.sink > c->at)) {
        return kt_fail(err, -EINVAL,
                       "resume at latent %lld: expected at least %lld latents before it, and the "
                       "sink's; found %d, sink at %lld",
                       (long long)c->at, (long long)needed, c->n, (long long)c->sink_at);
    }
    if (e->config.sampler.local_attn_size <= 0 && c->at > e->shape.window) {
        return kt_fail(err, -EINVAL, "resume: an unbounded window holds %d latents, not %lld",
                       e->shape.window, (long long)c->at);
    }
    return 0;
}

static int upload(struct kt_engine *e, struct kt_slab_item **items, const float *latents, int n)
{
    int rc = kt_engine_take_items(&e->clean, items, n);
    for (int i = 0; i < n && rc == 0; i++) {
        rc = kt_device_upload(e->dev, items[i]->data, latents + e->latent_floats * (size_t)i,
                              e->latent_floats * sizeof(float));
        if (rc < 0) {
            kt_engine_unref_items(items, n);
        }
    }
    return rc;
}

/* `frames` pages of `clean` latents from time index `at` on, behind `prefix` pages. */
static int make_pages(struct kt_engine *e, const struct kt_context *context,
                      struct kt_slab_item **pages, int prefix, struct kt_slab_item **clean,
                      int frames, int64_t at, struct kt_error *err)
{
    const float *x[KT_SLOTS_MAX];
    int64_t time[KT_SLOTS_MAX];
    for (int i = 0; i < frames; i++) {
        x[i] = clean[i]->data;
        time[i] = at + i;
    }
    struct kt_dit_pass pass = {.prefix = pages,
                               .prefix_count = prefix,
                               .x = x,
                               .time_index = time,
                               .frames = frames,
                               .row = kt_dit_clean_row(e->dit),
                               .context = &context->dit,
                               .pages = pages + prefix};
    return frames ? kt_dit_run(e->dit, &pass, err) : 0;
}

/* Fills an empty timeline's lists: clean latents, the sink's pages, the rest's. */
static int fill(struct kt_timeline *t, const struct kt_cold *c, struct kt_error *err)
{
    struct kt_engine *e = t->engine;
    struct kt_history *h = &t->history;
    struct kt_slab_item *sink[KT_SINK_MAX], *pages[KT_SLOTS_MAX];
    int keep = e->shape.window + e->shape.slack < c->n ? e->shape.window + e->shape.slack : c->n;
    int whole = c->at <= e->shape.sink; /* all there is, is sink */
    int sinks = whole ? (int)c->at : e->shape.sink;
    int64_t after = c->at - c->sink_at - sinks, room = e->shape.window - e->shape.sink;
    int rest = (int)(after < room ? after : room);
    const float *sink_from =
        whole ? c->window + e->latent_floats * (size_t)(c->n - sinks) : c->sink;
    int rc = upload(e, h->clean, c->window + e->latent_floats * (size_t)(c->n - keep), keep);
    if (rc < 0) {
        return kt_fail(err, rc, "resume: no free latents");
    }
    h->clean_count = keep;
    if ((rc = upload(e, sink, sink_from, sinks)) < 0) {
        return kt_fail(err, rc, "resume: no free latents");
    }
    rc = kt_engine_take_items(&e->pages, pages, sinks + rest);
    if (rc == 0) {
        rc = make_pages(e, c->sink_context, pages, 0, sink, sinks, c->sink_at, err);
        rc = rc < 0 ? rc
                    : make_pages(e, c->context, pages, sinks, h->clean + keep - rest, rest,
                                 c->at - rest, err);
        memcpy(h->sink, pages, (size_t)sinks * sizeof(pages[0]));
        memcpy(h->pages, pages + sinks, (size_t)rest * sizeof(pages[0]));
        h->sink_count = sinks;
        h->page_count = rest;
    } else {
        kt_fail(err, rc, "resume: %d pages needed, %d free", sinks + rest,
                e->pages.count - e->pages.used);
    }
    kt_engine_unref_items(sink, sinks);
    h->latents = h->floor = c->at;
    return rc;
}

static int warm_tail(struct kt_timeline *t, struct kt_error *err)
{
    struct kt_history *h = &t->history;
    int again = h->clean_count < TAIL_WARM_UP ? h->clean_count : TAIL_WARM_UP;
    h->decoded = t->engine->vae ? h->latents - again : h->latents;
    while (h->decoded < h->latents) {
        int frames = kt_timeline_decode_next(t, err);
        if (frames < 0) {
            return frames;
        }
        kt_history_trim_tails(h, 1);
    }
    return 0;
}

int kt_timeline_resume(struct kt_engine *e, struct kt_timeline **out, const struct kt_cold *cold,
                       struct kt_error *err)
{
    struct kt_timeline *t = NULL;
    int rc = check(e, cold, err);
    if (rc == 0) {
        rc = kt_timeline_create(e, &t, cold->seed, cold->context, err);
    }
    if (rc == 0) {
        rc = fill(t, cold, err);
    }
    if (rc == 0) {
        rc = warm_tail(t, err);
    }
    if (rc < 0) {
        kt_timeline_destroy(&t);
        return rc;
    }
    *out = t;
    return 0;
}
