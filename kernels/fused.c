/* Fused operations out of simple ones, for tables that have none of their own. A table's fused op
 * must do what these do: tests compare the two.
 *
 * [f8] is only made here where it is as wide as [act] (the CPU): in place, after the fact. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

static size_t act_size(const struct kt_kernels *k)
{
    return k->act_dtype == KT_F32 ? 4 : 2;
}

static void *at(const struct kt_kernels *k, const void *p, size_t i)
{
    return (char *)p + i * act_size(k);
}

static int lacks_f8(const struct kt_kernels *k)
{
    return !k->to_f8 || (size_t)k->f8_size != act_size(k);
}

int kt_residual_norm(const struct kt_kernels *k, struct kt_queue *q,
                     const struct kt_residual_norm_args *a)
{
    int own = k->residual_norm ? k->residual_norm(q, a) : -EOPNOTSUPP;
    if (own != -EOPNOTSUPP) {
        return own;
    }
    struct kt_residual_args r = {.x = a->x,
                                 .y = a->y,
                                 .gate = a->gate,
                                 .m = a->m,
                                 .dim = a->dim,
                                 .rows_per_group = a->m,
                                 .ld_mod = a->dim};
    struct kt_layer_norm_args n = {.x = a->x,
                                   .y = a->h,
                                   .scale = a->scale,
                                   .shift = a->shift,
                                   .m = a->m,
                                   .dim = a->dim,
                                   .rows_per_group = a->m,
                                   .ld_mod = a->dim,
                                   .scale_one = a->scale_one,
                                   .eps = a->eps};
    if (a->h_scale > 0 && lacks_f8(k)) {
        return -ENOTSUP;
    }
    int rc = a->y ? k->residual(q, &r) : 0;
    if (rc == 0) {
        rc = k->layer_norm(q, &n);
    }
    if (rc == 0 && a->h_scale > 0) {
        rc = k->to_f8(q, a->h, a->h, (size_t)a->m * (size_t)a->dim, a->h_scale);
    }
    return rc;
}

/* ---- 8-bit linears and attention, computed in fp32 on rounded values ---- */

static int rounded_weights(const struct kt_linear_desc *d, float *w, size_t count)
{
    if (d->dtype != KT_F32) {
        return -ENOTSUP;
    }
    memcpy(w, d->weight, count * sizeof(*w));
    float scale = kt_f8_scale_of(w, count);
    for (size_t i = 0; i < count; i++) {
        w[i] = kt_f8_round(w[i] * scale) / (scale * d->x_scale);
    }
    return 0;
}

int kt_linear_create(const struct kt_kernels *k, struct kt_linear **l, struct kt_queue *q,
                     const struct kt_linear_desc *d)
{
    if (d->x_scale <= 0 || (k->f8_size && (size_t)k->f8_size != act_size(k))) {
        return k->linear_create(l, q, d);
    }
    size_t count = (size_t)d->n * (size_t)d->k;
    float *w = lacks_f8(k) ? NULL : malloc(count * sizeof(*w));
    int rc = lacks_f8(k) ? -ENOTSUP : w ? rounded_weights(d, w, count) : -ENOMEM;
    if (rc == 0) {
        struct kt_linear_desc plain = *d;
        plain.weight = w;
        plain.x_scale = 0;
        rc = k->linear_create(l, q, &plain);
    }
    free(w);
    return rc;
}

int kt_linear(const struct kt_kernels *k, struct kt_queue *q, const struct kt_linear *l,
              const struct kt_linear_args *a, int n)
{
    if (a->y_scale <= 0 || lacks_f8(k)) {
        return k->linear(q, l, a);
    }
    struct kt_linear_args plain = *a;
    plain.y_scale = 0;
    int rc = k->linear(q, l, &plain);
    return rc < 0 ? rc : k->to_f8(q, a->y, a->y, (size_t)a->m * (size_t)n, a->y_scale);
}

int kt_attention(const struct kt_kernels *k, struct kt_queue *q, const struct kt_attention_args *a)
{
    if (!a->f8 || lacks_f8(k)) {
        return k->attention(q, a);
    }
    struct kt_attention_args plain = *a;
    plain.f8 = 0;
    plain.ld_v = 0;
    int rc = k->attention(q, &plain);
    size_t n = (size_t)a->tq * (size_t)(a->heads * a->head_dim);
    return rc < 0 ? rc : k->to_f8(q, a->y, a->y, n, 1.0f);
}

/* ---- store ---- */

static int normalise(const struct kt_kernels *k, struct kt_queue *q,
                     const struct kt_kv_store_args *a, void *x, const float *weight)
{
    struct kt_rms_norm_args n = {.x = x,
                                 .y = x,
                                 .weight = weight,
                                 .m = a->rows,
                                 .dim = a->heads * a->head_dim,
                                 .ld_x = a->ld,
                                 .ld_y = a->ld,
                                 .eps = a->eps};
    return weight && x ? k->rms_norm(q, &n) : 0;
}

static int copy(const struct kt_kernels *k, struct kt_queue *q, const struct kt_kv_store_args *a,
                void *dst, const void *src, int ld_src, int rows)
{
    size_t row = (size_t)(a->heads * a->head_dim) * act_size(k);
    return k->copy_rows(q, dst, row, src, (size_t)ld_src * act_size(k), rows, row);
}

/* Rows first.. of x, turned, into y. */
static int turn(const struct kt_kernels *k, struct kt_queue *q, const struct kt_kv_store_args *a,
                const void *x, int first, void *y, int ld_y)
{
    size_t table = (size_t)first * (size_t)(a->head_dim / 2);
    const void *from = at(k, x, (size_t)first * (size_t)a->ld);
    if (!a->cos) {
        return copy(k, q, a, y, from, a->ld, a->rows - first);
    }
    struct kt_rope_args r = {.x = from,
                             .y = y,
                             .cos = a->cos + table,
                             .sin = a->sin + table,
                             .m = a->rows - first,
                             .heads = a->heads,
                             .head_dim = a->head_dim,
                             .ld_x = a->ld,
                             .ld_y = ld_y};
    return k->rope(q, &r);
}

static int write_pages(const struct kt_kernels *k, struct kt_queue *q,
                       const struct kt_kv_store_args *a)
{
    int pages = (a->rows - a->skip) / a->page_rows, dim = a->heads * a->head_dim, rc = 0;
    for (int i = 0; i < pages && rc == 0; i++) {
        size_t row = (size_t)(a->skip + i * a->page_rows);
        size_t slot = (size_t)(a->row0 + i * a->page_rows) * (size_t)dim;
        const void *from =
            a->page_turned ? at(k, a->window_k, slot) : at(k, a->k, row * (size_t)a->ld);
        rc = copy(k, q, a, a->page_k[i], from, a->page_turned ? dim : a->ld, a->page_rows);
        if (rc == 0) {
            rc = copy(k, q, a, a->page_v[i], at(k, a->v, row * (size_t)a->ld), a->ld, a->page_rows);
        }
    }
    return rc;
}

static int round_rows(const struct kt_kernels *k, struct kt_queue *q,
                      const struct kt_kv_store_args *a, void *k_rows, void *v_rows)
{
    int dim = a->heads * a->head_dim, rc = 0;
    size_t n = (size_t)(a->rows - a->skip) * (size_t)dim;
    int apart = a->ld_q != dim;
    if (a->q && !apart) {
        rc = k->to_f8(q, a->q_out, a->q_out, (size_t)a->rows * (size_t)dim, a->q_scale);
    }
    for (int r = 0; a->q && apart && r < a->rows && rc == 0; r++) {
        void *row = at(k, a->q_out, (size_t)r * (size_t)a->ld_q);
        rc = k->to_f8(q, row, row, (size_t)dim, a->q_scale);
    }
    if (rc == 0) {
        rc = k->to_f8(q, k_rows, k_rows, n, a->k_scale);
    }
    return rc < 0 ? rc : k->to_f8(q, v_rows, v_rows, n, a->v_scale);
}

static int load_pages(const struct kt_kernels *k, struct kt_queue *q,
                      const struct kt_kv_store_args *a)
{
    size_t table = (size_t)a->page_rows * (size_t)(a->head_dim / 2);
    int rc = 0;
    for (int i = 0; i < a->rows / a->page_rows && rc == 0; i++) {
        struct kt_kv_store_args page = *a;
        page.from_k = page.from_v = NULL;
        page.k = (void *)a->from_k[i];
        page.v = a->from_v[i];
        page.ld = a->heads * a->head_dim;
        page.rows = a->page_rows;
        page.row0 = a->row0 + i * a->page_rows;
        if (a->cos) {
            page.cos = a->cos + (size_t)i * table;
            page.sin = a->sin + (size_t)i * table;
        }
        rc = kt_kv_store(k, q, &page);
    }
    return rc;
}

int kt_kv_store(const struct kt_kernels *k, struct kt_queue *q, const struct kt_kv_store_args *a)
{
    int dim = a->heads * a->head_dim;
    int own = k->kv_store ? k->kv_store(q, a) : -EOPNOTSUPP;
    if (own != -EOPNOTSUPP) {
        return own;
    }
    if (a->k_scale > 0 && lacks_f8(k)) {
        return -ENOTSUP;
    }
    if (a->from_k) {
        return load_pages(k, q, a);
    }
    void *k_rows = at(k, a->window_k, (size_t)a->row0 * (size_t)dim);
    void *v_rows = at(k, a->window_v, (size_t)a->row0 * (size_t)dim);
    int rc = normalise(k, q, a, a->q, a->norm_q);
    if (rc == 0) {
        rc = normalise(k, q, a, a->k, a->norm_k);
    }
    if (rc == 0 && a->q) {
        rc = turn(k, q, a, a->q, 0, a->q_out, a->ld_q);
    }
    if (rc == 0) {
        rc = turn(k, q, a, a->k, a->skip, k_rows, dim);
    }
    if (rc == 0) {
        rc = copy(k, q, a, v_rows, at(k, a->v, (size_t)a->skip * (size_t)a->ld), a->ld,
                  a->rows - a->skip);
    }
    if (rc == 0 && a->page_k) {
        rc = write_pages(k, q, a);
    }
    return rc < 0 || a->k_scale <= 0 ? rc : round_rows(k, q, a, k_rows, v_rows);
}

/* ---- e4m3 ---- */

float kt_f8_round(float x)
{
    float size = fabsf(x);
    uint32_t bits;
    if (!(size < KT_F8_LARGEST)) {
        return isnan(x) ? x : copysignf(KT_F8_LARGEST, x);
    }
    if (size < 0x1p-6f) { /* below the normal numbers: multiples of 2^-9 */
        return copysignf(nearbyintf(size * 512.0f) / 512.0f, x);
    }
    memcpy(&bits, &size, sizeof(bits)); /* else three bits behind the first */
    bits = (bits + 0x7ffff + (bits >> 20 & 1)) & ~0xfffffu;
    memcpy(&size, &bits, sizeof(size));
    return copysignf(size, x);
}

float kt_f8_scale(float largest)
{
    return largest > 0 ? KT_F8_LARGEST / largest : 1.0f;
}

float kt_f8_scale_of(const float *x, size_t n)
{
    float largest = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fabsf(x[i]) > largest ? fabsf(x[i]) : largest;
    }
    return kt_f8_scale(largest);
}
