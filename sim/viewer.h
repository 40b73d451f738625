/* A session's way from decoded pictures to a screen: the server's pacing, the network, and a client
 * that shows every picture when it is due. The rules are proto/PROTOCOL.md's ("What the client does
 * with a picture") in their simplest form, without clock estimates.
 *
 * Thread-safety: plain data. */
#ifndef KT_SIM_VIEWER_H
#define KT_SIM_VIEWER_H

#include <stdint.h>

enum { KT_SIM_RAW_MAX = 128, KT_SIM_ONWAY_MAX = 128 };

struct kt_sim_network {
    double up_ms, down_ms; /* one way */
    double jitter_ms;      /* added evenly from [0, jitter_ms); order stays */
    double encode_ms;
    double lead_ms; /* pictures are sent so long (and a round trip) before they are due */
};

struct kt_sim_picture {
    uint32_t epoch, revision;
    int64_t frame;
    int first, flush;
    double shown_ms, received_ms; /* on the way: when it is due, and when it came */
};

struct kt_sim_viewer {
    struct kt_sim_network net;
    double interval_ms;
    uint32_t epoch, revision; /* of the newest pictures */
    int64_t void_from;        /* of older epochs: not sent any more from this frame on */
    int flush, first;         /* of the next picture of the epoch */
    int playing, paused;
    struct kt_sim_picture raw[KT_SIM_RAW_MAX]; /* decoded, at the server */
    int raw_head, raw_count;
    struct kt_sim_picture onway[KT_SIM_ONWAY_MAX]; /* sent and not shown */
    int onway_head, onway_count;
    double due_ms, last_sent_ms, last_received_ms;
    struct kt_sim_picture shown; /* the picture on the screen */
    int shown_any;
    int64_t sent; /* of `sent_epoch`: frames before it were sent */
    uint32_t sent_epoch;
    /* what it was like */
    uint64_t pictures, holes, overflows, stale, backwards, unshown;
    double hole_ms, hole_max_ms, first_ms, gap_max_ms;
};

/* Returns how many pictures of the pool became free. `applied` comes before the epoch's pictures.
 */
int kt_sim_viewer_applied(struct kt_sim_viewer *v, uint32_t epoch, uint32_t revision, int64_t frame,
                          int flush);
int kt_sim_viewer_pictures(struct kt_sim_viewer *v, uint32_t epoch, int64_t frame, int count);
/* When the next picture should be sent; infinity: none is there. */
double kt_sim_viewer_send_at(const struct kt_sim_viewer *v, double now);
/* Sends it. `jitter_ms` was drawn for it. Frees one picture of the pool. */
void kt_sim_viewer_send(struct kt_sim_viewer *v, double now, double jitter_ms);
/* Shows what is due by now. Calls back for the first picture of each epoch. */
void kt_sim_viewer_show(struct kt_sim_viewer *v, double now,
                        void (*first)(void *arg, const struct kt_sim_picture *p), void *arg);
void kt_sim_viewer_pause(struct kt_sim_viewer *v, int paused);
/* Everything that waits at the server is dropped; returns how many. */
int kt_sim_viewer_drop(struct kt_sim_viewer *v);

#endif
