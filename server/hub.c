/* Places. There are `sessions_max` sessions, each with its place at the lane. A hello takes, in
 * this order: the sleeping session whose resume token it holds, a free place, the place of the
 * session that has slept longest (the client waits until the lane let go of it), or an error that
 * says how many places there are. */
#include "server/hub.h"

#include "engine/base/clock.h"
#include "server/auth.h"
#include "server/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUSY_RETRY_MS = 5000 };

struct kt_hub {
    struct kt_live *live;
    const struct kt_site *site;
    struct kt_loop *loop;
    struct kt_session *sessions;
    int sessions_max;
    struct kt_client *clients;
    uint32_t clients_ever;
    int failed, stopping;
};

static int64_t now_us_of_clock(void)
{
    return kt_now_ns() / 1000;
}

/* ---- places ---- */

static struct kt_session *find_token(struct kt_hub *hub, const char *token)
{
    for (int i = 0; token && i < hub->sessions_max; i++) {
        struct kt_session *s = &hub->sessions[i];
        if (s->phase == KT_SESSION_OPEN && kt_auth_token_equal(s->token, token)) {
            return s;
        }
    }
    return NULL;
}

static struct kt_session *find_free(struct kt_hub *hub)
{
    for (int i = 0; i < hub->sessions_max; i++) {
        if (hub->sessions[i].phase == KT_SESSION_FREE) {
            return &hub->sessions[i];
        }
    }
    return NULL;
}

/* Places on their way to becoming free, less the clients that wait for one. */
static int places_coming(const struct kt_hub *hub)
{
    int n = 0;
    for (int i = 0; i < hub->sessions_max; i++) {
        n += hub->sessions[i].phase == KT_SESSION_CLOSING;
    }
    for (const struct kt_client *c = hub->clients; c; c = c->next) {
        n -= c->state == KT_CLIENT_WAITING;
    }
    return n;
}

static int wake_up_place(struct kt_hub *hub)
{
    struct kt_session *oldest = NULL;
    for (int i = 0; i < hub->sessions_max; i++) {
        struct kt_session *s = &hub->sessions[i];
        if (s->phase == KT_SESSION_OPEN && !s->client &&
            (!oldest || s->asleep_us < oldest->asleep_us)) {
            oldest = s;
        }
    }
    if (oldest) {
        kt_session_close(oldest);
    }
    return oldest != NULL;
}

int kt_hub_sessions(const struct kt_hub *hub)
{
    int n = 0;
    for (int i = 0; i < hub->sessions_max; i++) {
        n += hub->sessions[i].phase != KT_SESSION_FREE;
    }
    return n;
}

static void bind_client(struct kt_client *c, struct kt_session *s, int resumed, int64_t now_us)
{
    c->session = s;
    c->state = KT_CLIENT_BOUND;
    kt_session_attach(s, c, c->codec, resumed, now_us);
}

static void open_place(struct kt_client *c, struct kt_session *s,
                       const struct kt_client_message *hello, int64_t now_us)
{
    struct kt_fault fault;
    if (kt_session_open(s, hello, now_us) < 0) {
        kt_fault_set(&fault, KT_FAULT_INTERNAL, "the session cannot be opened");
        kt_client_fault(c, &fault);
        return;
    }
    bind_client(c, s, 0, now_us);
}

static void take_over(struct kt_client *c, struct kt_session *s, int64_t now_us)
{
    struct kt_client *old = s->client;
    struct kt_fault fault;
    if (old) {
        kt_session_detach(s, 1, now_us);
        old->session = NULL;
        kt_fault_set(&fault, KT_FAULT_TAKEN_OVER, "the session goes on in another window");
        kt_client_fault(old, &fault);
    }
    bind_client(c, s, 1, now_us);
}

static void refuse_busy(struct kt_hub *hub, struct kt_client *c)
{
    struct kt_fault fault;
    char expected[48], found[48];
    snprintf(expected, sizeof(expected), "at most %d sessions", hub->sessions_max);
    snprintf(found, sizeof(found), "%d open", kt_hub_sessions(hub));
    kt_fault_set(&fault, KT_FAULT_TOO_MANY_SESSIONS, "every place is taken (%d sessions at a time)",
                 hub->sessions_max);
    kt_fault_detail(&fault, "", expected, found);
    fault.limit = hub->sessions_max;
    fault.retry_ms = BUSY_RETRY_MS;
    kt_client_fault(c, &fault);
}

/* Keeps the message's strings when the client has to wait. */
static void find_place(struct kt_hub *hub, struct kt_client *c, struct kt_client_message *hello,
                       int64_t now_us)
{
    struct kt_session *s = find_token(hub, hello->hello.resume);
    if (s) {
        take_over(c, s, now_us);
        return;
    }
    s = find_free(hub);
    if (s) {
        open_place(c, s, hello, now_us);
    } else if (places_coming(hub) > 0 || wake_up_place(hub)) {
        c->state = KT_CLIENT_WAITING;
        c->hello = *hello;
        hello->root = NULL;
    } else {
        refuse_busy(hub, c);
    }
}

/* 1 when somebody got a place: there is something to do at once. */
static int serve_waiting(struct kt_hub *hub, int64_t now_us)
{
    int served = 0;
    for (struct kt_client *c = hub->clients; c; c = c->next) {
        struct kt_session *s = c->state == KT_CLIENT_WAITING ? find_free(hub) : NULL;
        if (s) {
            open_place(c, s, &c->hello, now_us);
            kt_client_message_free(&c->hello);
            served = 1;
        }
    }
    return served;
}

/* ---- greeting ---- */

static int check_token(const struct kt_hub *hub, const struct kt_client_message *m,
                       struct kt_fault *fault)
{
    const char *expected = hub->live->config->token;
    if (!expected[0] || (m->hello.token && kt_auth_token_equal(expected, m->hello.token))) {
        return 0;
    }
    kt_fault_set(fault, KT_FAULT_BAD_TOKEN, "hello: %s",
                 m->hello.token ? "the token is wrong" : "a token is needed");
    return kt_fault_detail(fault, "token", "this server's token", "another or none");
}

/* The first one wanted that is offered, `but` none of this; or KT_CODEC_NONE. */
static enum kt_media_codec first_common(const struct kt_codec_list *wanted,
                                        const struct kt_codec_list *offered,
                                        enum kt_media_codec but)
{
    for (int i = 0; i < wanted->count; i++) {
        for (int j = 0; j < offered->count; j++) {
            if (wanted->codec[i] == offered->codec[j] && wanted->codec[i] != but) {
                return (enum kt_media_codec)wanted->codec[i];
            }
        }
    }
    return KT_CODEC_NONE;
}

static int choose_codec(const struct kt_hub *hub, struct kt_client *c,
                        const struct kt_client_message *m, struct kt_fault *fault)
{
    const struct kt_codec_list *offered = &hub->live->config->codecs, *wanted = &m->hello.codecs;
    c->codec = first_common(wanted, offered, KT_CODEC_NONE);
    c->codec_else = first_common(wanted, offered, KT_CODEC_H264);
    if (c->codec != KT_CODEC_NONE) {
        return 0;
    }
    kt_fault_set(fault, KT_FAULT_NO_CODEC, "hello: no codec in common");
    return kt_fault_detail(fault, "codecs", "one that this server was told to offer",
                           "none of them");
}

/* What a hello asks for, checked before it takes a place; it may be sent again, corrected. */
static int check_wishes(const struct kt_hub *hub, const struct kt_client_message *m,
                        struct kt_fault *fault)
{
    char expected[48], found[32];
    const size_t n = m->hello.text ? strlen(m->hello.text) : 0;
    if (n > KT_TEXT_BYTES_MAX) {
        snprintf(expected, sizeof(expected), "at most %d bytes of UTF-8", KT_TEXT_BYTES_MAX);
        snprintf(found, sizeof(found), "%zu bytes", n);
        kt_fault_set(fault, KT_FAULT_TEXT_TOO_LONG, "hello: the prompt is too long");
        return kt_fault_detail(fault, "text", expected, found);
    }
    if (m->hello.steps > hub->live->steps_max) {
        snprintf(expected, sizeof(expected), "0 to %d", hub->live->steps_max);
        snprintf(found, sizeof(found), "%lld", (long long)m->hello.steps);
        kt_fault_set(fault, KT_FAULT_OUT_OF_RANGE, "hello: more steps than the model has");
        return kt_fault_detail(fault, "steps", expected, found);
    }
    return 0;
}

static void greet(struct kt_hub *hub, struct kt_client *c, struct kt_client_message *m,
                  int64_t now_us)
{
    struct kt_fault fault;
    int rc = 0;
    if (m->kind != KT_CLIENT_HELLO) {
        kt_fault_set(&fault, KT_FAULT_HELLO_EXPECTED, "the first message must be hello");
        rc = kt_fault_detail(&fault, "type", "hello", "another message");
    }
    rc = rc < 0 ? rc : check_token(hub, m, &fault);
    rc = rc < 0 ? rc : check_wishes(hub, m, &fault);
    rc = rc < 0 ? rc : choose_codec(hub, c, m, &fault);
    if (rc < 0) {
        kt_client_fault(c, &fault);
        return;
    }
    find_place(hub, c, m, now_us);
}

static void leave(struct kt_client *c, int keep, int64_t now_us)
{
    if (c->session) {
        kt_session_detach(c->session, keep, now_us);
        c->session = NULL;
    }
}

/* ---- messages ---- */

static void dispatch(struct kt_hub *hub, struct kt_client *c, struct kt_client_message *m,
                     int64_t now_us)
{
    struct kt_fault fault;
    if (m->kind == KT_CLIENT_BYE) {
        leave(c, 0, now_us);
        c->state = KT_CLIENT_CLOSING;
        kt_conn_close(c->conn, 1000, "bye");
    } else if (m->kind == KT_CLIENT_PING) {
        kt_client_send(c, kt_print_pong(m->ping.id, m->ping.client_us, now_us_of_clock()));
    } else if (c->state == KT_CLIENT_GREETING) {
        greet(hub, c, m, now_us);
    } else if (m->kind == KT_CLIENT_HELLO) {
        kt_fault_set(&fault, KT_FAULT_HELLO_REPEATED, "hello was said already");
        kt_client_fault(c, &fault);
    } else if (c->state == KT_CLIENT_WAITING) {
        kt_fault_set(&fault, KT_FAULT_HELLO_EXPECTED,
                     "a place is being made free; wait for welcome");
        kt_client_fault(c, &fault);
    } else {
        kt_client_handle(c, m, now_us);
    }
}

static void refuse_message(struct kt_client *c, const struct kt_fault *fault)
{
    struct kt_fault last;
    kt_client_fault(c, fault);
    if (++c->bad_in_a_row >= KT_BAD_MESSAGES_MAX && c->state != KT_CLIENT_CLOSING) {
        kt_fault_set(&last, KT_FAULT_TOO_MANY_ERRORS, "%d bad messages in a row", c->bad_in_a_row);
        kt_client_fault(c, &last);
    }
}

static void on_message(void *arg, void *user, int binary, const char *data, size_t n)
{
    struct kt_hub *hub = arg;
    struct kt_client *c = user;
    struct kt_client_message m;
    struct kt_fault fault;
    const int64_t now_us = now_us_of_clock();
    if (c->state == KT_CLIENT_CLOSING) {
        return;
    }
    if (kt_bucket_take(&c->messages, now_us) > 0) {
        kt_fault_set(&fault, KT_FAULT_TOO_MANY_MESSAGES, "more than %d messages a second",
                     KT_MESSAGES_PER_S);
        fault.limit = KT_MESSAGES_PER_S;
        kt_client_fault(c, &fault);
        return;
    }
    if (binary) {
        kt_fault_set(&fault, KT_FAULT_BINARY_UNEXPECTED,
                     "a binary message; this way only text goes");
        kt_fault_detail(&fault, "", "a text message with one JSON object", "a binary message");
        refuse_message(c, &fault);
        return;
    }
    if (kt_client_message_parse(&m, data, n, &fault) < 0) {
        refuse_message(c, &fault);
        return;
    }
    c->bad_in_a_row = 0;
    dispatch(hub, c, &m, now_us);
    kt_client_message_free(&m);
}

static void on_oversize(void *arg, void *user, size_t n)
{
    struct kt_client *c = user;
    struct kt_fault fault;
    char expected[48], found[48];
    snprintf(expected, sizeof(expected), "at most %d bytes", KT_MESSAGE_BYTES_MAX);
    snprintf(found, sizeof(found), "at least %zu bytes", n);
    kt_fault_set(&fault, KT_FAULT_TOO_BIG, "the message is too big");
    kt_fault_detail(&fault, "", expected, found);
    if (c->state != KT_CLIENT_CLOSING) {
        kt_client_fault(c, &fault);
    }
}

/* ---- connections ---- */

static int on_admit(void *arg, const char *host, const char *origin)
{
    const struct kt_hub *hub = arg;
    const struct kt_serve_config *config = hub->live->config;
    if (!kt_auth_host_ok(host, (const char *const *)config->hosts)) {
        kt_log(hub->live->log, KT_LOG_WARN, "refused: Host \"%s\" is none of this server's",
               host ? host : "");
        return 403;
    }
    if (!kt_auth_origin_ok(origin, host, (const char *const *)config->origins)) {
        kt_log(hub->live->log, KT_LOG_WARN, "refused: Origin \"%s\"", origin);
        return 403;
    }
    return 0;
}

static void on_answer(void *arg, const char *path, struct kt_http_response *out)
{
    const struct kt_hub *hub = arg;
    kt_site_answer(hub->site, path, hub->live->ready, out);
    kt_log(hub->live->log, KT_LOG_DEBUG, "GET %s: %d", path, out->status);
}

static void *on_opened(void *arg, struct kt_conn *conn)
{
    struct kt_hub *hub = arg;
    struct kt_client *c = calloc(1, sizeof(*c));
    if (!c || hub->stopping) {
        free(c);
        return NULL;
    }
    kt_client_init(c, conn, now_us_of_clock());
    c->log = hub->live->log;
    c->id = ++hub->clients_ever;
    c->next = hub->clients;
    hub->clients = c;
    return c;
}

static void on_closed(void *arg, void *user)
{
    struct kt_hub *hub = arg;
    struct kt_client *c = user;
    struct kt_client **at = &hub->clients;
    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    leave(c, !hub->stopping, now_us_of_clock());
    kt_log(hub->live->log, KT_LOG_DEBUG, "client %u gone", c->id);
    kt_client_finish(c);
    free(c);
}

static struct kt_packet *on_next(void *arg, void *user, int64_t now_us)
{
    struct kt_client *c = user;
    struct kt_packet *p = kt_outq_pop(&c->outq);
    if (p && p->pool && !c->session) {
        kt_packet_release(&p); /* a picture of a session that went elsewhere */
        return on_next(arg, user, now_us);
    }
    if (p && p->pool) {
        kt_session_stamp(c->session, p, now_us);
    }
    return p;
}

static void on_stopping(void *arg)
{
    struct kt_hub *hub = arg;
    hub->stopping = 1;
    kt_log(hub->live->log, KT_LOG_INFO, "stopping");
    for (struct kt_client *c = hub->clients; c; c = c->next) {
        if (c->state != KT_CLIENT_CLOSING) {
            kt_client_bye(c, 1001, "shutdown", "the server stops", 0);
        }
    }
}

/* ---- events and time ---- */

static void take_ready(struct kt_hub *hub, const struct kt_event *e)
{
    if (e->error.text[0]) {
        kt_log(hub->live->log, KT_LOG_ERROR, "the model cannot start: %s", e->error.text);
        hub->failed = 1;
        kt_loop_stop(hub->loop);
        return;
    }
    hub->live->ready = 1;
    kt_log(hub->live->log, KT_LOG_INFO, "ready: warmed up in %.0f ms", (double)e->ms);
}

static void take_events(struct kt_hub *hub, int64_t now_us)
{
    struct kt_event e;
    while (kt_lane_poll(hub->live->lane, &e)) {
        if (e.kind == KT_EVENT_READY) {
            take_ready(hub, &e);
        } else if (e.session < (uint32_t)hub->sessions_max) {
            kt_session_event(&hub->sessions[e.session], &e, now_us);
        }
    }
    struct kt_encode_order answer;
    while (kt_encode_worker_poll(hub->live->worker, &answer)) {
        kt_session_encoded(&hub->sessions[answer.session], &answer, now_us);
    }
}

static int64_t on_service(void *arg, int64_t now_us)
{
    struct kt_hub *hub = arg;
    int64_t next = INT64_MAX;
    take_events(hub, now_us);
    for (int i = 0; i < hub->sessions_max; i++) {
        const int64_t t = kt_session_service(&hub->sessions[i], now_us);
        next = t < next ? t : next;
    }
    for (struct kt_client *c = hub->clients; c; c = c->next) {
        const int64_t t = kt_client_service(c, now_us);
        next = t < next ? t : next;
    }
    /* After the sessions: one of them may have become free just now. */
    return serve_waiting(hub, now_us) ? now_us : next;
}

/* ---- life ---- */

int kt_hub_create(struct kt_hub **out, struct kt_live *live, const struct kt_site *site,
                  struct kt_error *err)
{
    struct kt_hub *hub = calloc(1, sizeof(*hub));
    if (hub) {
        hub->sessions_max = live->config->sessions_max;
        hub->sessions = calloc((size_t)hub->sessions_max, sizeof(*hub->sessions));
    }
    if (!hub || !hub->sessions) {
        free(hub);
        return kt_fail(err, -ENOMEM, "out of memory");
    }
    hub->live = live;
    hub->site = site;
    for (int i = 0; i < hub->sessions_max; i++) {
        hub->sessions[i].live = live;
        hub->sessions[i].index = (uint32_t)i;
    }
    *out = hub;
    return 0;
}

void kt_hub_drop(struct kt_hub *hub)
{
    for (int i = 0; i < hub->sessions_max; i++) {
        kt_session_drop(&hub->sessions[i]);
    }
}

void kt_hub_destroy(struct kt_hub **out)
{
    struct kt_hub *hub = *out;
    *out = NULL;
    if (hub) {
        kt_hub_drop(hub);
        free(hub->sessions);
        free(hub);
    }
}

void kt_hub_handlers(struct kt_hub *hub, struct kt_loop_handlers *out)
{
    *out = (struct kt_loop_handlers){hub,         on_admit,  on_answer, on_opened,  on_message,
                                     on_oversize, on_closed, on_next,   on_service, on_stopping};
}

void kt_hub_set_loop(struct kt_hub *hub, struct kt_loop *loop)
{
    hub->loop = loop;
}

int kt_hub_failed(const struct kt_hub *hub)
{
    return hub->failed;
}
