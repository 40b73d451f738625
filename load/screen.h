/* What a person saw: pictures per second, stalls, and pictures of an abandoned prompt. It trusts
 * nothing that the playout or the server promise.
 *
 * A stall is a gap between two shown pictures that is more than 100 ms longer than the stream's own
 * rhythm, which is the distance of the last two pictures in a row that no flag set apart. A device
 * that is slower than its frame rate plays evenly slower: that is not a stall.
 *
 * Thread-safety: plain data. */
#ifndef KT_LOAD_SCREEN_H
#define KT_LOAD_SCREEN_H

#include "load/playout.h"

#include <stdint.h>

enum { KT_STALL_US = 100000 };

struct kt_screen {
    int64_t pictures, stalls, stall_us, stall_longest_us;
    int64_t stale; /* shown with an older epoch than one that was shown before */
    int64_t first_us, last_us;
    uint32_t epoch_max;
    int64_t rhythm_us, last_pts_us;
    uint32_t last_seq;
};

/* A picture is shown at now_us. */
void kt_screen_show(struct kt_screen *s, const struct kt_picture *p, int64_t now_us);
/* The run ends: a gap until now counts too. */
void kt_screen_end(struct kt_screen *s, int64_t now_us);
/* Per second from the first picture to the last; 0 when there are not two. */
double kt_screen_fps(const struct kt_screen *s);

#endif
