/* A lane without a model, for tests and for work on the page: a thread that draws a moving disc
 * whose colour follows the colour word of the prompt. It keeps the contract of engine/lane.h. Words
 * in the prompt turn its knobs:
 *
 *   fps=N      makes N pictures a second (default: twice the stream's rate)
 *   delay=N    takes N ms to apply a prompt, or to get a draft ready (default 120)
 *   fail       the prompt fails
 *   preview    half of the delay into a commit that was not drafted, the coming epoch shows itself
 *   admit=N    one more session may have N steps; the smallest of all sessions counts
 *
 * A draft is "text" after a quarter of its delay and "ready" after all of it; a commit that wants
 * the same takes effect as soon as the draft is ready.
 */
#include "engine/base/assert.h"
#include "engine/base/clock.h"
#include "engine/base/ring.h"
#include "engine/journal.h"
#include "engine/lane.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    WIDTH = 192,
    HEIGHT = 112,
    FPS = 16,
    PER_LATENT = 4,
    BLOCK = 12,
    STEPS = 4,
    SESSIONS_MAX = 64,
    COMMANDS = 256,
    EVENTS = 512,
    PICTURE_BYTES = WIDTH * HEIGHT * 3 / 2,
};

/* ---- the engine's face ---- */

struct kt_engine {
    struct kt_model_config config;
};

static char *examples[] = {"a red circle over the sea", "a blue star in the rain", NULL};
static char *words[] = {"red",  "green", "blue", "yellow", "white", "circle",
                        "star", "sea",   "rain", "moves",  "left",  NULL};

int kt_engine_open(struct kt_engine **e, const struct kt_engine_params *p, struct kt_error *err)
{
    struct stat st;
    if (stat(p->model_dir, &st) < 0) {
        return kt_fail(err, -ENOENT, "%s: no such model directory", p->model_dir);
    }
    *e = calloc(1, sizeof(**e));
    if (!*e) {
        return kt_fail(err, -ENOMEM, "out of memory");
    }
    snprintf((*e)->config.name, sizeof((*e)->config.name), "fake");
    (*e)->config.width = WIDTH;
    (*e)->config.height = HEIGHT;
    (*e)->config.fps = FPS;
    (*e)->config.sampler.steps = STEPS;
    (*e)->config.sampler.local_attn_size = 12;
    (*e)->config.vocabulary = (struct kt_vocabulary){examples, words, NULL};
    return 0;
}

void kt_engine_close(struct kt_engine **e)
{
    free(*e);
    *e = NULL;
}

const struct kt_model_config *kt_engine_config(const struct kt_engine *e)
{
    return &e->config;
}

struct kt_device *kt_engine_device(struct kt_engine *e)
{
    static struct kt_device none;
    return &none;
}

int kt_device_pools(const struct kt_device *dev, struct kt_device_pool *out, int cap)
{
    return 0;
}

void kt_engine_get_info(const struct kt_engine *e, struct kt_engine_info *out)
{
    *out = (struct kt_engine_info){.width = WIDTH,
                                   .height = HEIGHT,
                                   .fps = FPS,
                                   .first_frames = 1,
                                   .frames_per_latent = PER_LATENT,
                                   .block_latents = 3};
}

void kt_policy_default(struct kt_policy *p)
{
    *p = (struct kt_policy){.decode_lead = 2, .drafts = 1};
}

const char *kt_job_name(enum kt_job_kind kind)
{
    static const char *const names[KT_JOB_KINDS] = {
        [KT_JOB_TEXT] = "text",     [KT_JOB_CUT] = "cut",       [KT_JOB_BEGIN] = "begin",
        [KT_JOB_STEP] = "step",     [KT_JOB_COMMIT] = "commit", [KT_JOB_CACHE] = "cache",
        [KT_JOB_DECODE] = "decode", [KT_JOB_BLEND] = "blend",   [KT_JOB_PREVIEW] = "preview"};
    return names[kind] ? names[kind] : "?";
}

double kt_stage_bound_ms(int bucket)
{
    return bucket == KT_HISTOGRAM - 1 ? INFINITY : (double)(1 << bucket) / 8;
}

/* ---- the lane ---- */

struct fake_frame {
    struct kt_frame public; /* first */
    atomic_int refs;
};

struct fake_wish {
    char *text; /* NULL: nothing is wished */
    struct kt_wish wish;
    int64_t text_ns, ready_ns; /* when its text is encoded, its first pictures are ready */
    int64_t preview_ns;        /* when a preview is due, 0: none */
    int told;                  /* enum kt_stage */
    int hit;
};

struct fake_session {
    int open, paused, started, first, flush;
    uint32_t epoch, revision;
    int64_t next, sent, shown;
    int colour[3]; /* Y, U, V */
    double fps;
    int64_t next_ns; /* when the next latent is finished */
    struct fake_wish draft, prompt;
    float text_ms;
    int admit;
    struct kt_session_settings settings;
};

struct kt_lane {
    struct kt_lane_params p;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t woken;
    int stop;
    struct kt_ring commands, events;
    struct fake_frame *frames;
    uint8_t *pictures;
    int frame_count;
    struct fake_session sessions[SESSIONS_MAX];
    uint64_t made;
    atomic_int admit, open; /* read from the loop's thread */
    atomic_llong made_until[SESSIONS_MAX];
};

struct kt_frame *kt_frame_ref(struct kt_frame *f)
{
    atomic_fetch_add(&((struct fake_frame *)f)->refs, 1);
    return f;
}

void kt_frame_unref(struct kt_frame **f)
{
    if (f && *f) {
        atomic_fetch_sub(&((struct fake_frame *)*f)->refs, 1);
        *f = NULL;
    }
}

static struct fake_frame *take_frame(struct kt_lane *lane)
{
    for (int i = 0; i < lane->frame_count; i++) {
        int none = 0;
        if (atomic_compare_exchange_strong(&lane->frames[i].refs, &none, 1)) {
            return &lane->frames[i];
        }
    }
    return NULL;
}

static int frames_free(struct kt_lane *lane)
{
    int n = 0;
    for (int i = 0; i < lane->frame_count; i++) {
        n += atomic_load(&lane->frames[i].refs) == 0;
    }
    return n;
}

static void put_event(struct kt_lane *lane, const struct kt_event *e)
{
    pthread_mutex_lock(&lane->mutex);
    const int rc = kt_ring_put(&lane->events, e);
    pthread_mutex_unlock(&lane->mutex);
    KT_ASSERT(rc == 0);
    lane->p.wake(lane->p.wake_arg);
}

static void draw(const struct fake_session *s, int64_t frame, uint8_t *data)
{
    uint8_t *y = data, *u = y + WIDTH * HEIGHT, *v = u + WIDTH * HEIGHT / 4;
    const int cx = 20 + (int)(frame * 3 % (WIDTH - 40)), cy = HEIGHT / 2;
    memset(y, 40, WIDTH * HEIGHT);
    memset(u, 128, WIDTH * HEIGHT / 2);
    for (int j = 0; j < HEIGHT; j++) {
        for (int i = 0; i < WIDTH; i++) {
            if ((i - cx) * (i - cx) + (j - cy) * (j - cy) < 40 * 40) {
                y[j * WIDTH + i] = (uint8_t)s->colour[0];
                u[j / 2 * (WIDTH / 2) + i / 2] = (uint8_t)s->colour[1];
                v[j / 2 * (WIDTH / 2) + i / 2] = (uint8_t)s->colour[2];
            }
        }
    }
}

/* BT.709, limited range. */
static void choose_colour(struct fake_session *s, const char *text)
{
    static const struct {
        const char *word;
        int yuv[3];
    } colours[] = {
        {"red", {63, 102, 240}},    {"green", {173, 42, 26}},   {"blue", {32, 240, 118}},
        {"yellow", {219, 16, 138}}, {"white", {235, 128, 128}},
    };
    memcpy(s->colour, (int[3]){126, 128, 128}, sizeof(s->colour));
    for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++) {
        if (strstr(text, colours[i].word)) {
            memcpy(s->colour, colours[i].yuv, sizeof(s->colour));
        }
    }
}

static double knob(const char *text, const char *name, double otherwise)
{
    const char *at = strstr(text, name);
    return at ? atof(at + strlen(name)) : otherwise;
}

static void drop_wish(struct fake_wish *w)
{
    free(w->text);
    *w = (struct fake_wish){0};
}

static void fail_prompt(struct kt_lane *lane, const struct fake_wish *w, uint32_t index)
{
    struct kt_event e = {.kind = KT_EVENT_FAILED, .session = index, .revision = w->wish.revision};
    kt_fail(&e.error, -EINVAL, "the prompt asked to fail");
    put_event(lane, &e);
}

static int steps_of(const struct fake_session *s)
{
    const int steps = s->settings.steps ? s->settings.steps : STEPS, cap = s->settings.steps_cap;
    return cap && cap < steps ? cap : steps;
}

/* What is made goes on at `frame`, under another epoch. */
static void promote(struct kt_lane *lane, struct fake_session *s, uint32_t index, int64_t frame,
                    int flush, int hit)
{
    s->epoch++;
    s->first = s->started = 1;
    s->flush = flush;
    s->next = s->sent = s->shown = frame;
    s->next_ns = kt_now_ns();
    atomic_store(&lane->made_until[index], s->next);
    const struct kt_event applied = {.kind = KT_EVENT_APPLIED,
                                     .session = index,
                                     .revision = s->revision,
                                     .epoch = s->epoch,
                                     .frame_index = s->next,
                                     .hit = hit,
                                     .flush = flush};
    put_event(lane, &applied);
    const struct kt_event pace = {.kind = KT_EVENT_PACE,
                                  .session = index,
                                  .fps = (float)(s->fps < FPS ? s->fps : FPS),
                                  .steps = steps_of(s)};
    put_event(lane, &pace);
}

static int64_t cut_at(const struct fake_session *s, enum kt_cut cut)
{
    switch (cut) {
    case KT_CUT_NOW: return s->shown;
    case KT_CUT_LATENT: return (s->sent + PER_LATENT - 1) / PER_LATENT * PER_LATENT;
    default: return s->next;
    }
}

static void count_sessions(struct kt_lane *lane)
{
    int admit = STEPS, open = 0;
    for (int i = 0; i < lane->p.sessions_max; i++) {
        const struct fake_session *s = &lane->sessions[i];
        open += s->open;
        admit = s->open && s->admit < admit ? s->admit : admit;
    }
    atomic_store(&lane->admit, admit);
    atomic_store(&lane->open, open);
}

static void apply_prompt(struct kt_lane *lane, struct fake_session *s, uint32_t index)
{
    struct fake_wish *w = &s->prompt;
    if (strstr(w->text, "fail")) {
        fail_prompt(lane, w, index);
        drop_wish(w);
        return;
    }
    choose_colour(s, w->text);
    s->fps = knob(w->text, "fps=", 2.0 * FPS);
    s->text_ms = (float)knob(w->text, "delay=", 120);
    s->admit = (int)knob(w->text, "admit=", STEPS);
    count_sessions(lane);
    s->revision = w->wish.revision;
    const int64_t at = w->wish.at >= 0 ? w->wish.at * PER_LATENT : cut_at(s, w->wish.cut);
    const int flush = s->started && w->wish.cut == KT_CUT_NOW, hit = w->hit;
    drop_wish(w);
    promote(lane, s, index, at, flush, hit);
}

static void tell_draft(struct kt_lane *lane, struct fake_wish *w, uint32_t index)
{
    const int64_t now = kt_now_ns();
    const int stage = !w->text             ? KT_STAGE_NONE
                      : now >= w->ready_ns ? KT_STAGE_READY
                      : now >= w->text_ns  ? KT_STAGE_CUT
                                           : KT_STAGE_NONE;
    if (stage > w->told && !strstr(w->text, "fail")) {
        w->told = stage;
        const struct kt_event e = {.kind = KT_EVENT_DRAFTED,
                                   .session = index,
                                   .revision = w->wish.revision,
                                   .stage = stage};
        put_event(lane, &e);
    }
}

static void publish_previews(struct kt_lane *lane, struct fake_session *s, uint32_t index)
{
    for (int i = 0; i < PER_LATENT; i++) {
        struct fake_frame *f = take_frame(lane);
        KT_ASSERT(f);
        draw(s, s->shown + i, f->public.data);
        f->public = (struct kt_frame){.data = f->public.data,
                                      .width = WIDTH,
                                      .height = HEIGHT,
                                      .session = index,
                                      .epoch = s->epoch + 1,
                                      .revision = s->prompt.wish.revision,
                                      .frame = s->shown + i,
                                      .preview = 1};
        const struct kt_event e = {.kind = KT_EVENT_FRAME, .session = index, .frame = &f->public};
        put_event(lane, &e);
    }
}

static void publish(struct kt_lane *lane, struct fake_session *s, uint32_t index)
{
    struct fake_frame *f = take_frame(lane);
    KT_ASSERT(f);
    draw(s, s->next, f->public.data);
    f->public.preview = 0;
    f->public.width = WIDTH;
    f->public.height = HEIGHT;
    f->public.session = index;
    f->public.epoch = s->epoch;
    f->public.revision = s->revision;
    f->public.frame = s->next++;
    f->public.first_of_epoch = s->first;
    f->public.flush = s->first && s->flush;
    f->public.ms = (struct kt_frame_timings){1, s->first ? s->text_ms : 0, 0, 20, 5, 1};
    f->public.steps = steps_of(s);
    f->public.decoded_ns = kt_now_ns();
    s->first = 0;
    const struct kt_event e = {.kind = KT_EVENT_FRAME, .session = index, .frame = &f->public};
    put_event(lane, &e);
}

/* 1 when something was done. */
static int work(struct kt_lane *lane, uint32_t index)
{
    struct fake_session *s = &lane->sessions[index];
    const int64_t now = kt_now_ns();
    if (!s->open || s->paused) {
        return 0;
    }
    tell_draft(lane, &s->draft, index);
    if (s->prompt.preview_ns && now >= s->prompt.preview_ns && s->started && !s->prompt.hit &&
        s->settings.preview && frames_free(lane) >= PER_LATENT) {
        s->prompt.preview_ns = 0;
        publish_previews(lane, s, index);
        return 1;
    }
    const int due = s->prompt.text && now >= s->prompt.ready_ns;
    if (due && (s->prompt.wish.cut != KT_CUT_BLOCK || s->next % BLOCK == 0)) {
        apply_prompt(lane, s, index);
        return 1;
    }
    const int lead = lane->p.policy.decode_lead * PER_LATENT;
    if (!s->started || s->next - s->sent > lead - PER_LATENT || now < s->next_ns ||
        frames_free(lane) < PER_LATENT) {
        return 0;
    }
    for (int i = 0; i < PER_LATENT; i++) {
        publish(lane, s, index);
    }
    s->next_ns = now + (int64_t)(1e9 * PER_LATENT / s->fps);
    lane->made++;
    atomic_store(&lane->made_until[index], s->next);
    return 1;
}

static int same_wish(const struct fake_wish *w, const struct kt_command *c)
{
    return w->text && strcmp(w->text, c->text) == 0 && w->wish.cut == c->wish.cut &&
           w->wish.transition == c->wish.transition && w->wish.blend == c->wish.blend &&
           w->wish.recache == c->wish.recache;
}

static void take_wish(struct fake_wish *w, const struct kt_command *c)
{
    const int64_t delay_ns = (int64_t)(knob(c->text, "delay=", 120) * 1e6), now = kt_now_ns();
    drop_wish(w);
    *w = (struct fake_wish){.text = c->text,
                            .wish = c->wish,
                            .text_ns = now + delay_ns / 4,
                            .preview_ns = strstr(c->text, "preview") ? now + delay_ns / 2 : 0,
                            .ready_ns = now + delay_ns};
}

static void take_draft(struct fake_session *s, const struct kt_command *c)
{
    if (c->text[0] && s->settings.drafts) {
        take_wish(&s->draft, c);
    } else {
        drop_wish(&s->draft);
        free(c->text);
    }
}

static void take_prompt(struct fake_session *s, const struct kt_command *c)
{
    struct fake_wish draft = s->draft;
    if (!same_wish(&draft, c)) {
        take_wish(&s->prompt, c);
        return;
    }
    s->draft = (struct fake_wish){0};
    drop_wish(&s->prompt);
    free(c->text);
    s->prompt = draft;
    s->prompt.wish = c->wish;
    s->prompt.hit = kt_now_ns() >= draft.ready_ns ? 2 : 1;
}

static void take_open(struct kt_lane *lane, struct fake_session *s, const struct kt_command *c)
{
    *s = (struct fake_session){.open = 1, .settings = c->settings, .fps = 2 * FPS, .admit = STEPS};
    count_sessions(lane);
    if (c->wish.from >= 0) {
        const struct fake_session *from = &lane->sessions[c->wish.from];
        memcpy(s->colour, from->colour, sizeof(s->colour));
    }
    if (c->text[0]) {
        take_wish(&s->prompt, c);
    } else {
        free(c->text);
    }
}

static void close_session(struct kt_lane *lane, struct fake_session *s, uint32_t index)
{
    const struct kt_event closed = {.kind = KT_EVENT_CLOSED, .session = index};
    drop_wish(&s->draft);
    drop_wish(&s->prompt);
    *s = (struct fake_session){0};
    atomic_store(&lane->made_until[index], 0);
    count_sessions(lane);
    put_event(lane, &closed);
}

static void obey(struct kt_lane *lane, const struct kt_command *c)
{
    struct fake_session *s = &lane->sessions[c->session];
    switch (c->kind) {
    case KT_COMMAND_OPEN: take_open(lane, s, c); break;
    case KT_COMMAND_DRAFT: take_draft(s, c); break;
    case KT_COMMAND_PROMPT: take_prompt(s, c); break;
    case KT_COMMAND_REPORT:
        if (c->epoch == s->epoch) {
            s->sent = c->sent > s->sent ? c->sent : s->sent;
            s->shown = c->shown > s->shown ? c->shown : s->shown;
        }
        break;
    case KT_COMMAND_PAUSE: s->paused = 1; break;
    case KT_COMMAND_RESUME: s->paused = 0; break;
    case KT_COMMAND_RESET:
        if (s->started) {
            promote(lane, s, c->session, 0, 1, 0);
        }
        break;
    case KT_COMMAND_REWIND:
        if (s->started) {
            promote(lane, s, c->session, c->frame / PER_LATENT * PER_LATENT, 1, 0);
        }
        break;
    case KT_COMMAND_SETTINGS: s->settings = c->settings; break;
    case KT_COMMAND_CLOSE: close_session(lane, s, c->session); break;
    }
}

static int next_command(struct kt_lane *lane, struct kt_command *c)
{
    pthread_mutex_lock(&lane->mutex);
    const int got = kt_ring_take(&lane->commands, c);
    pthread_mutex_unlock(&lane->mutex);
    return got;
}

static int rest(struct kt_lane *lane)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 5000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&lane->mutex);
    if (!lane->stop && lane->commands.count == 0) {
        pthread_cond_timedwait(&lane->woken, &lane->mutex, &until);
    }
    const int going = !lane->stop;
    pthread_mutex_unlock(&lane->mutex);
    return going;
}

static void *run(void *arg)
{
    struct kt_lane *lane = arg;
    struct kt_command c;
    const struct kt_event ready = {.kind = KT_EVENT_READY, .ms = 50};
    rest(lane);
    put_event(lane, &ready);
    while (rest(lane)) {
        while (next_command(lane, &c)) {
            obey(lane, &c);
        }
        for (int i = 0; i < lane->p.sessions_max; i++) {
            work(lane, (uint32_t)i);
        }
    }
    return NULL;
}

int kt_lane_open(struct kt_lane **out, const struct kt_lane_params *p, struct kt_error *err)
{
    struct kt_lane *lane = calloc(1, sizeof(*lane));
    KT_ASSERT(lane && p->sessions_max <= SESSIONS_MAX);
    lane->p = *p;
    atomic_store(&lane->admit, STEPS);
    lane->frame_count = p->sessions_max * (p->policy.decode_lead + 6) * PER_LATENT;
    lane->frames = calloc((size_t)lane->frame_count, sizeof(*lane->frames));
    lane->pictures = malloc((size_t)lane->frame_count * PICTURE_BYTES);
    KT_ASSERT(lane->frames && lane->pictures);
    for (int i = 0; i < lane->frame_count; i++) {
        lane->frames[i].public.data = lane->pictures + (size_t)i * PICTURE_BYTES;
    }
    pthread_mutex_init(&lane->mutex, NULL);
    pthread_cond_init(&lane->woken, NULL);
    KT_ASSERT(kt_ring_init(&lane->commands, sizeof(struct kt_command), COMMANDS) == 0 &&
              kt_ring_init(&lane->events, sizeof(struct kt_event), EVENTS) == 0);
    KT_ASSERT(pthread_create(&lane->thread, NULL, run, lane) == 0);
    *out = lane;
    return 0;
}

void kt_lane_close(struct kt_lane **out)
{
    struct kt_lane *lane = *out;
    struct kt_command c;
    struct kt_event e;
    *out = NULL;
    if (!lane) {
        return;
    }
    pthread_mutex_lock(&lane->mutex);
    lane->stop = 1;
    pthread_cond_signal(&lane->woken);
    pthread_mutex_unlock(&lane->mutex);
    pthread_join(lane->thread, NULL);
    while (kt_ring_take(&lane->commands, &c)) {
        free(c.text);
    }
    while (kt_ring_take(&lane->events, &e)) {
        kt_frame_unref(&e.frame);
    }
    for (int i = 0; i < lane->p.sessions_max; i++) {
        drop_wish(&lane->sessions[i].draft);
        drop_wish(&lane->sessions[i].prompt);
    }
    KT_ASSERT(frames_free(lane) == lane->frame_count); /* every reference came back */
    kt_ring_finish(&lane->commands);
    kt_ring_finish(&lane->events);
    free(lane->frames);
    free(lane->pictures);
    pthread_cond_destroy(&lane->woken);
    pthread_mutex_destroy(&lane->mutex);
    free(lane);
}

int kt_lane_post(struct kt_lane *lane, const struct kt_command *cmd)
{
    pthread_mutex_lock(&lane->mutex);
    const int rc = kt_ring_put(&lane->commands, cmd);
    pthread_cond_signal(&lane->woken);
    pthread_mutex_unlock(&lane->mutex);
    return rc;
}

int kt_lane_poll(struct kt_lane *lane, struct kt_event *out)
{
    pthread_mutex_lock(&lane->mutex);
    const int got = kt_ring_take(&lane->events, out);
    pthread_mutex_unlock(&lane->mutex);
    return got;
}

void kt_lane_get_stats(struct kt_lane *lane, struct kt_lane_stats *out)
{
    memset(out, 0, sizeof(*out));
    out->frames_total = lane->frame_count;
    out->frames_free = frames_free(lane);
    out->admit_steps = atomic_load(&lane->admit);
    out->sessions_open = atomic_load(&lane->open);
}

/* Everything is kept: it is drawn again. */
void kt_lane_get_past(struct kt_lane *lane, uint32_t session, struct kt_lane_past *out)
{
    const int64_t end = atomic_load(&lane->made_until[session]);
    *out = (struct kt_lane_past){end > 0 ? 0 : -1, end > 0 ? end : -1};
}

/* ---- no decision log: nothing is decided here ---- */

int kt_journal_describe(struct kt_journal_head *head, const struct kt_lane_params *lane,
                        const struct kt_engine_params *p, struct kt_error *err)
{
    return kt_fail(err, -ENOTSUP, "the drawing lane decides nothing");
}

int kt_journal_open(struct kt_journal **j, const struct kt_journal_params *p, struct kt_error *err)
{
    return -ENOTSUP;
}

void kt_journal_close(struct kt_journal **j, struct kt_journal_stats *last)
{
}

void kt_journal_get_stats(struct kt_journal *j, struct kt_journal_stats *out)
{
}

void kt_journal_record(void *journal, const struct kt_record *r)
{
}
