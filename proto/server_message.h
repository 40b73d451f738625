/* What a client in C reads: server messages, JSON text to structs (PROTOCOL.md, Server to client).
 * Lenient where control.h is strict: unknown fields and unknown types are let through, as the
 * protocol asks of clients.
 *
 * Thread-safety: a message belongs to one thread at a time. */
#ifndef KT_PROTO_SERVER_MESSAGE_H
#define KT_PROTO_SERVER_MESSAGE_H

#include "proto/fault.h"

#include <stddef.h>
#include <stdint.h>

struct json_t;

enum kt_server_kind {
    KT_SERVER_WELCOME,
    KT_SERVER_QUEUED,
    KT_SERVER_RECEIVED,
    KT_SERVER_APPLIED,
    KT_SERVER_FAILED,
    KT_SERVER_RESYNC,
    KT_SERVER_STATUS,
    KT_SERVER_PONG,
    KT_SERVER_ERROR,
    KT_SERVER_BYE,
    KT_SERVER_OTHER, /* a type that this version does not know */
    KT_SERVER_COUNT
};

/* Strings live as long as the message and are "" where absent; absent integers are -1, absent flags
 * 0. */
struct kt_server_message {
    enum kt_server_kind kind;
    struct json_t *root; /* owned */
    union {
        struct {
            const char *text, *codec, *model;
            int64_t rev, committed, ready, steps, width, height, fps;
        } welcome;
        struct {
            int64_t position, sessions, eta_ms;
        } queued;
        struct {
            int64_t rev, committed;
        } received;
        struct {
            int64_t rev, epoch, frame;
            const char *hit; /* "ready", "begun", "cold" */
            const char *cut; /* the rule that was followed */
        } applied;
        struct {
            int64_t rev;
            const char *code, *message;
        } failed;
        struct {
            int64_t rev;
            const char *text;
        } resync;
        struct {
            const char *state;
            int64_t steps, slow;
        } status;
        struct {
            int64_t id, client_us, server_us;
        } pong;
        struct {
            const char *code, *message;
            int64_t rev, fatal, retry_ms;
        } error;
        struct {
            const char *code, *message;
        } bye;
    };
};

/* Reads one whole text message of n bytes. 0, or -EBADMSG with the fault filled and nothing to
 * free: not one JSON object, a required field absent, or one of another type than PROTOCOL.md says.
 * A success is freed with kt_server_message_free. Allocates (JSON tree); never blocks. */
int kt_server_message_parse(struct kt_server_message *m, const char *data, size_t n,
                            struct kt_fault *fault);
void kt_server_message_free(struct kt_server_message *m);

#endif
