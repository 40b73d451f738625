/* Cold checkpoints: the clean latents of whole streams in host memory, with the prompts they were
 * made under, so that a stream can go on from almost any point of its past (kt_timeline_resume).
 *
 * All memory is taken at open and stays below `bytes_max`, whatever happens; archive.c says what
 * goes when it is full. Positions are latents; a position is *reachable* while the `window` latents
 * before it (all of them, near the start) and the sink of its time are kept.
 *
 * Thread-safety: belongs to its lane's thread. */
#ifndef KT_ENGINE_KV_ARCHIVE_H
#define KT_ENGINE_KV_ARCHIVE_H

#include "engine/base/error.h"
#include "engine/kv/history.h"

#include <stddef.h>
#include <stdint.h>

struct kt_archive;

struct kt_archive_params {
    size_t bytes_max;     /* of everything the archive ever holds */
    int streams_max;      /* streams are numbered 0 .. streams_max - 1 by the caller */
    size_t latent_floats; /* of one latent */
    int window, sink;     /* latents, of the model */
};

/* -EINVAL: bytes_max holds fewer than two windows; -ENOMEM. */
int kt_archive_open(struct kt_archive **a, const struct kt_archive_params *p, struct kt_error *err);
void kt_archive_close(struct kt_archive **a);

/* An empty stream under `text` (UTF-8, copied); what was kept under this number is forgotten. */
void kt_archive_begin(struct kt_archive *a, int stream, uint64_t seed, const char *text);
/* The same, with the past of `from` before `at`, which must be reachable there: -ERANGE. Copies the
 * latents that `at` stands on. */
int kt_archive_fork(struct kt_archive *a, int stream, int from, int64_t at);
void kt_archive_end(struct kt_archive *a, int stream);

/* Forgets every latent from `at` on, and prompts that began after it. */
void kt_archive_rewind(struct kt_archive *a, int stream, int64_t at);
/* Latents from `at` on are made under `text`; earlier ones stay as they are. The stream is rewound
 * to `at` first. keep_sink and recache as kt_timeline_switch took them: they say whose the sink is
 * from now on. */
void kt_archive_switch(struct kt_archive *a, int stream, int64_t at, const char *text,
                       int keep_sink, int recache);
/* Latent `index` [latent_floats] of the stream, copied. Where the stream is longer it is rewound
 * first; where latents are missing before it, positions are reachable again a window later. May
 * thin. */
void kt_archive_put(struct kt_archive *a, int stream, int64_t index, const float *latent);

/* The last reachable position that is not after `at`, or -1. */
int64_t kt_archive_reach(const struct kt_archive *a, int stream, int64_t at);

/* What kt_timeline_resume needs for the reachable position `at`. Pointers are valid until the next
 * call with this archive. -ERANGE: not reachable. */
struct kt_archive_point {
    int64_t at, sink_at;
    int n;                        /* latents of the window */
    const float *window, *sink;   /* [n, latent_floats], [sink, latent_floats] (NULL: at <= sink) */
    const char *text, *sink_text; /* the prompts of that time */
    uint64_t seed;
};
int kt_archive_read(struct kt_archive *a, int stream, int64_t at, struct kt_archive_point *out);

struct kt_archive_info {
    size_t bytes_used, bytes_held, bytes_max; /* in use; allocated; the cap */
    uint64_t thinned;                         /* latents dropped because it was full */
};
void kt_archive_get_info(const struct kt_archive *a, struct kt_archive_info *out);
/* What a stream holds: its first reachable position (-1: none), its end, its latents kept. */
struct kt_archive_stream {
    int64_t first, end;
    int kept;
};
void kt_archive_get_stream(const struct kt_archive *a, int stream, struct kt_archive_stream *out);

#endif
