/* Previews show what a block is going to be and change nothing; blends lie between two prompts. */
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

#include "engine/base/hash.h"
#include "tests/engine/fixture.h"

enum { PICTURE = 48 * 32 * 3 / 2, PICTURES = 4 };

/* What the next block under `c` looks like; the stream stays where it is. */
static uint64_t next_block(struct fixture *f, struct kt_timeline *t, struct kt_context *c)
{
    struct kt_timeline *branch;
    struct kt_error err;
    uint64_t hash = 0, one;
    int64_t at = kt_timeline_latents(t);
    assert_int_equal(kt_timeline_branch(t, &branch, at, &err), 0);
    assert_int_equal(kt_timeline_switch(branch, c, KT_TRANSITION_CUT, 0, &err), 0);
    assert_int_equal(kt_timeline_block(branch, 0, &err), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kt_timeline_latent_hash(branch, at + i, &one), 0);
        hash = kt_hash64(&one, sizeof(one), hash);
    }
    kt_timeline_destroy(&branch);
    return hash;
}

/* The rows that make_context gives, zeros behind them. */
static void rows_of(const struct fixture *f, int seed, int n, float *rows)
{
    int dim = f->e->config.dit.text_dim;
    for (int i = 0; i < 12 * dim; i++) {
        rows[i] = i < n * dim ? (float)((i * 37 + seed * 101) % 41 - 20) / 10.0f : 0;
    }
}

static void a_blend_lies_between(void **state)
{
    struct fixture f;
    struct kt_error err;
    struct kt_timeline *t;
    struct kt_context *c;
    float a[12 * 24], b[12 * 24];
    open_fixture(&f, &(struct tiny_model_options){0});
    create(&f, &t, 7);
    assert_int_equal(kt_timeline_block(t, 1, &err), 0);
    uint64_t under_a = next_block(&f, t, f.a), under_b = next_block(&f, t, f.b);
    assert_true(under_a != under_b);
    assert_int_equal(kt_context_blend(f.e, &c, f.a, f.b, 0, &err), 0);
    assert_true(next_block(&f, t, c) == under_a);
    kt_context_unref(&c);
    assert_int_equal(kt_context_blend(f.e, &c, f.a, f.b, 1, &err), 0);
    assert_true(next_block(&f, t, c) == under_b);
    kt_context_unref(&c);
    rows_of(&f, 1, 5, a), rows_of(&f, 2, 9, b);
    for (int i = 0; i < 12 * 24; i++) {
        a[i] = 0.5f * a[i] + 0.5f * b[i]; /* exact: fused or not */
    }
    assert_int_equal(kt_context_from_rows(f.e, &c, a, 9, &err), 0);
    uint64_t by_hand = next_block(&f, t, c);
    kt_context_unref(&c);
    assert_int_equal(kt_context_blend(f.e, &c, f.a, f.b, 0.5f, &err), 0);
    assert_true(next_block(&f, t, c) == by_hand);
    assert_true(by_hand != under_a && by_hand != under_b);
    kt_context_unref(&c);
    kt_timeline_destroy(&t);
    close_fixture(&f);
}

/* Places for prompts are used again and again: what a longer prompt left behind must not show. */
static void a_blend_knows_no_older_prompt(void **state)
{
    struct fixture f;
    struct kt_error err;
    struct kt_timeline *t;
    struct kt_context *c, *blend, *many[32];
    uint64_t hash[2];
    open_fixture(&f, &(struct tiny_model_options){0});
    create(&f, &t, 7);
    assert_int_equal(kt_timeline_block(t, 1, &err), 0);
    for (int round = 0; round < 2; round++) {
        c = make_context(f.e, 9, 2);
        assert_int_equal(kt_context_blend(f.e, &blend, c, f.b, 0.5f, &err), 0);
        hash[round] = next_block(&f, t, blend);
        kt_context_unref(&c);
        kt_context_unref(&blend);
        for (int i = 0; i < 12; i++) {
            many[i] = make_context(f.e, 20 + i, 12);
        }
        for (int i = 0; i < 12; i++) {
            kt_context_unref(&many[i]);
        }
    }
    assert_true(hash[0] == hash[1]);
    kt_timeline_destroy(&t);
    close_fixture(&f);
}

static void a_wrong_blend_is_refused(void **state)
{
    struct fixture f;
    struct kt_error err;
    struct kt_context *c = NULL;
    const float wrong[] = {-0.1f, 1.1f, NAN};
    open_fixture(&f, &(struct tiny_model_options){0});
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kt_context_blend(f.e, &c, f.a, f.b, wrong[i], &err), -EINVAL);
        assert_null(c);
    }
    close_fixture(&f);
}

/* After the last step the preview is the first latent's pictures, bit for bit; after earlier ones
 * something else; and the stream never notices. */
static void a_preview_is_what_will_be(void **state)
{
    struct fixture f;
    struct kt_error err;
    struct kt_timeline *t, *plain;
    struct kt_engine_info before, after;
    static uint8_t preview[4][PICTURES * PICTURE], shown[PICTURES * PICTURE];
    open_fixture(&f, &(struct tiny_model_options){0});
    create(&f, &t, 7);
    create(&f, &plain, 7);
    for (int block = 0; block < 4; block++) {
        int frames = block ? 4 : 1, steps = 0;
        assert_int_equal(kt_timeline_block_begin(t, 0, &err), 0);
        assert_int_equal(kt_timeline_preview(t, shown, PICTURE, &err), -EINVAL);
        for (int more = 1; more; steps++) {
            more = kt_timeline_block_step(t, &err);
            kt_engine_get_info(f.e, &before);
            assert_int_equal(kt_timeline_preview(t, preview[steps], PICTURE, &err), frames);
            kt_engine_get_info(f.e, &after);
            assert_int_equal(after.tails_used, before.tails_used);
        }
        assert_int_equal(steps, 4);
        assert_int_equal(kt_timeline_block_commit(t, &err), 0);
        assert_int_equal(kt_timeline_decode(t, shown, PICTURE, &err), frames);
        assert_memory_equal(shown, preview[3], (size_t)frames * PICTURE);
        assert_memory_not_equal(shown, preview[0], (size_t)frames * PICTURE);
        assert_true(kt_timeline_decode(t, shown, PICTURE, &err) > 0);
        assert_int_equal(kt_timeline_block(plain, 0, &err), 0);
    }
    for (int64_t i = 4; i < 8; i++) {
        uint64_t x, y;
        assert_int_equal(kt_timeline_latent_hash(t, i, &x), 0);
        assert_int_equal(kt_timeline_latent_hash(plain, i, &y), 0);
        assert_true(x == y);
    }
    kt_timeline_destroy(&t);
    kt_timeline_destroy(&plain);
    close_fixture(&f);
}

/* With a preview_vae: its pictures, from a warm state, and again nothing changes or is allocated.
 */
static void the_preview_vae_draws_it(void **state)
{
    struct fixture f;
    struct kt_error err;
    struct kt_timeline *t;
    struct kt_engine_info info;
    struct kt_queue_stats before, after;
    static uint8_t first[PICTURES * PICTURE], again[PICTURES * PICTURE], full[PICTURES * PICTURE];
    open_fixture(&f, &(struct tiny_model_options){.preview = 1});
    assert_non_null(f.e->preview_vae);
    assert_int_equal(kt_engine_warm_up(f.e, &err), 0);
    f.e->dev->k.queue_stats(f.e->dev->q, &before);
    create(&f, &t, 7);
    for (int block = 0; block < 2; block++) {
        int frames = block ? 4 : 1;
        assert_int_equal(kt_timeline_block_begin(t, 1, &err), 0);
        assert_int_equal(kt_timeline_block_step(t, &err), 0);
        assert_int_equal(kt_timeline_preview(t, first, PICTURE, &err), frames);
        assert_int_equal(kt_timeline_preview(t, again, PICTURE, &err), frames);
        assert_memory_equal(first, again, (size_t)frames * PICTURE);
        assert_int_equal(kt_timeline_block_commit(t, &err), 0);
        assert_int_equal(kt_timeline_decode(t, full, PICTURE, &err), frames);
        assert_memory_not_equal(first, full, (size_t)frames * PICTURE);
        assert_int_equal(kt_timeline_decode(t, full, PICTURE, &err), 4);
    }
    f.e->dev->k.queue_stats(f.e->dev->q, &after);
    assert_int_equal(after.allocs, before.allocs);
    kt_engine_get_info(f.e, &info);
    assert_int_equal(kt_vae_tails_in_use(f.e->preview_vae), 0);
    kt_timeline_destroy(&t);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blend_lies_between),     cmocka_unit_test(a_blend_knows_no_older_prompt),
        cmocka_unit_test(a_wrong_blend_is_refused), cmocka_unit_test(a_preview_is_what_will_be),
        cmocka_unit_test(the_preview_vae_draws_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
