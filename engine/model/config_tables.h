/* The keys that a model directory's config.json and a golden case's flat one have in common, and
 * the checks that see more than one key. Private to engine/model. */
#ifndef KT_ENGINE_MODEL_CONFIG_TABLES_H
#define KT_ENGINE_MODEL_CONFIG_TABLES_H

#include "engine/model/config.h"
#include "engine/model/fields.h"

enum {
    KT_TEXT_FIELDS = 10,
    KT_DIT_FIELDS = 12,
    KT_WAN_FIELDS = 5,
    KT_TAEHV_FIELDS = 5,
    KT_SAMPLER_FIELDS = 8,
    KT_KNOWN_WORDS_MAX = 20000,
};

/* Each fills a table of the constant above with fields that write into the given struct. Keys that
 * golden cases may leave out are marked optional by their reader. */
void kt_text_fields(struct kt_field *f, struct kt_text_config *t);
void kt_dit_fields(struct kt_field *f, struct kt_dit_config *d, int patch[3]);
void kt_wan_fields(struct kt_field *f, struct kt_vae_config *v, int *downsamples);
void kt_taehv_fields(struct kt_field *f, struct kt_vae_config *v);
void kt_sampler_fields(struct kt_field *f, struct kt_sampler_config *s);

/* LongLive's settings (engine/MODEL.md, Sampler and K/V cache). */
void kt_sampler_defaults(struct kt_sampler_config *s);
/* Takes patch_size over from `patch`; its first entry (time) must be 1. */
int kt_take_patch(const struct kt_fields_source *src, const char *section, struct kt_dit_config *d,
                  const int patch[3]);

/* `section` is "" in a golden case. -EBADMSG with the message in src->err. */
int kt_check_text(const struct kt_fields_source *src, const char *section,
                  const struct kt_text_config *t);
int kt_check_dit(const struct kt_fields_source *src, const char *section,
                 const struct kt_dit_config *d);
int kt_check_wan(const struct kt_fields_source *src, const char *section,
                 const struct kt_vae_config *v, int downsamples);
int kt_check_sampler(const struct kt_fields_source *src, const char *section,
                     const struct kt_sampler_config *s);
/* All sections of a model directory, alone and against each other. */
int kt_check_model(const struct kt_fields_source *src, const struct kt_model_config *c);

#endif
