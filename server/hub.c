/* Places, and the queue for them. There are `sessions_max` sessions, each with its place at the
 * lane. A hello takes the session whose resume token it holds; else it is let in when there is a
 * free place and the lane says that one more session breaks nobody's frame rate (at so many steps a
 * block, which become its cap until there is room for all of them). A device that is too slow even
 * for one still lets in the first. Otherwise the client waits in line, first come first served, and
 * is told its position. Sleeping sessions make room, the one that has slept longest first.
 *
 * What the lane says about admission is only believed when it has heard of everybody who was let in
 * before: else two at once would get the same place on the device. */
#include "server/hub.h"

#include "engine/base/clock.h"
#include "server/auth.h"
#include "server/client.h"
#include "server/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUSY_RETRY_MS = 5000, LOOK_AGAIN_US = 100000, UNCAP_EVERY_US = 1000000 };

struct kt_hub {
    struct kt_live *live;
    const struct kt_site *site;
    struct kt_loop *loop;
    struct kt_session *sessions;
    int sessions_max;
    struct kt_client *clients;
    uint32_t clients_ever;
    uint64_t tickets; /* given to those who wait, ever */
    int waiting, line_moved;
    int64_t uncap_us; /* when to look whether caps can be lifted */
    uint64_t queued, refused;
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

static int count_phase(const struct kt_hub *hub, enum kt_session_phase phase)
{
    int n = 0;
    for (int i = 0; i < hub->sessions_max; i++) {
        n += hub->sessions[i].phase == phase;
    }
    return n;
}

/* Closes the one that has slept longest, but `keep`. */
static int wake_up_place(struct kt_hub *hub, const struct kt_session *keep)
{
    struct kt_session *oldest = NULL;
    for (int i = 0; i < hub->sessions_max; i++) {
        struct kt_session *s = &hub->sessions[i];
        if (s->phase == KT_SESSION_OPEN && !s->client && s != keep &&
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
    return hub->sessions_max - count_phase(hub, KT_SESSION_FREE);
}

/* ---- admission ---- */

enum verdict { LET_IN, NOT_YET, NO_ROOM };

/* Has the lane heard of everybody who has a place? */
static int lane_is_up_to_date(const struct kt_hub *hub, const struct kt_lane_stats *stats)
{
    int open = 0;
    for (int i = 0; i < hub->sessions_max; i++) {
        const struct kt_session *s = &hub->sessions[i];
        open += s->wishes.lane_open;
        if (s->phase == KT_SESSION_OPEN && s->wishes.open.due) {
            return 0;
        }
    }
    return stats->sessions_open == open;
}

static enum verdict admit(struct kt_hub *hub, int *steps_cap)
{
    struct kt_lane_stats stats;
    const int steps_max = hub->live->steps_max;
    *steps_cap = 0;
    if (!find_free(hub)) {
        return count_phase(hub, KT_SESSION_CLOSING) > 0 ? NOT_YET : NO_ROOM;
    }
    if (count_phase(hub, KT_SESSION_OPEN) == 0) {
        return LET_IN; /* alone, it plays as well as it can */
    }
    if (!hub->live->ready) {
        return NOT_YET; /* nobody knows yet what anything costs */
    }
    kt_lane_get_stats(hub->live->lane, &stats);
    if (!lane_is_up_to_date(hub, &stats)) {
        return NOT_YET;
    }
    *steps_cap = stats.admit_steps < steps_max ? stats.admit_steps : 0;
    return stats.admit_steps > 0 ? LET_IN : NO_ROOM;
}

/* A cap that was given in crowded times is lifted when one more session with all steps would fit.
 */
static int64_t lift_caps(struct kt_hub *hub, int64_t now_us)
{
    int capped = 0;
    for (int i = 0; i < hub->sessions_max; i++) {
        capped += hub->sessions[i].phase == KT_SESSION_OPEN &&
                  hub->sessions[i].wishes.settings.steps_cap > 0;
    }
    if (!capped || now_us < hub->uncap_us) {
        return capped ? hub->uncap_us : INT64_MAX;
    }
    hub->uncap_us = now_us + UNCAP_EVERY_US;
    int cap = 0;
    for (int i = 0; i < hub->sessions_max; i++) {
        struct kt_session *s = &hub->sessions[i];
        if (s->phase == KT_SESSION_OPEN && s->wishes.settings.steps_cap > 0 && find_free(hub) &&
            admit(hub, &cap) == LET_IN && cap == 0) {
            kt_session_cap_steps(s, 0);
            break; /* the next one a second later, by new measurements */
        }
    }
    return hub->uncap_us;
}

/* ---- letting in ---- */

static void bind_client(struct kt_client *c, struct kt_session *s, int resumed, int64_t now_us)
{
    c->session = s;
    c->state = KT_CLIENT_BOUND;
    kt_session_attach(s, c, resumed, now_us);
}

/* What a hello may name and still be corrected. */
static void refuse_fork(struct kt_client *c, enum kt_fault_code code, const char *what,
                        const char *expected, const char *found)
{
    struct kt_fault fault;
    kt_fault_set(&fault, code, "hello: %s", what);
    kt_fault_detail(&fault, code == KT_FAULT_UNKNOWN_SESSION ? "fork.session" : "fork.frame",
                    expected, found);
    c->state = KT_CLIENT_GREETING;
    kt_client_fault(c, &fault);
}

/* 0, or -1 and the client was told. */
static int find_fork(struct kt_hub *hub, struct kt_client *c, const struct kt_fork *fork,
                     struct kt_session_start *start)
{
    struct kt_history h;
    char expected[64], found[32];
    if (!fork->session) {
        return 0;
    }
    start->from = find_token(hub, fork->session);
    if (!start->from) {
        refuse_fork(c, KT_FAULT_UNKNOWN_SESSION, "there is no such session to fork",
                    "the resume token of a session", "another");
        return -1;
    }
    if (kt_session_fork_frame(start->from, &start->frame, &h) < 0) {
        refuse_fork(c, KT_FAULT_OUT_OF_RANGE, "that session has shown nothing yet",
                    "a stream that has begun", "none");
        return -1;
    }
    if (fork->frame >= 0 && (fork->frame < h.from || fork->frame > h.to)) {
        snprintf(expected, sizeof(expected), "%lld to %lld", (long long)h.from, (long long)h.to);
        snprintf(found, sizeof(found), "%lld", (long long)fork->frame);
        refuse_fork(c, KT_FAULT_OUT_OF_RANGE, "nothing is kept of that frame", expected, found);
        return -1;
    }
    start->frame = fork->frame >= 0 ? fork->frame : start->frame;
    return 0;
}

static void open_place(struct kt_hub *hub, struct kt_client *c,
                       const struct kt_client_message *hello, int steps_cap, int64_t now_us)
{
    struct kt_fault fault;
    struct kt_session_start start = {.steps_cap = steps_cap};
    if (find_fork(hub, c, &hello->hello.fork, &start) < 0) {
        c->opened_us = now_us;
        return;
    }
    struct kt_session *s = find_free(hub);
    if (kt_session_open(s, hello, &start, now_us) < 0) {
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

/* ---- the line ---- */

static struct kt_client *first_in_line(const struct kt_hub *hub)
{
    struct kt_client *first = NULL;
    for (struct kt_client *c = hub->clients; c; c = c->next) {
        if (c->state == KT_CLIENT_WAITING && (!first || c->ticket < first->ticket)) {
            first = c;
        }
    }
    return first;
}

static int position(const struct kt_hub *hub, const struct kt_client *waiting)
{
    int n = 1;
    for (const struct kt_client *c = hub->clients; c; c = c->next) {
        n += c->state == KT_CLIENT_WAITING && c->ticket < waiting->ticket;
    }
    return n;
}

static int line_length(const struct kt_hub *hub)
{
    int n = 0;
    for (const struct kt_client *c = hub->clients; c; c = c->next) {
        n += c->state == KT_CLIENT_WAITING;
    }
    return n;
}

static void tell_position(const struct kt_hub *hub, struct kt_client *c)
{
    const struct kt_counts *counts = &hub->live->counts;
    struct kt_queued q = {
        .position = position(hub, c), .sessions = count_phase(hub, KT_SESSION_OPEN), .eta_ms = -1};
    if (q.position == c->told_position) {
        return;
    }
    if (counts->closed > 0 && q.sessions > 0) {
        const int64_t stay_ms = (int64_t)(counts->stayed_us / counts->closed / 1000);
        q.eta_ms = stay_ms * q.position / q.sessions;
    }
    c->told_position = q.position;
    kt_client_send(c, kt_print_queued(&q));
}

/* Keeps the message's strings. */
static void wait_in_line(struct kt_hub *hub, struct kt_client *c, struct kt_client_message *hello)
{
    c->state = KT_CLIENT_WAITING;
    c->ticket = ++hub->tickets;
    c->told_position = 0;
    c->hello = *hello;
    hello->root = NULL;
    hub->queued++;
    hub->line_moved = 1;
    kt_log(hub->live->log, KT_LOG_INFO, "client %u waits for a place", c->id);
}

static void find_place(struct kt_hub *hub, struct kt_client *c, struct kt_client_message *hello,
                       int64_t now_us)
{
    struct kt_session *s = find_token(hub, hello->hello.resume);
    struct kt_session_start start = {0};
    int cap;
    if (s) {
        take_over(c, s, now_us);
        return;
    }
    if (find_fork(hub, c, &hello->hello.fork, &start) < 0) {
        return;
    }
    const int line = line_length(hub);
    const enum verdict verdict = line ? NOT_YET : admit(hub, &cap);
    if (verdict == LET_IN) {
        open_place(hub, c, hello, cap, now_us);
    } else if (hello->hello.wait == 0
                   ? line > 0 || (verdict == NO_ROOM && !wake_up_place(hub, start.from))
                   : line >= hub->live->config->queue_max) {
        hub->refused++;
        refuse_busy(hub, c);
    } else {
        wait_in_line(hub, c, hello);
    }
}

/* 1 when somebody got a place or was sent away: there is something to do at once. */
static int serve_first(struct kt_hub *hub, int64_t now_us)
{
    struct kt_client *c = first_in_line(hub);
    int cap;
    if (!c) {
        return 0;
    }
    const enum verdict verdict = admit(hub, &cap);
    if (verdict == NOT_YET) {
        return 0;
    }
    if (verdict == NO_ROOM) {
        const struct kt_session *keep = find_token(hub, c->hello.hello.fork.session);
        if (wake_up_place(hub, keep) || c->hello.hello.wait != 0) {
            return 0;
        }
        hub->refused++;
        refuse_busy(hub, c);
    } else {
        open_place(hub, c, &c->hello, cap, now_us);
    }
    kt_client_message_free(&c->hello);
    hub->line_moved = 1;
    return 1;
}

/* Returns when to look again. */
static int64_t serve_line(struct kt_hub *hub, int64_t now_us)
{
    int served = 0;
    while (serve_first(hub, now_us)) {
        served = 1;
    }
    if (hub->line_moved) {
        hub->line_moved = 0;
        for (struct kt_client *c = hub->clients; c; c = c->next) {
            if (c->state == KT_CLIENT_WAITING && c->hello.hello.wait != 0) {
                tell_position(hub, c);
            }
        }
    }
    if (served) {
        return now_us;
    }
    return line_length(hub) ? now_us + LOOK_AGAIN_US : INT64_MAX;
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

/* Previews come in single latents: what is cheap and starts at once. */
static enum kt_media_codec preview_codec(const struct kt_codec_list *wanted,
                                         const struct kt_codec_list *offered,
                                         enum kt_media_codec otherwise)
{
    static const struct kt_codec_list cheap = {2, {KT_CODEC_VP8, KT_CODEC_JPEG}};
    struct kt_codec_list both = {0};
    for (int i = 0; i < wanted->count; i++) {
        const struct kt_codec_list one = {1, {wanted->codec[i]}};
        if (first_common(&one, &cheap, KT_CODEC_NONE) != KT_CODEC_NONE) {
            both.codec[both.count++] = wanted->codec[i];
        }
    }
    const enum kt_media_codec codec = first_common(&both, offered, KT_CODEC_NONE);
    return codec == KT_CODEC_NONE ? otherwise : codec;
}

static int choose_codec(const struct kt_hub *hub, struct kt_client *c,
                        const struct kt_client_message *m, struct kt_fault *fault)
{
    const struct kt_codec_list *offered = &hub->live->config->codecs, *wanted = &m->hello.codecs;
    c->codec = first_common(wanted, offered, KT_CODEC_NONE);
    c->codec_else = first_common(wanted, offered, KT_CODEC_H264);
    c->preview_codec = preview_codec(wanted, offered, c->codec_else);
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
        hub->line_moved |= c->state == KT_CLIENT_WAITING;
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
                     "you wait for a place; welcome comes when there is one");
        kt_fault_detail(&fault, "type", "ping or bye", "another message");
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

static void measure(const struct kt_hub *hub, struct kt_metrics *m)
{
    *m = (struct kt_metrics){
        .counts = &hub->live->counts,
        .ready = hub->live->ready,
        .sessions_max = hub->sessions_max,
        .sessions_closing = count_phase(hub, KT_SESSION_CLOSING),
        .waiting = line_length(hub),
        .queued = hub->queued,
        .refused = hub->refused,
        .encode_waiting = kt_encode_worker_unanswered(hub->live->worker),
        .packets_free = kt_packet_pool_free(hub->live->pool),
        .resident_bytes = kt_metrics_resident_bytes(),
    };
    for (int i = 0; i < hub->sessions_max; i++) {
        const struct kt_session *s = &hub->sessions[i];
        m->sessions_awake += s->phase == KT_SESSION_OPEN && s->client;
        m->sessions_asleep += s->phase == KT_SESSION_OPEN && !s->client;
        m->raw_pictures += s->reel.count;
    }
    for (const struct kt_client *c = hub->clients; c; c = c->next) {
        m->clients++;
        m->outq_pictures += c->outq.picture_count + c->outq.preview_count;
        m->outq_texts += c->outq.text_count;
        m->outq_bytes += (int)c->outq.text_bytes;
    }
}

static int may_scrape(const struct kt_serve_config *config, const char *authorization)
{
    static const char bearer[] = "Bearer ";
    if (kt_auth_is_loopback(config->metrics_listen)) {
        return 1;
    }
    return authorization && strncmp(authorization, bearer, sizeof(bearer) - 1) == 0 &&
           kt_auth_token_equal(config->token, authorization + sizeof(bearer) - 1);
}

static void answer_text(struct kt_http_response *out, int status, const char *text)
{
    *out = (struct kt_http_response){
        .status = status, .mime = "text/plain; charset=utf-8", .body = text, .n = strlen(text)};
}

static void on_scrape(void *arg, const char *path, const char *authorization,
                      struct kt_http_response *out)
{
    const struct kt_hub *hub = arg;
    struct kt_lane_stats stats;
    struct kt_metrics m;
    size_t n = 0;
    if (!may_scrape(hub->live->config, authorization)) {
        answer_text(out, 401, "this server's token is needed: Authorization: Bearer TOKEN\n");
        return;
    }
    if (strcmp(path, KT_METRICS_PATH) != 0) {
        answer_text(out, 404, "the metrics are at " KT_METRICS_PATH "\n");
        return;
    }
    measure(hub, &m);
    if (hub->live->journal) {
        kt_journal_get_stats(hub->live->journal, &m.journal);
    }
    kt_lane_get_stats(hub->live->lane, &stats);
    m.lane = &stats;
    m.version = KT_VERSION;
    m.model = hub->live->model->name;
    m.device = hub->live->config->device;
    char *text = kt_metrics_print(&m, &n);
    if (!text) {
        answer_text(out, 500, "out of memory\n");
        return;
    }
    *out = (struct kt_http_response){
        .status = 200, .mime = KT_METRICS_MIME, .body = text, .n = n, .owned = text};
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
    hub->line_moved |= c->state == KT_CLIENT_WAITING || c->told_position > 0;
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
    const int64_t line = hub->stopping ? INT64_MAX : serve_line(hub, now_us);
    const int64_t caps = lift_caps(hub, now_us);
    next = line < next ? line : next;
    return caps < next ? caps : next;
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
    *out = (struct kt_loop_handlers){hub,       on_admit,   on_answer,   on_scrape,
                                     on_opened, on_message, on_oversize, on_closed,
                                     on_next,   on_service, on_stopping};
}

void kt_hub_set_loop(struct kt_hub *hub, struct kt_loop *loop)
{
    hub->loop = loop;
}

int kt_hub_failed(const struct kt_hub *hub)
{
    return hub->failed;
}
