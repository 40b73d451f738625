/* Percentiles, and what the report says about commits. */
#include "load/plot.h"
#include "load/report.h"
#include "tests/proto/test.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

static void percentiles_are_nearest_rank(void **state)
{
    struct kt_tally t = {0};
    for (int i = 200; i >= 1; i--) {
        kt_tally_add(&t, i);
    }
    kt_tally_add(&t, NAN);
    const struct kt_percentiles p = kt_tally_percentiles(&t);
    assert_int_equal(p.n, 200);
    assert_true(p.p50 == 100 && p.p95 == 190 && p.p99 == 198);
    kt_tally_free(&t);
    assert_int_equal(kt_tally_percentiles(&t).n, 0);
}

static void a_tally_does_not_grow_and_stays_fair(void **state)
{
    struct kt_tally t = {0};
    for (int i = 0; i < 20 * KT_TALLY_MAX; i++) {
        kt_tally_add(&t, i);
    }
    const struct kt_percentiles p = kt_tally_percentiles(&t);
    assert_int_equal(t.count, KT_TALLY_MAX);
    assert_int_equal(p.n, 20 * KT_TALLY_MAX);
    assert_true(fabs(p.p50 / (10.0 * KT_TALLY_MAX) - 1) < 0.05);
    kt_tally_free(&t);
}

static void commit(struct kt_load_results *r, struct kt_commit c, int pause_ms, int shown_ms)
{
    c.pause_ms = pause_ms;
    c.sent_us = 1000000;
    c.applied = 1;
    c.end = KT_COMMIT_SHOWN;
    c.received_us = c.sent_us + shown_ms * 1000 - 5000;
    c.decoded_us = c.received_us + 1000;
    c.shown_us = c.sent_us + shown_ms * 1000;
    r->commits_sent++;
    kt_results_commit(r, &c);
}

static json_t *at(json_t *o, const char *a, const char *b)
{
    json_t *v = json_object_get(json_object_get(o, a), b);
    assert_non_null(v);
    return v;
}

static double number(json_t *o, const char *name)
{
    return json_number_value(json_object_get(o, name));
}

static void commits_fall_into_their_rows(void **state)
{
    struct kt_load_results r = {0};
    const struct kt_load_params params = {.url = "ws://x", .clients = 1, .codec = KT_CODEC_VP8};
    const struct kt_report_facts facts = {
        .params = &params,
        .before = {.wasted_ms = 100, .busy_ms = 1000, .rss_mib = -1},
        .after = {.wasted_ms = 350,
                  .busy_ms = 2000,
                  .rss_mib = -1,
                  .value = {{"drafts_total", 9}, {"drafts", 3}},
                  .count = 2}};
    commit(&r, (struct kt_commit){.hit = KT_HIT_READY, .timings = {10}}, 700, 60);
    commit(&r, (struct kt_commit){.hit = KT_HIT_READY}, 1300, 80);
    commit(&r, (struct kt_commit){.hit = KT_HIT_COLD, .cut = "now", .timings = {20}}, 250, 500);
    commit(&r, (struct kt_commit){.hit = KT_HIT_BEGUN, .timings = {30}}, 650, 300);
    commit(&r, (struct kt_commit){.hit = KT_HIT_COLD, .opening = 1}, 650, 9000); /* no switch */
    json_t *o = kt_report_json(&r, &facts);
    assert_non_null(o);
    assert_true(number(at(o, "drafted", "shown_ms"), "p50") == 60);
    assert_true(number(at(o, "drafted", "received_ms"), "p99") == 75);
    assert_int_equal(number(at(o, "drafted", "shown_ms"), "n"), 2);
    assert_true(number(at(o, "cold", "shown_ms"), "p95") == 500);
    assert_int_equal(number(at(o, "cold", "shown_ms"), "n"), 1);
    assert_int_equal(number(at(o, "begun", "shown_ms"), "n"), 1);
    assert_true(number(o, "hit_rate") == 0.5);
    assert_true(number(o, "begun_rate") == 0.25);
    assert_true(number(o, "wasted_device_ms") == 250);
    assert_true(number(o, "wasted_share") == 0.25);
    assert_int_equal(number(json_object_get(o, "metrics"), "drafts_total"), 9);
    assert_true(json_is_null(at(o, "server", "rss_mib")));
    assert_true(number(at(json_object_get(o, "stages"), "cold", "queue"), "p50") == 2.0);
    assert_true(number(at(json_object_get(o, "stages"), "begun", "queue"), "p50") == 3.0);
    assert_true(number(at(json_object_get(o, "stages"), "drafted", "queue"), "p95") == 1.0);
    assert_int_equal(number(at(o, "by_cut", "now"), "n"), 1);
    json_t *row = json_array_get(json_object_get(o, "by_pause"), 2); /* 600 to 900 ms */
    assert_int_equal(number(row, "n"), 2);
    assert_true(number(row, "hit_rate") == 0.5);
    assert_int_equal(json_array_size(json_object_get(o, "samples")), 5);
    FILE *sink = tmpfile();
    kt_report_print(o, sink);
    assert_true(ftell(sink) > 500);
    fclose(sink);
    sink = tmpfile();
    assert_int_equal(kt_plot_write(o, sink), 0);
    assert_true(ftell(sink) > 5000);
    fclose(sink);
    json_decref(o);
    kt_results_free(&r);
}

static void an_empty_run_has_no_numbers_but_says_so(void **state)
{
    struct kt_load_results r = {.clients = 1, .refused = 1};
    const struct kt_load_params params = {.url = "ws://x", .clients = 1, .codec = KT_CODEC_VP8};
    const struct kt_report_facts facts = {
        .params = &params, .before = {-1, -1, -1, {{{0}}}, 0}, .after = {-1, -1, -1, {{{0}}}, 0}};
    json_t *o = kt_report_json(&r, &facts);
    assert_true(json_is_null(at(json_object_get(o, "cold"), "shown_ms", "p50")));
    assert_true(json_is_null(json_object_get(o, "hit_rate")));
    assert_true(json_is_null(json_object_get(o, "wasted_device_ms")));
    assert_true(kt_report_broken(&r));
    FILE *sink = tmpfile();
    assert_int_equal(kt_plot_write(o, sink), 0);
    json_t *nothing = json_object();
    assert_int_equal(kt_plot_write(nothing, sink), 0);
    json_decref(nothing);
    fclose(sink);
    json_decref(o);
    kt_results_free(&r);
}

static void errors_are_counted_by_code(void **state)
{
    static struct kt_load_results r;
    char code[16];
    for (int i = 0; i < 100; i++) {
        snprintf(code, sizeof(code), "code%d", i % 20);
        kt_results_error(&r, code);
    }
    assert_int_equal(r.errors[0].n, 5);
    assert_string_equal(r.errors[KT_ERROR_CODES_MAX - 1].code, "other");
    assert_int_equal(r.errors[KT_ERROR_CODES_MAX - 1].n, 25);
}

static struct kt_scrape parse(const char *text)
{
    struct kt_scrape m;
    kt_scrape_clear(&m);
    kt_scrape_parse(&m, text, strlen(text));
    return m;
}

static void metrics_are_found_and_added_up(void **state)
{
    const struct kt_scrape m =
        parse("# HELP process_resident_memory_bytes x\n"
              "process_resident_memory_bytes 1.048576e+08\n"
              "kinetype_device_wasted_seconds_total{device=\"0\"} 1.5\n"
              "kinetype_device_wasted_seconds_total{device=\"1 }\"} 0.5 123\n"
              "kinetype_device_busy_seconds_total 7\nother_device_busy_seconds_total 9\n"
              "kinetype_device_busy_seconds_total_more 9\n"
              "kinetype_stage_seconds_bucket{stage=\"text\",le=\"1\"} 5\n"
              "{} 4\nkinetype_device_busy_seconds_total{ 4\n"); /* the end is cut */
    assert_true(m.rss_mib == 100);
    assert_true(m.wasted_ms == 2000);
    assert_true(m.busy_ms == 7000);
    assert_int_equal(m.count, 4);
    assert_string_equal(m.value[0].name, "device_wasted_seconds_total{device=\"0\"}");
    assert_true(parse("").rss_mib < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_nearest_rank),
        cmocka_unit_test(a_tally_does_not_grow_and_stays_fair),
        cmocka_unit_test(commits_fall_into_their_rows),
        cmocka_unit_test(an_empty_run_has_no_numbers_but_says_so),
        cmocka_unit_test(metrics_are_found_and_added_up),
        cmocka_unit_test(errors_are_counted_by_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
