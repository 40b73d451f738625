/* Would the bounds of one pass (tests/kernels/tolerance.h) notice a broken cache? A denoising pass
 * behind a full window is compared with fp32 on the same device, first as it should be, then
 * with a page of another latent, with the sink's pages lost to later ones, and without the recache
 * that a new prompt asks for. The first must lie within the bound, the others beyond it. Latents
 * differ as scenes do, each channel of each raised by an amount of its own: in a window of mere
 * noise all pages are alike, and nothing could tell them apart.
 *
 * Usage: faults MODEL [--device cpu]. Its config.json is enough. Exits 77 without a card. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cuda/distance.h"
#include "tests/cuda/full_window.h"
#include "tests/kernels/tolerance.h"

enum { FAULTS = 4, SINK = 3 };

static const char *const FAULT[FAULTS] = {"as it should be", "a page of another latent",
                                          "the sink lost", "no recache"};
static const float CONTRAST = 1.0f;

struct faults {
    const char *model, *device;
    float *want, *got;
    size_t n;
    int failed;
    struct kt_error err;
};

/* The pass with a fault; the window is whole again afterwards. The block's own pages, which the
 * pass does not read, stand in for wrong ones. */
static int run_fault(struct full_window *w, int fault)
{
    struct kt_slab_item *whole[KT_SLOTS_MAX];
    int behind = w->window - w->block, rc = 0;
    memcpy(whole, w->pages, sizeof(whole));
    if (fault == 1) {
        w->pages[behind - 2] = whole[behind];
    } else if (fault == 2) {
        memcpy(w->pages, whole + behind, SINK * sizeof(*whole));
    } else if (fault == 3) {
        rc = full_window_recache(w, 1);
    }
    rc = rc < 0 ? rc : full_window_pass(w, w->block);
    memcpy(w->pages, whole, sizeof(whole));
    if (fault == 3 && rc == 0) {
        rc = full_window_recache(w, 0);
    }
    return rc;
}

static int fetch(struct faults *f, struct full_window *w, float **to)
{
    f->n = (size_t)w->block * w->e->latent_floats;
    *to = *to ? *to : malloc(f->n * sizeof(**to));
    return *to ? kt_device_download(w->e->dev, *to, w->v, f->n * sizeof(**to)) : -ENOMEM;
}

static int open_window(struct faults *f, struct full_window *w, enum kt_precision precision)
{
    struct full_window_params p = {
        .model = f->model, .device = f->device, .precision = precision, .contrast = CONTRAST};
    int rc = full_window_open(w, &p);
    f->err = w->err;
    return rc;
}

static int reference(struct faults *f)
{
    struct full_window w;
    int rc = open_window(f, &w, KT_PRECISION_FP32);
    rc = rc < 0 ? rc : run_fault(&w, 0);
    rc = rc < 0 ? rc : fetch(f, &w, &f->want);
    full_window_close(&w);
    return rc;
}

/* bound 0: what emulation itself is off by, and half as much again. */
static int run_precision(struct faults *f, const char *name, enum kt_precision precision,
                         double bound)
{
    struct full_window w;
    int rc = open_window(f, &w, precision);
    for (int fault = 0; fault < FAULTS && rc == 0; fault++) {
        rc = run_fault(&w, fault);
        rc = rc < 0 ? rc : fetch(f, &w, &f->got);
        if (rc == 0) {
            double off = relative_l2(f->want, f->got, f->n);
            bound = bound > 0 ? bound : 1.5 * off;
            int ok = fault == 0 ? off <= bound : off > bound;
            f->failed += !ok;
            printf("%-12s %-24s %.2e (%s %.1e) %s\n", name, FAULT[fault], off,
                   fault == 0 ? "at most" : "more than", bound, ok ? "ok" : "FAIL");
            fflush(stdout);
        }
    }
    full_window_close(&w);
    return rc;
}

int main(int argc, char **argv)
{
    struct faults f = {.device = "cuda"};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--device") == 0 && i + 1 < argc) {
            f.device = argv[++i];
        } else {
            f.model = argv[i];
        }
    }
    if (!f.model) {
        fprintf(stderr, "usage: faults MODEL [--device D]\n");
        return 2;
    }
    int on_card = strncmp(f.device, "cuda", 4) == 0;
    int rc = reference(&f);
    rc = rc < 0 || !on_card ? rc : run_precision(&f, "bf16", KT_PRECISION_BF16, CK_PASS_BF16);
    rc = rc < 0 || !on_card ? rc : run_precision(&f, "fp8", KT_PRECISION_FP8, CK_PASS_FP8);
    rc = rc < 0 ? rc : run_precision(&f, "fp8-emulated", KT_PRECISION_FP8_EMULATED, 0);
    free(f.want);
    free(f.got);
    if (rc < 0) {
        printf("%s: %s\n", rc == -ENODEV || rc == -ENOTSUP ? "skipped" : "FAIL", f.err.text);
        return rc == -ENODEV || rc == -ENOTSUP ? 77 : 1;
    }
    return f.failed ? 1 : 0;
}
