/* The promises around tails: what was published never changes, going back costs no copy, streams do
 * not see each other, a full pool changes nothing, everything comes back; and nothing is allocated
 * once warm. */
#include "tests/vae/fixture.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LATENT_H = 3, LATENT_W = 4, TAILS = 4, STREAM = 4 };

struct state {
    struct kt_vae_config config;
    struct kt_device *dev;
    struct kt_vae *vae;
    struct kt_vae_info info;
    char path[64];
    size_t latent_count, frame_count; /* floats */
    struct kt_error err;
};

static int open_weights(struct state *s, const char *skip, const char *misshape, int with_encoder)
{
    struct kt_safetensors *weights = NULL;
    assert_int_equal(fixture_write_weights(s->path, &s->config, skip, misshape, &s->err), 0);
    assert_int_equal(kt_safetensors_open(&weights, s->path, &s->err), 0);
    struct kt_vae_params p = {.config = &s->config,
                              .weights = weights,
                              .latent_h = LATENT_H,
                              .latent_w = LATENT_W,
                              .tails_max = TAILS,
                              .with_encoder = with_encoder};
    int rc = kt_vae_open(&s->vae, s->dev, &p, &s->err);
    kt_safetensors_close(&weights);
    return rc;
}

static struct state *state_new(struct kt_vae_config config, int threads)
{
    struct state *s = calloc(1, sizeof(*s));
    s->config = config;
    snprintf(s->path, sizeof(s->path), "test_tails_%d.safetensors", (int)getpid());
    assert_int_equal(
        kt_device_open(&s->dev, &(struct kt_device_params){.threads = threads}, &s->err), 0);
    return s;
}

static int setup(void **out, struct kt_vae_config config, int threads)
{
    struct state *s = state_new(config, threads);
    if (open_weights(s, NULL, NULL, config.kind == KT_VAE_WAN) < 0) {
        fail_msg("%s", s->err.text);
    }
    kt_vae_get_info(s->vae, &s->info);
    s->latent_count = (size_t)config.z_dim * LATENT_H * LATENT_W;
    s->frame_count = 3 * (size_t)s->info.width * (size_t)s->info.height;
    *out = s;
    return 0;
}

static int setup_wan(void **out)
{
    return setup(out, fixture_wan_config(), 0);
}

static int setup_taehv(void **out)
{
    return setup(out, fixture_taehv_config(), 0);
}

static int teardown(void **in)
{
    struct state *s = *in;
    if (s->vae) {
        assert_int_equal(kt_vae_tails_in_use(s->vae), 0);
    }
    kt_vae_close(&s->vae);
    kt_device_close(&s->dev);
    unlink(s->path);
    free(s);
    return 0;
}

/* Decodes latent number `seed` after `tail`; the frames are the caller's to free. */
static float *step(struct state *s, const struct kt_vae_tail *tail, unsigned seed, int *frames,
                   struct kt_vae_tail **next)
{
    float *latent = malloc(s->latent_count * sizeof(float));
    float *rgb = calloc((size_t)s->info.frames_per_latent * s->frame_count, sizeof(float));
    fixture_normals(latent, s->latent_count, 1000 + seed, 1.0f);
    int rc = kt_vae_decode(s->vae, tail, latent, rgb, frames, next, &s->err);
    if (rc < 0) {
        fail_msg("%s", s->err.text);
    }
    free(latent);
    return rgb;
}

/* A stream of latents seed, seed + 1, ...: all frames, one latent's room after the other. */
static float *stream(struct state *s, unsigned seed, int latents)
{
    size_t room = (size_t)s->info.frames_per_latent * s->frame_count;
    float *all = calloc((size_t)latents * room, sizeof(float));
    struct kt_vae_tail *tail = NULL;
    for (int i = 0; i < latents; i++) {
        struct kt_vae_tail *next = NULL;
        int n = 0;
        float *rgb = step(s, tail, seed + (unsigned)i, &n, &next);
        assert_int_equal(n, i == 0 ? s->info.first_frames : s->info.frames_per_latent);
        memcpy(all + (size_t)i * room, rgb, (size_t)n * s->frame_count * sizeof(float));
        free(rgb);
        kt_vae_tail_unref(&tail);
        tail = next;
    }
    kt_vae_tail_unref(&tail);
    return all;
}

static void assert_same_frames(struct state *s, const float *a, const float *b, int frames)
{
    assert_memory_equal(a, b, (size_t)frames * s->frame_count * sizeof(float));
}

/* Decoding after an older tail equals never having gone ahead. */
static void test_restore(void **in)
{
    struct state *s = *in;
    struct kt_vae_tail *a = NULL, *b = NULL, *c = NULL, *d = NULL;
    int n = 0;
    free(step(s, NULL, 1, &n, &a));
    free(step(s, a, 2, &n, &b));
    float *straight = step(s, b, 3, &n, &c);
    kt_vae_tail_unref(&c);
    for (unsigned ahead = 0; ahead < 3; ahead++) { /* three others after b, thrown away */
        free(step(s, b, 50 + ahead, &n, &c));
        free(step(s, c, 60 + ahead, &n, &d));
        kt_vae_tail_unref(&c);
        kt_vae_tail_unref(&d);
    }
    float *again = step(s, b, 3, &n, &c);
    assert_same_frames(s, straight, again, n);
    float *other = step(s, b, 4, &n, &d);
    assert_memory_not_equal(straight, other, s->frame_count * sizeof(float));
    free(straight);
    free(again);
    free(other);
    kt_vae_tail_unref(&a);
    kt_vae_tail_unref(&b);
    kt_vae_tail_unref(&c);
    kt_vae_tail_unref(&d);
}

static void test_two_streams(void **in)
{
    struct state *s = *in;
    size_t room = (size_t)s->info.frames_per_latent * s->frame_count;
    float *alone[2] = {stream(s, 10, STREAM), stream(s, 30, STREAM)};
    struct kt_vae_tail *tail[2] = {NULL, NULL};
    for (int i = 0; i < 2 * STREAM; i++) {
        int which = i % 2, latent = i / 2, n = 0;
        struct kt_vae_tail *next = NULL;
        float *rgb = step(s, tail[which], (which ? 30u : 10u) + (unsigned)latent, &n, &next);
        assert_same_frames(s, rgb, alone[which] + (size_t)latent * room, n);
        free(rgb);
        kt_vae_tail_unref(&tail[which]);
        tail[which] = next;
    }
    kt_vae_tail_unref(&tail[0]);
    kt_vae_tail_unref(&tail[1]);
    free(alone[0]);
    free(alone[1]);
}

static void test_pool_full(void **in)
{
    struct state *s = *in;
    struct kt_vae_tail *held[TAILS] = {NULL}, *next = (void *)&next;
    int n = 0;
    for (int i = 0; i < TAILS; i++) {
        free(step(s, i ? held[i - 1] : NULL, (unsigned)i, &n, &held[i]));
    }
    assert_int_equal(kt_vae_tails_in_use(s->vae), TAILS);
    float *latent = calloc(s->latent_count, sizeof(float));
    size_t room = (size_t)s->info.frames_per_latent * s->frame_count;
    float *rgb = calloc(room, sizeof(float)), *untouched = calloc(room, sizeof(float));
    n = -7;
    int rc = kt_vae_decode(s->vae, held[1], latent, rgb, &n, &next, &s->err);
    assert_int_equal(rc, -ENOBUFS);
    assert_string_equal(s->err.text, "vae: all 4 tails are in use");
    assert_int_equal(n, -7);
    assert_ptr_equal(next, (void *)&next);
    assert_memory_equal(rgb, untouched, room * sizeof(float));
    assert_int_equal(kt_vae_tails_in_use(s->vae), TAILS);
    kt_vae_tail_unref(&held[0]); /* one back: it goes on, from an older tail too */
    free(step(s, held[1], 9, &n, &held[0]));
    for (int i = 0; i < TAILS; i++) {
        kt_vae_tail_unref(&held[i]);
    }
    free(latent);
    free(rgb);
    free(untouched);
}

static void test_references(void **in)
{
    struct state *s = *in;
    struct kt_vae_tail *a = NULL, *snapshot = NULL, *b = NULL;
    int n = 0;
    free(step(s, NULL, 1, &n, &a));
    uint64_t copied = s->dev->stats.bytes_copied;
    snapshot = kt_vae_tail_ref(a);
    assert_ptr_equal(snapshot, a);
    assert_int_equal(kt_vae_tails_in_use(s->vae), 1);
    kt_vae_tail_unref(&a);
    assert_null(a);
    assert_int_equal(kt_vae_tails_in_use(s->vae), 1);
    assert_int_equal(s->dev->stats.bytes_copied, copied); /* holding and restoring moved nothing */
    free(step(s, snapshot, 2, &n, &b));
    uint64_t from_snapshot = s->dev->stats.bytes_copied - copied;
    kt_vae_tail_unref(&b);
    copied = s->dev->stats.bytes_copied;
    free(step(s, snapshot, 2, &n, &b));
    assert_int_equal(s->dev->stats.bytes_copied - copied, from_snapshot);
    assert_true(from_snapshot <= s->info.tail_bytes); /* a call writes one tail, no more */
    kt_vae_tail_unref(&b);
    kt_vae_tail_unref(&snapshot);
    kt_vae_tail_unref(&snapshot);
    kt_vae_tail_unref(NULL);
    assert_null(kt_vae_tail_ref(NULL));
    assert_int_equal(kt_vae_tails_in_use(s->vae), 0);
}

static void test_no_allocation_when_warm(void **in)
{
    struct state *s = *in;
    struct kt_queue_stats before, after;
    free(stream(s, 1, 3));
    uint64_t allocs = s->dev->stats.allocs;
    s->dev->k.queue_stats(s->dev->q, &before);
    free(stream(s, 20, 4));
    s->dev->k.queue_stats(s->dev->q, &after);
    assert_int_equal(s->dev->stats.allocs, allocs);
    assert_int_equal(after.allocs, before.allocs);
    assert_true(after.launches > before.launches);
}

/* Who computes a pixel does not change its bits. */
static void test_threads(void **in)
{
    struct kt_vae_config configs[2] = {fixture_wan_config(), fixture_taehv_config()};
    for (int i = 0; i < 2; i++) {
        void *one, *three;
        setup(&one, configs[i], 1);
        setup(&three, configs[i], 3);
        float *a = stream(one, 1, 3), *b = stream(three, 1, 3);
        struct state *s = one;
        assert_same_frames(s, a, b, 3 * s->info.frames_per_latent);
        free(a);
        free(b);
        teardown(&one);
        teardown(&three);
    }
    (void)in;
}

/* What the encoder saw first must matter for ever; a broken cache would lose it. */
static void test_encoder(void **in)
{
    struct state *s = *in;
    int frames = 1 + 2 * s->info.frames_per_latent;
    float *rgb = malloc((size_t)frames * s->frame_count * sizeof(float));
    float *one = malloc(3 * s->latent_count * sizeof(float));
    float *two = malloc(3 * s->latent_count * sizeof(float));
    fixture_normals(rgb, (size_t)frames * s->frame_count, 5, 0.5f);
    assert_int_equal(kt_vae_encode(s->vae, rgb, frames, one, &s->err), 0);
    assert_int_equal(kt_vae_encode(s->vae, rgb, 1, two, &s->err), 0);
    assert_memory_equal(one, two, s->latent_count * sizeof(float));
    assert_int_equal(kt_vae_encode(s->vae, rgb, frames, two, &s->err), 0);
    assert_memory_equal(one, two, 3 * s->latent_count * sizeof(float));
    rgb[0] += 1.0f;
    assert_int_equal(kt_vae_encode(s->vae, rgb, frames, two, &s->err), 0);
    assert_memory_not_equal(one + s->latent_count, two + s->latent_count,
                            s->latent_count * sizeof(float));
    assert_int_equal(kt_vae_encode(s->vae, rgb, 3, two, &s->err), -EINVAL);
    assert_string_equal(s->err.text, "vae: 3 frames to encode, expected 1 + a multiple of 4");
    free(rgb);
    free(one);
    free(two);
}

static void expect_error(struct kt_vae_config config, const char *skip, const char *misshape,
                         const char *const *words)
{
    struct state *s = state_new(config, 0);
    assert_true(open_weights(s, skip, misshape, config.kind == KT_VAE_WAN) < 0);
    assert_null(s->vae);
    assert_int_equal(s->dev->stats.bytes_allocated, 0);
    for (; *words; words++) {
        if (!strstr(s->err.text, *words)) {
            fail_msg("'%s' is not in: %s", *words, s->err.text);
        }
    }
    void *v = s;
    teardown(&v);
}

static void test_bad_checkpoints(void **in)
{
    struct kt_vae_config wan = fixture_wan_config(), tiny = fixture_taehv_config();
    expect_error(wan, "decoder.upsamples.2.time_conv.weight", NULL,
                 (const char *[]){"test_tails_", "decoder.upsamples.2.time_conv.weight", NULL});
    expect_error(
        wan, NULL, "decoder.middle.1.to_qkv.weight",
        (const char *[]){"test_tails_", "decoder.middle.1.to_qkv.weight", "96", "97", NULL});
    expect_error(wan, NULL, "encoder.conv1.weight",
                 (const char *[]){"encoder.conv1.weight", "8", "9", NULL});
    expect_error(tiny, NULL, "decoder.4.conv.0.bias",
                 (const char *[]){"decoder.4.conv.0.bias", "12", "13", NULL});
    tiny.frames_to_trim = 4;
    expect_error(
        tiny, NULL, NULL,
        (const char *[]){"frames_to_trim is 4, expected 0..3 (a latent gives 4 frames)", NULL});
    wan.dim = 3;
    wan.dim_mult[1] = 1;
    expect_error(wan, NULL, NULL, (const char *[]){"dim 3 x dim_mult[1] 1", NULL});
    (void)in;
}

static void test_bad_params(void **in)
{
    struct state *s = *in;
    float x = 0;
    struct kt_vae *v = NULL;
    struct kt_vae_params p = {.config = &s->config, .latent_h = 0, .latent_w = 4, .tails_max = 2};
    assert_int_equal(kt_vae_open(&v, s->dev, &p, &s->err), -EINVAL);
    assert_string_equal(s->err.text, "vae: latent size 4x0, expected at least 1x1");
    if (s->config.kind == KT_VAE_TAEHV) {
        assert_int_equal(kt_vae_encode(s->vae, &x, 1, &x, &s->err), -ENOTSUP);
    }
}

int main(void)
{
#define BOTH(name)                                                                                 \
    {#name " (wan)", name, setup_wan, teardown, NULL},                                             \
    {                                                                                              \
#name " (taehv)", name, setup_taehv, teardown, NULL                                        \
    }
    const struct CMUnitTest tests[] = {
        BOTH(test_restore),
        BOTH(test_two_streams),
        BOTH(test_pool_full),
        BOTH(test_references),
        BOTH(test_no_allocation_when_warm),
        BOTH(test_bad_params),
        cmocka_unit_test_setup_teardown(test_encoder, setup_wan, teardown),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_bad_checkpoints),
    };
    return cmocka_run_group_tests_name("vae tails", tests, NULL, NULL);
}
