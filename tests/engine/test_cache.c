/* A block's pictures may come before its keys and values: whenever the t = 0 pass is run, by its
 * own call or by one that needs what it writes, everything after it has the same bits. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/engine/fixture.h"

enum { BLOCK = 2, BLOCKS = 6 };

/* Two streams of the same decisions: `late` runs every t = 0 pass at once, `early` has its last one
 * still to come. */
struct pair {
    struct fixture f;
    struct kt_timeline *late, *early;
    struct tape x, y;
    struct kt_error err;
};

static void open_pair_of(struct pair *p, const struct tiny_model_options *o)
{
    open_fixture(&p->f, o);
    tape_init(&p->x, &p->f), tape_init(&p->y, &p->f);
    create(&p->f, &p->late, 7);
    create(&p->f, &p->early, 7);
    for (int i = 0; i < BLOCKS; i++) {
        record_block(&p->f, &p->x, p->late, 0);
        record_early_block(&p->f, &p->y, p->early, 0);
    }
}

static void open_pair(struct pair *p)
{
    open_pair_of(p, &(struct tiny_model_options){0});
}

static void close_pair(struct pair *p)
{
    kt_timeline_destroy(&p->late);
    kt_timeline_destroy(&p->early); /* with or without a pass to come: nothing is left behind */
    tape_free(&p->x), tape_free(&p->y);
    close_fixture(&p->f);
}

/* Both go on, and are the same. */
static void go_on(struct pair *p, struct kt_timeline *late, struct kt_timeline *early)
{
    record_block(&p->f, &p->x, late, 0);
    record_early_block(&p->f, &p->y, early, 0);
    record_block(&p->f, &p->x, late, 0);
    record_early_block(&p->f, &p->y, early, 0);
    assert_tapes_equal(&p->f, &p->x, &p->y);
}

static void by_its_own_call_or_the_next_block(void **state)
{
    const struct tiny_model_options models[] = {
        {0}, {.absolute_rope = 1}, {.window = 12, .sink = 3, .block = 3}, {.window = -1}};
    struct pair p;
    (void)state;
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++) {
        open_pair_of(&p, &models[i]);
        assert_tapes_equal(&p.f, &p.x, &p.y);
        assert_int_equal(kt_timeline_block_cache(p.late, &p.err), 0); /* there is nothing to do */
        assert_int_equal(kt_timeline_block_cache(p.early, &p.err), 1);
        assert_int_equal(kt_timeline_block_cache(p.early, &p.err), 0);
        go_on(&p, p.late, p.early); /* the second block's begin runs the first one's */
        close_pair(&p);
    }
}

/* Under the prompt that the block was made under, not the new one. */
static void by_a_switch(void **state)
{
    struct pair p;
    (void)state;
    for (int tr = KT_TRANSITION_CUT; tr <= KT_TRANSITION_SCENE; tr++) {
        open_pair(&p);
        assert_int_equal(kt_timeline_switch(p.late, p.f.b, tr, 2, &p.err), 0);
        assert_int_equal(kt_timeline_switch(p.early, p.f.b, tr, 2, &p.err), 0);
        assert_int_equal(kt_timeline_block_cache(p.early, &p.err), 0);
        go_on(&p, p.late, p.early);
        close_pair(&p);
    }
}

/* Behind, inside and before the block. */
static void by_a_branch_or_a_rewind(void **state)
{
    struct pair p;
    (void)state;
    for (int back = 0; back <= 2 * (BLOCK + 1); back++) {
        int64_t at = BLOCKS * BLOCK - back / 2;
        struct kt_timeline *late = NULL, *early = NULL;
        open_pair(&p);
        if (back & 1) {
            assert_int_equal(kt_timeline_rewind(p.late, at, &p.err), 0);
            assert_int_equal(kt_timeline_rewind(p.early, at, &p.err), 0);
        } else {
            assert_int_equal(kt_timeline_branch(p.late, &late, at, &p.err), 0);
            assert_int_equal(kt_timeline_branch(p.early, &early, at, &p.err), 0);
        }
        go_on(&p, late ? late : p.late, early ? early : p.early);
        kt_timeline_destroy(&late);
        kt_timeline_destroy(&early);
        close_pair(&p);
    }
}

/* A branch from before the block leaves the pass to come, and the stream goes on as ever. */
static void a_branch_before_it_leaves_it(void **state)
{
    struct kt_timeline *branch;
    struct pair p;
    (void)state;
    open_pair(&p);
    assert_int_equal(kt_timeline_branch(p.early, &branch, (BLOCKS - 1) * BLOCK, &p.err), 0);
    assert_int_equal(kt_timeline_block_cache(branch, &p.err), 0);
    assert_int_equal(kt_timeline_block(branch, 1, &p.err), 0);
    kt_timeline_destroy(&branch);
    assert_int_equal(kt_timeline_block_cache(p.early, &p.err), 1);
    go_on(&p, p.late, p.early);
    close_pair(&p);
}

static void by_a_snapshot(void **state)
{
    struct kt_timeline *fork;
    struct kt_snapshot *s;
    struct kt_engine_info info;
    struct pair p;
    (void)state;
    open_pair(&p);
    assert_int_equal(kt_timeline_snapshot(p.early, &s, &p.err), 0);
    assert_int_equal(kt_timeline_block_cache(p.early, &p.err), 0);
    assert_int_equal(kt_timeline_fork(p.f.e, &fork, s, &p.err), 0);
    go_on(&p, p.late, fork);
    kt_timeline_destroy(&fork);
    assert_int_equal(kt_timeline_block_begin(p.early, 0, &p.err), 0);
    assert_int_equal(kt_timeline_restore(p.early, s, &p.err), 0);
    kt_snapshot_unref(&s);
    kt_engine_get_info(p.f.e, &info);
    assert_int_equal(info.snapshot_bytes_copied, 0);
    close_pair(&p);
}

/* What is put back takes the place of a pass that was still to come. */
static void not_after_a_restore(void **state)
{
    struct kt_snapshot *s;
    struct pair p;
    (void)state;
    open_pair(&p);
    assert_int_equal(kt_timeline_snapshot(p.late, &s, &p.err), 0);
    assert_int_equal(kt_timeline_restore(p.early, s, &p.err), 0);
    kt_snapshot_unref(&s);
    assert_int_equal(kt_timeline_block_cache(p.early, &p.err), 0);
    go_on(&p, p.late, p.early);
    close_pair(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_its_own_call_or_the_next_block),
        cmocka_unit_test(by_a_switch),
        cmocka_unit_test(by_a_branch_or_a_rewind),
        cmocka_unit_test(a_branch_before_it_leaves_it),
        cmocka_unit_test(by_a_snapshot),
        cmocka_unit_test(not_after_a_restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
