#include "engine/weights/random.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/weights/tensor.h"

enum {
    POOL_BYTES = 32 << 20,
    POOL_VALUES = POOL_BYTES / 2,
    PAGE = 1 << 16, /* at least the machine's page */
    SCALES = 16,    /* deviations 1, 1/2, ... 2^-15 */
    AROUND_ONE = SCALES,
    POOLS,
};

struct made {
    struct kt_tensor tensor;
    char name[KT_TENSOR_NAME_MAX];
    size_t mapped;
    struct made *next;
};

struct kt_random_weights {
    int pool[POOLS]; /* memory files, -1: not made yet */
    struct made *first;
};

static uint64_t next_bits(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 2685821657736338717ull;
}

/* The sum of four uniform numbers, brought to mean 0 and deviation 1. */
static float next_normal(uint64_t *state)
{
    uint64_t b = next_bits(state);
    int sum =
        (int)(b & 0xffff) + (int)(b >> 16 & 0xffff) + (int)(b >> 32 & 0xffff) + (int)(b >> 48);
    return ((float)sum / 65536.0f - 2.0f) * 1.7320508f;
}

static uint16_t to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void fill_pool(uint16_t *values, int which)
{
    uint64_t state = 0x9e3779b97f4a7c15ull + (uint64_t)which;
    float scale = which == AROUND_ONE ? 0.125f : ldexpf(1.0f, -which);
    float offset = which == AROUND_ONE ? 1.0f : 0.0f;
    for (size_t i = 0; i < POOL_VALUES; i++) {
        values[i] = to_bf16(offset + scale * next_normal(&state));
    }
}

static int make_pool(struct kt_random_weights *r, int which)
{
    int fd = memfd_create("kinetype random weights", MFD_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    void *p = MAP_FAILED;
    if (ftruncate(fd, POOL_BYTES) == 0) {
        p = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    if (p == MAP_FAILED) {
        close(fd);
        return -ENOMEM;
    }
    fill_pool(p, which);
    munmap(p, POOL_BYTES);
    r->pool[which] = fd;
    return 0;
}

/* `bytes` of the pool's values from `start` on, round and round. */
static void *map_values(int fd, size_t start, size_t bytes)
{
    char *base = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t at = 0; base != MAP_FAILED && at < bytes; start = 0) {
        size_t n = POOL_BYTES - start < bytes - at ? POOL_BYTES - start : bytes - at;
        if (mmap(base + at, n, PROT_READ, MAP_SHARED | MAP_FIXED, fd, (off_t)start) == MAP_FAILED) {
            munmap(base, bytes);
            return NULL;
        }
        at += n;
    }
    return base == MAP_FAILED ? NULL : base;
}

static uint32_t hash(const char *name)
{
    uint32_t h = 2166136261u;
    for (; *name; name++) {
        h = (h ^ (unsigned char)*name) * 16777619u;
    }
    return h;
}

static int ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), e = strlen(end);
    return n >= e && strcmp(name + n - e, end) == 0;
}

static int pool_of(const struct kt_tensor *t)
{
    if (ends_with(t->name, "bias")) {
        return 6;
    }
    if (ends_with(t->name, "modulation")) {
        return 4;
    }
    if (t->rank == 1 || ends_with(t->name, "gamma")) {
        return AROUND_ONE;
    }
    double fan_in = t->shape[0] > 0 ? (double)t->count / (double)t->shape[0] : 1.0;
    int scale = (int)lrint(log2(fan_in) / 2.0);
    return scale < 0 ? 0 : scale < SCALES ? scale : SCALES - 1;
}

int kt_random_weights_open(struct kt_random_weights **out, struct kt_error *err)
{
    struct kt_random_weights *r = calloc(1, sizeof(*r));
    if (!r) {
        return kt_fail(err, -ENOMEM, "random weights: out of memory");
    }
    for (int i = 0; i < POOLS; i++) {
        r->pool[i] = -1;
    }
    *out = r;
    return 0;
}

void kt_random_weights_close(struct kt_random_weights **r)
{
    if (!r || !*r) {
        return;
    }
    for (struct made *m = (*r)->first, *next; m; m = next) {
        next = m->next;
        munmap((void *)m->tensor.data, m->mapped);
        free(m);
    }
    for (int i = 0; i < POOLS; i++) {
        if ((*r)->pool[i] >= 0) {
            close((*r)->pool[i]);
        }
    }
    free(*r);
    *r = NULL;
}

int kt_random_weights_make(struct kt_random_weights *r, const struct kt_tensor **out,
                           const char *name, const int64_t *shape, int rank, struct kt_error *err)
{
    struct made *m = calloc(1, sizeof(*m));
    if (!m) {
        return kt_fail(err, -ENOMEM, "tensor '%s': out of memory", name);
    }
    snprintf(m->name, sizeof(m->name), "%s", name);
    m->tensor = (struct kt_tensor){.name = m->name, .dtype = KT_BF16, .rank = rank};
    memcpy(m->tensor.shape, shape, (size_t)rank * sizeof(*shape));
    int rc = kt_tensor_measure(&m->tensor), pool;
    if (rc == 0 && r->pool[pool = pool_of(&m->tensor)] < 0) {
        rc = make_pool(r, pool);
    }
    if (rc == 0) {
        size_t start = (size_t)(hash(name) % (POOL_BYTES / PAGE)) * PAGE;
        m->mapped = (m->tensor.bytes + PAGE) / PAGE * PAGE;
        m->tensor.data = map_values(r->pool[pool_of(&m->tensor)], start, m->mapped);
        rc = m->tensor.data ? 0 : -ENOMEM;
    }
    if (rc < 0) {
        free(m);
        return kt_fail(err, rc, "tensor '%s': cannot make %s random values", name,
                       kt_shape_show(shape, rank).text);
    }
    m->next = r->first;
    r->first = m;
    *out = &m->tensor;
    return 0;
}
