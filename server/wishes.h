/* What one session has yet to tell the lane. Each thing is a place of one, latest wins: nothing
 * queues up when the lane's ring is full.
 *
 * Thread-safety: belongs to the loop thread. */
#ifndef KT_SERVER_WISHES_H
#define KT_SERVER_WISHES_H

#include "engine/lane.h"
#include "server/log.h"

struct kt_wishes {
    struct kt_text_wish {
        int due;
        char *text; /* owned */
        struct kt_wish wish;
    } open, draft, prompt;
    struct kt_place_wish {
        int due;
        struct kt_wish wish;
        int64_t frame;
    } reset, rewind;
    int hold_restarts; /* a commit is on its way: a reset or a rewind now would overtake it */
    int settings_due, report_due, close_due;
    struct kt_session_settings settings;
    uint32_t epoch; /* of the report */
    int64_t sent, shown;
    int paused, paused_told;
    int lane_open; /* OPEN was posted and CLOSED has not come */
};

/* A wish that shapes nothing: cut as the model says, own stream, no given latent. */
struct kt_wish kt_wish_plain(uint32_t revision);

/* Puts a copy of `text` in the place. -ENOMEM: the place is unchanged. */
int kt_text_wish_set(struct kt_text_wish *w, const struct kt_wish *wish, const char *text);
void kt_text_wish_drop(struct kt_text_wish *w);
void kt_wishes_drop(struct kt_wishes *w);

/* Tells the lane, in the order in which it makes sense, until its ring is full. `closing`: only
 * that it should close. 0, or -EAGAIN: try again soon. */
int kt_wishes_post(struct kt_wishes *w, struct kt_lane *lane, uint32_t session, int closing,
                   const struct kt_log *log);

#endif
