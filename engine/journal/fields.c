#include "engine/journal/fields.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/text/utf8.h"

const char *const kt_journal_kinds[] = {"command", "job", "publish", "gap"};

static const char *const k_commands[] = {"open",   "draft", "prompt", "report",   "pause",
                                         "resume", "reset", "rewind", "settings", "close"};
static const char *const k_jobs[] = {"none",    "text",  "cut",        "begin",        "step",
                                     "commit",  "cache", "decode",     "blend",        "preview",
                                     "promote", "drop",  "checkpoint", "uncheckpoint", "trim"};
static const char *const k_tracks[] = {"live", "next"};
static const char *const k_sources[] = {"nothing", "live", "checkpoint", "archive"};
static const char *const k_cuts[] = {"latent", "block", "now"};
static const char *const k_transitions[] = {"model", "cut", "scene"};

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))
_Static_assert(sizeof(k_commands) / sizeof(k_commands[0]) == KT_COMMAND_CLOSE + 1,
               "a name for every command");
_Static_assert(sizeof(k_jobs) / sizeof(k_jobs[0]) == KT_JOB_KINDS, "a name for every job");

/* What a FIELD is: key, type, place, names, number of names. */
#define AT(member)                offsetof(struct kt_record, member)
#define FIELD(key, type, member)  key, KT_JOURNAL_##type, AT(member), NULL, 0
#define NAMED(key, member, names) key, KT_JOURNAL_NAME, AT(member), names, COUNT(names)

static const struct kt_journal_field k_command[] = {
    {FIELD("t", DOUBLE, t_ms)},
    {FIELD("session", INT, session)},
    {NAMED("command", command, k_commands)},
    {FIELD("key", HASH, wish.key)},
    {FIELD("revision", U32, wish.revision)},
    {NAMED("cut", wish.cut, k_cuts)},
    {NAMED("transition", wish.transition, k_transitions)},
    {FIELD("blend", INT, wish.blend)},
    {FIELD("recache", INT, wish.recache)},
    {FIELD("at", I64, wish.at)},
    {FIELD("from", INT, wish.from)},
    {FIELD("encoded", INT, wish.encoded)},
    {FIELD("fresh", INT, wish.fresh)},
    {FIELD("seed", U64, wish.seed)},
    {FIELD("steps", INT, settings.steps)},
    {FIELD("steps_cap", INT, settings.steps_cap)},
    {FIELD("drafts", INT, settings.drafts)},
    {FIELD("depth", INT, settings.depth)},
    {FIELD("preview", INT, settings.preview)},
    {FIELD("sent", I64, sent)},
    {FIELD("shown", I64, shown)},
    {FIELD("epoch", U32, epoch)},
    {FIELD("frame", I64, frame)},
    {NULL, KT_JOURNAL_INT, 0, NULL, 0},
};

static const struct kt_journal_field k_job[] = {
    {FIELD("t", DOUBLE, t_ms)},
    {FIELD("picked", DOUBLE, picked_ms)},
    {FIELD("session", INT, session)},
    {NAMED("job", job.kind, k_jobs)},
    {NAMED("track", job.track, k_tracks)},
    {NAMED("source", job.source, k_sources)},
    {FIELD("from", INT, job.from)},
    {FIELD("slot", INT, job.slot)},
    {FIELD("steps", INT, job.steps)},
    {FIELD("recache", INT, job.recache)},
    {FIELD("at", I64, job.at)},
    {FIELD("frame", I64, job.frame)},
    {FIELD("flush", INT, job.flush)},
    {FIELD("hit", INT, job.hit)},
    {FIELD("committed", INT, job.committed)},
    {FIELD("evict", INT, job.evict)},
    {FIELD("weight", DOUBLE, job.weight)},
    {FIELD("rc", INT, result.rc)},
    {FIELD("ms", DOUBLE, result.ms)},
    {FIELD("cached", INT, result.cached)},
    {FIELD("frames", INT, result.frames)},
    {FIELD("latents", I64, result.latents)},
    {FIELD("decoded", I64, result.decoded)},
    {FIELD("pages_free", INT, resources.pages_free)},
    {FIELD("frames_free", INT, resources.frames_free)},
    {FIELD("contexts_free", INT, resources.contexts_free)},
    {FIELD("timeline", U32, timeline)},
    {FIELD("parent", U32, parent)},
    {NULL, KT_JOURNAL_INT, 0, NULL, 0},
};

static const struct kt_journal_field k_publish[] = {
    {FIELD("t", DOUBLE, t_ms)},         {FIELD("session", INT, session)},
    {FIELD("timeline", U32, timeline)}, {FIELD("epoch", U32, epoch)},
    {FIELD("revision", U32, revision)}, {FIELD("frame", I64, frame)},
    {FIELD("picture", HASH, picture)},  {FIELD("preview", INT, preview)},
    {NULL, KT_JOURNAL_INT, 0, NULL, 0},
};

static const struct kt_journal_field k_gap[] = {
    {FIELD("count", U64, count)},
    {NULL, KT_JOURNAL_INT, 0, NULL, 0},
};

#undef AT
#define AT(member) offsetof(struct kt_journal_head, member)
#define TEXT(key, member)                                                                          \
    key, KT_JOURNAL_STRING, AT(member), NULL, sizeof(((struct kt_journal_head *)0)->member)

static const struct kt_journal_field k_head[] = {
    {FIELD("format", INT, format)},
    {TEXT("library", library)},
    {TEXT("model", model)},
    {FIELD("weights", HASH, weights)},
    {TEXT("device", device)},
    {TEXT("kernels", kernels)},
    {TEXT("precision", precision)},
    {FIELD("threads", INT, threads)},
    {FIELD("window", INT, window)},
    {FIELD("tiny_vae", INT, tiny_vae)},
    {FIELD("random_weights", INT, random_weights)},
    {FIELD("sessions_max", INT, board.sessions_max)},
    {FIELD("branches_max", INT, board.branches_max)},
    {FIELD("checkpoints_max", INT, board.checkpoints_max)},
    {FIELD("fps", DOUBLE, board.fps)},
    {FIELD("steps_full", INT, board.steps_full)},
    {FIELD("block_latents", INT, board.block_latents)},
    {FIELD("first_frames", INT, board.first_frames)},
    {FIELD("frames_per_latent", INT, board.frames_per_latent)},
    {FIELD("window_latents", INT, board.window)},
    {FIELD("sink", INT, board.sink)},
    {FIELD("slack", INT, board.slack)},
    {FIELD("has_preview", INT, board.has_preview)},
    {FIELD("decode_lead", INT, board.policy.decode_lead)},
    {FIELD("depth", INT, board.policy.depth)},
    {FIELD("checkpoint_every", INT, board.policy.checkpoint_every)},
    {FIELD("drafts", INT, board.policy.drafts)},
    {FIELD("text_after_ms", DOUBLE, board.policy.text_after_ms)},
    {FIELD("draft_after_ms", DOUBLE, board.policy.draft_after_ms)},
    {FIELD("draft_keep_ms", DOUBLE, board.policy.draft_keep_ms)},
    {FIELD("reserve_ms", DOUBLE, board.policy.reserve_ms)},
    {FIELD("drafts_first", INT, board.policy.drafts_first)},
    {FIELD("fifo", INT, board.policy.fifo)},
    {NULL, KT_JOURNAL_INT, 0, NULL, 0},
};

const struct kt_journal_field *kt_journal_fields(enum kt_record_kind kind)
{
    static const struct kt_journal_field *const by_kind[] = {k_command, k_job, k_publish, k_gap};
    KT_ASSERT((int)kind >= 0 && (int)kind < KT_JOURNAL_KINDS);
    return by_kind[kind];
}

const struct kt_journal_field *kt_journal_head_fields(void)
{
    return k_head;
}

/* ---- writing ---- */

struct line {
    char *text;
    size_t n;
};

static void put(struct line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct line *l, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(l->text + l->n, KT_JOURNAL_LINE_MAX - l->n, format, args);
    va_end(args);
    KT_ASSERT(n >= 0 && l->n + (size_t)n < KT_JOURNAL_LINE_MAX); /* the longest text fits */
    l->n += (size_t)n;
}

/* As a JSON string; what is no UTF-8 becomes U+FFFD (such a prompt was refused by the lane). */
static void put_string(struct line *l, const char *s)
{
    size_t left = strlen(s);
    put(l, "\"");
    while (left > 0) {
        uint32_t code = 0;
        size_t n = kt_utf8_decode(s, left, &code);
        if (n == 0) {
            put(l, "\\ufffd");
            n = 1;
        } else if (code < 0x20 || code == 0x7f) {
            put(l, "\\u%04x", (unsigned)code);
        } else if (code == '"' || code == '\\') {
            put(l, "\\%c", (char)code);
        } else {
            put(l, "%.*s", (int)n, s);
        }
        s += n;
        left -= n;
    }
    put(l, "\"");
}

static void put_field(struct line *l, const struct kt_journal_field *f, const void *from)
{
    const void *p = (const char *)from + f->offset;
    put(l, ", \"%s\": ", f->key);
    switch (f->type) {
    case KT_JOURNAL_INT: put(l, "%d", *(const int *)p); break;
    case KT_JOURNAL_NAME:
        KT_ASSERT(*(const int *)p >= 0 && *(const int *)p < f->names_count);
        put(l, "\"%s\"", f->names[*(const int *)p]);
        break;
    case KT_JOURNAL_U32: put(l, "%" PRIu32, *(const uint32_t *)p); break;
    case KT_JOURNAL_I64: put(l, "%" PRId64, *(const int64_t *)p); break;
    case KT_JOURNAL_U64: put(l, "\"%" PRIu64 "\"", *(const uint64_t *)p); break;
    case KT_JOURNAL_HASH: put(l, "\"%016" PRIx64 "\"", *(const uint64_t *)p); break;
    case KT_JOURNAL_DOUBLE:
        KT_ASSERT(isfinite(*(const double *)p));
        put(l, "%.17g", *(const double *)p);
        break;
    case KT_JOURNAL_STRING: put_string(l, p); break;
    }
}

static void put_fields(struct line *l, const struct kt_journal_field *f, const void *from)
{
    for (; f->key; f++) {
        put_field(l, f, from);
    }
}

size_t kt_journal_write_head(char *text, const struct kt_journal_head *head)
{
    struct line l = {.text = text};
    put(&l, "{\"kind\": \"head\"");
    put_fields(&l, k_head, head);
    put(&l, "}\n");
    return l.n;
}

size_t kt_journal_write_record(char *text, const struct kt_record *r, uint64_t number)
{
    struct line l = {.text = text};
    put(&l, "{\"kind\": \"%s\", \"n\": %" PRIu64, kt_journal_kinds[r->kind], number);
    put_fields(&l, kt_journal_fields(r->kind), r);
    if (r->kind == KT_RECORD_COMMAND && r->text) {
        put(&l, ", \"text\": ");
        put_string(&l, r->text);
    }
    if (r->kind == KT_RECORD_JOB && r->hash_count > 0) {
        KT_ASSERT(r->hash_count <= KT_RECORD_HASHES_MAX);
        for (int i = 0; i < r->hash_count; i++) {
            put(&l, "%s\"%016" PRIx64 "\"", i ? ", " : ", \"hashes\": [", r->hash[i]);
        }
        put(&l, "]");
    }
    put(&l, "}\n");
    return l.n;
}

/* ---- reading ---- */

/* Digits alone, all of them, in range. */
static int parse_u64(const char *s, int base, size_t digits, uint64_t *out)
{
    char *end;
    errno = 0;
    *out = strtoull(s, &end, base);
    size_t n = strspn(s, base == 16 ? "0123456789abcdef" : "0123456789");
    return errno == 0 && n > 0 && s[n] == '\0' && (!digits || n == digits) ? 0 : -EBADMSG;
}

static int read_name(const struct kt_journal_field *f, const json_t *v, int *out)
{
    for (int i = 0; json_is_string(v) && i < f->names_count; i++) {
        if (strcmp(json_string_value(v), f->names[i]) == 0) {
            *out = i;
            return 0;
        }
    }
    return -EBADMSG;
}

static int read_integer(const json_t *v, int64_t min, int64_t max, int64_t *out)
{
    *out = json_is_integer(v) ? (int64_t)json_integer_value(v) : 0;
    return json_is_integer(v) && *out >= min && *out <= max ? 0 : -EBADMSG;
}

static int read_field(void *to, const struct kt_journal_field *f, const json_t *v)
{
    void *p = (char *)to + f->offset;
    int64_t n = 0;
    int rc = -EBADMSG;
    switch (f->type) {
    case KT_JOURNAL_INT:
        rc = read_integer(v, INT32_MIN, INT32_MAX, &n);
        *(int *)p = (int)n;
        break;
    case KT_JOURNAL_NAME: rc = read_name(f, v, p); break;
    case KT_JOURNAL_U32:
        rc = read_integer(v, 0, UINT32_MAX, &n);
        *(uint32_t *)p = (uint32_t)n;
        break;
    case KT_JOURNAL_I64: rc = read_integer(v, INT64_MIN, INT64_MAX, p); break;
    case KT_JOURNAL_U64:
        rc = json_is_string(v) ? parse_u64(json_string_value(v), 10, 0, p) : -EBADMSG;
        break;
    case KT_JOURNAL_HASH:
        rc = json_is_string(v) ? parse_u64(json_string_value(v), 16, 16, p) : -EBADMSG;
        break;
    case KT_JOURNAL_DOUBLE:
        *(double *)p = json_is_number(v) ? json_number_value(v) : NAN;
        rc = isfinite(*(double *)p) ? 0 : -EBADMSG;
        break;
    case KT_JOURNAL_STRING:
        if (json_is_string(v) && json_string_length(v) < (size_t)f->names_count) {
            memcpy(p, json_string_value(v), json_string_length(v) + 1);
            rc = 0;
        }
        break;
    }
    return rc;
}

static int refuse(const struct kt_journal_field *f, const json_t *v, struct kt_error *err)
{
    static const char *const expected[] = {"a whole number of 32 bits", "one of the known words",
                                           "a whole number of 32 bits", "a whole number",
                                           "digits in quotes",          "16 hex digits in quotes",
                                           "a finite number",           "a short string"};
    char *found = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    kt_fail(err, -EBADMSG, "\"%s\": expected %s, found %.80s", f->key, expected[f->type],
            found ? found : "nothing");
    free(found);
    return -EBADMSG;
}

static int is_known(const char *key, const struct kt_journal_field *fields, const char *const *more)
{
    for (; fields->key; fields++) {
        if (strcmp(key, fields->key) == 0) {
            return 1;
        }
    }
    for (; *more; more++) {
        if (strcmp(key, *more) == 0) {
            return 1;
        }
    }
    return 0;
}

int kt_journal_read_fields(void *out, const struct kt_journal_field *fields,
                           const char *const *more, json_t *object, struct kt_error *err)
{
    const char *key;
    json_t *value;
    for (const struct kt_journal_field *f = fields; f->key; f++) {
        json_t *v = json_object_get(object, f->key);
        if (read_field(out, f, v) < 0) {
            return refuse(f, v, err);
        }
    }
    json_object_foreach (object, key, value) {
        if (!is_known(key, fields, more)) {
            return kt_fail(err, -EBADMSG, "\"%.40s\": not a key of this kind of line", key);
        }
    }
    return 0;
}
