#include "load/screen.h"

static void count_gap(struct kt_screen *s, int64_t gap_us)
{
    const int64_t over = gap_us - s->rhythm_us;
    if (s->rhythm_us == 0 || over <= KT_STALL_US) {
        return;
    }
    s->stalls++;
    s->stall_us += over;
    s->stall_longest_us = over > s->stall_longest_us ? over : s->stall_longest_us;
}

static void follow_rhythm(struct kt_screen *s, const struct kt_picture *p)
{
    if (s->pictures > 0 && p->seq == s->last_seq + 1 && !p->flush && !p->late && !p->first) {
        s->rhythm_us = p->pts_us - s->last_pts_us;
    }
    s->last_pts_us = p->pts_us;
    s->last_seq = p->seq;
}

void kt_screen_show(struct kt_screen *s, const struct kt_picture *p, int64_t now_us)
{
    if (s->pictures == 0) {
        s->first_us = now_us;
        s->epoch_max = p->epoch;
    } else {
        count_gap(s, now_us - s->last_us);
    }
    s->stale += p->epoch < s->epoch_max;
    s->epoch_max = p->epoch > s->epoch_max ? p->epoch : s->epoch_max;
    follow_rhythm(s, p);
    s->pictures++;
    s->last_us = now_us;
}

void kt_screen_end(struct kt_screen *s, int64_t now_us)
{
    if (s->pictures > 0) {
        count_gap(s, now_us - s->last_us);
    }
}

double kt_screen_fps(const struct kt_screen *s)
{
    return s->last_us > s->first_us
               ? (double)(s->pictures - 1) * 1e6 / (double)(s->last_us - s->first_us)
               : 0;
}
