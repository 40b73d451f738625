/* The scales of 8-bit layers (engine/dit/scales.c) against their formulas, written out once more
 * from the weights; and which layers have any. On the CPU [f8] is emulated: same scales. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/dit/parts.h"
#include "engine/parts.h"
#include "tests/engine/tiny_model.h"
#include "tests/text/tmp_dir.h"

static struct tmp_dir *dir;
static struct kt_model_config config;
static struct kt_safetensors *weights;

static int setup(void **state)
{
    struct kt_error err = {{0}};
    struct tiny_model_options o = {.spiece = getenv("KT_SPIECE")};
    int rc = tmp_dir_make((void **)&dir);
    if (rc == 0 && (rc = tiny_model_write(dir->path, &o)) == 0 &&
        (rc = kt_model_config_load(&config, dir->path, &err)) == 0) {
        rc = kt_safetensors_open(&weights, tmp_dir_at(dir, config.dit.file), &err);
    }
    fprintf(stderr, "%s", err.text);
    return rc;
}

static int teardown(void **state)
{
    kt_safetensors_close(&weights);
    kt_model_config_free(&config);
    return tmp_dir_remove((void **)&dir);
}

static struct kt_engine *open_engine(enum kt_precision precision)
{
    struct kt_engine *e = NULL;
    struct kt_error err = {{0}};
    const struct kt_engine_params p = {.model_dir = dir->path,
                                       .config = &config,
                                       .device = {.threads = 1, .precision = precision}};
    if (kt_engine_open(&e, &p, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return e;
}

static float *load(int layer, const char *name, int64_t rows, int64_t columns)
{
    float *x = NULL;
    struct kt_error err = {{0}};
    int64_t shape[] = {rows, columns};
    if (kt_safetensors_load_f32(weights, &x, shape, columns ? 2 : 1, &err, "blocks.%d.%s", layer,
                                name) < 0) {
        fail_msg("%s", err.text);
    }
    return x;
}

/* What a linear can give for inputs of this norm: |w| |x| + |b|, the largest of each. */
static double linear_reach(int layer, const char *name, int n, double norm)
{
    char full[64];
    const int k = config.dit.dim;
    double longest = 0, bias = 0;
    snprintf(full, sizeof(full), "%s.weight", name);
    float *w = load(layer, full, n, k);
    snprintf(full, sizeof(full), "%s.bias", name);
    float *b = load(layer, full, n, 0);
    for (int i = 0; i < n; i++) {
        double squares = 0;
        for (int j = 0; j < k; j++) {
            squares += (double)w[i * k + j] * w[i * k + j];
        }
        longest = fmax(longest, sqrt(squares));
        bias = fmax(bias, fabs(b[i]));
    }
    free(w);
    free(b);
    assert_true(bias > 0.01); /* else nothing here would see it */
    return longest * norm + bias;
}

/* All of a row in the two channels of one turn: sqrt(dim) each before the weight, and a turn adds
 * them up. */
static double norm_reach(int layer, const char *name)
{
    double largest = 0;
    float *w = load(layer, name, config.dit.dim, 0);
    for (int i = 0; i < config.dit.dim; i++) {
        largest = fmax(largest, fabs(w[i]));
    }
    free(w);
    return largest * sqrt(2.0 * config.dit.dim);
}

static void assert_scale(float got, double reach)
{
    assert_true(fabs(got * reach / 448 - 1) < 1e-5);
}

static void scales_follow_from_the_weights(void **state)
{
    struct kt_engine *e = open_engine(KT_PRECISION_FP8);
    for (int l = 0; l < config.dit.num_layers; l++) {
        const struct kt_dit_scales *s = &e->dit->layers[l].scales;
        const struct kt_reach *in = &e->dit->mod.reach[2 * (ptrdiff_t)l];
        assert_true(fabsf(in[0].norm / in[1].norm - 1) > 1e-3f);
        assert_scale(s->qkv_in, in[0].largest);
        assert_scale(s->ffn_in, in[1].largest);
        assert_scale(s->v, linear_reach(l, "self_attn.v", config.dit.dim, in[0].norm));
        assert_scale(s->ffn_mid, linear_reach(l, "ffn.0", config.dit.ffn_dim, in[1].norm));
        assert_scale(s->q, norm_reach(l, "self_attn.norm_q.weight"));
        assert_scale(s->k, norm_reach(l, "self_attn.norm_k.weight"));
    }
    kt_engine_close(&e);
}

/* Rows through the layer's own norm stay within its reach, the worst of them not far below. */
static void modulated_rows_stay_within_reach(void **state)
{
    struct kt_engine *e = open_engine(KT_PRECISION_FP8);
    const int dim = config.dit.dim;
    for (int at = 0; at < 2 * config.dit.num_layers; at++) {
        const struct kt_reach *reach = &e->dit->mod.reach[at];
        double largest = 0, longest = 0;
        for (int row = 0; row < e->dit->mod.rows; row++) {
            const size_t table = (size_t)row * (size_t)config.dit.num_layers + (size_t)at / 2;
            const float *shift = e->dit->mod.layer + (table * 6 + at % 2 * 3) * (size_t)dim;
            for (int hot = 0; hot < 2 * dim; hot++) { /* one channel has it all, or its negative */
                double squares = 0;
                for (int i = 0; i < dim; i++) {
                    const double sign = hot < dim ? 1 : -1, low = -1 / sqrt(dim - 1.0);
                    const double x = sign * (i == hot % dim ? sqrt(dim - 1.0) : low);
                    const double y = x * (1 + shift[dim + i]) + shift[i];
                    squares += y * y;
                    largest = fmax(largest, fabs(y));
                }
                longest = fmax(longest, sqrt(squares));
            }
        }
        assert_true(largest <= reach->largest && largest > 0.9 * reach->largest);
        assert_true(longest <= reach->norm && longest > 0.5 * reach->norm);
    }
    kt_engine_close(&e);
}

static int has_none(const struct kt_dit_scales *s)
{
    static const struct kt_dit_scales none;
    return memcmp(s, &none, sizeof(none)) == 0;
}

static void layers_are_left_wide(void **state)
{
    struct kt_engine *e = open_engine(KT_PRECISION_FP32);
    for (int l = 0; l < config.dit.num_layers; l++) {
        assert_true(has_none(&e->dit->layers[l].scales));
    }
    kt_engine_close(&e);
    config.dit.f8_skips = 1;
    config.dit.f8_skip[0] = 1;
    e = open_engine(KT_PRECISION_FP8_EMULATED);
    assert_false(has_none(&e->dit->layers[0].scales));
    assert_true(has_none(&e->dit->layers[1].scales));
    kt_engine_close(&e);
    config.dit.f8_skips = 0;
}

/* A table whose attention takes another head_dim: 8-bit linears alone. */
static void attention_may_stay_wide(void **state)
{
    struct kt_engine *e = open_engine(KT_PRECISION_FP8);
    struct kt_dit *d = e->dit;
    struct kt_error err;
    const struct kt_dit_scales both = d->layers[0].scales;
    d->dev->k.f8_heads_only = d->head_dim;
    assert_int_equal(kt_dit_find_scales(d, weights, &err), 0);
    assert_memory_equal(&d->layers[0].scales, &both, sizeof(both));
    d->dev->k.f8_heads_only = d->head_dim + 1;
    assert_int_equal(kt_dit_find_scales(d, weights, &err), 0);
    const struct kt_dit_scales *s = &d->layers[0].scales;
    assert_true(s->q == 0 && s->k == 0);
    assert_true(s->v == both.v && s->qkv_in == both.qkv_in && s->ffn_in == both.ffn_in);
    d->dev->k.f8_heads_only = 0;
    kt_engine_close(&e);
}

/* The first latent of a block of one step. */
static void draw(enum kt_precision precision, float *latent)
{
    struct kt_engine *e = open_engine(precision);
    struct kt_context *c = NULL;
    struct kt_timeline *t = NULL;
    struct kt_error err;
    const float row[64] = {1, -2, 3};
    assert_int_equal(kt_context_from_rows(e, &c, row, 1, &err), 0);
    assert_int_equal(kt_timeline_create(e, &t, 7, c, &err), 0);
    assert_int_equal(kt_timeline_block(t, 2, &err), 0);
    assert_int_equal(kt_timeline_latent(t, 0, latent), 0);
    kt_timeline_destroy(&t);
    kt_context_unref(&c);
    kt_engine_close(&e);
}

static void wide_layers_are_exact_and_8_bits_near(void **state)
{
    static float wide[1 << 16], eight[1 << 16], skipped[1 << 16];
    struct kt_engine *e = open_engine(KT_PRECISION_FP32);
    const size_t n = e->latent_floats;
    double error = 0, size = 0;
    kt_engine_close(&e);
    assert_true(n < sizeof(wide) / sizeof(wide[0]));
    draw(KT_PRECISION_FP32, wide);
    draw(KT_PRECISION_FP8, eight);
    for (int l = 0; l < config.dit.num_layers; l++) {
        config.dit.f8_skip[l] = l;
    }
    config.dit.f8_skips = config.dit.num_layers;
    draw(KT_PRECISION_FP8, skipped);
    config.dit.f8_skips = 0;
    assert_memory_equal(wide, skipped, n * sizeof(*wide));
    for (size_t i = 0; i < n; i++) {
        error += ((double)eight[i] - wide[i]) * ((double)eight[i] - wide[i]);
        size += (double)wide[i] * wide[i];
    }
    error = sqrt(error / size);
    print_message("8 bits cost %.2e\n", error);
    assert_true(error > 1e-4 && error < 5e-2); /* a scale lost or used twice costs the picture */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scales_follow_from_the_weights),
        cmocka_unit_test(modulated_rows_stay_within_reach),
        cmocka_unit_test(layers_are_left_wide),
        cmocka_unit_test(attention_may_stay_wide),
        cmocka_unit_test(wide_layers_are_exact_and_8_bits_near),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
