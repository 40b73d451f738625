/* softmax(scale q k^T + bias) v without ever holding a row of logits: online softmax over blocks of
 * keys (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al.,
 * FlashAttention, 2022).
 *
 * Everything is transposed so that the lanes of a vector are queries: logits are [key][query] and
 * the output is gathered as [channel][query]. Then K and V are only ever broadcast, element by
 * element from where they lie, and neither maximum nor sum crosses lanes. One task is one head and
 * KT_TILE_COLS queries. A query's bits depend on its own row and the keys, not on its neighbours.
 */
#include "kernels/cpu/simd/simd.h"
#include "kernels/cpu/simd/vec.h"

#include "kernels/cpu/parallel.h"

#include <errno.h>
#include <math.h>

/* Whole tiles on either instruction set. 144 measures the same on a core with 48 KiB of L1; with 72
 * the head's part of K and V and the logits take half of it. */
enum { KEY_BLOCK = 72 };

struct job {
    const struct kt_attention_args *a;
    int ld_q, ld_k, ld_v, ld_y;
    float *scratch;
    size_t scratch_floats; /* of one worker */
};

/* One task's working set, all [..][KT_TILE_COLS]. */
struct task {
    float *q;      /* [head_dim] scaled queries */
    float *out;    /* [head_dim] unnormalised output */
    float *logits; /* [KEY_BLOCK] */
    kt_vf max[2], sum[2], rescale[2];
    const float *k, *v; /* first key of the block, first channel of the head */
    int ld_k, ld_v, head_dim, keys;
};

KT_INLINE void logits_tile(const struct task *t, int key, const int rows)
{
    kt_vf acc[2 * KT_TILE_ROWS];
#pragma GCC unroll 32
    for (int i = 0; i < 2 * rows; i++) {
        acc[i] = (kt_vf){0};
    }
    kt_tile(acc, rows, 2, t->k + (size_t)key * t->ld_k, t->ld_k, 1, t->q, t->head_dim);
    float *to = t->logits + (size_t)key * KT_TILE_COLS;
#pragma GCC unroll 32
    for (int i = 0; i < 2 * rows; i++) {
        kt_store(to + (size_t)i * KT_LANES, acc[i]);
    }
}

KT_INLINE void values_tile(const struct task *t, int channel, const int rows)
{
    kt_vf acc[2 * KT_TILE_ROWS];
    float *out = t->out + (size_t)channel * KT_TILE_COLS;
#pragma GCC unroll 32
    for (int i = 0; i < 2 * rows; i++) {
        acc[i] = kt_load(out + (size_t)i * KT_LANES) * t->rescale[i % 2];
    }
    kt_tile(acc, rows, 2, t->v + channel, 1, t->ld_v, t->logits, t->keys);
#pragma GCC unroll 32
    for (int i = 0; i < 2 * rows; i++) {
        kt_store(out + (size_t)i * KT_LANES, acc[i]);
    }
}

static void block_logits(const struct task *t)
{
    KT_FOR_TILES(logits_tile, t, t->keys, KT_TILE_ROWS);
}

static void block_values(const struct task *t)
{
    KT_FOR_TILES(values_tile, t, t->head_dim, KT_TILE_ROWS);
}

/* Logits of the block become weights relative to the running maximum; `rescale` is what the older
 * sums are worth under it. */
static void block_softmax(struct task *t)
{
    for (int half = 0; half < 2; half++) {
        float *logits = t->logits + half * KT_LANES;
        kt_vf max = t->max[half], sum = {0};
        for (int j = 0; j < t->keys; j++) {
            max = kt_max(kt_load(logits + (size_t)j * KT_TILE_COLS), max);
        }
        for (int j = 0; j < t->keys; j++) {
            const kt_vf p = kt_exp_below(kt_load(logits + (size_t)j * KT_TILE_COLS) - max);
            kt_store(logits + (size_t)j * KT_TILE_COLS, p);
            sum += p;
        }
        t->rescale[half] = kt_exp_below(t->max[half] - max);
        t->sum[half] = t->sum[half] * t->rescale[half] + sum;
        t->max[half] = max;
    }
}

static void add_bias(const struct task *t, const float *bias, int queries, int tk)
{
    for (int r = 0; r < queries; r++) {
        for (int j = 0; j < t->keys; j++) {
            t->logits[(size_t)j * KT_TILE_COLS + r] += bias[(size_t)r * tk + j];
        }
    }
}

static void add_tail(const struct task *t, float tail_logit)
{
    float *last = t->logits + (size_t)(t->keys - 1) * KT_TILE_COLS;
    for (int r = 0; r < KT_TILE_COLS; r++) {
        last[r] += tail_logit;
    }
}

/* Queries into lanes; lanes without a query are zero and never leave the task. */
static void load_queries(const struct task *t, const float *q, int ld_q, int queries, float scale)
{
    for (int i = 0; i < t->head_dim; i++) {
        for (int r = 0; r < KT_TILE_COLS; r++) {
            const float v = r < queries ? q[(size_t)r * ld_q + i] : 0.0f;
            t->q[(size_t)i * KT_TILE_COLS + r] = v * scale;
        }
    }
}

static void store_output(const struct task *t, float *y, int ld_y, int queries)
{
    float inv[KT_TILE_COLS];
    kt_store(inv, 1.0f / t->sum[0]);
    kt_store(inv + KT_LANES, 1.0f / t->sum[1]);
    for (int r = 0; r < queries; r++) {
        for (int i = 0; i < t->head_dim; i++) {
            y[(size_t)r * ld_y + i] = t->out[(size_t)i * KT_TILE_COLS + r] * inv[r];
        }
    }
}

static void start_task(struct task *t, const struct job *job, int worker)
{
    const size_t cols = KT_TILE_COLS, head_dim = (size_t)job->a->head_dim;
    t->q = job->scratch + (size_t)worker * job->scratch_floats;
    t->out = t->q + head_dim * cols;
    t->logits = t->out + head_dim * cols;
    t->max[0] = t->max[1] = kt_splat(-3.0e38f); /* below any logit */
    t->sum[0] = t->sum[1] = (kt_vf){0};
    t->ld_k = job->ld_k;
    t->ld_v = job->ld_v;
    t->head_dim = job->a->head_dim;
    memset(t->out, 0, head_dim * cols * sizeof(float));
}

static void attention_task(void *ctx, int item, int worker)
{
    const struct job *job = ctx;
    const struct kt_attention_args *a = job->a;
    const int groups = (a->tq + KT_TILE_COLS - 1) / KT_TILE_COLS;
    const int head = item / groups, row = item % groups * KT_TILE_COLS;
    const int queries = a->tq - row < KT_TILE_COLS ? a->tq - row : KT_TILE_COLS;
    const size_t channel = (size_t)head * a->head_dim;
    struct task t;
    start_task(&t, job, worker);
    load_queries(&t, (const float *)a->q + (size_t)row * job->ld_q + channel, job->ld_q, queries,
                 a->scale);
    for (int j = 0; j < a->tk; j += KEY_BLOCK) {
        t.keys = a->tk - j < KEY_BLOCK ? a->tk - j : KEY_BLOCK;
        t.k = (const float *)a->k + (size_t)j * t.ld_k + channel;
        t.v = (const float *)a->v + (size_t)j * t.ld_v + channel;
        block_logits(&t);
        if (a->bias) {
            add_bias(&t, a->bias + ((size_t)head * a->tq + row) * a->tk + j, queries, a->tk);
        }
        if (j + t.keys == a->tk) {
            add_tail(&t, a->tail_logit);
        }
        block_softmax(&t);
        block_values(&t);
    }
    store_output(&t, (float *)a->y + (size_t)row * job->ld_y + channel, job->ld_y, queries);
}

int KT_SIMD(attention)(struct kt_queue *q, const struct kt_attention_args *a)
{
    const int dense = a->heads * a->head_dim;
    struct job job = {
        .a = a,
        .ld_q = a->ld_q ? a->ld_q : dense,
        .ld_k = a->ld_k ? a->ld_k : dense,
        .ld_v = a->ld_v ? a->ld_v : dense,
        .ld_y = a->ld_y ? a->ld_y : dense,
        .scratch_floats = (size_t)(2 * a->head_dim + KEY_BLOCK) * KT_TILE_COLS,
    };
    if (a->tq < 0 || a->tk < 1 || a->heads < 1 || a->head_dim < 1 || job.ld_q < dense ||
        job.ld_k < dense || job.ld_v < dense || job.ld_y < dense) {
        return -EINVAL;
    }
    job.scratch = kt_queue_workspace(q, job.scratch_floats * sizeof(float) * (size_t)q->threads);
    if (!job.scratch) {
        return -ENOMEM;
    }
    q->stats.launches++;
    kt_parallel(q, a->heads * ((a->tq + KT_TILE_COLS - 1) / KT_TILE_COLS), attention_task, &job);
    return 0;
}
