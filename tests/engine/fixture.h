/* An engine with a tiny random-weight model, three prompts, and tapes to compare streams by.
 *
 * Failures end the test (cmocka). */
#ifndef KT_TESTS_ENGINE_FIXTURE_H
#define KT_TESTS_ENGINE_FIXTURE_H

#include "engine/engine.h"
#include "engine/parts.h"
#include "engine/snapshot.h"
#include "tests/engine/tiny_model.h"
#include "tests/text/tmp_dir.h"

enum { FRAMES_MAX = 256 };

struct fixture {
    struct tmp_dir *dir;
    struct kt_engine *e;
    struct kt_context *a, *b, *c;
    size_t latent;
};

/* A recording of a stream: its latents and its pictures. */
struct tape {
    float *latents;
    uint8_t *pictures;
    int64_t latent_count;
    int frame_count;
};

/* A context of `rows` encoder rows, 32 at most; the same for the same `seed`. */
struct kt_context *make_context(struct kt_engine *e, int seed, int rows);

/* timelines_max 4; everything must be released before close, which checks that. */
void open_fixture(struct fixture *f, const struct tiny_model_options *o);
void close_fixture(struct fixture *f);

void tape_init(struct tape *tape, const struct fixture *f);
void tape_free(struct tape *tape);
void assert_tapes_equal(const struct fixture *f, const struct tape *x, const struct tape *y);

/* A new timeline under f->a. */
void create(struct fixture *f, struct kt_timeline **t, uint64_t seed);
/* One block, decoded, onto the tape. */
void record_block(struct fixture *f, struct tape *tape, struct kt_timeline *t, int steps);
/* The same, but the block's t = 0 pass is still to come. */
void record_early_block(struct fixture *f, struct tape *tape, struct kt_timeline *t, int steps);

#endif
