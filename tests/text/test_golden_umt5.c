/* The golden UMT5 case within its bound. Skipped (77) where the cases are not at hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/text/text_encoder.h"

static struct kt_safetensors *open_file(const char *name)
{
    struct kt_safetensors *st;
    struct kt_error err;
    char path[512];

    snprintf(path, sizeof(path), "%s/umt5-small/%s", getenv("KT_GOLDEN_DIR"), name);
    if (kt_safetensors_open(&st, path, &err) < 0) {
        fail_msg("%s", err.text);
    }
    return st;
}

static double relative_l2(const float *got, const float *expected, size_t n)
{
    double difference = 0, norm = 0;

    for (size_t i = 0; i < n; i++) {
        difference += ((double)got[i] - expected[i]) * ((double)got[i] - expected[i]);
        norm += (double)expected[i] * expected[i];
    }
    return sqrt(difference / norm);
}

static void check_context(struct kt_device *dev, struct kt_text_encoder *enc,
                          const struct kt_safetensors *io, int i, int dim)
{
    const struct kt_tensor *ids, *context;
    struct kt_error err;
    char name[32];

    snprintf(name, sizeof(name), "ids.%d", i);
    assert_non_null(ids = kt_safetensors_find(io, name));
    snprintf(name, sizeof(name), "context.%d", i);
    assert_non_null(context = kt_safetensors_find(io, name));
    const size_t n = ids->count * (size_t)dim;
    float *got = kt_device_alloc(dev, n * sizeof(float), "test"),
          *expected = malloc(n * sizeof(float));
    int32_t *host_ids = malloc(ids->bytes);

    assert_int_equal(context->count, n);
    memcpy(host_ids, ids->data, ids->bytes);
    kt_tensor_to_f32(context, expected);
    if (kt_text_encoder_run(enc, host_ids, (int)ids->count, got, &err) < 0) {
        fail_msg("%s", err.text);
    }
    const double e = relative_l2(got, expected, n);
    print_message("%s: %zu ids, relative L2 %.2e\n", name, ids->count, e);
    assert_true(e <= 2e-5);
    free(host_ids);
    free(expected);
    kt_device_free(dev, got);
}

static void encodes_the_golden_case(void **state)
{
    struct kt_safetensors *weights = open_file("weights.safetensors"),
                          *io = open_file("io.safetensors");
    struct kt_model_config config;
    struct kt_text_encoder *enc;
    struct kt_device *dev;
    struct kt_error err;
    char dir[512], kind[32];

    (void)state;
    snprintf(dir, sizeof(dir), "%s/umt5-small", getenv("KT_GOLDEN_DIR"));
    assert_int_equal(kt_model_config_load_golden(&config, kind, dir, &err), 0);
    assert_int_equal(kt_device_open(&dev, &(struct kt_device_params){.threads = 1}, &err), 0);
    if (kt_text_encoder_open(&enc, dev, &config.text, weights, &err) < 0) {
        fail_msg("%s", err.text);
    }
    for (int i = 0; i < 3; i++) {
        check_context(dev, enc, io, i, config.text.dim);
    }
    kt_text_encoder_close(&enc);
    kt_device_close(&dev);
    kt_safetensors_close(&io);
    kt_safetensors_close(&weights);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(encodes_the_golden_case)};
    const char *root = getenv("KT_GOLDEN_DIR");
    char path[512];

    snprintf(path, sizeof(path), "%s/umt5-small/config.json", root ? root : "");
    if (!root || access(path, R_OK) != 0) {
        fprintf(stderr, "no golden case %s\n", path);
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
