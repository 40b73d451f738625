/* Model geometry and sampler settings: what `config.json` of a model directory says (and, for
 * `kinetype golden`, of a case directory). Nothing is hard-wired to one size.
 *
 * Thread-safety: plain data, read-only after load. */
#ifndef KT_ENGINE_MODEL_CONFIG_H
#define KT_ENGINE_MODEL_CONFIG_H

#include "engine/base/error.h"

struct json_t;

enum {
    KT_STEPS_MAX = 16,
    KT_VAE_LEVELS_MAX = 6,
    KT_Z_DIM_MAX = 64,
    KT_FILE_NAME_MAX = 128,
    KT_F8_SKIP_MAX = 64
};

struct kt_text_config { /* UMT5 encoder */
    char file[KT_FILE_NAME_MAX], tokenizer[KT_FILE_NAME_MAX];
    int vocab, dim, dim_attn, dim_ffn, num_heads, num_layers, num_buckets, max_distance;
    int text_len; /* ids are cut to this many */
    float eps;
};

struct kt_dit_config {
    char file[KT_FILE_NAME_MAX];
    int dim, num_heads, ffn_dim, num_layers, text_dim, text_len, freq_dim, in_dim, out_dim;
    int patch_h, patch_w;   /* patch_size[0] must be 1 */
    int latent_h, latent_w; /* latent pixels; from video size / 8, or given */
    float eps;
    int f8_skips,
        f8_skip[KT_F8_SKIP_MAX]; /* layers left in 16 bits when the device computes in 8 */
};

enum kt_vae_kind { KT_VAE_NONE = 0, KT_VAE_WAN = 1, KT_VAE_TAEHV = 2 };

struct kt_vae_config {
    enum kt_vae_kind kind;
    char file[KT_FILE_NAME_MAX];
    /* wan */
    int dim, z_dim, num_res_blocks, levels; /* levels = length of dim_mult */
    int dim_mult[KT_VAE_LEVELS_MAX];
    int temporal_downsample[KT_VAE_LEVELS_MAX]; /* levels - 1 entries, encoder order */
    float mean[KT_Z_DIM_MAX], std[KT_Z_DIM_MAX];
    /* taehv (its latent_channels is z_dim) */
    int widths[4], time_upscale[3], space_upscale[3], frames_to_trim;
};

struct kt_sampler_config {
    int num_frame_per_block;
    int local_attn_size; /* window in latent frames including the block being made; -1: unbounded */
    int sink_size;
    int steps;
    int denoising_step_list[KT_STEPS_MAX];
    float timestep_shift;
    int relative_rope, global_sink;
    float context_noise;
};

struct kt_vocabulary { /* what the model can draw, for people; NULL-terminated lists, may be NULL */
    char **examples;
    char **known_words;
    struct json_t *json; /* the whole object as it stands in the file, for the page */
};

/* What a golden case of kind causal_wan_rollout does. */
enum { KT_GOLDEN_SWITCHES_MAX = 64 };
struct kt_golden_plan {
    int num_frames; /* latent frames; 0: not said */
    int switches;   /* prompt k + 1 takes effect at switch_frames[k], rising */
    int switch_frames[KT_GOLDEN_SWITCHES_MAX];
};

struct kt_model_config {
    char name[64];
    int width, height, fps;     /* pixels; 0 where a golden case has none */
    struct kt_text_config text; /* vocab 0: absent */
    struct kt_dit_config dit;   /* num_layers 0: absent */
    struct kt_vae_config vae;
    struct kt_vae_config preview_vae;
    struct kt_sampler_config sampler;
    struct kt_vocabulary vocabulary;
    struct kt_golden_plan golden; /* of a golden case, else zero */
};

/* Reads `dir`/config.json of a model directory (at most 1 MiB). Every value is range-checked and
 * cross-checked (dim % heads, video size against patch, sink against block, what one part makes
 * against what the next one reads); unknown keys (with the nearest name), duplicate keys and file
 * names with a directory are refused. On error *out is zeroed. Errors: those of open(2), -EFBIG,
 * -EBADMSG with file, key path, what was expected, what was found. */
int kt_model_config_load(struct kt_model_config *out, const char *dir, struct kt_error *err);

/* Reads a golden case's flat config.json; `kind` (32 bytes) receives its "kind". Only the part that
 * the kind names is filled (its `file` is weights.safetensors), plus dit.latent_h and latent_w for
 * every kind that has them. Keys that are left out have engine/MODEL.md's values; unknown keys are
 * ignored (cases carry notes). */
int kt_model_config_load_golden(struct kt_model_config *out, char *kind, const char *dir,
                                struct kt_error *err);

/* Frees the vocabulary and zeroes *c. NULL accepted. */
void kt_model_config_free(struct kt_model_config *c);

#endif
