/* What a timeline promises: the same decisions give the same bits, whatever was begun, abandoned,
 * forked or rolled back meanwhile; snapshots copy nothing; a recache of what is needed equals a
 * recache of everything. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/fixture.h"

/* The script that several tests share: switches of both kinds, changing step counts, longer than
 * the window. */
static void record_script(struct fixture *f, struct tape *tape, struct kt_timeline *t, int from,
                          int to)
{
    struct kt_error err;
    for (int block = from; block < to; block++) {
        if (block == 2) {
            assert_int_equal(kt_timeline_switch(t, f->b, KT_TRANSITION_CUT, 0, &err), 0);
        } else if (block == 5) {
            assert_int_equal(kt_timeline_switch(t, f->c, KT_TRANSITION_CUT, 0, &err), 0);
        } else if (block == 7) {
            assert_int_equal(kt_timeline_switch(t, f->a, KT_TRANSITION_SCENE, 0, &err), 0);
        }
        record_block(f, tape, t, block == 4 ? 2 : 0);
    }
}

static void same_decisions_same_bits(void **state)
{
    struct fixture f;
    struct tape x, y, z;
    struct kt_timeline *t;
    open_fixture(&f, &(struct tiny_model_options){0});
    tape_init(&x, &f), tape_init(&y, &f), tape_init(&z, &f);
    create(&f, &t, 7);
    record_script(&f, &x, t, 0, 10);
    kt_timeline_destroy(&t);
    create(&f, &t, 7);
    record_script(&f, &y, t, 0, 10);
    kt_timeline_destroy(&t);
    create(&f, &t, 8);
    record_script(&f, &z, t, 0, 10);
    kt_timeline_destroy(&t);
    assert_tapes_equal(&f, &x, &y);
    assert_memory_not_equal(x.latents, z.latents, f.latent * sizeof(float));
    tape_free(&x), tape_free(&y), tape_free(&z);
    close_fixture(&f);
}

/* Drafts begun on forks at every block and abandoned between steps leave no trace, and neither does
 * another live timeline. */
static void drafts_leave_no_trace(void **state)
{
    struct fixture f;
    struct tape x, y, other;
    struct kt_timeline *t, *draft, *neighbour;
    struct kt_error err;
    open_fixture(&f, &(struct tiny_model_options){0});
    tape_init(&x, &f), tape_init(&y, &f), tape_init(&other, &f);
    create(&f, &t, 7);
    record_script(&f, &x, t, 0, 10);
    kt_timeline_destroy(&t);
    create(&f, &t, 7);
    create(&f, &neighbour, 99);
    for (int block = 0; block < 10; block++) {
        struct kt_snapshot *s;
        record_script(&f, &y, t, block, block + 1);
        assert_int_equal(kt_timeline_snapshot(t, &s, &err), 0);
        assert_int_equal(kt_timeline_fork(f.e, &draft, s, &err), 0);
        kt_snapshot_unref(&s);
        assert_int_equal(kt_timeline_switch(draft, f.c, KT_TRANSITION_SCENE, 0, &err), 0);
        assert_int_equal(kt_timeline_block_begin(draft, 0, &err), 0);
        for (int i = 0; i < block % 4; i++) {
            assert_int_equal(kt_timeline_block_step(draft, &err), 1);
        }
        kt_timeline_destroy(&draft);
        record_block(&f, &other, neighbour, 1);
    }
    kt_timeline_destroy(&t);
    kt_timeline_destroy(&neighbour);
    assert_tapes_equal(&f, &x, &y);
    tape_free(&x), tape_free(&y), tape_free(&other);
    close_fixture(&f);
}

static void rollback_equals_never_having_gone_ahead(void **state)
{
    struct fixture f;
    struct tape x, y;
    struct kt_timeline *t;
    struct kt_error err;
    struct kt_engine_info info;
    open_fixture(&f, &(struct tiny_model_options){0});
    tape_init(&x, &f), tape_init(&y, &f);
    create(&f, &t, 7);
    record_script(&f, &x, t, 0, 10);
    kt_timeline_destroy(&t);
    create(&f, &t, 7);
    for (int block = 0; block < 10;
         block++) { /* three blocks ahead under another prompt, and back */
        struct kt_snapshot *s;
        struct tape ahead;
        tape_init(&ahead, &f);
        assert_int_equal(kt_timeline_snapshot(t, &s, &err), 0);
        assert_int_equal(kt_timeline_switch(t, f.c, KT_TRANSITION_CUT, 0, &err), 0);
        for (int i = 0; i < 3; i++) {
            record_block(&f, &ahead, t, i + 1);
        }
        assert_int_equal(kt_timeline_block_begin(t, 0, &err), 0);
        assert_int_equal(kt_timeline_block_step(t, &err), 1);
        assert_int_equal(kt_timeline_restore(t, s, &err), 0);
        kt_snapshot_unref(&s);
        tape_free(&ahead);
        record_script(&f, &y, t, block, block + 1);
    }
    kt_timeline_destroy(&t);
    assert_tapes_equal(&f, &x, &y);
    kt_engine_get_info(f.e, &info);
    assert_int_equal(info.snapshot_bytes_copied, 0);
    tape_free(&x), tape_free(&y);
    close_fixture(&f);
}

/* Rewinding into the middle of a block and going on equals a stream that was made with that cut
 * from the start. */
static void rewind_cuts_inside_a_block(void **state)
{
    struct fixture f;
    struct tape x, y;
    struct kt_timeline *t, *u;
    struct kt_error err;
    open_fixture(&f, &(struct tiny_model_options){0});
    tape_init(&x, &f), tape_init(&y, &f);
    create(&f, &t, 7);
    create(&f, &u, 7);
    for (int i = 0; i < 5; i++) {
        record_block(&f, &x, t, 0);
        record_block(&f, &y, u, 0);
    }
    int64_t end = kt_timeline_latents(t);
    assert_int_equal(kt_timeline_rewind(t, end - 1, &err), 0);
    record_block(&f, &x, t, 0);
    assert_int_equal(kt_timeline_latents(t), end + 1);
    /* u goes ahead first, then back to the same cut. */
    record_block(&f, &y, u, 1);
    assert_int_equal(kt_timeline_rewind(u, end - 1, &err), 0);
    record_block(&f, &y, u, 0);
    assert_memory_equal(x.latents, y.latents, f.latent * sizeof(float) * (size_t)(end + 1));
    assert_int_equal(kt_timeline_rewind(t, 1, &err), -ERANGE); /* too many pictures back */
    assert_int_equal(kt_timeline_switch(t, f.b, KT_TRANSITION_CUT, 0, &err), 0);
    assert_int_equal(kt_timeline_rewind(t, end - 1, &err), -ERANGE);
    assert_int_equal(kt_timeline_latents(t), end + 1);
    kt_timeline_destroy(&t);
    kt_timeline_destroy(&u);
    tape_free(&x), tape_free(&y);
    close_fixture(&f);
}

/* What is decoded after a rewind continues from the tail of that position, not from pictures that
 * were taken back. */
static void rewind_takes_the_decoder_back(void **state)
{
    struct fixture f;
    struct kt_timeline *ahead, *plain;
    struct kt_error err;
    open_fixture(&f, &(struct tiny_model_options){0});
    size_t picture = (size_t)f.e->vae_info.width * (size_t)f.e->vae_info.height * 3 / 2;
    uint8_t *x = calloc(8, picture), *y = calloc(8, picture);
    create(&f, &ahead, 7);
    create(&f, &plain, 7);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(kt_timeline_block(ahead, 1, &err), 0);
        assert_int_equal(kt_timeline_block(plain, 1, &err), 0);
    }
    while (kt_timeline_decoded(ahead) < 8) {
        assert_true(kt_timeline_decode(ahead, x, picture, &err) > 0);
    }
    while (kt_timeline_decoded(plain) < 5) {
        assert_true(kt_timeline_decode(plain, y, picture, &err) > 0);
    }
    assert_int_equal(kt_timeline_rewind(ahead, 5, &err), 0);
    assert_int_equal(kt_timeline_rewind(plain, 5, &err), 0);
    assert_int_equal(kt_timeline_decoded(ahead), 5);
    assert_int_equal(kt_timeline_block(ahead, 1, &err), 0);
    assert_int_equal(kt_timeline_block(plain, 1, &err), 0);
    for (int i = 0; i < 2; i++) {
        int n = kt_timeline_decode(ahead, x, picture, &err);
        assert_int_equal(kt_timeline_decode(plain, y, picture, &err), n);
        assert_memory_equal(x, y, picture * (size_t)n);
    }
    kt_timeline_destroy(&ahead);
    kt_timeline_destroy(&plain);
    free(x);
    free(y);
    close_fixture(&f);
}

/* Pages recached under a new prompt are nobody's old prompt: no way back across a switch without a
 * snapshot, in a short stream too. */
static void rewind_stops_at_a_switch(void **state)
{
    struct fixture f;
    struct kt_timeline *t;
    struct kt_error err;
    open_fixture(&f, &(struct tiny_model_options){0});
    create(&f, &t, 7);
    assert_int_equal(kt_timeline_block(t, 1, &err), 0);
    assert_int_equal(kt_timeline_block(t, 1, &err), 0);
    assert_int_equal(kt_timeline_rewind(t, 3, &err), 0);
    assert_int_equal(kt_timeline_switch(t, f.b, KT_TRANSITION_CUT, 0, &err), 0);
    assert_int_equal(kt_timeline_rewind(t, 2, &err), -ERANGE);
    assert_int_equal(kt_timeline_rewind(t, 3, &err), 0);
    kt_timeline_destroy(&t);
    close_fixture(&f);
}

/* The working copy of the window must notice that a block which came to nothing wrote over a slot
 * that is a page's again. */
static void abandoned_blocks_leave_the_window_alone(void **state)
{
    struct fixture f;
    struct tape x, y;
    struct kt_timeline *t;
    struct kt_snapshot *s;
    struct kt_error err;
    open_fixture(&f, &(struct tiny_model_options){0});
    tape_init(&x, &f), tape_init(&y, &f);
    create(&f, &t, 7);
    for (int i = 0; i < 3; i++) {
        record_block(&f, &x, t, 0);
    }
    kt_timeline_destroy(&t);
    create(&f, &t, 7);
    record_block(&f, &y, t, 0);
    record_block(&f, &y, t, 0);
    assert_int_equal(kt_timeline_snapshot(t, &s, &err), 0);
    assert_int_equal(kt_timeline_rewind(t, 2, &err), 0);
    assert_int_equal(kt_timeline_block_begin(t, 0, &err), 0);
    assert_int_equal(kt_timeline_block_step(t, &err), 1);
    assert_int_equal(kt_timeline_restore(t, s, &err), 0);
    kt_snapshot_unref(&s);
    record_block(&f, &y, t, 0);
    assert_tapes_equal(&f, &x, &y);
    kt_timeline_destroy(&t);
    tape_free(&x), tape_free(&y);
    close_fixture(&f);
}

/* Noise belongs to (seed, latent, step): another latent or step draws other noise, the same latent
 * the same, wherever its block begins. */
static void noise_is_keyed_by_latent_and_step(void **state)
{
    struct fixture f;
    struct kt_timeline *t;
    struct kt_error err;
    float first[2][2048], second[2][2048];
    open_fixture(&f, &(struct tiny_model_options){0});
    size_t n = f.latent, bytes = n * sizeof(float);
    assert_true(n <= 2048);
    create(&f, &t, 7);
    assert_int_equal(kt_timeline_block(t, 1, &err), 0);
    assert_int_equal(kt_timeline_block_begin(t, 0, &err), 0);
    for (int i = 0; i < 2; i++) {
        memcpy(first[i], t->block.x + n * (size_t)i, bytes);
    }
    assert_memory_not_equal(first[0], first[1], bytes);
    assert_int_equal(kt_timeline_block_step(t, &err), 1);
    memcpy(second[0], t->block.noise, bytes);
    assert_int_equal(kt_timeline_block_step(t, &err), 1);
    assert_memory_not_equal(second[0], first[0], bytes);
    assert_memory_not_equal(second[0], t->block.noise, bytes);
    kt_timeline_block_abandon(t);
    assert_int_equal(kt_timeline_block(t, 1, &err), 0);
    assert_int_equal(kt_timeline_rewind(t, 3, &err), 0);
    assert_int_equal(kt_timeline_block_begin(t, 0, &err), 0);
    assert_memory_equal(first[1], t->block.x, bytes);
    kt_timeline_destroy(&t);
    close_fixture(&f);
}

/* Recaches the whole window as upstream does: the frames that would land in the sink's slots are
 * computed along, but the kept sink stands in their place. */
static void recache_everything(struct fixture *f, struct kt_timeline *t, struct kt_context *context,
                               struct kt_slab_item **fresh)
{
    struct kt_engine *e = f->e;
    struct kt_error err;
    struct kt_history *h = &t->history;
    const float *x[KT_SLOTS_MAX];
    int64_t time[KT_SLOTS_MAX];
    int window = e->shape.window, sink = e->shape.sink;
    for (int i = 0; i < window; i++) {
        fresh[i] = i < sink ? NULL : kt_slab_take(&e->pages);
        x[i] = h->clean[h->clean_count - window + i]->data;
        time[i] = h->latents - window + i;
    }
    struct kt_dit_pass pass = {.prefix = h->sink,
                               .prefix_count = sink,
                               .x = x,
                               .time_index = time,
                               .frames = window,
                               .unseen = sink,
                               .row = kt_dit_clean_row(e->dit),
                               .context = &context->dit,
                               .pages = fresh};
    assert_int_equal(kt_dit_run(e->dit, &pass, &err), 0);
}

static void assert_pages_close(const struct fixture *f, const struct kt_slab_item *x,
                               const struct kt_slab_item *y)
{
    const float *a = x->data, *b = y->data;
    double diff = 0, norm = 0;
    for (size_t i = 0; i < f->e->pages.item_bytes / sizeof(float); i++) {
        diff += (double)(a[i] - b[i]) * (a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    assert_true(diff <= 1e-12 * norm); /* 1e-6 relative: only the order of sums may differ */
}

static void recache_of_the_needed_equals_all(void **state)
{
    struct fixture f;
    struct kt_timeline *t;
    struct kt_error err;
    struct tape x;
    struct kt_slab_item *fresh[KT_SLOTS_MAX];
    for (int absolute = 0; absolute < 2; absolute++) {
        open_fixture(&f, &(struct tiny_model_options){
                             .absolute_rope = absolute, .window = 12, .sink = 3, .block = 3});
        tape_init(&x, &f);
        create(&f, &t, 7);
        for (int i = 0; i < 6; i++) {
            record_block(&f, &x, t, 1);
        }
        recache_everything(&f, t, f.b, fresh);
        assert_int_equal(kt_timeline_switch(t, f.b, KT_TRANSITION_CUT, 0, &err), 0);
        assert_int_equal(t->history.page_count, 9);
        for (int i = 0; i < 9; i++) {
            assert_pages_close(&f, t->history.pages[i], fresh[3 + i]);
        }
        for (int i = 0; i < 12; i++) {
            kt_slab_unref(&fresh[i]);
        }
        kt_timeline_destroy(&t);
        tape_free(&x);
        close_fixture(&f);
    }
}

static void pools_run_dry_cleanly(void **state)
{
    struct fixture f;
    struct kt_timeline *t[5] = {0};
    struct kt_snapshot *s[64] = {0};
    struct kt_error err;
    struct tape x;
    int n = 0;
    open_fixture(&f, &(struct tiny_model_options){0});
    tape_init(&x, &f);
    for (int i = 0; i < 4; i++) {
        create(&f, &t[i], (uint64_t)i);
    }
    assert_int_equal(kt_timeline_create(f.e, &t[4], 4, f.a, &err), -ENOBUFS);
    assert_non_null(strstr(err.text, "4 timelines"));
    while (n < 64 && kt_timeline_snapshot(t[0], &s[n], &err) == 0) {
        n++;
    }
    assert_int_equal(n, f.e->snapshots_max);
    for (int i = 0; i < n; i++) {
        kt_snapshot_unref(&s[i]);
    }
    /* Pages: taken away from outside, the commit fails, the block stays, and goes on once pages are
     * back. */
    struct kt_slab_item *taken[1024];
    int count = 0;
    assert_int_equal(kt_timeline_block_begin(t[0], 1, &err), 0);
    assert_int_equal(kt_timeline_block_step(t[0], &err), 0);
    while ((taken[count] = kt_slab_take(&f.e->pages))) {
        count++;
    }
    assert_int_equal(kt_timeline_block_commit(t[0], &err), -ENOBUFS);
    while (count > 0) {
        kt_slab_unref(&taken[--count]);
    }
    assert_int_equal(kt_timeline_block_commit(t[0], &err), 0);
    assert_int_equal(kt_timeline_block_step(t[0], &err), -EINVAL);
    for (int i = 0; i < 4; i++) {
        kt_timeline_destroy(&t[i]);
    }
    tape_free(&x);
    close_fixture(&f);
}

/* After warm-up a stream allocates nothing, whatever happens to it. */
static void nothing_is_allocated_after_warm_up(void **state)
{
    struct fixture f;
    struct tape x;
    struct kt_timeline *t;
    struct kt_error err;
    struct kt_queue_stats before, after;
    open_fixture(&f, &(struct tiny_model_options){0});
    tape_init(&x, &f);
    assert_int_equal(kt_engine_warm_up(f.e, &err), 0);
    f.e->dev->k.queue_stats(f.e->dev->q, &before);
    uint64_t allocs = f.e->dev->stats.allocs;
    create(&f, &t, 7);
    record_script(&f, &x, t, 0, 10);
    kt_timeline_destroy(&t);
    f.e->dev->k.queue_stats(f.e->dev->q, &after);
    assert_int_equal(after.allocs, before.allocs);
    assert_int_equal(f.e->dev->stats.allocs, allocs);
    assert_true(after.launches > before.launches);
    tape_free(&x);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_decisions_same_bits),
        cmocka_unit_test(drafts_leave_no_trace),
        cmocka_unit_test(rollback_equals_never_having_gone_ahead),
        cmocka_unit_test(rewind_cuts_inside_a_block),
        cmocka_unit_test(rewind_takes_the_decoder_back),
        cmocka_unit_test(rewind_stops_at_a_switch),
        cmocka_unit_test(abandoned_blocks_leave_the_window_alone),
        cmocka_unit_test(noise_is_keyed_by_latent_and_step),
        cmocka_unit_test(recache_of_the_needed_equals_all),
        cmocka_unit_test(pools_run_dry_cleanly),
        cmocka_unit_test(nothing_is_allocated_after_warm_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
