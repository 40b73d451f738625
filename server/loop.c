#include "server/loop.h"

#include "engine/base/assert.h"
#include "engine/base/clock.h"
#include "proto/limits.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libwebsockets.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

_Static_assert(KT_PACKET_HEADROOM >= LWS_PRE, "packets leave room for the WebSocket header");

enum {
    TX_BYTES =
        1024 * 1024, /* one send() per picture: with the default of 4096 a 30 kB picture takes 8 */
    SERVICE_BYTES = 64 * 1024,
    UNSENT_BYTES = 32 * 1024, /* TCP_NOTSENT_LOWAT: bounds what grows stale in the kernel */
    GOODBYE_MS = 1000,
    HTTP_CHUNK_BYTES = 32 * 1024,
    PING_S = 10,
    HANGUP_S = 20,
    SCRAPERS_MAX = 4, /* connections of the metrics' listener beyond all others */
};

struct kt_conn { /* allocated and zeroed by libwebsockets, one per WebSocket */
    struct lws *wsi;
    struct kt_loop *loop;
    struct kt_conn *next, **self; /* in loop->conns; self NULL: not in it */
    void *user;
    char *in; /* the message being put together */
    size_t in_n;
    int in_binary, discarding;
    int close_code; /* 0: open */
    int close_now, killed;
    int64_t close_deadline_us;
    char close_reason[96];
};

struct http_state { /* the same, one per plain HTTP request */
    const char *body;
    char *owned; /* of the body, or NULL */
    size_t left;
};

struct kt_loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_check_t check;
    uv_timer_t timer;
    uv_signal_t signals[2];
    uv_timer_t goodbye;
    struct lws_context *context;
    struct lws_vhost *vhost, *metrics;
    struct kt_conn *conns;
    struct kt_loop_params p;
    char listen[64], metrics_listen[64];
    int wsi_count, stopping, closing;
    const struct lws_protocols *protocols;
};

static int64_t now_us(void)
{
    return kt_now_ns() / 1000;
}

/* ---- connections ---- */

void kt_conn_want_write(struct kt_conn *c)
{
    lws_callback_on_writable(c->wsi);
}

void kt_conn_close(struct kt_conn *c, int code, const char *reason)
{
    if (c->close_code) {
        return;
    }
    c->close_code = code;
    c->close_deadline_us = now_us() + GOODBYE_MS * INT64_C(1000);
    snprintf(c->close_reason, sizeof(c->close_reason), "%s", reason);
    lws_callback_on_writable(c->wsi);
}

/* Outside libwebsockets' own callbacks, where a reason is delivered. The first call sends the close
 * frame and waits for the peer's, the second one (after the deadline) ends it whatever the peer
 * does. Either may lead to CLOSED before it returns. */
static void kill_conn(struct kt_conn *c)
{
    c->close_now = 0;
    c->killed = 1;
    c->close_deadline_us = now_us() + GOODBYE_MS * INT64_C(1000);
    lws_close_reason(c->wsi, (enum lws_close_status)c->close_code, (unsigned char *)c->close_reason,
                     strlen(c->close_reason));
    lws_set_timeout(c->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_SYNC);
}

/* Returns the next moment at which a goodbye runs out. */
static int64_t kill_due(struct kt_loop *loop)
{
    int64_t deadline = INT64_MAX;
    for (struct kt_conn *c = loop->conns, *next; c; c = next) {
        next = c->next;
        if (!c->close_code) {
            continue;
        }
        int64_t again = c->close_deadline_us;
        if (c->close_now || now_us() >= again) {
            again = now_us() + GOODBYE_MS * INT64_C(1000);
            kill_conn(c); /* it may be gone now */
        }
        deadline = again < deadline ? again : deadline;
    }
    return deadline;
}

static void conn_unlink(struct kt_conn *c)
{
    if (c->self) {
        *c->self = c->next;
        if (c->next) {
            c->next->self = c->self;
        }
        c->self = NULL;
    }
}

static int conn_opened(struct kt_loop *loop, struct kt_conn *c, struct lws *wsi)
{
    const int unsent = UNSENT_BYTES;
    c->wsi = wsi;
    c->loop = loop;
    c->in = malloc(KT_MESSAGE_BYTES_MAX);
    c->user = c->in ? loop->p.handlers.opened(loop->p.handlers.arg, c) : NULL;
    if (!c->user) {
        free(c->in);
        c->in = NULL;
        return -1;
    }
    setsockopt(lws_get_socket_fd(wsi), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
    c->next = loop->conns;
    c->self = &loop->conns;
    if (c->next) {
        c->next->self = &c->next;
    }
    loop->conns = c;
    return 0;
}

/* A refused upgrade comes here too, with a zeroed connection. */
static void conn_closed(struct kt_conn *c)
{
    if (c->user) {
        c->loop->p.handlers.closed(c->loop->p.handlers.arg, c->user);
        c->user = NULL;
    }
    conn_unlink(c);
    free(c->in);
    c->in = NULL;
}

static void conn_receive(struct kt_conn *c, const char *data, size_t n)
{
    const struct kt_loop_handlers *h = &c->loop->p.handlers;
    if (c->close_code || c->discarding) {
        return;
    }
    if (lws_is_first_fragment(c->wsi)) {
        c->in_n = 0;
        c->in_binary = lws_frame_is_binary(c->wsi);
    }
    const size_t rest = lws_remaining_packet_payload(c->wsi);
    if (c->in_n + n + rest > KT_MESSAGE_BYTES_MAX) {
        c->discarding = 1;
        h->oversize(h->arg, c->user, c->in_n + n + rest);
        return;
    }
    memcpy(c->in + c->in_n, data, n);
    c->in_n += n;
    if (rest == 0 && lws_is_final_fragment(c->wsi)) {
        h->message(h->arg, c->user, c->in_binary, c->in, c->in_n);
        c->in_n = 0;
    }
}

/* One packet a call, and only when the socket takes it: lws_write itself never refuses, it copies
 * without bound. */
static int conn_write(struct kt_conn *c)
{
    const struct kt_loop_handlers *h = &c->loop->p.handlers;
    if (lws_send_pipe_choked(c->wsi)) {
        lws_callback_on_writable(c->wsi);
        return 0;
    }
    struct kt_packet *p = h->next(h->arg, c->user, now_us());
    if (!p) {
        c->close_now = c->close_code != 0 && !c->killed;
        return 0;
    }
    const int written =
        lws_write(c->wsi, p->data, p->n, p->pool ? LWS_WRITE_BINARY : LWS_WRITE_TEXT);
    const int failed = written < (int)p->n;
    kt_packet_release(&p);
    if (failed) {
        return -1;
    }
    lws_callback_on_writable(c->wsi);
    return 0;
}

static int live_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                         size_t n)
{
    struct kt_conn *c = user;
    struct kt_loop *loop = lws_context_user(lws_get_context(wsi));
    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED: return conn_opened(loop, c, wsi);
    case LWS_CALLBACK_RECEIVE: conn_receive(c, in, n); return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE: return conn_write(c);
    case LWS_CALLBACK_CLOSED: conn_closed(c); return 0;
    default: return 0;
    }
}

/* ---- plain HTTP, and the door ---- */

static const char *header(struct lws *wsi, enum lws_token_indexes token, char *out, int cap)
{
    return lws_hdr_copy(wsi, out, cap, token) > 0 ? out : NULL;
}

static int refuse(struct lws *wsi, int status)
{
    lws_return_http_status(wsi, (unsigned)status, NULL);
    return 1;
}

static int admit(struct kt_loop *loop, struct lws *wsi)
{
    char host[256], origin[512];
    const struct kt_loop_handlers *h = &loop->p.handlers;
    /* A header too long for the buffer counts as wrong, not as missing. */
    if (lws_hdr_total_length(wsi, WSI_TOKEN_HOST) >= (int)sizeof(host) ||
        lws_hdr_total_length(wsi, WSI_TOKEN_ORIGIN) >= (int)sizeof(origin)) {
        return 403;
    }
    return h->admit(h->arg, header(wsi, WSI_TOKEN_HOST, host, sizeof(host)),
                    header(wsi, WSI_TOKEN_ORIGIN, origin, sizeof(origin)));
}

static int names_protocol(const char *list)
{
    for (const char *s = list; s && *s;) {
        s += strspn(s, ", \t");
        const size_t n = strcspn(s, ", \t");
        if (n == strlen(KT_SUB_PROTOCOL) && strncmp(s, KT_SUB_PROTOCOL, n) == 0) {
            return 1;
        }
        s += n;
    }
    return 0;
}

/* Every upgrade passes here, whatever sub-protocol it names (libwebsockets binds one without a name
 * to the first). */
static int confirm_upgrade(struct kt_loop *loop, struct lws *wsi)
{
    char path[256], list[256];
    const char *uri = header(wsi, WSI_TOKEN_GET_URI, path, sizeof(path));
    const int status = admit(loop, wsi);
    if (status) {
        return refuse(wsi, status);
    }
    if (!uri || strcmp(uri, KT_LIVE_PATH) != 0) {
        return refuse(wsi, 404);
    }
    if (!names_protocol(header(wsi, WSI_TOKEN_PROTOCOL, list, sizeof(list)))) {
        return refuse(wsi, 400);
    }
    return loop->stopping ? refuse(wsi, 503) : 0;
}

static int add_headers(struct lws *wsi, uint8_t **at, uint8_t *end)
{
    for (const struct kt_http_header *h = kt_http_headers; h->name; h++) {
        if (lws_add_http_header_by_name(wsi, (const uint8_t *)h->name, (const uint8_t *)h->value,
                                        (int)strlen(h->value), at, end)) {
            return -1;
        }
    }
    return 0;
}

static void forget_answer(struct http_state *state)
{
    if (state) {
        free(state->owned);
        *state = (struct http_state){0};
    }
}

static void ask(struct kt_loop *loop, struct lws *wsi, const char *path, struct kt_http_response *r)
{
    const struct kt_loop_handlers *h = &loop->p.handlers;
    char authorization[512];
    if (lws_get_vhost(wsi) != loop->metrics) {
        h->answer(h->arg, path, r);
        return;
    }
    h->scrape(h->arg, path,
              header(wsi, WSI_TOKEN_HTTP_AUTHORIZATION, authorization, sizeof(authorization)), r);
}

static int start_answer(struct kt_loop *loop, struct lws *wsi, struct http_state *state,
                        const char *path)
{
    uint8_t buffer[LWS_PRE + 2048], *start = buffer + LWS_PRE, *at = start,
                                    *end = buffer + sizeof(buffer) - 1;
    struct kt_http_response r = {0};
    const int status = admit(loop, wsi);
    if (status) {
        return lws_return_http_status(wsi, (unsigned)status, NULL) ? -1 : 0;
    }
    if (lws_hdr_total_length(wsi, WSI_TOKEN_GET_URI) <= 0) {
        return lws_return_http_status(wsi, 405, NULL) ? -1 : 0;
    }
    ask(loop, wsi, path, &r);
    *state = (struct http_state){r.body, r.owned, r.n};
    if (lws_add_http_common_headers(wsi, (unsigned)r.status, r.mime, r.n, &at, end) ||
        add_headers(wsi, &at, end) || lws_finalize_write_http_header(wsi, start, &at, end)) {
        return -1;
    }
    lws_callback_on_writable(wsi);
    return 0;
}

static int go_on_answering(struct lws *wsi, struct http_state *state)
{
    uint8_t buffer[LWS_PRE + HTTP_CHUNK_BYTES];
    const size_t n = state->left < HTTP_CHUNK_BYTES ? state->left : HTTP_CHUNK_BYTES;
    const int last = n == state->left;
    if (!state->body) {
        return 0;
    }
    memcpy(buffer + LWS_PRE, state->body, n);
    if (lws_write(wsi, buffer + LWS_PRE, n, last ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP) <
        (int)n) {
        return -1;
    }
    state->body += n;
    state->left -= n;
    if (last) {
        forget_answer(state);
        return lws_http_transaction_completed(wsi) ? -1 : 0;
    }
    lws_callback_on_writable(wsi);
    return 0;
}

static int http_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                         size_t n)
{
    struct kt_loop *loop = lws_context_user(lws_get_context(wsi));
    switch (reason) {
    case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
        if (loop->wsi_count >= loop->p.connections_max) {
            kt_log(loop->p.log, KT_LOG_WARN, "connection refused: %d are open, which is the limit",
                   loop->wsi_count);
            return 1;
        }
        return 0;
    case LWS_CALLBACK_WSI_CREATE: loop->wsi_count++; return 0;
    case LWS_CALLBACK_WSI_DESTROY: loop->wsi_count--; return 0;
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE: return confirm_upgrade(loop, wsi);
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION: return 1; /* this is not a WebSocket protocol */
    case LWS_CALLBACK_HTTP: return start_answer(loop, wsi, user, in);
    case LWS_CALLBACK_HTTP_WRITEABLE: return go_on_answering(wsi, user);
    case LWS_CALLBACK_CLOSED_HTTP: forget_answer(user); return 0;
    default: return lws_callback_http_dummy(wsi, reason, user, in, n);
    }
}

/* No upgrades here, and room also when every other connection is taken: that is when somebody wants
 * to see the numbers. */
static int metrics_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                            size_t n)
{
    struct kt_loop *loop = lws_context_user(lws_get_context(wsi));
    switch (reason) {
    case LWS_CALLBACK_FILTER_NETWORK_CONNECTION:
        return loop->wsi_count >= loop->p.connections_max + SCRAPERS_MAX;
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE: return refuse(wsi, 404);
    default: return http_callback(wsi, reason, user, in, n);
    }
}

static const struct lws_protocols metrics_protocols[] = {
    {"metrics", metrics_callback, sizeof(struct http_state), 0, 0, NULL, 0},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

static const struct lws_protocols protocols[] = {
    {"http", http_callback, sizeof(struct http_state), 0, 0, NULL, 0},
    {KT_SUB_PROTOCOL, live_callback, sizeof(struct kt_conn), SERVICE_BYTES, 0, NULL, TX_BYTES},
    {NULL, NULL, 0, 0, 0, NULL, 0},
};

static const lws_retry_bo_t keep_alive = {
    .secs_since_valid_ping = PING_S,
    .secs_since_valid_hangup = HANGUP_S,
};

/* ---- the loop ---- */

static void on_timer(uv_timer_t *timer);

/* Everything that is due, then the timer for what is next. Timers are libuv's: libwebsockets' own
 * do not fire when they are armed outside its callbacks. */
static void service(struct kt_loop *loop)
{
    if (loop->closing) {
        return;
    }
    int64_t next = loop->p.handlers.service(loop->p.handlers.arg, now_us());
    const int64_t goodbye = kill_due(loop);
    next = goodbye < next ? goodbye : next;
    if (loop->stopping && !loop->conns) {
        kt_loop_stop(loop);
        return;
    }
    if (next == INT64_MAX) {
        uv_timer_stop(&loop->timer);
        return;
    }
    const int64_t wait_us = next - now_us();
    uv_update_time(&loop->uv);
    uv_timer_start(&loop->timer, on_timer, wait_us > 0 ? (uint64_t)(wait_us + 999) / 1000 : 1, 0);
}

static void on_timer(uv_timer_t *timer)
{
    service(timer->data);
}

static void on_check(uv_check_t *check)
{
    service(check->data);
}

static void on_wake(uv_async_t *wake)
{
    /* The check that follows the poll does the work. */
}

static void on_goodbye(uv_timer_t *timer)
{
    kt_loop_stop(timer->data);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct kt_loop *loop = handle->data;
    if (loop->stopping) {
        kt_loop_stop(loop); /* asked twice */
        return;
    }
    loop->stopping = 1;
    loop->p.handlers.stopping(loop->p.handlers.arg);
    uv_timer_start(&loop->goodbye, on_goodbye, GOODBYE_MS + 500, 0);
}

void kt_loop_wake(void *loop)
{
    uv_async_send(&((struct kt_loop *)loop)->wake);
}

static uv_handle_t *own_handle(struct kt_loop *loop, int i)
{
    uv_handle_t *const handles[] = {
        (uv_handle_t *)&loop->wake,       (uv_handle_t *)&loop->check,
        (uv_handle_t *)&loop->timer,      (uv_handle_t *)&loop->goodbye,
        (uv_handle_t *)&loop->signals[0], (uv_handle_t *)&loop->signals[1]};
    return i < (int)(sizeof(handles) / sizeof(handles[0])) ? handles[i] : NULL;
}

static int init_handles(struct kt_loop *loop)
{
    int rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
    rc = rc < 0 ? rc : uv_check_init(&loop->uv, &loop->check);
    rc = rc < 0 ? rc : uv_timer_init(&loop->uv, &loop->timer);
    rc = rc < 0 ? rc : uv_timer_init(&loop->uv, &loop->goodbye);
    rc = rc < 0 ? rc : uv_signal_init(&loop->uv, &loop->signals[0]);
    rc = rc < 0 ? rc : uv_signal_init(&loop->uv, &loop->signals[1]);
    for (int i = 0; own_handle(loop, i); i++) {
        own_handle(loop, i)->data = loop;
    }
    rc = rc < 0 ? rc : uv_check_start(&loop->check, on_check);
    rc = rc < 0 ? rc : uv_signal_start(&loop->signals[0], on_signal, SIGINT);
    rc = rc < 0 ? rc : uv_signal_start(&loop->signals[1], on_signal, SIGTERM);
    return rc;
}

/* Binds once beforehand: libwebsockets does not say why it could not. */
static int check_address(const char *key, const char *ip, int port, struct kt_error *err)
{
    struct sockaddr_storage address = {0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
    socklen_t n = sizeof(*v4);
    if (inet_pton(AF_INET, ip, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
    } else if (inet_pton(AF_INET6, ip, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        n = sizeof(*v6);
    } else {
        return kt_fail(err, -EADDRNOTAVAIL, "%s: expected an IP address, found \"%s\"", key, ip);
    }
    const int one = 1, fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return kt_fail(err, -errno, "%s: %s", key, strerror(errno));
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    /* listen too: two sockets with SO_REUSEADDR may be bound to one port, but only one may listen.
     */
    const int failed =
        bind(fd, (struct sockaddr *)&address, n) < 0 || listen(fd, 1) < 0 ? errno : 0;
    close(fd);
    if (failed == EADDRINUSE) {
        return kt_fail(err, -EADDRINUSE, "port %d on %s is in use; choose another with --%s", port,
                       ip, strcmp(key, "listen") == 0 ? "port" : "metrics-port");
    }
    return failed ? kt_fail(err, -failed, "cannot listen on %s port %d: %s", ip, port,
                            strerror(failed))
                  : 0;
}

static void quiet(int level, const char *line)
{
    fprintf(stderr, "libwebsockets: %s", line);
}

/* `info`: as the first listener's. */
static int create_metrics(struct kt_loop *loop, struct lws_context_creation_info info,
                          struct kt_error *err)
{
    unsigned char bytes[16];
    info.options &= ~(uint64_t)LWS_SERVER_OPTION_DISABLE_IPV6;
    if (inet_pton(AF_INET, loop->metrics_listen, bytes) == 1) {
        info.options |= LWS_SERVER_OPTION_DISABLE_IPV6;
    }
    info.iface = loop->metrics_listen;
    info.port = loop->p.metrics_port;
    info.protocols = metrics_protocols;
    info.vhost_name = "kinetype-metrics";
    loop->metrics = lws_create_vhost(loop->context, &info);
    return loop->metrics ? 0
                         : kt_fail(err, -EIO, "cannot listen on %s port %d", loop->metrics_listen,
                                   loop->p.metrics_port);
}

static int create_context(struct kt_loop *loop, struct kt_error *err)
{
    void *foreign[] = {&loop->uv};
    unsigned char bytes[16];
    struct lws_context_creation_info info = {
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                   LWS_SERVER_OPTION_FAIL_UPON_UNABLE_TO_BIND,
        .foreign_loops = foreign,
        .port = loop->p.port,
        .iface = loop->listen,
        .protocols = protocols,
        .user = loop,
        .pt_serv_buf_size = SERVICE_BYTES,
        .retry_and_idle_policy = &keep_alive,
        .keepalive_timeout = 15,
        .vhost_name = "kinetype",
    };
    if (inet_pton(AF_INET, loop->listen, bytes) == 1) {
        info.options |= LWS_SERVER_OPTION_DISABLE_IPV6;
    }
    lws_set_log_level(LLL_ERR, quiet);
    loop->context = lws_create_context(&info);
    if (!loop->context) {
        return kt_fail(err, -EIO,
                       "libwebsockets cannot start; is its libuv plugin "
                       "(libwebsockets-evlib-uv) installed?");
    }
    loop->vhost = lws_create_vhost(loop->context, &info);
    if (!loop->vhost) {
        return kt_fail(err, -EIO, "cannot listen on %s port %d", loop->listen, loop->p.port);
    }
    return loop->p.metrics_port ? create_metrics(loop, info, err) : 0;
}

/* Two servers of one machine may share a configuration: the second one does without metrics, which
 * whoever scrapes them notices, rather than without people. */
static int check_metrics(const struct kt_loop_params *p, int *port, struct kt_error *err)
{
    *port = p->metrics_port;
    if (!p->metrics_port) {
        return 0;
    }
    const int rc = check_address("metrics_listen", p->metrics_listen, p->metrics_port, err);
    if (rc == -EADDRINUSE) {
        kt_log(p->log, KT_LOG_WARN, "no metrics: %s", err->text);
        *port = 0;
        return 0;
    }
    return rc;
}

int kt_loop_open(struct kt_loop **out, const struct kt_loop_params *p, struct kt_error *err)
{
    int metrics_port;
    int rc = check_address("listen", p->listen, p->port, err);
    rc = rc < 0 ? rc : check_metrics(p, &metrics_port, err);
    if (rc < 0) {
        return rc;
    }
    struct kt_loop *loop = calloc(1, sizeof(*loop));
    if (!loop || uv_loop_init(&loop->uv) < 0) {
        free(loop);
        return kt_fail(err, -ENOMEM, "cannot start the event loop");
    }
    loop->p = *p;
    loop->p.metrics_port = metrics_port;
    snprintf(loop->listen, sizeof(loop->listen), "%s", p->listen);
    if (p->metrics_listen) {
        snprintf(loop->metrics_listen, sizeof(loop->metrics_listen), "%s", p->metrics_listen);
    }
    rc = init_handles(loop);
    if (rc < 0) {
        rc = kt_fail(err, -EIO, "cannot start the event loop: %s", uv_strerror(rc));
    } else {
        rc = create_context(loop, err);
    }
    if (rc < 0) {
        kt_loop_close(&loop);
        return rc;
    }
    *out = loop;
    return 0;
}

int kt_loop_port(const struct kt_loop *loop)
{
    return lws_get_vhost_listen_port(loop->vhost);
}

int kt_loop_metrics_port(const struct kt_loop *loop)
{
    return loop->p.metrics_port;
}

void kt_loop_run(struct kt_loop *loop)
{
    uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void kt_loop_stop(struct kt_loop *loop)
{
    uv_stop(&loop->uv);
}

/* libwebsockets closes its handles first and frees itself when it is called once more after the
 * loop has run; our own handles stay (threads may still wake us), but do not keep the loop running.
 */
void kt_loop_shut(struct kt_loop *loop)
{
    loop->closing = 1;
    if (!loop->context) {
        return;
    }
    lws_context_destroy(loop->context);
    for (int i = 0; own_handle(loop, i); i++) {
        uv_unref(own_handle(loop, i));
    }
    for (int turn = 0; turn < 1000 && uv_run(&loop->uv, UV_RUN_NOWAIT) != 0; turn++) {
        /* libwebsockets may stop the loop while it has handles left to close */
    }
    lws_context_destroy(loop->context);
    loop->context = NULL;
}

void kt_loop_close(struct kt_loop **out)
{
    struct kt_loop *loop = *out;
    *out = NULL;
    if (!loop) {
        return;
    }
    kt_loop_shut(loop);
    for (int i = 0; own_handle(loop, i); i++) {
        if (own_handle(loop, i)->type != UV_UNKNOWN_HANDLE) {
            uv_close(own_handle(loop, i), NULL);
        }
    }
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    const int rc = uv_loop_close(&loop->uv);
    KT_ASSERT(rc == 0);
    free(loop);
}
