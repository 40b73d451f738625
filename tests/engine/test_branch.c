/* Branches: a branch is the stream it was taken of, gone back to a latent, and neither sees the
 * other again. */
#include <errno.h>
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

static void decode_to(struct fixture *f, struct kt_timeline *t, int64_t latents)
{
    struct kt_error err;
    while (kt_timeline_decoded(t) < latents) {
        assert_true(kt_timeline_decode(t, NULL, 0, &err) > 0);
    }
}

/* `latents` of a stream, the last block perhaps cut short, `decoded` of them decoded. */
static struct kt_timeline *stream(struct fixture *f, int latents, int decoded)
{
    struct kt_timeline *t;
    struct kt_error err;
    create(f, &t, 7);
    while (kt_timeline_latents(t) < latents) {
        assert_int_equal(kt_timeline_block(t, 1, &err), 0);
        decode_to(f, t, kt_timeline_latents(t) < decoded ? kt_timeline_latents(t) : decoded);
    }
    assert_int_equal(kt_timeline_rewind(t, latents, &err), 0);
    return t;
}

/* The next two blocks under prompt b, and their pictures from latent `at` on. */
static uint64_t future(struct fixture *f, struct kt_timeline *t, int64_t at)
{
    struct kt_error err;
    size_t picture = (size_t)f->e->vae_info.width * (size_t)f->e->vae_info.height * 3 / 2;
    uint8_t *pictures = calloc(8, picture);
    uint64_t hash = 0, one;
    assert_int_equal(kt_timeline_switch(t, f->b, KT_TRANSITION_CUT, 0, &err), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kt_timeline_block(t, 0, &err), 0);
    }
    for (int64_t i = at; i < kt_timeline_latents(t); i++) {
        assert_int_equal(kt_timeline_latent_hash(t, i, &one), 0);
        hash = kt_hash64(&one, sizeof(one), hash);
    }
    decode_to(f, t, at);
    while (kt_timeline_decoded(t) < kt_timeline_latents(t)) {
        int n = kt_timeline_decode(t, pictures, picture, &err);
        assert_true(n > 0);
        hash = kt_hash64(pictures, picture * (size_t)n, hash);
    }
    free(pictures);
    return hash;
}

/* At every latent that can be gone back to, in streams shorter and longer than the window, inside
 * blocks and at their ends, decoded and not, with a block in flight. */
static void a_branch_is_the_stream_gone_back(void **state)
{
    struct fixture f;
    struct kt_error err;
    struct kt_engine_info info;
    int branches = 0;
    open_fixture(&f, &(struct tiny_model_options){0});
    for (int latents = 2; latents <= 20; latents += 3) {
        int decoded = latents - 3 > 0 ? latents - 3 : 0;
        struct kt_timeline *t = stream(&f, latents, decoded);
        for (int64_t at = latents; at >= 0 && at >= latents - 5; at--) {
            struct kt_timeline *branch,
                *plain = stream(&f, (int)at, decoded < at ? decoded : (int)at);
            assert_int_equal(kt_timeline_block_begin(t, 0, &err), 0);
            assert_int_equal(kt_timeline_block_step(t, &err), 1);
            assert_int_equal(kt_timeline_branch(t, &branch, at, &err), 0);
            assert_int_equal(kt_timeline_latents(branch), at);
            assert_true(future(&f, branch, at) == future(&f, plain, at));
            kt_timeline_destroy(&plain);
            kt_timeline_destroy(&branch);
            kt_timeline_block_abandon(t);
            branches++;
        }
        kt_timeline_destroy(&t);
    }
    assert_true(branches > 30);
    kt_engine_get_info(f.e, &info);
    assert_int_equal(info.snapshot_bytes_copied, 0);
    close_fixture(&f);
}

/* The stream goes on with its block in flight as if nobody had branched off. */
static void a_branch_leaves_its_stream_alone(void **state)
{
    struct fixture f;
    struct kt_error err;
    open_fixture(&f, &(struct tiny_model_options){0});
    struct kt_timeline *t = stream(&f, 9, 6), *u = stream(&f, 9, 6), *branch;
    assert_int_equal(kt_timeline_block_begin(t, 0, &err), 0);
    assert_int_equal(kt_timeline_block_step(t, &err), 1);
    assert_int_equal(kt_timeline_branch(t, &branch, 7, &err), 0);
    future(&f, branch, 7);
    int rc;
    while ((rc = kt_timeline_block_step(t, &err)) > 0) {
    }
    assert_int_equal(rc, 0);
    assert_int_equal(kt_timeline_block_commit(t, &err), 0);
    kt_timeline_destroy(&branch);
    assert_int_equal(kt_timeline_block(u, 0, &err), 0);
    assert_true(future(&f, t, 9) == future(&f, u, 9));
    kt_timeline_destroy(&t);
    kt_timeline_destroy(&u);
    close_fixture(&f);
}

static void what_is_gone_is_refused(void **state)
{
    struct fixture f;
    struct kt_error err;
    struct kt_engine_info info;
    open_fixture(&f, &(struct tiny_model_options){0});
    struct kt_timeline *t = stream(&f, 20, 20), *branch = NULL, *others[3];
    kt_engine_get_info(f.e, &info);
    assert_int_equal(info.slack, 6);
    assert_int_equal(kt_timeline_branch(t, &branch, 21, &err), -ERANGE);
    assert_int_equal(kt_timeline_branch(t, &branch, -1, &err), -ERANGE);
    assert_int_equal(kt_timeline_branch(t, &branch, 14, &err), -ERANGE); /* six pictures back */
    assert_int_equal(kt_timeline_branch(t, &branch, 15, &err), 0);
    kt_timeline_destroy(&branch);
    assert_int_equal(kt_timeline_switch(t, f.b, KT_TRANSITION_CUT, 3, &err), 0);
    assert_int_equal(kt_timeline_branch(t, &branch, 19, &err), -ERANGE);
    assert_non_null(strstr(err.text, "latent 19 of 20"));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kt_timeline_branch(t, &others[i], 20, &err), 0);
    }
    assert_int_equal(kt_timeline_branch(t, &branch, 20, &err), -ENOBUFS);
    assert_null(branch);
    for (int i = 0; i < 3; i++) {
        kt_timeline_destroy(&others[i]);
    }
    kt_timeline_destroy(&t);
    close_fixture(&f);
}

/* All timelines, each on its own way and full, and every snapshot: pools never run dry. */
static void pools_are_large_enough(void **state)
{
    struct fixture f;
    struct kt_error err;
    struct kt_timeline *t[4];
    struct kt_snapshot *s[64] = {0};
    int next = 0;
    open_fixture(&f, &(struct tiny_model_options){.window = 12, .sink = 3, .block = 3});
    for (int i = 0; i < 4; i++) {
        create(&f, &t[i], (uint64_t)i);
    }
    for (int block = 0; block < 40; block++) {
        for (int i = 0; i < 4; i++) {
            struct kt_context *to = block % 2 ? f.b : f.c;
            if (block % 5 == i) {
                assert_int_equal(kt_timeline_switch(t[i], to, KT_TRANSITION_CUT, 0, &err), 0);
            }
            assert_int_equal(kt_timeline_block(t[i], 1, &err), 0);
            decode_to(&f, t[i], kt_timeline_latents(t[i]));
            kt_snapshot_unref(&s[next]);
            assert_int_equal(kt_timeline_snapshot(t[i], &s[next], &err), 0);
            next = (next + 1) % f.e->snapshots_max;
        }
    }
    for (int i = 0; i < 64; i++) {
        kt_snapshot_unref(&s[i]);
    }
    for (int i = 0; i < 4; i++) {
        kt_timeline_destroy(&t[i]);
    }
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_branch_is_the_stream_gone_back),
        cmocka_unit_test(a_branch_leaves_its_stream_alone),
        cmocka_unit_test(what_is_gone_is_refused),
        cmocka_unit_test(pools_are_large_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
