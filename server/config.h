/* Settings of `kinetype serve`: one JSON file with // comments, then the command line on top.
 *
 * Thread-safety: plain data, read-only after load. */
#ifndef KT_SERVER_CONFIG_H
#define KT_SERVER_CONFIG_H

#include "engine/base/error.h"
#include "engine/device/device.h"
#include "proto/control.h"
#include "server/log.h"

enum { KT_PATH_BYTES_MAX = 4096, KT_NAMES_MAX = 16 };

struct kt_serve_config {
    char model[KT_PATH_BYTES_MAX]; /* model directory */
    char web[KT_PATH_BYTES_MAX];   /* directory of the page */
    char device[16];
    enum kt_precision precision;
    int threads;                               /* 0: all cores */
    int random, tiny_vae, window, checkpoints; /* as config/demo.json says */
    char listen[64];
    int port; /* 0: any free one */
    char token[KT_TOKEN_BYTES_MAX + 1];
    char *origins[KT_NAMES_MAX + 1], *hosts[KT_NAMES_MAX + 1]; /* NULL-terminated */
    int sessions_max, connections_max;
    int steps;                          /* 0: automatic */
    struct kt_seed seed;                /* not given: a new one for every session */
    char prompt[KT_TEXT_BYTES_MAX + 1]; /* what plays before anybody typed; "" for nothing */
    int decode_lead_latents;
    int drafts, preview;                  /* what sessions start with; both can be switched */
    int recache;                          /* likewise: latents, or KT_CHANGE_* */
    int text_after_ms, draft_after_ms;    /* pause in typing before the text is encoded, drawn */
    int speculation_depth;                /* blocks */
    int checkpoint_every_latents;         /* 0: none */
    int archive_mib;                      /* 0: none */
    char decision_log[KT_PATH_BYTES_MAX]; /* "": none is written */
    int queue_max;                        /* people who wait for a place; 0: nobody may */
    char metrics_listen[64];
    int metrics_port;            /* 0: no metrics are served */
    struct kt_codec_list codecs; /* what the server offers; h264 where it has NVENC */
    int encode_threads;          /* 0: one for four cores, at most one a session */
    int bitrate_kbps;            /* 0: from size and rate */
    int jpeg_quality;
    enum kt_log_level log;
};

/* Fills in the defaults. */
void kt_serve_config_init(struct kt_serve_config *c);
/* Reads a file over what is there. Paths in it are relative to its directory. Unknown keys are
 * refused with the nearest known one. Errors: -ENOENT, -EBADMSG; the message names file, key, what
 * was expected and what was found. */
int kt_serve_config_load(struct kt_serve_config *c, const char *path, struct kt_error *err);
/* The command line: --config FILE is read first wherever it stands, then the other options
 * override. 0, 1 when help was asked for, -EINVAL. */
int kt_serve_config_arguments(struct kt_serve_config *c, int argc, char **argv,
                              struct kt_error *err);
/* What no single value can tell: an address others can reach needs a token, the metrics' too.
 * -EINVAL. */
int kt_serve_config_check(const struct kt_serve_config *c, struct kt_error *err);
void kt_serve_config_free(struct kt_serve_config *c);

/* Replaces // comments outside strings by blanks, in place, so that line numbers stay true. */
void kt_config_strip_comments(char *text);

#endif
