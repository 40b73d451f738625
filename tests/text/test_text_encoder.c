/* The encoder on a small model made here: it does not depend on how weights are stored, on what ran
 * before, or on allocations while running; wrong files and ids are refused by name. That its
 * arithmetic is UMT5's is the golden case's business (test_golden_umt5). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/text/position_bias.h"
#include "engine/text/text_encoder.h"
#include "tests/text/tmp_dir.h"

enum {
    VOCAB = 11,
    DIM = 8,
    ATTN = 12,
    FFN = 10,
    HEADS = 3,
    LAYERS = 2,
    TEXT_LEN = 20,
    TENSORS_MAX = 32
};

static const struct kt_text_config CONFIG = {.vocab = VOCAB,
                                             .dim = DIM,
                                             .dim_attn = ATTN,
                                             .dim_ffn = FFN,
                                             .num_heads = HEADS,
                                             .num_layers = LAYERS,
                                             .num_buckets = 8,
                                             .max_distance = 16,
                                             .text_len = TEXT_LEN,
                                             .eps = 1e-6f};

struct model {
    struct kt_tensor tensors[TENSORS_MAX];
    char names[TENSORS_MAX][64];
    void *data[TENSORS_MAX];
    int n;
};

/* A value that BF16 holds exactly, from a fixed sequence. */
static float next_value(uint32_t *state)
{
    *state = *state * 1664525 + 1013904223;
    return (float)((int)(*state >> 24) - 128) / 128;
}

static void add(struct model *m, uint32_t *seed, enum kt_dtype dtype, int rows, int columns,
                const char *name)
{
    const size_t count = (size_t)rows * (columns ? columns : 1);
    float *f = malloc(count * sizeof(float));
    uint16_t *h = (void *)f;

    for (size_t i = 0; i < count; i++) {
        const float value = next_value(seed);
        uint32_t bits;
        memcpy(&bits, &value, sizeof(bits));
        if (dtype == KT_F32) {
            f[i] = value;
        } else {
            h[i] = (uint16_t)(bits >> 16);
        }
    }
    snprintf(m->names[m->n], sizeof(m->names[0]), "%s", name);
    m->data[m->n] = f;
    m->tensors[m->n] = (struct kt_tensor){.name = m->names[m->n],
                                          .dtype = dtype,
                                          .rank = columns ? 2 : 1,
                                          .shape = {rows, columns},
                                          .data = f};
    m->n++;
}

/* dtype of tensor i: all `first`, or alternating with `second`. */
static void make_model(struct model *m, enum kt_dtype first, enum kt_dtype second)
{
    static const struct {
        const char *name;
        int rows, columns;
    } LAYER[] = {
        {"norm1.weight", DIM, 0},     {"norm2.weight", DIM, 0},
        {"attn.q.weight", ATTN, DIM}, {"attn.k.weight", ATTN, DIM},
        {"attn.v.weight", ATTN, DIM}, {"attn.o.weight", DIM, ATTN},
        {"ffn.fc1.weight", FFN, DIM}, {"ffn.gate.0.weight", FFN, DIM},
        {"ffn.fc2.weight", DIM, FFN}, {"pos_embedding.embedding.weight", 8, HEADS},
    };
    uint32_t seed = 1;
    char name[64];

    m->n = 0;
    add(m, &seed, first, VOCAB, DIM, "token_embedding.weight");
    for (int l = 0; l < LAYERS; l++) {
        for (size_t i = 0; i < sizeof(LAYER) / sizeof(LAYER[0]); i++) {
            snprintf(name, sizeof(name), "blocks.%d.%s", l, LAYER[i].name);
            add(m, &seed, i % 2 ? second : first, LAYER[i].rows, LAYER[i].columns, name);
        }
    }
    add(m, &seed, second, DIM, 0, "norm.weight");
}

static void free_model(struct model *m)
{
    for (int i = 0; i < m->n; i++) {
        free(m->data[i]);
    }
}

struct fixture {
    struct kt_device *dev;
    struct kt_text_encoder *enc;
};

static int open_file(struct fixture *f, void **state, const struct model *m, struct kt_error *err)
{
    struct kt_safetensors *st;
    char path[128];
    int r;

    strcpy(path, tmp_dir_at(*state, "text.safetensors"));
    assert_int_equal(kt_safetensors_write(path, m->tensors, m->n, err), 0);
    assert_int_equal(kt_safetensors_open(&st, path, err), 0);
    assert_int_equal(kt_device_open(&f->dev, &(struct kt_device_params){.threads = 1}, err), 0);
    r = kt_text_encoder_open(&f->enc, f->dev, &CONFIG, st, err);
    kt_safetensors_close(&st);
    return r;
}

static struct fixture open_encoder(void **state, enum kt_dtype first, enum kt_dtype second)
{
    struct fixture f;
    struct kt_error err;
    struct model m;

    make_model(&m, first, second);
    if (open_file(&f, state, &m, &err) != 0) {
        fail_msg("%s", err.text);
    }
    free_model(&m);
    return f;
}

static void close_encoder(struct fixture *f)
{
    kt_text_encoder_close(&f->enc);
    kt_device_close(&f->dev);
}

/* Encodes ids 0, 1, ... n - 1 (mod VOCAB) into host rows. */
static void run(struct fixture *f, int n, float *rows)
{
    int32_t ids[TEXT_LEN];
    struct kt_error err;
    void *out = kt_device_alloc(f->dev, (size_t)n * DIM * sizeof(float), "test");

    for (int i = 0; i < n; i++) {
        ids[i] = i % VOCAB;
    }
    if (kt_text_encoder_run(f->enc, ids, n, out, &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_int_equal(kt_device_download(f->dev, rows, out, (size_t)n * DIM * sizeof(float)), 0);
    kt_device_free(f->dev, out);
}

static void storage_does_not_matter(void **state)
{
    static const enum kt_dtype DTYPES[][2] = {
        {KT_F32, KT_F32}, {KT_BF16, KT_BF16}, {KT_F32, KT_BF16}, {KT_BF16, KT_F32}};
    float expected[TEXT_LEN * DIM], rows[TEXT_LEN * DIM];

    for (int d = 0; d < 4; d++) {
        struct fixture f = open_encoder(state, DTYPES[d][0], DTYPES[d][1]);
        run(&f, 7, d == 0 ? expected : rows);
        if (d > 0) {
            assert_memory_equal(rows, expected, 7 * DIM * sizeof(float));
        }
        close_encoder(&f);
    }
    float sum = 0;
    for (int i = 0; i < 7 * DIM; i++) {
        sum += expected[i] * expected[i];
    }
    assert_true(sum > 0.1f);
}

static void history_does_not_matter(void **state)
{
    struct fixture f = open_encoder(state, KT_F32, KT_F32);
    float first[TEXT_LEN][TEXT_LEN * DIM], rows[TEXT_LEN * DIM];

    for (int n = 1; n <= TEXT_LEN; n++) {
        struct fixture fresh = open_encoder(state, KT_F32, KT_F32);
        run(&fresh, n, first[n - 1]);
        close_encoder(&fresh);
    }
    for (int k = 0; k < 100; k++) {
        const int n = 1 + k * 7 % TEXT_LEN;
        run(&f, n, rows);
        assert_memory_equal(rows, first[n - 1], (size_t)n * DIM * sizeof(float));
    }
    close_encoder(&f);
}

static void running_allocates_nothing(void **state)
{
    struct fixture f = open_encoder(state, KT_F32, KT_F32);
    const int32_t ids[TEXT_LEN] = {0};
    void *out = kt_device_alloc(f.dev, TEXT_LEN * DIM * sizeof(float), "test");
    struct kt_queue_stats before, after;
    struct kt_error err;

    for (int n = 1; n <= TEXT_LEN; n++) {
        assert_int_equal(kt_text_encoder_run(f.enc, ids, n, out, &err), 0);
    }
    const uint64_t allocs = f.dev->stats.allocs;
    f.dev->k.queue_stats(f.dev->q, &before);
    for (int n = 1; n <= TEXT_LEN; n++) {
        assert_int_equal(kt_text_encoder_run(f.enc, ids, n, out, &err), 0);
    }
    f.dev->k.queue_stats(f.dev->q, &after);
    assert_int_equal(f.dev->stats.allocs, allocs);
    assert_int_equal(after.allocs, before.allocs);
    /* Eleven ops a layer and the last norm: an accidental extra pass would show here. */
    assert_int_equal(after.launches - before.launches, TEXT_LEN * (LAYERS * 11 + 1));
    kt_device_free(f.dev, out);
    close_encoder(&f);
}

static void refuses_bad_ids(void **state)
{
    struct fixture f = open_encoder(state, KT_F32, KT_F32);
    float out[TEXT_LEN * DIM];
    int32_t ids[TEXT_LEN + 1] = {0};
    struct kt_error err;

    assert_int_equal(kt_text_encoder_run(f.enc, ids, 0, out, &err), -EINVAL);
    assert_int_equal(kt_text_encoder_run(f.enc, ids, TEXT_LEN + 1, out, &err), -EINVAL);
    assert_non_null(strstr(err.text, "expected 1..20 ids, found 21"));
    ids[3] = VOCAB;
    assert_int_equal(kt_text_encoder_run(f.enc, ids, 4, out, &err), -EINVAL);
    assert_non_null(strstr(err.text, "id 3: expected 0..10, found 11"));
    ids[3] = -1;
    assert_int_equal(kt_text_encoder_run(f.enc, ids, 4, out, &err), -EINVAL);
    close_encoder(&f);
}

/* Every tensor in turn is missing or of a wrong shape: the message names it. */
static void refuses_bad_weights(void **state)
{
    struct fixture f;
    struct kt_error err;
    struct model m;

    make_model(&m, KT_F32, KT_F32);
    for (int i = 0; i < m.n; i++) {
        struct model broken = m;
        broken.tensors[i].name = "other";
        assert_int_equal(open_file(&f, state, &broken, &err), -ENOENT);
        assert_non_null(strstr(err.text, m.names[i]));
        assert_null(f.enc);
        kt_device_close(&f.dev);

        broken = m;
        broken.tensors[i].shape[0]--;
        assert_int_equal(open_file(&f, state, &broken, &err), -EBADMSG);
        assert_non_null(strstr(err.text, m.names[i]));
        kt_device_close(&f.dev);
    }
    free_model(&m);
}

static void buckets_distances(void **state)
{
    /* UMT5: 32 buckets, distances up to 128 (values computed from the formula of engine/MODEL.md).
     */
    static const int DISTANCE[] = {0,  1,  7,  8,  11, 12, 15, 16,  22,  23,  31,
                                   32, 45, 46, 63, 64, 90, 91, 127, 128, 9999};
    static const int BUCKET[] = {0,  1,  7,  8,  8,  9,  9,  10, 10, 11, 11,
                                 12, 12, 13, 13, 14, 14, 15, 15, 15, 15};

    (void)state;
    for (size_t i = 0; i < sizeof(DISTANCE) / sizeof(DISTANCE[0]); i++) {
        assert_int_equal(kt_position_bucket(-DISTANCE[i], 32, 128), BUCKET[i]);
        assert_int_equal(kt_position_bucket(DISTANCE[i], 32, 128),
                         DISTANCE[i] ? BUCKET[i] + 16 : 0);
    }
}

/* With room for two biases only, three layers and changing lengths push each other out. */
static void biases_survive_eviction(void **state)
{
    enum { HEADS_N = 4, LONG = 1024, LAYERS_N = 3, BUCKETS = 8 };
    const struct kt_text_config cfg = {.num_heads = HEADS_N,
                                       .num_layers = LAYERS_N,
                                       .num_buckets = BUCKETS,
                                       .max_distance = 16,
                                       .text_len = LONG};
    static const int N[] = {1, 3, 5, 3, 3, 1, 5, 5};
    struct kt_position_bias *bias;
    struct kt_safetensors *st;
    struct kt_device *dev;
    struct kt_error err;
    struct model m = {.n = 0};
    uint32_t seed = 5;
    char name[64], path[128];

    for (int l = 0; l < LAYERS_N; l++) {
        snprintf(name, sizeof(name), "blocks.%d.pos_embedding.embedding.weight", l);
        add(&m, &seed, KT_F32, BUCKETS, HEADS_N, name);
    }
    strcpy(path, tmp_dir_at(*state, "bias.safetensors"));
    assert_int_equal(kt_safetensors_write(path, m.tensors, m.n, &err), 0);
    assert_int_equal(kt_safetensors_open(&st, path, &err), 0);
    assert_int_equal(kt_device_open(&dev, &(struct kt_device_params){.threads = 1}, &err), 0);
    assert_int_equal(kt_position_bias_open(&bias, dev, &cfg, st, &err), 0);
    for (int k = 0; k < 24; k++) {
        const int n = N[k % 8], layer = k * 2 % LAYERS_N;
        const float *got = kt_position_bias_get(bias, layer, n);
        assert_non_null(got);
        for (int i = 0; i < HEADS_N * n * n; i++) {
            const int bucket = kt_position_bucket(i % n - i / n % n, BUCKETS, 16);
            assert_true(got[i] == ((float *)m.data[layer])[bucket * HEADS_N + i / (n * n)]);
        }
    }
    kt_position_bias_close(&bias);
    kt_device_close(&dev);
    kt_safetensors_close(&st);
    free_model(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_distances),         cmocka_unit_test(biases_survive_eviction),
        cmocka_unit_test(storage_does_not_matter),   cmocka_unit_test(history_does_not_matter),
        cmocka_unit_test(running_allocates_nothing), cmocka_unit_test(refuses_bad_ids),
        cmocka_unit_test(refuses_bad_weights),
    };
    return cmocka_run_group_tests(tests, tmp_dir_make, tmp_dir_remove);
}
