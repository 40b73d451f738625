/* What a pass costs, alone, doubled, captured and beside a decoding VAE: whether passes of two
 * sessions are worth batching, how much of a pass is the gaps between its launches, and what a
 * second queue would bring.
 *
 * Usage: pass_bench MODEL [--device D] [--precision P] [--repeats N] [--layers N]. Prints medians
 * in ms. The GPU must have nothing else to do. Bounds nothing: exits 0, or 77 without the device.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cuda_runtime_api.h>

#include "engine/base/clock.h"
#include "engine/dit/parts.h"
#include "engine/vae/vae.h"
#include "kernels/cuda/queue.h"
#include "tests/cuda/full_window.h"

enum { REPEATS_MAX = 64, WARM = 2 };

struct bench {
    struct full_window w;
    int repeats;
    struct kt_linear *linear;
    const void *x;
    void *y;
    int m, n;
    struct kt_model_config real; /* with its VAE */
    struct kt_device *second;    /* a queue of its own, for the VAE */
    struct kt_safetensors *weights;
    struct kt_vae *vae;
    struct kt_vae_tail *tail;
    float *latent, *rgb;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void sync_device(struct bench *b)
{
    b->w.e->dev->k.queue_sync(b->w.e->dev->q);
    if (b->second) {
        b->second->k.queue_sync(b->second->q);
    }
}

/* Median over the repeats of work(arg), its end included; *issue: until the host is free again. */
static int measure(struct bench *b, int (*work)(struct bench *, int), int arg, double *ms,
                   double *issue)
{
    double all[REPEATS_MAX], host[REPEATS_MAX];
    int rc = 0;
    for (int i = -WARM; i < b->repeats && rc == 0; i++) {
        sync_device(b);
        int64_t start = kt_now_ns();
        rc = work(b, arg);
        double issued = kt_ms_since(start);
        sync_device(b);
        if (i >= 0) {
            all[i] = kt_ms_since(start);
            host[i] = issued;
        }
    }
    qsort(all, (size_t)b->repeats, sizeof(*all), by_value);
    qsort(host, (size_t)b->repeats, sizeof(*host), by_value);
    *ms = all[b->repeats / 2];
    if (issue) {
        *issue = host[b->repeats / 2];
    }
    return rc;
}

static int one_pass(struct bench *b, int frames)
{
    return full_window_pass(&b->w, frames);
}

static int two_passes(struct bench *b, int frames)
{
    int rc = full_window_pass(&b->w, frames);
    return rc < 0 ? rc : full_window_pass(&b->w, frames);
}

static int passes(struct bench *b)
{
    double one, issue, two, wide;
    int block = b->w.block;
    int rc = measure(b, one_pass, block, &one, &issue);
    rc = rc < 0 ? rc : measure(b, two_passes, block, &two, NULL);
    rc = rc < 0 ? rc : measure(b, one_pass, 2 * block, &wide, NULL);
    if (rc == 0) {
        printf("pass of %d latents, full window      %9.3f ms, issued in %.3f\n", block, one,
               issue);
        printf("two of them, one after the other     %9.3f ms\n", two);
        printf("one pass of %d latents               %9.3f ms: %.3f of the two\n", 2 * block, wide,
               wide / two);
    }
    return rc;
}

static int linears(struct bench *b, int m)
{
    struct kt_device *dev = b->w.e->dev;
    struct kt_linear_args a = {.x = b->x, .y = b->y, .m = m};
    int rc = 0;
    for (int i = 0; i < b->m / m && rc == 0; i++) {
        rc = kt_linear(&dev->k, dev->q, b->linear, &a, b->n);
    }
    return rc;
}

/* A layer's linears alone, in [act]: two sessions' rows in two calls and in one. */
static int products(struct bench *b)
{
    const struct kt_dit_config *c = &b->w.config.dit;
    struct kt_device *dev = b->w.e->dev;
    struct kt_dit_layer *l = &b->w.e->dit->layers[0];
    int rows = b->w.block * kt_dit_tokens(b->w.e->dit);
    const struct {
        const char *name;
        struct kt_linear *l;
        int k, n;
    } list[] = {{"q, k, v", l->qkv, c->dim, 3 * c->dim},
                {"o", l->cross_o, c->dim, c->dim},
                {"ffn up", l->ffn_up, c->dim, c->ffn_dim},
                {"ffn down", l->ffn_down, c->ffn_dim, c->dim}};
    size_t widest = (size_t)(c->ffn_dim > 3 * c->dim ? c->ffn_dim : 3 * c->dim);
    void *x = kt_device_alloc(dev, 2 * (size_t)rows * widest * 4, "linear in");
    void *y = kt_device_alloc(dev, 2 * (size_t)rows * widest * 4, "linear out");
    int rc = x && y ? dev->k.noise(dev->q, x, (int)((size_t)rows * widest / 2), 5, 0) : -ENOMEM;
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]) && rc == 0; i++) {
        double two, one;
        b->linear = list[i].l;
        b->x = x, b->y = y, b->n = list[i].n, b->m = 2 * rows;
        rc = measure(b, linears, rows, &two, NULL);
        rc = rc < 0 ? rc : measure(b, linears, 2 * rows, &one, NULL);
        if (rc == 0) {
            printf("linear %-9s 2 x %d rows %9.3f ms, %d rows %9.3f ms: %.3f\n", list[i].name, rows,
                   two, 2 * rows, one, one / two);
        }
    }
    kt_device_free(dev, x);
    kt_device_free(dev, y);
    return rc;
}

static cudaGraphExec_t graph;

static int launch_graph(struct bench *b, int unused)
{
    (void)unused;
    return cudaGraphLaunch(graph, b->w.e->dev->q->stream) == cudaSuccess ? 0 : -EIO;
}

/* One pass as a graph: its launches without the host between them. */
static int captured(struct bench *b)
{
    cudaStream_t stream = b->w.e->dev->q->stream;
    cudaGraph_t made = NULL;
    double ms, issue;
    size_t nodes = 0;
    sync_device(b);
    if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) != cudaSuccess) {
        return -EIO;
    }
    int rc = full_window_pass(&b->w, b->w.block);
    cudaError_t end = cudaStreamEndCapture(stream, &made);
    if (rc < 0 || end != cudaSuccess || cudaGraphGetNodes(made, NULL, &nodes) != cudaSuccess ||
        cudaGraphInstantiate(&graph, made, 0) != cudaSuccess) {
        printf("graph: cannot be captured: %d, %s\n", rc, cudaGetErrorString(end));
        cudaGetLastError();
        return 0;
    }
    rc = measure(b, launch_graph, 0, &ms, &issue);
    printf("the pass of %d as a graph of %zu nodes %7.3f ms, issued in %.3f\n", b->w.block, nodes,
           ms, issue);
    cudaGraphExecDestroy(graph);
    cudaGraphDestroy(made);
    return rc;
}

static int open_vae(struct bench *b, const struct full_window_params *p)
{
    struct kt_vae_info info;
    const struct kt_model_config *c = &b->real;
    struct kt_device_params dp = {.kind = p->device, .precision = p->precision};
    int rc = kt_device_open(&b->second, &dp, &b->w.err);
    rc = rc < 0 ? rc : kt_safetensors_open_random(&b->weights, &b->w.err);
    if (rc == 0) {
        struct kt_vae_params vp = {.config = &c->vae,
                                   .weights = b->weights,
                                   .latent_h = c->dit.latent_h,
                                   .latent_w = c->dit.latent_w,
                                   .tails_max = 3};
        rc = kt_vae_open(&b->vae, b->second, &vp, &b->w.err);
    }
    if (rc < 0) {
        return rc;
    }
    kt_vae_get_info(b->vae, &info);
    size_t frames = 4 * 3 * (size_t)info.height * (size_t)info.width;
    b->latent = kt_device_alloc(b->second, b->w.e->latent_floats * sizeof(float), "latent");
    b->rgb = kt_device_alloc(b->second, frames * sizeof(float), "frames");
    return b->latent && b->rgb
               ? b->second->k.noise(b->second->q, b->latent, (int)b->w.e->latent_floats, 5, 0)
               : -ENOMEM;
}

static int decode(struct bench *b)
{
    struct kt_vae_tail *next = NULL;
    int frames, rc = kt_vae_decode(b->vae, b->tail, b->latent, b->rgb, &frames, &next, &b->w.err);
    kt_vae_tail_unref(&b->tail);
    b->tail = next;
    return rc;
}

/* A block's work: five passes and the decoding of three latents; `parts`: 1 the passes, 2 the
 * decoding, 3 both, the decoding on its own queue. */
static int block_work(struct bench *b, int parts)
{
    int rc = 0;
    for (int i = 0; i < 5 && rc == 0; i++) {
        if (parts & 1) {
            rc = full_window_pass(&b->w, b->w.block);
        }
        if ((parts & 2) && i < 3 && rc == 0) {
            rc = decode(b);
        }
    }
    return rc;
}

static int overlapped(struct bench *b, const struct full_window_params *p)
{
    double passes, decoding, both;
    int rc = open_vae(b, p);
    rc = rc < 0 ? rc : measure(b, block_work, 1, &passes, NULL);
    rc = rc < 0 ? rc : measure(b, block_work, 2, &decoding, NULL);
    rc = rc < 0 ? rc : measure(b, block_work, 3, &both, NULL);
    if (rc == 0) {
        printf("five passes %9.3f ms, three latents decoded %9.3f; on two queues at once %9.3f: "
               "%.3f of the two\n",
               passes, decoding, both, both / (passes + decoding));
    }
    return rc;
}

static void close_vae(struct bench *b)
{
    kt_vae_tail_unref(&b->tail);
    kt_vae_close(&b->vae);
    kt_safetensors_close(&b->weights);
    if (b->second) {
        kt_device_free(b->second, b->latent);
        kt_device_free(b->second, b->rgb);
    }
    kt_device_close(&b->second);
}

static int parse(struct bench *b, struct full_window_params *p, int argc, char **argv)
{
    int rc = 0;
    for (int i = 1; i < argc && rc == 0; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (argv[i][0] != '-') {
            p->model = argv[i];
            continue;
        }
        i++;
        if (strcmp(argv[i - 1], "--device") == 0) {
            p->device = value;
        } else if (strcmp(argv[i - 1], "--precision") == 0) {
            rc = kt_precision_parse(&p->precision, value, &b->w.err);
        } else if (strcmp(argv[i - 1], "--repeats") == 0) {
            b->repeats = atoi(value);
        } else if (strcmp(argv[i - 1], "--layers") == 0) {
            p->layers = atoi(value);
        } else {
            rc = -EINVAL;
        }
    }
    return rc < 0 || !p->model || b->repeats < 1 || b->repeats > REPEATS_MAX ? -EINVAL : 0;
}

int main(int argc, char **argv)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct full_window_params p = {.device = "cuda"};
    b->repeats = 20;
    if (parse(b, &p, argc, argv) < 0) {
        fprintf(stderr,
                "usage: pass_bench MODEL [--device D] [--precision P] [--repeats 1..%d] "
                "[--layers N]\n",
                REPEATS_MAX);
        return 2;
    }
    int rc = full_window_open(&b->w, &p);
    rc = rc < 0 ? rc : passes(b);
    rc = rc < 0 || p.precision == KT_PRECISION_FP8 ? rc : products(b);
    rc = rc < 0 || strncmp(p.device, "cuda", 4) != 0 ? rc : captured(b);
    rc = rc < 0 ? rc : kt_model_config_load(&b->real, p.model, &b->w.err);
    rc = rc < 0 || b->real.vae.kind != KT_VAE_WAN ? rc : overlapped(b, &p);
    if (rc < 0) {
        printf("%s: %s\n", rc == -ENODEV || rc == -ENOTSUP ? "skipped" : "FAIL", b->w.err.text);
    }
    close_vae(b);
    kt_model_config_free(&b->real);
    full_window_close(&b->w);
    free(b);
    return rc == -ENODEV || rc == -ENOTSUP ? 77 : rc < 0 ? 1 : 0;
}
