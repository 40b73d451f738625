/* Pacing.
 *
 * A prompt change must not be stuck behind a queue, so a picture is encoded and sent only when it
 * lies less than the send lead (250 ms + round trip) ahead of what the client shows. Nothing that
 * was encoded is ever stale.
 *
 * The playhead is estimated: it was at `base_pts` at `base_us` and runs in real time from there.
 * Reports correct it gently (an eighth of a small difference, all of a large one), because each is
 * up to one picture and one way old. It never runs ahead of the stream clock (the client cannot
 * show what was not sent), and it is believed for one second without a report: a client that stops
 * showing is sent at most that much more. A lagging client therefore slows its own stream and
 * nobody else's: the clock yields, spacing stays even.
 *
 * Two pictures are at least half an interval apart, whatever happened before: a refill after a
 * stall plays in at twice the rate at most, never as a burst of a block.
 *
 * A slow device makes fewer pictures than the stream's rate. What it sustains is told by the lane
 * (`floor_us`); beyond that, each time a picture was due and none was there the interval grows by a
 * tenth, and while a latent lies ready it shrinks back by 2 % a picture. The result is an evenly
 * slower video rather than a stuttering one. A picture that comes after its moment jumps to the
 * present (`late`) and the stream clock with it.
 *
 * A flush puts its picture at the client's present: the playhead estimate jumps to it, and older
 * reports are ignored. */
#include "server/pacer.h"

#include <string.h>

enum {
    BELIEVE_US = 1000000, /* how long the estimate runs without a report */
    JUMP_US = 100000,     /* differences above this are taken at once */
    READY = 4,            /* a whole latent lies ready: the device is ahead */
};
static const double slowest = 8; /* times the nominal interval: below 2 fps at 16 it is no video */

void kt_pacer_init(struct kt_pacer *p, double fps, int64_t lead_us)
{
    memset(p, 0, sizeof(*p));
    p->nominal_us = (int64_t)(1e6 / fps + 0.5);
    p->interval_us = p->floor_us = (double)p->nominal_us;
    p->lead_us = lead_us;
    p->restart = 1;
}

void kt_pacer_sustained(struct kt_pacer *p, double fps)
{
    const double nominal = (double)p->nominal_us;
    double us = fps > 0 ? 1e6 / fps : nominal;
    us = us < nominal ? nominal : us;
    p->floor_us = us > slowest * nominal ? slowest * nominal : us;
    if (p->interval_us < p->floor_us) {
        p->interval_us = p->floor_us;
    }
}

static int64_t playhead(const struct kt_pacer *p, int64_t now_us)
{
    const int64_t run = now_us - p->base_us;
    return p->base_pts + (run > BELIEVE_US ? BELIEVE_US : run);
}

void kt_pacer_report(struct kt_pacer *p, int64_t now_us, uint64_t number, int64_t pts_us,
                     int64_t rtt_us)
{
    if (rtt_us >= 0) {
        p->rtt_us = rtt_us;
    }
    if (number < p->anchor || number >= p->taken) {
        return;
    }
    const int64_t believed = playhead(p, now_us);
    const int64_t clock = now_us - p->origin_us;
    /* On average the picture has been up for half of its time. */
    int64_t shown = pts_us + (int64_t)(p->interval_us / 2);
    shown = shown > clock ? clock : shown;
    const int64_t off = shown - believed;
    p->base_pts = believed + (off > JUMP_US || off < -JUMP_US ? off : off / 8);
    p->base_us = now_us;
}

int64_t kt_pacer_due_us(const struct kt_pacer *p)
{
    if (p->restart) {
        return p->last_taken_us;
    }
    const int64_t spaced = p->last_taken_us + (int64_t)(p->interval_us / 2);
    const int64_t run = p->next_pts - (p->lead_us + p->rtt_us) - p->base_pts;
    if (run > BELIEVE_US) {
        return KT_PACER_NEVER;
    }
    const int64_t led = p->base_us + run;
    return led > spaced ? led : spaced;
}

int64_t kt_pacer_dry_us(const struct kt_pacer *p)
{
    if (p->starved || p->restart || p->taken == 0) {
        return KT_PACER_NEVER; /* one picture that is late counts once */
    }
    return p->base_us + p->next_pts - p->lead_us / 2 - p->base_pts;
}

void kt_pacer_starved(struct kt_pacer *p)
{
    p->starved = 1;
    const double limit = slowest * (double)p->nominal_us;
    p->interval_us *= 1.1;
    p->interval_us = p->interval_us > limit ? limit : p->interval_us;
}

void kt_pacer_restart(struct kt_pacer *p)
{
    p->restart = 1;
}

static void recover(struct kt_pacer *p, int queued)
{
    if (!p->starved && queued >= READY && p->interval_us > p->floor_us) {
        p->interval_us *= 0.98;
        p->interval_us = p->interval_us < p->floor_us ? p->floor_us : p->interval_us;
    }
}

static void anchor(struct kt_pacer *p, int64_t now_us, int64_t pts)
{
    p->origin_us = now_us - pts;
    p->base_pts = pts;
    p->base_us = now_us;
    p->anchor = p->taken;
}

struct kt_slot kt_pacer_take(struct kt_pacer *p, int64_t now_us, int flush, int queued)
{
    int64_t pts = p->next_pts;
    int late = 0;
    const int64_t clock = now_us - p->origin_us;
    if (p->taken == 0) {
        anchor(p, now_us, 0);
    } else if (p->restart || flush || (p->starved && pts < clock)) {
        late = !flush;
        pts = clock > pts ? clock : pts;
        anchor(p, now_us, pts);
    } else if (pts < clock) {
        p->origin_us = now_us - pts; /* the client lags: the clock yields */
    }
    recover(p, queued);
    p->starved = 0;
    p->restart = 0;
    p->last_taken_us = now_us;
    p->next_pts = pts + (int64_t)p->interval_us;
    return (struct kt_slot){pts, (int64_t)p->interval_us, p->taken++, late};
}

double kt_pacer_fps(const struct kt_pacer *p)
{
    return 1e6 / p->interval_us;
}
