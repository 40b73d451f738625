/* The archive never holds more than its cap, says of every position it calls reachable exactly what
 * was put there, and thins the old before the young. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/kv/archive.h"

enum { WINDOW = 6, SINK = 2, FLOATS = 32, STREAMS = 3, LONG = 4096 };

/* An archive for about `latents` latents. */
static struct kt_archive *open_archive(int latents, int streams)
{
    struct kt_archive *a = NULL;
    struct kt_error err;
    struct kt_archive_params p = {.bytes_max = 1,
                                  .streams_max = streams,
                                  .latent_floats = FLOATS,
                                  .window = WINDOW,
                                  .sink = SINK};
    assert_int_equal(kt_archive_open(&a, &p, &err), -EINVAL);
    const char *needed = strstr(err.text, "at least ");
    assert_non_null(needed);
    p.bytes_max = strtoull(needed + 9, NULL, 10) - 1;
    assert_int_equal(kt_archive_open(&a, &p, &err), -EINVAL);
    p.bytes_max += 1 + (size_t)(latents - 2 * WINDOW - SINK) * (FLOATS * sizeof(float) + 16);
    assert_int_equal(kt_archive_open(&a, &p, &err), 0);
    return a;
}

static void put(struct kt_archive *a, int stream, int64_t index, float value)
{
    float latent[FLOATS];
    for (int i = 0; i < FLOATS; i++) {
        latent[i] = value;
    }
    kt_archive_put(a, stream, index, latent);
}

static int reachable(struct kt_archive *a, int64_t at)
{
    struct kt_archive_point point;
    int rc = kt_archive_read(a, 0, at, &point);
    assert_true(rc == 0 || rc == -ERANGE);
    assert_int_equal(rc == 0, kt_archive_reach(a, 0, at) == at);
    return rc == 0;
}

static void everything_is_reachable_at_first(void **state)
{
    struct kt_archive *a = open_archive(20, 1);
    struct kt_archive_point point;
    struct kt_archive_stream info;
    kt_archive_begin(a, 0, 77, "first");
    assert_int_equal(kt_archive_reach(a, 0, 100), -1);
    for (int i = 0; i < 20; i++) {
        put(a, 0, i, (float)i);
    }
    for (int64_t at = 1; at <= 20; at++) {
        assert_int_equal(kt_archive_read(a, 0, at, &point), 0);
        assert_int_equal(point.n, at < WINDOW ? at : WINDOW);
        assert_true(point.window[0] == (float)(at - point.n));
        assert_true(point.window[(size_t)point.n * FLOATS - 1] == (float)(at - 1));
        assert_int_equal(point.sink != NULL, at > SINK);
        assert_true(!point.sink || (point.sink[0] == 0 && point.sink[SINK * FLOATS - 1] == 1));
        assert_true(point.seed == 77);
        assert_string_equal(point.text, "first");
    }
    assert_int_equal(kt_archive_read(a, 0, 0, &point), -ERANGE);
    assert_int_equal(kt_archive_read(a, 0, 21, &point), -ERANGE);
    kt_archive_get_stream(a, 0, &info);
    assert_int_equal(info.first, 1);
    assert_int_equal(info.end, 20);
    assert_int_equal(info.kept, 20);
    kt_archive_close(&a);
}

/* Ten windows fit. The eleventh thins the older half: every second window goes, the sink stays. */
static void every_second_window_stays(void **state)
{
    struct kt_archive *a = open_archive(10 * WINDOW, 1);
    struct kt_archive_info info;
    kt_archive_begin(a, 0, 1, "p");
    for (int i = 0; i < 10 * WINDOW + 1; i++) {
        put(a, 0, i, (float)i);
    }
    for (int window = 0; window < 10; window++) {
        int stays = window >= 5 || window % 2 == 0;
        assert_int_equal(reachable(a, (window + 1) * WINDOW), stays);
    }
    for (int64_t at = 5 * WINDOW; at <= 10 * WINDOW + 1; at++) {
        assert_int_equal(reachable(a, at), 1 && (at >= 6 * WINDOW || at == 5 * WINDOW ||
                                                 at > 5 * WINDOW)); /* the young: everywhere */
    }
    kt_archive_get_info(a, &info);
    assert_int_equal(info.thinned, 2 * WINDOW);
    assert_int_equal(kt_archive_reach(a, 0, 4 * WINDOW + 3), 3 * WINDOW);
    /* Much later: the cap holds, the start and the newest two windows are still there. */
    for (int i = 10 * WINDOW + 1; i < LONG; i++) {
        put(a, 0, i, (float)i);
        kt_archive_get_info(a, &info);
        assert_true(info.bytes_used <= info.bytes_held && info.bytes_held <= info.bytes_max);
        for (int64_t at = i + 1 - WINDOW; at <= i + 1; at++) {
            assert_int_equal(reachable(a, at), 1);
        }
    }
    assert_int_equal(reachable(a, WINDOW), 1);
    kt_archive_close(&a);
}

/* The sink of another scene lies in a window that thinning drops: its latents stay. */
static void thinning_spares_sinks(void **state)
{
    struct kt_archive *a = open_archive(10 * WINDOW, 1);
    struct kt_archive_info info;
    kt_archive_begin(a, 0, 1, "p");
    for (int i = 0; i < 30 * WINDOW; i++) {
        if (i == 4 * WINDOW) {
            kt_archive_switch(a, 0, i, "another scene", 0, 0); /* its sink: 3 * WINDOW */
        }
        put(a, 0, i, (float)i);
        assert_int_equal(reachable(a, i + 1), 1);
    }
    kt_archive_get_info(a, &info);
    assert_true(info.thinned > 10 * WINDOW);
    kt_archive_close(&a);
}

/* Whose the sink is after a switch is what kt_history_plan_recache makes of it. */
static void sinks_follow_the_switches(void **state)
{
    struct kt_archive *a = open_archive(200, 1);
    struct kt_archive_point point;
    kt_archive_begin(a, 0, 1, "a");
    for (int i = 0; i < 60; i++) {
        if (i == 4) {
            kt_archive_switch(a, 0, i, "b", 1, 0); /* the whole short stream is recached */
        }
        if (i == 20) {
            kt_archive_switch(a, 0, i, "c", 1, 0); /* longer than the window: the sink stays */
        }
        if (i == 30) {
            kt_archive_switch(a, 0, i, "d", 0, 0); /* another scene */
        }
        if (i == 40) {
            kt_archive_switch(a, 0, i, "e", 1, 3);
        }
        put(a, 0, i, (float)i);
    }
    static const struct {
        int64_t at, sink_at;
        const char *text, *sink_text;
    } expected[] = {{4, 0, "a", "a"},   {5, 0, "b", "b"},   {20, 0, "b", "b"},
                    {21, 0, "c", "b"},  {30, 0, "c", "b"},  {31, 24, "d", "d"},
                    {40, 24, "d", "d"}, {41, 24, "e", "d"}, {60, 24, "e", "d"}};
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_int_equal(kt_archive_read(a, 0, expected[i].at, &point), 0);
        assert_int_equal(point.sink_at, expected[i].sink_at);
        assert_true(point.sink[0] == (float)expected[i].sink_at);
        assert_string_equal(point.text, expected[i].text);
        assert_string_equal(point.sink_text, expected[i].sink_text);
    }
    kt_archive_rewind(a, 0, 35);
    assert_int_equal(kt_archive_read(a, 0, 36, &point), -ERANGE);
    assert_int_equal(kt_archive_read(a, 0, 35, &point), 0);
    assert_string_equal(point.text, "d");
    kt_archive_switch(a, 0, 30, "x", 1, 0); /* on top of the other scene */
    put(a, 0, 30, 30);
    assert_int_equal(kt_archive_read(a, 0, 31, &point), 0);
    assert_int_equal(point.sink_at, 24);
    assert_string_equal(point.sink_text, "d");
    kt_archive_close(&a);
}

/* ---- anything in any order, beside a plain list of everything ---- */

struct reference {
    int open;
    int64_t end, floor; /* floor: where a fork began, which no stream can go back beyond */
    float value[LONG];
    int text[LONG]; /* number of the prompt that made the latent */
};

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

static void check_point(struct kt_archive *a, const struct reference *r, int stream, int64_t at)
{
    struct kt_archive_point point;
    char text[16];
    int64_t reach = kt_archive_reach(a, stream, at);
    if (reach < 0) {
        return;
    }
    assert_in_range(reach, 1, r->end);
    assert_int_equal(kt_archive_read(a, stream, reach, &point), 0);
    for (int i = 0; i < point.n; i++) {
        assert_true(point.window[i * FLOATS] == r->value[reach - point.n + i]);
    }
    for (int i = 0; point.sink && i < SINK; i++) {
        assert_true(point.sink[i * FLOATS] == r->value[point.sink_at + i]);
    }
    snprintf(text, sizeof(text), "p%d", r->text[reach - 1]);
    assert_string_equal(point.text, text);
}

static void at_random(uint64_t seed)
{
    static struct reference refs[STREAMS];
    struct kt_archive *a = open_archive(60 + (int)(seed % 5) * 40, STREAMS);
    struct kt_archive_info info;
    uint64_t random = seed;
    int texts = 0;
    float value = 0;
    memset(refs, 0, sizeof(refs));
    for (int step = 0; step < 3000; step++) {
        int stream = (int)(next_random(&random) % STREAMS),
            what = (int)(next_random(&random) % 100);
        struct reference *r = &refs[stream];
        char text[16];
        snprintf(text, sizeof(text), "p%d", ++texts);
        if (!r->open || what == 0 || r->end > LONG - 16) {
            kt_archive_begin(a, stream, seed, text);
            *r = (struct reference){.open = 1};
            r->text[0] = texts;
        } else if (what < 6) {
            int64_t at = r->end - (int64_t)(next_random(&random) % 8);
            at = at < r->floor ? r->floor : at;
            kt_archive_switch(a, stream, at, text, what & 1, what == 3 ? 2 : 0);
            r->end = at;
            r->text[at] = texts;
        } else if (what < 10) {
            int64_t at = r->end - (int64_t)(next_random(&random) % 20);
            at = at < r->floor ? r->floor : at;
            kt_archive_rewind(a, stream, at);
            r->text[at] = at < r->end ? r->text[at] : r->text[r->end];
            r->end = at;
        } else if (what < 12) {
            int from = (stream + 1) % STREAMS;
            int64_t at = kt_archive_reach(a, from, (int64_t)(next_random(&random) % LONG));
            if (at > 0 && refs[from].open) {
                assert_int_equal(kt_archive_fork(a, stream, from, at), 0);
                *r = refs[from];
                r->end = r->floor = at;
                r->text[at] = r->text[at - 1];
            }
        } else {
            for (int i = 0; i < what % 9; i++) {
                put(a, stream, r->end, ++value);
                r->value[r->end++] = value;
                r->text[r->end] = r->text[r->end - 1];
            }
        }
        check_point(a, r, stream, r->end);
        check_point(a, r, stream, (int64_t)(next_random(&random) % LONG));
        kt_archive_get_info(a, &info);
        assert_true(info.bytes_used <= info.bytes_held && info.bytes_held <= info.bytes_max);
    }
    kt_archive_close(&a);
}

static void whatever_happens_it_is_right_and_bounded(void **state)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        at_random(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_reachable_at_first),
        cmocka_unit_test(every_second_window_stays),
        cmocka_unit_test(thinning_spares_sinks),
        cmocka_unit_test(sinks_follow_the_switches),
        cmocka_unit_test(whatever_happens_it_is_right_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
