/* When is which picture due, and what is its pts? Pure: it sees a clock, reports and rates, and
 * answers; the essay is in pacer.c. All times are microseconds of one monotonic clock; pts are
 * microseconds of the stream's own clock.
 *
 * Thread-safety: plain data, one thread at a time. */
#ifndef KT_SERVER_PACER_H
#define KT_SERVER_PACER_H

#include <stdint.h>

#define KT_PACER_NEVER INT64_MAX

struct kt_pacer {
    int64_t nominal_us; /* between pictures at the stream's own rate */
    double interval_us; /* between pictures now; grows when the device is slow */
    double floor_us;    /* what the device is said to sustain, at least nominal_us */
    int64_t lead_us;    /* send lead without the round trip */
    int64_t rtt_us;
    int64_t next_pts;
    int64_t last_taken_us;
    int64_t origin_us;         /* stream clock 0 on the monotonic clock */
    int64_t base_pts, base_us; /* the playhead was (believed to be) at base_pts at base_us */
    uint64_t taken;            /* pictures so far: the next one's number */
    uint64_t anchor; /* reports about pictures before this one say nothing about the playhead */
    int starved, restart;
};

struct kt_slot {
    int64_t pts_us;
    int64_t duration_us;
    uint64_t number;
    int late;
};

void kt_pacer_init(struct kt_pacer *p, double fps, int64_t lead_us);
/* The device says what it sustains; 0: unknown. */
void kt_pacer_sustained(struct kt_pacer *p, double fps);
/* The client shows picture `number`, whose pts was `pts_us`. rtt_us < 0: not known. */
void kt_pacer_report(struct kt_pacer *p, int64_t now_us, uint64_t number, int64_t pts_us,
                     int64_t rtt_us);
/* The earliest moment for the next picture; KT_PACER_NEVER until the client reports. */
int64_t kt_pacer_due_us(const struct kt_pacer *p);
/* When a picture that is due but not there begins to hurt: half of the lead is used up.
 * KT_PACER_NEVER when that was noted. */
int64_t kt_pacer_dry_us(const struct kt_pacer *p);
/* It hurts: the device is slower than the pace. */
void kt_pacer_starved(struct kt_pacer *p);
/* The stream stood still on purpose (pause): the next picture starts anew, now. */
void kt_pacer_restart(struct kt_pacer *p);
/* Takes the next picture out; `flush`: it replaces what was not shown yet. `queued`: how many more
 * lie ready. */
struct kt_slot kt_pacer_take(struct kt_pacer *p, int64_t now_us, int flush, int queued);
/* Pictures per second that are played now. */
double kt_pacer_fps(const struct kt_pacer *p);

#endif
