/* Checks that see more than one key of a model's configuration. */
#include <string.h>

#include "engine/model/config_tables.h"

int kt_take_patch(const struct kt_fields_source *src, const char *section, struct kt_dit_config *d,
                  const int patch[3])
{
    if (patch[0] != 1) {
        return kt_fields_refuse(src, section, "patch_size[0]", "expected 1 (time), found %d",
                                patch[0]);
    }
    d->patch_h = patch[1];
    d->patch_w = patch[2];
    return 0;
}

int kt_check_text(const struct kt_fields_source *src, const char *section,
                  const struct kt_text_config *t)
{
    if (t->dim_attn % t->num_heads != 0) {
        return kt_fields_refuse(src, section, "num_heads",
                                "expected a divisor of dim_attn (%d), found %d", t->dim_attn,
                                t->num_heads);
    }
    if (t->num_buckets % 4 != 0) {
        return kt_fields_refuse(src, section, "num_buckets", "expected a multiple of 4, found %d",
                                t->num_buckets);
    }
    /* Half of each direction's buckets hold exact distances, the rest reach to max_distance. */
    if (t->max_distance <= t->num_buckets / 4) {
        return kt_fields_refuse(src, section, "max_distance",
                                "expected more than num_buckets / 4 (%d), found %d",
                                t->num_buckets / 4, t->max_distance);
    }
    return 0;
}

int kt_check_dit(const struct kt_fields_source *src, const char *section,
                 const struct kt_dit_config *d)
{
    if (d->dim % d->num_heads != 0) {
        return kt_fields_refuse(src, section, "num_heads",
                                "expected a divisor of dim (%d), found %d", d->dim, d->num_heads);
    }
    if (d->dim / d->num_heads % 2 != 0) {
        return kt_fields_refuse(src, section, "num_heads",
                                "expected an even head size (RoPE turns pairs), found dim %d / %d "
                                "heads = %d",
                                d->dim, d->num_heads, d->dim / d->num_heads);
    }
    if (d->freq_dim % 2 != 0) {
        return kt_fields_refuse(src, section, "freq_dim", "expected an even number, found %d",
                                d->freq_dim);
    }
    if (d->out_dim != d->in_dim) {
        return kt_fields_refuse(src, section, "out_dim",
                                "expected in_dim (%d): the output is subtracted from the input, "
                                "found %d",
                                d->in_dim, d->out_dim);
    }
    if (d->latent_h % d->patch_h != 0 || d->latent_w % d->patch_w != 0) {
        return kt_fields_refuse(src, section, "patch_size",
                                "expected divisors of the latent's %d rows and %d columns, found "
                                "%d and %d",
                                d->latent_h, d->latent_w, d->patch_h, d->patch_w);
    }
    return 0;
}

int kt_check_wan(const struct kt_fields_source *src, const char *section,
                 const struct kt_vae_config *v, int downsamples)
{
    if (downsamples != v->levels - 1) {
        return kt_fields_refuse(src, section, "temporal_downsample",
                                "expected one value fewer than dim_mult (%d), found %d",
                                v->levels - 1, downsamples);
    }
    return 0;
}

/* The steps go from noise to picture. */
static int check_steps(const struct kt_fields_source *src, const char *section,
                       const struct kt_sampler_config *s)
{
    for (int i = 1; i < s->steps; i++) {
        if (s->denoising_step_list[i] >= s->denoising_step_list[i - 1]) {
            return kt_fields_refuse(src, section, "denoising_step_list",
                                    "expected falling values, found %d after %d",
                                    s->denoising_step_list[i], s->denoising_step_list[i - 1]);
        }
    }
    return 0;
}

int kt_check_sampler(const struct kt_fields_source *src, const char *section,
                     const struct kt_sampler_config *s)
{
    const int block = s->num_frame_per_block;

    /* engine/MODEL.md, K/V cache: noisy keys would stay in the sink. */
    if (block == 1 && s->sink_size > 1) {
        return kt_fields_refuse(src, section, "sink_size",
                                "expected 0 or 1 with num_frame_per_block 1, found %d",
                                s->sink_size);
    }
    if (s->local_attn_size != -1 && s->local_attn_size < s->sink_size + block) {
        return kt_fields_refuse(
            src, section, "local_attn_size",
            "expected -1 (unbounded) or at least sink_size + num_frame_per_block "
            "(%d), found %d",
            s->sink_size + block, s->local_attn_size);
    }
    return check_steps(src, section, s);
}

/* --- a model directory
 * ---------------------------------------------------------------------------- */

static int check_video(const struct kt_fields_source *src, const struct kt_model_config *c)
{
    const int step_w = 8 * c->dit.patch_w, step_h = 8 * c->dit.patch_h;

    if (c->width % step_w != 0) {
        return kt_fields_refuse(
            src, "video", "width",
            "expected a multiple of %d (8 pixels a latent, patches of %d), found "
            "%d",
            step_w, c->dit.patch_w, c->width);
    }
    if (c->height % step_h != 0) {
        return kt_fields_refuse(
            src, "video", "height",
            "expected a multiple of %d (8 pixels a latent, patches of %d), found "
            "%d",
            step_h, c->dit.patch_h, c->height);
    }
    return 0;
}

/* What the text encoder makes is what the DiT reads. */
static int check_context(const struct kt_fields_source *src, const struct kt_model_config *c)
{
    if (c->dit.text_dim != c->text.dim) {
        return kt_fields_refuse(src, "dit", "text_dim", "expected text.dim (%d), found %d",
                                c->text.dim, c->dit.text_dim);
    }
    if (c->dit.text_len != c->text.text_len) {
        return kt_fields_refuse(src, "dit", "text_len", "expected text.text_len (%d), found %d",
                                c->text.text_len, c->dit.text_len);
    }
    return 0;
}

static int sum(const int *v, int n)
{
    int total = 0;

    for (int i = 0; i < n; i++) {
        total += v[i];
    }
    return total;
}

static int product(const int v[3])
{
    return v[0] * v[1] * v[2];
}

/* A latent is 4 frames of 8 times its size everywhere else, so a decoder must make just that. */
static int check_decoder(const struct kt_fields_source *src, const char *section,
                         const struct kt_vae_config *v, int channels)
{
    const int is_wan = v->kind == KT_VAE_WAN;

    if (v->z_dim != channels) {
        return kt_fields_refuse(src, section, is_wan ? "z_dim" : "latent_channels",
                                "expected dit.in_dim (%d), found %d", channels, v->z_dim);
    }
    if (is_wan && v->levels != 4) {
        return kt_fields_refuse(src, section, "dim_mult",
                                "expected 4 values (8 pixels a latent), found %d", v->levels);
    }
    if (is_wan && sum(v->temporal_downsample, 3) != 2) {
        return kt_fields_refuse(src, section, "temporal_downsample",
                                "expected two true values (4 frames a latent), found %d",
                                sum(v->temporal_downsample, 3));
    }
    if (!is_wan && product(v->space_upscale) != 8) {
        return kt_fields_refuse(src, section, "decoder_space_upscale",
                                "expected factors whose product is 8 (pixels a latent), found %d",
                                product(v->space_upscale));
    }
    if (!is_wan && product(v->time_upscale) != 4) {
        return kt_fields_refuse(src, section, "decoder_time_upscale",
                                "expected factors whose product is 4 (frames a latent), found %d",
                                product(v->time_upscale));
    }
    if (!is_wan && v->frames_to_trim != 3) {
        return kt_fields_refuse(src, section, "frames_to_trim",
                                "expected 3 (the first latent gives one frame), found %d",
                                v->frames_to_trim);
    }
    return 0;
}

int kt_check_model(const struct kt_fields_source *src, const struct kt_model_config *c)
{
    int r;

    if ((r = check_video(src, c)) < 0 || (r = kt_check_text(src, "text", &c->text)) < 0 ||
        (r = kt_check_dit(src, "dit", &c->dit)) < 0 || (r = check_context(src, c)) < 0 ||
        (r = check_decoder(src, "vae", &c->vae, c->dit.in_dim)) < 0 ||
        (c->preview_vae.kind != KT_VAE_NONE &&
         (r = check_decoder(src, "preview_vae", &c->preview_vae, c->dit.in_dim)) < 0)) {
        return r;
    }
    return kt_check_sampler(src, "sampler", &c->sampler);
}
