/* Going on from cold latents: exactly the stream that recached its window there, close to the one
 * that never stopped. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/kv/archive.h"
#include "tests/engine/fixture.h"

enum { PICTURE = 48 * 32 * 3 / 2, PICTURES = 4, BLOCKS = 9, BLOCK = 3 };

static struct kt_archive *open_archive(const struct fixture *f)
{
    struct kt_archive *a = NULL;
    struct kt_error err;
    struct kt_archive_params p = {.bytes_max = 8 << 20,
                                  .streams_max = 1,
                                  .latent_floats = f->latent,
                                  .window = f->e->shape.window,
                                  .sink = f->e->shape.sink};
    assert_int_equal(kt_archive_open(&a, &p, &err), 0);
    return a;
}

/* Nine blocks, archived; prompt b from block `change` on (0: never). */
static struct kt_timeline *archived_stream(struct fixture *f, struct kt_archive *a, int change,
                                           enum kt_transition tr)
{
    struct kt_timeline *t;
    struct kt_error err;
    float *latent = malloc(f->latent * sizeof(float));
    create(f, &t, 7);
    kt_archive_begin(a, 0, 7, "a");
    for (int block = 0; block < BLOCKS; block++) {
        if (change && block == change) {
            assert_int_equal(kt_timeline_switch(t, f->b, tr, 0, &err), 0);
            kt_archive_switch(a, 0, kt_timeline_latents(t), "b", tr == KT_TRANSITION_CUT, 0);
        }
        assert_int_equal(kt_timeline_block(t, 2, &err), 0);
        while (kt_timeline_decoded(t) < kt_timeline_latents(t)) {
            int64_t i = kt_timeline_decoded(t);
            assert_int_equal(kt_timeline_latent(t, i, latent), 0);
            kt_archive_put(a, 0, i, latent);
            assert_true(kt_timeline_decode(t, NULL, 0, &err) > 0);
        }
    }
    free(latent);
    return t;
}

static struct kt_timeline *resume(struct fixture *f, struct kt_archive *a, int64_t at)
{
    struct kt_archive_point p;
    struct kt_timeline *t = NULL;
    struct kt_error err;
    assert_int_equal(kt_archive_read(a, 0, at, &p), 0);
    struct kt_cold cold = {.at = p.at,
                           .sink_at = p.sink_at,
                           .n = p.n,
                           .window = p.window,
                           .sink = p.sink,
                           .context = p.text[0] == 'a' ? f->a : f->b,
                           .sink_context = p.sink_text[0] == 'a' ? f->a : f->b,
                           .seed = p.seed};
    if (kt_timeline_resume(f->e, &t, &cold, &err) < 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(kt_timeline_latents(t), at);
    assert_int_equal(kt_timeline_decoded(t), at);
    return t;
}

static double distance(const float *x, const float *y, size_t n)
{
    double diff = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        diff += (double)(x[i] - y[i]) * (x[i] - y[i]);
        norm += (double)y[i] * y[i];
    }
    return sqrt(diff / norm);
}

/* Relative distance of the next block's latents; the two go on. */
static double next_block(struct fixture *f, struct kt_timeline *x, struct kt_timeline *y)
{
    struct kt_error err;
    int64_t at = kt_timeline_latents(x);
    float *a = malloc(f->latent * sizeof(float)), *b = malloc(f->latent * sizeof(float));
    double most = 0;
    assert_int_equal(kt_timeline_block(x, 2, &err), 0);
    assert_int_equal(kt_timeline_block(y, 2, &err), 0);
    for (int i = 0; i < BLOCK; i++) {
        assert_int_equal(kt_timeline_latent(x, at + i, a), 0);
        assert_int_equal(kt_timeline_latent(y, at + i, b), 0);
        most = fmax(most, distance(a, b, f->latent));
    }
    free(a);
    free(b);
    return most;
}

static const struct tiny_model_options k_model = {.window = 12, .sink = 3, .block = BLOCK};

static void it_is_the_stream_that_recached(void **state)
{
    struct fixture f;
    struct kt_error err;
    for (int change = 0; change < 6; change += 5) {
        for (int absolute = 0; absolute < 2; absolute++) {
            struct tiny_model_options o = k_model;
            o.absolute_rope = absolute;
            open_fixture(&f, &o);
            struct kt_archive *a = open_archive(&f);
            struct kt_timeline *t = archived_stream(&f, a, change, KT_TRANSITION_CUT);
            struct kt_timeline *u = resume(&f, a, BLOCKS * BLOCK);
            assert_int_equal(kt_timeline_switch(t, change ? f.b : f.a, KT_TRANSITION_CUT, 0, &err),
                             0);
            assert_true(next_block(&f, u, t) == 0);
            assert_true(next_block(&f, u, t) == 0);
            /* A later switch to another scene finds all the latents that it needs. */
            assert_int_equal(kt_timeline_switch(t, f.c, KT_TRANSITION_SCENE, 0, &err), 0);
            assert_int_equal(kt_timeline_switch(u, f.c, KT_TRANSITION_SCENE, 0, &err), 0);
            assert_true(next_block(&f, u, t) == 0);
            kt_timeline_destroy(&t);
            kt_timeline_destroy(&u);
            kt_archive_close(&a);
            close_fixture(&f);
        }
    }
}

/* Against the stream that never stopped: its pages saw only what came before them, the recached
 * ones see each other. That moves the tiny model's next block by 0.001 of its norm, another prompt
 * by 0.33. */
static void it_is_close_to_never_having_stopped(void **state)
{
    struct fixture f;
    struct kt_error err;
    struct kt_timeline *other;
    double worst = 0, prompt = 1e9;
    for (int change = 0; change < 6; change += 5) {
        open_fixture(&f, &k_model);
        struct kt_archive *a = open_archive(&f);
        struct kt_timeline *t = archived_stream(&f, a, change, KT_TRANSITION_CUT);
        struct kt_timeline *u = resume(&f, a, BLOCKS * BLOCK), *plain;
        assert_int_equal(kt_timeline_branch(t, &other, BLOCKS * BLOCK, &err), 0);
        assert_int_equal(kt_timeline_branch(t, &plain, BLOCKS * BLOCK, &err), 0);
        assert_int_equal(kt_timeline_switch(other, f.c, KT_TRANSITION_CUT, 0, &err), 0);
        prompt = fmin(prompt, next_block(&f, other, plain));
        worst = fmax(worst, next_block(&f, u, t));
        kt_timeline_destroy(&other);
        kt_timeline_destroy(&plain);
        kt_timeline_destroy(&t);
        kt_timeline_destroy(&u);
        kt_archive_close(&a);
        close_fixture(&f);
    }
    print_message("resumed %g, another prompt %g\n", worst, prompt);
    assert_true(worst < 0.004 && prompt > 0.1);
}

static struct kt_engine *open_demo(struct kt_timeline **t, float *latents)
{
    struct kt_engine_params p = {
        .model_dir = getenv("KT_DEMO"), .timelines_max = 2, .device = {.threads = 2}};
    struct kt_engine *e = NULL;
    struct kt_context *c = NULL;
    struct kt_error err;
    const int32_t ids[] = {30, 60, 90, 1};
    if (!p.model_dir || kt_engine_open(&e, &p, &err) < 0) {
        skip();
    }
    assert_int_equal(kt_context_from_ids(e, &c, ids, 4, &err), 0);
    assert_int_equal(kt_timeline_create(e, t, 7, c, &err), 0);
    kt_context_unref(&c);
    while (kt_timeline_latents(*t) < e->shape.window) {
        assert_int_equal(kt_timeline_block(*t, 2, &err), 0);
    }
    for (int i = 0; i < e->shape.window; i++) {
        assert_true(kt_timeline_decode(*t, NULL, 0, &err) > 0);
        assert_int_equal(kt_timeline_latent(*t, i, latents + e->latent_floats * (size_t)i), 0);
    }
    return e;
}

static void pass_latent(struct kt_timeline *from, struct kt_timeline *to, int64_t index)
{
    struct kt_slab_item *x = kt_history_clean(&from->history, index),
                        *y = kt_history_clean(&to->history, index);
    memcpy(y->data, x->data, from->engine->latent_floats * sizeof(float));
}

/* The demo model's decoder: the same latents after the resumed tail and after the running one are
 * 0.1 of 255 apart, 0.005 once three more latents have passed. (A decoder of random weights
 * remembers for longer than anybody would wait.) */
static void pictures_join(void **state)
{
    enum { LATENT = 16 * 24 * 14, PIXELS = 192 * 112 * 3 / 2 * 4 };
    struct kt_timeline *t, *u;
    struct kt_error err;
    static float latents[12 * LATENT];
    static uint8_t x[PIXELS], y[PIXELS];
    const double bound[] = {0.4, 0.2, 0.1};
    struct kt_engine *e = open_demo(&t, latents);
    assert_int_equal(e->latent_floats, LATENT);
    struct kt_cold cold = {.at = 12,
                           .n = 12,
                           .window = latents,
                           .sink = latents,
                           .context = t->context,
                           .sink_context = t->context,
                           .seed = 7};
    assert_int_equal(kt_timeline_resume(e, &u, &cold, &err), 0);
    assert_int_equal(kt_timeline_block(t, 2, &err), 0);
    assert_int_equal(kt_timeline_block(u, 2, &err), 0);
    for (int latent = 0; latent < 3; latent++) {
        double sum = 0;
        pass_latent(t, u, 12 + latent);
        assert_int_equal(kt_timeline_decode(t, x, PIXELS / 4, &err), 4);
        assert_int_equal(kt_timeline_decode(u, y, PIXELS / 4, &err), 4);
        for (int i = 0; i < PIXELS; i++) {
            sum += (x[i] - y[i]) * (x[i] - y[i]);
        }
        print_message("latent %d: %g of 255\n", latent, sqrt(sum / PIXELS));
        assert_true(sqrt(sum / PIXELS) < bound[latent]);
    }
    kt_timeline_destroy(&t);
    kt_timeline_destroy(&u);
    kt_engine_close(&e);
}

/* At every position: near the start, in the sink, after another scene; it goes on from there. */
static void it_goes_on_from_anywhere(void **state)
{
    struct fixture f;
    struct kt_error err;
    for (int scene = 0; scene < 2; scene++) {
        open_fixture(&f, &k_model);
        struct kt_archive *a = open_archive(&f);
        struct kt_timeline *t =
            archived_stream(&f, a, 5, scene ? KT_TRANSITION_SCENE : KT_TRANSITION_CUT);
        kt_timeline_destroy(&t);
        for (int64_t at = 1; at <= BLOCKS * BLOCK; at++) {
            struct kt_timeline *u = resume(&f, a, at);
            assert_int_equal(kt_timeline_rewind(u, at - 1, &err), -ERANGE);
            assert_int_equal(kt_timeline_block(u, 1, &err), 0);
            assert_true(kt_timeline_decode(u, NULL, 0, &err) > 0);
            assert_int_equal(kt_timeline_switch(u, f.c, KT_TRANSITION_SCENE, 0, &err), 0);
            assert_int_equal(kt_timeline_block(u, 1, &err), 0);
            kt_timeline_destroy(&u);
        }
        kt_archive_close(&a);
        close_fixture(&f);
    }
}

static void what_does_not_fit_is_refused(void **state)
{
    struct fixture f;
    struct kt_error err;
    struct kt_timeline *t = NULL;
    open_fixture(&f, &k_model);
    float *latents = calloc(20, f.latent * sizeof(float));
    struct kt_cold good = {
        .at = 15, .n = 12, .window = latents, .sink = latents, .context = f.a, .sink_context = f.a};
    struct kt_cold bad[5] = {good, good, good, good, good};
    bad[0].n = 11, bad[1].at = 0, bad[2].sink = NULL, bad[3].sink_at = 13, bad[4].n = 16;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(kt_timeline_resume(f.e, &t, &bad[i], &err), -EINVAL);
        assert_null(t);
    }
    struct kt_slab_item *taken[1024];
    int count = 0;
    while ((taken[count] = kt_slab_take(&f.e->pages))) {
        count++;
    }
    assert_int_equal(kt_timeline_resume(f.e, &t, &good, &err), -ENOBUFS);
    while (count > 0) {
        kt_slab_unref(&taken[--count]);
    }
    assert_int_equal(kt_timeline_resume(f.e, &t, &good, &err), 0);
    kt_timeline_destroy(&t);
    free(latents);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_stream_that_recached),
        cmocka_unit_test(it_is_close_to_never_having_stopped),
        cmocka_unit_test(pictures_join),
        cmocka_unit_test(it_goes_on_from_anywhere),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
