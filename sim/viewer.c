#include "sim/viewer.h"

#include <math.h>

/* A picture that comes later than half an interval after its moment is seen as a stutter. */
#define HOLE 0.5

static struct kt_sim_picture *raw_at(struct kt_sim_viewer *v, int i)
{
    return &v->raw[(v->raw_head + i) % KT_SIM_RAW_MAX];
}

static struct kt_sim_picture *onway_at(struct kt_sim_viewer *v, int i)
{
    return &v->onway[(v->onway_head + i) % KT_SIM_ONWAY_MAX];
}

/* Drops the raw pictures of older epochs from `from` on. */
static int drop_raw(struct kt_sim_viewer *v, uint32_t epoch, int64_t from)
{
    int kept = 0, dropped = 0;
    for (int i = 0; i < v->raw_count; i++) {
        struct kt_sim_picture p = *raw_at(v, i);
        if (p.epoch < epoch && p.frame >= from) {
            dropped++;
        } else {
            *raw_at(v, kept++) = p;
        }
    }
    v->raw_count = kept;
    return dropped;
}

int kt_sim_viewer_drop(struct kt_sim_viewer *v)
{
    return drop_raw(v, UINT32_MAX, INT64_MIN);
}

int kt_sim_viewer_applied(struct kt_sim_viewer *v, uint32_t epoch, uint32_t revision, int64_t frame,
                          int flush)
{
    v->epoch = epoch;
    v->revision = revision;
    v->first = 1;
    v->flush = flush && v->playing;
    return drop_raw(v, epoch, flush ? INT64_MIN : frame);
}

int kt_sim_viewer_pictures(struct kt_sim_viewer *v, uint32_t epoch, int64_t frame, int count)
{
    int freed = 0;
    for (int i = 0; i < count; i++) {
        if (v->raw_count == KT_SIM_RAW_MAX) {
            v->overflows++;
            freed++;
            continue;
        }
        *raw_at(v, v->raw_count++) = (struct kt_sim_picture){.epoch = epoch,
                                                             .revision = v->revision,
                                                             .frame = frame + i,
                                                             .first = v->first,
                                                             .flush = v->flush};
        v->first = v->flush = 0;
    }
    return freed;
}

double kt_sim_viewer_send_at(const struct kt_sim_viewer *v, double now)
{
    const struct kt_sim_network *n = &v->net;
    if (v->raw_count == 0 || v->paused || v->onway_count == KT_SIM_ONWAY_MAX) {
        return INFINITY;
    }
    if (v->raw[v->raw_head].flush || !v->playing) {
        return now;
    }
    double spaced = v->last_sent_ms + v->interval_ms / 2;
    double led = v->due_ms - n->lead_ms - n->up_ms - n->down_ms;
    double at = led > spaced ? led : spaced;
    return at > now ? at : now;
}

static void flush(struct kt_sim_viewer *v, double now)
{
    while (v->onway_count > 0 && onway_at(v, v->onway_count - 1)->shown_ms > now) {
        v->onway_count--;
        v->unshown++;
    }
}

static void note_hole(struct kt_sim_viewer *v, double late_ms)
{
    if (late_ms > HOLE * v->interval_ms) {
        v->holes++;
        v->hole_ms += late_ms;
        v->hole_max_ms = late_ms > v->hole_max_ms ? late_ms : v->hole_max_ms;
    }
}

void kt_sim_viewer_send(struct kt_sim_viewer *v, double now, double jitter_ms)
{
    struct kt_sim_picture p = *raw_at(v, 0);
    v->raw_head = (v->raw_head + 1) % KT_SIM_RAW_MAX;
    v->raw_count--;
    v->last_sent_ms = now;
    double received = now + v->net.encode_ms + v->net.down_ms + jitter_ms;
    received = received > v->last_received_ms ? received : v->last_received_ms;
    v->last_received_ms = p.received_ms = received;
    if (p.flush) {
        flush(v, received);
        p.shown_ms = received;
    } else if (!v->playing) {
        p.shown_ms = received;
        v->playing = 1;
    } else {
        note_hole(v, received - v->due_ms);
        p.shown_ms = received > v->due_ms ? received : v->due_ms;
    }
    v->due_ms = p.shown_ms + v->interval_ms;
    v->sent = p.frame + 1;
    v->sent_epoch = p.epoch;
    *onway_at(v, v->onway_count++) = p;
}

static void put_on_screen(struct kt_sim_viewer *v, const struct kt_sim_picture *p)
{
    if (v->shown_any) {
        const struct kt_sim_picture *s = &v->shown;
        v->stale += p->epoch < s->epoch || p->revision < s->revision;
        v->backwards += p->epoch == s->epoch && p->frame <= s->frame;
    } else {
        v->first_ms = p->shown_ms;
    }
    v->shown = *p;
    v->shown_any = 1;
    v->pictures++;
}

void kt_sim_viewer_show(struct kt_sim_viewer *v, double now,
                        void (*first)(void *arg, const struct kt_sim_picture *p), void *arg)
{
    while (v->onway_count > 0 && onway_at(v, 0)->shown_ms <= now) {
        struct kt_sim_picture p = *onway_at(v, 0);
        v->onway_head = (v->onway_head + 1) % KT_SIM_ONWAY_MAX;
        v->onway_count--;
        put_on_screen(v, &p);
        if (p.first) {
            first(arg, &p);
        }
    }
}

void kt_sim_viewer_pause(struct kt_sim_viewer *v, int paused)
{
    v->paused = paused;
    v->playing = 0; /* the next picture starts anew */
}
