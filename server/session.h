/* One live stream: its text, its commands to the lane, its raw pictures, pacing and encoder. It
 * outlives its socket (a client), so that it can be resumed.
 *
 * Thread-safety: belongs to the loop thread. */
#ifndef KT_SERVER_SESSION_H
#define KT_SERVER_SESSION_H

#include "engine/lane.h"
#include "engine/text/vocabulary.h"
#include "proto/control.h"
#include "proto/edit.h"
#include "proto/media.h"
#include "server/bucket.h"
#include "server/config.h"
#include "server/encode/worker.h"
#include "server/pacer.h"
#include "server/wishes.h"

struct kt_client;

enum {
    KT_RAW_MAX = 64,   /* raw pictures held: the decode lead is 16 at most, a branch that takes over
                          may bring as many, and two blocks are room for what travels */
    KT_SENT_MAX = 256, /* sequence numbers remembered for reports: 16 s of pictures */
    KT_IN_FLIGHT_MAX = 2, /* pictures at the encoder: one works, one waits */
};

/* What all sessions share; lives longer than they. */
struct kt_live {
    const struct kt_serve_config *config;
    const struct kt_model_config *model;
    struct kt_engine_info video;
    struct kt_lane *lane;
    struct kt_encode_worker *worker;
    struct kt_nvenc *nvenc; /* NULL: this machine has none, and h264 is not offered */
    struct kt_packet_pool *pool;
    struct kt_word_list *words;
    const struct kt_log *log;
    int steps_max;
    int ready; /* the lane's warm-up is over */
};

enum kt_session_phase { KT_SESSION_FREE, KT_SESSION_OPEN, KT_SESSION_CLOSING };

struct kt_session {
    struct kt_live *live;
    uint32_t index;
    enum kt_session_phase phase;
    char token[KT_RESUME_TOKEN_CHARS + 1];
    struct kt_client *client; /* NULL: asleep */
    int64_t asleep_us;
    struct kt_text text;
    int committed; /* revision; -1: none */
    uint64_t seed;
    int steps;
    struct kt_wishes wishes;
    /* pictures */
    struct kt_frame *raw[KT_RAW_MAX];
    int raw_head, raw_count;
    uint32_t epoch;          /* of the newest raw picture */
    uint32_t flushed_before; /* pictures of epochs before this one are not shown any more */
    uint32_t wire_epoch;     /* of the last picture that went to the encoder */
    int64_t wire_next;       /* and the frame after it */
    int64_t skip_before;     /* of `epoch`: these were shown under the prompt before it */
    struct kt_void {
        uint32_t epoch;
        int64_t frame;
    } gone; /* pictures from `frame` on, of epochs before `epoch`, are void */
    int has_epoch, on_wire, flush, want_key;
    uint64_t raw_overflows;
    struct kt_pacer pacer;
    struct kt_sent {
        uint32_t seq, epoch;
        uint64_t number;
        int64_t pts_us, frame;
    } sent[KT_SENT_MAX];
    uint32_t next_seq;
    int sent_since_attach, reported;
    int64_t last_report_us;
    int client_paused, hidden;
    int device_steps;
    /* encoder */
    enum kt_media_codec codec;
    uint32_t generation;
    int orders, pictures_in_flight, encoder_failed;
    /* status */
    struct kt_stream_status told;
    int64_t told_us;
    int told_any;
    struct kt_bucket keyframes;
};

/* Fills a FREE session from a hello. -ENOMEM, -EIO. */
int kt_session_open(struct kt_session *s, const struct kt_client_message *hello, int64_t now_us);
/* Gives it a socket: sends welcome and status, opens the encoder. */
void kt_session_attach(struct kt_session *s, struct kt_client *client, enum kt_media_codec codec,
                       int resumed, int64_t now_us);
/* Takes the socket away. `keep`: asleep, to be resumed; else closed. */
void kt_session_detach(struct kt_session *s, int keep, int64_t now_us);
void kt_session_close(struct kt_session *s);

/* A message from the client other than hello, ping and bye. 0, or -EBADMSG with the fault. */
int kt_session_message(struct kt_session *s, const struct kt_client_message *m, int64_t now_us,
                       struct kt_fault *fault);
/* Sends the server's copy of the text. */
void kt_session_resync(struct kt_session *s, const char *reason);

/* Takes over e->frame. */
void kt_session_event(struct kt_session *s, struct kt_event *e, int64_t now_us);
/* Takes over the packet. */
void kt_session_encoded(struct kt_session *s, struct kt_encode_order *answer, int64_t now_us);
/* The packet is written next: gives it its place in the sequence. */
void kt_session_stamp(struct kt_session *s, struct kt_packet *packet, int64_t now_us);
/* Does what is due; returns when to be called again. A session that finished closing is FREE
 * afterwards. */
int64_t kt_session_service(struct kt_session *s, int64_t now_us);
/* Lets every frame and text go (shutdown: lane and worker are gone or going). */
void kt_session_drop(struct kt_session *s);

#endif
