/* A load run: N clients against one server, on one thread.
 *
 * Thread-safety: everything belongs to the thread in kt_load_run. */
#ifndef KT_LOAD_LOAD_H
#define KT_LOAD_LOAD_H

#include "engine/base/error.h"
#include "load/results.h"
#include "load/script.h"
#include "proto/media.h"

#include <stdint.h>

enum {
    KT_LOAD_CLIENTS_MAX = 4096,
    KT_LOAD_RAMP_MS = 20,    /* between two connections */
    KT_LOAD_DRAIN_MS = 3000, /* for the answers to the last commits */
};

struct kt_load_params {
    const char *url; /* ws://HOST[:PORT][/PATH], or wss:// */
    const struct kt_script *script;
    const char *token; /* or NULL */
    enum kt_media_codec codec;
    int clients, decode, refresh_hz;
    int steps; /* -1: the server's */
    double seconds;
    uint64_t seed;
    const char *settings; /* a `set` message for every client, or NULL */
    /* Called once when everything was seen and the clients are still connected; may block. NULL:
     * not called. */
    void (*leaving)(void *arg);
    void *leaving_arg;
};

/* Connects, types for that long, waits for the last answers, leaves. SIGINT and SIGTERM end it
 * early, with what was seen so far. Fills `results` (zeroed by the caller, freed with
 * kt_results_free). Errors: -EINVAL for the URL, -EIO, -ENOMEM; that the server refuses is no error
 * here, but counted. */
int kt_load_run(struct kt_load_results *results, const struct kt_load_params *p,
                struct kt_error *err);

#endif
