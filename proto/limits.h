/* Limits of the live protocol; PROTOCOL.md says why each number is what it is. */
#ifndef KT_PROTO_LIMITS_H
#define KT_PROTO_LIMITS_H

enum {
    KT_PROTOCOL_VERSION = 1,
    KT_MESSAGE_BYTES_MAX = 65536,
    KT_TEXT_BYTES_MAX = 8192,
    KT_JSON_DEPTH_MAX = 8,
    KT_REVISION_MAX = 2147483647,
    KT_CODECS_MAX = 8,
    KT_CLIENT_NAME_BYTES_MAX = 64,
    KT_TOKEN_BYTES_MAX = 256,
    KT_RESUME_TOKEN_CHARS = 32,
    KT_UNKNOWN_WORDS_MAX = 8,
    KT_UNKNOWN_WORD_CHARS_MAX = 32,
    KT_STEPS_LIMIT = 16,    /* the model's own may be lower */
    KT_WINDOW_LIMIT = 1024, /* latents; the model's own is lower */
    KT_BLEND_LIMIT = 16,    /* blocks */
    KT_DEPTH_LIMIT = 4,
    KT_HISTORY_MS = 2000,

    KT_HELLO_MS = 5000,
    KT_RESUME_MS = 30000,
    KT_PLAYHEAD_MS = 2000,
    KT_LEAD_MS = 250,
    KT_UNREAD_MS = 5000,
    KT_EDITS_PER_S = 60,
    KT_EDITS_BURST = 240,
    KT_KEYFRAMES_PER_S = 1,
    KT_KEYFRAMES_BURST = 3,
    KT_MESSAGES_PER_S = 200,
    KT_MESSAGES_BURST = 400,
    KT_BAD_MESSAGES_MAX = 32,
    KT_RTT_US_MAX = 2000000, /* longer round trips do not buy a longer send lead */
};

#define KT_LIVE_PATH    "/v1/live"
#define KT_SUB_PROTOCOL "kinetype.v1"

#endif
