#include "server/config.h"
#include "tests/proto/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct kt_serve_config config;
static struct kt_error err;
static char path[64];
static const char *directory;

static int setup(void **state)
{
    kt_serve_config_init(&config);
    strcpy(path, "/tmp/kinetype-config-XXXXXX");
    const int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    kt_serve_config_free(&config);
    return unlink(path);
}

static int load(const char *text)
{
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
    err.text[0] = '\0';
    return kt_serve_config_load(&config, path, &err);
}

static void assert_says(const char *words)
{
    if (!strstr(err.text, words)) {
        print_error("'%s' does not say '%s'\n", err.text, words);
        fail();
    }
}

static int load_shipped(const char *name)
{
    char file[4096];
    snprintf(file, sizeof(file), "%s/%s", directory, name);
    return kt_serve_config_load(&config, file, &err);
}

static void gpu_file_is_good(void **state)
{
    assert_int_equal(load_shipped("gpu.json"), 0);
    assert_int_equal(kt_serve_config_check(&config, &err), 0);
    assert_string_equal(config.device, "cuda");
    assert_int_equal(config.precision, KT_PRECISION_FP8);
    assert_int_equal(config.recache, 3);
}

static void demo_file_is_good(void **state)
{
    assert_int_equal(load_shipped("demo.json"), 0);
    assert_int_equal(config.precision, KT_PRECISION_AUTO);
    assert_int_equal(kt_serve_config_check(&config, &err), 0);
    assert_non_null(strstr(config.model, "/../models/demo"));
    assert_int_equal(config.port, 8080);
    assert_string_equal(config.listen, "127.0.0.1");
    assert_int_equal(config.metrics_port, 9464);
    assert_string_equal(config.metrics_listen, "127.0.0.1");
    assert_string_equal(config.decision_log, "");
    struct kt_serve_config defaults;
    kt_serve_config_init(&defaults); /* the file shows them */
    assert_int_equal(config.queue_max, defaults.queue_max);
    assert_int_equal(config.drafts, defaults.drafts);
    assert_int_equal(config.preview, defaults.preview);
    assert_int_equal(config.recache, defaults.recache);
    assert_int_equal(defaults.recache, KT_CHANGE_FULL);
    assert_int_equal(config.text_after_ms, defaults.text_after_ms);
    assert_int_equal(config.draft_after_ms, defaults.draft_after_ms);
    assert_int_equal(config.speculation_depth, defaults.speculation_depth);
    assert_int_equal(config.checkpoint_every_latents, defaults.checkpoint_every_latents);
    assert_int_equal(config.archive_mib, defaults.archive_mib);
    assert_int_equal(defaults.metrics_port, 0);
}

static void values_arrive(void **state)
{
    assert_int_equal(
        load("// c\n{\"port\": 1234, // c \"x\"\n \"seed\": \"18446744073709551615\",\n"
             "\"model\": \"m\", \"web\": \"/abs\", \"origins\": [\"https://a.b//c\"],\n"
             "\"codecs\": [\"jpeg\"], \"log\": \"debug\", \"token\": \"// no comment\",\n"
             "\"random_weights\": true, \"tiny_vae\": false, \"window\": 9, \"checkpoints\": 0}"),
        0);
    assert_true(config.random && !config.tiny_vae);
    assert_int_equal(config.window, 9);
    assert_int_equal(config.checkpoints, 0);
    assert_int_equal(config.port, 1234);
    assert_true(config.seed.given && config.seed.value == UINT64_MAX);
    assert_string_equal(config.model, "/tmp/m");
    assert_string_equal(config.web, "/abs");
    assert_string_equal(config.origins[0], "https://a.b//c");
    assert_null(config.origins[1]);
    assert_int_equal(config.codecs.count, 1);
    assert_int_equal(config.log, KT_LOG_DEBUG);
    assert_string_equal(config.token, "// no comment");
}

static void unknown_key_names_the_nearest(void **state)
{
    assert_int_equal(load("{\"prot\": 80}"), -EBADMSG);
    assert_says("unknown key \"prot\"");
    assert_says("\"port\"");
    assert_int_equal(load("{\"session_max\": 80}"), -EBADMSG);
    assert_says("\"sessions_max\"");
}

static void wrong_values_are_named(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"{\"port\": 65536}", "port: expected an integer from 0 to 65535, found 65536"},
        {"{\"port\": \"80\"}", "port: expected an integer"},
        {"{\"port\": 1.5}", "port: expected an integer"},
        {"{\"tiny_vae\": 1}", "tiny_vae: expected true or false"},
        {"{\"window\": 65}", "window: expected an integer from 0 to 64, found 65"},
        {"{\"sessions_max\": 0}", "sessions_max: expected an integer from 1 to 64, found 0"},
        {"{\"codecs\": [\"h265\"]}",
         "codecs: expected \"h264\", \"vp8\", \"vp9\", \"jpeg\", found h265"},
        {"{\"codecs\": []}", "codecs"},
        {"{\"log\": \"loud\"}", "log: expected \"error\""},
        {"{\"precision\": \"int4\"}", "precision: expected \"auto\", \"fp32\""},
        {"{\"precision\": \"int4\"}", "\"fp8\" or \"fp8-emulated\", found int4"},
        {"{\"seed\": 7}", "seed: expected a string"},
        {"{\"seed\": \"18446744073709551616\"}", "seed"},
        {"{\"origins\": \"x\"}", "origins: expected an array"},
        {"{\"model\": \"\"}", "model: expected a string"},
        {"{\"drafts\": 1}", "drafts: expected true or false"},
        {"{\"preview\": \"yes\"}", "preview: expected true or false"},
        {"{\"recache\": 0}",
         "recache: expected \"full\", \"checkpoint\" or latents from 1 to 1024, found 0"},
        {"{\"recache\": 1025}", "from 1 to 1024, found 1025"},
        {"{\"recache\": \"all\"}", "found all"},
        {"{\"recache\": true}", "found something else"},
        {"{\"speculation_depth\": 5}",
         "speculation_depth: expected an integer from 0 to 4, found 5"},
        {"{\"draft_after_ms\": -1}", "draft_after_ms: expected an integer"},
        {"{\"metrics_port\": 65536}", "metrics_port: expected an integer"},
        {"{\"decision_log\": true}", "decision_log: expected a string"},
        {"{\"port\": 1, \"port\": 2}", "duplicate"},
        {"[]", "expected one JSON object"},
        {"{\n\"port\": 80,\n}", ":3:"},
        {"", ":1:"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(load(cases[i].text), -EBADMSG);
        assert_says(cases[i].says);
        assert_says(path);
    }
    assert_int_equal(kt_serve_config_load(&config, "/nowhere/at/all.json", &err), -ENOENT);
    assert_says("/nowhere/at/all.json");
}

static int arguments(int n, ...)
{
    char *argv[16] = {(char *)(uintptr_t) "serve"};
    va_list args;
    va_start(args, n);
    for (int i = 1; i <= n; i++) {
        argv[i] = va_arg(args, char *);
    }
    va_end(args);
    return kt_serve_config_arguments(&config, n + 1, argv, &err);
}

static void command_line_wins(void **state)
{
    assert_int_equal(load("{\"port\": 1, \"sessions_max\": 3, \"log\": \"warn\"}"), 0);
    kt_serve_config_init(&config);
    assert_int_equal(arguments(6, "--port", "2", "--config", path, "--log", "error"), 0);
    assert_int_equal(config.port, 2);
    assert_int_equal(config.sessions_max, 3);
    assert_int_equal(config.log, KT_LOG_ERROR);
}

static void recache_is_a_word_or_a_number(void **state)
{
    assert_int_equal(load("{\"recache\": 6}"), 0);
    assert_int_equal(config.recache, 6);
    assert_int_equal(arguments(2, "--recache", "checkpoint"), 0);
    assert_int_equal(config.recache, KT_CHANGE_CHECKPOINT);
    assert_int_equal(arguments(2, "--recache", "3"), 0);
    assert_int_equal(config.recache, 3);
    assert_int_equal(arguments(2, "--recache", "full"), 0);
    assert_int_equal(config.recache, KT_CHANGE_FULL);
    assert_int_equal(arguments(2, "--recache", "some"), -EINVAL);
    assert_says("--recache: expected \"full\", \"checkpoint\" or latents");
}

static void flags_take_no_value(void **state)
{
    assert_int_equal(arguments(5, "--random", "--port", "2", "--tiny-vae", "--window"), -EINVAL);
    assert_says("--window needs a value");
    assert_int_equal(arguments(6, "--random", "--port", "2", "--tiny-vae", "--window", "9"), 0);
    assert_true(config.random && config.tiny_vae);
    assert_int_equal(config.port, 2);
    assert_int_equal(config.window, 9);
}

static void command_line_errors(void **state)
{
    assert_int_equal(arguments(2, "--prot", "2"), -EINVAL);
    assert_says("did you mean --port?");
    assert_int_equal(arguments(1, "--port"), -EINVAL);
    assert_says("--port needs a value");
    assert_int_equal(arguments(2, "--port", "http"), -EINVAL);
    assert_says("--port: expected an integer");
    assert_int_equal(arguments(2, "--prompt", "\xff"), -EINVAL);
    assert_int_equal(arguments(1, "--help"), 1);
}

static void others_need_a_token(void **state)
{
    static const char *const local[] = {"127.0.0.1", "127.9.9.9", "::1"};
    static const char *const remote[] = {"0.0.0.0", "::", "192.168.1.5", "10.0.0.1"};
    for (size_t i = 0; i < 3; i++) {
        strcpy(config.listen, local[i]);
        assert_int_equal(kt_serve_config_check(&config, &err), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        strcpy(config.listen, remote[i]);
        config.token[0] = '\0';
        assert_int_equal(kt_serve_config_check(&config, &err), -EINVAL);
        assert_says("token");
        strcpy(config.token, "x");
        assert_int_equal(kt_serve_config_check(&config, &err), 0);
    }
}

int main(int argc, char **argv)
{
    directory = argc > 1 ? argv[1] : "config";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(demo_file_is_good, setup, teardown),
        cmocka_unit_test_setup_teardown(gpu_file_is_good, setup, teardown),
        cmocka_unit_test_setup_teardown(values_arrive, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_key_names_the_nearest, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_values_are_named, setup, teardown),
        cmocka_unit_test_setup_teardown(command_line_wins, setup, teardown),
        cmocka_unit_test_setup_teardown(recache_is_a_word_or_a_number, setup, teardown),
        cmocka_unit_test_setup_teardown(flags_take_no_value, setup, teardown),
        cmocka_unit_test_setup_teardown(command_line_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(others_need_a_token, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
