#include "tests/vae/fixture.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENSORS_MAX = 512, NAME_LEN = 80, FULL_LEN = 96 };

/* The tensors of a checkpoint while it is being put together. */
struct checkpoint {
    struct kt_tensor t[TENSORS_MAX];
    char names[TENSORS_MAX][FULL_LEN];
    int n;
    unsigned seed;
    const char *skip, *misshape;
};

static double uniform(unsigned long long *s)
{
    *s = *s * 6364136223846793005ULL + 1442695040888963407ULL;
    return ((double)(*s >> 11) + 0.5) / 9007199254740992.0;
}

void fixture_normals(float *out, size_t n, unsigned seed, float scale)
{
    unsigned long long s = seed * 2654435761ULL + 12345;
    for (size_t i = 0; i < n; i++) {
        double u = uniform(&s), v = uniform(&s);
        out[i] = scale * (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
    }
}

double fixture_rel_l2(const float *a, const float *want, size_t n)
{
    double diff = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)want[i];
        diff += d * d;
        norm += (double)want[i] * (double)want[i];
    }
    return norm > 0 ? sqrt(diff / norm) : sqrt(diff);
}

/* Adds `name` with normals of standard deviation `scale` around `mean`. */
static void add(struct checkpoint *c, const char *name, float mean, float scale, int rank,
                const int64_t *shape)
{
    if (c->skip && strcmp(c->skip, name) == 0) {
        return;
    }
    struct kt_tensor *t = &c->t[c->n];
    snprintf(c->names[c->n], FULL_LEN, "%s", name);
    *t = (struct kt_tensor){.name = c->names[c->n], .dtype = KT_F32, .rank = rank, .count = 1};
    for (int i = 0; i < rank; i++) {
        t->shape[i] = shape[i] + (i == 0 && c->misshape && strcmp(c->misshape, name) == 0);
        t->count *= (size_t)t->shape[i];
    }
    t->bytes = t->count * sizeof(float);
    float *data = malloc(t->bytes);
    fixture_normals(data, t->count, c->seed + (unsigned)c->n, scale);
    for (size_t i = 0; i < t->count; i++) {
        data[i] += mean;
    }
    t->data = data;
    c->n++;
}

/* A filter [o, i, taps...]; the last `rank - 2` dims of {kt, kh, kw} are used. */
static void add_filter(struct checkpoint *c, const char *name, int rank, const int64_t *dims,
                       int bias)
{
    char full[FULL_LEN];
    int64_t shape[5] = {dims[0], dims[1]};
    double fan_in = (double)dims[1];
    for (int i = 2; i < rank; i++) {
        shape[i] = dims[5 - rank + i];
        fan_in *= (double)shape[i];
    }
    snprintf(full, sizeof(full), "%s.weight", name);
    add(c, full, 0.0f, (float)sqrt(1.0 / fan_in), rank, shape);
    snprintf(full, sizeof(full), "%s.bias", name);
    if (bias) {
        add(c, full, 0.0f, 0.1f, 1, shape);
    }
}

static void add_gamma(struct checkpoint *c, const char *name, int channels, int rank)
{
    char full[FULL_LEN];
    int64_t shape[4] = {channels, 1, 1, 1};
    snprintf(full, sizeof(full), "%s.gamma", name);
    add(c, full, 1.0f, 0.1f, rank, shape);
}

static const char *part(char *out, const char *prefix, const char *suffix)
{
    snprintf(out, NAME_LEN, "%s%s", prefix, suffix);
    return out;
}

static void add_residual(struct checkpoint *c, const char *name, int ci, int co)
{
    char s[NAME_LEN];
    add_gamma(c, part(s, name, ".residual.0"), ci, 4);
    add_filter(c, part(s, name, ".residual.2"), 5, (const int64_t[]){co, ci, 3, 3, 3}, 1);
    add_gamma(c, part(s, name, ".residual.3"), co, 4);
    add_filter(c, part(s, name, ".residual.6"), 5, (const int64_t[]){co, co, 3, 3, 3}, 1);
    if (ci != co) {
        add_filter(c, part(s, name, ".shortcut"), 5, (const int64_t[]){co, ci, 1, 1, 1}, 1);
    }
}

static void add_middle(struct checkpoint *c, const char *side, int ch)
{
    char name[NAME_LEN / 2], s[NAME_LEN];
    for (int i = 0; i < 3; i += 2) {
        snprintf(name, sizeof(name), "%s.middle.%d", side, i);
        add_residual(c, name, ch, ch);
    }
    snprintf(name, sizeof(name), "%s.middle.1", side);
    add_gamma(c, part(s, name, ".norm"), ch, 3);
    add_filter(c, part(s, name, ".to_qkv"), 4, (const int64_t[]){3 * ch, ch, 1, 1, 1}, 1);
    add_filter(c, part(s, name, ".proj"), 4, (const int64_t[]){ch, ch, 1, 1, 1}, 1);
}

static void add_resample(struct checkpoint *c, const char *name, const int64_t *co_ci_time, int up)
{
    char s[NAME_LEN];
    int64_t co = co_ci_time[0], ci = co_ci_time[1];
    add_filter(c, part(s, name, ".resample.1"), 4, (const int64_t[]){co, ci, 1, 3, 3}, 1);
    if (co_ci_time[2]) {
        add_filter(c, part(s, name, ".time_conv"), 5,
                   (const int64_t[]){up ? 2 * ci : ci, ci, 3, 1, 1}, 1);
    }
}

static void add_wan_decoder(struct checkpoint *ck, const struct kt_vae_config *c)
{
    char name[NAME_LEN / 2];
    int ch = c->dim * c->dim_mult[c->levels - 1], index = 0;
    add_filter(ck, "conv2", 5, (const int64_t[]){c->z_dim, c->z_dim, 1, 1, 1}, 1);
    add_filter(ck, "decoder.conv1", 5, (const int64_t[]){ch, c->z_dim, 3, 3, 3}, 1);
    add_middle(ck, "decoder", ch);
    for (int level = c->levels - 1; level >= 0; level--) {
        int width = c->dim * c->dim_mult[level];
        for (int i = 0; i <= c->num_res_blocks; i++) {
            snprintf(name, sizeof(name), "decoder.upsamples.%d", index++);
            add_residual(ck, name, ch, width);
            ch = width;
        }
        if (level > 0) {
            snprintf(name, sizeof(name), "decoder.upsamples.%d", index++);
            add_resample(ck, name, (const int64_t[]){ch / 2, ch, c->temporal_downsample[level - 1]},
                         1);
            ch /= 2;
        }
    }
    add_gamma(ck, "decoder.head.0", ch, 4);
    add_filter(ck, "decoder.head.2", 5, (const int64_t[]){3, ch, 3, 3, 3}, 1);
}

static void add_wan_encoder(struct checkpoint *ck, const struct kt_vae_config *c)
{
    char name[NAME_LEN / 2];
    int ch = c->dim, index = 0, z2 = 2 * c->z_dim;
    add_filter(ck, "encoder.conv1", 5, (const int64_t[]){ch, 3, 3, 3, 3}, 1);
    for (int level = 0; level < c->levels; level++) {
        int width = c->dim * c->dim_mult[level];
        for (int i = 0; i < c->num_res_blocks; i++) {
            snprintf(name, sizeof(name), "encoder.downsamples.%d", index++);
            add_residual(ck, name, ch, width);
            ch = width;
        }
        if (level < c->levels - 1) {
            snprintf(name, sizeof(name), "encoder.downsamples.%d", index++);
            add_resample(ck, name, (const int64_t[]){ch, ch, c->temporal_downsample[level]}, 0);
        }
    }
    add_middle(ck, "encoder", ch);
    add_gamma(ck, "encoder.head.0", ch, 4);
    add_filter(ck, "encoder.head.2", 5, (const int64_t[]){z2, ch, 3, 3, 3}, 1);
    add_filter(ck, "conv1", 5, (const int64_t[]){z2, z2, 1, 1, 1}, 1);
}

static void add_taehv(struct checkpoint *ck, const struct kt_vae_config *c)
{
    char name[NAME_LEN];
    add_filter(ck, "decoder.1", 4, (const int64_t[]){c->widths[0], c->z_dim, 1, 3, 3}, 1);
    for (int l = 0; l < 3; l++) {
        int w = c->widths[l], at = 3 + 6 * l;
        for (int i = 0; i < 9; i++) {
            snprintf(name, sizeof(name), "decoder.%d.conv.%d", at + i / 3, 2 * (i % 3));
            add_filter(ck, name, 4, (const int64_t[]){w, i % 3 == 0 ? 2 * w : w, 1, 3, 3}, 1);
        }
        snprintf(name, sizeof(name), "decoder.%d.conv", at + 4);
        add_filter(ck, name, 4, (const int64_t[]){w * c->time_upscale[l], w, 1, 1, 1}, 0);
        snprintf(name, sizeof(name), "decoder.%d", at + 5);
        add_filter(ck, name, 4, (const int64_t[]){c->widths[l + 1], w, 1, 3, 3}, 0);
    }
    add_filter(ck, "decoder.22", 4, (const int64_t[]){3, c->widths[3], 1, 3, 3}, 1);
}

int fixture_write_weights(const char *path, const struct kt_vae_config *c, const char *skip,
                          const char *misshape, struct kt_error *err)
{
    struct checkpoint *ck = calloc(1, sizeof(*ck));
    if (!ck) {
        return -ENOMEM;
    }
    ck->seed = 100;
    ck->skip = skip;
    ck->misshape = misshape;
    if (c->kind == KT_VAE_WAN) {
        add_wan_decoder(ck, c);
        add_wan_encoder(ck, c);
    } else {
        add_taehv(ck, c);
    }
    int rc = kt_safetensors_write(path, ck->t, ck->n, err);
    for (int i = 0; i < ck->n; i++) {
        free((void *)ck->t[i].data);
    }
    free(ck);
    return rc;
}

struct kt_vae_config fixture_wan_config(void)
{
    struct kt_vae_config c = {.kind = KT_VAE_WAN,
                              .dim = 8,
                              .z_dim = 6,
                              .num_res_blocks = 1,
                              .levels = 3,
                              .dim_mult = {1, 2, 4},
                              .temporal_downsample = {1, 1}};
    for (int i = 0; i < c.z_dim; i++) {
        c.mean[i] = 0.1f * (float)i - 0.2f;
        c.std[i] = 1.0f + 0.25f * (float)i;
    }
    return c;
}

struct kt_vae_config fixture_taehv_config(void)
{
    return (struct kt_vae_config){.kind = KT_VAE_TAEHV,
                                  .z_dim = 6,
                                  .widths = {12, 8, 8, 6},
                                  .time_upscale = {1, 2, 2},
                                  .space_upscale = {2, 2, 1},
                                  .frames_to_trim = 3};
}
