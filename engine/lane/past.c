/* What a session's stream can go back to: its cold latents, kept in host memory under the session's
 * number. LIVE is archived, latent by latent as it is made; a branch is when it becomes LIVE.
 *
 * Without an archive everything here does nothing, and a rewind reaches as far as pages do. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/lane/parts.h"
#include "engine/past.h"

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

void kt_lane_past_grow(struct kt_lane *lane, int session)
{
    if (lane->archive) {
        const struct kt_timeline *t = lane->sessions[session].live.timeline;
        kt_past_put(lane->archive, session, t, kt_timeline_latents(t) - lane->info.block_latents,
                    lane->latent);
    }
}

/* LIVE has just become what NEXT was. */
void kt_lane_past_promoted(struct kt_lane *lane, int session)
{
    const struct lane_session *s = &lane->sessions[session];
    const struct lane_track *live = &s->live;
    struct kt_past_branch branch = {.timeline = live->timeline,
                                    .wish = &live->wish,
                                    .text = live->text ? live->text : "",
                                    .seed = s->seed,
                                    .cut_at = live->cut_at,
                                    .resumed = live->resumed};
    if (lane->archive) {
        kt_past_promoted(lane->engine, lane->archive, session, &branch, lane->latent);
    }
}

/* A timeline from the last archived position that is not after job->at. */
int kt_lane_past_resume(struct kt_lane *lane, const struct kt_job *job, struct kt_context *context,
                        struct kt_timeline **t, struct kt_error *err)
{
    int64_t at = lane->archive ? kt_archive_reach(lane->archive, job->from, job->at) : -1;
    return at >= 1 ? kt_past_resume(lane->engine, lane->archive, job->from, at, context, t, err)
                   : kt_fail(err, -ENOTSUP, "frame %lld is not kept any more",
                             (long long)kt_lane_frames_before(lane, job->at));
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
