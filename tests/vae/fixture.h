/* What the VAE's tests and benchmark share: checkpoints of random weights for any geometry, and a
 * device. */
#ifndef KT_TESTS_VAE_FIXTURE_H
#define KT_TESTS_VAE_FIXTURE_H

#include "engine/vae/vae.h"

/* Standard normals scaled by `scale`, the same for the same seed. */
void fixture_normals(float *out, size_t n, unsigned seed, float scale);

/* Writes a checkpoint with every tensor that `c` implies (decoder and encoder) to `path`; `skip`
 * names a tensor to leave out and `misshape` one whose first dimension gets one too many; both may
 * be NULL. */
int fixture_write_weights(const char *path, const struct kt_vae_config *c, const char *skip,
                          const char *misshape, struct kt_error *err);

/* Relative L2 distance of `a` from `want`. */
double fixture_rel_l2(const float *a, const float *want, size_t n);

/* A small Wan geometry and a small TAEHV one. */
struct kt_vae_config fixture_wan_config(void);
struct kt_vae_config fixture_taehv_config(void);

#endif
