/* The encoder threads: pictures in, packets out, so that the loop thread never encodes. A session's
 * encoders, one a stream, belong to one of the threads for as long as the session lives, so its
 * orders are obeyed and answered in order; sessions do not wait for those of other threads.
 *
 * Bounded: the caller keeps at most `cap` orders unanswered (each order is answered exactly once),
 * so no ring overflows.
 *
 * Thread-safety: order and poll belong to the loop thread; `wake` is called on the encoder threads
 * and must only signal. */
#ifndef KT_SERVER_ENCODE_WORKER_H
#define KT_SERVER_ENCODE_WORKER_H

#include "engine/lane.h"
#include "server/encode/encoder.h"
#include "server/outq.h"

struct kt_encode_worker;

enum kt_encode_kind { KT_ENCODE_OPEN, KT_ENCODE_PICTURE, KT_ENCODE_CLOSE };

/* An order, and with the last three fields filled in, its answer. */
struct kt_encode_order {
    enum kt_encode_kind kind;
    uint32_t session;                /* 0 .. sessions_max - 1 */
    enum kt_media_stream stream;     /* CLOSE: all of them */
    uint32_t generation;             /* returned */
    struct kt_encoder_params params; /* OPEN: replaces an encoder that is there */
    struct kt_frame *frame;          /* PICTURE: one reference, given up by the worker */
    struct kt_packet
        *packet; /* PICTURE: its bytes are written behind room for the media header; returned */
    int64_t pts_us, duration_us;
    int want_key;
    /* answer */
    int rc; /* PICTURE: payload bytes; else 0; or a negative errno */
    int key;
    double encode_ms;
    struct kt_error error;
};

enum { KT_ENCODE_THREADS_MAX = 16 };

struct kt_encode_worker_params {
    int sessions_max;
    int threads; /* 1 .. KT_ENCODE_THREADS_MAX; more than sessions_max are not started */
    int cap;
    void (*wake)(void *arg);
    void *wake_arg;
};

int kt_encode_worker_start(struct kt_encode_worker **w, const struct kt_encode_worker_params *p,
                           struct kt_error *err);
/* Finishes the orders at hand, drops the rest (frames are released, packets given to `drop`),
 * joins.
 */
void kt_encode_worker_stop(struct kt_encode_worker **w, void (*drop)(struct kt_packet *packet));
/* 0, or -EAGAIN when `cap` orders are unanswered (the caller keeps frame and packet). */
int kt_encode_worker_order(struct kt_encode_worker *w, const struct kt_encode_order *order);
/* Orders that have no answer yet. */
int kt_encode_worker_unanswered(const struct kt_encode_worker *w);
/* 1 and an answer, or 0. */
int kt_encode_worker_poll(struct kt_encode_worker *w, struct kt_encode_order *answer);

#endif
