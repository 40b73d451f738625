/* `kinetype info MODEL`: what a model directory holds and what it will need, without loading its
 * weights' values. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "engine/model/config.h"
#include "engine/weights/safetensors.h"

static int print_file(const char *dir, const char *what, const char *file)
{
    struct kt_safetensors *st = NULL;
    struct kt_error err = {{0}};
    char path[4096];
    size_t values = 0, bytes = 0;
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    int rc = kt_safetensors_open(&st, path, &err);
    if (rc < 0) {
        fprintf(stderr, "kinetype info: %s\n", err.text);
        return rc;
    }
    for (int i = 0; i < kt_safetensors_count(st); i++) {
        values += kt_safetensors_at(st, i)->count;
        bytes += kt_safetensors_at(st, i)->bytes;
    }
    printf("  %-8s %-22s %4d tensors, %.2f M values, %.1f MB\n", what, file,
           kt_safetensors_count(st), (double)values / 1e6, (double)bytes / 1e6);
    kt_safetensors_close(&st);
    return 0;
}

static void print_sampler(const struct kt_sampler_config *s)
{
    printf("  sampler  block %d latents, window ", s->num_frame_per_block);
    if (s->local_attn_size > 0) {
        printf("%d", s->local_attn_size);
    } else {
        printf("unbounded");
    }
    printf(", sink %d, %d steps (", s->sink_size, s->steps);
    for (int i = 0; i < s->steps; i++) {
        printf("%s%d", i ? " " : "", s->denoising_step_list[i]);
    }
    printf("), shift %g, %s RoPE\n", s->timestep_shift, s->relative_rope ? "relative" : "absolute");
}

static int print_model(const char *dir, const struct kt_model_config *c)
{
    int tokens = c->dit.latent_h / c->dit.patch_h * (c->dit.latent_w / c->dit.patch_w);
    double page = 2.0 * c->dit.num_layers * tokens * c->dit.dim * sizeof(float);
    int rc = 0;
    printf("%s: %dx%d at %d frames/s\n", c->name, c->width, c->height, c->fps);
    print_sampler(&c->sampler);
    printf("  dit      dim %d, %d layers, %d heads, %d tokens a latent, page %.2f MB (fp32)\n",
           c->dit.dim, c->dit.num_layers, c->dit.num_heads, tokens, page / 1e6);
    if (c->text.vocab) {
        printf("  text     dim %d, %d layers, vocab %d, at most %d tokens\n", c->text.dim,
               c->text.num_layers, c->text.vocab, c->text.text_len);
        rc = print_file(dir, "text", c->text.file);
    }
    if (rc == 0) {
        rc = print_file(dir, "dit", c->dit.file);
    }
    if (rc == 0 && c->vae.kind != KT_VAE_NONE) {
        rc = print_file(dir, c->vae.kind == KT_VAE_WAN ? "vae" : "taehv", c->vae.file);
    }
    for (char **e = c->vocabulary.examples; rc == 0 && e && *e; e++) {
        printf("  example  %s\n", *e);
    }
    return rc;
}

int kt_command_info(int argc, char **argv)
{
    const char *dir = NULL;
    struct kt_model_config config;
    struct kt_error err = {{0}};
    const struct kt_option options[] = {
        {"", KT_OPTION_TEXT, &dir, 0, 0, NULL},
        {NULL, KT_OPTION_FLAG, NULL, 0, 0, NULL},
    };
    int rc = kt_arguments_parse(argc, argv, options, "info MODEL");
    if (rc) {
        return rc == 1 ? 0 : rc;
    }
    if (!dir) {
        fprintf(stderr, "usage: kinetype info MODEL\n");
        return 2;
    }
    if (kt_model_config_load(&config, dir, &err) < 0) {
        fprintf(stderr, "kinetype info: %s\n", err.text);
        return 1;
    }
    rc = print_model(dir, &config);
    kt_model_config_free(&config);
    return rc < 0 ? 1 : 0;
}
