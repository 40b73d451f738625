/* The raw pictures of one session, and the rule by which one epoch takes over from another: the
 * essay is in reel.c.
 *
 * Thread-safety: belongs to the loop thread. */
#ifndef KT_SERVER_REEL_H
#define KT_SERVER_REEL_H

#include "engine/lane.h"

#include <stdint.h>

enum {
    KT_RAW_MAX = 256, /* the decode lead is 16 at most and a branch that takes over may bring as
                         many; but prompts that follow each other may be made faster than shown,
                         up to the pictures that the lane has */
};

struct kt_reel {
    struct kt_frame *frames[KT_RAW_MAX];
    int head, count;
    int few;                 /* pictures that a new epoch may repeat without meaning to */
    uint32_t epoch;          /* of the newest picture */
    uint32_t flushed_before; /* pictures of epochs before this one are not shown any more */
    uint32_t wire_epoch;     /* of the last picture taken out, */
    int64_t wire_next;       /* and the frame after it */
    int64_t skip_before;     /* of `epoch`: these places were shown under the prompt before it */
    struct kt_void {
        uint32_t epoch;
        int64_t frame;
    } gone; /* pictures from `frame` on, of epochs before `epoch`, are void */
    int has_epoch, on_wire, flush;
    uint64_t dropped, overflows; /* pictures never shown: overtaken; one more than there is room */
};

enum kt_reel_answer { KT_REEL_LEFT, KT_REEL_SKIPPED, KT_REEL_KEPT, KT_REEL_FLUSHED };

/* Takes the reference. FLUSHED: kept, and everything older, wherever it is, must go. SKIPPED: its
 * place was sent under the prompt before it, or there is no room for it, so it counts as sent: the
 * lane must not wait for it. */
enum kt_reel_answer kt_reel_put(struct kt_reel *r, struct kt_frame *frame);
/* A prompt took effect at `frame` of `epoch`: older pictures from there on are void. */
void kt_reel_cut(struct kt_reel *r, uint32_t epoch, int64_t frame);
/* The next one, which goes out now; the caller gets the reference. Not while the reel is empty.
 * first: of its epoch; flush: it replaces what was not shown. */
struct kt_frame *kt_reel_take(struct kt_reel *r, int *first, int *flush);
/* The picture that was to replace others was lost on its way: the next one does. */
void kt_reel_flush_again(struct kt_reel *r, uint32_t epoch);
void kt_reel_drop(struct kt_reel *r);

#endif
