/* Control messages: JSON text to structs and back, as PROTOCOL.md lists them. No I/O.
 *
 * Thread-safety: a message belongs to one thread at a time. */
#ifndef KT_PROTO_CONTROL_H
#define KT_PROTO_CONTROL_H

#include "proto/fault.h"
#include "proto/limits.h"

#include <stddef.h>
#include <stdint.h>

struct json_t;

enum kt_client_kind {
    KT_CLIENT_HELLO,
    KT_CLIENT_EDIT,
    KT_CLIENT_COMMIT,
    KT_CLIENT_SET,
    KT_CLIENT_PAUSE,
    KT_CLIENT_RESUME,
    KT_CLIENT_RESET,
    KT_CLIENT_REWIND,
    KT_CLIENT_STEPS,
    KT_CLIENT_KEYFRAME,
    KT_CLIENT_PLAYHEAD,
    KT_CLIENT_PING,
    KT_CLIENT_BYE,
    KT_CLIENT_COUNT
};

struct kt_seed {
    int given;
    uint64_t value;
};

struct kt_codec_list {
    int count;
    uint8_t codec[KT_CODECS_MAX]; /* enum kt_media_codec, known ones only, best first */
};

struct kt_fork {
    const char *session; /* resume token, or NULL: no fork */
    int64_t frame;       /* -1: where that session is now */
};

/* How a prompt takes effect; what was left out is -1. */
struct kt_change {
    int64_t cut, transition; /* enum kt_cut_name, enum kt_transition_name */
    int64_t blend;           /* blocks */
    int64_t recache;         /* latents, or KT_CHANGE_* */
};
enum { KT_CHANGE_FULL = 0, KT_CHANGE_CHECKPOINT = KT_WINDOW_LIMIT + 1 };

/* Strings are NUL-terminated valid UTF-8 that live as long as the message; NULL where absent.
 * Absent integers, names and booleans are -1. */
struct kt_client_message {
    enum kt_client_kind kind;
    struct json_t *root; /* owned */
    union {
        struct {
            int64_t protocol, steps, wait;
            struct kt_codec_list codecs;
            const char *token, *resume, *text, *client;
            struct kt_seed seed;
            struct kt_fork fork;
        } hello;
        struct {
            int64_t rev, base, at, del;
            const char *ins, *text; /* one of them is NULL: text for a full replacement */
        } edit;
        struct {
            int64_t rev;
            struct kt_change change;
        } commit;
        struct {
            int64_t draft, preview, depth;
            struct kt_change change;
        } set;
        struct {
            int64_t frame;
        } rewind;
        struct {
            struct kt_seed seed;
        } reset;
        struct {
            int64_t steps;
        } steps;
        struct {
            const char *reason;
        } keyframe;
        struct {
            int64_t seq, client_us, rtt_us;
        } playhead;
        struct {
            int64_t id, client_us;
        } ping;
    };
};

/* In the order of their names on the wire. */
enum kt_transition_name { KT_NAME_MODEL, KT_NAME_CUT, KT_NAME_SCENE, KT_NAME_BLEND };
enum kt_cut_name { KT_NAME_NOW, KT_NAME_LATENT, KT_NAME_BLOCK };

/* Reads one whole text message of n bytes. 0, or -EBADMSG with the fault filled and nothing to
 * free. A success is freed with kt_client_message_free. Allocates (JSON tree); never blocks. */
int kt_client_message_parse(struct kt_client_message *m, const char *data, size_t n,
                            struct kt_fault *fault);
void kt_client_message_free(struct kt_client_message *m);
/* The message as JSON text, malloc'ed, or NULL without memory: what a client in C sends. */
char *kt_client_message_print(const struct kt_client_message *m);

/* ---- server to client ---- */

/* Everything in force. */
struct kt_settings {
    int draft, preview, depth;
    struct kt_change change;
};

struct kt_welcome {
    const char *session, *codec, *codec_string, *model, *text;
    int resumed, ready, rev, committed; /* committed: -1 for none */
    int width, height, fps, frames_per_latent, block_frames;
    int steps, steps_max, window; /* window: latents */
    struct kt_settings settings;
    uint64_t seed;
    int64_t server_us;
    const char *const *examples; /* NULL-terminated, or NULL */
    struct json_t *vocabulary;   /* borrowed, or NULL */
    const char *const *features; /* NULL-terminated */
};

struct kt_received {
    int rev, committed, words;
    int known; /* -1: the model lists no vocabulary */
    const char *unknown[KT_UNKNOWN_WORDS_MAX];
    int unknown_count;
    const char *note; /* or NULL */
    int64_t server_us;
};

struct kt_applied {
    int rev;
    uint32_t epoch;
    int64_t frame, server_us;
    int hit; /* 0 cold, 1 begun, 2 ready */
    enum kt_cut_name cut;
    int flush;
};

struct kt_queued {
    int position, sessions;
    int64_t eta_ms; /* -1: nobody can tell */
};

struct kt_history {
    int64_t from, to;
    const int64_t *checkpoints;
    int checkpoint_count;
};

enum kt_stream_state { KT_STREAM_WARMING, KT_STREAM_WAITING, KT_STREAM_LIVE, KT_STREAM_PAUSED };
enum kt_pause_reason { KT_PAUSE_NONE, KT_PAUSE_CLIENT, KT_PAUSE_HIDDEN };

struct kt_stream_status {
    enum kt_stream_state state;
    enum kt_pause_reason reason;
    double fps;
    int target_fps, steps, slow;
};

/* Each returns the JSON text, malloc'ed, or NULL without memory. */
char *kt_print_welcome(const struct kt_welcome *w);
char *kt_print_received(const struct kt_received *r);
char *kt_print_applied(const struct kt_applied *a);
char *kt_print_drafted(int rev, int ready, int64_t server_us);
char *kt_print_settings(const struct kt_settings *s);
char *kt_print_queued(const struct kt_queued *q);
char *kt_print_history(const struct kt_history *h);
char *kt_print_failed(int rev, const char *code, const char *message);
char *kt_print_resync(int rev, const char *text, const char *reason);
char *kt_print_status(const struct kt_stream_status *s);
char *kt_print_pong(int64_t id, int64_t client_us, int64_t server_us);
char *kt_print_fault(const struct kt_fault *f);
char *kt_print_bye(const char *code, const char *message, int retry_ms);

#endif
