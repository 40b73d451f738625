/* When each picture is shown: the page's jitter buffer (web/core/playout.js) rule for rule, on a
 * clock of the caller's. The first picture anchors it; `flush` drops what waits (the page may keep
 * some of it to fade from) and is shown at once; a new epoch without it follows in order; `late`
 * moves the anchor; a picture shown more than 40 ms after its time moves it too.
 *
 * Thread-safety: plain data, one thread at a time. */
#ifndef KT_LOAD_PLAYOUT_H
#define KT_LOAD_PLAYOUT_H

#include <stdint.h>

enum {
    KT_PLAYOUT_MAX = 32, /* then the oldest is dropped */
    KT_PLAYOUT_JITTER_US = 50000,
    KT_PLAYOUT_RHYTHM_US = 40000, /* lateness that keeps the anchor */
};

struct kt_picture {
    uint32_t seq, epoch, revision;
    int64_t pts_us;
    int flush, late, first;
    int urgent, rebase; /* the buffer's own */
};

struct kt_playout {
    struct kt_picture queue[KT_PLAYOUT_MAX];
    int head, count;
    int anchored, has_epoch, has_shown;
    int64_t offset_us; /* our clock minus pts */
    uint32_t epoch;
    int64_t shown_at_us, shown_pts_us; /* the picture on the screen */
    int64_t flushed, overflowed,
        outdated; /* dropped: by a flush, by a full buffer, for its epoch */
    int64_t rebased;
    int64_t missed; /* came after they were due, though nothing had announced it */
};

/* A picture that is decoded, in the order of the wire. */
void kt_playout_push(struct kt_playout *p, const struct kt_picture *picture, int64_t now_us);
/* Microseconds until the head is due, 0 when it is, -1 when there is none. */
int64_t kt_playout_wait(const struct kt_playout *p, int64_t now_us);
/* 1 and the picture to show now, or 0. */
int kt_playout_due(struct kt_playout *p, int64_t now_us, struct kt_picture *out);

#endif
