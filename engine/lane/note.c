/* What is told to the outside: events, statistics, the decision log. */
#include <math.h>

#include "engine/base/assert.h"
#include "engine/kv/archive.h"
#include "engine/lane/parts.h"

void kt_lane_put_event(struct kt_lane *lane, const struct kt_event *e)
{
    pthread_mutex_lock(&lane->lock);
    int rc = kt_ring_put(&lane->events, e);
    pthread_mutex_unlock(&lane->lock);
    KT_ASSERT(rc == 0); /* room was checked before the job began */
    lane->p.wake(lane->p.wake_arg);
}

void kt_lane_put_failure(struct kt_lane *lane, int session, uint32_t revision,
                         const struct kt_error *err)
{
    struct kt_event e = {.kind = KT_EVENT_FAILED,
                         .session = (uint32_t)session,
                         .revision = revision,
                         .epoch = lane->sessions[session].epoch,
                         .error = *err};
    kt_lane_put_event(lane, &e);
}

double kt_stage_bound_ms(int bucket)
{
    static const double bounds[KT_HISTOGRAM] = {0.1, 0.3, 1,   2,   4,   8,   16,   25,
                                                40,  62,  100, 160, 250, 500, 1000, INFINITY};
    return bounds[bucket];
}

void kt_lane_note_stage(struct kt_lane *lane, enum kt_job_kind kind, double ms)
{
    struct kt_stage_stats *s = &lane->mine.stage[kind];
    int bucket = 0;
    while (ms > kt_stage_bound_ms(bucket)) {
        bucket++;
    }
    s->bucket[bucket]++;
    s->count++;
    s->sum_ms += ms;
}

/* Read by the loop thread; a copy of a few hundred bytes under the lock. */
void kt_lane_publish_stats(struct kt_lane *lane)
{
    struct kt_lane_stats *m = &lane->mine;
    struct kt_engine_info info;
    kt_engine_get_info(lane->engine, &info);
    m->pages_used = info.pages_used;
    m->pages_max = info.pages_max;
    m->tails_used = info.tails_used;
    m->contexts_used = info.contexts_used;
    m->costs = *kt_board_costs(lane->board);
    m->admit_steps = kt_board_admit(lane->board);
    m->sessions_open = m->drafts_now = m->depth_now = 0;
    for (int i = 0; i < lane->p.sessions_max; i++) {
        struct kt_board_session_info s;
        kt_board_get_session(lane->board, i, 0, &s);
        m->sessions_open += s.open;
        m->drafts_now += lane->sessions[i].next.timeline != NULL;
        m->depth_now += s.ahead;
    }
    if (lane->archive) {
        struct kt_archive_info kept;
        kt_archive_get_info(lane->archive, &kept);
        m->archive_bytes = kept.bytes_used;
    }
    kt_board_get_counters(lane->board, &m->board);
    pthread_mutex_lock(&lane->lock);
    m->events_stalled = lane->stats.events_stalled;
    lane->stats = *m;
    pthread_mutex_unlock(&lane->lock);
}

void kt_lane_tell_pace(struct kt_lane *lane, int session)
{
    struct lane_session *s = &lane->sessions[session];
    struct kt_board_session_info now;
    double full = lane->info.fps;
    kt_board_get_session(lane->board, session, 0, &now);
    int at_full = now.fps >= full && s->fps_told < full;
    if (!now.open ||
        (now.steps == s->steps_told && fabs(now.fps - s->fps_told) < 0.05 * full && !at_full)) {
        return;
    }
    s->fps_told = now.fps;
    s->steps_told = now.steps;
    struct kt_event e = {.kind = KT_EVENT_PACE,
                         .session = (uint32_t)session,
                         .epoch = s->epoch,
                         .fps = (float)now.fps,
                         .steps = now.steps};
    kt_lane_put_event(lane, &e);
}

void kt_lane_record(struct kt_lane *lane, struct kt_record *r)
{
    if (lane->p.record) {
        lane->mine.records++;
        lane->p.record(lane->p.record_arg, r);
    }
}

void kt_lane_record_command(struct kt_lane *lane, const struct kt_command *c,
                            enum kt_command_kind as, double now)
{
    struct kt_record r = {.kind = KT_RECORD_COMMAND,
                          .t_ms = now,
                          .session = (int)c->session,
                          .command = (int)as,
                          .wish = c->wish,
                          .settings = c->settings,
                          .sent = c->sent,
                          .shown = c->shown,
                          .epoch = c->epoch,
                          .frame = c->frame,
                          .text = c->text};
    kt_lane_record(lane, &r);
}
