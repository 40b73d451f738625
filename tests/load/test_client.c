/* One client against a server made of literal messages, on a virtual clock. */
#include "load/client.h"
#include "proto/media.h"
#include "tests/proto/test.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { SAID_MAX = 256, FRAME = 62500 };

static const char text[] = "{\"do\":\"select\"}\n{\"do\":\"type\",\"text\":\"red\"}\n"
                           "{\"do\":\"enter\",\"pause_ms\":200}\n{\"do\":\"wait\",\"ms\":60000}\n";

static struct kt_script script;
static struct kt_load_results results;
static struct kt_load_client client;
static json_t *said[SAID_MAX];
static int said_n, closed, refuse_send;
static int64_t now;

static int say(void *arg, char *message)
{
    if (refuse_send || said_n == SAID_MAX) {
        free(message);
        return -ENOBUFS;
    }
    said[said_n] = json_loads(message, 0, NULL);
    free(message);
    assert_non_null(said[said_n++]);
    return 0;
}

static void close_it(void *arg)
{
    closed++;
}

static int64_t clock_us(void *arg)
{
    return now;
}

static const char *type_of(int i)
{
    return i < said_n ? json_string_value(json_object_get(said[i], "type")) : "";
}

/* The last message of this type, or NULL. */
static json_t *last(const char *type)
{
    for (int i = said_n - 1; i >= 0; i--) {
        if (strcmp(type_of(i), type) == 0) {
            return said[i];
        }
    }
    return NULL;
}

static int count(const char *type)
{
    int n = 0;
    for (int i = 0; i < said_n; i++) {
        n += strcmp(type_of(i), type) == 0;
    }
    return n;
}

static json_int_t field(json_t *o, const char *name)
{
    assert_non_null(o);
    return json_integer_value(json_object_get(o, name));
}

static void hear(const char *message)
{
    kt_load_client_text(&client, message, strlen(message), now);
}

static void pass(int64_t until)
{
    while (now < until) {
        const int64_t next = kt_load_client_service(&client, now);
        now = next > now && next < until ? next : now + (next <= now ? 1 : until - now);
    }
    kt_load_client_service(&client, now);
}

static int setup(void **state)
{
    memset(&results, 0, sizeof(results));
    closed = refuse_send = said_n = 0;
    now = 1000000;
    kt_script_parse(&script, text, strlen(text), "t", NULL);
    kt_load_client_open(&client, &(struct kt_load_client_params){
                                     .script = &script,
                                     .results = &results,
                                     .io = {.send = say, .close = close_it, .now_us = clock_us},
                                     .token = "secret",
                                     .codec = KT_CODEC_VP8,
                                     .steps = -1,
                                     .settings = "{\"type\":\"set\",\"cut\":\"block\"}",
                                     .seed = 1});
    kt_load_client_connected(&client, now);
    return 0;
}

static int teardown(void **state)
{
    for (int i = 0; i < said_n; i++) {
        json_decref(said[i]);
    }
    kt_load_client_close(&client, now);
    kt_results_free(&results);
    kt_script_free(&script);
    return 0;
}

static void welcome(void)
{
    hear(
        "{\"type\":\"welcome\",\"protocol\":1,\"rev\":7,\"text\":\"its own\",\"codec\":\"vp8\","
        "\"model\":{\"name\":\"m\"},\"video\":{\"width\":16,\"height\":16,\"fps\":16},\"new\":[]}");
}

static void picture(uint32_t seq, uint32_t epoch, uint32_t revision, int flags)
{
    uint8_t data[KT_MEDIA_HEADER_BYTES + 1] = {0};
    const struct kt_media_header h = {.codec = KT_CODEC_VP8,
                                      .flags = (uint16_t)flags,
                                      .seq = seq,
                                      .epoch = epoch,
                                      .revision = revision,
                                      .pts_us = seq * FRAME,
                                      .timings = {11, 22, 33, 44, 55, 66, 77, 88},
                                      .width = 16,
                                      .height = 16,
                                      .payload_bytes = 1};
    kt_media_pack(data, &h);
    kt_load_client_binary(&client, data, sizeof(data), now);
}

static void it_greets_and_types(void **state)
{
    assert_string_equal(type_of(0), "hello");
    assert_string_equal(json_string_value(json_object_get(said[0], "token")), "secret");
    assert_null(json_object_get(said[0], "steps"));
    assert_int_equal(kt_load_client_service(&client, now), INT64_MAX);
    welcome();
    assert_string_equal(type_of(1), "set");
    pass(now + 5000000);
    assert_int_equal(count("edit"), 3);
    assert_int_equal(count("commit"), 1);
    assert_int_equal(field(last("commit"), "rev"), 10);
    assert_int_equal(field(last("edit"), "base"), 9);
    assert_int_equal(field(last("edit"), "at"), 2);
    assert_int_equal(results.commits_sent, 1);
    assert_true(count("ping") >= 2);
    assert_int_equal(count("playhead"), 0); /* nothing was shown */
}

/* From the first edit to the commit, the way to the screen. */
static void a_commit_is_timed(void **state)
{
    welcome();
    picture(0, 1, 0, KT_MEDIA_KEY | KT_MEDIA_FIRST);
    while (!count("commit")) {
        pass(now + 1000);
    }
    const int64_t entered = now;
    hear("{\"type\":\"received\",\"rev\":10,\"committed\":true}");
    pass(entered + 30000);
    hear("{\"type\":\"applied\",\"rev\":10,\"epoch\":2,\"frame\":9,\"hit\":\"ready\",\"cut\":"
         "\"now\"}");
    pass(entered + 40000);
    picture(1, 2, 10, KT_MEDIA_KEY | KT_MEDIA_FIRST | KT_MEDIA_FLUSH);
    pass(entered + 400000);
    assert_int_equal(results.commits_ended[KT_COMMIT_SHOWN], 1);
    const struct kt_commit *c = &results.commits[0];
    assert_in_range(c->received_us - c->sent_us, 39000, 41000);
    assert_in_range(c->shown_us - c->sent_us, 39000, 41000);
    assert_int_equal(c->hit, KT_HIT_READY);
    assert_int_equal(c->pause_ms, 200);
    assert_int_equal(c->timings[KT_TIMING_RECACHE], 33);
    assert_int_equal(c->opening, 0);
    assert_true(kt_load_client_idle(&client));
    assert_int_equal(field(last("playhead"), "seq"), 1);
    assert_int_equal(results.wrong_revision, 0);
}

/* What was typed is sent whole, once, and a commit that was lost behind it. */
static void a_resync_is_answered_with_the_whole_text(void **state)
{
    welcome();
    while (!count("commit")) {
        pass(now + 1000);
    }
    hear("{\"type\":\"received\",\"rev\":8,\"committed\":false}");
    hear(
        "{\"type\":\"error\",\"code\":\"wrong_rev\",\"message\":\"m\",\"rev\":10,\"fatal\":false}");
    hear("{\"type\":\"resync\",\"rev\":20,\"text\":\"other\",\"reason\":\"r\"}");
    hear("{\"type\":\"resync\",\"rev\":20,\"text\":\"other\",\"reason\":\"r\"}");
    assert_int_equal(count("commit"), 2);
    assert_int_equal(field(last("commit"), "rev"), 21);
    assert_string_equal(json_string_value(json_object_get(last("edit"), "text")), "red");
    assert_int_equal(field(last("edit"), "rev"), 21);
    hear("{\"type\":\"applied\",\"rev\":21,\"epoch\":2,\"frame\":9}");
    assert_int_equal(client.ledger.count, 1);
    assert_int_equal(client.ledger.open[0].applied, 1);
}

static void it_waits_in_the_queue(void **state)
{
    hear("{\"type\":\"queued\",\"position\":2}");
    assert_int_equal(kt_load_client_service(&client, now), INT64_MAX);
    now += 3000000;
    hear("{\"type\":\"queued\",\"position\":1}");
    welcome();
    assert_int_equal(results.queued, 1);
    assert_true(kt_tally_percentiles(&results.queue_ms).p50 == 3000);
}

static void a_refusal_is_counted(void **state)
{
    hear("{\"type\":\"error\",\"code\":\"too_many_sessions\",\"message\":\"m\",\"fatal\":true}");
    kt_load_client_gone(&client, "closed", now);
    assert_int_equal(results.refused, 1);
    assert_int_equal(results.lost, 0);
    assert_string_equal(results.errors[0].code, "too_many_sessions");
}

static void a_broken_picture_asks_for_a_key(void **state)
{
    welcome();
    picture(0, 1, 0, KT_MEDIA_KEY);
    kt_load_client_binary(&client, (const uint8_t *)"KT", 2, now);
    assert_int_equal(results.bad_messages, 1);
    assert_int_equal(count("keyframe"), 1);
    picture(1, 1, 0, 0); /* not decodable now */
    pass(now + 300000);
    assert_int_equal(field(last("playhead"), "seq"), 1); /* passed over */
    assert_int_equal(count("keyframe"), 1);              /* not asked twice at once */
    picture(2, 1, 0, KT_MEDIA_KEY);
    pass(now + 300000);
    assert_int_equal(client.viewer.screen.pictures, 2);
}

static void disorder_and_gaps_are_seen(void **state)
{
    welcome();
    picture(0, 2, 0, KT_MEDIA_KEY);
    picture(1, 1, 0, KT_MEDIA_KEY);
    picture(5, 2, 0, 0);
    assert_int_equal(results.disordered, 1);
    assert_int_equal(results.gaps, 1);
}

static void a_deaf_server_loses_the_client(void **state)
{
    refuse_send = 1;
    welcome();
    assert_true(closed > 0);
    assert_non_null(strstr(results.problem, "does not read"));
}

static void it_says_bye(void **state)
{
    welcome();
    kt_load_client_leave(&client, now);
    assert_string_equal(type_of(said_n - 1), "bye");
    kt_load_client_gone(&client, "closed", now);
    assert_int_equal(results.lost, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_greets_and_types, setup, teardown),
        cmocka_unit_test_setup_teardown(a_commit_is_timed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_resync_is_answered_with_the_whole_text, setup, teardown),
        cmocka_unit_test_setup_teardown(it_waits_in_the_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_is_counted, setup, teardown),
        cmocka_unit_test_setup_teardown(a_broken_picture_asks_for_a_key, setup, teardown),
        cmocka_unit_test_setup_teardown(disorder_and_gaps_are_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deaf_server_loses_the_client, setup, teardown),
        cmocka_unit_test_setup_teardown(it_says_bye, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
