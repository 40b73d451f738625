#include "sim/books.h"

int64_t kt_sim_frames_before(const struct kt_sim_device *d, int64_t latent)
{
    const struct kt_board_params *p = &d->p.board;
    return latent <= 0 ? 0 : p->first_frames + (latent - 1) * p->frames_per_latent;
}

int64_t kt_sim_latent_of(const struct kt_sim_device *d, int64_t frame)
{
    int64_t past = frame - d->p.board.first_frames;
    return past < 0 ? 0 : 1 + past / d->p.board.frames_per_latent;
}

static double *cost_of(struct kt_sim_track *t, int64_t latent)
{
    return &t->latent_ms[latent % KT_SIM_KEPT];
}

static void move(double *from, double *to)
{
    *to += *from;
    *from = 0;
}

void kt_sim_charge(struct kt_sim_device *d, struct kt_sim_place *s, const struct kt_job *job,
                   const struct kt_job_result *r)
{
    struct kt_sim_track *t = job->track == KT_TRACK_LIVE ? &s->live : &s->next;
    int block = d->p.board.block_latents;
    d->books.busy += r->ms;
    d->books.ms[job->kind] += r->ms;
    d->books.jobs[job->kind]++;
    switch (job->kind) {
    case KT_JOB_TEXT:
        move(&s->text_ms, &d->books.wasted); /* of a text that nobody wants any more */
        s->text_ms = r->ms;
        break;
    case KT_JOB_CUT:
        if (r->rc < 0) {
            d->books.wasted += r->ms;
            break;
        }
        t->open_ms = r->ms;
        move(&s->text_ms, &t->open_ms);
        break;
    case KT_JOB_BEGIN:
    case KT_JOB_STEP:
    case KT_JOB_CACHE: /* on the next block's account, which needs it */
    case KT_JOB_BLEND:
    case KT_JOB_PREVIEW: t->block_ms += r->ms; break;
    case KT_JOB_COMMIT:
        t->block_ms += r->ms;
        if (r->rc < 0) {
            break;
        }
        for (int i = 1; i <= block; i++) {
            *cost_of(t, r->latents - i) = t->block_ms / block;
        }
        t->block_ms = 0;
        break;
    case KT_JOB_DECODE:
        if (r->rc < 0) {
            d->books.wasted += r->ms;
            break;
        }
        *cost_of(t, r->decoded - 1) += r->ms;
        break;
    default: d->books.wasted += r->ms; break; /* list work costs nothing */
    }
}

/* Latents before `until` meet their fate. */
static void settle(struct kt_sim_track *t, int64_t until, double *fate)
{
    for (; t->unseen < until; t->unseen++) {
        move(cost_of(t, t->unseen), fate);
    }
}

void kt_sim_seen(struct kt_sim_device *d, struct kt_sim_place *s, int64_t sent)
{
    if (sent > 0 && s->live.stream.there) {
        int64_t latent = kt_sim_latent_of(d, sent - 1) + 1;
        int64_t made = s->live.stream.h.latents;
        settle(&s->live, latent < made ? latent : made, &d->books.useful);
    }
}

void kt_sim_trimmed(struct kt_sim_device *d, struct kt_sim_track *t, int64_t at)
{
    for (int64_t i = at > t->unseen ? at : t->unseen; i < t->unseen + KT_SIM_KEPT; i++) {
        move(cost_of(t, i), &d->books.wasted);
    }
    move(&t->block_ms, &d->books.wasted);
    t->unseen = at < t->unseen ? at : t->unseen;
}

void kt_sim_dropped(struct kt_sim_device *d, struct kt_sim_track *t)
{
    kt_sim_trimmed(d, t, t->unseen);
    move(&t->open_ms, &d->books.wasted);
}

void kt_sim_promoted(struct kt_sim_device *d, struct kt_sim_place *s, int64_t frame, int flush)
{
    struct kt_sim_track *live = &s->live, *next = &s->next;
    int64_t shown = kt_sim_latent_of(d, frame);
    move(&next->open_ms, &d->books.useful);
    if (next->unseen < shown) { /* rolled past before anybody looked */
        int64_t made = next->stream.h.latents;
        settle(next, shown < made ? shown : made, &d->books.wasted);
    }
    if (!live->stream.there) {
        return;
    }
    /* Without a flush what LIVE has before `frame` is still shown, and what lies behind is not. */
    settle(live, flush || live->unseen > shown ? live->unseen : shown, &d->books.useful);
    kt_sim_dropped(d, live);
}

double kt_sim_track_undecided_ms(const struct kt_sim_track *t)
{
    double ms = t->block_ms + t->open_ms;
    for (int i = 0; i < KT_SIM_KEPT; i++) {
        ms += t->latent_ms[i];
    }
    return ms;
}

double kt_sim_device_undecided_ms(const struct kt_sim_device *d)
{
    double ms = 0;
    for (int i = 0; i < d->p.board.sessions_max; i++) {
        const struct kt_sim_place *s = &d->places[i];
        ms +=
            s->text_ms + kt_sim_track_undecided_ms(&s->live) + kt_sim_track_undecided_ms(&s->next);
    }
    return ms;
}
