#include "engine/vae/vae.h"

#include "engine/base/assert.h"
#include "engine/vae/decoder.h"
#include "engine/vae/tail.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct kt_vae {
    struct kt_vae_info info;
    struct kt_tail_pool *tails;
    struct kt_wan_decoder *wan; /* one of these two */
    struct kt_taehv *taehv;
    struct kt_wan_encoder *encoder; /* or NULL */
};

static int open_parts(struct kt_vae *v, struct kt_device *dev, const struct kt_vae_params *p,
                      struct kt_error *err)
{
    int rc = -EINVAL;
    switch (p->config->kind) {
    case KT_VAE_WAN: rc = kt_wan_decoder_open(&v->wan, dev, p, &v->info, err); break;
    case KT_VAE_TAEHV: rc = kt_taehv_open(&v->taehv, dev, p, &v->info, err); break;
    default: kt_fail(err, rc, "vae: the configuration names no VAE kind"); break;
    }
    if (rc == 0 && p->with_encoder) {
        rc = p->config->kind == KT_VAE_WAN
                 ? kt_wan_encoder_open(&v->encoder, dev, p, err)
                 : kt_fail(err, -EINVAL, "vae: only the wan kind has an encoder");
    }
    return rc < 0 ? rc : kt_tail_pool_open(&v->tails, dev, v->info.tail_bytes, p->tails_max, err);
}

int kt_vae_open(struct kt_vae **vae, struct kt_device *dev, const struct kt_vae_params *p,
                struct kt_error *err)
{
    if (p->latent_h < 1 || p->latent_w < 1) {
        return kt_fail(err, -EINVAL, "vae: latent size %dx%d, expected at least 1x1", p->latent_w,
                       p->latent_h);
    }
    struct kt_vae *v = calloc(1, sizeof(*v));
    if (!v) {
        return kt_fail(err, -ENOMEM, "vae: out of memory");
    }
    int rc = open_parts(v, dev, p, err);
    if (rc < 0) {
        kt_vae_close(&v);
        return rc;
    }
    *vae = v;
    return 0;
}

void kt_vae_close(struct kt_vae **vae)
{
    if (!vae || !*vae) {
        return;
    }
    kt_tail_pool_close(&(*vae)->tails);
    kt_wan_encoder_close(&(*vae)->encoder);
    kt_wan_decoder_close(&(*vae)->wan);
    kt_taehv_close(&(*vae)->taehv);
    free(*vae);
    *vae = NULL;
}

void kt_vae_get_info(const struct kt_vae *vae, struct kt_vae_info *out)
{
    *out = vae->info;
}

int kt_vae_tails_in_use(const struct kt_vae *vae)
{
    return kt_tail_pool_in_use(vae->tails);
}

int kt_vae_tails_max(const struct kt_vae *vae)
{
    return kt_tail_pool_max(vae->tails);
}

/* Runs the decoder into a fresh tail and publishes it only if all went well. */
static int decode(struct kt_vae *v, struct kt_decode_args *a, const struct kt_vae_tail *tail,
                  struct kt_vae_tail **next, struct kt_error *err)
{
    struct kt_vae_tail *fresh = kt_tail_take(v->tails);
    if (!fresh) {
        return kt_fail(err, -ENOBUFS, "vae: all %d tails are in use", kt_tail_pool_max(v->tails));
    }
    a->past = kt_tail_read(tail);
    a->next = kt_tail_write(fresh);
    int rc = v->wan ? kt_wan_decoder_run(v->wan, a) : kt_taehv_run(v->taehv, a);
    if (rc < 0) {
        kt_vae_tail_unref(&fresh);
        return kt_fail(err, rc, "vae: decoding a latent: %s", strerror(-rc));
    }
    *next = fresh;
    return 0;
}

int kt_vae_decode(struct kt_vae *vae, const struct kt_vae_tail *tail, const float *latent,
                  float *rgb, int *frames, struct kt_vae_tail **next, struct kt_error *err)
{
    struct kt_decode_args a = {.latent = latent, .rgb = rgb};
    if (!tail && vae->taehv) {
        a.skip_frames = vae->info.frames_per_latent - vae->info.first_frames;
    }
    int rc = decode(vae, &a, tail, next, err);
    if (rc == 0) {
        *frames = a.frames - a.skip_frames;
        KT_ASSERT(*frames == (tail ? vae->info.frames_per_latent : vae->info.first_frames));
    }
    return rc;
}

int kt_vae_decode_untrimmed(struct kt_vae *vae, const struct kt_vae_tail *tail, const float *latent,
                            float *rgb, int *frames, struct kt_vae_tail **next,
                            struct kt_error *err)
{
    struct kt_decode_args a = {.latent = latent, .rgb = rgb};
    int rc = decode(vae, &a, tail, next, err);
    if (rc == 0) {
        *frames = a.frames;
    }
    return rc;
}

int kt_vae_encode(struct kt_vae *vae, const float *rgb, int frames, float *latents,
                  struct kt_error *err)
{
    if (!vae->encoder) {
        return kt_fail(err, -ENOTSUP, "vae: opened without an encoder");
    }
    return kt_wan_encoder_run(vae->encoder, rgb, frames, latents, err);
}
