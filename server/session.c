/* A session's life, and the order in which things happen to it.
 *
 * Prompts: the text changes with every edit; a commit copies it into a wish for the lane (a place
 * of one: the latest wins). Pictures: raw ones arrive from the lane and wait in `raw`, at most one
 * of them is due at a time (pacer), it goes to the encoder with an empty packet, comes back, and
 * waits in the client's outq until the socket takes it. That moment gives it its sequence number,
 * and the lane is told how far the wire has got.
 *
 * A new epoch comes in one of two ways. Flush on arrival: old pictures play on until the first raw
 * picture of the new epoch is here; then the older raw ones, those at the encoder and those not yet
 * written are dropped, and the new one goes out at once. Or it follows: older pictures before its
 * first frame play out, the rest of them is dropped, and the new ones come after. Either way its
 * first one is a key picture, and no picture of an older epoch comes after it on the wire.
 *
 * Pausing: by the client, because nothing was reported for two seconds, or because no socket is
 * attached. Raw pictures stay where they are and the lane stops by itself or by being told. */
#include "server/session.h"

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

static const char *const features[] = {"cut", "scene", "latent", "block", "resume", NULL};

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

int kt_session_open(struct kt_session *s, const struct kt_client_message *hello, int64_t now_us)
{
    struct kt_live *live = s->live;
    const struct kt_serve_config *config = live->config;
    const uint32_t index = s->index, generation = s->generation;
    memset(s, 0, sizeof(*s));
    s->live = live;
    s->index = index;
    s->generation = generation;
    if (kt_auth_random_hex(s->token, KT_RESUME_TOKEN_CHARS / 2) < 0) {
        return -EIO;
    }
    start_text(s, hello->hello.text ? hello->hello.text : config->prompt);
    s->seed = hello->hello.seed.given ? hello->hello.seed.value
              : config->seed.given    ? config->seed.value
                                      : random_seed();
    s->steps = hello->hello.steps >= 0 ? (int)hello->hello.steps : config->steps;
    s->steps = s->steps > live->steps_max ? live->steps_max : s->steps; /* the config's */
    s->device_steps = s->steps;
    s->wishes.settings = (struct kt_session_settings){.steps = s->steps, .drafts = 1, .depth = -1};
    struct kt_wish wish = kt_wish_plain(0);
    wish.fresh = 1;
    wish.seed = s->seed;
    if (kt_text_wish_set(&s->wishes.open, &wish, s->committed == 0 ? s->text.bytes : "") < 0) {
        return -ENOMEM;
    }
    kt_pacer_init(&s->pacer, live->video.fps, KT_LEAD_MS * INT64_C(1000));
    kt_bucket_init(&s->keyframes, KT_KEYFRAMES_PER_S, KT_KEYFRAMES_BURST, now_us);
    s->phase = KT_SESSION_OPEN;
    return 0;
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

static void drop_raw(struct kt_session *s)
{
    while (s->raw_count > 0) {
        kt_frame_unref(&s->raw[s->raw_head]);
        s->raw_head = (s->raw_head + 1) % KT_RAW_MAX;
        s->raw_count--;
    }
}

void kt_session_drop(struct kt_session *s)
{
    drop_raw(s);
    kt_wishes_drop(&s->wishes);
}

static void finish_closing(struct kt_session *s)
{
    if (s->phase == KT_SESSION_CLOSING && !s->wishes.lane_open && !s->wishes.close_due &&
        s->orders == 0) {
        kt_session_drop(s);
        s->phase = KT_SESSION_FREE;
        kt_log(s->live->log, KT_LOG_INFO, "session %u closed", s->index);
    }
}

/* ---- what the client is told ---- */

static int paused(const struct kt_session *s)
{
    return s->client_paused || s->hidden || !s->client;
}

static struct kt_stream_status status_now(const struct kt_session *s)
{
    struct kt_stream_status st = {.target_fps = s->live->video.fps, .steps = s->device_steps};
    if (!s->live->ready) {
        st.state = KT_STREAM_WARMING;
    } else if (paused(s)) {
        st.state = KT_STREAM_PAUSED;
        st.reason = s->client_paused ? KT_PAUSE_CLIENT : KT_PAUSE_HIDDEN;
    } else if (!s->has_epoch) {
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

static void send_received(struct kt_session *s, int committed, int64_t now_us)
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
        .seed = s->seed,
        .server_us = now_us,
        .examples = (const char *const *)live->model->vocabulary.examples,
        .vocabulary = live->model->vocabulary.json,
        .features = features,
    };
    kt_client_send(s->client, kt_print_welcome(&w));
}

/* ---- the socket comes and goes ---- */

static void order_encoder(struct kt_session *s)
{
    const struct kt_live *live = s->live;
    const struct kt_encode_order order = {
        .kind = KT_ENCODE_OPEN,
        .session = s->index,
        .generation = ++s->generation,
        .params = {.codec = s->codec,
                   .width = live->video.width,
                   .height = live->video.height,
                   .fps = live->video.fps,
                   .bitrate_kbps = live->config->bitrate_kbps,
                   .quality = live->config->jpeg_quality,
                   .nvenc = live->nvenc},
    };
    const int rc = kt_encode_worker_order(live->worker, &order);
    KT_ASSERT(rc == 0);
    s->orders++;
    s->encoder_failed = 0;
}

void kt_session_attach(struct kt_session *s, struct kt_client *client, enum kt_media_codec codec,
                       int resumed, int64_t now_us)
{
    s->client = client;
    s->codec = codec;
    s->want_key = 1;
    s->hidden = 0;
    s->sent_since_attach = 0;
    s->last_report_us = now_us;
    kt_pacer_restart(&s->pacer);
    order_encoder(s);
    send_welcome(s, resumed, now_us);
    send_status(s, now_us);
    kt_log(s->live->log, KT_LOG_INFO, "session %u %s: client %u, %s", s->index,
           resumed ? "resumed" : "opened", client->id, kt_codec_name(codec));
}

void kt_session_detach(struct kt_session *s, int keep, int64_t now_us)
{
    s->client = NULL;
    s->asleep_us = now_us;
    s->generation++; /* what is at the encoder was for the old socket */
    s->told_any = 0;
    if (!keep) {
        kt_session_close(s);
    } else {
        kt_log(s->live->log, KT_LOG_INFO, "session %u asleep", s->index);
    }
}

/* ---- messages ---- */

static int handle_edit(struct kt_session *s, const struct kt_client_message *m, int64_t now_us,
                       struct kt_fault *fault)
{
    int rc;
    if (m->edit.text) {
        rc = kt_text_replace(&s->text, (int)m->edit.rev, m->edit.text, strlen(m->edit.text), fault);
    } else {
        const struct kt_splice splice = {(int)m->edit.rev, (int)m->edit.base, m->edit.at,
                                         m->edit.del,      m->edit.ins,       strlen(m->edit.ins)};
        rc = kt_text_splice(&s->text, &splice, fault);
    }
    if (rc == -ESTALE) {
        char reason[96];
        snprintf(reason, sizeof(reason), "base is %lld, the text here is revision %d",
                 (long long)m->edit.base, s->text.rev);
        kt_session_resync(s, reason);
        return 0;
    }
    if (rc == 0) {
        send_received(s, 0, now_us);
    }
    return rc;
}

static int handle_commit(struct kt_session *s, const struct kt_client_message *m, int64_t now_us,
                         struct kt_fault *fault)
{
    static const enum kt_transition transitions[] = {
        [KT_NAME_MODEL] = KT_TRANSITION_MODEL,
        [KT_NAME_CUT] = KT_TRANSITION_CUT,
        [KT_NAME_SCENE] = KT_TRANSITION_SCENE,
    };
    static const enum kt_cut cuts[] = {
        [KT_NAME_NOW] = KT_CUT_NOW,
        [KT_NAME_LATENT] = KT_CUT_LATENT,
        [KT_NAME_BLOCK] = KT_CUT_BLOCK,
    };
    struct kt_wish wish = kt_wish_plain((uint32_t)s->text.rev);
    if (m->commit.rev != s->text.rev) {
        char expected[48], found[32];
        snprintf(expected, sizeof(expected), "the current revision, %d", s->text.rev);
        snprintf(found, sizeof(found), "%lld", (long long)m->commit.rev);
        kt_fault_set(fault, KT_FAULT_WRONG_REV, "commit: another revision than the text's");
        return kt_fault_detail(fault, "rev", expected, found);
    }
    if (kt_text_blank(&s->text)) {
        kt_fault_set(fault, KT_FAULT_EMPTY_PROMPT, "commit: the prompt is empty");
        return kt_fault_detail(fault, "rev", "at least one word", "nothing but blanks");
    }
    wish.transition = transitions[m->commit.transition < 0 ? 0 : m->commit.transition];
    wish.cut = cuts[m->commit.cut < 0 ? 0 : m->commit.cut];
    if (kt_text_wish_set(&s->wishes.prompt, &wish, s->text.bytes) < 0) {
        return kt_fault_set(fault, KT_FAULT_INTERNAL, "out of memory");
    }
    s->committed = s->text.rev;
    send_received(s, 1, now_us);
    kt_log(s->live->log, KT_LOG_DEBUG, "session %u commits revision %d: %s", s->index, s->text.rev,
           s->text.bytes);
    return 0;
}

static int handle_steps(struct kt_session *s, int64_t steps, struct kt_fault *fault)
{
    if (steps > s->live->steps_max) {
        char expected[48], found[32];
        snprintf(expected, sizeof(expected), "0 to %d", s->live->steps_max);
        snprintf(found, sizeof(found), "%lld", (long long)steps);
        kt_fault_set(fault, KT_FAULT_OUT_OF_RANGE, "steps: more than the model has");
        return kt_fault_detail(fault, "steps", expected, found);
    }
    s->steps = (int)steps;
    s->wishes.settings.steps = s->steps;
    s->wishes.settings_due = 1;
    return 0;
}

static int handle_keyframe(struct kt_session *s, int64_t now_us, struct kt_fault *fault)
{
    const int wait_ms = kt_bucket_take(&s->keyframes, now_us);
    if (wait_ms > 0) {
        kt_fault_set(fault, KT_FAULT_RATE_LIMITED, "keyframe: too many requests");
        fault->limit = KT_KEYFRAMES_PER_S;
        fault->retry_ms = wait_ms;
        return -EBADMSG;
    }
    s->want_key = 1;
    return 0;
}

/* Reports arrive in any order of magnitude; what was on the screen stays so. */
static void report_shown(struct kt_session *s, const struct kt_sent *sent)
{
    struct kt_wishes *w = &s->wishes;
    if (s->reported && sent->epoch == w->epoch && sent->frame + 1 > w->shown) {
        w->shown = sent->frame + 1;
        w->report_due = 1;
    }
}

static void handle_playhead(struct kt_session *s, const struct kt_client_message *m, int64_t now_us)
{
    s->last_report_us = now_us;
    if (s->hidden) {
        s->hidden = 0;
        kt_pacer_restart(&s->pacer);
    }
    if (s->next_seq == 0) {
        return;
    }
    uint32_t seq = (uint32_t)m->playhead.seq;
    seq = seq >= s->next_seq ? s->next_seq - 1 : seq;
    const struct kt_sent *sent = &s->sent[seq % KT_SENT_MAX];
    const int64_t rtt = m->playhead.rtt_us > KT_RTT_US_MAX ? KT_RTT_US_MAX : m->playhead.rtt_us;
    if (sent->seq == seq) {
        kt_pacer_report(&s->pacer, now_us, sent->number, sent->pts_us, rtt);
        report_shown(s, sent);
    }
}

static void set_client_paused(struct kt_session *s, int on, int64_t now_us)
{
    if (s->client_paused && !on) {
        kt_pacer_restart(&s->pacer);
        s->last_report_us = now_us;
    }
    s->client_paused = on;
}

static void reset(struct kt_session *s)
{
    struct kt_place_wish *w = &s->wishes.reset;
    *w = (struct kt_place_wish){
        .due = 1, .wish = kt_wish_plain(s->committed < 0 ? 0 : (uint32_t)s->committed)};
    w->wish.cut = KT_CUT_NOW;
    w->wish.fresh = 1;
    w->wish.seed = s->seed;
}

int kt_session_message(struct kt_session *s, const struct kt_client_message *m, int64_t now_us,
                       struct kt_fault *fault)
{
    switch (m->kind) {
    case KT_CLIENT_EDIT: return handle_edit(s, m, now_us, fault);
    case KT_CLIENT_COMMIT: return handle_commit(s, m, now_us, fault);
    case KT_CLIENT_PAUSE: set_client_paused(s, 1, now_us); return 0;
    case KT_CLIENT_RESUME: set_client_paused(s, 0, now_us); return 0;
    case KT_CLIENT_RESET:
        s->seed = m->reset.seed.given ? m->reset.seed.value : s->seed;
        reset(s);
        return 0;
    case KT_CLIENT_STEPS: return handle_steps(s, m->steps.steps, fault);
    case KT_CLIENT_KEYFRAME: return handle_keyframe(s, now_us, fault);
    case KT_CLIENT_PLAYHEAD: handle_playhead(s, m, now_us); return 0;
    default: return 0;
    }
}

/* ---- pictures ---- */

static struct kt_frame *raw_at(struct kt_session *s, int i)
{
    return s->raw[(s->raw_head + i) % KT_RAW_MAX];
}

/* The newest ones that will not be shown after all: of epochs before `epoch`, from `frame` on. */
static void trim_raw(struct kt_session *s, uint32_t epoch, int64_t frame)
{
    while (s->raw_count > 0) {
        struct kt_frame *f = raw_at(s, s->raw_count - 1);
        if (f->epoch >= epoch || f->frame < frame) {
            return;
        }
        kt_frame_unref(&f);
        s->raw_count--;
    }
}

static void flush_pictures(struct kt_session *s, uint32_t epoch)
{
    drop_raw(s);
    if (s->client) {
        kt_outq_flush(&s->client->outq, epoch);
    }
    s->flushed_before = epoch;
    s->flush = s->on_wire;
}

/* The new pictures follow the old ones, and those at the encoder or behind it cannot be taken back:
 * the lane did not know of them, so what it made for their place is left out. */
static void follow_pictures(struct kt_session *s, const struct kt_frame *first)
{
    trim_raw(s, first->epoch, first->frame);
    const int few = 2 * s->live->video.frames_per_latent;
    const int overlap = s->on_wire && s->wire_next > first->frame;
    s->skip_before = overlap && s->wire_next - first->frame <= few ? s->wire_next : 0;
}

static void begin_epoch(struct kt_session *s, const struct kt_frame *first)
{
    s->skip_before = 0;
    if (first->flush || !s->has_epoch) {
        flush_pictures(s, first->epoch);
    } else {
        follow_pictures(s, first);
    }
    s->has_epoch = 1;
    s->epoch = first->epoch;
}

static int is_void(const struct kt_session *s, const struct kt_frame *f)
{
    return s->phase != KT_SESSION_OPEN || (s->has_epoch && f->epoch < s->epoch) ||
           (f->epoch < s->gone.epoch && f->frame >= s->gone.frame);
}

static void take_frame(struct kt_session *s, struct kt_frame *frame)
{
    if (frame->preview || is_void(s, frame)) {
        kt_frame_unref(&frame);
        return;
    }
    if (!s->has_epoch || frame->epoch > s->epoch) {
        begin_epoch(s, frame);
    }
    if (frame->frame < s->skip_before) {
        kt_frame_unref(&frame);
        return;
    }
    if (s->raw_count == KT_RAW_MAX) {
        /* The lane keeps to the decode lead, so this is its fault; the newest goes, order stays. */
        if (s->raw_overflows++ == 0) {
            kt_log(s->live->log, KT_LOG_WARN, "session %u: %d raw pictures wait, dropping",
                   s->index, KT_RAW_MAX);
        }
        kt_frame_unref(&frame);
        return;
    }
    s->device_steps = frame->steps;
    s->raw[(s->raw_head + s->raw_count++) % KT_RAW_MAX] = frame;
}

static void take_applied(struct kt_session *s, const struct kt_event *e, int64_t now_us)
{
    kt_log(s->live->log, KT_LOG_INFO, "session %u: revision %u applied at epoch %u frame %lld",
           s->index, e->revision, e->epoch, (long long)e->frame_index);
    s->gone = (struct kt_void){e->epoch, e->frame_index};
    trim_raw(s, e->epoch, e->frame_index);
    if (s->client) {
        kt_client_send(s->client, kt_print_applied(&(struct kt_applied){(int)e->revision, e->epoch,
                                                                        e->frame_index, now_us}));
    }
}

static void take_failure(struct kt_session *s, const struct kt_event *e)
{
    kt_log(s->live->log, KT_LOG_WARN, "session %u: revision %u failed: %s", s->index, e->revision,
           e->error.text);
    if (s->client) {
        kt_client_send(s->client, kt_print_failed((int)e->revision, "model_failed", e->error.text));
    }
}

void kt_session_event(struct kt_session *s, struct kt_event *e, int64_t now_us)
{
    switch (e->kind) {
    case KT_EVENT_FRAME: take_frame(s, e->frame); break;
    case KT_EVENT_APPLIED: take_applied(s, e, now_us); break;
    case KT_EVENT_FAILED: take_failure(s, e); break;
    case KT_EVENT_PACE:
        kt_pacer_sustained(&s->pacer, e->fps);
        s->device_steps = e->steps;
        break;
    case KT_EVENT_CLOSED: s->wishes.lane_open = 0; break;
    case KT_EVENT_READY:
    case KT_EVENT_DRAFTED: break;
    }
}

static void fill_header(struct kt_media_header *h, const struct kt_session *s,
                        const struct kt_frame *f, const struct kt_slot *pace, int first, int flush)
{
    const struct kt_frame_timings *ms = &f->ms;
    const double timings[] = {ms->queue,   ms->text,   ms->recache,
                              ms->denoise, ms->decode, ms->convert};
    *h = (struct kt_media_header){
        .codec = (uint8_t)s->codec,
        .steps = (uint8_t)f->steps,
        .flags = (uint16_t)((first ? KT_MEDIA_FIRST : 0) | (flush ? KT_MEDIA_FLUSH : 0) |
                            (pace->late ? KT_MEDIA_LATE : 0)),
        .epoch = f->epoch,
        .revision = f->revision,
        .frame = (uint64_t)f->frame,
        .pts_us = (uint64_t)pace->pts_us,
        .width = (uint16_t)f->width,
        .height = (uint16_t)f->height,
    };
    for (int i = 0; i <= KT_TIMING_CONVERT; i++) {
        h->timings[i] = kt_media_timing(timings[i]);
    }
}

static struct kt_frame *pop_raw(struct kt_session *s)
{
    struct kt_frame *f = s->raw[s->raw_head];
    s->raw[s->raw_head] = NULL;
    s->raw_head = (s->raw_head + 1) % KT_RAW_MAX;
    s->raw_count--;
    return f;
}

static void submit(struct kt_session *s, struct kt_packet *packet, int64_t now_us)
{
    struct kt_frame *frame = pop_raw(s);
    const int flush = s->flush, first = !s->on_wire || frame->epoch != s->wire_epoch;
    const struct kt_slot pace = kt_pacer_take(&s->pacer, now_us, flush, s->raw_count);
    fill_header(&packet->header, s, frame, &pace, first, flush);
    packet->number = pace.number;
    const struct kt_encode_order order = {
        .kind = KT_ENCODE_PICTURE,
        .session = s->index,
        .generation = s->generation,
        .frame = frame,
        .packet = packet,
        .pts_us = pace.pts_us,
        .duration_us = pace.duration_us,
        .want_key = s->want_key || first,
    };
    s->wire_epoch = frame->epoch;
    s->wire_next = frame->frame + 1;
    s->on_wire = 1;
    const int rc = kt_encode_worker_order(s->live->worker, &order);
    KT_ASSERT(rc == 0);
    s->orders++;
    s->pictures_in_flight++;
    s->want_key = 0;
    s->flush = 0;
}

static int may_submit(const struct kt_session *s)
{
    return s->phase == KT_SESSION_OPEN && s->live->ready && !paused(s) && !s->encoder_failed &&
           s->client->state == KT_CLIENT_BOUND && s->pictures_in_flight < KT_IN_FLIGHT_MAX &&
           kt_outq_room(&s->client->outq);
}

static int64_t service_dry(struct kt_session *s, int64_t now_us)
{
    const int64_t dry = kt_pacer_dry_us(&s->pacer);
    if (now_us < dry) {
        return dry;
    }
    kt_pacer_starved(&s->pacer);
    return INT64_MAX;
}

/* Sends what is due to the encoder; returns when the next one is. */
static int64_t service_pictures(struct kt_session *s, int64_t now_us)
{
    while (may_submit(s)) {
        const int64_t due = s->flush ? now_us : kt_pacer_due_us(&s->pacer);
        if (due > now_us) {
            return due;
        }
        if (s->raw_count == 0) {
            return service_dry(s, now_us);
        }
        struct kt_packet *packet = kt_packet_take(s->live->pool);
        if (!packet) {
            return now_us + RETRY_US;
        }
        submit(s, packet, now_us);
    }
    return INT64_MAX;
}

/* The GPU's encoder worked when the server started, but has no session left, or has gone: what the
 * client wants next is made on the CPU. */
static int replace_encoder(struct kt_session *s, const struct kt_encode_order *answer)
{
    if (s->codec != KT_CODEC_H264 || s->client->codec_else == KT_CODEC_NONE) {
        return 0;
    }
    s->codec = s->client->codec_else;
    s->want_key = 1;
    kt_log(s->live->log, KT_LOG_WARN, "session %u: %s instead of h264: %s", s->index,
           kt_codec_name(s->codec), answer->error.text);
    order_encoder(s);
    return 1;
}

static void take_open_answer(struct kt_session *s, const struct kt_encode_order *answer)
{
    struct kt_fault fault;
    if (answer->rc < 0 && answer->generation == s->generation && s->client &&
        !replace_encoder(s, answer)) {
        s->encoder_failed = 1;
        kt_log(s->live->log, KT_LOG_ERROR, "session %u: %s", s->index, answer->error.text);
        kt_fault_set(&fault, KT_FAULT_INTERNAL, "the video encoder cannot be opened");
        kt_client_fault(s->client, &fault);
    }
}

static int stale(const struct kt_session *s, const struct kt_encode_order *answer)
{
    return !s->client || answer->generation != s->generation || s->phase != KT_SESSION_OPEN ||
           answer->packet->header.epoch < s->flushed_before;
}

static void take_picture_answer(struct kt_session *s, struct kt_encode_order *answer,
                                int64_t now_us)
{
    struct kt_packet *p = answer->packet;
    s->pictures_in_flight--;
    if (answer->rc < 0) {
        kt_log(s->live->log, KT_LOG_WARN, "session %u: %s", s->index, answer->error.text);
    }
    if (answer->rc < 0 || stale(s, answer)) {
        kt_packet_release(&p);
        return;
    }
    p->header.flags |= answer->key ? KT_MEDIA_KEY : 0;
    p->header.timings[KT_TIMING_ENCODE] = kt_media_timing(answer->encode_ms);
    p->header.payload_bytes = (uint32_t)answer->rc;
    p->n = KT_MEDIA_HEADER_BYTES + (size_t)answer->rc;
    kt_media_pack(p->data, &p->header);
    kt_client_send_picture(s->client, p, now_us);
}

void kt_session_encoded(struct kt_session *s, struct kt_encode_order *answer, int64_t now_us)
{
    s->orders--;
    if (answer->kind == KT_ENCODE_OPEN) {
        take_open_answer(s, answer);
    } else if (answer->kind == KT_ENCODE_PICTURE) {
        take_picture_answer(s, answer, now_us);
    }
}

static void report_sent(struct kt_session *s, uint32_t epoch, int64_t frame)
{
    struct kt_wishes *w = &s->wishes;
    w->shown = w->epoch == epoch && s->reported ? w->shown : frame;
    w->epoch = epoch;
    w->sent = frame + 1;
    w->report_due = 1;
    s->reported = 1;
}

void kt_session_stamp(struct kt_session *s, struct kt_packet *packet, int64_t now_us)
{
    const struct kt_media_header *h = &packet->header;
    const uint32_t seq = s->next_seq++;
    kt_media_stamp(packet->data, seq, (uint64_t)now_us,
                   kt_media_timing((double)(now_us - packet->queued_us) * 1e-3));
    s->sent[seq % KT_SENT_MAX] =
        (struct kt_sent){seq, h->epoch, packet->number, (int64_t)h->pts_us, (int64_t)h->frame};
    report_sent(s, h->epoch, (int64_t)h->frame);
    if (!s->sent_since_attach) {
        s->sent_since_attach = 1;
        s->last_report_us = now_us;
    }
}

/* ---- time ---- */

/* Nobody watches when nothing is reported: the device has better things to do. */
static int64_t service_playhead(struct kt_session *s, int64_t now_us)
{
    if (!s->sent_since_attach || paused(s)) {
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
    next = earlier(next, service_pictures(s, now_us));
    next = earlier(next, service_status(s, now_us));
    s->wishes.paused = paused(s);
    if (kt_wishes_post(&s->wishes, s->live->lane, s->index, s->phase == KT_SESSION_CLOSING,
                       s->live->log) < 0) {
        next = earlier(next, now_us + RETRY_US);
    }
    finish_closing(s);
    return next;
}
