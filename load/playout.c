#include "load/playout.h"

static void flush(struct kt_playout *p)
{
    p->flushed += p->count;
    p->count = 0;
}

static struct kt_picture take(struct kt_playout *p)
{
    const struct kt_picture picture = p->queue[p->head];
    p->head = (p->head + 1) % KT_PLAYOUT_MAX;
    p->count--;
    return picture;
}

/* A picture in the queue will move the anchor: until then nobody knows what is due when. */
static int anchor_moves(const struct kt_playout *p)
{
    for (int i = 0; i < p->count; i++) {
        const struct kt_picture *q = &p->queue[(p->head + i) % KT_PLAYOUT_MAX];
        if (q->urgent || q->rebase) {
            return 1;
        }
    }
    return 0;
}

void kt_playout_push(struct kt_playout *p, const struct kt_picture *in, int64_t now_us)
{
    struct kt_picture picture = *in;
    if (p->has_epoch && picture.epoch < p->epoch) {
        p->outdated++;
        return;
    }
    picture.urgent = picture.flush;
    picture.rebase = picture.late;
    if (picture.urgent) {
        flush(p);
    }
    p->epoch = picture.epoch;
    p->has_epoch = 1;
    if (!p->anchored) {
        p->anchored = 1;
        p->offset_us = now_us + KT_PLAYOUT_JITTER_US - picture.pts_us;
    }
    p->missed += !picture.urgent && !picture.late && !anchor_moves(p) &&
                 now_us > picture.pts_us + p->offset_us;
    if (p->count == KT_PLAYOUT_MAX) {
        take(p);
        p->overflowed++;
    }
    p->queue[(p->head + p->count++) % KT_PLAYOUT_MAX] = picture;
}

/* A late picture is due at once, but never crowds the one before it. */
static int64_t rebased_due(const struct kt_playout *p, const struct kt_picture *head)
{
    if (!p->has_shown) {
        return INT64_MIN / 2;
    }
    int64_t spacing = head->pts_us - p->shown_pts_us;
    spacing = spacing < 0 ? 0 : spacing;
    return p->shown_at_us + (spacing < KT_PLAYOUT_RHYTHM_US ? spacing : KT_PLAYOUT_RHYTHM_US);
}

int64_t kt_playout_wait(const struct kt_playout *p, int64_t now_us)
{
    if (p->count == 0) {
        return -1;
    }
    const struct kt_picture *head = &p->queue[p->head];
    if (head->urgent) {
        return 0;
    }
    const int64_t due = head->rebase ? rebased_due(p, head) : head->pts_us + p->offset_us;
    return due > now_us ? due - now_us : 0;
}

int kt_playout_due(struct kt_playout *p, int64_t now_us, struct kt_picture *out)
{
    if (kt_playout_wait(p, now_us) != 0) {
        return 0;
    }
    *out = take(p);
    const int64_t late = now_us - (out->pts_us + p->offset_us);
    if (out->urgent || out->rebase || late > KT_PLAYOUT_RHYTHM_US) {
        p->offset_us = now_us - out->pts_us;
        p->rebased++;
    }
    p->shown_at_us = now_us;
    p->shown_pts_us = out->pts_us;
    p->has_shown = 1;
    return 1;
}
