/* config.json of model directories and golden cases: good ones are read, every wrong value is
 * refused with the key's path, what was expected and what was found. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "engine/model/config.h"
#include "tests/text/tmp_dir.h"

#define SIXTEEN(x)                                                                                 \
    "[" x "," x "," x "," x "," x "," x "," x "," x "," x "," x "," x "," x "," x "," x "," x      \
    "," x "]"

static const char GOOD[] =
    "{\"name\":\"demo\",\"format\":1,\"video\":{\"width\":192,\"height\":112,\"fps\":16},"
    "\"text\":{\"kind\":\"umt5\",\"file\":\"text.safetensors\",\"tokenizer\":\"spiece.model\","
    "\"vocab\":300,\"dim\":128,\"dim_attn\":128,\"dim_ffn\":256,\"num_heads\":4,\"num_layers\":2,"
    "\"num_buckets\":32,\"max_distance\":128,\"text_len\":40,\"eps\":1e-6},"
    "\"dit\":{\"file\":\"dit.safetensors\",\"dim\":256,\"num_heads\":4,\"ffn_dim\":1024,"
    "\"num_layers\":8,\"text_dim\":128,\"text_len\":40,\"freq_dim\":256,\"in_dim\":16,\"out_dim\":"
    "16,"
    "\"patch_size\":[1,2,2],\"eps\":1e-6},"
    "\"vae\":{\"kind\":\"wan\",\"file\":\"vae.safetensors\",\"dim\":8,\"z_dim\":16,"
    "\"dim_mult\":[1,2,4,8],\"num_res_blocks\":1,\"temporal_downsample\":[false,true,true],"
    "\"mean\":" SIXTEEN("0.5") ",\"std\":" SIXTEEN(
        "2") "},"
             "\"preview_vae\":{\"kind\":\"taehv\",\"file\":\"taehv.safetensors\",\"latent_"
             "channels\":16,"
             "\"widths\":[256,128,64,64],\"decoder_time_upscale\":[1,2,2],"
             "\"decoder_space_upscale\":[2,2,2],\"frames_to_trim\":3},"
             "\"sampler\":{\"num_frame_per_block\":3,\"local_attn_size\":12,\"sink_size\":3,"
             "\"denoising_step_list\":[1000,750,500,250],\"timestep_shift\":5.0,\"relative_rope\":"
             "true,"
             "\"global_sink\":true,\"context_noise\":0},"
             "\"vocabulary\":{\"shapes\":[\"circle\"],\"examples\":[\"a red circle\",\"snow\"],"
             "\"known_words\":[\"red\",\"circle\"]}}";

/* Puts `json` at `path` ("dit.dim", "dit" or "dit.patch_size" only) of a copy of GOOD; NULL removes
 * it. */
static char *changed(const char *path, const char *json)
{
    json_t *root = json_loads(GOOD, 0, NULL), *object = root;
    const char *key = strchr(path, '.');

    if (key) {
        char section[32];
        snprintf(section, sizeof(section), "%.*s", (int)(key - path), path);
        assert_non_null(object = json_object_get(root, section));
        key++;
    } else {
        key = path;
    }
    if (json) {
        json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
        assert_non_null(value);
        json_object_set_new(object, key, value);
    } else {
        assert_int_equal(json_object_del(object, key), 0);
    }
    char *text = json_dumps(root, 0);
    json_decref(root);
    return text;
}

static int load(void **state, struct kt_model_config *c, const char *text, size_t n,
                struct kt_error *err)
{
    const struct tmp_dir *dir = *state;

    err->text[0] = 0;
    tmp_dir_write(dir, "config.json", text, n);
    return kt_model_config_load(c, dir->path, err);
}

static void refuse_text(void **state, const char *text, const char *words)
{
    static const struct kt_model_config ZERO;
    struct kt_model_config c;
    struct kt_error err;
    const int r = load(state, &c, text, strlen(text), &err);

    if (r != -EBADMSG || !strstr(err.text, "/config.json:") || !strstr(err.text, words)) {
        fail_msg("expected '%s', got %d and '%s'", words, r, err.text);
    }
    assert_memory_equal(&c, &ZERO, sizeof(c));
}

static void refuse(void **state, const char *path, const char *json, const char *words)
{
    char *text = changed(path, json);

    refuse_text(state, text, words);
    free(text);
}

static void accept(void **state, const char *path, const char *json)
{
    struct kt_model_config c;
    struct kt_error err;
    char *text = changed(path, json);

    if (load(state, &c, text, strlen(text), &err) != 0) {
        fail_msg("%s = %s: %s", path, json, err.text);
    }
    kt_model_config_free(&c);
    free(text);
}

static void reads_a_model(void **state)
{
    struct kt_model_config c;
    struct kt_error err;

    if (load(state, &c, GOOD, strlen(GOOD), &err) != 0) {
        fail_msg("%s", err.text);
    }
    assert_string_equal(c.name, "demo");
    assert_int_equal(c.width, 192);
    assert_int_equal(c.fps, 16);
    assert_string_equal(c.text.tokenizer, "spiece.model");
    assert_int_equal(c.text.vocab, 300);
    assert_true(c.text.eps == 1e-6f);
    assert_int_equal(c.dit.latent_h, 14);
    assert_int_equal(c.dit.latent_w, 24);
    assert_int_equal(c.dit.patch_w, 2);
    assert_int_equal(c.vae.kind, KT_VAE_WAN);
    assert_int_equal(c.vae.levels, 4);
    assert_int_equal(c.vae.dim_mult[3], 8);
    assert_int_equal(c.vae.temporal_downsample[0], 0);
    assert_int_equal(c.vae.temporal_downsample[2], 1);
    assert_true(c.vae.mean[15] == 0.5f && c.vae.std[0] == 2);
    assert_int_equal(c.preview_vae.kind, KT_VAE_TAEHV);
    assert_int_equal(c.preview_vae.z_dim, 16);
    assert_int_equal(c.preview_vae.widths[1], 128);
    assert_int_equal(c.sampler.steps, 4);
    assert_int_equal(c.sampler.denoising_step_list[3], 250);
    assert_int_equal(c.sampler.relative_rope, 1);
    assert_string_equal(c.vocabulary.examples[1], "snow");
    assert_null(c.vocabulary.examples[2]);
    assert_string_equal(c.vocabulary.known_words[0], "red");
    assert_non_null(json_object_get(c.vocabulary.json, "shapes"));
    kt_model_config_free(&c);
    assert_null(c.vocabulary.json);
    kt_model_config_free(&c);
    kt_model_config_free(NULL);
}

static void accepts_the_range(void **state)
{
    accept(state, "preview_vae", NULL);
    accept(state, "vocabulary", NULL);
    accept(state, "vocabulary", "{}");
    accept(state, "sampler",
           "{\"num_frame_per_block\":1,\"local_attn_size\":-1,\"sink_size\":1,"
           "\"denoising_step_list\":[1000],\"timestep_shift\":8,"
           "\"relative_rope\":false,\"global_sink\":false,\"context_noise\":0.5}");
    accept(state, "vae",
           "{\"kind\":\"taehv\",\"file\":\"t.safetensors\",\"latent_channels\":16,"
           "\"widths\":[64,32,16,16],\"decoder_time_upscale\":[1,2,2],"
           "\"decoder_space_upscale\":[2,2,2],\"frames_to_trim\":3}");
    accept(state, "dit.patch_size", "[1,1,1]");
}

static void refuses_unknown_keys(void **state)
{
    refuse(state, "dit.num_head", "4", "dit.num_head: unknown key; did you mean 'num_heads'?");
    refuse(state, "sampler.local_attention_size", "4",
           "sampler.local_attention_size: unknown key; did you mean 'local_attn_size'?");
    refuse(state, "vocabulary.colors", "[]", "did you mean 'colours'?");
    refuse(state, "vae.widths", "[1]", "vae.widths: unknown key");
    refuse(state, "samplers", "{}", "config.json: samplers: unknown key; did you mean 'sampler'?");
    refuse(state, "flavour_of_the_day", "1", "flavour_of_the_day: unknown key");
}

static void refuses_missing_keys(void **state)
{
    refuse(state, "dit", NULL, "config.json: dit: expected an object, found nothing");
    refuse(state, "video.fps", NULL, "video.fps: expected an integer in 1..120, found nothing");
    refuse(state, "vae.mean", NULL, "vae.mean: expected an array of 1..64 values");
    refuse(state, "vae.kind", NULL, "vae.kind: expected \"wan\" or \"taehv\"");
    refuse(state, "text.file", NULL, "text.file: expected a file name of 1..127 bytes");
    refuse(state, "sampler.global_sink", NULL, "expected true or false, found nothing");
}

static void refuses_wrong_values(void **state)
{
    refuse(state, "name", "\"\"", "name: expected a string of 1..63 bytes, found \"\"");
    refuse(state, "name", "\"a\\nb\"", "name: expected a string");
    refuse(state, "format", "2", "format: expected an integer in 1..1, found 2");
    refuse(state, "video", "[]", "video: expected an object, found []");
    refuse(state, "video.width", "\"192\"",
           "video.width: expected an integer in 16..8192, found \"192\"");
    refuse(state, "video.width", "192.0", "found 192.0");
    refuse(state, "video.width", "-16", "found -16");
    refuse(state, "video.width", "4294967488", "found 4294967488");
    refuse(state, "video.width", "null", "found null");
    refuse(state, "text.kind", "\"bert\"", "text.kind: expected \"umt5\", found \"bert\"");
    refuse(state, "text.file", "\"../secret\"", "text.file: expected a file name");
    refuse(state, "text.file", "\"..\"", "text.file: expected a file name");
    refuse(state, "text.eps", "0", "text.eps: expected a number in 1e-12..0.01, found 0");
    refuse(state, "text.eps", "true", "text.eps: expected a number");
    refuse(state, "dit.dim", "0", "dit.dim: expected an integer in 1..32768, found 0");
    refuse(state, "dit.patch_size", "[1,2]", "dit.patch_size: expected an array of 3 values");
    refuse(state, "dit.patch_size", "7", "dit.patch_size: expected an array of 3 values");
    refuse(state, "dit.patch_size", "[1,2,\"2\"]",
           "dit.patch_size[2]: expected an integer in 1..16, found \"2\"");
    refuse(state, "vae.kind", "\"other\"", "vae.kind: expected \"wan\" or \"taehv\"");
    refuse(state, "vae.std", SIXTEEN("0"),
           "vae.std[0]: expected a number in 1e-06..1e+06, found 0");
    refuse(state, "vae.temporal_downsample", "[0,1,1]",
           "vae.temporal_downsample[0]: expected true or false, found 0");
    refuse(state, "sampler.denoising_step_list", "[]", "expected an array of 1..16 values");
    refuse(state, "sampler.denoising_step_list", "[1001]",
           "denoising_step_list[0]: expected an integer in 1..1000");
    refuse(state, "sampler.relative_rope", "1", "relative_rope: expected true or false, found 1");
    refuse(state, "vocabulary.examples", "\"snow\"", "examples: expected at most 256 strings");
    refuse(state, "vocabulary.known_words", "[\"a\",3]", "known_words[1]: expected");
}

static void refuses_what_does_not_fit_together(void **state)
{
    refuse(state, "video.width", "200", "video.width: expected a multiple of 16");
    refuse(state, "video.height", "120", "video.height: expected a multiple of 16");
    refuse(state, "dit.num_heads", "3", "dit.num_heads: expected a divisor of dim (256), found 3");
    refuse(state, "dit.num_heads", "256", "expected an even head size");
    refuse(state, "dit.freq_dim", "255", "dit.freq_dim: expected an even number, found 255");
    refuse(state, "dit.out_dim", "32", "dit.out_dim: expected in_dim (16)");
    refuse(state, "dit.patch_size", "[2,2,2]", "dit.patch_size[0]: expected 1 (time), found 2");
    refuse(state, "dit.patch_size", "[1,4,4]", "video.height: expected a multiple of 32");
    refuse(state, "dit.text_dim", "64", "dit.text_dim: expected text.dim (128), found 64");
    refuse(state, "dit.text_len", "41", "dit.text_len: expected text.text_len (40), found 41");
    refuse(state, "text.num_heads", "3",
           "text.num_heads: expected a divisor of dim_attn (128), found 3");
    refuse(state, "text.num_buckets", "30", "text.num_buckets: expected a multiple of 4, found 30");
    refuse(state, "text.max_distance", "8",
           "text.max_distance: expected more than num_buckets / 4 (8), found 8");
    refuse(state, "vae.z_dim", "8", "vae.mean: expected z_dim (8) values, found 16");
    refuse(state, "vae.std", "[1]", "vae.std: expected z_dim (16) values, found 1");
    refuse(state, "vae.temporal_downsample", "[true,true]",
           "vae.temporal_downsample: expected one value fewer than dim_mult (3), found 2");
    refuse(state, "vae.temporal_downsample", "[true,true,true]", "expected two true values");
    refuse(state, "preview_vae.latent_channels", "8",
           "preview_vae.latent_channels: expected dit.in_dim (16), found 8");
    refuse(state, "preview_vae.decoder_space_upscale", "[2,2,1]",
           "product is 8 (pixels a latent), found 4");
    refuse(state, "preview_vae.decoder_time_upscale", "[2,2,2]",
           "product is 4 (frames a latent), found 8");
    refuse(state, "preview_vae.frames_to_trim", "0", "preview_vae.frames_to_trim: expected 3");
    refuse(state, "sampler.num_frame_per_block", "1",
           "sampler.sink_size: expected 0 or 1 with num_frame_per_block 1, found 3");
    refuse(state, "sampler.local_attn_size", "5",
           "sampler.local_attn_size: expected -1 (unbounded) or at least sink_size + "
           "num_frame_per_block "
           "(6), found 5");
    refuse(state, "sampler.local_attn_size", "0", "found 0");
    refuse(state, "sampler.denoising_step_list", "[1000,1000]",
           "sampler.denoising_step_list: expected falling values, found 1000 after 1000");
}

static void refuses_bad_files(void **state)
{
    const struct tmp_dir *dir = *state;
    struct kt_model_config c;
    struct kt_error err;
    char *large = calloc(1, (1 << 20) + 2);

    refuse_text(state, "", "malformed JSON");
    refuse_text(state, "{\n \"name\": }", "config.json:2:10: malformed JSON");
    refuse_text(state, "{\"name\":\"a\",\"name\":\"b\"}", "duplicate object key");
    refuse_text(state, "{\"name\":NaN}", "malformed JSON");
    refuse_text(state, "{\"name\":\"\xff\"}", "malformed JSON");
    refuse_text(state, "[]", "expected a JSON object");
    memset(large, '[', (1 << 20) + 1);
    assert_int_equal(load(state, &c, large, (1 << 20) + 1, &err), -EFBIG);
    assert_non_null(strstr(err.text, "expected at most 1048576 bytes"));
    assert_int_equal(load(state, &c, large, 1 << 20, &err), -EBADMSG);
    assert_non_null(strstr(err.text, "maximum parsing depth"));
    free(large);

    remove(tmp_dir_at(dir, "config.json"));
    assert_int_equal(kt_model_config_load(&c, dir->path, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/config.json: cannot read: No such file"));
    assert_int_equal(kt_model_config_load(&c, "/nowhere", NULL), -ENOENT);
}

/* --- golden cases
 * --------------------------------------------------------------------------------- */

static int load_golden(void **state, struct kt_model_config *c, const char *text,
                       struct kt_error *err)
{
    const struct tmp_dir *dir = *state;
    char kind[32];

    err->text[0] = 0;
    tmp_dir_write(dir, "config.json", text, strlen(text));
    return kt_model_config_load_golden(c, kind, dir->path, err);
}

static void reads_golden_rollouts(void **state)
{
    struct kt_model_config c;
    struct kt_error err;

    assert_int_equal(
        load_golden(state, &c,
                    "{\"kind\":\"causal_wan_rollout\",\"dim\":128,\"num_heads\":2,\"ffn_dim\":192,"
                    "\"num_layers\":2,\"latent_h\":6,\"latent_w\":10,\"local_attn_size\":-1,"
                    "\"sink_size\":0,\"num_frame_per_block\":1,\"num_frames\":9,"
                    "\"switch_frame_indices\":[4,6],\"note\":\"anything\"}",
                    &err),
        0);
    assert_string_equal(c.dit.file, "weights.safetensors");
    assert_int_equal(c.dit.text_dim, 4096);
    assert_int_equal(c.dit.text_len, 512);
    assert_int_equal(c.dit.patch_h, 2);
    assert_int_equal(c.dit.latent_w, 10);
    assert_int_equal(c.sampler.local_attn_size, -1);
    assert_int_equal(c.sampler.sink_size, 0);
    assert_int_equal(c.sampler.steps, 4);
    assert_int_equal(c.sampler.global_sink, 1);
    assert_int_equal(c.golden.num_frames, 9);
    assert_int_equal(c.golden.switches, 2);
    assert_int_equal(c.golden.switch_frames[1], 6);
    kt_model_config_free(&c);
}

static void reads_golden_decoders(void **state)
{
    struct kt_model_config c;
    struct kt_error err;
    const char *wan =
        "{\"kind\":\"wan_vae\",\"dim\":12,\"z_dim\":%d,\"dim_mult\":[1,2],"
        "\"num_res_blocks\":2,\"temporal_downsample\":[true],\"latent_h\":4,\"latent_w\":6}";
    char text[256];

    snprintf(text, sizeof(text), wan, 16);
    assert_int_equal(load_golden(state, &c, text, &err), 0);
    assert_true(c.vae.mean[0] == -0.7571f && c.vae.std[15] == 1.9160f);
    assert_int_equal(c.dit.latent_h, 4);
    snprintf(text, sizeof(text), wan, 4);
    assert_int_equal(load_golden(state, &c, text, &err), 0);
    assert_true(c.vae.mean[0] == 0 && c.vae.std[3] == 1);

    assert_int_equal(load_golden(state, &c,
                                 "{\"kind\":\"taehv_decoder\",\"widths\":[8,8,4,4],\"latent_h\":5,"
                                 "\"latent_w\":6}",
                                 &err),
                     0);
    assert_int_equal(c.vae.time_upscale[2], 2);
    assert_int_equal(c.vae.frames_to_trim, 3);
    assert_int_equal(c.vae.z_dim, 16);
}

static void refuses_golden_nonsense(void **state)
{
    struct kt_model_config c;
    struct kt_error err;

    assert_int_equal(load_golden(state, &c, "{\"kind\":\"gan\"}", &err), -EBADMSG);
    assert_non_null(strstr(err.text, "kind: expected umt5_encoder, causal_wan_rollout, wan_vae or "
                                     "taehv_decoder, found 'gan'"));
    assert_int_equal(load_golden(state, &c, "{\"kind\":\"umt5_encoder\",\"vocab\":9}", &err),
                     -EBADMSG);
    assert_non_null(strstr(err.text, "config.json: dim: expected an integer"));
    assert_int_equal(load_golden(state, &c,
                                 "{\"kind\":\"causal_wan_rollout\",\"dim\":128,\"num_heads\":2,"
                                 "\"ffn_dim\":1,\"num_layers\":1,\"latent_h\":5,\"latent_w\":6}",
                                 &err),
                     -EBADMSG);
    assert_non_null(
        strstr(err.text, "patch_size: expected divisors of the latent's 5 rows and 6 columns"));
    assert_int_equal(load_golden(state, &c,
                                 "{\"kind\":\"causal_wan_rollout\",\"dim\":128,\"num_heads\":2,"
                                 "\"ffn_dim\":1,\"num_layers\":1,\"latent_h\":4,\"latent_w\":6,"
                                 "\"switch_frame_indices\":[6,6]}",
                                 &err),
                     -EBADMSG);
    assert_non_null(
        strstr(err.text, "switch_frame_indices: expected rising values, found 6 after 6"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_model),
        cmocka_unit_test(accepts_the_range),
        cmocka_unit_test(refuses_unknown_keys),
        cmocka_unit_test(refuses_missing_keys),
        cmocka_unit_test(refuses_wrong_values),
        cmocka_unit_test(refuses_what_does_not_fit_together),
        cmocka_unit_test(refuses_bad_files),
        cmocka_unit_test(reads_golden_rollouts),
        cmocka_unit_test(reads_golden_decoders),
        cmocka_unit_test(refuses_golden_nonsense),
    };
    return cmocka_run_group_tests(tests, tmp_dir_make, tmp_dir_remove);
}
