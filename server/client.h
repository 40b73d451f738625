/* One WebSocket: greeting, messages in, packets out, limits. It belongs to a session once its hello
 * was accepted.
 *
 * Thread-safety: belongs to the loop thread. */
#ifndef KT_SERVER_CLIENT_H
#define KT_SERVER_CLIENT_H

#include "proto/control.h"
#include "server/bucket.h"
#include "server/loop.h"
#include "server/outq.h"
#include "server/session.h"

enum kt_client_state {
    KT_CLIENT_GREETING, /* hello is due */
    KT_CLIENT_WAITING,  /* hello is fine; a place is being made free */
    KT_CLIENT_BOUND,    /* has a session */
    KT_CLIENT_CLOSING   /* says goodbye: nothing is heard any more */
};

struct kt_client {
    struct kt_client *next; /* hub's list */
    struct kt_conn *conn;
    const struct kt_log *log;
    uint32_t id; /* for logs */
    enum kt_client_state state;
    struct kt_session *session;
    struct kt_outq outq;
    struct kt_client_message hello;        /* WAITING */
    enum kt_media_codec codec, codec_else; /* the latter when the GPU refuses; or KT_CODEC_NONE */
    enum kt_media_codec preview_codec;     /* or KT_CODEC_NONE */
    uint64_t ticket;                       /* WAITING: its place in the line */
    int told_position;
    struct kt_bucket messages, edits;
    int64_t opened_us;
    int bad_in_a_row;
};

void kt_client_init(struct kt_client *c, struct kt_conn *conn, int64_t now_us);
void kt_client_finish(struct kt_client *c);
/* Sends a text; takes it (free). NULL means out of memory where it was made: the client is closed.
 */
void kt_client_send(struct kt_client *c, char *text);
/* Sends a picture; takes it. */
void kt_client_send_picture(struct kt_client *c, struct kt_packet *p, int64_t now_us);
/* Sends the error, and closes when it is fatal. */
void kt_client_fault(struct kt_client *c, const struct kt_fault *f);
/* Says goodbye and closes. */
void kt_client_bye(struct kt_client *c, int code, const char *name, const char *message,
                   int retry_ms);
/* A message for a BOUND client; hello and bye are the hub's. */
void kt_client_handle(struct kt_client *c, const struct kt_client_message *m, int64_t now_us);
/* Closes for what took too long; returns when to look again. */
int64_t kt_client_service(struct kt_client *c, int64_t now_us);

#endif
