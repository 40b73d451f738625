#include "engine/vae/layers.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int load_weight(struct kt_vae_build *b, float **out, const struct kt_vae_filter *f)
{
    const struct kt_conv_desc *d = &f->desc;
    int64_t shape[5] = {d->c_out, d->c_in};
    if (f->memory) {
        shape[1] *= 2;
    }
    if (f->rank == 5) {
        shape[2] = d->kt;
    }
    shape[f->rank - 2] = d->kh;
    shape[f->rank - 1] = d->kw;
    return kt_safetensors_load_f32(b->weights, out, shape, f->rank, b->err, "%s.weight", f->name);
}

static int load_bias(struct kt_vae_build *b, float **out, const struct kt_vae_filter *f)
{
    int64_t shape[1] = {f->desc.c_out};
    if (f->no_bias) {
        *out = NULL;
        return 0;
    }
    return kt_safetensors_load_f32(b->weights, out, shape, 1, b->err, "%s.bias", f->name);
}

/* [o, (now, before) x i, kh, kw] -> [o, i, (before, now), kh, kw] */
static int order_memory(float **weight, const struct kt_conv_desc *d)
{
    size_t plane = (size_t)d->kh * (size_t)d->kw;
    size_t ci = (size_t)d->c_in;
    float *ordered = malloc((size_t)d->c_out * ci * 2 * plane * sizeof(float));
    if (!ordered) {
        return -ENOMEM;
    }
    for (size_t o = 0; o < (size_t)d->c_out; o++) {
        for (size_t i = 0; i < ci; i++) {
            const float *now = *weight + (o * 2 * ci + i) * plane;
            const float *before = now + ci * plane;
            float *dst = ordered + (o * ci + i) * 2 * plane;
            memcpy(dst, before, plane * sizeof(float));
            memcpy(dst + plane, now, plane * sizeof(float));
        }
    }
    free(*weight);
    *weight = ordered;
    return 0;
}

static int no_memory(struct kt_vae_build *b, const char *name, int rc)
{
    return kt_fail(b->err, rc, "vae: preparing %s: %s", name, strerror(-rc));
}

int kt_vae_load_conv(struct kt_vae_build *b, struct kt_conv **out, const struct kt_vae_filter *f)
{
    float *weight = NULL, *bias = NULL;
    int rc = load_weight(b, &weight, f);
    if (rc == 0) {
        rc = load_bias(b, &bias, f);
    }
    if (rc < 0) {
        goto out;
    }
    if (f->memory) {
        rc = order_memory(&weight, &f->desc);
    }
    if (rc == 0) {
        struct kt_conv_desc d = f->desc;
        d.dtype = KT_F32;
        d.weight = weight;
        d.bias = bias;
        rc = b->dev->k.conv_create(out, b->dev->q, &d);
    }
    if (rc < 0) {
        no_memory(b, f->name, rc);
    }
out:
    free(weight);
    free(bias);
    return rc;
}

int kt_vae_load_pointwise(struct kt_vae_build *b, struct kt_linear **out,
                          const struct kt_vae_filter *f)
{
    float *weight = NULL, *bias = NULL;
    int rc = load_weight(b, &weight, f);
    if (rc == 0) {
        rc = load_bias(b, &bias, f);
    }
    if (rc < 0) {
        goto out;
    }
    struct kt_linear_desc d = {
        .n = f->desc.c_out, .k = f->desc.c_in, .dtype = KT_F32, .weight = weight, .bias = bias};
    rc = b->dev->k.linear_create(out, b->dev->q, &d);
    if (rc < 0) {
        no_memory(b, f->name, rc);
    }
out:
    free(weight);
    free(bias);
    return rc;
}

/* sqrt(c) x / |x| is sqrt(c) where one channel has all; SiLU makes nothing larger. */
static float reach_of(const float *gamma, int c)
{
    float largest = 0.0f;
    for (int i = 0; i < c; i++) {
        largest = fmaxf(largest, fabsf(gamma[i]));
    }
    return largest * sqrtf((float)c);
}

int kt_vae_load_gamma(struct kt_vae_build *b, float **out, int c, int rank, const char *name,
                      float *reach)
{
    int64_t shape[4] = {c, 1, 1, 1};
    float *gamma = NULL;
    int rc = kt_safetensors_load_f32(b->weights, &gamma, shape, rank, b->err, "%s.gamma", name);
    if (rc == 0) {
        *out = kt_device_alloc_f32(b->dev, gamma, (size_t)c, "vae norm");
        rc = *out ? 0 : no_memory(b, name, -ENOMEM);
        if (reach) {
            *reach = reach_of(gamma, c);
        }
    }
    free(gamma);
    return rc;
}
