/* The event loop of a load run and its sockets: the one file of this room that knows libuv and
 * libwebsockets.
 *
 * Each client has one timer for whatever it has to do next. Two bounds: what a client says waits in
 * a ring of SAY_MAX messages (a server that reads nothing for that long loses the client), and a
 * message of the server may have MESSAGE_BYTES_MAX. */
#include "load/load.h"

#include "engine/base/assert.h"
#include "engine/base/clock.h"
#include "load/client.h"
#include "proto/limits.h"

#include <errno.h>
#include <libwebsockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

enum {
    SAY_MAX = 512,
    MESSAGE_BYTES_MAX = 8 << 20,
    SERVICE_BYTES = 64 * 1024,
    LEAVE_MS = 1500, /* for the goodbyes */
};

struct run;

struct conn {
    struct run *run;
    struct lws *wsi;
    struct kt_load_client client;
    uv_timer_t timer;
    char *say[SAY_MAX];
    int say_head, say_count, closing;
    uint8_t *in; /* the message being put together */
    size_t in_n, in_cap;
    int in_binary, used;
};

struct run {
    uv_loop_t uv;
    uv_timer_t ramp, end, drain;
    uv_signal_t signals[2];
    struct lws_context *context;
    const struct kt_load_params *p;
    struct kt_load_results *results;
    struct conn *conns;
    int started, leaving, tls, port;
    char host[256], path[256];
    int64_t begin_us;
};

static int64_t now_us(void *arg)
{
    return kt_now_ns() / 1000;
}

/* ---- one client ---- */

static void service(struct conn *c);

static void on_timer(uv_timer_t *timer)
{
    service(timer->data);
}

/* libuv counts whole milliseconds from the loop's own idea of now. */
static void service(struct conn *c)
{
    const int64_t next = kt_load_client_service(&c->client, now_us(NULL));
    if (next == INT64_MAX) {
        uv_timer_stop(&c->timer);
        return;
    }
    const int64_t wait = next - now_us(NULL);
    uv_update_time(&c->run->uv);
    uv_timer_start(&c->timer, on_timer, wait > 0 ? (uint64_t)(wait + 999) / 1000 : 0, 0);
}

static int say(void *arg, char *text)
{
    struct conn *c = arg;
    if (!c->wsi || c->say_count == SAY_MAX) {
        free(text);
        return c->wsi ? -ENOBUFS : 0;
    }
    c->say[(c->say_head + c->say_count++) % SAY_MAX] = text;
    lws_callback_on_writable(c->wsi);
    return 0;
}

static void close_soon(void *arg)
{
    struct conn *c = arg;
    c->closing = 1;
    if (c->wsi) {
        lws_callback_on_writable(c->wsi);
    }
}

static int write_one(struct conn *c)
{
    unsigned char buffer[LWS_PRE + KT_MESSAGE_BYTES_MAX];
    if (c->say_count == 0) {
        if (!c->closing) {
            return 0;
        }
        lws_close_reason(c->wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
        return -1;
    }
    char *text = c->say[c->say_head];
    const size_t n = strlen(text);
    c->say_head = (c->say_head + 1) % SAY_MAX;
    c->say_count--;
    KT_ASSERT(n <= KT_MESSAGE_BYTES_MAX);
    memcpy(buffer + LWS_PRE, text, n);
    free(text);
    if (lws_write(c->wsi, buffer + LWS_PRE, n, LWS_WRITE_TEXT) < (int)n) {
        return -1;
    }
    lws_callback_on_writable(c->wsi);
    return 0;
}

static int keep(struct conn *c, const void *data, size_t n)
{
    if (c->in_n + n > MESSAGE_BYTES_MAX) {
        return -EMSGSIZE;
    }
    if (c->in_n + n > c->in_cap) {
        const size_t cap = (c->in_n + n) * 2;
        uint8_t *in = realloc(c->in, cap);
        if (!in) {
            return -ENOMEM;
        }
        c->in = in;
        c->in_cap = cap;
    }
    memcpy(c->in + c->in_n, data, n);
    c->in_n += n;
    return 0;
}

static int receive(struct conn *c, const void *data, size_t n)
{
    const int64_t now = now_us(NULL);
    if (lws_is_first_fragment(c->wsi)) {
        c->in_n = 0;
        c->in_binary = lws_frame_is_binary(c->wsi);
    }
    if (keep(c, data, n) < 0) {
        kt_results_problem(c->run->results, "a message of the server is longer than 8 MiB");
        return -1;
    }
    if (lws_remaining_packet_payload(c->wsi) > 0 || !lws_is_final_fragment(c->wsi)) {
        return 0;
    }
    if (c->in_binary) {
        kt_load_client_binary(&c->client, c->in, c->in_n, now);
    } else {
        kt_load_client_text(&c->client, (const char *)c->in, c->in_n, now);
    }
    service(c);
    return 0;
}

static void gone(struct conn *c, const char *reason)
{
    c->wsi = NULL;
    kt_load_client_gone(&c->client, reason, now_us(NULL));
    uv_timer_stop(&c->timer);
    if (c->run->leaving) {
        int open = 0;
        for (int i = 0; i < c->run->p->clients; i++) {
            open += c->run->conns[i].wsi != NULL;
        }
        if (open == 0) {
            uv_stop(&c->run->uv);
        }
    }
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t n)
{
    struct conn *c = lws_get_opaque_user_data(wsi);
    if (!c) {
        return 0;
    }
    switch (reason) {
    case LWS_CALLBACK_CLIENT_ESTABLISHED:
        kt_load_client_connected(&c->client, now_us(NULL));
        service(c);
        return 0;
    case LWS_CALLBACK_CLIENT_RECEIVE: return receive(c, in, n);
    case LWS_CALLBACK_CLIENT_WRITEABLE: return write_one(c);
    case LWS_CALLBACK_CLIENT_CONNECTION_ERROR: gone(c, in ? in : "cannot connect"); return 0;
    case LWS_CALLBACK_CLIENT_CLOSED: gone(c, "the server closed the connection"); return 0;
    default: return 0;
    }
}

static const struct lws_protocols protocols[] = {
    {KT_SUB_PROTOCOL, callback, 0, SERVICE_BYTES, 0, NULL, 0},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

static void connect_one(struct run *r, int number)
{
    struct conn *c = &r->conns[number];
    const struct kt_load_params *p = r->p;
    struct lws_client_connect_info info = {
        .context = r->context,
        .address = r->host,
        .port = r->port,
        .path = r->path,
        .host = lws_canonical_hostname(r->context),
        .protocol = KT_SUB_PROTOCOL,
        .local_protocol_name = KT_SUB_PROTOCOL,
        .ssl_connection = r->tls ? LCCSCF_USE_SSL : 0,
        .pwsi = &c->wsi,
        .opaque_user_data = c,
    };
    char host[300];
    snprintf(host, sizeof(host), "%s:%d", r->host, r->port);
    info.host = host;
    c->used = 1;
    kt_load_client_open(&c->client,
                        &(struct kt_load_client_params){
                            .script = p->script,
                            .results = r->results,
                            .io = {.arg = c, .send = say, .close = close_soon, .now_us = now_us},
                            .token = p->token,
                            .codec = p->codec,
                            .number = number,
                            .decode = p->decode,
                            .refresh_hz = p->refresh_hz,
                            .steps = p->steps,
                            .seed = p->seed,
                            .settings = p->settings});
    if (!lws_client_connect_via_info(&info) && c->client.state != KT_LOAD_GONE) {
        gone(c, "cannot connect");
    }
}

/* ---- the run ---- */

/* The goodbyes are written when the loop goes on, after `leaving`. */
static void leave(struct run *r)
{
    int open = 0;
    r->leaving = 1;
    for (int i = 0; i < r->p->clients; i++) {
        if (r->conns[i].used) {
            kt_load_client_leave(&r->conns[i].client, now_us(NULL));
        }
        open += r->conns[i].wsi != NULL;
    }
    if (r->p->leaving) {
        r->p->leaving(r->p->leaving_arg);
    }
    if (open == 0) {
        uv_stop(&r->uv);
    }
}

static void on_left(uv_timer_t *timer)
{
    uv_stop(timer->loop);
}

static void on_drain(uv_timer_t *timer)
{
    struct run *r = timer->data;
    int idle = 1;
    for (int i = 0; i < r->p->clients; i++) {
        idle &= kt_load_client_idle(&r->conns[i].client);
    }
    const int64_t over_us = now_us(NULL) - r->begin_us - (int64_t)(r->p->seconds * 1e6);
    if (idle || over_us > KT_LOAD_DRAIN_MS * INT64_C(1000)) {
        uv_timer_start(timer, on_left, LEAVE_MS, 0);
        leave(r);
    }
}

static void on_end(uv_timer_t *timer)
{
    struct run *r = timer->data;
    uv_timer_stop(&r->ramp);
    r->results->seconds = (double)(now_us(NULL) - r->begin_us) * 1e-6;
    for (int i = 0; i < r->p->clients; i++) {
        kt_load_client_stop(&r->conns[i].client);
    }
    uv_timer_start(&r->drain, on_drain, 0, 50);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct run *r = handle->data;
    if (r->leaving) {
        uv_stop(&r->uv); /* asked twice */
        return;
    }
    r->results->seconds = (double)(now_us(NULL) - r->begin_us) * 1e-6;
    uv_timer_stop(&r->ramp);
    uv_timer_start(&r->drain, on_left, LEAVE_MS, 0);
    leave(r);
}

static void on_ramp(uv_timer_t *timer)
{
    struct run *r = timer->data;
    connect_one(r, r->started++);
    if (r->started == r->p->clients) {
        uv_timer_stop(timer);
    }
}

static int parse_url(struct run *r, const char *url, struct kt_error *err)
{
    char copy[512];
    const char *scheme, *host, *path;
    if (snprintf(copy, sizeof(copy), "%s", url) >= (int)sizeof(copy) ||
        lws_parse_uri(copy, &scheme, &host, &r->port, &path) ||
        (strcmp(scheme, "ws") != 0 && strcmp(scheme, "wss") != 0) || !host[0]) {
        return kt_fail(err, -EINVAL, "--url: expected ws://HOST:PORT%s, found \"%.200s\"",
                       KT_LIVE_PATH, url);
    }
    r->tls = strcmp(scheme, "wss") == 0;
    snprintf(r->host, sizeof(r->host), "%s", host);
    snprintf(r->path, sizeof(r->path), "/%s", path[0] ? path : &KT_LIVE_PATH[1]);
    return 0;
}

static void quiet(int level, const char *line)
{
    fprintf(stderr, "libwebsockets: %s", line);
}

static int create_context(struct run *r, struct kt_error *err)
{
    void *foreign[] = {&r->uv};
    const struct lws_context_creation_info info = {
        .options = LWS_SERVER_OPTION_LIBUV | (r->tls ? LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT : 0),
        .foreign_loops = foreign,
        .port = CONTEXT_PORT_NO_LISTEN,
        .protocols = protocols,
        .pt_serv_buf_size = SERVICE_BYTES,
        .fd_limit_per_thread = (unsigned)r->p->clients + 64,
    };
    lws_set_log_level(LLL_ERR, quiet);
    r->context = lws_create_context(&info);
    return r->context ? 0
                      : kt_fail(err, -EIO,
                                "libwebsockets cannot start; is its libuv plugin "
                                "(libwebsockets-evlib-uv) installed?");
}

static uv_handle_t *own_handle(struct run *r, int i)
{
    uv_handle_t *const handles[] = {(uv_handle_t *)&r->ramp, (uv_handle_t *)&r->end,
                                    (uv_handle_t *)&r->drain, (uv_handle_t *)&r->signals[0],
                                    (uv_handle_t *)&r->signals[1]};
    const int own = (int)(sizeof(handles) / sizeof(handles[0]));
    if (i < own) {
        return handles[i];
    }
    return i - own < r->p->clients ? (uv_handle_t *)&r->conns[i - own].timer : NULL;
}

static int open_handles(struct run *r, struct kt_error *err)
{
    int rc = uv_timer_init(&r->uv, &r->ramp);
    rc = rc < 0 ? rc : uv_timer_init(&r->uv, &r->end);
    rc = rc < 0 ? rc : uv_timer_init(&r->uv, &r->drain);
    rc = rc < 0 ? rc : uv_signal_init(&r->uv, &r->signals[0]);
    rc = rc < 0 ? rc : uv_signal_init(&r->uv, &r->signals[1]);
    for (int i = 0; i < r->p->clients; i++) {
        rc = rc < 0 ? rc : uv_timer_init(&r->uv, &r->conns[i].timer);
        r->conns[i].run = r;
    }
    for (int i = 0; own_handle(r, i); i++) {
        own_handle(r, i)->data = i < 5 ? (void *)r : (void *)&r->conns[i - 5];
    }
    rc = rc < 0 ? rc : uv_signal_start(&r->signals[0], on_signal, SIGINT);
    rc = rc < 0 ? rc : uv_signal_start(&r->signals[1], on_signal, SIGTERM);
    rc = rc < 0 ? rc : uv_timer_start(&r->ramp, on_ramp, 0, KT_LOAD_RAMP_MS);
    rc = rc < 0 ? rc : uv_timer_start(&r->end, on_end, (uint64_t)(r->p->seconds * 1000), 0);
    return rc < 0 ? kt_fail(err, -EIO, "cannot start the event loop: %s", uv_strerror(rc)) : 0;
}

static void close_run(struct run *r)
{
    if (r->context) {
        lws_context_destroy(r->context);
    }
    for (int i = 0; own_handle(r, i); i++) {
        if (own_handle(r, i)->type != UV_UNKNOWN_HANDLE) {
            uv_close(own_handle(r, i), NULL);
        }
    }
    for (int turn = 0; turn < 1000 && uv_run(&r->uv, UV_RUN_NOWAIT) != 0; turn++) {
        /* libwebsockets may stop the loop while it has handles left to close */
    }
    if (r->context) {
        lws_context_destroy(r->context);
    }
    uv_run(&r->uv, UV_RUN_DEFAULT);
    const int rc = uv_loop_close(&r->uv);
    KT_ASSERT(rc == 0);
    for (int i = 0; i < r->p->clients; i++) {
        struct conn *c = &r->conns[i];
        for (int k = 0; k < c->say_count; k++) {
            free(c->say[(c->say_head + k) % SAY_MAX]);
        }
        free(c->in);
    }
    free(r->conns);
}

int kt_load_run(struct kt_load_results *results, const struct kt_load_params *p,
                struct kt_error *err)
{
    struct run r = {.p = p, .results = results, .begin_us = now_us(NULL)};
    int rc = parse_url(&r, p->url, err);
    if (rc < 0) {
        return rc;
    }
    r.conns = calloc((size_t)p->clients, sizeof(*r.conns));
    if (!r.conns || uv_loop_init(&r.uv) < 0) {
        free(r.conns);
        return kt_fail(err, -ENOMEM, "no memory for %d clients", p->clients);
    }
    results->clients = p->clients;
    results->begin_us = r.begin_us;
    rc = create_context(&r, err);
    rc = rc < 0 ? rc : open_handles(&r, err);
    if (rc == 0) {
        uv_run(&r.uv, UV_RUN_DEFAULT);
        for (int i = 0; i < p->clients; i++) {
            if (r.conns[i].used) {
                kt_load_client_close(&r.conns[i].client, now_us(NULL));
            }
        }
    }
    close_run(&r);
    return rc;
}
