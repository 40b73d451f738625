/* A golden case's flat config.json. Its keys are those of the sections of a model directory,
 * without the sections; what it leaves out has engine/MODEL.md's value, and keys that only describe
 * the case (notes, lengths of tensors) are not ours to judge. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/config.h"
#include "engine/model/config_tables.h"
#include "engine/model/fields.h"

enum { GOLDEN_KIND_MAX = 32, CONFIG_BYTES_MAX = 1 << 20 };

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define WEIGHTS_FILE "weights.safetensors"

/* Wan 2.1's latent statistics (engine/MODEL.md, VAE). */
static const float WAN_MEAN[] = {-0.7571f, -0.7089f, -0.9113f, 0.1075f,  -0.1745f, 0.9653f,
                                 -0.1517f, 1.5508f,  0.4134f,  -0.0715f, 0.5517f,  -0.3632f,
                                 -0.1922f, -0.9497f, 0.2503f,  -0.2921f};
static const float WAN_STD[] = {2.8184f, 1.4541f, 2.3275f, 2.6558f, 1.2196f, 1.7708f,
                                2.6052f, 2.0743f, 3.2687f, 2.1526f, 2.8652f, 1.5579f,
                                1.6382f, 1.1253f, 2.8251f, 1.9160f};

static void make_optional(struct kt_field *fields, size_t n, const char *const *keys, size_t keys_n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < keys_n; k++) {
            fields[i].optional |= strcmp(fields[i].key, keys[k]) == 0;
        }
    }
}

static int read_latent_size(const struct kt_fields_source *src, struct kt_dit_config *d,
                            const json_t *root)
{
    const struct kt_field fields[] = {
        {"latent_h", KT_FIELD_INT, &d->latent_h, .min = 1, .max = 1024},
        {"latent_w", KT_FIELD_INT, &d->latent_w, .min = 1, .max = 1024},
    };
    return kt_fields_read(src, "", root, fields, COUNT(fields));
}

static int read_umt5(const struct kt_fields_source *src, struct kt_model_config *c,
                     const json_t *root)
{
    static const char *const OPTIONAL[] = {"num_buckets", "max_distance", "text_len", "eps"};
    struct kt_field fields[KT_TEXT_FIELDS];
    int r;

    c->text = (struct kt_text_config){.file = WEIGHTS_FILE,
                                      .num_buckets = 32,
                                      .max_distance = 128,
                                      .text_len = 512,
                                      .eps = 1e-6f};
    kt_text_fields(fields, &c->text);
    make_optional(fields, COUNT(fields), OPTIONAL, COUNT(OPTIONAL));
    r = kt_fields_read(src, "", root, fields, COUNT(fields));
    return r < 0 ? r : kt_check_text(src, "", &c->text);
}

static int read_switches(const struct kt_fields_source *src, struct kt_model_config *c,
                         const json_t *root)
{
    struct kt_golden_plan *g = &c->golden;
    const struct kt_field fields[] = {
        {"num_frames", KT_FIELD_INT, &g->num_frames, .optional = 1, .min = 1, .max = 100000},
        {"switch_frame_indices", KT_FIELD_INT, g->switch_frames, .optional = 1, .min = 0,
         .max = 100000, .count_max = KT_GOLDEN_SWITCHES_MAX, .count = &g->switches},
    };
    int r = kt_fields_read(src, "", root, fields, COUNT(fields));

    for (int i = 1; r == 0 && i < g->switches; i++) {
        if (g->switch_frames[i] <= g->switch_frames[i - 1]) {
            r = kt_fields_refuse(src, "", "switch_frame_indices",
                                 "expected rising values, found %d after %d", g->switch_frames[i],
                                 g->switch_frames[i - 1]);
        }
    }
    return r;
}

static int read_rollout(const struct kt_fields_source *src, struct kt_model_config *c,
                        const json_t *root)
{
    static const char *const OPTIONAL[] = {"text_dim", "text_len",   "freq_dim", "in_dim",
                                           "out_dim",  "patch_size", "eps"};
    int patch[3] = {1, 2, 2}, r;
    struct kt_field fields[KT_DIT_FIELDS + KT_SAMPLER_FIELDS];

    c->dit = (struct kt_dit_config){.file = WEIGHTS_FILE,
                                    .text_dim = 4096,
                                    .text_len = 512,
                                    .freq_dim = 256,
                                    .in_dim = 16,
                                    .out_dim = 16,
                                    .eps = 1e-6f};
    kt_sampler_defaults(&c->sampler);
    kt_dit_fields(fields, &c->dit, patch);
    kt_sampler_fields(fields + KT_DIT_FIELDS, &c->sampler);
    make_optional(fields, KT_DIT_FIELDS, OPTIONAL, COUNT(OPTIONAL));
    for (int i = 0; i < KT_SAMPLER_FIELDS; i++) {
        fields[KT_DIT_FIELDS + i].optional = 1;
    }
    if ((r = kt_fields_read(src, "", root, fields, COUNT(fields))) < 0 ||
        (r = read_latent_size(src, &c->dit, root)) < 0 || (r = read_switches(src, c, root)) < 0 ||
        (r = kt_take_patch(src, "", &c->dit, patch)) < 0 ||
        (r = kt_check_dit(src, "", &c->dit)) < 0) {
        return r;
    }
    return kt_check_sampler(src, "", &c->sampler);
}

/* Cases list none: the 16 constants where z_dim is 16, else nothing to undo. */
static void set_wan_statistics(struct kt_vae_config *v)
{
    for (int i = 0; i < v->z_dim; i++) {
        v->mean[i] = v->z_dim == (int)COUNT(WAN_MEAN) ? WAN_MEAN[i] : 0;
        v->std[i] = v->z_dim == (int)COUNT(WAN_STD) ? WAN_STD[i] : 1;
    }
}

static int read_wan(const struct kt_fields_source *src, struct kt_model_config *c,
                    const json_t *root)
{
    struct kt_field fields[KT_WAN_FIELDS];
    int downsamples = 0, r;

    c->vae = (struct kt_vae_config){.kind = KT_VAE_WAN, .file = WEIGHTS_FILE};
    kt_wan_fields(fields, &c->vae, &downsamples);
    if ((r = kt_fields_read(src, "", root, fields, COUNT(fields))) < 0 ||
        (r = read_latent_size(src, &c->dit, root)) < 0) {
        return r;
    }
    set_wan_statistics(&c->vae);
    return kt_check_wan(src, "", &c->vae, downsamples);
}

static int read_taehv(const struct kt_fields_source *src, struct kt_model_config *c,
                      const json_t *root)
{
    static const char *const OPTIONAL[] = {"latent_channels", "decoder_time_upscale",
                                           "decoder_space_upscale", "frames_to_trim"};
    struct kt_field fields[KT_TAEHV_FIELDS];
    int r;

    c->vae = (struct kt_vae_config){.kind = KT_VAE_TAEHV,
                                    .file = WEIGHTS_FILE,
                                    .z_dim = 16,
                                    .time_upscale = {1, 2, 2},
                                    .space_upscale = {2, 2, 2},
                                    .frames_to_trim = 3};
    kt_taehv_fields(fields, &c->vae);
    make_optional(fields, COUNT(fields), OPTIONAL, COUNT(OPTIONAL));
    r = kt_fields_read(src, "", root, fields, COUNT(fields));
    return r < 0 ? r : read_latent_size(src, &c->dit, root);
}

static const struct {
    const char *kind;
    int (*read)(const struct kt_fields_source *src, struct kt_model_config *c, const json_t *root);
} KINDS[] = {
    {"umt5_encoder", read_umt5},
    {"causal_wan_rollout", read_rollout},
    {"wan_vae", read_wan},
    {"taehv_decoder", read_taehv},
};

static int read_case(const struct kt_fields_source *src, struct kt_model_config *c, char *kind,
                     const json_t *root)
{
    const struct kt_field fields[] = {{"kind", KT_FIELD_TEXT, kind, .size = GOLDEN_KIND_MAX}};
    const int r = kt_fields_read(src, "", root, fields, COUNT(fields));

    for (size_t i = 0; r == 0 && i < COUNT(KINDS); i++) {
        if (strcmp(kind, KINDS[i].kind) == 0) {
            return KINDS[i].read(src, c, root);
        }
    }
    return r < 0 ? r
                 : kt_fields_refuse(src, "", "kind",
                                    "expected umt5_encoder, causal_wan_rollout, wan_vae or "
                                    "taehv_decoder, found '%s'",
                                    kind);
}

int kt_model_config_load_golden(struct kt_model_config *out, char *kind, const char *dir,
                                struct kt_error *err)
{
    char *file = NULL;
    json_t *root = NULL;
    int r;

    *out = (struct kt_model_config){0};
    kind[0] = '\0';
    if (asprintf(&file, "%s/config.json", dir) < 0) {
        return kt_fail(err, -ENOMEM, "%s: out of memory", dir);
    }
    const struct kt_fields_source src = {.file = file, .err = err, .ignore_unknown = 1};
    r = kt_fields_parse_file(&src, &root, CONFIG_BYTES_MAX);
    if (r == 0 && (r = read_case(&src, out, kind, root)) < 0) {
        kt_model_config_free(out);
    }
    json_decref(root);
    free(file);
    return r;
}
