#include "tests/engine/tiny_model.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/weights/safetensors.h"

enum {
    DIM = 32,
    HEADS = 2,
    FFN = 64,
    LAYERS = 2,
    TEXT_DIM = 24,
    TEXT_LEN = 12,
    FREQ = 16,
    Z = 16,
    WIDTH = 48,
    HEIGHT = 32,
    VOCAB = 8192,
    VAE_DIM = 4,
    TENSORS_MAX = 512,
};

struct writer {
    struct kt_tensor tensors[TENSORS_MAX];
    int count;
    uint64_t state;
};

/* xorshift64*: the values only need to be spread and repeatable. */
static float next_value(struct writer *w)
{
    w->state ^= w->state >> 12;
    w->state ^= w->state << 25;
    w->state ^= w->state >> 27;
    uint64_t bits = (w->state * 2685821657736338717ull) >> 40;
    return (float)bits / (float)(1 << 23) - 1.0f;
}

/* A tensor with values in +-scale/sqrt(fan in), plus `offset`. Shape ends with 0. */
static void add(struct writer *w, float scale, float offset, const int *shape, const char *format,
                ...)
{
    char name[128];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof(name), format, args);
    va_end(args);
    struct kt_tensor *t = &w->tensors[w->count++];
    *t = (struct kt_tensor){.name = strdup(name), .dtype = KT_F32, .count = 1};
    for (int i = 0; shape[i]; i++) {
        t->shape[t->rank++] = shape[i];
        t->count *= (size_t)shape[i];
    }
    t->bytes = t->count * sizeof(float);
    float *data = malloc(t->bytes);
    double fan_in = t->rank > 1 ? (double)t->count / (double)t->shape[0] : 1.0;
    for (size_t i = 0; i < t->count; i++) {
        data[i] = offset + scale * next_value(w) / (float)sqrt(fan_in);
    }
    t->data = data;
}

#define SHAPE(...) ((const int[]){__VA_ARGS__, 0})

static void add_linear(struct writer *w, int n, int k, const char *name)
{
    add(w, 1.7f, 0, SHAPE(n, k), "%s.weight", name);
    add(w, 0.1f, 0, SHAPE(n), "%s.bias", name);
}

static int write_file(struct writer *w, const char *dir, const char *file)
{
    char path[4096];
    struct kt_error err = {{0}};
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    int rc = kt_safetensors_write(path, w->tensors, w->count, &err);
    if (rc < 0) {
        fprintf(stderr, "tiny model: %s\n", err.text);
    }
    for (int i = 0; i < w->count; i++) {
        free((void *)w->tensors[i].name);
        free((void *)w->tensors[i].data);
    }
    free(w);
    return rc;
}

static struct writer *new_writer(uint64_t seed)
{
    struct writer *w = calloc(1, sizeof(*w));
    w->state = seed;
    return w;
}

static int write_dit(const char *dir)
{
    static const char *const square[] = {"self_attn.q",  "self_attn.k",  "self_attn.v",
                                         "self_attn.o",  "cross_attn.q", "cross_attn.k",
                                         "cross_attn.v", "cross_attn.o"};
    static const char *const norms[] = {"self_attn.norm_q", "self_attn.norm_k", "cross_attn.norm_q",
                                        "cross_attn.norm_k", "norm3"};
    struct writer *w = new_writer(1);
    char name[96];
    add(w, 1.7f, 0, SHAPE(DIM, Z, 1, 2, 2), "patch_embedding.weight");
    add(w, 0.1f, 0, SHAPE(DIM), "patch_embedding.bias");
    add_linear(w, DIM, TEXT_DIM, "text_embedding.0");
    add_linear(w, DIM, DIM, "text_embedding.2");
    add_linear(w, DIM, FREQ, "time_embedding.0");
    add_linear(w, DIM, DIM, "time_embedding.2");
    add_linear(w, 6 * DIM, DIM, "time_projection.1");
    for (int l = 0; l < LAYERS; l++) {
        for (int i = 0; i < 8; i++) {
            snprintf(name, sizeof(name), "blocks.%d.%s", l, square[i]);
            add_linear(w, DIM, DIM, name);
        }
        for (int i = 0; i < 5; i++) {
            add(w, 0.2f, 1, SHAPE(DIM), "blocks.%d.%s.weight", l, norms[i]);
        }
        add(w, 0.2f, 0, SHAPE(DIM), "blocks.%d.norm3.bias", l);
        snprintf(name, sizeof(name), "blocks.%d.ffn.0", l);
        add_linear(w, FFN, DIM, name);
        snprintf(name, sizeof(name), "blocks.%d.ffn.2", l);
        add_linear(w, DIM, FFN, name);
        add(w, 1.0f, 0, SHAPE(1, 6, DIM), "blocks.%d.modulation", l);
    }
    add_linear(w, Z * 4, DIM, "head.head");
    add(w, 1.0f, 0, SHAPE(1, 2, DIM), "head.modulation");
    return write_file(w, dir, "dit.safetensors");
}

static void add_conv(struct writer *w, int out, int in, int t, int s, const char *name)
{
    add(w, 1.7f, 0, SHAPE(out, in, t, s, s), "%s.weight", name);
    add(w, 0.1f, 0, SHAPE(out), "%s.bias", name);
}

static void add_residual(struct writer *w, int in, int out, const char *prefix)
{
    char name[128];
    add(w, 0.2f, 1, SHAPE(in, 1, 1, 1), "%s.residual.0.gamma", prefix);
    snprintf(name, sizeof(name), "%s.residual.2", prefix);
    add_conv(w, out, in, 3, 3, name);
    add(w, 0.2f, 1, SHAPE(out, 1, 1, 1), "%s.residual.3.gamma", prefix);
    snprintf(name, sizeof(name), "%s.residual.6", prefix);
    add_conv(w, out, out, 3, 3, name);
    if (in != out) {
        snprintf(name, sizeof(name), "%s.shortcut", prefix);
        add_conv(w, out, in, 1, 1, name);
    }
}

/* Wan decoder with dim_mult [1, 1, 2, 2], no extra residual blocks, both time up-samplings. */
static int write_vae(const char *dir)
{
    struct writer *w = new_writer(2);
    int top = 2 * VAE_DIM, mult[] = {2, 2, 1, 1}, in = top, at = 0;
    char name[96];
    add_conv(w, Z, Z, 1, 1, "conv2");
    add_conv(w, top, Z, 3, 3, "decoder.conv1");
    add_residual(w, top, top, "decoder.middle.0");
    add(w, 0.2f, 1, SHAPE(top, 1, 1), "decoder.middle.1.norm.gamma");
    add(w, 1.7f, 0, SHAPE(3 * top, top, 1, 1), "decoder.middle.1.to_qkv.weight");
    add(w, 0.1f, 0, SHAPE(3 * top), "decoder.middle.1.to_qkv.bias");
    add(w, 1.7f, 0, SHAPE(top, top, 1, 1), "decoder.middle.1.proj.weight");
    add(w, 0.1f, 0, SHAPE(top), "decoder.middle.1.proj.bias");
    add_residual(w, top, top, "decoder.middle.2");
    for (int level = 0; level < 4; level++) {
        int out = mult[level] * VAE_DIM;
        snprintf(name, sizeof(name), "decoder.upsamples.%d", at++);
        add_residual(w, in, out, name);
        in = out;
        if (level == 3) {
            break;
        }
        add(w, 1.7f, 0, SHAPE(in / 2, in, 3, 3), "decoder.upsamples.%d.resample.1.weight", at);
        add(w, 0.1f, 0, SHAPE(in / 2), "decoder.upsamples.%d.resample.1.bias", at);
        if (level < 2) {
            add(w, 1.7f, 0, SHAPE(2 * in, in, 3, 1, 1), "decoder.upsamples.%d.time_conv.weight",
                at);
            add(w, 0.1f, 0, SHAPE(2 * in), "decoder.upsamples.%d.time_conv.bias", at);
        }
        in /= 2;
        at++;
    }
    add(w, 0.2f, 1, SHAPE(in, 1, 1, 1), "decoder.head.0.gamma");
    add_conv(w, 3, in, 3, 3, "decoder.head.2");
    return write_file(w, dir, "vae.safetensors");
}

/* The tiny decoder's layers by index: a convolution, and per level three memory blocks, growth in
 * time and a convolution. */
static int write_preview(const char *dir)
{
    static const int widths[] = {12, 8, 8, 4}, growth[] = {1, 2, 2};
    struct writer *w = new_writer(4);
    add(w, 1.7f, 0, SHAPE(widths[0], Z, 3, 3), "decoder.1.weight");
    add(w, 0.1f, 0, SHAPE(widths[0]), "decoder.1.bias");
    for (int level = 0; level < 3; level++) {
        int n = widths[level], at = 3 + 6 * level;
        for (int block = 0; block < 3; block++) {
            for (int i = 0; i < 3; i++) {
                int layer = at + block;
                add(w, 1.7f, 0, SHAPE(n, i ? n : 2 * n, 3, 3), "decoder.%d.conv.%d.weight", layer,
                    2 * i);
                add(w, 0.1f, 0, SHAPE(n), "decoder.%d.conv.%d.bias", layer, 2 * i);
            }
        }
        add(w, 1.7f, 0, SHAPE(n * growth[level], n, 1, 1), "decoder.%d.conv.weight", at + 4);
        add(w, 1.7f, 0, SHAPE(widths[level + 1], n, 3, 3), "decoder.%d.weight", at + 5);
    }
    add(w, 1.7f, 0, SHAPE(3, widths[3], 3, 3), "decoder.22.weight");
    add(w, 0.1f, 0, SHAPE(3), "decoder.22.bias");
    return write_file(w, dir, "preview.safetensors");
}

static int write_text(const char *dir)
{
    struct writer *w = new_writer(3);
    add(w, 1.0f, 0, SHAPE(VOCAB, TEXT_DIM), "token_embedding.weight");
    for (int l = 0; l < 1; l++) {
        static const char *const attn[] = {"q", "k", "v", "o"};
        for (int i = 0; i < 4; i++) {
            add(w, 0.6f, 0, SHAPE(TEXT_DIM, TEXT_DIM), "blocks.%d.attn.%s.weight", l, attn[i]);
        }
        add(w, 1.7f, 0, SHAPE(FFN, TEXT_DIM), "blocks.%d.ffn.fc1.weight", l);
        add(w, 1.7f, 0, SHAPE(FFN, TEXT_DIM), "blocks.%d.ffn.gate.0.weight", l);
        add(w, 1.7f, 0, SHAPE(TEXT_DIM, FFN), "blocks.%d.ffn.fc2.weight", l);
        add(w, 0.2f, 1, SHAPE(TEXT_DIM), "blocks.%d.norm1.weight", l);
        add(w, 0.2f, 1, SHAPE(TEXT_DIM), "blocks.%d.norm2.weight", l);
        add(w, 1.0f, 0, SHAPE(32, HEADS), "blocks.%d.pos_embedding.embedding.weight", l);
    }
    add(w, 0.2f, 1, SHAPE(TEXT_DIM), "norm.weight");
    return write_file(w, dir, "text.safetensors");
}

static int copy_file(const char *from, const char *dir, const char *file)
{
    char path[4096], buffer[65536];
    size_t n;
    snprintf(path, sizeof(path), "%s/%s", dir, file);
    FILE *in = fopen(from, "rb"), *out = fopen(path, "wb");
    while (in && out && (n = fread(buffer, 1, sizeof(buffer), in)) > 0) {
        fwrite(buffer, 1, n, out);
    }
    int ok = in && out && !ferror(in);
    if (in) {
        fclose(in);
    }
    return out && fclose(out) == 0 && ok ? 0 : -EIO;
}

static int write_config(const char *dir, const struct tiny_model_options *o)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    if (!f) {
        return -errno;
    }
    fprintf(f,
            "{\"name\": \"tiny\", \"format\": 1,\n"
            " \"video\": {\"width\": %d, \"height\": %d, \"fps\": 16},\n",
            WIDTH, HEIGHT);
    fprintf(f,
            " \"text\": {\"kind\": \"umt5\", \"file\": \"text.safetensors\", \"tokenizer\":"
            " \"spiece.model\", \"vocab\": %d, \"dim\": %d, \"dim_attn\": %d, \"dim_ffn\": %d,"
            " \"num_heads\": %d, \"num_layers\": 1, \"num_buckets\": 32, \"max_distance\": 128,"
            " \"text_len\": %d, \"eps\": 1e-6},\n",
            VOCAB, TEXT_DIM, TEXT_DIM, FFN, HEADS, TEXT_LEN);
    fprintf(
        f,
        " \"dit\": {\"file\": \"dit.safetensors\", \"dim\": %d, \"num_heads\": %d, \"ffn_dim\": %d,"
        " \"num_layers\": %d, \"text_dim\": %d, \"text_len\": %d, \"freq_dim\": %d, \"in_dim\": %d,"
        " \"out_dim\": %d, \"patch_size\": [1, 2, 2], \"eps\": 1e-6},\n",
        DIM, HEADS, FFN, LAYERS, TEXT_DIM, TEXT_LEN, FREQ, Z, Z);
    fprintf(
        f,
        " \"vae\": {\"kind\": \"wan\", \"file\": \"vae.safetensors\", \"dim\": %d, \"z_dim\": %d,"
        " \"dim_mult\": [1, 1, 2, 2], \"num_res_blocks\": 0,"
        " \"temporal_downsample\": [false, true, true], \"mean\": [",
        VAE_DIM, Z);
    for (int i = 0; i < Z; i++) {
        fprintf(f, "%s0", i ? ", " : "");
    }
    fprintf(f, "], \"std\": [");
    for (int i = 0; i < Z; i++) {
        fprintf(f, "%s1", i ? ", " : "");
    }
    fprintf(f,
            "]},\n%s \"sampler\": {\"num_frame_per_block\": %d, \"local_attn_size\": %d, "
            "\"sink_size\": %d,"
            " \"denoising_step_list\": [1000, 750, 500, 250], \"timestep_shift\": 5.0,"
            " \"relative_rope\": %s, \"global_sink\": %s, \"context_noise\": 0}}\n",
            o->preview
                ? " \"preview_vae\": {\"kind\": \"taehv\", \"file\": \"preview.safetensors\","
                  " \"latent_channels\": 16, \"widths\": [12, 8, 8, 4],"
                  " \"decoder_time_upscale\": [1, 2, 2], \"decoder_space_upscale\": [2, 2, 2],"
                  " \"frames_to_trim\": 3},\n"
                : "",
            o->block ? o->block : 2, o->window ? o->window : 6, o->window ? o->sink : 1,
            o->absolute_rope ? "false" : "true", o->resink ? "false" : "true");
    return fclose(f) == 0 ? 0 : -errno;
}

int tiny_model_write(const char *dir, const struct tiny_model_options *o)
{
    int rc;
    if ((rc = write_config(dir, o)) < 0 || (rc = write_dit(dir)) < 0 || (rc = write_vae(dir)) < 0) {
        return rc;
    }
    rc = o->preview ? write_preview(dir) : 0;
    rc = rc < 0 ? rc : write_text(dir);
    return rc < 0 ? rc : copy_file(o->spiece, dir, "spiece.model");
}
