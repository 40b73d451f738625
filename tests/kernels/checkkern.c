#include "tests/kernels/checkkern.h"

#include "tests/kernels/tolerance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { GUARD = CK_GUARD_FLOATS, BUFFERS_MAX = 24 };

static struct ck_run *current;

struct buffer {
    float *base;
    size_t n;
};

struct ck_run {
    struct ck *c;
    char name[160];
    const char *op;
    enum ck_fill fill;
    uint64_t rng;
    struct buffer buffers[BUFFERS_MAX];
    int buffer_count, failures;
    double worst_percent;
};

static const char *const fill_names[CK_FILLS] = {"normal", "zeros", "large", "denormal", "mixed"};

/* Worst results per op of the level under test, printed at its end. */
struct summary {
    const char *op;
    int cases;
    double max_abs, rel_l2, rel_max, percent;
};
static struct summary summaries[sizeof(ck_tolerances) / sizeof(ck_tolerances[0])];

static uint32_t next_u32(uint64_t *s)
{
    *s += 0x9E3779B97F4A7C15u; /* splitmix64 */
    uint64_t z = *s;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ (z >> 31)) >> 32);
}

static float next_normal(uint64_t *s)
{
    const double u = (next_u32(s) + 1.0) * 0x1p-32, turn = next_u32(s) * 0x1p-32;
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * turn));
}

/* What bf16 keeps of x: inputs are such values when the level computes in bf16. */
static float round_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    bits = (bits + 0x7fffu + ((bits >> 16) & 1u)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof(x));
    return x;
}

static float as_level(const struct ck_run *r, float x)
{
    return r->c->bf16 ? round_bf16(x) : x;
}

static float next_value(struct ck_run *r)
{
    const float v = next_normal(&r->rng);
    switch (r->fill) {
    case CK_ZEROS: return 0.0f;
    case CK_LARGE: return v * 1e4f;
    case CK_DENORMAL: return v * 1e-39f;
    case CK_MIXED: { /* an eighth tiny, an eighth big, the rest normal */
        const uint32_t kind = next_u32(&r->rng) & 7;
        return kind == 0 ? v * 1e-30f : kind == 1 ? v * 100.0f : v;
    }
    default: return v;
    }
}

static uint64_t hash_name(const char *s)
{
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (; *s; s++) {
        h = (h ^ (uint8_t)*s) * 1099511628211u;
    }
    return h;
}

static const struct ck_tolerance *tolerance_of(const struct ck *c, const char *op, int *index)
{
    const struct ck_tolerance *own = c->bf16 ? ck_tolerances_bf16 : ck_tolerances_cuda;
    const size_t count = c->bf16 ? sizeof(ck_tolerances_bf16) / sizeof(ck_tolerances_bf16[0])
                                 : sizeof(ck_tolerances_cuda) / sizeof(ck_tolerances_cuda[0]);
    for (size_t i = 0; i < sizeof(ck_tolerances) / sizeof(ck_tolerances[0]); i++) {
        if (strcmp(ck_tolerances[i].op, op) == 0) {
            *index = (int)i;
            for (size_t j = 0; c->cuda && j < count; j++) {
                if (strcmp(own[j].op, op) == 0) {
                    return &own[j];
                }
            }
            return &ck_tolerances[i];
        }
    }
    fprintf(stderr, "checkkern: no tolerance for %s\n", op);
    abort();
}

struct ck_run *ck_begin(struct ck *c, const char *op, const char *shape, enum ck_fill fill)
{
    struct ck_run *r = calloc(1, sizeof(*r));
    r->c = c;
    r->op = op;
    r->fill = fill;
    snprintf(r->name, sizeof(r->name), "%s %s %s", op, shape, fill_names[fill]);
    r->rng = c->seed ^ hash_name(r->name); /* the same data for every level, whatever ran before */
    current = r;
    return r;
}

float *ck_floats(struct ck_run *r, size_t n)
{
    if (r->buffer_count == BUFFERS_MAX) {
        abort();
    }
    struct buffer *b = &r->buffers[r->buffer_count++];
    b->n = n;
    b->base = aligned_alloc(64, (n + 2 * GUARD + 15) / 16 * 16 * sizeof(float));
    memset(b->base, 0xff, (n + 2 * GUARD) * sizeof(float)); /* all ones is a NaN */
    return b->base + GUARD;
}

float *ck_input(struct ck_run *r, size_t n, float scale)
{
    float *x = ck_floats(r, n);
    for (size_t i = 0; i < n; i++) {
        x[i] = as_level(r, next_value(r) * scale);
    }
    return x;
}

float *ck_weights(struct ck_run *r, size_t n, float scale)
{
    float *x = ck_floats(r, n);
    for (size_t i = 0; i < n; i++) {
        x[i] = as_level(r, next_normal(&r->rng) * scale);
    }
    return x;
}

float *ck_uniform(struct ck_run *r, size_t n, float scale)
{
    float *x = ck_floats(r, n);
    for (size_t i = 0; i < n; i++) {
        x[i] = as_level(r, ((float)next_u32(&r->rng) * 0x1p-31f - 1.0f) * scale);
    }
    return x;
}

int ck_find(const void *p, struct ck_place *out)
{
    for (int i = 0; current && i < current->buffer_count; i++) {
        const struct buffer *b = &current->buffers[i];
        const size_t bytes = (b->n + 2 * GUARD) * sizeof(float);
        if ((const char *)p >= (char *)b->base && (const char *)p < (char *)b->base + bytes) {
            *out = (struct ck_place){(char *)b->base, bytes,
                                     (size_t)((const char *)p - (char *)b->base)};
            return 1;
        }
    }
    return 0;
}

int ck_fills(const struct ck *c, double products)
{
    if (!c->quick) {
        return CK_FILLS;
    }
    return products <= 20e6;
}

float *ck_copy(struct ck_run *r, const float *x, size_t n)
{
    float *y = ck_floats(r, n);
    memcpy(y, x, n * sizeof(*x));
    return y;
}

static void fail(struct ck_run *r, const char *what)
{
    r->failures++;
    printf("FAIL %s: %s: %s (seed %llu)\n", r->c->level_name, r->name, what,
           (unsigned long long)r->c->seed);
}

void ck_complain(const char *what)
{
    fail(current, what);
}

void ck_status(struct ck_run *r, int rc)
{
    if (rc != 0) {
        char text[300];
        snprintf(text, sizeof(text), "returned %d %s", rc,
                 r->c->cuda ? r->c->real.queue_error(r->c->q) : "");
        fail(r, text);
    }
}

void ck_same(struct ck_run *r, const void *want, const void *got, size_t bytes, const char *what)
{
    int index;
    tolerance_of(r->c, r->op, &index);
    summaries[index].op = r->op;
    if (memcmp(want, got, bytes) != 0) {
        fail(r, what);
    }
}

void ck_compare(struct ck_run *r, const float *want, const float *got, size_t n)
{
    int index;
    const struct ck_tolerance *tol = tolerance_of(r->c, r->op, &index);
    double diff2 = 0.0, want2 = 0.0, max_diff = 0.0, max_want = 0.0;
    size_t worst = 0, nans = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)got[i] - want[i]), w = fabs((double)want[i]);
        nans += isnan(d);
        worst = d > max_diff ? i : worst;
        max_diff = d > max_diff ? d : max_diff;
        max_want = w > max_want ? w : max_want;
        diff2 += d * d;
        want2 += w * w;
    }
    /* below the smallest normal a single step is not relative to anything */
    const double floor = 2e-38;
    const double rel_l2 = sqrt(diff2 / (want2 + floor * floor * (double)n));
    const double rel_max = max_diff / (max_want + floor);
    const double percent = 100.0 * fmax(rel_l2 / tol->rel_l2, rel_max / tol->rel_max);
    struct summary *s = &summaries[index];
    s->op = r->op;
    s->max_abs = fmax(s->max_abs, max_diff);
    s->rel_l2 = fmax(s->rel_l2, rel_l2);
    s->rel_max = fmax(s->rel_max, rel_max);
    s->percent = fmax(s->percent, percent);
    if (nans > 0 || !(percent <= 100.0)) {
        char text[200];
        snprintf(text, sizeof(text),
                 "max-abs %.3g at %zu of %zu (want %.9g, got %.9g), rel-L2 %.3g, %.0f %% of "
                 "tolerance, %zu NaN",
                 max_diff, worst, n, (double)want[worst], (double)got[worst], rel_l2, percent,
                 nans);
        fail(r, text);
    }
}

static int guards_are_whole(const struct buffer *b)
{
    const uint8_t *bytes = (const uint8_t *)b->base;
    const size_t guard = GUARD * sizeof(float), after = guard + b->n * sizeof(float);
    for (size_t i = 0; i < guard; i++) {
        if (bytes[i] != 0xff || bytes[after + i] != 0xff) {
            return 0;
        }
    }
    return 1;
}

void ck_end(struct ck_run *r)
{
    for (int i = 0; i < r->buffer_count; i++) {
        if (!guards_are_whole(&r->buffers[i])) {
            fail(r, "wrote outside a buffer");
        }
        free(r->buffers[i].base);
    }
    int index;
    tolerance_of(r->c, r->op, &index);
    summaries[index].op = r->op;
    summaries[index].cases++;
    current = NULL;
    r->c->passed += r->failures == 0;
    r->c->failed += r->failures != 0;
    free(r);
}

double ck_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void ck_sort(double *x, int n)
{
    qsort(x, (size_t)n, sizeof(*x), by_value);
}

/* Two warm-up calls, then rounds until 200 ms or 400 rounds are used, at least five. */
void ck_time(struct ck *c, const struct ck_bench *b)
{
    double ms[400];
    int n = 0;
    b->fn(b->ctx);
    b->fn(b->ctx);
    for (const double start = ck_now_ms(); n < 400 && (n < 5 || ck_now_ms() - start < 200.0); n++) {
        const double before = ck_now_ms();
        b->fn(b->ctx);
        ms[n] = ck_now_ms() - before;
    }
    ck_sort(ms, n);
    const double median = ms[n / 2], gflops = b->flop / ms[0] * 1e-6;
    c->block_ms += median * b->per_block;
    c->block_min_ms += ms[0] * b->per_block;
    printf("%-8s %-13s %-34s %9.4f ms  min %9.4f  %7.1f GFLOP/s %4.0f %%  x%-4g %8.2f ms/block\n",
           c->level_name, b->op, b->shape, median, ms[0], gflops, 100.0 * gflops / c->peak_gflops,
           b->per_block, ms[0] * b->per_block);
}

static void run_all(struct ck *c)
{
    check_linear(c);
    check_conv(c);
    check_attention(c);
    check_norms(c);
    check_elementwise(c);
    check_layouts(c);
    if (c->cuda && !c->quick) {
        check_real(c);
    }
}

static int open_level(struct ck *c, const char *name, unsigned mask)
{
    const struct kt_queue_params ref_params = {.threads = 1}, params = {.threads = c->threads};
    c->level_name = name;
    kt_kernels_cpu(&c->ref, KT_CPU_REF);
    kt_kernels_cpu(&c->level, mask);
    return c->ref.queue_create(&c->ref_q, &ref_params) | c->level.queue_create(&c->q, &params);
}

static void close_level(struct ck *c)
{
    c->ref.queue_destroy(&c->ref_q);
    c->level.queue_destroy(&c->q);
}

static void print_summaries(const char *level)
{
    for (size_t i = 0; i < sizeof(summaries) / sizeof(summaries[0]); i++) {
        const struct summary *s = &summaries[i];
        if (s->op) {
            printf("%-8s %-13s %4d cases  max-abs %-10.3g rel-L2 %-10.3g rel-max %-10.3g %5.1f %% "
                   "of tolerance\n",
                   level, s->op, s->cases, s->max_abs, s->rel_l2, s->rel_max, s->percent);
        }
    }
    memset(summaries, 0, sizeof(summaries));
}

static const struct level {
    const char *name;
    unsigned mask;
} levels[] = {
    {"ref", KT_CPU_REF},
    {"dnnl", KT_CPU_DNNL},
    {"avx2", KT_CPU_SIMD},
    {"avx512", KT_CPU_SIMD | KT_CPU_AVX512},
};

/* A level is tested where its table differs from the one below it. */
static int level_exists(size_t i)
{
    struct kt_kernels below, here;
    kt_kernels_cpu(&here, levels[i].mask);
    if (i == 0) {
        return 1;
    }
    kt_kernels_cpu(&below, levels[i - 1].mask);
    return here.linear != below.linear || here.conv != below.conv ||
           here.attention != below.attention;
}

static int bench_level(struct ck *c, const struct level *level)
{
    c->bench = 1;
    c->block_ms = c->block_min_ms = 0.0;
    c->peak_gflops = ck_peak(level->name) * c->threads;
    printf("%s: %d threads, measured peak %.0f GFLOP/s\n", level->name, c->threads, c->peak_gflops);
    if (open_level(c, level->name, level->mask) != 0) {
        return 1;
    }
    run_all(c);
    close_level(c);
    printf("%s: one block of the demo model (4 steps, cache pass, 12 frames decoded): %.1f ms by "
           "minima, %.1f ms by medians\n\n",
           level->name, c->block_min_ms, c->block_ms);
    c->bench = 0;
    return 0;
}

/* 77: there is no card to test. */
static int run_cuda(struct ck *c, const char *device, int bench)
{
    const struct kt_queue_params ref_params = {.threads = 1};
    const struct kt_queue_params params = {.threads = 1, .plain = c->plain};
    char why[256];
    const int rc = kt_kernels_cuda(&c->real, 0, c->bf16 ? KT_PRECISION_BF16 : KT_PRECISION_FP32,
                                   why, sizeof(why));
    if (rc < 0) {
        printf("skipped: %s: %s\n", device, why);
        return 77;
    }
    c->cuda = 1;
    c->level_name = c->real.name;
    kt_kernels_cpu(&c->ref, KT_CPU_REF);
    if (c->ref.queue_create(&c->ref_q, &ref_params) | c->real.queue_create(&c->q, &params)) {
        fprintf(stderr, "checkkern: no queue\n");
        return 1;
    }
    ck_mirror(c);
    run_all(c);
    print_summaries(c->level_name);
    printf("%d passed, %d failed\n", c->passed, c->failed);
    if (c->failed == 0 && bench) {
        ck_bench_cuda(c);
    }
    c->ref.queue_destroy(&c->ref_q);
    c->real.queue_destroy(&c->q);
    return c->failed > 0 || c->passed == 0;
}

static int run_cpu(struct ck *c, const char *only, int bench)
{
    for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++) {
        if ((only && strcmp(only, levels[i].name) != 0) || !level_exists(i)) {
            continue;
        }
        if (open_level(c, levels[i].name, levels[i].mask) != 0) {
            fprintf(stderr, "checkkern: no queue\n");
            return 1;
        }
        run_all(c);
        close_level(c);
        print_summaries(levels[i].name);
    }
    printf("%d passed, %d failed\n", c->passed, c->failed);
    if (c->failed > 0 || c->passed == 0) {
        if (bench) {
            fprintf(stderr, "checkkern: no benchmark of code that fails\n");
        }
        return 1;
    }
    for (size_t i = 1; bench && i < sizeof(levels) / sizeof(levels[0]); i++) {
        if ((only && strcmp(only, levels[i].name) != 0) || !level_exists(i)) {
            continue;
        }
        if (bench_level(c, &levels[i]) != 0) {
            return 1;
        }
    }
    return 0;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: checkkern [SEED] [--bench] [--quick] [--level ref|dnnl|avx2|avx512] "
            "[--threads N]\n       checkkern [SEED] [--bench] [--quick] [--plain] --device cuda "
            "[--precision fp32|bf16]\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct ck c = {.seed = (uint64_t)time(NULL), .threads = 2};
    int bench = 0;
    const char *only = NULL, *device = "cpu", *precision = "fp32";
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--bench") == 0) {
            bench = 1;
        } else if (strcmp(argv[i], "--quick") == 0) {
            c.quick = 1;
        } else if (strcmp(argv[i], "--plain") == 0) {
            c.plain = 1;
        } else if (strcmp(argv[i], "--level") == 0 && value) {
            only = argv[++i];
        } else if (strcmp(argv[i], "--device") == 0 && value) {
            device = argv[++i];
        } else if (strcmp(argv[i], "--precision") == 0 && value) {
            precision = argv[++i];
        } else if (strcmp(argv[i], "--threads") == 0 && value) {
            c.threads = atoi(argv[++i]);
        } else if (argv[i][0] >= '0' && argv[i][0] <= '9') {
            c.seed = strtoull(argv[i], NULL, 10);
        } else {
            return usage();
        }
    }
    c.bf16 = strcmp(precision, "bf16") == 0;
    if ((!c.bf16 && strcmp(precision, "fp32") != 0) ||
        (strcmp(device, "cpu") != 0 && strcmp(device, "cuda") != 0) ||
        (c.bf16 && strcmp(device, "cpu") == 0)) {
        return usage();
    }
    printf("seed %llu\n", (unsigned long long)c.seed);
    return strcmp(device, "cuda") == 0 ? run_cuda(&c, device, bench) : run_cpu(&c, only, bench);
}
