/* checkkern: every op of every level against the fp32 reference (never against another fast level),
 * in the manner of dav1d's checkasm. A check is one function per op: it makes inputs, runs the
 * reference and the level on the same data and compares. Outputs are poisoned with NaN and every
 * buffer lies between guard bands that are NaN too: what reads beyond an input spoils its result,
 * what writes beyond is seen. */
#ifndef KT_TESTS_KERNELS_CHECKKERN_H
#define KT_TESTS_KERNELS_CHECKKERN_H

#include "kernels/kernels.h"

enum ck_fill { CK_NORMAL, CK_ZEROS, CK_LARGE, CK_DENORMAL, CK_MIXED, CK_FILLS };

struct ck_run; /* one (op, shape, fill) under test */

struct ck {
    struct kt_kernels ref, level; /* `level`: under test */
    struct kt_queue *ref_q, *q;
    const char *level_name;
    int threads, bench;
    int cuda, bf16, quick, plain; /* quick: one fill, small shapes (for sanitizers); plain: as in
                                     kt_queue_params */
    struct kt_kernels real;       /* CUDA: the table itself; `level` reaches it through mirror.c */
    uint64_t seed;
    double peak_gflops;            /* measured, all threads; bench only */
    double block_ms, block_min_ms; /* bench: one block of the demo model, by medians, by minima */
    int passed, failed;
};

/* A buffer of n floats between guard bands, all NaN. Freed by ck_end. */
float *ck_floats(struct ck_run *r, size_t n);
/* The same, filled with seeded values of the run's fill, times `scale`. */
float *ck_input(struct ck_run *r, size_t n, float scale);
/* Seeded normals whatever the fill: weights, cosines. */
float *ck_weights(struct ck_run *r, size_t n, float scale);
float *ck_copy(struct ck_run *r, const float *x, size_t n);

/* Uniform values in (-scale, scale): large inputs, made fast. */
float *ck_uniform(struct ck_run *r, size_t n, float scale);

/* Where a pointer of the current run lies: its buffer with both guards, and the place in it. */
struct ck_place {
    char *base;           /* the first guard */
    size_t bytes, offset; /* of buffer and guards; of the pointer from base */
};
int ck_find(const void *p, struct ck_place *out);
enum { CK_GUARD_FLOATS = 32 };
/* A failure of the current run. */
void ck_complain(const char *what);

/* Number of fills that a check goes through; 0 for a shape of too many products (quick runs). */
int ck_fills(const struct ck *c, double products);

/* mirror.c: makes c->level from c->real, for the current run's host pointers. */
void ck_mirror(struct ck *c);
/* bench_cuda.c: times the real shapes. */
void ck_bench_cuda(struct ck *c);
/* check_real.c: shapes of LongLive-1.3B, on sampled rows. */
void check_real(struct ck *c);

struct ck_run *ck_begin(struct ck *c, const char *op, const char *shape, enum ck_fill fill);
/* Compares n floats with the op's tolerance (tolerance.h). */
void ck_compare(struct ck_run *r, const float *want, const float *got, size_t n);
/* Bit for bit, any type. */
void ck_same(struct ck_run *r, const void *want, const void *got, size_t bytes, const char *what);
void ck_status(struct ck_run *r, int rc); /* an op that was called returned this */
void ck_end(struct ck_run *r);            /* guards, verdict, memory */

/* Times fn(ctx), median and minimum of enough rounds (on a busy machine the minimum is the kernel,
 * the median the machine); `flop` per call; `per_block`: calls in one block of the demo model. */
struct ck_bench {
    const char *op, *shape;
    double flop, per_block;
    void (*fn)(void *ctx);
    void *ctx;
};
void ck_time(struct ck *c, const struct ck_bench *b);
double ck_now_ms(void);
void ck_sort(double *x, int n); /* rising */

/* One per file. In bench mode they time instead of comparing. */
void check_linear(struct ck *c);
void check_conv(struct ck *c);
void check_attention(struct ck *c);
void check_norms(struct ck *c);
void check_elementwise(struct ck *c);
void check_layouts(struct ck *c);

/* Measured multiply-add peak of one thread in GFLOP/s for "avx2", "avx512" or anything else (SSE2).
 */
double ck_peak(const char *level);

#endif
