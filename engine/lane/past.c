/* What a session's stream can go back to: its cold latents, kept in host memory under the session's
 * number. LIVE is archived, latent by latent as it is made; a branch is when it becomes LIVE.
 *
 * Without an archive everything here does nothing, and a rewind reaches as far as pages do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/kv/archive.h"
#include "engine/lane/parts.h"

int kt_lane_open_past(struct kt_lane *lane, struct kt_error *err)
{
    struct kt_archive_params p = {
        .bytes_max = lane->p.archive_bytes,
        .streams_max = lane->p.sessions_max,
        .latent_floats = lane->info.latent_floats,
        .window = lane->info.window,
        .sink = lane->info.sink,
    };
    if (lane->p.archive_bytes == 0) {
        return 0;
    }
    lane->latent = malloc(p.latent_floats * sizeof(float));
    return lane->latent ? kt_archive_open(&lane->archive, &p, err)
                        : kt_fail(err, -ENOMEM, "archive: out of memory");
}

void kt_lane_close_past(struct kt_lane *lane)
{
    kt_archive_close(&lane->archive);
    free(lane->latent);
}

void kt_lane_past_end(struct kt_lane *lane, int session)
{
    if (lane->archive) {
        kt_archive_end(lane->archive, session);
    }
}

/* Latents [from, end) of LIVE. One that cannot be read leaves a gap, which the archive knows. */
static void put_latents(struct kt_lane *lane, int session, int64_t from)
{
    const struct kt_timeline *t = lane->sessions[session].live.timeline;
    int64_t end = kt_timeline_latents(t);
    for (int64_t i = from; i < end; i++) {
        if (kt_timeline_latent(t, i, lane->latent) == 0) {
            kt_archive_put(lane->archive, session, i, lane->latent);
        }
    }
}

void kt_lane_past_grow(struct kt_lane *lane, int session)
{
    if (lane->archive) {
        int64_t end = kt_timeline_latents(lane->sessions[session].live.timeline);
        put_latents(lane, session, end - lane->info.block_latents);
    }
}

static int keeps_sink(const struct kt_lane *lane, enum kt_transition transition)
{
    return transition == KT_TRANSITION_MODEL ? kt_engine_config(lane->engine)->sampler.global_sink
                                             : transition == KT_TRANSITION_CUT;
}

/* LIVE has just become what NEXT was. */
void kt_lane_past_promoted(struct kt_lane *lane, int session)
{
    const struct lane_session *s = &lane->sessions[session];
    const struct lane_track *live = &s->live;
    const struct kt_wish *w = &live->wish;
    const char *text = live->text ? live->text : "";
    if (!lane->archive) {
        return;
    }
    if (live->cut_at == 0) {
        kt_archive_begin(lane->archive, session, s->seed, text);
    } else if (w->from >= 0 && w->from != session &&
               kt_archive_fork(lane->archive, session, w->from, live->cut_at) < 0) {
        kt_archive_begin(lane->archive, session, s->seed, text);
    } else {
        kt_archive_switch(lane->archive, session, live->cut_at, text,
                          live->resumed || keeps_sink(lane, w->transition),
                          w->recache > 0 ? w->recache : 0);
    }
    put_latents(lane, session, live->cut_at);
}

/* A timeline from the last archived position that is not after job->at. */
int kt_lane_past_resume(struct kt_lane *lane, const struct kt_job *job, struct kt_context *context,
                        struct kt_timeline **t, struct kt_error *err)
{
    struct kt_archive_point point;
    struct kt_context *sink = NULL;
    int64_t at = lane->archive ? kt_archive_reach(lane->archive, job->from, job->at) : -1;
    if (at < 1 || kt_archive_read(lane->archive, job->from, at, &point) < 0) {
        return kt_fail(err, -ENOTSUP, "frame %lld is not kept any more",
                       (long long)kt_lane_frames_before(lane, job->at));
    }
    const char *text = point.sink_text ? point.sink_text : point.text;
    int rc = kt_context_from_text(lane->engine, &sink, text, strlen(text), err);
    if (rc == 0) {
        struct kt_cold cold = {.at = point.at,
                               .sink_at = point.sink_at,
                               .n = point.n,
                               .window = point.window,
                               .sink = point.sink,
                               .context = context,
                               .sink_context = sink,
                               .seed = point.seed};
        rc = kt_timeline_resume(lane->engine, t, &cold, err);
    }
    kt_context_unref(&sink);
    return rc;
}

/* The frames that a rewind can reach. */
void kt_lane_past_note(struct kt_lane *lane, int session)
{
    struct lane_session *s = &lane->sessions[session];
    struct kt_lane_past past = {.first = -1, .end = -1};
    if (s->live.timeline) {
        int64_t latents = kt_timeline_latents(s->live.timeline);
        int64_t first = latents > lane->info.slack ? latents - lane->info.slack : 0;
        first = first > s->live.cut_at ? first : s->live.cut_at;
        if (lane->archive) {
            struct kt_archive_stream kept;
            kt_archive_get_stream(lane->archive, session, &kept);
            first = kept.first >= 0 && kept.first < first ? kept.first : first;
        }
        past.first = kt_lane_frames_before(lane, first);
        past.end = kt_lane_frames_before(lane, kt_timeline_decoded(s->live.timeline));
    }
    pthread_mutex_lock(&lane->lock);
    s->past = past;
    pthread_mutex_unlock(&lane->lock);
}

void kt_lane_get_past(struct kt_lane *lane, uint32_t session, struct kt_lane_past *out)
{
    pthread_mutex_lock(&lane->lock);
    *out = lane->sessions[session].past;
    pthread_mutex_unlock(&lane->lock);
}
