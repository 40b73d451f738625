/* Scales for 8-bit values, found from the weights alone.
 *
 * e4m3 is a floating-point format: within its 2^15 of range a value keeps three bits whatever the
 * scale. So a scale only has to keep the largest value that can occur below 448, and what is
 * typical above 2^-6. The largest is known without running the model: every 8-bit linear reads a
 * normalised row (norm sqrt(dim) before modulation, whose tables are fixed), so its input, and by
 * Cauchy-Schwarz its output, are bounded by the weights. The bound lies about sqrt(dim) = 39 times
 * over what is typical, which leaves 448 / 39 * 2^6 = 700 below it: no value saturates, none that
 * matters is lost, nothing has to be measured or kept with the model, and a timeline stays a pure
 * function of model and seed (docs/design.md, invariant 1). */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "engine/dit/parts.h"

/* The largest Euclidean norm of a row of a matrix, and of its bias the largest entry. */
static int reach_of(const struct kt_dit *d, const struct kt_safetensors *st, int layer,
                    const char *name, int n, float input_norm, float *reach, struct kt_error *err)
{
    float *w = NULL, *b = NULL, norm = 0, bias = 0;
    int64_t k = d->c.dim;
    int rc = kt_safetensors_load_f32(st, &w, (int64_t[]){n, k}, 2, err, "blocks.%d.%s.weight",
                                     layer, name);
    if (rc == 0) {
        rc = kt_safetensors_load_f32(st, &b, (int64_t[]){n}, 1, err, "blocks.%d.%s.bias", layer,
                                     name);
    }
    for (int64_t i = 0; i < n && rc == 0; i++) {
        float sum = 0;
        for (int64_t j = 0; j < k; j++) {
            sum += w[i * k + j] * w[i * k + j];
        }
        norm = fmaxf(norm, sqrtf(sum));
        bias = fmaxf(bias, fabsf(b[i]));
    }
    free(w);
    free(b);
    *reach = norm * input_norm + bias;
    return rc;
}

/* The largest value that RMSNorm with this weight and a turn in a plane can give. */
static int norm_reach(const struct kt_dit *d, const struct kt_safetensors *st, int layer,
                      const char *name, float *reach, struct kt_error *err)
{
    float *w, largest = 0;
    int rc = kt_safetensors_load_f32(st, &w, (int64_t[]){d->c.dim}, 1, err,
                                     "blocks.%d.self_attn.%s.weight", layer, name);
    if (rc < 0) {
        return rc;
    }
    for (int i = 0; i < d->c.dim; i++) {
        largest = fmaxf(largest, fabsf(w[i]));
    }
    free(w);
    *reach = largest * sqrtf(2.0f * (float)d->c.dim);
    return 0;
}

static int find_layer(struct kt_dit *d, const struct kt_safetensors *st, int layer,
                      struct kt_error *err)
{
    struct kt_dit_scales *s = &d->layers[layer].scales;
    const struct kt_reach *in = &d->mod.reach[2 * (ptrdiff_t)layer];
    float q, k, v, mid;
    int rc, only = d->dev->k.f8_heads_only;
    if ((rc = reach_of(d, st, layer, "self_attn.v", d->c.dim, in[0].norm, &v, err)) < 0 ||
        (rc = reach_of(d, st, layer, "ffn.0", d->c.ffn_dim, in[1].norm, &mid, err)) < 0 ||
        (rc = norm_reach(d, st, layer, "norm_q", &q, err)) < 0 ||
        (rc = norm_reach(d, st, layer, "norm_k", &k, err)) < 0) {
        return rc;
    }
    *s = (struct kt_dit_scales){.qkv_in = kt_f8_scale(in[0].largest),
                                .v = kt_f8_scale(v),
                                .ffn_in = kt_f8_scale(in[1].largest),
                                .ffn_mid = kt_f8_scale(mid)};
    if (only == 0 || only == d->head_dim) {
        s->q = kt_f8_scale(q);
        s->k = kt_f8_scale(k);
    }
    return 0;
}

static int left_wide(const struct kt_dit *d, int layer)
{
    for (int i = 0; i < d->c.f8_skips; i++) {
        if (d->c.f8_skip[i] == layer) {
            return 1;
        }
    }
    return 0;
}

int kt_dit_find_scales(struct kt_dit *d, const struct kt_safetensors *st, struct kt_error *err)
{
    int rc = 0;
    for (int l = 0; l < d->c.num_layers && rc == 0 && d->dev->f8; l++) {
        rc = left_wide(d, l) ? 0 : find_layer(d, st, l, err);
    }
    return rc;
}
