/* Inside of a session, shared by session.c (its life), session_in.c (what a client says) and
 * session_out.c (its pictures); nobody else includes it. */
#ifndef KT_SERVER_SESSION_PARTS_H
#define KT_SERVER_SESSION_PARTS_H

#include "server/session.h"

/* By its client, because nothing was reported, or because no socket is attached. */
int kt_session_paused(const struct kt_session *s);

void kt_session_send_received(struct kt_session *s, int committed, int64_t now_us);
void kt_session_send_settings(struct kt_session *s);

/* Remembers by which rule a prompt of this revision takes effect. Takes over `text`; NULL: the one
 * in force (a reset, a rewind). */
void kt_session_note_cut(struct kt_session *s, int revision, enum kt_cut_name cut, char *text);
/* 1 when something is on the wire, and the frame that is shown now, as reported. */
int kt_session_shown(const struct kt_session *s, int64_t *frame);
/* Frames that a rewind may name; 0 when there are none. */
int kt_session_history(const struct kt_session *s, struct kt_history *out);

void kt_session_encoder_params(const struct kt_session *s, struct kt_encoder_params *out);
/* Opens the encoder of the video. */
void kt_session_order_encoder(struct kt_session *s);
/* Sends what is due to the encoder; returns when the next one is. */
int64_t kt_session_service_pictures(struct kt_session *s, int64_t now_us);

#endif
