/* Where the numbers come from: README.md, "Measured on your machine". LongLive-1.3B's shape
 * (832x480, window 12) was measured on one H200 with random weights; a block's denoising is 4 steps
 * and the cache pass, five passes of equal work. The demo model's was measured on 2 CPU cores.
 * "-tiny" is the same with the tiny VAE in place of the full one. K/V is bf16 in fp8 too; the tiny
 * VAE's tail is an estimate. */
#include "sim/costs.h"

#include <stddef.h>
#include <string.h>

#define PASSES 5.0 /* a block: 4 steps and the t = 0 pass */
#define BLOCK  3.0 /* latents */

#define H200(name_, what_, block_, recache_, decode_, page_)                                       \
    {                                                                                              \
        .name = name_, .what = what_, .text_ms = 4.7, .cached_text_ms = 0.02,                      \
        .step_ms = (block_) / PASSES, .commit_ms = (block_) / PASSES,                              \
        .recache_ms = (recache_) / 9, .decode_ms = (decode_) / BLOCK, .preview_ms = 4.7 / BLOCK,   \
        .page_mb = page_, .tail_mb = (decode_) < 10 ? 60 : 1900                                    \
    }

const struct kt_sim_costs kt_sim_costs_presets[] = {
    H200("h200-fp8", "LongLive-1.3B's shape on one H200, fp8, full VAE", 171.0, 92.0, 43.0, 288),
    H200("h200-bf16", "the same in bf16", 244.0, 134.0, 70.0, 288),
    H200("h200-fp8-tiny", "fp8, tiny VAE", 171.0, 92.0, 4.7, 288),
    H200("h200-bf16-tiny", "bf16, tiny VAE", 244.0, 134.0, 4.7, 288),
    {.name = "authors",
     .what = "LongLive's own PyTorch code on the same H200",
     .text_ms = 26,
     .cached_text_ms = 26, /* it keeps no prompts */
     .step_ms = 412 / PASSES,
     .commit_ms = 412 / PASSES,
     .recache_ms = 298.0 / 12,
     .decode_ms = 245 / BLOCK,
     .preview_ms = 245 / BLOCK,
     .recache_all = 1,
     .page_mb = 288,
     .tail_mb = 1900},
    {.name = "demo-cpu",
     .what = "the demo model on 2 CPU cores with AVX-512",
     .text_ms = 3,
     .cached_text_ms = 0.02,
     .step_ms = 103 / PASSES,
     .commit_ms = 103 / PASSES,
     .recache_ms = 52.0 / 9,
     .decode_ms = 13.6,
     .preview_ms = 13.6,
     .page_mb = 0.6,
     .tail_mb = 4},
    {.name = "demo-cpu-avx2",
     .what = "the demo model on 2 CPU cores with AVX2",
     .text_ms = 5,
     .cached_text_ms = 0.02,
     .step_ms = 175 / PASSES,
     .commit_ms = 175 / PASSES,
     .recache_ms = 87.0 / 9,
     .decode_ms = 20,
     .preview_ms = 20,
     .page_mb = 0.6,
     .tail_mb = 4},
    {.name = NULL},
};

const struct kt_sim_costs *kt_sim_costs_find(const char *name)
{
    for (const struct kt_sim_costs *c = kt_sim_costs_presets; c->name; c++) {
        if (strcmp(c->name, name) == 0) {
            return c;
        }
    }
    return NULL;
}

struct kt_costs kt_sim_costs_means(const struct kt_sim_costs *c)
{
    return (struct kt_costs){.text_ms = c->text_ms,
                             .step_ms = c->step_ms,
                             .commit_ms = c->commit_ms,
                             .decode_ms = c->decode_ms,
                             .recache_ms = c->recache_ms};
}

double kt_sim_costs_block_ms(const struct kt_sim_costs *c, int steps, int latents)
{
    return steps * c->step_ms + c->commit_ms + latents * c->decode_ms;
}
