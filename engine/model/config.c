/* config.json of a model directory: one table of keys per section, then the checks that see more
 * than one key (config_check.c). */
#include "engine/model/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model/config_tables.h"
#include "engine/model/fields.h"

/* known_words and examples are the only lists of any length. */
enum { CONFIG_BYTES_MAX = 1 << 20 };

struct sections {
    json_t *video, *text, *dit, *vae, *preview_vae, *sampler, *vocabulary;
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static int read_root(const struct kt_fields_source *src, struct kt_model_config *c,
                     const json_t *root, struct sections *s)
{
    int format;
    const struct kt_field fields[] = {
        {"name", KT_FIELD_TEXT, c->name, .size = sizeof(c->name)},
        {"format", KT_FIELD_INT, &format, .min = 1, .max = 1},
        {"video", KT_FIELD_OBJECT, .out = &s->video},
        {"text", KT_FIELD_OBJECT, .out = &s->text},
        {"dit", KT_FIELD_OBJECT, .out = &s->dit},
        {"vae", KT_FIELD_OBJECT, .out = &s->vae},
        {"preview_vae", KT_FIELD_OBJECT, .out = &s->preview_vae, .optional = 1},
        {"sampler", KT_FIELD_OBJECT, .out = &s->sampler},
        {"vocabulary", KT_FIELD_OBJECT, .out = &s->vocabulary, .optional = 1},
    };
    return kt_fields_read(src, "", root, fields, COUNT(fields));
}

static int read_video(const struct kt_fields_source *src, struct kt_model_config *c,
                      const json_t *v)
{
    const struct kt_field fields[] = {
        {"width", KT_FIELD_INT, &c->width, .min = 16, .max = 8192},
        {"height", KT_FIELD_INT, &c->height, .min = 16, .max = 8192},
        {"fps", KT_FIELD_INT, &c->fps, .min = 1, .max = 120},
    };
    return kt_fields_read(src, "video", v, fields, COUNT(fields));
}

static int read_text(const struct kt_fields_source *src, struct kt_text_config *t, const json_t *v)
{
    char kind[16];
    struct kt_field fields[KT_TEXT_FIELDS + 3] = {
        {"kind", KT_FIELD_TEXT, kind, .size = sizeof(kind)},
        {"file", KT_FIELD_FILE, t->file, .size = sizeof(t->file)},
        {"tokenizer", KT_FIELD_FILE, t->tokenizer, .size = sizeof(t->tokenizer)},
    };
    int r;

    kt_text_fields(fields + 3, t);
    if ((r = kt_fields_read(src, "text", v, fields, COUNT(fields))) < 0) {
        return r;
    }
    if (strcmp(kind, "umt5") != 0) {
        return kt_fields_refuse(src, "text", "kind", "expected \"umt5\", found \"%s\"", kind);
    }
    return 0;
}

static int read_dit(const struct kt_fields_source *src, struct kt_model_config *c, const json_t *v)
{
    int patch[3];
    struct kt_field fields[KT_DIT_FIELDS + 1] = {
        {"file", KT_FIELD_FILE, c->dit.file, .size = sizeof(c->dit.file)},
    };
    int r;

    kt_dit_fields(fields + 1, &c->dit, patch);
    if ((r = kt_fields_read(src, "dit", v, fields, COUNT(fields))) < 0) {
        return r;
    }
    c->dit.latent_h = c->height / 8;
    c->dit.latent_w = c->width / 8;
    return kt_take_patch(src, "dit", &c->dit, patch);
}

static int read_wan(const struct kt_fields_source *src, const char *section,
                    struct kt_vae_config *v, const json_t *object)
{
    char kind[16];
    int means = 0, stds = 0, downsamples = 0, r;
    struct kt_field fields[KT_WAN_FIELDS + 4] = {
        {"kind", KT_FIELD_TEXT, kind, .size = sizeof(kind)},
        {"file", KT_FIELD_FILE, v->file, .size = sizeof(v->file)},
        {"mean", KT_FIELD_FLOAT, v->mean, .min = -1e3, .max = 1e3, .count_min = 1,
         .count_max = KT_Z_DIM_MAX, .count = &means},
        {"std", KT_FIELD_FLOAT, v->std, .min = 1e-6, .max = 1e6, .count_min = 1,
         .count_max = KT_Z_DIM_MAX, .count = &stds},
    };

    kt_wan_fields(fields + 4, v, &downsamples);
    if ((r = kt_fields_read(src, section, object, fields, COUNT(fields))) < 0) {
        return r;
    }
    if (means != v->z_dim || stds != v->z_dim) {
        return kt_fields_refuse(src, section, means != v->z_dim ? "mean" : "std",
                                "expected z_dim (%d) values, found %d", v->z_dim,
                                means != v->z_dim ? means : stds);
    }
    return kt_check_wan(src, section, v, downsamples);
}

static int read_taehv(const struct kt_fields_source *src, const char *section,
                      struct kt_vae_config *v, const json_t *object)
{
    char kind[16];
    struct kt_field fields[KT_TAEHV_FIELDS + 2] = {
        {"kind", KT_FIELD_TEXT, kind, .size = sizeof(kind)},
        {"file", KT_FIELD_FILE, v->file, .size = sizeof(v->file)},
    };

    kt_taehv_fields(fields + 2, v);
    return kt_fields_read(src, section, object, fields, COUNT(fields));
}

static int read_vae(const struct kt_fields_source *src, const char *section,
                    struct kt_vae_config *v, const json_t *object)
{
    const json_t *kind = json_object_get(object, "kind");
    const char *name = json_is_string(kind) ? json_string_value(kind) : "";

    if (strcmp(name, "wan") == 0) {
        v->kind = KT_VAE_WAN;
        return read_wan(src, section, v, object);
    }
    if (strcmp(name, "taehv") == 0) {
        v->kind = KT_VAE_TAEHV;
        return read_taehv(src, section, v, object);
    }
    return kt_fields_refuse(src, section, "kind", "expected \"wan\" or \"taehv\"");
}

static int read_sampler(const struct kt_fields_source *src, struct kt_sampler_config *s,
                        const json_t *v)
{
    struct kt_field fields[KT_SAMPLER_FIELDS];

    kt_sampler_fields(fields, s);
    return kt_fields_read(src, "sampler", v, fields, COUNT(fields));
}

/* Only examples and known_words mean something to the engine; the other lists are checked and
 * handed to the page as they are. */
static int read_vocabulary(const struct kt_fields_source *src, struct kt_vocabulary *vocabulary,
                           json_t *v)
{
    static const char *const LISTS[] = {"shapes", "colours", "backgrounds", "weather",
                                        "light",  "motions", "sizes",       "speeds"};
    char **unused[COUNT(LISTS)] = {NULL};
    struct kt_field fields[COUNT(LISTS) + 2];
    int r;

    for (size_t i = 0; i < COUNT(fields); i++) {
        fields[i] =
            (struct kt_field){.type = KT_FIELD_WORDS, .optional = 1, .count_max = 256, .size = 64};
    }
    for (size_t i = 0; i < COUNT(LISTS); i++) {
        fields[i].key = LISTS[i];
        fields[i].out = &unused[i];
    }
    fields[COUNT(LISTS)].key = "examples";
    fields[COUNT(LISTS)].out = &vocabulary->examples;
    fields[COUNT(LISTS)].size = 512;
    fields[COUNT(LISTS) + 1].key = "known_words";
    fields[COUNT(LISTS) + 1].out = &vocabulary->known_words;
    fields[COUNT(LISTS) + 1].count_max = KT_KNOWN_WORDS_MAX;
    r = kt_fields_read(src, "vocabulary", v, fields, COUNT(fields));
    for (size_t i = 0; i < COUNT(LISTS); i++) {
        kt_words_free(&unused[i]);
    }
    vocabulary->json = r == 0 ? json_incref(v) : NULL;
    return r;
}

static int read_all(const struct kt_fields_source *src, struct kt_model_config *c,
                    const json_t *root)
{
    struct sections s = {0};
    int r;

    if ((r = read_root(src, c, root, &s)) < 0 || (r = read_video(src, c, s.video)) < 0 ||
        (r = read_text(src, &c->text, s.text)) < 0 || (r = read_dit(src, c, s.dit)) < 0 ||
        (r = read_vae(src, "vae", &c->vae, s.vae)) < 0 ||
        (s.preview_vae && (r = read_vae(src, "preview_vae", &c->preview_vae, s.preview_vae)) < 0) ||
        (r = read_sampler(src, &c->sampler, s.sampler)) < 0 ||
        (s.vocabulary && (r = read_vocabulary(src, &c->vocabulary, s.vocabulary)) < 0)) {
        return r;
    }
    return kt_check_model(src, c);
}

int kt_model_config_load(struct kt_model_config *out, const char *dir, struct kt_error *err)
{
    char *file = NULL;
    json_t *root = NULL;
    int r;

    *out = (struct kt_model_config){0};
    if (asprintf(&file, "%s/config.json", dir) < 0) {
        return kt_fail(err, -ENOMEM, "%s: out of memory", dir);
    }
    const struct kt_fields_source src = {.file = file, .err = err};
    r = kt_fields_parse_file(&src, &root, CONFIG_BYTES_MAX);
    if (r == 0 && (r = read_all(&src, out, root)) < 0) {
        kt_model_config_free(out);
    }
    json_decref(root);
    free(file);
    return r;
}

void kt_model_config_free(struct kt_model_config *c)
{
    if (!c) {
        return;
    }
    kt_words_free(&c->vocabulary.examples);
    kt_words_free(&c->vocabulary.known_words);
    json_decref(c->vocabulary.json);
    *c = (struct kt_model_config){0};
}
