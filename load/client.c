#include "load/client.h"

#include "proto/control.h"
#include "proto/server_message.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TICK_LATE_US = 4000,       /* what a browser's timer is late by on most ticks */
    TICK_STALL_PER_MILLE = 20, /* and now and then a page is busy */
    TICK_STALL_MIN_US = 10000,
    TICK_STALL_MAX_US = 40000,
    START_SPREAD_US = 2000000, /* people do not begin in the same instant */
    KEY_EVERY_US = 1000000,    /* as often as the server grants a key picture */
};

void kt_load_client_open(struct kt_load_client *c, const struct kt_load_client_params *p)
{
    memset(c, 0, sizeof(*c));
    c->p = *p;
    c->random = kt_random_init(p->seed, (uint64_t)p->number + (UINT64_C(1) << 32));
    c->ledger.arg = p->results;
    c->ledger.closed = kt_results_commit;
    kt_viewer_open(&c->viewer, &(struct kt_viewer_params){.results = p->results,
                                                          .ledger = &c->ledger,
                                                          .round_trip = &c->round_trip,
                                                          .now_us = p->io.now_us,
                                                          .arg = p->io.arg,
                                                          .codec = p->codec,
                                                          .decode = p->decode,
                                                          .refresh_hz = p->refresh_hz});
}

static void give_up(struct kt_load_client *c, const char *why)
{
    kt_results_problem(c->p.results, why);
    c->p.io.close(c->p.io.arg);
}

/* Takes the text. */
static void say_text(struct kt_load_client *c, char *text)
{
    if (!text || c->p.io.send(c->p.io.arg, text) < 0) {
        give_up(c, "the server does not read what a client sends");
    }
}

static void say(struct kt_load_client *c, const struct kt_client_message *m)
{
    say_text(c, kt_client_message_print(m));
}

/* Takes the reference. */
static void say_json(struct kt_load_client *c, json_t *o)
{
    say_text(c, o ? json_dumps(o, JSON_COMPACT) : NULL);
    json_decref(o);
}

/* ---- the prompt ---- */

static int next_rev(struct kt_load_client *c)
{
    c->rev = c->rev < KT_REVISION_MAX ? c->rev + 1 : KT_REVISION_MAX;
    return c->rev;
}

static void say_commit(struct kt_load_client *c)
{
    c->commit_rev = c->rev;
    say_json(c, json_pack("{s:s s:i}", "type", "commit", "rev", c->rev));
}

/* The whole text, as the page does after a resync; a commit that may have been lost follows it. */
static void say_whole(struct kt_load_client *c)
{
    struct kt_client_message m = {.kind = KT_CLIENT_EDIT};
    m.edit.rev = next_rev(c);
    m.edit.text = c->typist.box.text.bytes;
    c->whole = 0;
    c->whole_rev = c->rev;
    say(c, &m);
    if (c->commit_rev) {
        kt_ledger_rename(&c->ledger, c->commit_rev, c->rev);
        say_commit(c);
    }
}

static void say_change(struct kt_load_client *c, const struct kt_keystroke *change)
{
    char ins[KT_TEXT_BYTES_MAX + 1];
    struct kt_client_message m = {.kind = KT_CLIENT_EDIT};
    memcpy(ins, change->ins, change->ins_n);
    ins[change->ins_n] = '\0';
    m.edit.base = c->rev;
    m.edit.rev = next_rev(c);
    m.edit.at = change->at;
    m.edit.del = change->del;
    m.edit.ins = ins;
    say(c, &m);
}

static void enter(struct kt_load_client *c, const struct kt_typed *typed, int64_t now_us)
{
    say_commit(c);
    c->p.results->commits_sent++;
    kt_ledger_add(&c->ledger, &(struct kt_commit){.client = c->p.number,
                                                  .rev = c->rev,
                                                  .pause_ms = typed->pause_ms,
                                                  .opening = !c->viewer.has_shown,
                                                  .sent_us = now_us,
                                                  .transit_us = -1});
}

static void type(struct kt_load_client *c, const struct kt_typed *typed, int64_t now_us)
{
    if (typed->kind == KT_TYPED_EDIT) {
        c->p.results->edits_sent++;
        if (c->whole) {
            say_whole(c);
        } else {
            say_change(c, &typed->change);
        }
    } else if (typed->kind == KT_TYPED_ENTER) {
        enter(c, typed, now_us);
    }
}

/* ---- what the server says ---- */

static void on_welcome(struct kt_load_client *c, const struct kt_server_message *m, int64_t now_us)
{
    struct kt_load_results *r = c->p.results;
    r->opened++;
    if (c->state == KT_LOAD_QUEUED) {
        kt_tally_add(&r->queue_ms, (double)(now_us - c->queued_us) * 1e-3);
    }
    snprintf(r->model, sizeof(r->model), "%s", m->welcome.model);
    snprintf(r->codec, sizeof(r->codec), "%s", m->welcome.codec);
    r->width = (int)m->welcome.width;
    r->height = (int)m->welcome.height;
    r->target_fps = (int)m->welcome.fps;
    r->steps = (int)m->welcome.steps;
    c->state = KT_LOAD_OPEN;
    c->rev = (int)m->welcome.rev;
    c->whole = 1;
    c->tick_us = now_us;
    c->pinged_us = now_us - KT_PING_US;
    c->typing = 1;
    if (c->p.settings) {
        say_text(c, strdup(c->p.settings));
    }
    kt_typist_init(&c->typist,
                   &(struct kt_typist_params){
                       .script = c->p.script,
                       .seed = c->p.seed,
                       .number = c->p.number,
                       .start_us = now_us + kt_random_between(&c->random, 0, START_SPREAD_US)});
}

static enum kt_hit hit_of(const char *name)
{
    return strcmp(name, "ready") == 0   ? KT_HIT_READY
           : strcmp(name, "begun") == 0 ? KT_HIT_BEGUN
                                        : KT_HIT_COLD;
}

static void on_applied(struct kt_load_client *c, const struct kt_server_message *m, int64_t now_us)
{
    struct kt_commit news = {.rev = (int)m->applied.rev,
                             .epoch = (uint32_t)m->applied.epoch,
                             .hit = hit_of(m->applied.hit)};
    snprintf(news.cut, sizeof(news.cut), "%s", m->applied.cut);
    kt_ledger_applied(&c->ledger, &news, now_us);
}

/* While a whole text is unanswered, a resync says nothing new: it answers what was sent before. */
static void on_resync(struct kt_load_client *c, const struct kt_server_message *m)
{
    c->p.results->resyncs++;
    if (c->whole_rev || c->whole) {
        return;
    }
    c->rev = m->resync.rev > c->rev ? (int)m->resync.rev : c->rev;
    say_whole(c);
}

static void on_received(struct kt_load_client *c, const struct kt_server_message *m)
{
    if (c->whole_rev && m->received.rev >= c->whole_rev) {
        c->whole_rev = 0;
    }
    if (m->received.committed && m->received.rev >= c->commit_rev) {
        c->commit_rev = 0;
    }
}

/* A text that was refused (too fast) is sent whole with the next key. */
static void on_error(struct kt_load_client *c, const struct kt_server_message *m)
{
    struct kt_load_results *r = c->p.results;
    kt_results_error(r, m->error.code);
    if (m->error.fatal) {
        r->refused += c->state < KT_LOAD_OPEN;
        if (c->state < KT_LOAD_OPEN || strcmp(m->error.code, "too_many_sessions") != 0) {
            kt_results_problem(r, m->error.message);
        }
        return;
    }
    if (m->error.rev >= 0 && m->error.rev == c->whole_rev) {
        c->whole_rev = 0;
        c->whole = 1;
    }
    if (m->error.rev >= 0 && m->error.rev == c->commit_rev &&
        strcmp(m->error.code, "wrong_rev") != 0) {
        kt_ledger_failed(&c->ledger, c->commit_rev);
        c->commit_rev = 0;
    }
}

/* A server that is short of time may take fewer steps than were asked for. */
static void on_status(struct kt_load_results *r, const struct kt_server_message *m)
{
    if (m->status.steps > 0 && (r->steps_lowest == 0 || m->status.steps < r->steps_lowest)) {
        r->steps_lowest = (int)m->status.steps;
    }
}

static void hear(struct kt_load_client *c, const struct kt_server_message *m, int64_t now_us)
{
    struct kt_load_results *r = c->p.results;
    switch (m->kind) {
    case KT_SERVER_WELCOME: on_welcome(c, m, now_us); return;
    case KT_SERVER_QUEUED:
        r->queued += c->state != KT_LOAD_QUEUED;
        c->queued_us = c->state != KT_LOAD_QUEUED ? now_us : c->queued_us;
        c->state = KT_LOAD_QUEUED;
        return;
    case KT_SERVER_RECEIVED: on_received(c, m); return;
    case KT_SERVER_APPLIED: on_applied(c, m, now_us); return;
    case KT_SERVER_FAILED: kt_ledger_failed(&c->ledger, (int)m->failed.rev); return;
    case KT_SERVER_RESYNC: on_resync(c, m); return;
    case KT_SERVER_PONG:
        kt_round_trip_add(&c->round_trip, m->pong.client_us, m->pong.server_us, now_us);
        kt_tally_add(&r->rtt_ms, (double)(now_us - m->pong.client_us) * 1e-3);
        return;
    case KT_SERVER_ERROR: on_error(c, m); return;
    case KT_SERVER_STATUS: on_status(r, m); return;
    case KT_SERVER_BYE:
    case KT_SERVER_OTHER:
    case KT_SERVER_COUNT: return;
    }
}

void kt_load_client_text(struct kt_load_client *c, const char *data, size_t n, int64_t now_us)
{
    struct kt_server_message m;
    struct kt_fault fault;
    if (kt_server_message_parse(&m, data, n, &fault) < 0) {
        c->p.results->bad_messages++;
        kt_results_problem(c->p.results, fault.message);
        return;
    }
    hear(c, &m, now_us);
    kt_server_message_free(&m);
}

void kt_load_client_binary(struct kt_load_client *c, const uint8_t *data, size_t n, int64_t now_us)
{
    if (c->state != KT_LOAD_OPEN || kt_viewer_picture(&c->viewer, data, n, now_us) == 0) {
        return;
    }
    if (now_us - c->key_asked_us >= KEY_EVERY_US || !c->key_asked_us) {
        c->key_asked_us = now_us;
        c->p.results->key_requests++;
        struct kt_client_message m = {.kind = KT_CLIENT_KEYFRAME};
        m.keyframe.reason = "need a key picture";
        say(c, &m);
    }
}

/* ---- ticking ---- */

static void ping(struct kt_load_client *c, int64_t now_us)
{
    struct kt_client_message m = {.kind = KT_CLIENT_PING};
    c->pinged_us = now_us;
    m.ping.id = ++c->ping_id;
    m.ping.client_us = now_us;
    say(c, &m);
}

static void report(struct kt_load_client *c, int64_t now_us)
{
    const int best = kt_round_trip_best(&c->round_trip);
    const struct kt_viewer *v = &c->viewer;
    if (!v->has_passed || (c->has_reported && v->passed_seq == c->reported_seq &&
                           now_us - c->reported_us < KT_REPORT_IDLE_US)) {
        return;
    }
    c->has_reported = 1;
    c->reported_seq = v->passed_seq;
    c->reported_us = now_us;
    struct kt_client_message m = {.kind = KT_CLIENT_PLAYHEAD};
    m.playhead.seq = v->passed_seq;
    m.playhead.client_us = now_us;
    m.playhead.rtt_us = best < 0 ? -1 : c->round_trip.sample[best].us;
    say(c, &m);
}

static int64_t next_tick(struct kt_load_client *c, int64_t now_us)
{
    int64_t late = kt_random_between(&c->random, 0, TICK_LATE_US);
    if (kt_random_between(&c->random, 1, 1000) <= TICK_STALL_PER_MILLE) {
        late += kt_random_between(&c->random, TICK_STALL_MIN_US, TICK_STALL_MAX_US);
    }
    return now_us + KT_REPORT_US + late;
}

static void tick(struct kt_load_client *c, int64_t now_us)
{
    if (now_us - c->pinged_us >= KT_PING_US) {
        ping(c, now_us);
    }
    report(c, now_us);
    c->tick_us = next_tick(c, now_us);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t kt_load_client_service(struct kt_load_client *c, int64_t now_us)
{
    struct kt_typed typed;
    if (c->state != KT_LOAD_OPEN) {
        return INT64_MAX;
    }
    const int64_t picture_us = kt_viewer_service(&c->viewer, now_us);
    while (c->typing && kt_typist_next(&c->typist, now_us, &typed)) {
        type(c, &typed, now_us);
    }
    if (now_us >= c->tick_us) {
        tick(c, now_us);
    }
    const int64_t next = earlier(picture_us, c->tick_us);
    return c->typing ? earlier(next, c->typist.due_us) : next;
}

/* ---- coming and going ---- */

static void set(json_t *o, const char *name, json_t *value)
{
    json_object_set_new(o, name, value);
}

void kt_load_client_connected(struct kt_load_client *c, int64_t now_us)
{
    json_t *hello =
        json_pack("{s:s s:i s:[s] s:s}", "type", "hello", "protocol", KT_PROTOCOL_VERSION, "codecs",
                  kt_codec_name(c->p.codec), "client", "load");
    if (c->p.token) {
        set(hello, "token", json_string(c->p.token));
    }
    if (c->p.steps >= 0) {
        set(hello, "steps", json_integer(c->p.steps));
    }
    c->state = KT_LOAD_GREETING;
    say_json(c, hello);
}

void kt_load_client_gone(struct kt_load_client *c, const char *reason, int64_t now_us)
{
    if (c->state == KT_LOAD_GONE) {
        return;
    }
    if (c->state == KT_LOAD_CONNECTING) {
        c->p.results->refused++;
    } else if (c->state == KT_LOAD_OPEN) {
        c->p.results->lost++;
    }
    if (c->state == KT_LOAD_CONNECTING || c->state == KT_LOAD_OPEN) {
        kt_results_problem(c->p.results, reason);
    }
    c->state = KT_LOAD_GONE;
    c->typing = 0;
    kt_viewer_end(&c->viewer, now_us);
}

void kt_load_client_stop(struct kt_load_client *c)
{
    c->typing = 0;
}

int kt_load_client_idle(const struct kt_load_client *c)
{
    return c->state != KT_LOAD_OPEN || c->ledger.count == 0;
}

/* After bye the server closes. */
void kt_load_client_leave(struct kt_load_client *c, int64_t now_us)
{
    const enum kt_load_client_state state = c->state;
    c->typing = 0;
    c->state = KT_LOAD_GONE;
    kt_viewer_end(&c->viewer, now_us);
    if (state == KT_LOAD_OPEN || state == KT_LOAD_QUEUED) {
        say(c, &(struct kt_client_message){.kind = KT_CLIENT_BYE});
    } else if (state != KT_LOAD_GONE) {
        c->p.io.close(c->p.io.arg);
    }
}

void kt_load_client_close(struct kt_load_client *c, int64_t now_us)
{
    kt_ledger_end(&c->ledger);
    kt_viewer_close(&c->viewer, now_us);
}
