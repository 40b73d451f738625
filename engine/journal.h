/* The decision log as a file: one JSON object a line (docs/log.md), written beside the lane by a
 * thread of its own, and read again by `kinetype replay` and the simulator.
 *
 * The lane hands in records and never waits: they go into a fixed ring, texts into a fixed arena.
 * Where either is full the record is lost, counted, and a `gap` line stands in its place. A disk
 * that fails stops the log, not the lane.
 *
 * Thread-safety: kt_journal_record on one thread (the lane's); open, close and stats on any, one at
 * a time. A reader belongs to one thread. */
#ifndef KT_ENGINE_JOURNAL_H
#define KT_ENGINE_JOURNAL_H

#include "engine/base/error.h"
#include "engine/engine.h"
#include "engine/lane.h"
#include "engine/record.h"

#include <stddef.h>
#include <stdint.h>

enum { KT_JOURNAL_FORMAT = 1 };

/* The first line: what the bits of the pictures depend on beside the records. */
struct kt_journal_head {
    int format;
    char library[32];   /* version of kinetype */
    char model[64];     /* its name */
    uint64_t weights;   /* of config.json and the weight files: kt_journal_describe */
    char device[32];    /* "cpu" or "cuda" */
    char kernels[32];   /* op table: "cpu-avx512" ... */
    char precision[16]; /* kt_precision_name */
    int threads;
    int window, tiny_vae, random_weights; /* as kt_engine_params */
    struct kt_board_params board;         /* what the policy was made with */
};

/* Fills a head from an open engine, `board` with kt_lane_board_params. `weights` covers config.json
 * whole, and of every weight file its size and its first and last MiB. Errors: -ENOENT and others
 * of open(2). */
int kt_journal_describe(struct kt_journal_head *head, const struct kt_lane_params *lane,
                        const struct kt_engine_params *p, struct kt_error *err);

/* ---- writing ---- */

struct kt_journal;

struct kt_journal_params {
    const char *path; /* must not exist: a log begins with its head and is never appended to */
    const struct kt_journal_head *head;
    int records_max;    /* in the ring; 0: 4096 */
    size_t text_bytes;  /* of the arena; 0: 1 MiB */
    uint64_t bytes_max; /* of the file; 0: 4 GiB; then it ends with -EFBIG in the stats */
};

/* Creates the file, writes the head, starts the thread. Errors: -EEXIST, others of open(2). */
int kt_journal_open(struct kt_journal **j, const struct kt_journal_params *p, struct kt_error *err);
/* Writes what is left and closes; the stats of the whole run in *last unless NULL. */
struct kt_journal_stats {
    uint64_t written, lost, bytes; /* records; records that became gaps or came after an error */
    int error;                     /* negative errno of the first failed write, or 0 */
};
void kt_journal_close(struct kt_journal **j, struct kt_journal_stats *last);
void kt_journal_get_stats(struct kt_journal *j, struct kt_journal_stats *out);

/* kt_lane_params.record: `journal` is the struct kt_journal. Copies; never waits. */
void kt_journal_record(void *journal, const struct kt_record *r);

/* ---- reading ---- */

struct kt_journal_reader;

/* Errors: those of open(2), -EBADMSG: not a log, or of another format. */
int kt_journal_reader_open(struct kt_journal_reader **r, const char *path,
                           struct kt_journal_head *head, struct kt_error *err);
void kt_journal_reader_close(struct kt_journal_reader **r);
/* 1 and the next record (its text is valid until the next call), 0 at the end, or -EBADMSG: the
 * message names the line, the key, what was expected and found. A last line without its end is
 * refused: the log was cut off. */
int kt_journal_reader_next(struct kt_journal_reader *r, struct kt_record *out,
                           struct kt_error *err);
int kt_journal_reader_line(const struct kt_journal_reader *r); /* of the record last read */

#endif
