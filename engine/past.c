#include "engine/past.h"

#include <errno.h>
#include <string.h>

void kt_past_put(struct kt_archive *a, int stream, const struct kt_timeline *t, int64_t from,
                 float *latent)
{
    int64_t end = kt_timeline_latents(t);
    for (int64_t i = from; i < end; i++) {
        if (kt_timeline_latent(t, i, latent) == 0) {
            kt_archive_put(a, stream, i, latent);
        }
    }
}

static int keeps_sink(const struct kt_engine *e, enum kt_transition transition)
{
    return transition == KT_TRANSITION_MODEL ? kt_engine_config(e)->sampler.global_sink
                                             : transition == KT_TRANSITION_CUT;
}

void kt_past_promoted(const struct kt_engine *e, struct kt_archive *a, int stream,
                      const struct kt_past_branch *b, float *latent)
{
    const struct kt_wish *w = b->wish;
    int forked = w->from >= 0 && w->from != stream;
    if (b->cut_at == 0 || (forked && kt_archive_fork(a, stream, w->from, b->cut_at) < 0)) {
        kt_archive_begin(a, stream, b->seed, b->text);
    } else {
        kt_archive_switch(a, stream, b->cut_at, b->text, b->resumed || keeps_sink(e, w->transition),
                          w->recache > 0 ? w->recache : 0);
    }
    kt_past_put(a, stream, b->timeline, b->cut_at, latent);
}

int kt_past_resume(struct kt_engine *e, struct kt_archive *a, int stream, int64_t at,
                   struct kt_context *context, struct kt_timeline **t, struct kt_error *err)
{
    struct kt_archive_point point;
    struct kt_context *sink = NULL;
    if (kt_archive_read(a, stream, at, &point) < 0) {
        return kt_fail(err, -ERANGE, "latent %lld of stream %d is not archived", (long long)at,
                       stream);
    }
    const char *text = point.sink_text ? point.sink_text : point.text;
    int rc = kt_context_from_text(e, &sink, text, strlen(text), err);
    if (rc == 0) {
        struct kt_cold cold = {.at = point.at,
                               .sink_at = point.sink_at,
                               .n = point.n,
                               .window = point.window,
                               .sink = point.sink,
                               .context = context,
                               .sink_context = sink,
                               .seed = point.seed};
        rc = kt_timeline_resume(e, t, &cold, err);
    }
    kt_context_unref(&sink);
    return rc;
}
