#include "sim/device.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "sim/books.h"
#include "sim/execute.h"

enum { LIST_WORK_MAX = 10000 }; /* pieces without cost in a row: something goes in circles */

void kt_sim_fault(struct kt_sim_faults *f, uint64_t *counter, double now, const char *format, ...)
{
    va_list args;
    ++*counter;
    if (!f->first[0]) {
        int n = snprintf(f->first, sizeof(f->first), "%.3f ms: ", now);
        va_start(args, format);
        vsnprintf(f->first + n, sizeof(f->first) - (size_t)n, format, args);
        va_end(args);
    }
}

int kt_sim_device_init(struct kt_sim_device *d, const struct kt_sim_device_params *p,
                       struct kt_device *host, struct kt_error *err)
{
    const struct kt_board_params *b = &p->board;
    struct kt_sim_memory_params memory = {
        .shape = {.window = b->window, .sink = b->sink, .slack = b->slack},
        .block_latents = b->block_latents,
        .timelines_max = b->sessions_max + b->branches_max,
        .snapshots_max = b->checkpoints_max,
        .tails_kept = 6,
        .percent = p->pages_percent};
    *d = (struct kt_sim_device){.p = *p, .until_ms = INFINITY};
    kt_sim_random_seed(&d->random, p->seed, UINT64_C(1) << 40 | (uint64_t)p->id);
    d->places = calloc((size_t)b->sessions_max, sizeof(*d->places));
    d->checkpoints = calloc((size_t)b->checkpoints_max + 1, sizeof(*d->checkpoints));
    d->contexts = calloc((size_t)p->contexts_max, sizeof(*d->contexts));
    if (!d->places || !d->checkpoints || !d->contexts) {
        return kt_fail(err, -ENOMEM, "simulated device: out of memory");
    }
    int rc = kt_sim_memory_init(&d->memory, &memory, host, err);
    rc = rc < 0 ? rc : kt_board_create(&d->board, b, err);
    if (rc == 0) {
        *kt_board_costs(d->board) = kt_sim_costs_means(p->costs); /* as after a warm-up */
    }
    return rc;
}

void kt_sim_device_finish(struct kt_sim_device *d)
{
    for (int i = 0; d->places && i < d->p.board.sessions_max; i++) {
        kt_sim_stream_clear(&d->places[i].live.stream);
        kt_sim_stream_clear(&d->places[i].next.stream);
    }
    for (int i = 0; d->checkpoints && i < d->p.board.checkpoints_max; i++) {
        kt_sim_stream_clear(&d->checkpoints[i].stream);
    }
    kt_sim_memory_finish(&d->memory);
    kt_board_destroy(&d->board);
    free(d->places);
    free(d->checkpoints);
    free(d->contexts);
    free(d->waiting);
    d->places = NULL;
    d->checkpoints = NULL;
    d->contexts = NULL;
    d->waiting = NULL;
}

/* ---- commands ---- */

static void note_commit(struct kt_sim_device *d, struct kt_sim_place *s, const struct kt_wish *w)
{
    int most = (int)(sizeof(s->pending) / sizeof(s->pending[0]));
    if (s->pending_count == most) {
        memmove(s->pending, s->pending + 1, sizeof(s->pending[0]) * (size_t)(most - 1));
        s->pending_count--;
    }
    s->pending[s->pending_count++] = (struct kt_sim_pending){w->revision, w->key};
    s->spare = s->commit.key == w->key ? s->spare : s->commit;
    s->commit = *w;
    if (s->next.stream.there && s->next.wish.key == w->key) {
        s->next.wish.revision = w->revision;
        s->next.committed = 1;
    }
}

static void close_place(struct kt_sim_device *d, int session, double now)
{
    struct kt_sim_place *s = &d->places[session];
    kt_sim_dropped(d, &s->live);
    kt_sim_dropped(d, &s->next);
    d->books.wasted += s->text_ms;
    kt_sim_device_release(d, (int)s->next.held_count);
    kt_sim_stream_clear(&s->live.stream);
    kt_sim_stream_clear(&s->next.stream);
    kt_sim_forget_checkpoints(d, session);
    *s = (struct kt_sim_place){0};
    d->p.sink.closed(d->p.sink.arg, d->p.id, session, now);
}

/* Pictures of a branch that the playhead has passed are let go, but for the last latent's. */
static void release_passed(struct kt_sim_device *d, struct kt_sim_track *t, int64_t shown)
{
    int64_t most = t->held_count - d->p.board.frames_per_latent, passed = shown - t->held;
    int64_t gone = passed < most ? passed : most;
    if (t->stream.there && gone > 0) {
        t->held += gone;
        t->held_count -= gone;
        kt_sim_device_release(d, (int)gone);
    }
}

/* What the board hears of a command. */
static void tell_board(struct kt_sim_device *d, double now, const struct kt_sim_command *c)
{
    switch (c->kind) {
    case KT_SIM_OPEN: kt_board_open(d->board, c->session, now, &c->settings); break;
    case KT_SIM_DRAFT: kt_board_draft(d->board, c->session, now, &c->wish); break;
    case KT_SIM_UNDRAFT: kt_board_undraft(d->board, c->session); break;
    case KT_SIM_COMMIT: kt_board_commit(d->board, c->session, now, &c->wish); break;
    case KT_SIM_REPORT:
        kt_board_report(d->board, c->session, now, c->epoch, c->sent, c->shown);
        break;
    case KT_SIM_PAUSED: kt_board_pause(d->board, c->session, c->on); break;
    case KT_SIM_CLOSE: kt_board_close(d->board, c->session); break;
    }
}

static void run_command(struct kt_sim_device *d, double now, const struct kt_sim_command *c)
{
    const struct kt_sim_hooks *h = d->p.hooks;
    struct kt_sim_place *s = &d->places[c->session];
    int heard = !h || !h->command || h->command(h->arg, d->p.id, c);
    if (c->kind != KT_SIM_OPEN && !s->open) {
        return;
    }
    if (heard) {
        tell_board(d, now, c);
    }
    switch (c->kind) {
    case KT_SIM_OPEN: *s = (struct kt_sim_place){.open = 1}; break;
    case KT_SIM_DRAFT: s->draft = c->wish; break;
    case KT_SIM_UNDRAFT: break;
    case KT_SIM_COMMIT: note_commit(d, s, &c->wish); break;
    case KT_SIM_REPORT:
        if (c->epoch == s->epoch) {
            kt_sim_seen(d, s, c->sent);
            release_passed(d, &s->next, c->shown);
        }
        break;
    case KT_SIM_PAUSED: s->paused = c->on; break;
    case KT_SIM_CLOSE: close_place(d, c->session, now); break;
    }
}

int kt_sim_device_command(struct kt_sim_device *d, double now, const struct kt_sim_command *c)
{
    if (!d->working) {
        run_command(d, now, c);
        return 0;
    }
    if (d->waiting_count == d->waiting_cap) {
        int cap = d->waiting_cap ? 2 * d->waiting_cap : 16;
        struct kt_sim_command *more = realloc(d->waiting, sizeof(*more) * (size_t)cap);
        if (!more) {
            return -ENOMEM;
        }
        d->waiting = more;
        d->waiting_cap = cap;
    }
    d->waiting[d->waiting_count++] = *c;
    return 0;
}

void kt_sim_device_release(struct kt_sim_device *d, int frames)
{
    d->frames_used -= frames;
    KT_ASSERT(d->frames_used >= 0);
}

/* ---- work ---- */

/* Prompts in the LRU that nothing holds: what is shown, branches, wishes and checkpoints do. */
static int contexts_free(const struct kt_sim_device *d)
{
    int held = 0;
    for (int i = 0; i < d->p.board.sessions_max; i++) {
        const struct kt_sim_place *s = &d->places[i];
        held += s->open ? 2 + s->live.stream.there + s->next.stream.there : 0;
    }
    return d->p.contexts_max > held ? d->p.contexts_max - held : 0;
}

static struct kt_job choose(struct kt_sim_device *d, double now)
{
    const struct kt_sim_hooks *h = d->p.hooks;
    struct kt_board_resources r = {.pages_free = d->memory.pages.count - d->memory.pages.used,
                                   .frames_free = d->p.frames_max - d->frames_used,
                                   .contexts_free = contexts_free(d)};
    if (h && h->resources) {
        h->resources(h->arg, &r);
    }
    struct kt_job job = kt_board_next(d->board, now, &r);
    if (h && h->job) {
        h->job(h->arg, d->p.id, now, &job);
    }
    return job;
}

static void finish_job(struct kt_sim_device *d, double now)
{
    const struct kt_sim_hooks *h = d->p.hooks;
    struct kt_sim_place *s = &d->places[d->job.session];
    d->working = 0;
    kt_sim_charge(d, s, &d->job, &d->result);
    kt_sim_deliver(d, now, &d->job, &d->result);
    struct kt_job_result told = d->result;
    if (h && h->result) {
        h->result(h->arg, &d->job, &told);
    }
    kt_board_done(d->board, now, &d->job, &told);
}

static void run_waiting(struct kt_sim_device *d, double now)
{
    for (int i = 0; i < d->waiting_count; i++) {
        run_command(d, now, &d->waiting[i]);
    }
    d->waiting_count = 0;
}

void kt_sim_device_look(struct kt_sim_device *d, double now)
{
    if (d->working) {
        if (now < d->until_ms) {
            return;
        }
        finish_job(d, now);
    }
    for (int i = 0; i < LIST_WORK_MAX; i++) {
        run_waiting(d, now);
        struct kt_job job = choose(d, now);
        if (job.kind == KT_JOB_NONE) {
            d->until_ms = job.wake_ms;
            return;
        }
        d->job = job;
        kt_sim_execute(d, now, &d->job, &d->result);
        d->working = 1;
        if (d->result.ms > 0) {
            d->until_ms = now + d->result.ms;
            return;
        }
        finish_job(d, now);
    }
    kt_sim_fault(&d->faults, &d->faults.idle, now, "device %d: %d pieces of list work in a row",
                 d->p.id, LIST_WORK_MAX);
    d->until_ms = now + 1000;
}
