#include "engine/model/config_tables.h"

#include <string.h>

/* Bounds are wide enough for any model of the family and small enough that no product of two
 * overflows an int. */
enum { DIM_MAX = 1 << 15, HEADS_MAX = 512, LAYERS_MAX = 512, VOCAB_MAX = 1 << 24, ROWS_MAX = 4096 };
enum { WINDOW_MAX = 4096 };

#define EPS_RANGE .min = 1e-12, .max = 1e-2

void kt_text_fields(struct kt_field *f, struct kt_text_config *t)
{
    const struct kt_field table[KT_TEXT_FIELDS] = {
        {"vocab", KT_FIELD_INT, &t->vocab, .min = 2, .max = VOCAB_MAX},
        {"dim", KT_FIELD_INT, &t->dim, .min = 1, .max = DIM_MAX},
        {"dim_attn", KT_FIELD_INT, &t->dim_attn, .min = 1, .max = DIM_MAX},
        {"dim_ffn", KT_FIELD_INT, &t->dim_ffn, .min = 1, .max = DIM_MAX},
        {"num_heads", KT_FIELD_INT, &t->num_heads, .min = 1, .max = HEADS_MAX},
        {"num_layers", KT_FIELD_INT, &t->num_layers, .min = 1, .max = LAYERS_MAX},
        {"num_buckets", KT_FIELD_INT, &t->num_buckets, .min = 4, .max = 1024},
        {"max_distance", KT_FIELD_INT, &t->max_distance, .min = 2, .max = 65536},
        {"text_len", KT_FIELD_INT, &t->text_len, .min = 1, .max = ROWS_MAX},
        {"eps", KT_FIELD_FLOAT, &t->eps, EPS_RANGE},
    };
    memcpy(f, table, sizeof(table));
}

void kt_dit_fields(struct kt_field *f, struct kt_dit_config *d, int patch[3])
{
    const struct kt_field table[KT_DIT_FIELDS] = {
        {"dim", KT_FIELD_INT, &d->dim, .min = 1, .max = DIM_MAX},
        {"num_heads", KT_FIELD_INT, &d->num_heads, .min = 1, .max = HEADS_MAX},
        {"ffn_dim", KT_FIELD_INT, &d->ffn_dim, .min = 1, .max = DIM_MAX},
        {"num_layers", KT_FIELD_INT, &d->num_layers, .min = 1, .max = LAYERS_MAX},
        {"text_dim", KT_FIELD_INT, &d->text_dim, .min = 1, .max = DIM_MAX},
        {"text_len", KT_FIELD_INT, &d->text_len, .min = 1, .max = ROWS_MAX},
        {"freq_dim", KT_FIELD_INT, &d->freq_dim, .min = 2, .max = DIM_MAX},
        {"in_dim", KT_FIELD_INT, &d->in_dim, .min = 1, .max = KT_Z_DIM_MAX},
        {"out_dim", KT_FIELD_INT, &d->out_dim, .min = 1, .max = KT_Z_DIM_MAX},
        {"patch_size", KT_FIELD_INT, patch, .min = 1, .max = 16, .count_min = 3, .count_max = 3},
        {"eps", KT_FIELD_FLOAT, &d->eps, EPS_RANGE},
        {"f8_skip", KT_FIELD_INT, d->f8_skip, .min = 0, .max = LAYERS_MAX - 1, .count_min = 1,
         .count_max = KT_F8_SKIP_MAX, .count = &d->f8_skips, .optional = 1},
    };
    memcpy(f, table, sizeof(table));
}

void kt_wan_fields(struct kt_field *f, struct kt_vae_config *v, int *downsamples)
{
    const struct kt_field table[KT_WAN_FIELDS] = {
        {"dim", KT_FIELD_INT, &v->dim, .min = 1, .max = 2048},
        {"z_dim", KT_FIELD_INT, &v->z_dim, .min = 1, .max = KT_Z_DIM_MAX},
        {"dim_mult", KT_FIELD_INT, v->dim_mult, .min = 1, .max = 64, .count_min = 2,
         .count_max = KT_VAE_LEVELS_MAX, .count = &v->levels},
        {"num_res_blocks", KT_FIELD_INT, &v->num_res_blocks, .min = 0, .max = 16},
        {"temporal_downsample", KT_FIELD_BOOL, v->temporal_downsample, .count_min = 1,
         .count_max = KT_VAE_LEVELS_MAX - 1, .count = downsamples},
    };
    memcpy(f, table, sizeof(table));
}

void kt_taehv_fields(struct kt_field *f, struct kt_vae_config *v)
{
    const struct kt_field table[KT_TAEHV_FIELDS] = {
        {"latent_channels", KT_FIELD_INT, &v->z_dim, .min = 1, .max = KT_Z_DIM_MAX},
        {"widths", KT_FIELD_INT, v->widths, .min = 1, .max = 4096, .count_min = 4, .count_max = 4},
        {"decoder_time_upscale", KT_FIELD_INT, v->time_upscale, .min = 1, .max = 4, .count_min = 3,
         .count_max = 3},
        {"decoder_space_upscale", KT_FIELD_INT, v->space_upscale, .min = 1, .max = 2,
         .count_min = 3, .count_max = 3},
        {"frames_to_trim", KT_FIELD_INT, &v->frames_to_trim, .min = 0, .max = 63},
    };
    memcpy(f, table, sizeof(table));
}

void kt_sampler_fields(struct kt_field *f, struct kt_sampler_config *s)
{
    const struct kt_field table[KT_SAMPLER_FIELDS] = {
        {"num_frame_per_block", KT_FIELD_INT, &s->num_frame_per_block, .min = 1, .max = 64},
        {"local_attn_size", KT_FIELD_INT, &s->local_attn_size, .min = -1, .max = WINDOW_MAX},
        {"sink_size", KT_FIELD_INT, &s->sink_size, .min = 0, .max = WINDOW_MAX},
        {"denoising_step_list", KT_FIELD_INT, s->denoising_step_list, .min = 1, .max = 1000,
         .count_min = 1, .count_max = KT_STEPS_MAX, .count = &s->steps},
        {"timestep_shift", KT_FIELD_FLOAT, &s->timestep_shift, .min = 0.01, .max = 100},
        {"relative_rope", KT_FIELD_BOOL, .out = &s->relative_rope},
        {"global_sink", KT_FIELD_BOOL, .out = &s->global_sink},
        {"context_noise", KT_FIELD_FLOAT, &s->context_noise, .min = 0, .max = 1000},
    };
    memcpy(f, table, sizeof(table));
}

void kt_sampler_defaults(struct kt_sampler_config *s)
{
    *s = (struct kt_sampler_config){
        .num_frame_per_block = 3,
        .local_attn_size = 12,
        .sink_size = 3,
        .steps = 4,
        .denoising_step_list = {1000, 750, 500, 250},
        .timestep_shift = 5,
        .global_sink = 1,
    };
}
