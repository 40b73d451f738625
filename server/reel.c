/* How one epoch takes over from another.
 *
 * Flush on arrival: old pictures play on until the first raw picture of the new epoch is here; then
 * the older raw ones, those at the encoder and those not yet written are dropped, and the new one
 * goes out at once. Or it follows: older pictures before its first frame play out, the rest of them
 * is dropped, and the new ones come after. Which of the two is the lane's to say.
 *
 * Following, the lane cuts at what it believes was sent, and a few more pictures may be on their
 * way by then, which cannot be taken back. What the new epoch has for their places is left out, so
 * that the stream does not step back. A step back by more than that is meant (a rewind).
 *
 * Either way pictures leave in the order of their epochs, and none of an older epoch follows one of
 * a newer. */
#include "server/reel.h"

#include "engine/base/assert.h"

#include <stddef.h>

void kt_reel_drop(struct kt_reel *r)
{
    while (r->count > 0) {
        kt_frame_unref(&r->frames[r->head]);
        r->head = (r->head + 1) % KT_RAW_MAX;
        r->count--;
        r->dropped++;
    }
}

/* The newest ones that will not be shown after all: of epochs before `epoch`, from `frame` on. */
static void trim(struct kt_reel *r, uint32_t epoch, int64_t frame)
{
    while (r->count > 0) {
        struct kt_frame **f = &r->frames[(r->head + r->count - 1) % KT_RAW_MAX];
        if ((*f)->epoch >= epoch || (*f)->frame < frame) {
            return;
        }
        kt_frame_unref(f);
        r->count--;
        r->dropped++;
    }
}

void kt_reel_cut(struct kt_reel *r, uint32_t epoch, int64_t frame)
{
    r->gone = (struct kt_void){epoch, frame};
    trim(r, epoch, frame);
}

static enum kt_reel_answer begin_epoch(struct kt_reel *r, const struct kt_frame *first)
{
    const int flush = first->flush || !r->has_epoch;
    const int64_t overlap = r->wire_next - first->frame;
    r->skip_before = 0;
    if (flush) {
        kt_reel_drop(r);
        r->flushed_before = first->epoch;
        r->flush = r->on_wire;
    } else {
        trim(r, first->epoch, first->frame);
        r->skip_before = r->on_wire && overlap > 0 && overlap <= r->few ? r->wire_next : 0;
    }
    r->has_epoch = 1;
    r->epoch = first->epoch;
    return flush ? KT_REEL_FLUSHED : KT_REEL_KEPT;
}

static enum kt_reel_answer leave(struct kt_reel *r, struct kt_frame *frame)
{
    kt_frame_unref(&frame);
    r->dropped++;
    return KT_REEL_LEFT;
}

enum kt_reel_answer kt_reel_put(struct kt_reel *r, struct kt_frame *frame)
{
    enum kt_reel_answer answer = KT_REEL_KEPT;
    if ((r->has_epoch && frame->epoch < r->epoch) ||
        (frame->epoch < r->gone.epoch && frame->frame >= r->gone.frame)) {
        return leave(r, frame);
    }
    if (!r->has_epoch || frame->epoch > r->epoch) {
        answer = begin_epoch(r, frame);
    }
    if (frame->frame < r->skip_before) {
        leave(r, frame);
        return KT_REEL_SKIPPED;
    }
    if (r->count == KT_RAW_MAX) {
        r->overflows++; /* the newest goes: the order stays */
        leave(r, frame);
        return KT_REEL_SKIPPED;
    }
    r->frames[(r->head + r->count++) % KT_RAW_MAX] = frame;
    return answer;
}

struct kt_frame *kt_reel_take(struct kt_reel *r, int *first, int *flush)
{
    KT_ASSERT(r->count > 0);
    struct kt_frame *f = r->frames[r->head];
    r->frames[r->head] = NULL;
    r->head = (r->head + 1) % KT_RAW_MAX;
    r->count--;
    *first = !r->on_wire || f->epoch != r->wire_epoch;
    *flush = r->flush;
    r->flush = 0;
    r->on_wire = 1;
    r->wire_epoch = f->epoch;
    r->wire_next = f->frame + 1;
    return f;
}

void kt_reel_flush_again(struct kt_reel *r, uint32_t epoch)
{
    r->flush = r->flush || epoch >= r->flushed_before;
}
