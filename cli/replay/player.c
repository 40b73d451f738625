/* The log was written by engine/lane/; what a job does there is done here, less what only concerns
 * the server. Three things need care.
 *
 * Order: a picture's `publish` line is written while its job runs, so it stands before the line of
 * the job. Those lines wait for the next job line, which is theirs.
 *
 * The archive: the lane's may have been thinned, which depends on everybody's streams. Here it is
 * as large as can be and never is; which position a stream went on from stands in the log.
 *
 * Texts: a `cut` says whose wish it serves (somebody's who waits, or a draft), not which text; that
 * is the last `prompt` or `draft` of its session. */
#include "cli/replay/player.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/base/hash.h"
#include "engine/lane.h"
#include "engine/past.h"
#include "engine/snapshot.h"

enum { PENDING_MAX = 128, KEPT_MAX = 160, SHOW_LATE = 96, ARCHIVE_BYTES = 1 << 30 };

struct picture {
    int64_t frame;
    uint64_t hash;
    uint8_t *data; /* NULL: nobody wants it */
};

struct track {
    struct kt_timeline *timeline;
    uint32_t serial;
    struct kt_context *context, *blend_from;
    struct kt_wish wish;
    char *text;
    int64_t cut_at, next_frame;
    int resumed;
    struct picture made[KEPT_MAX]; /* not published yet, the oldest first */
    int made_count;
};

struct wish {
    int set;
    struct kt_wish wish;
    char text[KT_PROMPT_BYTES_MAX + 1];
};

struct session {
    int open;
    uint64_t seed;
    uint32_t epoch;
    int64_t published; /* index of the last picture of the epoch, or -1 */
    struct wish draft, commit;
    struct wish spare; /* what `commit` overtook */
    int retried;       /* a cut that reached too far back is tried again, elsewhere */
    struct track live, next;
};

struct checkpoint {
    struct kt_snapshot *snapshot;
    int session;
};

struct kt_player {
    struct kt_player_params p;
    struct kt_board_params board;
    size_t picture_bytes;
    uint8_t *buffer;
    struct session *sessions;
    struct checkpoint *checkpoints;
    struct kt_record pending[PENDING_MAX]; /* publish lines whose job has not come */
    int pending_count;
    struct picture late[SHOW_LATE]; /* published; may still be replaced */
    int late_count;
    struct kt_archive *archive;
    float *latent;
    struct kt_player_counts counts;
};

static int64_t frames_before(const struct kt_player *p, int64_t latent)
{
    return latent < 1 ? 0
                      : p->board.first_frames + (latent - 1) * (int64_t)p->board.frames_per_latent;
}

/* ---- pictures ---- */

static void drop_made(struct track *t, int n)
{
    for (int i = 0; i < n; i++) {
        free(t->made[i].data);
    }
    t->made_count -= n;
    memmove(t->made, t->made + n, (size_t)t->made_count * sizeof(t->made[0]));
}

static int keep(struct kt_player *p, struct track *t, const uint8_t *data, uint64_t hash,
                int wanted, struct kt_error *err)
{
    struct picture made = {.frame = t->next_frame++, .hash = hash};
    if (wanted) {
        made.data = malloc(p->picture_bytes);
        if (!made.data) {
            return kt_fail(err, -ENOMEM, "out of memory");
        }
        memcpy(made.data, data, p->picture_bytes);
    }
    if (t->made_count == KEPT_MAX) {
        drop_made(t, 1);
    }
    t->made[t->made_count++] = made;
    return 0;
}

static int show_first(struct kt_player *p, struct kt_error *err)
{
    struct picture first = p->late[0];
    p->late_count--;
    memmove(p->late, p->late + 1, (size_t)p->late_count * sizeof(p->late[0]));
    int rc = p->p.show(p->p.arg, first.data, err);
    free(first.data);
    return rc;
}

/* Takes over the data. */
static int show_later(struct kt_player *p, const struct picture *made, struct kt_error *err)
{
    int rc = 0;
    if (!made->data) {
        return 0;
    }
    if (p->late_count == SHOW_LATE) {
        rc = show_first(p, err);
    }
    p->late[p->late_count++] = *made;
    return rc;
}

/* Pictures from `frame` on were replaced before they were shown. */
static void replace_late(struct kt_player *p, int64_t frame)
{
    while (p->late_count > 0 && p->late[p->late_count - 1].frame >= frame) {
        free(p->late[--p->late_count].data);
    }
}

static int publish(struct kt_player *p, const struct kt_record *r, struct kt_error *err)
{
    struct session *s = &p->sessions[r->session];
    struct track *t = &s->live;
    if (r->timeline != t->serial || r->epoch != s->epoch) {
        return kt_fail(err, -EPROTO,
                       "picture %lld of timeline %u, epoch %u was published while %u, epoch %u was "
                       "shown",
                       (long long)r->frame, r->timeline, r->epoch, t->serial, s->epoch);
    }
    if (s->published >= 0 && r->frame != s->published + 1) {
        return kt_fail(err, -EPROTO, "picture %lld was published after %lld", (long long)r->frame,
                       (long long)s->published);
    }
    while (t->made_count > 0 && t->made[0].frame < r->frame) {
        drop_made(t, 1);
    }
    if (t->made_count == 0 || t->made[0].frame != r->frame) {
        return kt_fail(err, -EPROTO, "picture %lld was published and never decoded",
                       (long long)r->frame);
    }
    if (t->made[0].hash != r->picture) {
        return kt_fail(err, -EILSEQ,
                       "session %d: published picture %lld: expected %016llx, found %016llx",
                       r->session, (long long)r->frame, (unsigned long long)r->picture,
                       (unsigned long long)t->made[0].hash);
    }
    struct picture shown = t->made[0];
    t->made[0].data = NULL;
    drop_made(t, 1);
    s->published = r->frame;
    p->counts.published++;
    return show_later(p, &shown, err);
}

/* The pictures that the job which just ended sent out. */
static int publish_pending(struct kt_player *p, const struct kt_record *job, struct kt_error *err)
{
    int rc = 0, n = p->pending_count;
    p->pending_count = 0;
    for (int i = 0; i < n && rc == 0; i++) {
        rc = p->pending[i].session == job->session
                 ? publish(p, &p->pending[i], err)
                 : kt_fail(err, -EPROTO, "session %d published during a job of session %d",
                           p->pending[i].session, job->session);
    }
    const struct track *live = &p->sessions[job->session].live;
    if (rc == 0 && live->timeline && live->made_count > 0) {
        return kt_fail(err, -EPROTO, "picture %lld was decoded and never published",
                       (long long)live->made[live->made_count - 1].frame);
    }
    return rc;
}

/* ---- tracks ---- */

static void forget_track(struct track *t)
{
    drop_made(t, t->made_count);
    kt_timeline_destroy(&t->timeline);
    kt_context_unref(&t->context);
    kt_context_unref(&t->blend_from);
    free(t->text);
    memset(t, 0, sizeof(*t));
}

static void forget_session(struct kt_player *p, int session)
{
    struct session *s = &p->sessions[session];
    for (int i = 0; i < p->board.checkpoints_max; i++) {
        if (p->checkpoints[i].session == session) {
            kt_snapshot_unref(&p->checkpoints[i].snapshot);
        }
    }
    forget_track(&s->live);
    forget_track(&s->next);
    kt_archive_end(p->archive, session);
    memset(s, 0, sizeof(*s));
}

static int stage_context(struct kt_player *p, struct kt_context *from, struct kt_context *to,
                         double weight, struct kt_context **out, struct kt_error *err)
{
    if (weight >= 1 || !from) {
        *out = kt_context_ref(to);
        return 0;
    }
    return kt_context_blend(p->p.engine, out, from, to, (float)weight, err);
}

static int switch_to(struct kt_player *p, struct kt_timeline *t, struct kt_context *from,
                     struct kt_context *to, const struct kt_job *job, enum kt_transition tr,
                     struct kt_error *err)
{
    struct kt_context *stage = NULL;
    int rc = stage_context(p, from, to, job->weight, &stage, err);
    if (rc == 0) {
        rc = kt_timeline_switch(t, stage, tr, job->recache, err);
    }
    kt_context_unref(&stage);
    return rc;
}

/* ---- the archive: as engine/lane/past.c keeps it ---- */

static void archive_promoted(struct kt_player *p, int session)
{
    const struct session *s = &p->sessions[session];
    const struct track *live = &s->live;
    struct kt_past_branch branch = {.timeline = live->timeline,
                                    .wish = &live->wish,
                                    .text = live->text,
                                    .seed = s->seed,
                                    .cut_at = live->cut_at,
                                    .resumed = live->resumed};
    kt_past_promoted(p->p.engine, p->archive, session, &branch, p->latent);
}

static int resume(struct kt_player *p, const struct kt_record *r, struct kt_context *context,
                  struct kt_timeline **t, struct kt_error *err)
{
    int rc =
        kt_past_resume(p->p.engine, p->archive, r->job.from, r->result.latents, context, t, err);
    return rc == -ERANGE ? kt_fail(err, -EPROTO, "latent %lld of session %d is not archived",
                                   (long long)r->result.latents, r->job.from)
                         : rc;
}

/* ---- cuts ---- */

static int begin_branch(struct kt_player *p, const struct kt_record *r, const struct wish *w,
                        struct kt_context *context, struct kt_timeline **t, struct kt_error *err)
{
    const struct kt_job *job = &r->job;
    struct kt_timeline *live = p->sessions[job->from].live.timeline;
    uint64_t seed = w->wish.fresh ? w->wish.seed : p->sessions[r->session].seed;
    int rc = -EPROTO;
    switch (job->source) {
    case KT_SOURCE_NOTHING: return kt_timeline_create(p->p.engine, t, seed, context, err);
    case KT_SOURCE_LIVE:
        return live ? kt_timeline_branch(live, t, job->at, err)
                    : kt_fail(err, rc, "a cut of session %d, which has no stream", job->from);
    case KT_SOURCE_CHECKPOINT:
        if (job->slot < 0 || !p->checkpoints[job->slot].snapshot) {
            return kt_fail(err, rc, "a cut of checkpoint %d, which is not there", job->slot);
        }
        rc = kt_timeline_fork(p->p.engine, t, p->checkpoints[job->slot].snapshot, err);
        return rc < 0 ? rc : kt_timeline_rewind(*t, job->at, err);
    case KT_SOURCE_ARCHIVE: return resume(p, r, context, t, err);
    }
    return rc;
}

static int cut(struct kt_player *p, const struct kt_record *r, struct kt_error *err)
{
    struct session *s = &p->sessions[r->session];
    const struct kt_job *job = &r->job;
    const struct wish *w = job->committed ? &s->commit : &s->draft;
    struct track *from = &p->sessions[job->from].live, *n = &s->next;
    struct kt_context *context = NULL;
    if (!w->set || n->timeline) {
        return kt_fail(err, -EPROTO, "a cut %s",
                       w->set ? "while another branch is there" : "without a prompt");
    }
    int rc = kt_context_from_text(p->p.engine, &context, w->text, strlen(w->text), err);
    if (rc == 0) {
        rc = begin_branch(p, r, w, context, &n->timeline, err);
    }
    if (rc == 0 && job->source != KT_SOURCE_NOTHING && job->source != KT_SOURCE_ARCHIVE) {
        rc = switch_to(p, n->timeline, from->context, context, job, w->wish.transition, err);
    }
    if (rc < 0) {
        kt_context_unref(&context);
        kt_timeline_destroy(&n->timeline);
        return rc;
    }
    s->retried = 0;
    n->serial = r->timeline;
    n->context = context;
    n->wish = w->wish;
    n->text = strdup(w->text);
    n->cut_at = kt_timeline_latents(n->timeline);
    n->resumed = r->job.source == KT_SOURCE_ARCHIVE;
    n->blend_from = w->wish.blend > 1 ? kt_context_ref(s->live.context) : NULL;
    n->next_frame = frames_before(p, kt_timeline_decoded(n->timeline));
    return n->text ? 0 : kt_fail(err, -ENOMEM, "out of memory");
}

static int blend(struct kt_player *p, const struct kt_record *r, struct track *t,
                 struct kt_error *err)
{
    int rc = switch_to(p, t->timeline, t->blend_from, t->context, &r->job, t->wish.transition, err);
    if (r->job.weight >= 1) {
        kt_context_unref(&t->blend_from);
    }
    return rc;
}

/* ---- hashes ---- */

static int differs(const struct kt_record *r, const char *what, int64_t index, uint64_t expected,
                   uint64_t found, struct kt_error *err)
{
    return kt_fail(err, -EILSEQ,
                   "session %d, timeline %u: %s %lld: expected %016llx, found %016llx", r->session,
                   r->timeline, what, (long long)index, (unsigned long long)expected,
                   (unsigned long long)found);
}

static int commit(struct kt_player *p, const struct kt_record *r, struct track *t,
                  struct kt_error *err)
{
    int rc = kt_timeline_block_publish(t->timeline, err), n = r->hash_count;
    int wanted = p->board.block_latents < KT_RECORD_HASHES_MAX ? p->board.block_latents
                                                               : KT_RECORD_HASHES_MAX;
    int64_t first = kt_timeline_latents(t->timeline) - p->board.block_latents;
    if (rc == 0 && n != wanted) {
        return kt_fail(err, -EPROTO, "a block with %d hashes, expected %d", n, wanted);
    }
    for (int i = 0; i < n && rc == 0; i++) {
        uint64_t found = 0;
        rc = kt_timeline_latent_hash(t->timeline, first + i, &found);
        p->counts.latents++;
        if (rc == 0 && found != r->hash[i]) {
            return differs(r, "latent", first + i, r->hash[i], found, err);
        }
    }
    if (rc == 0 && r->job.track == KT_TRACK_LIVE) {
        kt_past_put(p->archive, r->session, p->sessions[r->session].live.timeline, first,
                    p->latent);
    }
    return rc;
}

/* `frames` pictures in the buffer against the record's; kept where they may be published. */
static int compare(struct kt_player *p, const struct kt_record *r, struct track *t, int frames,
                   int kept, struct kt_error *err)
{
    int wanted = frames < KT_RECORD_HASHES_MAX ? frames : KT_RECORD_HASHES_MAX, rc = 0;
    if (r->hash_count != wanted || r->result.frames != frames) {
        return kt_fail(err, -EPROTO, "%d hashes of %d pictures, expected %d of %d", r->hash_count,
                       r->result.frames, wanted, frames);
    }
    for (int i = 0; i < frames && rc == 0; i++) {
        const uint8_t *data = p->buffer + p->picture_bytes * (size_t)i;
        uint64_t found = kt_hash64(data, p->picture_bytes, 0);
        int64_t index = kept ? t->next_frame : t->next_frame + i;
        p->counts.pictures++;
        if (i < wanted && found != r->hash[i]) {
            return differs(r, kept ? "picture" : "preview", index, r->hash[i], found, err);
        }
        rc = kept ? keep(p, t, data, found, r->session == p->p.session, err) : 0;
    }
    return rc;
}

static int decode(struct kt_player *p, const struct kt_record *r, struct track *t,
                  struct kt_error *err)
{
    int frames = kt_timeline_decode(t->timeline, p->buffer, p->picture_bytes, err);
    return frames < 0 ? frames : compare(p, r, t, frames, 1, err);
}

static int preview(struct kt_player *p, const struct kt_record *r, struct track *t,
                   struct kt_error *err)
{
    if (r->hash_count == 0) {
        return 0; /* there was no room for one */
    }
    int frames = kt_timeline_preview(t->timeline, p->buffer, p->picture_bytes, err);
    return frames < 0 ? frames : compare(p, r, t, frames, 0, err);
}

/* ---- jobs ---- */

static int promote(struct kt_player *p, const struct kt_record *r, struct kt_error *err)
{
    struct session *s = &p->sessions[r->session];
    if (!s->next.timeline) {
        return kt_fail(err, -EPROTO, "a promotion without a branch");
    }
    forget_track(&s->live);
    s->live = s->next;
    memset(&s->next, 0, sizeof(s->next));
    s->epoch++;
    s->published = -1;
    archive_promoted(p, r->session);
    while (s->live.made_count > 0 && s->live.made[0].frame < r->job.frame) {
        drop_made(&s->live, 1);
    }
    if (r->job.flush && r->session == p->p.session) {
        replace_late(p, r->job.frame);
    }
    return 0;
}

static int checkpoint(struct kt_player *p, const struct kt_record *r, struct kt_error *err)
{
    struct kt_timeline *live = p->sessions[r->session].live.timeline;
    int slot = r->job.slot;
    if (slot < 0 || !live || p->checkpoints[slot].snapshot) {
        return kt_fail(err, -EPROTO, "checkpoint %d: no stream, or the slot is taken", slot);
    }
    p->checkpoints[slot].session = r->session;
    return kt_timeline_snapshot(live, &p->checkpoints[slot].snapshot, err);
}

/* Work on a track that must be there. */
static int track_work(struct kt_player *p, const struct kt_record *r, struct track *t,
                      struct kt_error *err)
{
    int rc;
    if (!t->timeline || t->serial != r->timeline) {
        return kt_fail(err, -EPROTO, "work on timeline %u, but the track has %u", r->timeline,
                       t->timeline ? t->serial : 0);
    }
    switch (r->job.kind) {
    case KT_JOB_BEGIN: return kt_timeline_block_begin(t->timeline, r->job.steps, err);
    case KT_JOB_STEP: rc = kt_timeline_block_step(t->timeline, err); return rc > 0 ? 0 : rc;
    case KT_JOB_COMMIT: return commit(p, r, t, err);
    case KT_JOB_CACHE: rc = kt_timeline_block_cache(t->timeline, err); return rc > 0 ? 0 : rc;
    case KT_JOB_DECODE: return decode(p, r, t, err);
    case KT_JOB_BLEND: return blend(p, r, t, err);
    case KT_JOB_PREVIEW: return preview(p, r, t, err);
    default: return kt_timeline_rewind(t->timeline, r->job.at, err); /* TRIM */
    }
}

static int run_job(struct kt_player *p, const struct kt_record *r, struct kt_error *err)
{
    struct session *s = &p->sessions[r->session];
    struct track *t = r->job.track == KT_TRACK_LIVE ? &s->live : &s->next;
    switch (r->job.kind) {
    case KT_JOB_NONE:
    case KT_JOB_TEXT: return 0; /* a prompt is encoded when it is needed */
    case KT_JOB_CUT: return cut(p, r, err);
    case KT_JOB_PROMOTE: return promote(p, r, err);
    case KT_JOB_DROP: forget_track(&s->next); return 0;
    case KT_JOB_CHECKPOINT: return checkpoint(p, r, err);
    case KT_JOB_UNCHECKPOINT:
        if (r->job.slot >= 0) {
            kt_snapshot_unref(&p->checkpoints[r->job.slot].snapshot);
        }
        return 0;
    case KT_JOB_TRIM: return track_work(p, r, &s->live, err);
    default: return track_work(p, r, t, err);
    }
}

/* Where the track stands afterwards, as the log has it. */
static int check_progress(const struct kt_player *p, const struct kt_record *r,
                          struct kt_error *err)
{
    const struct session *s = &p->sessions[r->session];
    const struct track *t = r->job.kind == KT_JOB_CUT ? &s->next : NULL;
    if (r->job.kind >= KT_JOB_BEGIN && r->job.kind <= KT_JOB_PREVIEW) {
        t = r->job.track == KT_TRACK_LIVE ? &s->live : &s->next;
    }
    if (!t || !t->timeline ||
        (kt_timeline_latents(t->timeline) == r->result.latents &&
         kt_timeline_decoded(t->timeline) == r->result.decoded)) {
        return 0;
    }
    return kt_fail(err, -EPROTO,
                   "session %d, timeline %u: expected %lld latents, %lld decoded; found %lld, %lld",
                   r->session, r->timeline, (long long)r->result.latents,
                   (long long)r->result.decoded, (long long)kt_timeline_latents(t->timeline),
                   (long long)kt_timeline_decoded(t->timeline));
}

/* A job that failed left nothing behind; work on a track took the track with it. */
static void fail_job(struct kt_player *p, const struct kt_record *r)
{
    struct session *s = &p->sessions[r->session];
    int wish_failed = r->job.kind == KT_JOB_TEXT || r->job.kind == KT_JOB_CUT;
    int again = r->job.kind == KT_JOB_CUT && r->result.rc == -ERANGE && !s->retried;
    s->retried = again;
    if (wish_failed && r->job.committed && !again) {
        s->commit = s->spare;
        s->spare.set = 0;
    }
    if (r->job.kind >= KT_JOB_BEGIN && r->job.kind <= KT_JOB_PREVIEW) {
        forget_track(r->job.track == KT_TRACK_LIVE ? &s->live : &s->next);
    }
}

static int feed_job(struct kt_player *p, const struct kt_record *r, struct kt_error *err)
{
    const struct kt_job *job = &r->job;
    if (job->from >= p->board.sessions_max || job->slot >= p->board.checkpoints_max) {
        return kt_fail(err, -EPROTO, "session %d or checkpoint %d: there are %d and %d", job->from,
                       job->slot, p->board.sessions_max, p->board.checkpoints_max);
    }
    if (job->kind == KT_JOB_CUT && job->from < 0) {
        return kt_fail(err, -EPROTO, "a cut from no session");
    }
    p->counts.jobs++;
    if (r->result.rc < 0) {
        fail_job(p, r);
        return p->pending_count == 0 ? 0 : kt_fail(err, -EPROTO, "a failed job published pictures");
    }
    int rc = run_job(p, r, err);
    if (rc == 0) {
        rc = check_progress(p, r, err);
    }
    return rc < 0 ? rc : publish_pending(p, r, err);
}

/* ---- commands ---- */

static void set_wish(struct wish *w, const struct kt_record *r)
{
    w->set = r->text && r->text[0];
    w->wish = r->wish;
    strncpy(w->text, r->text ? r->text : "", KT_PROMPT_BYTES_MAX);
}

static int feed_command(struct kt_player *p, const struct kt_record *r, struct kt_error *err)
{
    struct session *s = &p->sessions[r->session];
    if ((r->command == KT_COMMAND_OPEN) == (s->open != 0) ||
        r->wish.from >= p->board.sessions_max) {
        return kt_fail(err, -EPROTO, "session %d is %s", r->session,
                       s->open ? "open already" : "not open");
    }
    switch (r->command) {
    case KT_COMMAND_OPEN:
        s->open = 1;
        s->published = -1;
        s->seed = r->wish.from >= 0 ? p->sessions[r->wish.from].seed : r->wish.seed;
        break;
    case KT_COMMAND_DRAFT: set_wish(&s->draft, r); break;
    case KT_COMMAND_PROMPT:
        if (s->commit.wish.key != r->wish.key) {
            s->spare = s->commit; /* asked for only if the lane kept it, too */
        }
        set_wish(&s->commit, r);
        s->seed = r->wish.fresh ? r->wish.seed : s->seed;
        break;
    case KT_COMMAND_RESET: /* before the first picture */
        s->seed = s->commit.wish.seed = r->wish.seed;
        break;
    case KT_COMMAND_CLOSE: forget_session(p, r->session); break;
    default: break; /* reports, pauses, settings: the policy's business */
    }
    return 0;
}

/* ---- any record ---- */

int kt_player_feed(struct kt_player *p, const struct kt_record *r, struct kt_error *err)
{
    if (r->kind == KT_RECORD_GAP) {
        return kt_fail(err, -EPROTO,
                       "%llu records are missing here: the log's queue was full, so what follows "
                       "cannot be made again",
                       (unsigned long long)r->count);
    }
    if (r->session < 0 || r->session >= p->board.sessions_max) {
        return kt_fail(err, -EPROTO, "session %d: expected 0 to %d", r->session,
                       p->board.sessions_max - 1);
    }
    if (r->kind == KT_RECORD_JOB) {
        return feed_job(p, r, err);
    }
    if (r->kind == KT_RECORD_COMMAND) {
        return feed_command(p, r, err);
    }
    if (p->pending_count == PENDING_MAX) {
        return kt_fail(err, -EPROTO, "more than %d pictures published by one job", PENDING_MAX);
    }
    p->pending[p->pending_count++] = *r;
    return 0;
}

int kt_player_finish(struct kt_player *p, struct kt_error *err)
{
    int rc = 0;
    if (p->pending_count > 0) {
        return kt_fail(err, -EPROTO, "the log ends within a job");
    }
    while (p->late_count > 0 && rc == 0) {
        rc = show_first(p, err);
    }
    return rc;
}

void kt_player_get_counts(const struct kt_player *p, struct kt_player_counts *out)
{
    *out = p->counts;
}

int kt_player_open(struct kt_player **out, const struct kt_player_params *params,
                   struct kt_error *err)
{
    struct kt_player *p = calloc(1, sizeof(*p));
    struct kt_engine_info info;
    if (!p) {
        return kt_fail(err, -ENOMEM, "out of memory");
    }
    p->p = *params;
    p->board = *params->board;
    kt_engine_get_info(params->engine, &info);
    p->picture_bytes = (size_t)info.width * (size_t)info.height * 3 / 2;
    p->buffer = malloc(p->picture_bytes * (size_t)(info.frames_per_latent + 1));
    p->sessions = calloc((size_t)p->board.sessions_max, sizeof(*p->sessions));
    p->checkpoints = calloc((size_t)p->board.checkpoints_max + 1, sizeof(*p->checkpoints));
    p->latent = malloc(info.latent_floats * sizeof(float));
    struct kt_archive_params archive = {.bytes_max = ARCHIVE_BYTES,
                                        .streams_max = p->board.sessions_max,
                                        .latent_floats = info.latent_floats,
                                        .window = info.window,
                                        .sink = info.sink};
    int rc = p->buffer && p->sessions && p->checkpoints && p->latent
                 ? kt_archive_open(&p->archive, &archive, err)
                 : kt_fail(err, -ENOMEM, "out of memory");
    if (rc < 0) {
        kt_player_close(&p);
        return rc;
    }
    *out = p;
    return 0;
}

void kt_player_close(struct kt_player **out)
{
    if (!out || !*out) {
        return;
    }
    struct kt_player *p = *out;
    for (int i = 0; p->archive && i < p->board.sessions_max; i++) {
        forget_session(p, i);
    }
    while (p->late_count > 0) {
        free(p->late[--p->late_count].data);
    }
    kt_archive_close(&p->archive);
    free(p->latent);
    free(p->buffer);
    free(p->sessions);
    free(p->checkpoints);
    free(p);
    *out = NULL;
}
