#include "engine/dit/modulation.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* Host copies of the small network that maps a timestep to modulation. */
struct time_net {
    float *w0, *b0, *w2, *b2, *wp, *bp; /* time_embedding.0, .2, time_projection.1 */
    double *sinusoid, *hidden, *e, *e0; /* [freq_dim], [dim], [dim], [6 * dim] */
};

static void time_net_finish(struct time_net *n)
{
    free(n->w0), free(n->b0), free(n->w2), free(n->b2), free(n->wp), free(n->bp);
    free(n->sinusoid), free(n->hidden), free(n->e), free(n->e0);
}

static int load_pair(const struct kt_safetensors *st, float **w, float **b, int64_t n, int64_t k,
                     const char *name, struct kt_error *err)
{
    int rc = kt_safetensors_load_f32(st, w, (int64_t[]){n, k}, 2, err, "%s.weight", name);
    if (rc < 0) {
        return rc;
    }
    return kt_safetensors_load_f32(st, b, (int64_t[]){n}, 1, err, "%s.bias", name);
}

static int time_net_init(struct time_net *n, const struct kt_dit_config *c,
                         const struct kt_safetensors *st, struct kt_error *err)
{
    int rc;
    size_t dim = (size_t)c->dim;
    if ((rc = load_pair(st, &n->w0, &n->b0, c->dim, c->freq_dim, "time_embedding.0", err)) < 0 ||
        (rc = load_pair(st, &n->w2, &n->b2, c->dim, c->dim, "time_embedding.2", err)) < 0 ||
        (rc = load_pair(st, &n->wp, &n->bp, 6 * (int64_t)c->dim, c->dim, "time_projection.1",
                        err)) < 0) {
        return rc;
    }
    n->sinusoid = calloc((size_t)c->freq_dim, sizeof(double));
    n->hidden = malloc(dim * sizeof(double));
    n->e = malloc(dim * sizeof(double));
    n->e0 = malloc(6 * dim * sizeof(double));
    if (!n->sinusoid || !n->hidden || !n->e || !n->e0) {
        return kt_fail(err, -ENOMEM, "time embedding: out of memory");
    }
    return 0;
}

static double silu(double x)
{
    return x / (1.0 + exp(-x));
}

static void matvec(double *y, const float *w, const float *b, const double *x, int n, int k)
{
    for (int i = 0; i < n; i++) {
        double sum = b[i];
        for (int j = 0; j < k; j++) {
            sum += (double)w[(size_t)i * (size_t)k + (size_t)j] * x[j];
        }
        y[i] = sum;
    }
}

/* Fills n->e and n->e0 for timestep t. The sinusoid is rounded to fp32 as upstream casts it there.
 */
static void time_net_run(struct time_net *n, const struct kt_dit_config *c, double t)
{
    int half = c->freq_dim / 2;
    for (int i = 0; i < half; i++) {
        double angle = t * pow(10000.0, -(double)i / half);
        n->sinusoid[i] = (float)cos(angle);
        n->sinusoid[half + i] = (float)sin(angle);
    }
    matvec(n->hidden, n->w0, n->b0, n->sinusoid, c->dim, c->freq_dim);
    for (int i = 0; i < c->dim; i++) {
        n->hidden[i] = silu(n->hidden[i]);
    }
    matvec(n->e, n->w2, n->b2, n->hidden, c->dim, c->dim);
    for (int i = 0; i < c->dim; i++) {
        n->hidden[i] = silu(n->e[i]);
    }
    matvec(n->e0, n->wp, n->bp, n->hidden, 6 * c->dim, c->dim);
}

static void add_rows(float *out, const float *table, const double *e, int rows, int e_rows, int dim)
{
    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < dim; i++) {
            size_t at = (size_t)r * (size_t)dim + (size_t)i;
            out[at] = (float)(table[at] + e[(size_t)(r % e_rows) * (size_t)dim + (size_t)i]);
        }
    }
}

/* LN(x) * (1 + scale) + shift, where the norm of LN(x) is at most sqrt(dim). */
static void widen(struct kt_reach *r, const float *shift, const float *scale, int dim)
{
    float root = sqrtf((float)dim), factor = 0, squares = 0;
    for (int i = 0; i < dim; i++) {
        factor = fmaxf(factor, fabsf(1.0f + scale[i]));
        squares += shift[i] * shift[i];
        r->largest = fmaxf(r->largest, root * fabsf(1.0f + scale[i]) + fabsf(shift[i]));
    }
    r->norm = fmaxf(r->norm, root * factor + sqrtf(squares));
}

static struct kt_reach *find_reach(const float *layer, const struct kt_dit_config *c, int rows)
{
    size_t layers = (size_t)c->num_layers, dim = (size_t)c->dim;
    struct kt_reach *reach = calloc(2 * layers, sizeof(*reach));
    for (size_t at = 0; reach && at < (size_t)rows * layers; at++, layer += 6 * dim) {
        widen(&reach[2 * (at % layers)], layer, layer + dim, c->dim);
        widen(&reach[2 * (at % layers) + 1], layer + 3 * dim, layer + 4 * dim, c->dim);
    }
    return reach;
}

int kt_modulation_init(struct kt_modulation *m, struct kt_device *dev,
                       const struct kt_dit_config *c, const struct kt_safetensors *st,
                       const float *t, int rows, struct kt_error *err)
{
    struct time_net net = {0};
    size_t per_layer = 6 * (size_t)c->dim, per_row = per_layer * (size_t)c->num_layers;
    size_t per_head = 2 * (size_t)c->dim;
    float *layer_table = NULL, *head_table = NULL;
    float *layer = calloc(per_row * (size_t)rows, sizeof(float));
    float *head = malloc(per_head * (size_t)rows * sizeof(float));
    *m = (struct kt_modulation){.rows = rows};
    int rc = time_net_init(&net, c, st, err);
    if (rc < 0) {
        goto done;
    }
    rc = -ENOMEM;
    if (!layer || !head) {
        kt_fail(err, rc, "modulation: out of memory");
        goto done;
    }
    rc = kt_safetensors_load_f32(st, &head_table, (int64_t[]){1, 2, c->dim}, 3, err,
                                 "head.modulation");
    if (rc < 0) {
        goto done;
    }
    for (int r = 0; r < rows; r++) {
        time_net_run(&net, c, t[r]);
        add_rows(head + per_head * (size_t)r, head_table, net.e, 2, 1, c->dim);
        for (int l = 0; l < c->num_layers; l++) {
            rc = kt_safetensors_load_f32(st, &layer_table, (int64_t[]){1, 6, c->dim}, 3, err,
                                         "blocks.%d.modulation", l);
            if (rc < 0) {
                goto done;
            }
            add_rows(layer + per_row * (size_t)r + per_layer * (size_t)l, layer_table, net.e0, 6, 6,
                     c->dim);
            free(layer_table);
            layer_table = NULL;
        }
    }
    m->layer = kt_device_alloc_f32(dev, layer, per_row * (size_t)rows, "dit modulation");
    m->head = kt_device_alloc_f32(dev, head, per_head * (size_t)rows, "dit head modulation");
    m->reach = find_reach(layer, c, rows);
    rc = m->layer && m->head && m->reach ? 0 : kt_fail(err, -ENOMEM, "modulation: out of memory");
done:
    free(layer_table);
    free(head_table);
    free(layer);
    free(head);
    time_net_finish(&net);
    return rc;
}

void kt_modulation_finish(struct kt_modulation *m, struct kt_device *dev)
{
    kt_device_free(dev, m->layer);
    kt_device_free(dev, m->head);
    free(m->reach);
    *m = (struct kt_modulation){0};
}
