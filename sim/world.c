/* The virtual clock, and the front door.
 *
 * The door lets a session in where the board of a device says that nobody's frame rate breaks, on
 * the least loaded such device; who finds none waits in line, and the first in line is let in when
 * somebody leaves. Nothing here reads a real clock: time is what the next appointment says. */
#include "sim/parts.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PLACES_DEFAULT = 16, CONTEXTS_EACH = 8, WAITED_MS = 1000, PICTURES_EACH = 40 };

void kt_sim_params_default(struct kt_sim_params *p, const struct kt_sim_costs *costs)
{
    *p = (struct kt_sim_params){
        .devices = 1,
        .sessions = 1,
        .places = PLACES_DEFAULT,
        .seconds = 60,
        .warm_seconds = 2,
        .seed = 1,
        .costs = *costs,
        .jitter = 0.05,
        .settings = {.drafts = 1, .depth = -1, .preview = 1},
        .cut = KT_CUT_NOW,
        .net = {.up_ms = 10,
                .down_ms = 10,
                .jitter_ms = 4,
                .encode_ms = costs->page_mb > 10 ? 9 : 1.3, /* VP8 at 832x480, at 192x112 */
                .lead_ms = 250},
        .net_spread = 0.5,
        .arrive_s = 2,
    };
    kt_policy_default(&p->policy);
    kt_sim_people_default(&p->people);
}

void kt_sim_later(struct kt_sim_world *w, double at_ms, enum kt_sim_happening what, int who,
                  uint32_t stamp, int64_t value)
{
    struct kt_sim_appointment a = {
        .at_ms = at_ms, .kind = (int)what, .who = who, .stamp = stamp, .value = value};
    if (at_ms <= w->end_ms && kt_sim_agenda_add(&w->agenda, &a) < 0) {
        w->failed = -ENOMEM;
    }
}

/* Deferred to an appointment at this very moment: several things told at once are looked at
 * together, and a device is never entered from within. */
void kt_sim_look(struct kt_sim_world *w, int lane)
{
    struct kt_sim_lane *l = &w->lanes[lane];
    if (!l->device.working && w->now < l->look_at_ms) {
        l->look_at_ms = w->now;
        kt_sim_later(w, w->now, KT_SIM_LOOKS, lane, ++l->look_stamp, 0);
    }
}

static void look(struct kt_sim_world *w, int lane)
{
    struct kt_sim_lane *l = &w->lanes[lane];
    int told = l->device.waiting_count > 0;
    l->look_at_ms = INFINITY;
    kt_sim_device_look(&l->device, w->now);
    if (told && w->queue_count > 0) {
        kt_sim_later(w, w->now, KT_SIM_KNOCKS, 0, 0, 0);
    }
    double next = l->device.until_ms;
    if (next < l->look_at_ms) {
        l->look_at_ms = next;
        kt_sim_later(w, next, KT_SIM_LOOKS, lane, ++l->look_stamp, 0);
    }
}

/* ---- the door ---- */

static int free_slot(const struct kt_sim_world *w, const struct kt_sim_lane *l)
{
    for (int i = 0; i < w->p->places; i++) {
        if (l->sessions[i] < 0) {
            return i;
        }
    }
    return -1;
}

/* Steps that a newcomer may have there, 0: none. While the board has not heard of everybody who was
 * let in, it is not asked. */
static int admits(const struct kt_sim_world *w, const struct kt_sim_lane *l)
{
    if (l->open >= w->p->places || l->device.waiting_count > 0) {
        return 0;
    }
    return w->p->door == KT_SIM_DOOR_ALL ? l->device.p.board.steps_full
                                         : kt_board_admit(l->device.board);
}

/* The least loaded device that takes one more: those with 0 sessions first, then 1, ... */
static int find_lane(const struct kt_sim_world *w, int *steps)
{
    for (int open = 0; open < w->p->places; open++) {
        for (int i = 0; i < w->p->devices; i++) {
            if (w->lanes[i].open == open && (*steps = admits(w, &w->lanes[i])) > 0) {
                return i;
            }
        }
    }
    return -1;
}

static int try_enter(struct kt_sim_world *w, int who)
{
    int steps = 0, lane = find_lane(w, &steps);
    if (lane < 0) {
        return 0;
    }
    struct kt_sim_lane *l = &w->lanes[lane];
    struct kt_sim_session *s = &w->sessions[who];
    int slot = free_slot(w, l);
    double waited = w->now - s->arrived_ms;
    l->sessions[slot] = who;
    l->open++;
    w->r->at_once_max = l->open > w->r->at_once_max ? l->open : w->r->at_once_max;
    w->r->sessions_in++;
    w->r->queued_ever += waited > WAITED_MS;
    w->r->queue_ms_mean += waited;
    w->r->queue_ms_max = waited > w->r->queue_ms_max ? waited : w->r->queue_ms_max;
    kt_sim_session_enter(w, who, lane, slot, steps);
    return 1;
}

static void arrive(struct kt_sim_world *w, int who)
{
    struct kt_sim_session *s = &w->sessions[who];
    s->arrived_ms = w->now;
    s->state = KT_SIM_QUEUED;
    if (w->queue_count == 0 && try_enter(w, who)) {
        return;
    }
    w->queue[(w->queue_head + w->queue_count++) % w->p->sessions] = who;
}

static void knock(struct kt_sim_world *w)
{
    while (w->queue_count > 0 && try_enter(w, w->queue[w->queue_head])) {
        w->queue_head = (w->queue_head + 1) % w->p->sessions;
        w->queue_count--;
    }
}

void kt_sim_door_left(struct kt_sim_world *w, int lane, int slot)
{
    w->lanes[lane].sessions[slot] = -1;
    w->lanes[lane].open--;
    kt_sim_later(w, w->now, KT_SIM_KNOCKS, 0, 0, 0);
}

/* ---- opening and closing ---- */

static void device_params(const struct kt_sim_params *p, struct kt_sim_world *w, int id,
                          struct kt_sim_device_params *d)
{
    *d = (struct kt_sim_device_params){.costs = &p->costs,
                                       .board = {.sessions_max = p->places,
                                                 .branches_max = p->places,
                                                 .checkpoints_max = 2 * p->places,
                                                 .fps = 16,
                                                 .steps_full = 4,
                                                 .block_latents = 3,
                                                 .first_frames = 1,
                                                 .frames_per_latent = 4,
                                                 .window = 12,
                                                 .sink = 3,
                                                 .slack = KT_SLACK_BLOCKS * 3,
                                                 .has_preview = 1,
                                                 .policy = p->policy},
                                       .jitter = p->jitter,
                                       .frames_max = PICTURES_EACH * p->places,
                                       .pages_percent = p->pages_percent,
                                       .contexts_max = CONTEXTS_EACH * (p->places + 1),
                                       .seed = p->seed,
                                       .id = id,
                                       .sink = kt_sim_session_sink,
                                       .hooks = p->hooks};
    d->sink.arg = w;
}

static int open_lane(struct kt_sim_world *w, int id, struct kt_error *err)
{
    struct kt_sim_lane *l = &w->lanes[id];
    struct kt_sim_device_params d;
    device_params(w->p, w, id, &d);
    l->look_at_ms = INFINITY;
    l->sessions = malloc(sizeof(*l->sessions) * (size_t)w->p->places);
    if (!l->sessions) {
        return kt_fail(err, -ENOMEM, "simulate: out of memory");
    }
    for (int i = 0; i < w->p->places; i++) {
        l->sessions[i] = -1;
    }
    w->lanes_ready = id + 1;
    return kt_sim_device_init(&l->device, &d, w->host, err);
}

static int open_world(struct kt_sim_world *w, struct kt_error *err)
{
    const struct kt_sim_params *p = w->p;
    const struct kt_device_params host = {.kind = "cpu", .threads = 1};
    w->lanes = calloc((size_t)p->devices, sizeof(*w->lanes));
    w->sessions = calloc((size_t)p->sessions, sizeof(*w->sessions));
    w->queue = calloc((size_t)p->sessions, sizeof(*w->queue));
    if (!w->lanes || !w->sessions || !w->queue) {
        return kt_fail(err, -ENOMEM, "simulate: out of memory");
    }
    int rc = kt_device_open(&w->host, &host, err);
    for (int i = 0; i < p->devices && rc == 0; i++) {
        rc = open_lane(w, i, err);
    }
    for (int i = 0; i < p->sessions && rc == 0; i++) {
        struct kt_sim_session *s = &w->sessions[i];
        kt_sim_random_seed(&s->random, p->seed, UINT64_C(2) << 40 | (uint64_t)i);
        kt_sim_person_init(&s->person, &p->people, p->seed, i);
        s->stream_seed = (uint64_t)i;
        kt_sim_later(w, kt_sim_random_between(&s->random, 0, 1) * p->arrive_s * 1000,
                     KT_SIM_ARRIVES, i, 0, 0);
    }
    return rc;
}

static void close_world(struct kt_sim_world *w)
{
    for (int i = 0; i < w->lanes_ready; i++) {
        kt_sim_device_finish(&w->lanes[i].device);
        free(w->lanes[i].sessions);
    }
    kt_device_close(&w->host);
    kt_sim_agenda_finish(&w->agenda);
    free(w->lanes);
    free(w->sessions);
    free(w->queue);
}

/* ---- the clock ---- */

static void happens(struct kt_sim_world *w, const struct kt_sim_appointment *a)
{
    switch (a->kind) {
    case KT_SIM_ARRIVES: arrive(w, a->who); break;
    case KT_SIM_KNOCKS: knock(w); break;
    case KT_SIM_LOOKS:
        if (a->stamp == w->lanes[a->who].look_stamp) {
            look(w, a->who);
        }
        break;
    default: kt_sim_session_happens(w, a); break;
    }
}

static void add_faults(struct kt_sim_faults *to, const struct kt_sim_faults *f)
{
    if (!to->first[0]) {
        memcpy(to->first, f->first, sizeof(to->first));
    }
    to->jobs += f->jobs;
    to->memory += f->memory;
    to->idle += f->idle;
    to->promoted += f->promoted;
    to->lost += f->lost;
}

static void add_device(struct kt_sim_report *r, const struct kt_sim_device *d)
{
    struct kt_board_counters c;
    kt_board_get_counters(d->board, &c);
    r->board_busy_ms += c.busy_ms;
    r->board_wasted_ms += c.wasted_ms;
    r->busy_ms += d->books.busy;
    r->useful_ms += d->books.useful;
    r->wasted_ms += d->books.wasted;
    r->undecided_ms += kt_sim_device_undecided_ms(d);
    for (int i = 0; i < KT_JOB_KINDS; i++) {
        r->jobs[i] += d->books.jobs[i];
        r->job_ms[i] += d->books.ms[i];
    }
    r->pages_max = d->memory.pages.count;
    r->tails_max = kt_tail_pool_max(d->memory.tails);
    r->frames_max = d->p.frames_max;
    if (d->memory.tails_used_max > r->tails_used_max) {
        r->tails_used_max = d->memory.tails_used_max;
    }
    if (d->memory.pages_used_max > r->pages_used_max) {
        r->pages_used_max = d->memory.pages_used_max;
    }
    if (d->frames_used_max > r->frames_used_max) {
        r->frames_used_max = d->frames_used_max;
    }
    add_faults(&r->faults, &d->faults);
}

static void finish_report(struct kt_sim_world *w)
{
    struct kt_sim_report *r = w->r;
    int started = r->sessions_in;
    for (int i = 0; i < w->p->sessions; i++) {
        kt_sim_session_end(w, i);
    }
    for (int i = 0; i < w->p->devices; i++) {
        add_device(r, &w->lanes[i].device);
    }
    r->seconds = w->p->seconds;
    r->sessions_queued = w->queue_count;
    r->queued_ever += w->queue_count;
    r->device_ms = w->end_ms * w->p->devices;
    r->queue_ms_mean /= started ? started : 1;
    r->start_ms_mean /= started ? started : 1;
}

int kt_sim_run(const struct kt_sim_params *p, struct kt_sim_report *out, struct kt_error *err)
{
    struct kt_sim_params own = *p;
    struct kt_sim_world w = {.p = &own, .r = out, .end_ms = p->seconds * 1000};
    struct kt_sim_appointment a;
    own.places = p->places ? p->places : PLACES_DEFAULT;
    *out = (struct kt_sim_report){0};
    if (p->devices < 1 || p->sessions < 1 || own.places < 1 || !(p->seconds > 0)) {
        return kt_fail(err, -EINVAL,
                       "simulate: %d devices, %d sessions, %d places, %g s: expected at least 1 "
                       "of each",
                       p->devices, p->sessions, own.places, p->seconds);
    }
    int rc = open_world(&w, err);
    while (rc == 0 && !w.failed && kt_sim_agenda_take(&w.agenda, &a)) {
        w.now = a.at_ms;
        out->events++;
        happens(&w, &a);
    }
    w.now = w.end_ms;
    if (rc == 0 && w.failed) {
        rc = kt_fail(err, w.failed, "simulate: out of memory");
    }
    if (rc == 0) {
        finish_report(&w);
    } else {
        kt_sim_report_finish(out);
    }
    close_world(&w);
    return rc;
}

void kt_sim_report_finish(struct kt_sim_report *r)
{
    free(r->samples);
    *r = (struct kt_sim_report){0};
}
