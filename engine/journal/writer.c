/* From the lane to the disk without the lane ever waiting for the disk.
 *
 * One producer (the lane), one consumer (the writer's thread), a ring of whole records between
 * them and, for the texts of commands, a ring of bytes. Both are allocated at open. The producer
 * writes an element and then moves `head` with release; the consumer reads it after an acquire and
 * moves `tail` back the same way: no lock is shared, so a writer that hangs in write(2) for a
 * minute costs the lane nothing but records.
 *
 * Full means lost: the record is counted, and before the next one that fits a gap line says how
 * many are missing. A log with a gap cannot be replayed beyond it, but it is honest about it. The
 * thread looks for records every 20 ms instead of being woken: a wake-up is a system call for the
 * lane, and a log that lags by a moment is fine. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/journal/fields.h"

enum { RECORDS_DEFAULT = 4096, TEXT_DEFAULT = 1 << 20, POLL_NS = 20 * 1000 * 1000 };
static const uint64_t k_bytes_default = 4ull << 30;

struct entry {
    struct kt_record record; /* text NULL */
    uint64_t text_end;       /* the arena is free up to here once this entry is written */
    size_t text_at;
    int has_text;
};

struct kt_journal {
    int fd;
    uint64_t bytes_max;
    pthread_t thread;
    /* the ring: entries [tail, head) are the writer's, the rest the lane's */
    struct entry *entries;
    uint64_t capacity;
    char *texts;
    uint64_t text_bytes;
    _Atomic uint64_t head, tail; /* release when moved, acquire when the other side looks */
    _Atomic uint64_t text_tail;  /* as tail */
    uint64_t text_head, missing; /* the lane's alone; missing: since the last gap line */
    _Atomic int stop;
    /* counters, relaxed: for people */
    _Atomic uint64_t written, lost, bytes;
    _Atomic int error;
    char line[KT_JOURNAL_LINE_MAX]; /* the writer's alone, as */
    uint64_t number;                /* of the next record */
};

/* ---- the lane's side ---- */

/* Room for `n` bytes in one piece, or -1. The piece at the arena's end that is too short is left
 * out. */
static int64_t take_text(struct kt_journal *j, size_t n)
{
    uint64_t tail = atomic_load_explicit(&j->text_tail, memory_order_acquire);
    uint64_t at = j->text_head, offset = at % j->text_bytes;
    if (offset + n > j->text_bytes) {
        at += j->text_bytes - offset;
    }
    if (at + n - tail > j->text_bytes) {
        return -1;
    }
    j->text_head = at + n;
    return (int64_t)(at % j->text_bytes);
}

/* `text_end`: how far texts have come, this entry's own included. */
static void put_entry(struct kt_journal *j, const struct kt_record *r, int64_t text_at,
                      uint64_t text_end)
{
    uint64_t head = atomic_load_explicit(&j->head, memory_order_relaxed);
    struct entry *e = &j->entries[head % j->capacity];
    e->record = *r;
    e->record.text = NULL;
    e->has_text = text_at >= 0;
    e->text_at = text_at >= 0 ? (size_t)text_at : 0;
    e->text_end = text_end;
    if (e->has_text) {
        strcpy(j->texts + e->text_at, r->text);
    }
    atomic_store_explicit(&j->head, head + 1, memory_order_release);
}

static uint64_t room(const struct kt_journal *j)
{
    return j->capacity - (atomic_load_explicit(&j->head, memory_order_relaxed) -
                          atomic_load_explicit(&j->tail, memory_order_acquire));
}

static void put_gap(struct kt_journal *j, uint64_t text_end)
{
    struct kt_record gap = {.kind = KT_RECORD_GAP, .count = j->missing};
    put_entry(j, &gap, -1, text_end);
    j->missing = 0;
}

void kt_journal_record(void *journal, const struct kt_record *r)
{
    struct kt_journal *j = journal;
    uint64_t needed = j->missing ? 2 : 1;
    uint64_t before = j->text_head;
    int64_t text_at = -1;
    int fits = room(j) >= needed;
    if (fits && r->text) {
        text_at = take_text(j, strlen(r->text) + 1);
        fits = text_at >= 0;
    }
    if (!fits) {
        j->missing++;
        atomic_fetch_add_explicit(&j->lost, 1, memory_order_relaxed);
        return;
    }
    if (j->missing) {
        put_gap(j, before);
    }
    put_entry(j, r, text_at, j->text_head);
}

/* ---- the writer's side ---- */

static void write_line(struct kt_journal *j, size_t n)
{
    int error = atomic_load_explicit(&j->error, memory_order_relaxed);
    uint64_t bytes = atomic_load_explicit(&j->bytes, memory_order_relaxed);
    if (!error && bytes + n > j->bytes_max) {
        error = -EFBIG;
    }
    for (size_t done = 0; !error && done < n;) {
        ssize_t some = write(j->fd, j->line + done, n - done);
        if (some < 0 && errno != EINTR) {
            error = -errno;
        }
        done += some > 0 ? (size_t)some : 0;
    }
    atomic_store_explicit(&j->error, error, memory_order_relaxed);
    if (!error) {
        atomic_store_explicit(&j->bytes, bytes + n, memory_order_relaxed);
    }
}

static void write_entry(struct kt_journal *j, struct entry *e)
{
    e->record.text = e->has_text ? j->texts + e->text_at : NULL;
    write_line(j, kt_journal_write_record(j->line, &e->record, j->number));
    j->number += e->record.kind == KT_RECORD_GAP ? e->record.count : 1;
    int ok = atomic_load_explicit(&j->error, memory_order_relaxed) == 0;
    if (e->record.kind != KT_RECORD_GAP) {
        atomic_fetch_add_explicit(ok ? &j->written : &j->lost, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&j->text_tail, e->text_end, memory_order_release);
}

static void drain(struct kt_journal *j)
{
    uint64_t tail = atomic_load_explicit(&j->tail, memory_order_relaxed);
    uint64_t head = atomic_load_explicit(&j->head, memory_order_acquire);
    for (; tail < head; tail++) {
        write_entry(j, &j->entries[tail % j->capacity]);
        atomic_store_explicit(&j->tail, tail + 1, memory_order_release);
    }
}

static void *run(void *arg)
{
    struct kt_journal *j = arg;
    const struct timespec pause = {.tv_nsec = POLL_NS};
    int stop;
    do {
        stop = atomic_load_explicit(&j->stop, memory_order_acquire);
        drain(j);
        if (!stop) {
            nanosleep(&pause, NULL);
        }
    } while (!stop);
    return NULL;
}

/* ---- open and close ---- */

static int start(struct kt_journal *j, const struct kt_journal_params *p, struct kt_error *err)
{
    j->capacity = p->records_max ? (uint64_t)p->records_max : RECORDS_DEFAULT;
    j->text_bytes = p->text_bytes ? p->text_bytes : TEXT_DEFAULT;
    j->bytes_max = p->bytes_max ? p->bytes_max : k_bytes_default;
    j->entries = calloc(j->capacity, sizeof(*j->entries));
    j->texts = malloc(j->text_bytes);
    if (!j->entries || !j->texts) {
        return kt_fail(err, -ENOMEM, "decision log: out of memory");
    }
    j->fd = open(p->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (j->fd < 0) {
        return kt_fail(err, -errno, "decision log %s: %s", p->path,
                       errno == EEXIST ? "exists already; a log is never appended to"
                                       : strerror(errno));
    }
    write_line(j, kt_journal_write_head(j->line, p->head));
    int rc = atomic_load(&j->error);
    if (rc == 0) {
        rc = -pthread_create(&j->thread, NULL, run, j);
    }
    if (rc < 0) {
        close(j->fd);
        unlink(p->path);
        return kt_fail(err, rc, "decision log %s: %s", p->path, strerror(-rc));
    }
    return 0;
}

static void release(struct kt_journal *j)
{
    free(j->entries);
    free(j->texts);
    free(j);
}

int kt_journal_open(struct kt_journal **out, const struct kt_journal_params *p,
                    struct kt_error *err)
{
    struct kt_journal *j = calloc(1, sizeof(*j));
    if (!j) {
        return kt_fail(err, -ENOMEM, "decision log: out of memory");
    }
    int rc = start(j, p, err);
    if (rc < 0) {
        release(j);
        return rc;
    }
    *out = j;
    return 0;
}

void kt_journal_close(struct kt_journal **out, struct kt_journal_stats *last)
{
    if (!out || !*out) {
        return;
    }
    struct kt_journal *j = *out;
    atomic_store_explicit(&j->stop, 1, memory_order_release);
    pthread_join(j->thread, NULL);
    if (j->missing) {
        struct kt_record gap = {.kind = KT_RECORD_GAP, .count = j->missing};
        write_line(j, kt_journal_write_record(j->line, &gap, j->number));
    }
    if (close(j->fd) < 0 && atomic_load(&j->error) == 0) {
        atomic_store(&j->error, -errno);
    }
    if (last) {
        kt_journal_get_stats(j, last);
    }
    release(j);
    *out = NULL;
}

void kt_journal_get_stats(struct kt_journal *j, struct kt_journal_stats *out)
{
    *out = (struct kt_journal_stats){
        .written = atomic_load_explicit(&j->written, memory_order_relaxed),
        .lost = atomic_load_explicit(&j->lost, memory_order_relaxed),
        .bytes = atomic_load_explicit(&j->bytes, memory_order_relaxed),
        .error = atomic_load_explicit(&j->error, memory_order_relaxed),
    };
}
