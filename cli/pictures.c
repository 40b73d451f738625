/* `kinetype pictures`: chosen frames of many short streams, raw, from one process. What a judge
 * needs that scores a device or a precision on a thousand prompts: the engine opens once instead of
 * a thousand times, and only frames that are looked at are written. No codec and, with prompts
 * given as token ids, no tokenizer is needed, so that it runs on a bare GPU machine.
 *
 * The file holds I420 pictures alone (BT.709, limited range, planes dense): for each take, in the
 * list's order, its wanted frames. Every record has one size, so that workers write theirs in
 * place, and a reader finds take i without an index. Each worker is an engine of its own on a
 * thread of its own; which of them makes a take changes nothing in it (docs/design.md, invariant
 * 1). */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/takes.h"
#include "engine/base/clock.h"
#include "engine/engine.h"

enum { RANGES_MAX = 16, WORKERS_MAX = 64, PATH_BYTES = 4096, FRAME_MAX = 1 << 20 };

struct range {
    int first, last;
};

struct pictures {
    const char *list, *model, *device, *precision_word, *frames_text, *output;
    int threads, steps, workers, first, count, quiet;
    struct kt_device_params device_params;
    struct range ranges[RANGES_MAX];
    int range_count, wanted; /* frames of a take that are written */
    char part[PATH_BYTES];

    struct kt_takes takes;
    int fd, end;       /* the file; the take after the last one to make */
    atomic_int next;   /* the take that nobody has begun */
    atomic_int made;   /* takes whose pictures are written */
    atomic_int failed; /* a worker's negative errno; the others stop */
    pthread_mutex_t lock;
    int64_t start_ns;
    double last_line_ms; /* under lock */
    struct kt_error err; /* under lock while workers run */
};

struct worker {
    struct pictures *all;
    pthread_t thread;
    struct kt_engine *e;
    struct kt_engine_info info;
    uint8_t *latent, *record; /* frames of one latent; the wanted frames of one take */
    /* the take being made: its stream, the frames made, its prompts, how far it has changed */
    struct kt_timeline *t;
    struct kt_context *from, *to;
    int frame, stage, changed;
    /* a stream before its change, for the takes behind it that begin alike */
    struct kt_timeline *base;
    const struct kt_take *base_of;
    int base_frame;
    size_t picture_bytes;
    struct kt_error err;
};

/* "45-56,81-92": rising and apart. */
static int parse_frames(struct pictures *p)
{
    const char *s = p->frames_text;
    int after = -1;
    for (;;) {
        char *end;
        errno = 0;
        long first = strtol(s, &end, 10), last = first;
        int bad = end == s;
        if (!bad && *end == '-') {
            s = end + 1;
            last = strtol(s, &end, 10);
            bad = end == s;
        }
        if (bad || errno || first <= after || last < first || last > FRAME_MAX ||
            (*end != ',' && *end != '\0') || p->range_count == RANGES_MAX) {
            return kt_fail(&p->err, -EINVAL,
                           "--frames: expected at most %d rising ranges, as in 45-56,81-92, found "
                           "'%s'",
                           RANGES_MAX, p->frames_text);
        }
        p->ranges[p->range_count++] = (struct range){(int)first, (int)last};
        p->wanted += (int)(last - first) + 1;
        after = (int)last;
        if (*end == '\0') {
            return 0;
        }
        s = end + 1;
    }
}

/* Which of the wanted frames `frame` is, or -1. */
static int place(const struct pictures *p, int frame)
{
    int before = 0;
    for (int i = 0; i < p->range_count; i++) {
        const struct range *r = &p->ranges[i];
        if (frame >= r->first && frame <= r->last) {
            return before + frame - r->first;
        }
        before += r->last - r->first + 1;
    }
    return -1;
}

static int context(struct worker *w, struct kt_context **c, const struct kt_take_words *words)
{
    return words->text ? kt_context_from_text(w->e, c, words->text, words->bytes, &w->err)
                       : kt_context_from_ids(w->e, c, words->ids, words->count, &w->err);
}

/* ---- one take ---- */

static int begin(struct worker *w, const struct kt_take *take)
{
    struct kt_context *c = NULL;
    int rc = context(w, &c, &take->prompt);
    if (rc == 0) {
        rc = kt_timeline_create(w->e, &w->t, take->seed, c, &w->err);
    }
    if (rc == 0) {
        w->from = c;
        w->frame = 0;
        return 0;
    }
    kt_context_unref(&c);
    return rc;
}

static void end(struct worker *w)
{
    kt_timeline_destroy(&w->t);
    kt_context_unref(&w->from);
    kt_context_unref(&w->to);
    w->changed = w->stage = 0;
}

/* The change of prompt, or its next stage. */
static int change(struct worker *w, const struct kt_take *take)
{
    int block = kt_engine_config(w->e)->sampler.num_frame_per_block, rc = 0;
    int last = ++w->stage >= take->blend;
    struct kt_context *c = NULL;
    if (!w->to) {
        rc = context(w, &w->to, &take->change);
    }
    if (rc == 0 && !last) {
        rc = kt_context_blend(w->e, &c, w->from, w->to, (float)w->stage / (float)take->blend,
                              &w->err);
    }
    if (rc == 0) {
        rc = kt_timeline_switch(w->t, last ? w->to : c, take->transition,
                                take->blend > 1 ? block : take->recache, &w->err);
    }
    kt_context_unref(&c);
    w->changed = last;
    return rc;
}

/* Decodes what is there and keeps what is wanted. Returns the frames decoded. */
static int decode(struct worker *w, struct kt_timeline *t, int frame)
{
    int made = 0;
    while (kt_timeline_decoded(t) < kt_timeline_latents(t)) {
        int n = kt_timeline_decode(t, w->latent, w->picture_bytes, &w->err);
        if (n < 0) {
            return n;
        }
        for (int i = 0; i < n; i++) {
            int at = place(w->all, frame + made + i);
            if (at >= 0) {
                memcpy(w->record + (size_t)at * w->picture_bytes,
                       w->latent + (size_t)i * w->picture_bytes, w->picture_bytes);
            }
        }
        made += n;
    }
    return made;
}

static int same_words(const struct kt_take_words *a, const struct kt_take_words *b)
{
    return a->bytes == b->bytes && a->count == b->count && !a->text == !b->text &&
           (a->text ? memcmp(a->text, b->text, a->bytes) == 0
                    : memcmp(a->ids, b->ids, (size_t)a->count * sizeof(a->ids[0])) == 0);
}

static int has_change(const struct kt_take *t)
{
    return t->change.text || t->change.ids;
}

/* Whether two takes are the same until their prompts change. */
static int same_start(const struct kt_take *a, const struct kt_take *b)
{
    return a && b && has_change(a) && has_change(b) && a->seed == b->seed && a->at == b->at &&
           same_words(&a->prompt, &b->prompt);
}

/* Where the take before began alike, its stream as it was before the change, and its pictures,
 * which are in the record still; else a stream from nothing. */
static int begin_or_branch(struct worker *w, const struct kt_take *take)
{
    end(w);
    if (!same_start(w->base_of, take)) {
        kt_timeline_destroy(&w->base);
        w->base_of = NULL;
        return begin(w, take);
    }
    w->frame = w->base_frame;
    int rc = context(w, &w->from, &take->prompt);
    return rc < 0 ? rc : kt_timeline_branch(w->base, &w->t, kt_timeline_latents(w->base), &w->err);
}

/* Keeps the stream as it is for the next take, if that begins alike. */
static int keep_base(struct worker *w, const struct kt_take *take, const struct kt_take *next)
{
    if (w->base_of || !same_start(take, next)) {
        return 0;
    }
    w->base_of = next;
    w->base_frame = w->frame;
    return kt_timeline_branch(w->t, &w->base, kt_timeline_latents(w->t), &w->err);
}

static int make_take(struct worker *w, const struct kt_take *take, const struct kt_take *next)
{
    const struct pictures *p = w->all;
    int rc = begin_or_branch(w, take);
    while (rc == 0 && w->frame <= p->ranges[p->range_count - 1].last) {
        if (has_change(take) && !w->changed && w->frame >= take->at) {
            rc = w->stage ? 0 : keep_base(w, take, next);
            rc = rc == 0 ? change(w, take) : rc;
        }
        rc = rc == 0 ? kt_timeline_block(w->t, p->steps, &w->err) : rc;
        int n = rc == 0 ? decode(w, w->t, w->frame) : rc;
        rc = n < 0 ? n : 0;
        w->frame += n > 0 ? n : 0;
    }
    return rc;
}

static int write_record(struct worker *w, int index)
{
    size_t bytes = (size_t)w->all->wanted * w->picture_bytes, done = 0;
    while (done < bytes) {
        off_t at = (off_t)index * (off_t)bytes + (off_t)done;
        ssize_t n = pwrite(w->all->fd, w->record + done, bytes - done, at);
        if (n < 0 && errno != EINTR) {
            return kt_fail(&w->err, -errno, "%s: %s", w->all->part, strerror(errno));
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static void show_progress(struct pictures *p)
{
    int made = atomic_fetch_add(&p->made, 1) + 1, total = p->end - p->first;
    pthread_mutex_lock(&p->lock);
    double ms = kt_ms_since(p->start_ns);
    if (!p->quiet && (made == total || ms - p->last_line_ms >= 2000)) {
        p->last_line_ms = ms;
        fprintf(stderr, "%d of %d takes, %.1f s\n", made, total, ms / 1000);
    }
    pthread_mutex_unlock(&p->lock);
}

static int open_worker(struct worker *w)
{
    const struct pictures *p = w->all;
    struct kt_engine_params params = {
        .model_dir = p->model, .timelines_max = 3, .device = p->device_params};
    int rc = kt_engine_open(&w->e, &params, &w->err);
    if (rc < 0) {
        return rc;
    }
    kt_engine_get_info(w->e, &w->info);
    if (w->info.width == 0) {
        return kt_fail(&w->err, -EINVAL, "model '%s' has no VAE", p->model);
    }
    w->picture_bytes = (size_t)w->info.width * (size_t)w->info.height * 3 / 2;
    w->latent = malloc(w->picture_bytes * (size_t)w->info.frames_per_latent);
    w->record = malloc(w->picture_bytes * (size_t)p->wanted);
    return w->latent && w->record ? 0 : kt_fail(&w->err, -ENOMEM, "out of memory");
}

static void report_failure(struct worker *w, int rc)
{
    struct pictures *p = w->all;
    pthread_mutex_lock(&p->lock);
    if (atomic_load(&p->failed) == 0) {
        p->err = w->err;
        atomic_store(&p->failed, rc);
    }
    pthread_mutex_unlock(&p->lock);
}

static void *run_worker(void *arg)
{
    struct worker *w = arg;
    struct pictures *p = w->all;
    int rc = open_worker(w);
    while (rc == 0 && atomic_load(&p->failed) == 0) {
        int i = atomic_fetch_add(&p->next, 1);
        if (i >= p->end) {
            break;
        }
        rc = make_take(w, &p->takes.take[i], i + 1 < p->end ? &p->takes.take[i + 1] : NULL);
        rc = rc == 0 ? write_record(w, i - p->first) : kt_fail_prefix(&w->err, rc, "take %d", i);
        if (rc == 0) {
            show_progress(p);
        }
    }
    if (rc < 0) {
        report_failure(w, rc);
    }
    end(w);
    kt_timeline_destroy(&w->base);
    kt_engine_close(&w->e);
    free(w->latent);
    free(w->record);
    return NULL;
}

static int run_workers(struct pictures *p)
{
    struct worker workers[WORKERS_MAX] = {0};
    int started = 0, rc = 0;
    for (; started < p->workers && rc == 0; started += rc == 0) {
        workers[started].all = p;
        rc = -pthread_create(&workers[started].thread, NULL, run_worker, &workers[started]);
    }
    if (rc < 0) {
        atomic_store(&p->next, p->end);
    }
    for (int i = 0; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
    }
    int failed = atomic_load(&p->failed);
    return failed ? failed : rc < 0 ? kt_fail(&p->err, rc, "workers: %s", strerror(-rc)) : 0;
}

/* Nothing under the file's own name before all of it is there. */
static int write_file(struct pictures *p)
{
    int rc = 0;
    p->fd = open(p->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (p->fd < 0) {
        return kt_fail(&p->err, -errno, "%s: %s", p->part, strerror(errno));
    }
    rc = run_workers(p);
    if (close(p->fd) < 0 && rc == 0) {
        rc = kt_fail(&p->err, -errno, "%s: %s", p->part, strerror(errno));
    }
    if (rc == 0 && rename(p->part, p->output) < 0) {
        rc = kt_fail(&p->err, -errno, "%s: %s", p->output, strerror(errno));
    }
    if (rc < 0) {
        unlink(p->part);
    }
    return rc;
}

static int check(struct pictures *p)
{
    if (!p->list) {
        return kt_fail(&p->err, -EINVAL, "the list of takes is missing");
    }
    if (!p->output) {
        return kt_fail(&p->err, -EINVAL, "-o FILE is missing");
    }
    if (!p->frames_text) {
        return kt_fail(&p->err, -EINVAL, "--frames is missing, as in 45-56,81-92");
    }
    if (snprintf(p->part, sizeof(p->part), "%s.part", p->output) >= (int)sizeof(p->part)) {
        return kt_fail(&p->err, -ENAMETOOLONG, "-o: the name is too long");
    }
    int rc = kt_precision_parse(&p->device_params.precision, p->precision_word, &p->err);
    p->device_params.kind = p->device;
    p->device_params.threads = p->threads;
    return rc < 0 ? rc : parse_frames(p);
}

static int run(struct pictures *p)
{
    int rc = kt_takes_open(&p->takes, p->list, &p->err);
    if (rc < 0) {
        return rc;
    }
    if (p->first >= p->takes.count) {
        return kt_fail(&p->err, -EINVAL,
                       "--first: expected less than the list's %d takes, found %d", p->takes.count,
                       p->first);
    }
    int left = p->takes.count - p->first;
    p->end = p->first + (p->count && p->count < left ? p->count : left);
    atomic_store(&p->next, p->first);
    p->start_ns = kt_now_ns();
    return write_file(p);
}

int kt_command_pictures(int argc, char **argv)
{
    struct pictures p = {.model = "models/demo", .precision_word = "auto", .workers = 1};
    const struct kt_option options[] = {
        {"", KT_OPTION_TEXT, &p.list, 0, 0, "a file with one JSON object a line (cli/takes.h)"},
        {"frames", KT_OPTION_TEXT, &p.frames_text, 0, 0, "frames to write, as in 45-56,81-92"},
        {"output", KT_OPTION_TEXT, &p.output, 0, 0, "or -o: raw I420 pictures, take by take"},
        {"model", KT_OPTION_TEXT, &p.model, 0, 0, "model directory (models/demo)"},
        {"device", KT_OPTION_TEXT, &p.device, 0, 0, "cpu or cuda (cpu)"},
        {"precision", KT_OPTION_TEXT, &p.precision_word, 0, 0, KT_PRECISION_LIST("") " (auto)"},
        {"steps", KT_OPTION_INT, &p.steps, 0, 16, "denoising steps, 0: the model's list"},
        {"threads", KT_OPTION_INT, &p.threads, 0, 1024, "CPU threads a worker, 0: all cores"},
        {"workers", KT_OPTION_INT, &p.workers, 1, WORKERS_MAX,
         "engines side by side, each with its own takes (1)"},
        {"first", KT_OPTION_INT, &p.first, 0, 1 << 30, "the first take to make (0)"},
        {"count", KT_OPTION_INT, &p.count, 0, 1 << 30, "how many, 0: all"},
        {"quiet", KT_OPTION_FLAG, &p.quiet, 0, 0, "no progress"},
        {NULL, KT_OPTION_FLAG, NULL, 0, 0, NULL},
    };
    int rc =
        kt_arguments_parse(argc, argv, options, "pictures LIST --frames A-B -o FILE [options]");
    if (rc) {
        return rc == 1 ? 0 : rc;
    }
    pthread_mutex_init(&p.lock, NULL);
    rc = check(&p);
    int usage = rc < 0;
    if (rc == 0) {
        rc = run(&p);
    }
    kt_takes_close(&p.takes);
    pthread_mutex_destroy(&p.lock);
    if (rc < 0) {
        fprintf(stderr, "kinetype pictures: %s\n", p.err.text[0] ? p.err.text : strerror(-rc));
        return usage ? 2 : 1;
    }
    return 0;
}
