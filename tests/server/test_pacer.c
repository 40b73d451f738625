/* The pacer on a virtual clock: a device that makes pictures, a client that shows and reports them.
 */
#include "server/pacer.h"
#include "tests/proto/test.h"

#include <string.h>

enum { FPS = 16, INTERVAL = 62500, LEAD = 250000, PICTURES_MAX = 4096 };

struct world {
    struct kt_pacer p;
    int64_t now;
    /* device */
    double device_fps; /* makes latents of 4 */
    int64_t latent_at;
    int raw, raw_max;
    /* client */
    int64_t one_way_us, report_at;
    double client_rate; /* 1: shows in real time */
    int64_t anchor_pts, anchor_at;
    int reporting;
    /* what went out */
    int n;
    int64_t at[PICTURES_MAX], pts[PICTURES_MAX], duration[PICTURES_MAX];
    int late[PICTURES_MAX];
};

static struct world w;

static void start(double device_fps, int64_t one_way_us)
{
    memset(&w, 0, sizeof(w));
    w.now = 1000000;
    w.device_fps = device_fps;
    w.latent_at = w.now;
    w.raw_max = 8;
    w.one_way_us = one_way_us;
    w.client_rate = 1;
    w.reporting = 1;
    kt_pacer_init(&w.p, FPS, LEAD);
}

static void produce(void)
{
    while (w.now >= w.latent_at && w.raw <= w.raw_max - 4) {
        w.raw += 4;
        w.latent_at = w.now + (int64_t)(4e6 / w.device_fps);
    }
}

static void take(int flush)
{
    w.raw--;
    const struct kt_slot s = kt_pacer_take(&w.p, w.now, flush, w.raw);
    assert_true(w.n < PICTURES_MAX);
    assert_int_equal(s.number, w.n);
    w.at[w.n] = w.now;
    w.pts[w.n] = s.pts_us;
    w.duration[w.n] = s.duration_us;
    w.late[w.n] = s.late;
    if (w.n == 0 || flush || s.late) {
        w.anchor_pts = s.pts_us;
        w.anchor_at = w.now + w.one_way_us;
    }
    w.n++;
}

static void send_due(void)
{
    if (kt_pacer_due_us(&w.p) > w.now) {
        return;
    }
    if (w.raw > 0) {
        take(0);
    } else if (w.now >= kt_pacer_dry_us(&w.p)) {
        kt_pacer_starved(&w.p);
    }
}

/* The last picture that the client has and whose time has come. */
static void report(void)
{
    if (!w.reporting || w.now < w.report_at || w.n == 0) {
        return;
    }
    w.report_at = w.now + 100000;
    const int64_t seen = w.now - w.one_way_us; /* the report was under way */
    const int64_t head = w.anchor_pts + (int64_t)((double)(seen - w.anchor_at) * w.client_rate);
    for (int i = w.n - 1; i >= 0; i--) {
        if (w.pts[i] <= head && w.at[i] + w.one_way_us <= seen) {
            kt_pacer_report(&w.p, w.now, (uint64_t)i, w.pts[i], 2 * w.one_way_us);
            return;
        }
    }
}

static void run_for(int64_t us)
{
    for (const int64_t end = w.now + us; w.now < end; w.now += 1000) {
        produce();
        report();
        send_due();
    }
}

static void assert_no_bursts(int from)
{
    for (int i = from + 1; i < w.n; i++) {
        assert_true(w.at[i] - w.at[i - 1] >= INTERVAL / 2);
        assert_true(w.pts[i] > w.pts[i - 1]);
    }
}

static double rate_over(int64_t from, int64_t to)
{
    int n = 0;
    for (int i = 0; i < w.n; i++) {
        n += w.at[i] >= from && w.at[i] < to;
    }
    return n * 1e6 / (double)(to - from);
}

static void steady_stream(void **state)
{
    start(32, 5000);
    run_for(20000000);
    assert_no_bursts(0);
    assert_true(w.n >= 20 * FPS && w.n <= 20 * FPS + 8);
    for (int i = 0; i < w.n; i++) {
        assert_int_equal(w.pts[i], (int64_t)i * INTERVAL);
        assert_false(w.late[i]);
        /* never further ahead of what is shown than the lead, the round trip and the estimate's
         * error */
        assert_true(w.pts[i] - (w.at[i] - w.at[0]) <= LEAD + 10000 + INTERVAL);
    }
    /* and the lead is really used: a hiccup of 150 ms would not be seen */
    assert_true(w.pts[w.n - 1] - (w.at[w.n - 1] - w.at[0] - w.one_way_us) >= 150000);
}

static void slow_device_plays_evenly(void **state)
{
    start(10, 5000);
    kt_pacer_sustained(&w.p, 10);
    run_for(20000000);
    assert_no_bursts(0);
    for (int i = 40; i < w.n; i++) {
        assert_false(w.late[i]);
        assert_in_range(w.pts[i] - w.pts[i - 1], 99000, 115000);
    }
    assert_true(kt_pacer_fps(&w.p) < 10.1 && kt_pacer_fps(&w.p) > 8.5);
}

/* Nobody says that the device is slow: the pacer finds out, and forgets when it is fast again. */
static void slow_device_is_noticed(void **state)
{
    start(10, 5000);
    run_for(30000000);
    assert_no_bursts(0);
    assert_true(kt_pacer_fps(&w.p) < 11.5);
    int late = 0;
    for (int i = 0; i < w.n; i++) {
        late += w.at[i] > 21000000 && w.late[i];
    }
    assert_true(late <= 5);
    w.device_fps = 40;
    run_for(20000000);
    assert_true(kt_pacer_fps(&w.p) > 15.9);
    assert_no_bursts(0);
}

static void stall_is_followed_by_no_burst(void **state)
{
    start(32, 5000);
    run_for(3000000);
    w.latent_at = w.now + 3000000; /* the device does something else for 3 s */
    run_for(8000000);
    assert_no_bursts(0);
    int late = 0;
    for (int i = 1; i < w.n; i++) {
        late += w.late[i];
        if (w.late[i]) {
            assert_true(w.pts[i] - w.pts[i - 1] > 1000000); /* the clock went on */
        }
    }
    assert_int_equal(late, 1);
    assert_true(rate_over(w.now - 3000000, w.now) > 13);
}

static void flush_goes_out_at_once(void **state)
{
    start(32, 20000);
    run_for(3003000);
    assert_true(kt_pacer_due_us(&w.p) > w.now - 2000);
    const int at = w.n;
    w.raw = 4;
    take(1);
    assert_int_equal(w.at[at], w.now);
    assert_false(w.late[at]);
    assert_true(w.pts[at] > w.pts[at - 1]);
    run_for(2000000);
    assert_no_bursts(at);
    /* The lead is full again within half a second, and not more than full. */
    const int64_t ahead = w.pts[w.n - 1] - w.pts[at] - (w.at[w.n - 1] - w.at[at]);
    assert_in_range(ahead, 150000, LEAD + 2 * 20000 + INTERVAL);
}

static void silent_client_stops_the_stream(void **state)
{
    start(64, 5000);
    run_for(2000000);
    w.reporting = 0;
    const int before = w.n;
    run_for(10000000);
    /* believed for a second, and the lead */
    assert_true(w.n - before <= (1000000 + LEAD + 20000) / INTERVAL + 1);
    assert_true(kt_pacer_due_us(&w.p) == KT_PACER_NEVER || kt_pacer_due_us(&w.p) > w.now);
    w.reporting = 1;
    w.anchor_pts = w.pts[w.n - 1];
    w.anchor_at = w.now;
    run_for(3000000);
    assert_true(rate_over(w.now - 2000000, w.now) > 14);
    assert_no_bursts(0);
}

static void lagging_client_slows_its_own_stream(void **state)
{
    start(64, 5000);
    w.client_rate = 0.5;
    run_for(20000000);
    assert_no_bursts(0);
    assert_true(rate_over(w.now - 10000000, w.now) < 10);
    for (int i = 1; i < w.n; i++) {
        assert_false(w.late[i]);
        assert_int_equal(w.pts[i] - w.pts[i - 1], INTERVAL);
    }
}

static void lying_client_gains_nothing(void **state)
{
    start(64, 5000);
    for (int i = 0; i < 20000; i++, w.now += 1000) {
        produce();
        if (w.n > 0) { /* says that everything sent was shown already */
            kt_pacer_report(&w.p, w.now, (uint64_t)w.n - 1, w.pts[w.n - 1], 2000000);
            kt_pacer_report(&w.p, w.now, (uint64_t)w.n + 999, INT64_MAX / 4, 2000000);
        }
        send_due();
    }
    assert_no_bursts(0);
    /* The wall clock holds: real time plus lead plus the round trip it claims. */
    assert_true(w.n <= (20000000 + LEAD + 2000000) / INTERVAL + 2);
}

static void pause_starts_anew(void **state)
{
    start(32, 5000);
    run_for(2000000);
    const int at = w.n;
    w.now += 60000000;
    kt_pacer_restart(&w.p);
    assert_true(kt_pacer_due_us(&w.p) <= w.now);
    run_for(3000000);
    assert_true(w.late[at]);
    assert_no_bursts(at);
    assert_true(w.n - at <= 3 * FPS + 6);
    for (int i = at + 1; i < w.n; i++) {
        assert_false(w.late[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steady_stream),
        cmocka_unit_test(slow_device_plays_evenly),
        cmocka_unit_test(slow_device_is_noticed),
        cmocka_unit_test(stall_is_followed_by_no_burst),
        cmocka_unit_test(flush_goes_out_at_once),
        cmocka_unit_test(silent_client_stops_the_stream),
        cmocka_unit_test(lagging_client_slows_its_own_stream),
        cmocka_unit_test(lying_client_gains_nothing),
        cmocka_unit_test(pause_starts_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
