/* Arithmetic on one session's place: positions, leads, and how long things would take. */
#include "engine/sched/places.h"

int64_t kt_board_frames_before(const struct kt_board *b, int64_t latent)
{
    return latent <= 0 ? 0 : b->p.first_frames + (latent - 1) * b->p.frames_per_latent;
}

int64_t kt_board_latent_of(const struct kt_board *b, int64_t frame)
{
    int64_t past = frame - b->p.first_frames;
    return past < 0 ? 0 : 1 + past / b->p.frames_per_latent;
}

double kt_place_lead_ms(const struct kt_board *b, const struct kt_place *s)
{
    if (!s->live.there) {
        return 0;
    }
    return (double)(kt_board_frames_before(b, s->live.decoded) - s->sent) * 1000.0 / b->p.fps;
}

/* Between two reports the playhead moves at the pace the video plays at, never past what was sent.
 */
int64_t kt_place_shown(const struct kt_board *b, const struct kt_place *s, double when)
{
    double fps = s->pace.fps > 0 ? s->pace.fps : b->p.fps;
    double since = when > s->shown_ms ? when - s->shown_ms : 0;
    int64_t shown = s->shown + (s->shown > 0 ? (int64_t)(since * fps / 1000.0) : 0);
    return shown < s->sent ? shown : s->sent;
}

int kt_place_ready(const struct kt_place *s)
{
    return s->next.there && s->next.decoded > s->next.cut;
}

int64_t kt_place_takeover(const struct kt_board *b, const struct kt_place *s)
{
    const struct kt_wish *w = &s->making.wish;
    int64_t at = s->next.cut;
    if (w->cut == KT_CUT_BLOCK && w->at < 0 && !w->fresh && s->live.there) {
        while (kt_board_frames_before(b, at) < s->sent && at < s->live.latents) {
            at += b->p.block_latents;
        }
    }
    return at;
}

enum kt_stage kt_place_stage(const struct kt_board *b, const struct kt_place *s)
{
    const struct kt_wanted *w = s->commit.there ? &s->commit : &s->draft;
    if (kt_place_ready(s)) {
        return KT_STAGE_READY;
    }
    if (s->next.there) {
        return KT_STAGE_BLOCK;
    }
    if (!w->there || w->failed) {
        return KT_STAGE_NONE;
    }
    return w->encoded ? KT_STAGE_CUT : KT_STAGE_TEXT;
}

int kt_place_recache(const struct kt_board *b, const struct kt_place *s, const struct kt_wish *w,
                     int64_t at)
{
    int full = w->transition == KT_TRANSITION_SCENE ? b->p.window : b->p.window - b->p.sink;
    int most = at < full ? (int)at : full;
    int64_t since;
    if (w->blend > 0) {
        return b->p.block_latents < most ? b->p.block_latents : most;
    }
    if (w->recache > 0) {
        return w->recache < most ? w->recache : most;
    }
    if (w->recache == KT_RECACHE_CHECKPOINT && s->checkpoint >= 0 && s->checkpoint < at) {
        since = at - s->checkpoint;
        return since < most ? (int)since : most;
    }
    return most;
}

double kt_place_ready_in_ms(const struct kt_board *b, const struct kt_place *s,
                            const struct kt_wanted *w)
{
    const struct kt_costs *c = &b->costs;
    int steps = s->pace.steps;
    double ms = c->decode_ms;
    if (s->next.there) {
        if (kt_place_ready(s)) {
            return 0;
        }
        if (s->next.latents > s->next.cut) {
            return c->decode_ms;
        }
        return ms + (s->next.block_active ? s->next.steps_left : steps) * c->step_ms;
    }
    ms += steps * c->step_ms;
    ms += w->encoded ? 0 : c->text_ms;
    return ms +
           (w->wish.fresh ? 0 : c->recache_ms * kt_place_recache(b, s, &w->wish, s->live.latents));
}
