/* Times of the CUDA table at the real shapes: groups of calls between two waits, the median group,
 * with inputs taken in turn from several buffers. Wall time of a busy queue is device time. */
#include "tests/kernels/checkkern.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { SETS = 4, GROUPS = 15 };

struct bench {
    struct ck *c;
    char *memory[SETS]; /* random [act] values */
    size_t bytes;
    float *f32; /* random fp32 values, as many bytes */
};

typedef int call_fn(struct bench *b, const void *what, char *memory);

static void report(struct bench *b, const char *name, double flop, double bytes, call_fn *fn,
                   const void *what)
{
    double ms[GROUPS];
    struct ck *c = b->c;
    int rc = 0;
    for (int i = 0; i < SETS && rc == 0; i++) {
        rc = fn(b, what, b->memory[i]);
    }
    rc = rc ? rc : c->real.queue_sync(c->q);
    double start = ck_now_ms();
    rc = rc ? rc : fn(b, what, b->memory[0]);
    rc = rc ? rc : c->real.queue_sync(c->q);
    const int slow = ck_now_ms() - start > 3.0, groups = slow ? 5 : GROUPS, group = slow ? 2 : 12;
    for (int g = 0; g < groups && rc == 0; g++) {
        start = ck_now_ms();
        for (int i = 0; i < group && rc == 0; i++) {
            rc = fn(b, what, b->memory[i % SETS]);
        }
        rc = rc ? rc : c->real.queue_sync(c->q);
        ms[g] = (ck_now_ms() - start) / group;
    }
    if (rc != 0) {
        printf("%-40s failed: %d %s\n", name, rc, c->real.queue_error(c->q));
        return;
    }
    ck_sort(ms, groups);
    printf("%-10s %-40s %9.4f ms (min %9.4f) %8.1f TFLOP/s %8.1f GB/s\n", c->level_name, name,
           ms[groups / 2], ms[0], flop / ms[groups / 2] * 1e-9, bytes / ms[groups / 2] * 1e-6);
}

static size_t act(const struct bench *b)
{
    return b->c->bf16 ? 2 : 4;
}

struct matrix {
    int m, k, n;
    enum kt_act act;
};

struct matrix_call {
    const struct matrix *s;
    struct kt_linear *l;
};

static int call_linear(struct bench *b, const void *what, char *memory)
{
    const struct matrix_call *w = what;
    const size_t in = (size_t)w->s->m * (size_t)w->s->k * act(b);
    return b->c->real.linear(
        b->c->q, w->l,
        &(struct kt_linear_args){.x = memory, .y = memory + in, .m = w->s->m, .act = w->s->act});
}

static void time_linears(struct bench *b, const float *host)
{
    static const struct matrix shapes[] = {
        {4680, 1536, 4608, KT_ACT_NONE},      {4680, 1536, 1536, KT_ACT_NONE},
        {4680, 1536, 8960, KT_ACT_GELU_TANH}, {4680, 1536, 8960, KT_ACT_NONE},
        {4680, 8960, 1536, KT_ACT_NONE},      {1560, 1536, 4608, KT_ACT_NONE},
        {48, 4096, 12288, KT_ACT_NONE},       {48, 4096, 10240, KT_ACT_NONE},
        {48, 10240, 4096, KT_ACT_NONE},       {40, 4096, 12288, KT_ACT_NONE},
        {6240, 384, 1152, KT_ACT_NONE},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        const struct matrix *s = &shapes[i];
        const struct kt_linear_desc d = {
            .n = s->n, .k = s->k, .dtype = KT_F32, .weight = host, .bias = host};
        struct matrix_call w = {.s = s};
        char name[64];
        snprintf(name, sizeof(name), "linear m%d k%d n%d%s", s->m, s->k, s->n,
                 s->act ? " gelu" : "");
        if (b->c->real.linear_create(&w.l, b->c->q, &d) == 0) {
            const double values = (double)s->m * s->k + (double)s->n * s->k + (double)s->m * s->n;
            report(b, name, 2.0 * s->m * s->k * s->n, values * (double)act(b), call_linear, &w);
            b->c->real.linear_destroy(&w.l);
        }
    }
}

static int call_attention(struct bench *b, const void *what, char *memory)
{
    struct kt_attention_args a = *(const struct kt_attention_args *)what;
    const size_t row = (size_t)a.heads * (size_t)a.head_dim * act(b);
    a.q = memory;
    a.k = memory + (size_t)a.tq * row;
    a.v = (const char *)a.k + (size_t)a.tk * row;
    a.y = memory + ((size_t)a.tq + 2 * (size_t)a.tk) * row;
    return b->c->real.attention(b->c->q, &a);
}

static void time_attentions(struct bench *b)
{
    static const int shapes[][4] = {
        {4680, 18720, 12, 128}, {4680, 41, 12, 128}, {6240, 6240, 1, 384}, {40, 40, 64, 64}};
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        const int *s = shapes[i];
        const struct kt_attention_args a = {.tq = s[0],
                                            .tk = s[1],
                                            .heads = s[2],
                                            .head_dim = s[3],
                                            .scale = 1.0f / sqrtf((float)s[3])};
        char name[64];
        snprintf(name, sizeof(name), "attention q%d k%d %dx%d", s[0], s[1], s[2], s[3]);
        report(b, name, 4.0 * s[0] * s[1] * s[2] * s[3],
               2.0 * (s[0] + (double)s[1]) * s[2] * s[3] * (double)act(b), call_attention, &a);
    }
}

struct conv_call {
    struct kt_conv *c;
    struct kt_conv_args a;
    size_t frame_in, past;
};

static int call_conv(struct bench *b, const void *what, char *memory)
{
    const struct conv_call *w = what;
    struct kt_conv_args a = w->a;
    a.past = w->past ? memory : NULL;
    a.x = memory + w->past * w->frame_in;
    a.y = memory + (w->past + (size_t)a.t_in) * w->frame_in;
    return b->c->real.conv(b->c->q, w->c, &a);
}

static void time_convs(struct bench *b, const float *host)
{
    static const struct { /* the Wan decoder's, of one latent */
        int c_in, c_out, kt, t, h, w, up;
    } shapes[] = {
        {384, 384, 3, 1, 60, 104, 0},  {384, 384, 3, 2, 120, 208, 0}, {384, 192, 1, 4, 120, 208, 1},
        {192, 192, 3, 4, 240, 416, 0}, {192, 96, 1, 4, 240, 416, 1},  {96, 96, 3, 4, 480, 832, 0},
        {96, 3, 3, 4, 480, 832, 0},
    };
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        const struct kt_conv_desc d = {.c_in = shapes[i].c_in,
                                       .c_out = shapes[i].c_out,
                                       .kt = shapes[i].kt,
                                       .kh = 3,
                                       .kw = 3,
                                       .st = 1,
                                       .sh = 1,
                                       .sw = 1,
                                       .pad_top = 1,
                                       .pad_bottom = 1,
                                       .pad_left = 1,
                                       .pad_right = 1,
                                       .causal = shapes[i].kt > 1,
                                       .upsample = shapes[i].up,
                                       .dtype = KT_F32,
                                       .weight = host,
                                       .bias = host};
        struct conv_call w = {.a = {.t_in = shapes[i].t, .h = shapes[i].h, .w = shapes[i].w},
                              .frame_in = (size_t)d.c_in * (size_t)shapes[i].h *
                                          (size_t)shapes[i].w * act(b),
                              .past = (size_t)(d.kt - 1)};
        const double pixels =
            (double)shapes[i].t * shapes[i].h * shapes[i].w * (shapes[i].up ? 4 : 1);
        char name[64];
        snprintf(name, sizeof(name), "conv %dx3x3 %d->%d t%d %dx%d%s", d.kt, d.c_in, d.c_out,
                 shapes[i].t, shapes[i].h, shapes[i].w, shapes[i].up ? " up" : "");
        if (b->c->real.conv_create(&w.c, b->c->q, &d) == 0) {
            report(b, name, 2.0 * 9 * d.kt * d.c_in * d.c_out * pixels,
                   pixels * (d.c_in + d.c_out) * (double)act(b), call_conv, &w);
            b->c->real.conv_destroy(&w.c);
        }
    }
}

enum { M = 4680, DIM = 1536 };

static int call_layer_norm(struct bench *b, const void *what, char *memory)
{
    (void)what;
    const struct kt_layer_norm_args a = {(float *)(void *)memory,
                                         memory + (size_t)M * DIM * 4,
                                         b->f32,
                                         b->f32 + DIM,
                                         M,
                                         DIM,
                                         M,
                                         DIM,
                                         1.0f,
                                         1e-6f};
    return b->c->real.layer_norm(b->c->q, &a);
}

static int call_rms_norm(struct bench *b, const void *what, char *memory)
{
    (void)what;
    const struct kt_rms_norm_args a = {memory, memory, b->f32, M, DIM, 3 * DIM, 3 * DIM, 1e-6f, 0};
    return b->c->real.rms_norm(b->c->q, &a);
}

static int call_rope(struct bench *b, const void *what, char *memory)
{
    (void)what;
    const struct kt_rope_args a = {memory, memory, b->f32,  b->f32 + M * 64, M,
                                   12,     128,    3 * DIM, 3 * DIM};
    return b->c->real.rope(b->c->q, &a);
}

static int call_residual(struct bench *b, const void *what, char *memory)
{
    (void)what;
    const struct kt_residual_args a = {memory, memory + (size_t)M * DIM * 4, b->f32, M, DIM, M, DIM,
                                       0};
    return b->c->real.residual(b->c->q, &a);
}

static int call_channel_norm(struct bench *b, const void *what, char *memory)
{
    const int *s = what;
    const struct kt_channel_norm_args a = {
        memory, memory + (size_t)s[0] * (size_t)s[1] * act(b), b->f32, s[0], s[1], 1, 0};
    return b->c->real.channel_norm(b->c->q, &a);
}

static int call_i420(struct bench *b, const void *what, char *memory)
{
    (void)what;
    const struct kt_i420_args a = {(float *)(void *)memory,
                                   (uint8_t *)memory + (size_t)4 * 3 * 832 * 480 * 4,
                                   832 * 480 * 3 / 2,
                                   4,
                                   832,
                                   480,
                                   0.5f,
                                   0.5f};
    return b->c->real.to_i420(b->c->q, &a);
}

static int call_planar(struct bench *b, const void *what, char *memory)
{
    (void)what;
    return b->c->real.to_planar(b->c->q, (float *)(void *)(memory + (size_t)4 * 3 * 832 * 480 * 4),
                                memory, 4, 480, 832, 3);
}

static void time_rows(struct bench *b)
{
    static const int pixels[][2] = {
        {4 * 480 * 832, 96}, {4 * 240 * 416, 192}, {2 * 120 * 208, 384}};
    const double n = (double)M * DIM, a = (double)act(b), p = 4.0 * 480 * 832;
    report(b, "layer norm m4680", 0, n * (4 + a), call_layer_norm, NULL);
    report(b, "RMS norm m4680 of qkv", 0, n * 2 * a, call_rms_norm, NULL);
    report(b, "rope m4680 of qkv", 0, n * 2 * a + M * 64 * 8.0, call_rope, NULL);
    report(b, "residual m4680", 0, n * (8 + a), call_residual, NULL);
    for (int i = 0; i < 3; i++) {
        char name[64];
        snprintf(name, sizeof(name), "channel norm %d x %d", pixels[i][0], pixels[i][1]);
        report(b, name, 0, 2 * a * pixels[i][0] * (double)pixels[i][1], call_channel_norm,
               pixels[i]);
    }
    report(b, "to planar 4 x 832x480", 0, p * 3 * (a + 4), call_planar, NULL);
    report(b, "to I420 4 x 832x480", 0, p * (12 + 1.5), call_i420, NULL);
}

void ck_bench_cuda(struct ck *c)
{
    struct bench b = {.c = c, .bytes = (size_t)1700 << 20};
    const size_t n = (size_t)64 << 20;
    float *host = malloc(n * sizeof(float));
    uint64_t s = c->seed;
    for (size_t i = 0; host && i < n; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        host[i] = ((float)(s >> 40) * 0x1p-23f - 1.0f) * 0.5f;
    }
    int ok = host != NULL;
    b.f32 = c->real.mem_alloc(c->q, n * sizeof(float));
    ok = ok && b.f32 && c->real.upload(c->q, b.f32, host, n * sizeof(float)) == 0;
    for (int i = 0; i < SETS && ok; i++) {
        b.memory[i] = c->real.mem_alloc(c->q, b.bytes);
        for (size_t at = 0; b.memory[i] && at < b.bytes; at += n) { /* act as wide as fp32 or not */
            const size_t values = (b.bytes - at < n ? b.bytes - at : n) / act(&b);
            c->real.to_act(c->q, b.memory[i] + at, b.f32, values);
        }
        ok = b.memory[i] != NULL;
    }
    if (ok) {
        time_linears(&b, host);
        time_attentions(&b);
        time_convs(&b, host);
        time_rows(&b);
    }
    for (int i = 0; i < SETS; i++) {
        c->real.mem_free(c->q, b.memory[i]);
    }
    c->real.mem_free(c->q, b.f32);
    free(host);
}
