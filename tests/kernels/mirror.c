/* A card behind the checks: they pass host pointers, and each call here copies every buffer that it
 * was given, guards and all, to memory of its own on the card, in the type that the op wants there,
 * runs the op, and copies what it may have written back. So poison and guards work as on the CPU.
 */
#include "tests/kernels/checkkern.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum role { ACT, RAW };
enum { VIEWS_MAX = 12 };

struct view {
    struct ck_place place;
    enum role role;
    char *device;
    int out;
};

static struct {
    struct ck *c;
    struct view views[VIEWS_MAX];
    int count, rc;
} m;

static size_t element(enum role role)
{
    return role == ACT && m.c->bf16 ? 2 : 4;
}

static void narrow(uint16_t *to, const uint32_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) { /* the values are bf16 already; poison stays poison */
        to[i] = (uint16_t)(from[i] >> 16);
    }
}

static void widen(uint32_t *to, const uint16_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        to[i] = from[i] == 0xffffu ? 0xffffffffu : (uint32_t)from[i] << 16;
    }
}

/* The card's copy of the buffer that `p` points into, at the same place. */
static void *map(const void *p, enum role role, int out)
{
    struct ck_place place;
    struct view *v = NULL;
    if (!p) {
        return NULL;
    }
    if (!ck_find(p, &place) || m.count == VIEWS_MAX) {
        abort();
    }
    for (int i = 0; i < m.count; i++) {
        if (m.views[i].place.base == place.base && m.views[i].role == role) {
            v = &m.views[i];
        }
    }
    if (!v) {
        const size_t n = place.bytes / 4, bytes = n * element(role);
        v = &m.views[m.count++];
        *v = (struct view){place, role, m.c->real.mem_alloc(m.c->q, bytes), 0};
        uint16_t *half = malloc(n * 2);
        if (!v->device || !half) {
            abort();
        }
        if (element(role) == 2) {
            narrow(half, (const uint32_t *)(void *)place.base, n);
        }
        m.rc |= m.c->real.upload(m.c->q, v->device, element(role) == 2 ? (void *)half : place.base,
                                 bytes);
        m.rc |= m.c->real.queue_sync(m.c->q);
        free(half);
    }
    v->out |= out;
    return v->device + place.offset * element(role) / 4;
}

static const void *in(const void *p)
{
    return map(p, ACT, 0);
}

static const void *in_f32(const void *p)
{
    return map(p, RAW, 0);
}

static void *out(void *p)
{
    return map(p, ACT, 1);
}

static void *out_f32(void *p)
{
    return map(p, RAW, 1);
}

static int all_ones(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)p[i] != 0xff) {
            return 0;
        }
    }
    return 1;
}

static void bring_back(struct view *v)
{
    const size_t size = element(v->role), n = v->place.bytes / 4, guard = CK_GUARD_FLOATS * size;
    char *host = malloc(n * size);
    if (!host) {
        abort();
    }
    m.rc |= m.c->real.download(m.c->q, host, v->device, n * size);
    if (!all_ones(host, guard) || !all_ones(host + n * size - guard, guard)) {
        ck_complain("wrote outside a buffer on the card");
    }
    if (!v->out) {
        /* read only: nothing to bring */
    } else if (size == 2) {
        widen((uint32_t *)(void *)v->place.base, (const uint16_t *)(void *)host, n);
    } else {
        memcpy(v->place.base, host, n * size);
    }
    free(host);
}

/* Ends a call: `rc` is what the op returned. */
static int end(int rc)
{
    m.rc |= m.c->real.queue_sync(m.c->q);
    for (int i = 0; i < m.count; i++) {
        bring_back(&m.views[i]);
        m.c->real.mem_free(m.c->q, m.views[i].device);
    }
    rc = rc ? rc : m.rc;
    m.count = m.rc = 0;
    return rc;
}

static int linear(struct kt_queue *q, const struct kt_linear *l, const struct kt_linear_args *given)
{
    struct kt_linear_args a = *given;
    a.x = in(a.x), a.y = a.y_f32 ? out_f32(a.y) : out(a.y);
    return end(m.c->real.linear(q, l, &a));
}

static int conv(struct kt_queue *q, const struct kt_conv *c, const struct kt_conv_args *given)
{
    struct kt_conv_args a = *given;
    a.x = in(a.x), a.past = in(a.past), a.residual = in(a.residual), a.y = out(a.y);
    return end(m.c->real.conv(q, c, &a));
}

static int attention(struct kt_queue *q, const struct kt_attention_args *given)
{
    struct kt_attention_args a = *given;
    a.q = in(a.q), a.k = in(a.k), a.v = in(a.v), a.bias = in_f32(a.bias), a.y = out(a.y);
    return end(m.c->real.attention(q, &a));
}

static int layer_norm(struct kt_queue *q, const struct kt_layer_norm_args *given)
{
    struct kt_layer_norm_args a = *given;
    a.x = in_f32(a.x), a.scale = in_f32(a.scale), a.shift = in_f32(a.shift);
    a.y = m.c->bf16 ? out(a.y) : out_f32(a.y);
    return end(m.c->real.layer_norm(q, &a));
}

static int rms_norm(struct kt_queue *q, const struct kt_rms_norm_args *given)
{
    struct kt_rms_norm_args a = *given;
    a.x = a.x_f32 ? in_f32(a.x) : in(a.x), a.weight = in_f32(a.weight), a.y = out(a.y);
    return end(m.c->real.rms_norm(q, &a));
}

static int channel_norm(struct kt_queue *q, const struct kt_channel_norm_args *given)
{
    struct kt_channel_norm_args a = *given;
    a.x = in(a.x), a.gamma = in_f32(a.gamma), a.y = out(a.y);
    return end(m.c->real.channel_norm(q, &a));
}

static int rope(struct kt_queue *q, const struct kt_rope_args *given)
{
    struct kt_rope_args a = *given;
    a.x = in(a.x), a.cos = in_f32(a.cos), a.sin = in_f32(a.sin), a.y = out(a.y);
    return end(m.c->real.rope(q, &a));
}

static int residual(struct kt_queue *q, const struct kt_residual_args *given)
{
    struct kt_residual_args a = *given;
    a.y = in(a.y), a.gate = in_f32(a.gate), a.x = a.x_act ? out(a.x) : out_f32(a.x);
    return end(m.c->real.residual(q, &a));
}

static int patchify(struct kt_queue *q, const struct kt_patch_args *given)
{
    struct kt_patch_args a = *given;
    a.src = in_f32(a.src), a.dst = out(a.dst);
    return end(m.c->real.patchify(q, &a));
}

static int unpatchify(struct kt_queue *q, const struct kt_patch_args *given)
{
    struct kt_patch_args a = *given;
    a.src = in_f32(a.src), a.dst = out_f32(a.dst);
    return end(m.c->real.unpatchify(q, &a));
}

static int sample_step(struct kt_queue *q, const struct kt_sample_step_args *given)
{
    struct kt_sample_step_args a = *given;
    a.v = in_f32(a.v), a.noise = in_f32(a.noise), a.x = out_f32(a.x);
    return end(m.c->real.sample_step(q, &a));
}

static int to_i420(struct kt_queue *q, const struct kt_i420_args *given)
{
    struct kt_i420_args a = *given;
    a.rgb = in_f32(a.rgb), a.out = out_f32(a.out);
    return end(m.c->real.to_i420(q, &a));
}

static int mul_gelu(struct kt_queue *q, void *y, const void *a, const void *b, size_t n)
{
    return end(m.c->real.mul_gelu(q, out(y), in(a), in(b), n));
}

static int tanh3(struct kt_queue *q, void *y, const void *x, size_t n)
{
    return end(m.c->real.tanh3(q, out(y), in(x), n));
}

static int relu(struct kt_queue *q, void *y, const void *x, size_t n)
{
    return end(m.c->real.relu(q, out(y), in(x), n));
}

static int to_act(struct kt_queue *q, void *y, const float *x, size_t n)
{
    return end(m.c->real.to_act(q, out(y), in_f32(x), n));
}

static int to_f32(struct kt_queue *q, float *y, const void *x, size_t n)
{
    return end(m.c->real.to_f32(q, out_f32(y), in(x), n));
}

static int upsample2x(struct kt_queue *q, void *y, const void *x, int t, int h, int w, int c)
{
    return end(m.c->real.upsample2x(q, out(y), in(x), t, h, w, c));
}

static int split_frames(struct kt_queue *q, void *y, const void *x, int t, int h, int w, int c,
                        int f)
{
    return end(m.c->real.split_frames(q, out(y), in(x), t, h, w, c, f));
}

static int concat_channels(struct kt_queue *q, void *y, const void *a, const void *b, int pixels,
                           int ca, int cb)
{
    return end(m.c->real.concat_channels(q, out(y), in(a), in(b), pixels, ca, cb));
}

static int to_channels_last(struct kt_queue *q, void *y, const float *x, int t, int c, int h, int w,
                            const float *scale, const float *shift)
{
    return end(
        m.c->real.to_channels_last(q, out(y), in_f32(x), t, c, h, w, in_f32(scale), in_f32(shift)));
}

static int to_planar(struct kt_queue *q, float *y, const void *x, int t, int h, int w, int c)
{
    return end(m.c->real.to_planar(q, out_f32(y), in(x), t, h, w, c));
}

static int distance_bias(struct kt_queue *q, float *y, const float *table, int heads, int n,
                         int reach)
{
    return end(m.c->real.distance_bias(q, out_f32(y), in_f32(table), heads, n, reach));
}

static int noise(struct kt_queue *q, float *y, int n, uint64_t seed, uint64_t stream)
{
    return end(m.c->real.noise(q, out_f32(y), n, seed, stream));
}

static int copy_rows(struct kt_queue *q, void *dst, size_t dst_stride, const void *src,
                     size_t src_stride, int rows, size_t row_bytes)
{
    return end(
        m.c->real.copy_rows(q, out_f32(dst), dst_stride, in_f32(src), src_stride, rows, row_bytes));
}

void ck_mirror(struct ck *c)
{
    m.c = c;
    c->level = c->real;
    c->level.linear = linear;
    c->level.conv = conv;
    c->level.attention = attention;
    c->level.layer_norm = layer_norm;
    c->level.rms_norm = rms_norm;
    c->level.channel_norm = channel_norm;
    c->level.rope = rope;
    c->level.residual = residual;
    c->level.patchify = patchify;
    c->level.unpatchify = unpatchify;
    c->level.sample_step = sample_step;
    c->level.to_i420 = to_i420;
    c->level.mul_gelu = mul_gelu;
    c->level.distance_bias = distance_bias;
    c->level.tanh3 = tanh3;
    c->level.relu = relu;
    c->level.to_act = to_act;
    c->level.to_f32 = to_f32;
    c->level.upsample2x = upsample2x;
    c->level.split_frames = split_frames;
    c->level.concat_channels = concat_channels;
    c->level.to_channels_last = to_channels_last;
    c->level.to_planar = to_planar;
    c->level.noise = noise;
    c->level.copy_rows = copy_rows;
}
