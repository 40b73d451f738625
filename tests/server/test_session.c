/* A session between a lane, an encoder and a socket that all do exactly what the test says: the
 * orders of events that a fast machine hardly ever shows. */
#include "engine/base/clock.h"
#include "server/client.h"
#include "server/session.h"
#include "tests/proto/test.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POSTS_MAX = 256, ORDERS_MAX = 64, FRAMES_MAX = 512, STEP_US = 40000 };

static struct kt_serve_config config;
static struct kt_model_config model = {.name = "test"};
static struct kt_log quiet = {KT_LOG_ERROR};
static struct kt_live live;
static struct kt_session session;
static struct kt_client client;
static int64_t now_us;

/* ---- the lane, the worker and the loop ---- */

static struct kt_command posts[POSTS_MAX];
static int post_count, lane_full;

int kt_lane_post(struct kt_lane *lane, const struct kt_command *cmd)
{
    if (lane_full) {
        return -EAGAIN;
    }
    assert_true(post_count < POSTS_MAX);
    posts[post_count++] = *cmd;
    return 0;
}

static struct kt_lane_past past;

void kt_lane_get_past(struct kt_lane *lane, uint32_t session, struct kt_lane_past *out)
{
    *out = past;
}

static struct kt_frame frames[FRAMES_MAX];
static int frame_count, released;

void kt_frame_unref(struct kt_frame **f)
{
    released += f && *f;
    if (f) {
        *f = NULL;
    }
}

static struct kt_encode_order orders[ORDERS_MAX];
static int ordered, answered;

int kt_encode_worker_order(struct kt_encode_worker *w, const struct kt_encode_order *order)
{
    assert_true(ordered < ORDERS_MAX);
    orders[ordered++] = *order;
    return 0;
}

double kt_stage_bound_ms(int bucket)
{
    return bucket == KT_HISTOGRAM - 1 ? INFINITY : bucket;
}

const char *kt_encoder_codec_string(enum kt_media_codec codec, const struct kt_nvenc *nvenc)
{
    return "vp8";
}

static int close_code;

void kt_conn_want_write(struct kt_conn *c)
{
}

void kt_conn_close(struct kt_conn *c, int code, const char *reason)
{
    close_code = code;
}

/* ---- what the tests do ---- */

static void answer(int rc)
{
    assert_true(answered < ordered);
    struct kt_encode_order *o = &orders[answered++];
    o->rc = rc;
    o->key = o->want_key;
    kt_frame_unref(&o->frame);
    kt_session_encoded(&session, o, now_us);
}

static int64_t pass(int64_t us)
{
    now_us += us;
    return kt_session_service(&session, now_us);
}

enum { PLAIN, FIRST, FLUSHING };

static void make(uint32_t epoch, int64_t frame, int how)
{
    struct kt_frame *f = &frames[frame_count++];
    *f = (struct kt_frame){.width = 192,
                           .height = 112,
                           .epoch = epoch,
                           .revision = epoch,
                           .frame = frame,
                           .first_of_epoch = how != PLAIN,
                           .flush = how == FLUSHING,
                           .steps = 4};
    struct kt_event e = {.kind = KT_EVENT_FRAME, .frame = f};
    kt_session_event(&session, &e, now_us);
}

/* What the socket takes next; texts are skipped. */
static struct kt_media_header written(void)
{
    struct kt_packet *p;
    while ((p = kt_outq_pop(&client.outq)) && !p->pool) {
        kt_packet_release(&p);
    }
    assert_non_null(p);
    kt_session_stamp(&session, p, now_us);
    struct kt_media_header h;
    assert_int_equal(kt_media_unpack(&h, p->data, p->n, NULL), 0);
    kt_packet_release(&p);
    return h;
}

static void message(const char *text)
{
    struct kt_client_message m;
    assert_int_equal(kt_client_message_parse(&m, text, strlen(text), NULL), 0);
    kt_client_handle(&client, &m, now_us);
    kt_client_message_free(&m);
}

static int setup(void **state)
{
    const struct kt_client_message hello = {.kind = KT_CLIENT_HELLO, .hello = {.steps = -1}};
    past = (struct kt_lane_past){-1, -1};
    post_count = lane_full = frame_count = released = ordered = answered = close_code = 0;
    now_us = kt_now_ns() / 1000;
    strcpy(config.prompt, "a red circle");
    live = (struct kt_live){
        .config = &config,
        .model = &model,
        .log = &quiet,
        .steps_max = 4,
        .ready = 1,
        .window = 12,
        .settings = kt_settings_default(),
        .video = {
            .width = 192, .height = 112, .fps = 16, .frames_per_latent = 4, .block_latents = 3}};
    assert_int_equal(kt_packet_pool_create(&live.pool, 26, 4096), 0);
    assert_int_equal(kt_word_list_open(&live.words, NULL, NULL), 0);
    memset(&session, 0, sizeof(session));
    memset(&client, 0, sizeof(client));
    session.live = &live;
    kt_client_init(&client, NULL, now_us);
    client.log = &quiet;
    const struct kt_session_start start = {0};
    assert_int_equal(kt_session_open(&session, &hello, &start, now_us), 0);
    client.session = &session;
    client.state = KT_CLIENT_BOUND;
    client.codec = client.preview_codec = KT_CODEC_VP8;
    kt_session_attach(&session, &client, 0, now_us);
    answer(0);
    return 0;
}

static int teardown(void **state)
{
    kt_client_finish(&client);
    while (answered < ordered) {
        answer(-EIO);
    }
    kt_session_drop(&session);
    for (int i = 0; i < post_count; i++) {
        free(posts[i].text);
    }
    assert_int_equal(released, frame_count); /* every picture was let go */
    kt_packet_pool_destroy(&live.pool);      /* and every packet came back */
    kt_word_list_close(&live.words);
    return 0;
}

static const struct kt_command *last_post(enum kt_command_kind kind)
{
    for (int i = post_count - 1; i >= 0; i--) {
        if (posts[i].kind == kind) {
            return &posts[i];
        }
    }
    return NULL;
}

/* ---- tests ---- */

/* Old pictures raw, at the encoder and in the queue when the first one of the new epoch is here. */
static void flush_reaches_every_queue(void **state)
{
    for (int i = 0; i < 6; i++) {
        make(1, i, i == 0);
    }
    pass(0);
    answer(100); /* picture 0: queued, and written */
    assert_int_equal(written().frame, 0);
    pass(STEP_US);
    answer(100);   /* picture 1: queued, not written */
    pass(STEP_US); /* picture 2: at the encoder */
    assert_int_equal(ordered - answered, 1);
    make(2, 4, FLUSHING);
    assert_int_equal(client.outq.picture_count, 0);
    pass(0);
    assert_int_equal(ordered - answered, 2);
    answer(100); /* picture 2 comes back and is stale */
    assert_int_equal(client.outq.picture_count, 0);
    answer(100);
    const struct kt_media_header h = written();
    assert_int_equal(h.epoch, 2);
    assert_int_equal(h.frame, 4);
    assert_int_equal(h.seq, 1); /* without a gap */
    assert_int_equal(h.flags, KT_MEDIA_KEY | KT_MEDIA_FIRST | KT_MEDIA_FLUSH);
    make(1, 99, 0); /* a straggler of the lane */
    assert_int_equal(session.reel.count, 0);
}

static void applied(uint32_t epoch, int64_t frame)
{
    struct kt_event e = {
        .kind = KT_EVENT_APPLIED, .revision = epoch, .epoch = epoch, .frame_index = frame};
    kt_session_event(&session, &e, now_us);
}

static void write_one(uint32_t epoch, int64_t frame, int flags)
{
    pass(STEP_US);
    answer(100);
    const struct kt_media_header h = written();
    assert_int_equal(h.epoch, epoch);
    assert_int_equal(h.frame, frame);
    assert_int_equal(h.flags & (KT_MEDIA_FIRST | KT_MEDIA_FLUSH), flags);
    assert_int_equal(h.flags & KT_MEDIA_KEY ? 1 : 0, flags ? 1 : 0);
}

/* Old pictures before the cut play out, those behind it never do. */
static void new_epoch_follows_in_order(void **state)
{
    for (int i = 0; i < 8; i++) {
        make(1, i, i == 0);
    }
    write_one(1, 0, KT_MEDIA_FIRST);
    applied(2, 4);
    assert_int_equal(session.reel.count, 3); /* 1, 2, 3 */
    make(1, 8, PLAIN);                       /* a straggler, void */
    make(2, 4, FIRST);
    make(2, 5, PLAIN);
    write_one(1, 1, 0);
    write_one(1, 2, 0);
    write_one(1, 3, 0);
    write_one(2, 4, KT_MEDIA_FIRST);
    write_one(2, 5, 0);
}

/* The cut lies before what was sent meanwhile: those places are not shown twice. */
static void what_was_sent_is_not_repeated(void **state)
{
    for (int i = 0; i < 8; i++) {
        make(1, i, i == 0);
    }
    write_one(1, 0, KT_MEDIA_FIRST);
    write_one(1, 1, 0);
    write_one(1, 2, 0);
    pass(STEP_US); /* 3 is at the encoder */
    applied(2, 2);
    for (int i = 2; i < 6; i++) {
        make(2, i, i == 2);
    }
    answer(100);
    assert_int_equal(written().frame, 3);
    write_one(2, 4, KT_MEDIA_FIRST);
    write_one(2, 5, 0);
}

/* All that the lane makes ahead may lie before what was sent: it must not wait for that. */
static void skipped_places_count_as_sent(void **state)
{
    for (int i = 0; i < 4; i++) {
        make(1, i, i == 0);
    }
    for (int i = 0; i < 4; i++) {
        write_one(1, i, i ? 0 : KT_MEDIA_FIRST);
    }
    applied(2, 0);
    for (int i = 0; i < 4; i++) {
        make(2, i, i == 0);
    }
    assert_int_equal(session.reel.count, 0);
    pass(0);
    assert_int_equal(last_post(KT_COMMAND_REPORT)->epoch, 2);
    assert_int_equal(last_post(KT_COMMAND_REPORT)->sent, 4);
    make(2, 4, PLAIN);
    write_one(2, 4, KT_MEDIA_FIRST);
}

static void flush_does_not_wait_for_the_pace(void **state)
{
    make(1, 0, 1);
    pass(0);
    answer(100);
    written();
    make(2, 4, FLUSHING);
    pass(1); /* a microsecond after the last one */
    assert_int_equal(ordered - answered, 1);
    answer(100);
    assert_int_equal(written().epoch, 2);
}

static void full_lane_keeps_the_latest(void **state)
{
    pass(0); /* OPEN */
    lane_full = 1;
    const int before = post_count;
    message("{\"type\":\"edit\",\"rev\":1,\"text\":\"one\"}");
    message("{\"type\":\"commit\",\"rev\":1}");
    message("{\"type\":\"edit\",\"rev\":2,\"text\":\"two\"}");
    message("{\"type\":\"commit\",\"rev\":2,\"transition\":\"scene\",\"cut\":\"block\"}");
    message("{\"type\":\"reset\",\"seed\":\"7\"}");
    message("{\"type\":\"steps\",\"steps\":2}");
    const int64_t again = pass(0);
    assert_true(again > now_us && again <= now_us + 10000);
    assert_int_equal(post_count, before);
    lane_full = 0;
    pass(again - now_us);
    assert_int_equal(post_count, before + 2);
    assert_null(last_post(KT_COMMAND_RESET)); /* it would overtake the commit */
    applied(2, 0);
    pass(0);
    assert_int_equal(post_count, before + 3);
    const struct kt_command *prompt = last_post(KT_COMMAND_PROMPT);
    assert_string_equal(prompt->text, "two");
    assert_int_equal(prompt->wish.revision, 2);
    assert_int_equal(prompt->wish.transition, KT_TRANSITION_SCENE);
    assert_int_equal(prompt->wish.cut, KT_CUT_BLOCK);
    assert_int_equal(last_post(KT_COMMAND_RESET)->wish.seed, 7);
    assert_int_equal(last_post(KT_COMMAND_SETTINGS)->settings.steps, 2);
}

static void lane_hears_what_was_written(void **state)
{
    make(1, 5, 1);
    pass(0);
    answer(100);
    pass(0);
    assert_null(last_post(KT_COMMAND_REPORT)); /* encoded is not written */
    written();
    pass(0);
    const struct kt_command *report = last_post(KT_COMMAND_REPORT);
    assert_int_equal(report->epoch, 1);
    assert_int_equal(report->sent, 6);
    assert_int_equal(report->shown, 5);
    message("{\"type\":\"playhead\",\"seq\":0}");
    pass(0);
    assert_int_equal(last_post(KT_COMMAND_REPORT)->shown, 6);
}

/* One more than there is room for is lost, and the lane is not kept waiting for it. */
static void too_many_raw_pictures(void **state)
{
    for (int i = 0; i < KT_RAW_MAX + 3; i++) {
        make(1, i, i == 0);
    }
    assert_int_equal(session.reel.count, KT_RAW_MAX);
    assert_int_equal(released, 3);
    pass(0);
    assert_int_equal(last_post(KT_COMMAND_REPORT)->sent, KT_RAW_MAX + 3);
}

static void unread_pictures_stop_the_encoder(void **state)
{
    for (int i = 0; i < 20; i++) {
        make(1, i, i == 0);
    }
    for (int i = 0; i < 50; i++) {
        session.last_report_us = now_us; /* it reports, but its socket takes nothing */
        pass(STEP_US);
        while (answered < ordered) {
            answer(100);
        }
    }
    assert_int_equal(client.outq.picture_count, KT_OUTQ_PICTURES_SOFT);
    assert_int_equal(session.reel.count, 20 - KT_OUTQ_PICTURES_SOFT);
}

static void unread_client_is_closed(void **state)
{
    kt_outq_clear(&client.outq);
    assert_int_equal(kt_client_service(&client, now_us + 60000000), INT64_MAX);
    message("{\"type\":\"edit\",\"rev\":1,\"text\":\"one\"}"); /* a receipt waits from now on */
    const int64_t deadline = kt_client_service(&client, now_us);
    assert_in_range(deadline - now_us, KT_UNREAD_MS * 1000, KT_UNREAD_MS * 1000 + 60000000);
    kt_client_service(&client, deadline - 1);
    assert_int_equal(close_code, 0);
    kt_client_service(&client, deadline);
    assert_int_equal(close_code, 4002);
}

static void failed_encode_is_skipped(void **state)
{
    make(1, 0, 1);
    make(1, 1, 0);
    pass(0);
    answer(-EIO);
    assert_int_equal(client.outq.picture_count, 0);
    pass(STEP_US);
    answer(100);
    const struct kt_media_header h = written();
    assert_int_equal(h.frame, 1);
    assert_int_equal(h.seq, 0);
}

static void hidden_then_shown(void **state)
{
    make(1, 0, 1);
    pass(0);
    answer(100);
    written();
    make(1, 1, 0);
    pass(KT_PLAYHEAD_MS * 1000);
    assert_int_equal(session.hidden, 1);
    assert_non_null(last_post(KT_COMMAND_PAUSE));
    assert_null(last_post(KT_COMMAND_RESUME));
    const int before = ordered;
    pass(1000000);
    assert_int_equal(ordered, before);
    message("{\"type\":\"playhead\",\"seq\":0}");
    pass(0);
    assert_non_null(last_post(KT_COMMAND_RESUME));
    assert_int_equal(ordered, before + 1);
    answer(100);
    assert_int_equal(written().flags & KT_MEDIA_LATE, KT_MEDIA_LATE);
}

static void sleep_ends(int lane_first)
{
    make(1, 0, 1);
    pass(0);
    kt_session_detach(&session, 1, now_us);
    answer(100); /* what the old socket was to get */
    pass((int64_t)KT_RESUME_MS * 1000 - 1);
    assert_int_equal(session.phase, KT_SESSION_OPEN);
    pass(1);
    assert_int_equal(session.phase, KT_SESSION_CLOSING);
    assert_non_null(last_post(KT_COMMAND_CLOSE));
    struct kt_event closed = {.kind = KT_EVENT_CLOSED};
    if (lane_first) {
        kt_session_event(&session, &closed, now_us);
    } else {
        answer(0);
    }
    pass(0);
    assert_int_equal(session.phase, KT_SESSION_CLOSING); /* the other one still has it */
    if (lane_first) {
        answer(0);
    } else {
        kt_session_event(&session, &closed, now_us);
    }
    pass(0);
    assert_int_equal(session.phase, KT_SESSION_FREE);
    assert_int_equal(answered, ordered);
}

static void place_is_free_after_the_lane(void **state)
{
    sleep_ends(0);
}

static void place_is_free_after_the_encoder(void **state)
{
    sleep_ends(1);
}

/* ---- changes ---- */

static void text_of_last(const char *type, char *out, size_t cap)
{
    struct kt_packet *p;
    char wanted[64];
    snprintf(wanted, sizeof(wanted), "\"type\":\"%s\"", type);
    out[0] = '\0';
    for (p = client.outq.texts; p; p = p->next) {
        char text[4096];
        snprintf(text, sizeof(text), "%.*s", (int)p->n, (const char *)p->data);
        if (strstr(text, wanted)) {
            snprintf(out, cap, "%s", text);
        }
    }
}

static void assert_last_says(const char *type, const char *what)
{
    char text[4096];
    text_of_last(type, text, sizeof(text));
    if (!strstr(text, what)) {
        print_error("%s: %s\n", what, text);
        fail();
    }
}

/* What is typed is drafted as the settings say, and committed alike. */
static void typing_is_drafted(void **state)
{
    pass(0);
    message("{\"type\":\"set\",\"cut\":\"latent\",\"transition\":\"blend\",\"recache\":6}");
    assert_last_says("settings", "\"cut\":\"latent\"");
    message("{\"type\":\"edit\",\"rev\":1,\"text\":\"one\"}");
    message("{\"type\":\"edit\",\"rev\":2,\"text\":\"two\"}");
    const int before = post_count;
    pass(0);
    assert_int_equal(post_count, before + 2); /* SETTINGS and one DRAFT */
    const struct kt_command *draft = last_post(KT_COMMAND_DRAFT);
    assert_string_equal(draft->text, "two");
    assert_int_equal(draft->wish.revision, 2);
    assert_int_equal(draft->wish.cut, KT_CUT_LATENT);
    assert_int_equal(draft->wish.blend, 2);
    assert_int_equal(draft->wish.recache, 6);
    assert_int_equal(draft->wish.at, -1);
    assert_int_equal(draft->wish.from, -1);
    message("{\"type\":\"commit\",\"rev\":2}");
    pass(0);
    struct kt_wish a = draft->wish, b = last_post(KT_COMMAND_PROMPT)->wish;
    assert_memory_equal(&a, &b, sizeof(a));
    message("{\"type\":\"edit\",\"rev\":3,\"text\":\" \"}");
    pass(0);
    assert_string_equal(last_post(KT_COMMAND_DRAFT)->text, "");
    message("{\"type\":\"edit\",\"rev\":4,\"text\":\"four\"}");
    message("{\"type\":\"set\",\"draft\":false,\"depth\":3,\"preview\":false}");
    pass(0);
    assert_string_equal(last_post(KT_COMMAND_DRAFT)->text, ""); /* forgotten */
    assert_int_equal(last_post(KT_COMMAND_SETTINGS)->settings.drafts, 0);
    assert_int_equal(last_post(KT_COMMAND_SETTINGS)->settings.depth, 3);
    assert_int_equal(last_post(KT_COMMAND_SETTINGS)->settings.preview, 0);
}

static void a_commit_may_differ_from_the_settings(void **state)
{
    message("{\"type\":\"edit\",\"rev\":1,\"text\":\"one\"}");
    message("{\"type\":\"commit\",\"rev\":1,\"cut\":\"block\",\"recache\":\"checkpoint\"}");
    pass(0);
    const struct kt_wish *w = &last_post(KT_COMMAND_PROMPT)->wish;
    assert_int_equal(w->cut, KT_CUT_BLOCK);
    assert_int_equal(w->recache, KT_RECACHE_CHECKPOINT);
    assert_int_equal(w->transition, KT_TRANSITION_MODEL);
    assert_null(last_post(KT_COMMAND_DRAFT)); /* overtaken by its own commit */
    message("{\"type\":\"edit\",\"rev\":2,\"text\":\"two\"}");
    message("{\"type\":\"commit\",\"rev\":2,\"recache\":13}");
    assert_last_says("error", "\"field\":\"recache\"");
    assert_last_says("error", "1 to 12");
    pass(0);
    assert_int_equal(last_post(KT_COMMAND_PROMPT)->wish.revision, 1);
}

static void prompt_applied(uint32_t revision, uint32_t epoch, int64_t frame, int flush)
{
    struct kt_event e = {.kind = KT_EVENT_APPLIED,
                         .revision = revision,
                         .epoch = epoch,
                         .frame_index = frame,
                         .hit = 2,
                         .flush = flush};
    kt_session_event(&session, &e, now_us);
}

static void only_a_cut_now_fades(void **state)
{
    prompt_applied(0, 1, 0, 0);
    assert_last_says("applied", "\"flush\":false");
    make(1, 0, FIRST);
    write_one(1, 0, KT_MEDIA_FIRST);
    message("{\"type\":\"edit\",\"rev\":1,\"text\":\"one\"}");
    message("{\"type\":\"commit\",\"rev\":1}");
    prompt_applied(1, 2, 1, 1);
    assert_last_says("applied", "\"hit\":\"ready\",\"cut\":\"now\",\"flush\":true");
    make(2, 1, FLUSHING);
    pass(0);
    answer(100);
    assert_int_equal(written().fade, 3);
    message("{\"type\":\"reset\"}");
    prompt_applied(1, 3, 0, 1);
    make(3, 0, FLUSHING);
    pass(0);
    answer(100);
    const struct kt_media_header h = written();
    assert_true(h.flags & KT_MEDIA_FLUSH);
    assert_int_equal(h.fade, 0);
    message("{\"type\":\"edit\",\"rev\":2,\"text\":\"two\"}");
    message("{\"type\":\"commit\",\"rev\":2,\"cut\":\"block\"}");
    prompt_applied(2, 4, 12, 0);
    assert_last_says("applied", "\"cut\":\"block\",\"flush\":false");
}

/* What another session would begin with that goes on with this one's stream. */
static void assert_fork_says(const char *text)
{
    const struct kt_client_message hello = {.kind = KT_CLIENT_HELLO, .hello = {.steps = -1}};
    const struct kt_session_start start = {.from = &session};
    static struct kt_session other;
    other = (struct kt_session){.live = &live, .index = 1};
    assert_int_equal(kt_session_open(&other, &hello, &start, now_us), 0);
    assert_string_equal(other.text.bytes, text);
    kt_session_drop(&other);
}

/* A fork has the stream's pictures, so it is told their prompt, not one that is on its way. */
static void a_fork_is_told_what_is_in_force(void **state)
{
    prompt_applied(0, 1, 0, 0);
    assert_fork_says("a red circle");
    message("{\"type\":\"edit\",\"rev\":1,\"text\":\"one\"}");
    message("{\"type\":\"commit\",\"rev\":1}");
    message("{\"type\":\"edit\",\"rev\":2,\"text\":\"two\"}");
    message("{\"type\":\"commit\",\"rev\":2}");
    pass(0);
    assert_fork_says("a red circle");
    prompt_applied(1, 2, 8, 1); /* it was under way already */
    assert_fork_says("one");
    struct kt_event failed = {.kind = KT_EVENT_FAILED, .revision = 2};
    kt_session_event(&session, &failed, now_us);
    assert_fork_says("one");
    message("{\"type\":\"commit\",\"rev\":2}");
    prompt_applied(2, 3, 16, 1);
    message("{\"type\":\"reset\"}");
    prompt_applied(2, 4, 0, 1);
    assert_fork_says("two");
}

static void a_lost_flush_is_made_up_for(void **state)
{
    make(1, 0, FIRST);
    write_one(1, 0, KT_MEDIA_FIRST);
    make(2, 1, FLUSHING);
    make(2, 2, PLAIN);
    pass(0);
    answer(-EIO);
    pass(0);
    answer(100);
    const struct kt_media_header h = written();
    assert_int_equal(h.frame, 2);
    assert_true((h.flags & KT_MEDIA_FLUSH) && (h.flags & KT_MEDIA_KEY));
}

static void rewind_goes_no_further_than_history(void **state)
{
    message("{\"type\":\"rewind\",\"frame\":0}");
    assert_last_says("error", "a stream that has begun");
    past = (struct kt_lane_past){76, 110}; /* 101 and more were decoded, but never sent */
    prompt_applied(0, 1, 100, 0);
    make(1, 100, FIRST);
    write_one(1, 100, KT_MEDIA_FIRST);
    message("{\"type\":\"rewind\",\"frame\":101}");
    assert_last_says("error", "76 to 100");
    message("{\"type\":\"rewind\",\"frame\":75}");
    assert_last_says("error", "\"field\":\"frame\"");
    pass(0);
    assert_null(last_post(KT_COMMAND_REWIND));
    message("{\"type\":\"rewind\",\"frame\":76}");
    message("{\"type\":\"edit\",\"rev\":1,\"text\":\"one\"}");
    message("{\"type\":\"commit\",\"rev\":1}");
    pass(0);
    assert_null(last_post(KT_COMMAND_REWIND));
    struct kt_event failed = {.kind = KT_EVENT_FAILED, .revision = 1};
    kt_session_event(&session, &failed, now_us);
    pass(0);
    assert_int_equal(last_post(KT_COMMAND_REWIND)->frame, 76);
    past = (struct kt_lane_past){0, 50}; /* the lane has gone back already */
    message("{\"type\":\"rewind\",\"frame\":0}");
    pass(0);
    assert_int_equal(last_post(KT_COMMAND_REWIND)->frame, 0);
    pass(KT_HISTORY_MS * 1000);
    assert_last_says("history", "\"from\":0,\"to\":49");
}

/* ---- previews ---- */

static void preview(uint32_t epoch, int64_t frame)
{
    struct kt_frame *f = &frames[frame_count++];
    *f = (struct kt_frame){.width = 192,
                           .height = 112,
                           .epoch = epoch,
                           .revision = epoch,
                           .frame = frame,
                           .preview = 1};
    struct kt_event e = {.kind = KT_EVENT_FRAME, .frame = f};
    kt_session_event(&session, &e, now_us);
}

static void previews_go_first_and_at_once(void **state)
{
    make(1, 0, FIRST);
    make(1, 1, PLAIN);
    write_one(1, 0, KT_MEDIA_FIRST);
    pass(STEP_US);
    answer(100); /* picture 1 waits in the queue */
    preview(2, 2);
    preview(2, 3);
    assert_int_equal(orders[answered].kind, KT_ENCODE_OPEN);
    assert_int_equal(orders[answered].stream, KT_STREAM_PREVIEW);
    answer(0);
    answer(50);
    answer(50);
    struct kt_media_header h = written();
    const int64_t pts = (int64_t)h.pts_us;
    assert_int_equal(h.stream, KT_STREAM_PREVIEW);
    assert_int_equal(h.epoch, 2);
    assert_int_equal(h.frame, 2);
    assert_int_equal(h.seq, 1);
    assert_int_equal(h.flags, KT_MEDIA_KEY | KT_MEDIA_FIRST);
    h = written();
    assert_int_equal(h.stream, KT_STREAM_PREVIEW);
    assert_int_equal(h.flags, 0);
    assert_int_equal((int64_t)h.pts_us - pts, 62500);
    h = written();
    assert_int_equal(h.stream, KT_STREAM_VIDEO);
    assert_int_equal(h.seq, 3);
    message("{\"type\":\"playhead\",\"seq\":2}"); /* a preview: the picture before it counts */
    pass(0);
    assert_int_equal(last_post(KT_COMMAND_REPORT)->shown, 1);
}

static void overtaken_previews_are_dropped(void **state)
{
    make(1, 0, FIRST);
    write_one(1, 0, KT_MEDIA_FIRST);
    preview(2, 1); /* queued when its epoch comes */
    answer(0);
    answer(50);
    preview(2, 2); /* at the encoder */
    make(2, 1, FLUSHING);
    pass(0);
    preview(2, 3); /* and after it */
    assert_int_equal(client.outq.preview_count, 0);
    answer(50);
    answer(100);
    assert_int_equal(answered, ordered);
    const struct kt_media_header h = written();
    assert_int_equal(h.stream, KT_STREAM_VIDEO);
    assert_int_equal(h.seq, 1);
    assert_null(client.outq.pictures);
}

static void previews_are_bounded(void **state)
{
    for (int i = 0; i < 3 * KT_PREVIEWS_IN_FLIGHT_MAX; i++) {
        preview(2, i);
        if (i % 2) {
            answer(50);
        }
    }
    assert_in_range(ordered - answered, 1, KT_PREVIEWS_IN_FLIGHT_MAX);
    while (answered < ordered) {
        answer(50);
    }
    assert_int_equal(client.outq.preview_count, KT_OUTQ_PREVIEWS_MAX);
    assert_int_equal(close_code, 0);
}

static void who_wants_no_previews_gets_none(void **state)
{
    const int before = ordered;
    message("{\"type\":\"set\",\"preview\":false}");
    preview(1, 0);
    assert_int_equal(ordered, before);
    message("{\"type\":\"set\",\"preview\":true}");
    client.preview_codec = KT_CODEC_NONE;
    kt_session_detach(&session, 1, now_us);
    kt_session_attach(&session, &client, 1, now_us);
    answer(0);
    preview(1, 0);
    assert_int_equal(ordered, answered);
}

#define SESSION_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* The GPU's encoder has no session left: the client's next wish, without a word to the client. */
static void gpu_encoder_is_replaced(void **state)
{
    kt_session_detach(&session, 1, now_us);
    client.codec_else = KT_CODEC_VP9;
    client.codec = KT_CODEC_H264;
    kt_session_attach(&session, &client, 1, now_us);
    assert_int_equal(orders[ordered - 1].kind, KT_ENCODE_OPEN);
    assert_int_equal(orders[ordered - 1].params.codec, KT_CODEC_H264);
    make(1, 0, 1);
    pass(0); /* a picture is ordered before the answer is here */
    answer(-EBUSY);
    assert_int_equal(orders[ordered - 1].kind, KT_ENCODE_OPEN);
    assert_int_equal(orders[ordered - 1].params.codec, KT_CODEC_VP9);
    answer(-ENODEV); /* the picture */
    answer(0);
    assert_int_equal(close_code, 0);
    make(1, 1, 0);
    pass(STEP_US);
    answer(100);
    const struct kt_media_header h = written();
    assert_int_equal(h.codec, KT_CODEC_VP9);
    assert_true(h.flags & KT_MEDIA_KEY);
}

/* Nothing else is wanted, or what is wanted next fails too: then the client is told. */
static void no_encoder_at_all(void **state)
{
    kt_session_detach(&session, 1, now_us);
    client.codec_else = KT_CODEC_JPEG;
    client.codec = KT_CODEC_H264;
    kt_session_attach(&session, &client, 1, now_us);
    answer(-EBUSY);
    answer(-ENOMEM);
    assert_int_equal(close_code, 1011);
    assert_int_equal(ordered, answered);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SESSION_TEST(flush_reaches_every_queue),
        SESSION_TEST(new_epoch_follows_in_order),
        SESSION_TEST(what_was_sent_is_not_repeated),
        SESSION_TEST(skipped_places_count_as_sent),
        SESSION_TEST(flush_does_not_wait_for_the_pace),
        SESSION_TEST(full_lane_keeps_the_latest),
        SESSION_TEST(lane_hears_what_was_written),
        SESSION_TEST(too_many_raw_pictures),
        SESSION_TEST(unread_pictures_stop_the_encoder),
        SESSION_TEST(unread_client_is_closed),
        SESSION_TEST(failed_encode_is_skipped),
        SESSION_TEST(hidden_then_shown),
        SESSION_TEST(place_is_free_after_the_lane),
        SESSION_TEST(place_is_free_after_the_encoder),
        SESSION_TEST(typing_is_drafted),
        SESSION_TEST(a_commit_may_differ_from_the_settings),
        SESSION_TEST(only_a_cut_now_fades),
        SESSION_TEST(a_fork_is_told_what_is_in_force),
        SESSION_TEST(a_lost_flush_is_made_up_for),
        SESSION_TEST(rewind_goes_no_further_than_history),
        SESSION_TEST(previews_go_first_and_at_once),
        SESSION_TEST(overtaken_previews_are_dropped),
        SESSION_TEST(previews_are_bounded),
        SESSION_TEST(who_wants_no_previews_gets_none),
        SESSION_TEST(gpu_encoder_is_replaced),
        SESSION_TEST(no_encoder_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
