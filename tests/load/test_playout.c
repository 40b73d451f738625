/* When pictures are shown, and what a person saw: stalls and stale pictures. */
#include "load/playout.h"
#include "load/screen.h"
#include "tests/proto/test.h"

#include <string.h>

enum { FRAME = 62500 };

struct shown {
    uint32_t seq;
    int64_t at;
};

struct world {
    struct kt_playout playout;
    struct kt_screen screen;
    struct shown shown[256];
    int n;
    int64_t now;
};

static struct world w;

static int setup(void **state)
{
    memset(&w, 0, sizeof(w));
    return 0;
}

/* Time passes in milliseconds, as it does for an event loop. */
static void pass(int64_t until)
{
    for (; w.now < until; w.now += 1000) {
        struct kt_picture p;
        while (kt_playout_due(&w.playout, w.now, &p)) {
            kt_screen_show(&w.screen, &p, w.now);
            w.shown[w.n++] = (struct shown){p.seq, w.now};
        }
    }
}

static void arrive(int64_t at, struct kt_picture p)
{
    pass(at);
    kt_playout_push(&w.playout, &p, w.now);
}

static void stream(int n, uint32_t seq, uint32_t epoch, int64_t start)
{
    for (int i = 0; i < n; i++) {
        arrive(start + i * FRAME, (struct kt_picture){.seq = seq + (uint32_t)i,
                                                      .epoch = epoch,
                                                      .pts_us = (seq + i) * FRAME});
    }
}

static void pictures_on_time_are_shown_at_their_pts(void **state)
{
    stream(32, 0, 1, 0);
    pass(3000000);
    assert_int_equal(w.n, 32);
    for (int i = 0; i < 32; i++) {
        const int64_t due = KT_PLAYOUT_JITTER_US + i * FRAME;
        assert_in_range(w.shown[i].at, due, due + 1000);
    }
    assert_int_equal(w.screen.stalls, 0);
    assert_true(kt_screen_fps(&w.screen) > 15.9 && kt_screen_fps(&w.screen) < 16.1);
}

static void flush_drops_what_waits_and_shows_now(void **state)
{
    for (uint32_t i = 0; i < 8; i++) { /* half a second ahead */
        arrive(0, (struct kt_picture){.seq = i, .epoch = 1, .pts_us = i * FRAME});
    }
    arrive(200000, (struct kt_picture){.seq = 8, .epoch = 2, .pts_us = 8 * FRAME, .flush = 1});
    pass(201000);
    assert_int_equal(w.shown[w.n - 1].seq, 8);
    assert_int_equal(w.shown[w.n - 1].at, 200000);
    assert_int_equal(w.playout.flushed, 8 - (w.n - 1));
    assert_true(w.playout.flushed > 0);
    arrive(210000, (struct kt_picture){.seq = 9, .epoch = 2, .pts_us = 9 * FRAME});
    pass(400000);
    assert_in_range(w.shown[w.n - 1].at, 200000 + FRAME, 200000 + FRAME + 1000);
    arrive(410000, (struct kt_picture){.seq = 10, .epoch = 1, .pts_us = 10 * FRAME});
    pass(600000);
    assert_int_equal(w.playout.outdated, 1);
    assert_int_equal(w.screen.stale, 0);
}

static void an_epoch_without_flush_follows_in_order(void **state)
{
    for (uint32_t i = 0; i < 8; i++) {
        arrive(0, (struct kt_picture){.seq = i, .epoch = 1 + (i >= 4), .pts_us = i * FRAME});
    }
    pass(1000000);
    assert_int_equal(w.n, 8);
    assert_int_equal(w.playout.flushed, 0);
}

static void late_moves_the_clock_behind_what_was_shown(void **state)
{
    stream(4, 0, 1, 0);
    arrive(1000000, (struct kt_picture){.seq = 4, .epoch = 1, .pts_us = 14 * FRAME, .late = 1});
    arrive(1000000, (struct kt_picture){.seq = 5, .epoch = 1, .pts_us = 15 * FRAME});
    pass(2000000);
    assert_int_equal(w.n, 6);
    assert_int_equal(w.shown[4].at, 1000000);
    assert_in_range(w.shown[5].at, 1000000 + FRAME, 1000000 + FRAME + 1000);
    assert_int_equal(w.playout.missed, 0); /* it was announced */
    assert_int_equal(w.screen.stalls, 1);
    assert_in_range(w.screen.stall_us, 600000, 800000);
}

static void a_picture_after_its_time_is_a_miss_and_a_stall(void **state)
{
    stream(4, 0, 1, 0);
    arrive(800000, (struct kt_picture){.seq = 4, .epoch = 1, .pts_us = 4 * FRAME});
    pass(1000000);
    assert_int_equal(w.playout.missed, 1);
    assert_int_equal(w.playout.rebased, 1);
    assert_int_equal(w.screen.stalls, 1);
}

static void a_slower_device_is_no_stall(void **state)
{
    for (uint32_t i = 0; i < 20; i++) {
        arrive(i * 200000, (struct kt_picture){.seq = i, .epoch = 1, .pts_us = i * 200000});
    }
    pass(5000000);
    assert_int_equal(w.n, 20);
    assert_int_equal(w.screen.stalls, 0);
}

static void a_full_buffer_drops_the_oldest(void **state)
{
    for (uint32_t i = 0; i < KT_PLAYOUT_MAX + 3; i++) {
        arrive(0, (struct kt_picture){.seq = i, .epoch = 1, .pts_us = i * FRAME});
    }
    assert_int_equal(w.playout.overflowed, 3);
    pass(10000000);
    assert_int_equal(w.n, KT_PLAYOUT_MAX);
    assert_int_equal(w.shown[0].seq, 3);
}

static void an_older_epoch_on_the_screen_is_stale(void **state)
{
    kt_screen_show(&w.screen, &(struct kt_picture){.seq = 0, .epoch = 1}, 0);
    kt_screen_show(&w.screen, &(struct kt_picture){.seq = 1, .epoch = 2}, FRAME);
    kt_screen_show(&w.screen, &(struct kt_picture){.seq = 2, .epoch = 1}, 2 * FRAME);
    assert_int_equal(w.screen.stale, 1);
}

static void a_stall_at_the_end_counts(void **state)
{
    stream(4, 0, 1, 0);
    pass(1000000);
    kt_screen_end(&w.screen, w.now);
    assert_int_equal(w.screen.stalls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(pictures_on_time_are_shown_at_their_pts, setup),
        cmocka_unit_test_setup(flush_drops_what_waits_and_shows_now, setup),
        cmocka_unit_test_setup(an_epoch_without_flush_follows_in_order, setup),
        cmocka_unit_test_setup(late_moves_the_clock_behind_what_was_shown, setup),
        cmocka_unit_test_setup(a_picture_after_its_time_is_a_miss_and_a_stall, setup),
        cmocka_unit_test_setup(a_slower_device_is_no_stall, setup),
        cmocka_unit_test_setup(a_full_buffer_drops_the_oldest, setup),
        cmocka_unit_test_setup(an_older_epoch_on_the_screen_is_stale, setup),
        cmocka_unit_test_setup(a_stall_at_the_end_counts, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
