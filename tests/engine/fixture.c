#include "tests/engine/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct kt_context *make_context(struct kt_engine *e, int seed, int rows)
{
    float host[32 * 64];
    struct kt_context *c = NULL;
    struct kt_error err;
    for (int i = 0; i < rows * e->config.dit.text_dim; i++) {
        host[i] = (float)((i * 37 + seed * 101) % 41 - 20) / 10.0f;
    }
    assert_int_equal(kt_context_from_rows(e, &c, host, rows, &err), 0);
    return c;
}

void open_fixture(struct fixture *f, const struct tiny_model_options *o)
{
    struct kt_error err = {{0}};
    assert_int_equal(tmp_dir_make((void **)&f->dir), 0);
    struct tiny_model_options options = *o;
    options.spiece = getenv("KT_SPIECE");
    assert_int_equal(tiny_model_write(f->dir->path, &options), 0);
    struct kt_engine_params p = {
        .model_dir = f->dir->path, .timelines_max = 4, .device = {.threads = 2}};
    int rc = kt_engine_open(&f->e, &p, &err);
    if (rc < 0) {
        fail_msg("%s", err.text);
    }
    f->a = make_context(f->e, 1, 5);
    f->b = make_context(f->e, 2, 9);
    f->c = make_context(f->e, 3, 1);
    f->latent = f->e->latent_floats;
}

void close_fixture(struct fixture *f)
{
    struct kt_engine_info info;
    kt_context_unref(&f->a);
    kt_context_unref(&f->b);
    kt_context_unref(&f->c);
    kt_engine_get_info(f->e, &info);
    assert_int_equal(info.pages_used, 0);
    assert_int_equal(info.tails_used, 0);
    assert_int_equal(info.snapshots_used, 0);
    kt_engine_close(&f->e);
    tmp_dir_remove((void **)&f->dir);
}

void tape_init(struct tape *tape, const struct fixture *f)
{
    size_t picture = (size_t)f->e->vae_info.width * (size_t)f->e->vae_info.height * 3 / 2;
    *tape = (struct tape){.latents = calloc(FRAMES_MAX, f->latent * sizeof(float)),
                          .pictures = calloc(FRAMES_MAX, picture * 4)};
}

void tape_free(struct tape *tape)
{
    free(tape->latents);
    free(tape->pictures);
}

static void record_pictures(struct fixture *f, struct tape *tape, struct kt_timeline *t)
{
    struct kt_error err;
    size_t picture = (size_t)f->e->vae_info.width * (size_t)f->e->vae_info.height * 3 / 2;
    while (kt_timeline_decoded(t) < kt_timeline_latents(t)) {
        int64_t i = kt_timeline_decoded(t);
        assert_int_equal(kt_timeline_latent(t, i, tape->latents + f->latent * (size_t)i), 0);
        int n = kt_timeline_decode(t, tape->pictures + picture * (size_t)tape->frame_count, picture,
                                   &err);
        assert_true(n >= 1);
        tape->frame_count += n;
    }
    tape->latent_count = kt_timeline_latents(t);
}

void record_block(struct fixture *f, struct tape *tape, struct kt_timeline *t, int steps)
{
    struct kt_error err;
    assert_int_equal(kt_timeline_block(t, steps, &err), 0);
    record_pictures(f, tape, t);
}

void record_early_block(struct fixture *f, struct tape *tape, struct kt_timeline *t, int steps)
{
    struct kt_error err;
    int rc = kt_timeline_block_begin(t, steps, &err);
    assert_int_equal(rc, 0);
    do {
        rc = kt_timeline_block_step(t, &err);
    } while (rc > 0);
    assert_int_equal(rc, 0);
    assert_int_equal(kt_timeline_block_publish(t, &err), 0);
    record_pictures(f, tape, t);
}

void assert_tapes_equal(const struct fixture *f, const struct tape *x, const struct tape *y)
{
    size_t picture = (size_t)f->e->vae_info.width * (size_t)f->e->vae_info.height * 3 / 2;
    assert_int_equal(x->latent_count, y->latent_count);
    assert_int_equal(x->frame_count, y->frame_count);
    assert_memory_equal(x->latents, y->latents,
                        f->latent * sizeof(float) * (size_t)x->latent_count);
    assert_memory_equal(x->pictures, y->pictures, picture * (size_t)x->frame_count);
}

void create(struct fixture *f, struct kt_timeline **t, uint64_t seed)
{
    struct kt_error err;
    assert_int_equal(kt_timeline_create(f->e, t, seed, f->a, &err), 0);
}
