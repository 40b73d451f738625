/* A session's life: it opens, gets a socket, loses it, sleeps, and is closed; and what is told
 * about it meanwhile.
 *
 * Pausing: by the client, because nothing was reported for two seconds, or because no socket is
 * attached. Raw pictures stay where they are and the lane stops by itself or by being told. */
#include "server/session_parts.h"

#include "engine/base/assert.h"
#include "engine/base/clock.h"
#include "server/auth.h"
#include "server/client.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    RETRY_US = 5000, /* the lane's ring was full */
    STATUS_EVERY_US = 500000,
};
_Static_assert((int)KT_UNKNOWN_LISTED_MAX <= (int)KT_UNKNOWN_WORDS_MAX, "a receipt lists them all");
_Static_assert((int)KT_TEXT_BYTES_MAX == (int)KT_PROMPT_BYTES_MAX,
               "protocol and engine agree on the longest prompt");

static const char *const features[] = {"now",   "latent", "block",   "cut",    "scene",
                                       "blend", "draft",  "preview", "resume", "rewind",
                                       "fork",  "queue",  NULL};

/* ---- opening and closing ---- */

static uint64_t random_seed(void)
{
    uint32_t seed = 0; /* short enough to be read out */
    if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed)) {
        seed = (uint32_t)kt_now_ns();
    }
    return seed % 1000000;
}

/* The hub and the config have checked the length. */
static void start_text(struct kt_session *s, const char *text)
{
    struct kt_fault fault;
    s->text.rev = -1;
    const int rc = kt_text_replace(&s->text, 0, text, strlen(text), &fault);
    KT_ASSERT(rc == 0);
    s->committed = kt_text_blank(&s->text) ? -1 : 0;
}

static int64_t latent_of(const struct kt_engine_info *video, int64_t frame)
{
    const int64_t past = frame - video->first_frames;
    return past < 0 ? 0 : 1 + past / video->frames_per_latent;
}

static int start_stream(struct kt_session *s, const struct kt_session_start *start)
{
    struct kt_wish wish = kt_wish_plain(0);
    wish.seed = s->seed;
    wish.fresh = !start->from;
    if (start->from) {
        wish.from = (int)start->from->index;
        wish.at = latent_of(&s->live->video, start->frame);
    }
    s->applied_text = strdup(s->text.bytes); /* nobody forks it before it is */
    return s->applied_text
               ? kt_text_wish_set(&s->wishes.open, &wish, s->committed == 0 ? s->text.bytes : "")
               : -ENOMEM;
}

static void start_settings(struct kt_session *s, const struct kt_client_message *hello,
                           int steps_cap)
{
    const struct kt_live *live = s->live;
    s->settings = live->settings;
    s->steps = hello->hello.steps >= 0 ? (int)hello->hello.steps : live->config->steps;
    s->steps = s->steps > live->steps_max ? live->steps_max : s->steps; /* the config's */
    s->device_steps = s->steps;
    s->wishes.settings = (struct kt_session_settings){.steps = s->steps,
                                                      .steps_cap = steps_cap,
                                                      .drafts = s->settings.draft,
                                                      .depth = s->settings.depth,
                                                      .preview = s->settings.preview};
}

int kt_session_open(struct kt_session *s, const struct kt_client_message *hello,
                    const struct kt_session_start *start, int64_t now_us)
{
    struct kt_live *live = s->live;
    const struct kt_serve_config *config = live->config;
    const uint32_t index = s->index, generation = s->generation;
    const uint32_t preview_generation = s->preview.generation;
    const struct kt_session *from = start->from;
    memset(s, 0, sizeof(*s));
    s->live = live;
    s->index = index;
    s->generation = generation;
    s->preview.generation = preview_generation;
    s->applied = s->answered = -1;
    s->opened_us = now_us;
    s->reel.few = 2 * live->video.frames_per_latent;
    if (kt_auth_random_hex(s->token, KT_RESUME_TOKEN_CHARS / 2) < 0) {
        return -EIO;
    }
    start_text(s, from                ? from->applied_text
                  : hello->hello.text ? hello->hello.text
                                      : config->prompt);
    s->seed = from                      ? from->seed
              : hello->hello.seed.given ? hello->hello.seed.value
              : config->seed.given      ? config->seed.value
                                        : random_seed();
    start_settings(s, hello, start->steps_cap);
    if (start_stream(s, start) < 0) {
        kt_session_drop(s);
        return -ENOMEM;
    }
    kt_pacer_init(&s->pacer, live->video.fps, KT_LEAD_MS * INT64_C(1000));
    kt_bucket_init(&s->keyframes, KT_KEYFRAMES_PER_S, KT_KEYFRAMES_BURST, now_us);
    s->phase = KT_SESSION_OPEN;
    live->counts.sessions++;
    return 0;
}

void kt_session_cap_steps(struct kt_session *s, int steps_cap)
{
    s->wishes.settings_due |= s->wishes.settings.steps_cap != steps_cap;
    s->wishes.settings.steps_cap = steps_cap;
}

int kt_session_fork_frame(const struct kt_session *s, int64_t *frame, struct kt_history *kept)
{
    const int any = kt_session_history(s, kept);
    return any && s->applied >= 0 && kt_session_shown(s, frame) ? 0 : -ENOENT;
}

void kt_session_close(struct kt_session *s)
{
    if (s->phase != KT_SESSION_OPEN) {
        return;
    }
    s->phase = KT_SESSION_CLOSING;
    s->wishes.close_due = 1;
    const struct kt_encode_order order = {.kind = KT_ENCODE_CLOSE, .session = s->index};
    const int rc = kt_encode_worker_order(s->live->worker, &order);
    KT_ASSERT(rc == 0); /* the ring has room for every order a session may have open */
    s->orders++;
}

void kt_session_drop(struct kt_session *s)
{
    kt_reel_drop(&s->reel);
    kt_wishes_drop(&s->wishes);
    free(s->applied_text);
    s->applied_text = NULL;
    for (int i = 0; i < KT_CUTS_NOTED; i++) {
        free(s->cuts[i].text);
        s->cuts[i].text = NULL;
    }
}

static void finish_closing(struct kt_session *s, int64_t now_us)
{
    if (s->phase == KT_SESSION_CLOSING && !s->wishes.lane_open && !s->wishes.close_due &&
        s->orders == 0) {
        kt_session_drop(s);
        s->phase = KT_SESSION_FREE;
        s->live->counts.closed++;
        s->live->counts.stayed_us += (uint64_t)(now_us - s->opened_us);
        kt_log(s->live->log, KT_LOG_INFO, "session %u closed", s->index);
    }
}

/* ---- what the client is told ---- */

int kt_session_paused(const struct kt_session *s)
{
    return s->client_paused || s->hidden || !s->client;
}

static struct kt_stream_status status_now(const struct kt_session *s)
{
    struct kt_stream_status st = {.target_fps = s->live->video.fps, .steps = s->device_steps};
    if (!s->live->ready) {
        st.state = KT_STREAM_WARMING;
    } else if (kt_session_paused(s)) {
        st.state = KT_STREAM_PAUSED;
        st.reason = s->client_paused ? KT_PAUSE_CLIENT : KT_PAUSE_HIDDEN;
    } else if (!s->reel.has_epoch) {
        st.state = KT_STREAM_WAITING;
    } else {
        st.state = KT_STREAM_LIVE;
        st.fps = kt_pacer_fps(&s->pacer);
        st.slow = st.fps < 0.95 * st.target_fps;
        st.fps = round(st.fps * 10) / 10;
    }
    return st;
}

static void send_status(struct kt_session *s, int64_t now_us)
{
    s->told = status_now(s);
    s->told_us = now_us;
    s->told_any = 1;
    kt_client_send(s->client, kt_print_status(&s->told));
}

/* When a change may be told, or INT64_MAX. */
static int64_t service_status(struct kt_session *s, int64_t now_us)
{
    if (!s->client || !s->told_any) {
        return INT64_MAX;
    }
    const struct kt_stream_status st = status_now(s);
    const int same = st.state == s->told.state && st.reason == s->told.reason &&
                     st.steps == s->told.steps && st.slow == s->told.slow &&
                     fabs(st.fps - s->told.fps) <= 0.05 * st.target_fps;
    if (same) {
        return INT64_MAX;
    }
    if (now_us - s->told_us < STATUS_EVERY_US) {
        return s->told_us + STATUS_EVERY_US;
    }
    send_status(s, now_us);
    return INT64_MAX;
}

void kt_session_resync(struct kt_session *s, const char *reason)
{
    kt_client_send(s->client, kt_print_resync(s->text.rev, s->text.bytes, reason));
}

void kt_session_send_received(struct kt_session *s, int committed, int64_t now_us)
{
    struct kt_word_report report;
    kt_word_list_judge(s->live->words, s->text.bytes, s->text.n, &report);
    const int knows_all = kt_word_list_knows_all(s->live->words);
    struct kt_received r = {.rev = s->text.rev,
                            .committed = committed,
                            .words = report.known + report.unknown,
                            .known = knows_all ? -1 : report.known,
                            .unknown_count = report.listed,
                            .server_us = now_us};
    for (int i = 0; i < report.listed; i++) {
        r.unknown[i] = report.words[i];
    }
    if (report.unknown > 0 && report.known == 0) {
        r.note = "The model knows none of these words; what it draws will not follow them.";
    }
    kt_client_send(s->client, kt_print_received(&r));
}

void kt_session_send_settings(struct kt_session *s)
{
    kt_client_send(s->client, kt_print_settings(&s->settings));
}

int kt_session_history(const struct kt_session *s, struct kt_history *out)
{
    struct kt_lane_past past = {-1, -1};
    if (s->wishes.lane_open) {
        kt_lane_get_past(s->live->lane, s->index, &past);
    }
    /* Nobody goes on from a picture that nobody has seen. */
    const int64_t end = past.end < s->reel.wire_next ? past.end : s->reel.wire_next;
    *out = (struct kt_history){.from = past.first, .to = end - 1};
    return s->reel.on_wire && past.first >= 0 && past.first < end;
}

/* Looks every two seconds: it is for people. */
static int64_t service_history(struct kt_session *s, int64_t now_us)
{
    struct kt_history h;
    const int64_t due = s->history_us + KT_HISTORY_MS * INT64_C(1000);
    if (!s->client || !s->reel.on_wire) {
        return INT64_MAX;
    }
    if (now_us < due) {
        return due;
    }
    s->history_us = now_us;
    if (kt_session_history(s, &h) && (h.to != s->history.to || h.from != s->history.from)) {
        s->history = h;
        kt_client_send(s->client, kt_print_history(&h));
    }
    return kt_session_paused(s) ? INT64_MAX : now_us + KT_HISTORY_MS * INT64_C(1000);
}

static void send_welcome(struct kt_session *s, int resumed, int64_t now_us)
{
    const struct kt_live *live = s->live;
    const struct kt_welcome w = {
        .session = s->token,
        .codec = kt_codec_name(s->codec),
        .codec_string = kt_encoder_codec_string(s->codec, live->nvenc),
        .model = live->model->name,
        .text = s->text.bytes,
        .resumed = resumed,
        .ready = live->ready,
        .rev = s->text.rev,
        .committed = s->committed,
        .width = live->video.width,
        .height = live->video.height,
        .fps = live->video.fps,
        .frames_per_latent = live->video.frames_per_latent,
        .block_frames = live->video.frames_per_latent * live->video.block_latents,
        .steps = s->steps,
        .steps_max = live->steps_max,
        .window = live->window,
        .settings = s->settings,
        .seed = s->seed,
        .server_us = now_us,
        .examples = (const char *const *)live->model->vocabulary.examples,
        .vocabulary = live->model->vocabulary.json,
        .features = features,
    };
    kt_client_send(s->client, kt_print_welcome(&w));
}

/* ---- the socket comes and goes ---- */

void kt_session_encoder_params(const struct kt_session *s, struct kt_encoder_params *out)
{
    const struct kt_live *live = s->live;
    *out = (struct kt_encoder_params){.codec = s->codec,
                                      .width = live->video.width,
                                      .height = live->video.height,
                                      .fps = live->video.fps,
                                      .bitrate_kbps = live->config->bitrate_kbps,
                                      .quality = live->config->jpeg_quality,
                                      .nvenc = live->nvenc};
}

void kt_session_order_encoder(struct kt_session *s)
{
    struct kt_encode_order order = {
        .kind = KT_ENCODE_OPEN, .session = s->index, .generation = ++s->generation};
    kt_session_encoder_params(s, &order.params);
    const int rc = kt_encode_worker_order(s->live->worker, &order);
    KT_ASSERT(rc == 0);
    s->orders++;
    s->encoder_failed = 0;
}

void kt_session_attach(struct kt_session *s, struct kt_client *client, int resumed, int64_t now_us)
{
    s->client = client;
    s->codec = client->codec;
    kt_preview_restart(&s->preview, client->preview_codec);
    s->history = (struct kt_history){.from = -1};
    s->history_us = now_us;
    s->want_key = 1;
    s->hidden = 0;
    s->sent_since_attach = 0;
    s->last_report_us = now_us;
    kt_pacer_restart(&s->pacer);
    kt_session_order_encoder(s);
    send_welcome(s, resumed, now_us);
    send_status(s, now_us);
    kt_log(s->live->log, KT_LOG_INFO, "session %u %s: client %u, %s", s->index,
           resumed ? "resumed" : "opened", client->id, kt_codec_name(s->codec));
}

void kt_session_detach(struct kt_session *s, int keep, int64_t now_us)
{
    s->client = NULL;
    s->asleep_us = now_us;
    s->generation++; /* what is at the encoder was for the old socket */
    kt_preview_restart(&s->preview, KT_CODEC_NONE);
    s->told_any = 0;
    if (!keep) {
        kt_session_close(s);
    } else {
        kt_log(s->live->log, KT_LOG_INFO, "session %u asleep", s->index);
    }
}

/* ---- time ---- */

/* Nobody watches when nothing is reported: the device has better things to do. */
static int64_t service_playhead(struct kt_session *s, int64_t now_us)
{
    if (!s->sent_since_attach || kt_session_paused(s)) {
        return INT64_MAX;
    }
    const int64_t deadline = s->last_report_us + KT_PLAYHEAD_MS * INT64_C(1000);
    if (now_us < deadline) {
        return deadline;
    }
    s->hidden = 1;
    kt_log(s->live->log, KT_LOG_INFO, "session %u paused: no playhead report", s->index);
    return INT64_MAX;
}

static int64_t service_sleep(struct kt_session *s, int64_t now_us)
{
    if (s->client || s->phase != KT_SESSION_OPEN) {
        return INT64_MAX;
    }
    const int64_t deadline = s->asleep_us + (int64_t)KT_RESUME_MS * 1000;
    if (now_us < deadline) {
        return deadline;
    }
    kt_session_close(s);
    return INT64_MAX;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t kt_session_service(struct kt_session *s, int64_t now_us)
{
    int64_t next = INT64_MAX;
    if (s->phase == KT_SESSION_FREE) {
        return next;
    }
    next = earlier(next, service_sleep(s, now_us));
    next = earlier(next, service_playhead(s, now_us));
    next = earlier(next, kt_session_service_pictures(s, now_us));
    next = earlier(next, service_status(s, now_us));
    next = earlier(next, service_history(s, now_us));
    s->wishes.paused = kt_session_paused(s);
    s->wishes.hold_restarts = s->answered < s->committed;
    if (kt_wishes_post(&s->wishes, s->live->lane, s->index, s->phase == KT_SESSION_CLOSING,
                       s->live->log) < 0) {
        next = earlier(next, now_us + RETRY_US);
    }
    finish_closing(s, now_us);
    return next;
}
