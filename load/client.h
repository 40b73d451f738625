/* One client of the live protocol: greets, types, decodes, shows and reports like the page
 * (web/core), on a clock of the caller's. It owns no socket: what it says goes through `io`, what
 * it hears is told.
 *
 * Thread-safety: one thread at a time. */
#ifndef KT_LOAD_CLIENT_H
#define KT_LOAD_CLIENT_H

#include "load/ledger.h"
#include "load/results.h"
#include "load/round_trip.h"
#include "load/typist.h"
#include "load/viewer.h"

#include <stddef.h>
#include <stdint.h>

enum {
    KT_REPORT_US = 100000, /* playhead while pictures are shown */
    KT_REPORT_IDLE_US = 500000,
    KT_PING_US = 2000000,
};

struct kt_load_client_io {
    void *arg;
    /* Takes the text (malloc'ed). 0, or -ENOBUFS when it cannot be kept: then the client gives up.
     */
    int (*send)(void *arg, char *text);
    /* There is nothing more to say: close in order. */
    void (*close)(void *arg);
    int64_t (*now_us)(void *arg);
};

struct kt_load_client_params {
    const struct kt_script *script;  /* outlives the client */
    struct kt_load_results *results; /* the same */
    struct kt_load_client_io io;
    const char *token; /* or NULL */
    enum kt_media_codec codec;
    int number, decode, refresh_hz; /* 0: shown when due, whatever a display does */
    int steps;                      /* -1: the server's */
    uint64_t seed;
    const char *settings; /* a `set` message that is sent first, or NULL */
};

enum kt_load_client_state {
    KT_LOAD_CONNECTING,
    KT_LOAD_GREETING,
    KT_LOAD_QUEUED,
    KT_LOAD_OPEN,
    KT_LOAD_GONE
};

struct kt_load_client {
    struct kt_load_client_params p;
    enum kt_load_client_state state;
    struct kt_typist typist;
    int typing; /* begun and not stopped */
    struct kt_viewer viewer;
    struct kt_ledger ledger;
    struct kt_round_trip round_trip;
    struct kt_random random; /* of ticks */
    int64_t queued_us, tick_us, pinged_us, ping_id;
    /* the prompt's copy at the server, if all goes well */
    int rev, whole_rev, commit_rev; /* whole_rev, commit_rev: unanswered; 0: none */
    int whole;                      /* the next edit is the whole text */
    uint32_t reported_seq;
    int has_reported;
    int64_t reported_us, key_asked_us;
};

void kt_load_client_open(struct kt_load_client *c, const struct kt_load_client_params *p);
void kt_load_client_connected(struct kt_load_client *c, int64_t now_us);
void kt_load_client_text(struct kt_load_client *c, const char *data, size_t n, int64_t now_us);
void kt_load_client_binary(struct kt_load_client *c, const uint8_t *data, size_t n, int64_t now_us);
/* The connection is gone, or never came to be. */
void kt_load_client_gone(struct kt_load_client *c, const char *reason, int64_t now_us);
/* Does what is due and says when to be called again (INT64_MAX: no need). To be called after each
 * of the calls above, too. */
int64_t kt_load_client_service(struct kt_load_client *c, int64_t now_us);
/* No more typing. */
void kt_load_client_stop(struct kt_load_client *c);
/* 1 when no commit waits for its first picture. */
int kt_load_client_idle(const struct kt_load_client *c);
/* Says bye, or asks for the connection to be closed. */
void kt_load_client_leave(struct kt_load_client *c, int64_t now_us);
/* Counts what was seen into the results and frees. */
void kt_load_client_close(struct kt_load_client *c, int64_t now_us);

#endif
