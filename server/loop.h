/* The event loop and its sockets: the one place that knows libuv and libwebsockets. Everything
 * above sees connections, whole messages, packets and a clock.
 *
 * Thread-safety: everything belongs to the thread in kt_loop_run, except kt_loop_wake. */
#ifndef KT_SERVER_LOOP_H
#define KT_SERVER_LOOP_H

#include "engine/base/error.h"
#include "server/http.h"
#include "server/log.h"
#include "server/outq.h"

#include <stddef.h>
#include <stdint.h>

struct kt_loop;
struct kt_conn; /* one WebSocket */

struct kt_loop_handlers {
    void *arg;
    /* Every request, before anything else. 0 to go on, or an HTTP status to refuse with. `origin`
     * may be NULL. */
    int (*admit)(void *arg, const char *host, const char *origin);
    void (*answer)(void *arg, const char *path, struct kt_http_response *out);
    /* The same on the metrics' listener; `authorization`: the header's value, or NULL. */
    void (*scrape)(void *arg, const char *path, const char *authorization,
                   struct kt_http_response *out);
    /* A WebSocket is open; the result is handed to the calls below. NULL closes it. */
    void *(*opened)(void *arg, struct kt_conn *c);
    /* A whole message of at most KT_MESSAGE_BYTES_MAX bytes. */
    void (*message)(void *arg, void *user, int binary, const char *data, size_t n);
    /* A message that is longer; the rest of it and everything after is thrown away. */
    void (*oversize)(void *arg, void *user, size_t n);
    /* The connection is gone; `user` and the kt_conn must not be used again. */
    void (*closed)(void *arg, void *user);
    /* The next packet to write now, or NULL; the loop writes it and releases it. */
    struct kt_packet *(*next)(void *arg, void *user, int64_t now_us);
    /* After anything happened: do what is due, and say when to be called again (INT64_MAX: no
     * need). */
    int64_t (*service)(void *arg, int64_t now_us);
    /* SIGINT or SIGTERM: say goodbye. The loop ends when no connection is left, or a second later.
     */
    void (*stopping)(void *arg);
};

struct kt_loop_params {
    const char *listen;         /* address */
    int port;                   /* 0: any */
    const char *metrics_listen; /* a listener of its own */
    int metrics_port;           /* 0: none; in use: a warning, and none */
    int connections_max;
    const struct kt_log *log;
    struct kt_loop_handlers handlers;
};

/* Binds and listens. Errors: -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -EIO. */
int kt_loop_open(struct kt_loop **loop, const struct kt_loop_params *p, struct kt_error *err);
int kt_loop_port(const struct kt_loop *loop);
int kt_loop_metrics_port(const struct kt_loop *loop); /* 0: the metrics are not served */
/* Until a signal, or kt_loop_stop. */
void kt_loop_run(struct kt_loop *loop);
void kt_loop_stop(struct kt_loop *loop);
/* Closes every connection (their handlers are called) and the listening socket; only kt_loop_wake
 * may follow. */
void kt_loop_shut(struct kt_loop *loop);
void kt_loop_close(struct kt_loop **loop);
/* Any thread: have `service` called soon. */
void kt_loop_wake(void *loop);

/* There is something to write: `next` will be asked when the socket can take it. */
void kt_conn_want_write(struct kt_conn *c);
/* Closes with this code when everything waiting is written, at the latest after a second. May be
 * called in any handler. */
void kt_conn_close(struct kt_conn *c, int code, const char *reason);

#endif
