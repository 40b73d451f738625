/* Fuzz smoke: files that are nearly right. Fixed seed, a bounded number of runs; every mutant is
 * either opened, and then read to the last byte, or refused with a message. Crashes are the
 * sanitizers' to find. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/model/config.h"
#include "engine/weights/safetensors.h"

enum { RUNS = 2000, FILE_MAX = 16384, EDITS_MAX = 6 };

struct bytes {
    char at[FILE_MAX];
    size_t n;
};

static uint32_t next(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

static void splice(struct bytes *b, size_t at, size_t removed, const char *added, size_t n)
{
    if (b->n - removed + n > FILE_MAX) {
        return;
    }
    memmove(b->at + at + n, b->at + at + removed, b->n - at - removed);
    memcpy(b->at + at, added, n);
    b->n += n - removed;
}

static void mutate(struct bytes *b, uint32_t *seed)
{
    static const char *const TOKENS[] = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ",",
                                         ":",
                                         "\"",
                                         "0",
                                         "-1",
                                         "1e999",
                                         "null",
                                         "true",
                                         "9223372036854775807",
                                         "4294967296",
                                         "\"F32\"",
                                         "\"a\"",
                                         "[0,4]",
                                         "\\u0000",
                                         "\xff",
                                         "NaN",
                                         "0.5"};
    for (uint32_t edits = 1 + next(seed) % EDITS_MAX; edits > 0 && b->n > 0; edits--) {
        const size_t at = next(seed) % b->n, rest = b->n - at;
        const char *token = TOKENS[next(seed) % (sizeof(TOKENS) / sizeof(TOKENS[0]))];
        switch (next(seed) % 5) {
        case 0: b->at[at] ^= (char)(1 << next(seed) % 8); break;
        case 1: b->at[at] = (char)next(seed); break;
        case 2: splice(b, at, next(seed) % 8 % (rest + 1), "", 0); break;
        case 3: splice(b, at, next(seed) % 8 % (rest + 1), token, strlen(token)); break;
        default: b->n = next(seed) % 8 == 0 ? at : b->n; break;
        }
    }
}

static void store(const char *path, const struct bytes *b)
{
    FILE *f;

    unlink(path); /* a new file each time: some file systems flush one that was truncated */
    f = fopen(path, "wb");
    if (!f || fwrite(b->at, 1, b->n, f) != b->n || fclose(f) != 0) {
        perror(path);
        exit(99); /* meson: hard error */
    }
}

static int demand(int code, const struct kt_error *err)
{
    if (code < 0 && err->text[0] == '\0') {
        fprintf(stderr, "refused with %d and no message\n", code);
        exit(1);
    }
    return code == 0;
}

static volatile uint8_t sum; /* of what was read, so that reading is not optimised away */

static int try_safetensors(const char *dir, const char *path)
{
    struct kt_safetensors *st;
    struct kt_error err = {""};

    (void)dir;
    if (!demand(kt_safetensors_open(&st, path, &err), &err)) {
        return 0;
    }
    for (int i = 0; i < kt_safetensors_count(st); i++) {
        const struct kt_tensor *t = kt_safetensors_at(st, i);
        for (size_t k = 0; k < t->bytes; k++) {
            sum += ((const uint8_t *)t->data)[k];
        }
    }
    kt_safetensors_close(&st);
    return 1;
}

static int try_config(const char *dir, const char *path)
{
    struct kt_model_config c;
    struct kt_error err = {""};
    char kind[32];

    (void)path;
    int good = demand(kt_model_config_load(&c, dir, &err), &err);
    kt_model_config_free(&c);
    err.text[0] = '\0';
    good += demand(kt_model_config_load_golden(&c, kind, dir, &err), &err);
    kt_model_config_free(&c);
    return good > 0;
}

static int fuzz(const char *what, const char *dir, const char *name, const struct bytes *seed_file,
                int (*try_file)(const char *dir, const char *path))
{
    uint32_t seed = 20261122;
    int opened = 0;
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    store(path, seed_file);
    if (!try_file(dir, path)) {
        fprintf(stderr, "%s: the unchanged file is refused\n", what);
        return 1;
    }
    for (int run = 0; run < RUNS; run++) {
        struct bytes b = *seed_file;
        mutate(&b, &seed);
        store(path, &b);
        opened += try_file(dir, path);
    }
    unlink(path);
    printf("%s: %d mutants, %d opened\n", what, RUNS, opened);
    return opened == 0 || opened == RUNS; /* a mutator that always or never breaks tests nothing */
}

static struct bytes safetensors_seed(void)
{
    static const char HEADER[] =
        "{\"__metadata__\":{\"format\":\"pt\"},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
        "\"b.weight\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[8,14]},"
        "\"ids\":{\"dtype\":\"I32\",\"shape\":[0,4],\"data_offsets\":[14,14]}}";
    struct bytes b = {.n = 8 + strlen(HEADER) + 14};

    b.at[0] = (char)strlen(HEADER);
    memcpy(b.at + 8, HEADER, strlen(HEADER));
    return b;
}

static struct bytes config_seed(const char *text)
{
    struct bytes b = {.n = strlen(text)};

    memcpy(b.at, text, b.n);
    return b;
}

static const char GOLDEN[] =
    "{\"kind\":\"causal_wan_rollout\",\"dim\":96,\"num_heads\":3,\"ffn_dim\":192,"
    "\"num_layers\":3,\"text_dim\":64,\"patch_size\":[1,2,2],\"eps\":1e-06,"
    "\"latent_h\":8,\"latent_w\":12,\"sink_size\":3,\"num_frames\":27,"
    "\"denoising_step_list\":[1000,750,500,250],\"timestep_shift\":5.0,"
    "\"switch_frame_indices\":[6,18],\"global_sink\":true}";

static const char MODEL[] =
    "{\"name\":\"m\",\"format\":1,\"video\":{\"width\":64,\"height\":32,\"fps\":16},"
    "\"text\":{\"kind\":\"umt5\",\"file\":\"t\",\"tokenizer\":\"s\",\"vocab\":9,\"dim\":8,\"dim_"
    "attn\":8,"
    "\"dim_ffn\":8,\"num_heads\":2,\"num_layers\":1,\"num_buckets\":32,\"max_distance\":128,"
    "\"text_len\":40,\"eps\":1e-6},\"dit\":{\"file\":\"d\",\"dim\":8,\"num_heads\":2,\"ffn_dim\":8,"
    "\"num_layers\":1,\"text_dim\":8,\"text_len\":40,\"freq_dim\":8,\"in_dim\":2,\"out_dim\":2,"
    "\"patch_size\":[1,2,2],\"eps\":1e-6},\"vae\":{\"kind\":\"wan\",\"file\":\"v\",\"dim\":8,\"z_"
    "dim\":2,"
    "\"dim_mult\":[1,2,4,8],\"num_res_blocks\":1,\"temporal_downsample\":[false,true,true],"
    "\"mean\":[0,0],\"std\":[1,1]},\"sampler\":{\"num_frame_per_block\":3,\"local_attn_size\":12,"
    "\"sink_size\":3,\"denoising_step_list\":[1000,500],\"timestep_shift\":5,\"relative_rope\":"
    "true,"
    "\"global_sink\":true,\"context_noise\":0},\"vocabulary\":{\"examples\":[\"a\"],"
    "\"known_words\":[\"red\"]}}";

int main(void)
{
    char dir[] = "/tmp/kt-fuzz-XXXXXX";
    int failed;

    if (!mkdtemp(dir)) {
        perror(dir);
        return 99;
    }
    const struct bytes weights = safetensors_seed();
    const struct bytes model = config_seed(MODEL), golden = config_seed(GOLDEN);
    failed = fuzz("safetensors", dir, "t.safetensors", &weights, try_safetensors);
    failed |= fuzz("model config", dir, "config.json", &model, try_config);
    failed |= fuzz("golden config", dir, "config.json", &golden, try_config);
    rmdir(dir);
    return failed;
}
