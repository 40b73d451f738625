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
#include "server/change.h"
#include "server/config.h"
#include "server/encode/worker.h"
#include "server/pacer.h"
#include "server/preview.h"
#include "server/reel.h"
#include "server/wishes.h"

struct kt_client;

enum {
    KT_SENT_MAX = 256,    /* sequence numbers remembered for reports: 16 s of pictures */
    KT_IN_FLIGHT_MAX = 2, /* pictures at the encoder: one works, one waits */
    KT_CUTS_NOTED = 8,    /* commits under way: one works, one waits; the rest is history */
};

/* What all sessions share; lives longer than they. */
struct kt_live {
    const struct kt_serve_config *config;
    const struct kt_model_config *model;
    struct kt_engine_info video;
    struct kt_lane *lane;
    struct kt_journal *journal; /* NULL: no decision log */
    struct kt_encode_worker *worker;
    struct kt_nvenc *nvenc; /* NULL: this machine has none, and h264 is not offered */
    struct kt_packet_pool *pool;
    struct kt_word_list *words;
    const struct kt_log *log;
    struct kt_settings settings; /* what sessions start with */
    int steps_max, window;
    int ready; /* the lane's warm-up is over */
    struct kt_counts {
        uint64_t sessions, pictures, key_pictures, late, flushed, dropped, previews;
        uint64_t previews_dropped, encode_failures, drafted, applied, failed;
        uint64_t closed, stayed_us; /* sessions that ended, and how long they were */
        uint64_t sent_bytes;
        struct kt_stage_stats encode; /* pictures of both streams */
    } counts;                         /* ever, of all sessions */
};

enum kt_session_phase { KT_SESSION_FREE, KT_SESSION_OPEN, KT_SESSION_CLOSING };

struct kt_session {
    struct kt_live *live;
    uint32_t index;
    enum kt_session_phase phase;
    char token[KT_RESUME_TOKEN_CHARS + 1];
    struct kt_client *client; /* NULL: asleep */
    int64_t opened_us, asleep_us;
    struct kt_text text;
    int committed;      /* revision; -1: none */
    char *applied_text; /* owned; of the prompt in force: what a fork goes on with */
    struct kt_settings settings;
    struct kt_noted_cut {
        int revision, fade;
        enum kt_cut_name cut;
        char *text;        /* owned; NULL when it is in force already (a reset, a rewind) */
    } cuts[KT_CUTS_NOTED]; /* by which rule the last commits take effect */
    int cut_count;
    int applied, answered; /* the revision in force; the last one applied or failed; -1: none */
    uint64_t seed;
    int steps;
    struct kt_wishes wishes;
    /* pictures */
    struct kt_reel reel;
    int want_key;
    struct kt_pacer pacer;
    struct kt_sent {
        uint32_t seq, epoch;
        int preview;
        uint64_t number;
        int64_t pts_us, frame;
    } sent[KT_SENT_MAX];
    uint32_t next_seq;
    int sent_since_attach, reported;
    int64_t last_report_us;
    int client_paused, hidden;
    int device_steps;
    struct kt_fade {
        uint32_t epoch;
        int pictures;
    } fade; /* for the first picture of that epoch */
    struct kt_preview preview;
    /* encoder */
    enum kt_media_codec codec;
    uint32_t generation;
    int orders, pictures_in_flight, encoder_failed;
    /* status */
    struct kt_stream_status told;
    int64_t told_us;
    int told_any;
    struct kt_history history; /* as told */
    int64_t history_us;
    struct kt_bucket keyframes;
};

/* How a session begins, beside what its hello says. */
struct kt_session_start {
    int steps_cap;                 /* 0: none */
    const struct kt_session *from; /* whose stream goes on here, or NULL */
    int64_t frame;                 /* from there */
};

/* Fills a FREE session from a hello. -ENOMEM, -EIO. */
int kt_session_open(struct kt_session *s, const struct kt_client_message *hello,
                    const struct kt_session_start *start, int64_t now_us);
/* Where another session may go on with this one's stream: the picture on its screen, and what else
 * is kept. -ENOENT: it has none yet. */
int kt_session_fork_frame(const struct kt_session *s, int64_t *frame, struct kt_history *kept);
/* At most so many steps when automatic; 0: the model's. */
void kt_session_cap_steps(struct kt_session *s, int steps_cap);
/* Gives it a socket: sends welcome and status, opens the encoder of client->codec. */
void kt_session_attach(struct kt_session *s, struct kt_client *client, int resumed, int64_t now_us);
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
