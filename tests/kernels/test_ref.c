/* The reference level against formulas of kernels.h written out once more in long double, from the
 * checkpoint layouts, and against published constants. The other levels are compared with the
 * reference by checkkern; this is what holds the reference itself. */
#include "kernels/kernels.h"

#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct kt_kernels k;
static struct kt_queue *q;

static int setup(void **state)
{
    (void)state;
    kt_kernels_cpu(&k, KT_CPU_REF);
    return k.queue_create(&q, &(struct kt_queue_params){.threads = 1});
}

static int teardown(void **state)
{
    (void)state;
    k.queue_destroy(&q);
    return 0;
}

static float *random_array(size_t n, unsigned seed)
{
    float *x = malloc(n * sizeof(*x));
    uint64_t s = seed * 2654435761u + 1;
    for (size_t i = 0; i < n; i++) {
        s = s * 6364136223846793005u + 1442695040888963407u;
        x[i] = (float)((int32_t)(s >> 32)) * 0x1p-30f; /* uniform in [-2, 2) */
    }
    return x;
}

/* One fp32 rounding of a value of this size, doubled for the double-precision work before it. */
static void assert_close(float got, long double want)
{
    const long double bound = 1.2e-7L * fabsl(want) + 1e-7L;
    if (!(fabsl(got - want) <= bound)) {
        fail_msg("got %.9g, want %.12Lg", (double)got, want);
    }
}

static long double gelu(long double x)
{
    const long double pi = 3.14159265358979323846L;
    return 0.5L * x * (1.0L + tanhl(sqrtl(2.0L / pi) * (x + 0.044715L * x * x * x)));
}

static void test_linear(void **state)
{
    (void)state;
    enum { M = 3, N = 5, K = 7, LD_X = 9, LD_Y = 6 };
    float *w = random_array(N * K, 1), *b = random_array(N, 2), *x = random_array(M * LD_X, 3);
    struct kt_linear *l = NULL;
    assert_int_equal(0, k.linear_create(&l, q, &(struct kt_linear_desc){N, K, KT_F32, w, b, 0}));
    for (int act = KT_ACT_NONE; act <= KT_ACT_SILU; act++) {
        float y[M * LD_Y];
        memset(y, 0, sizeof(y));
        const struct kt_linear_args a = {x, y, M, LD_X, LD_Y, (enum kt_act)act, 0, 0};
        assert_int_equal(0, k.linear(q, l, &a));
        for (int r = 0; r < M; r++) {
            for (int j = 0; j < N; j++) {
                long double sum = b[j];
                for (int i = 0; i < K; i++) {
                    sum += (long double)x[r * LD_X + i] * w[j * K + i];
                }
                sum = act == KT_ACT_GELU_TANH ? gelu(sum) : sum;
                sum = act == KT_ACT_SILU ? sum / (1.0L + expl(-sum)) : sum;
                assert_close(y[r * LD_Y + j], sum);
            }
            assert_true(y[r * LD_Y + N] == 0.0f);
        }
    }
    k.linear_destroy(&l);
    assert_null(l);
    k.linear_destroy(&l);
    free(w), free(b), free(x);
}

static void test_half_weights(void **state)
{
    (void)state;
    const uint16_t f16[] = {0x3c00, 0xc000, 0x0001, 0x7bff};  /* 1, -2, 2^-24, 65504 */
    const uint16_t bf16[] = {0x3f80, 0xc000, 0x0080, 0x4780}; /* 1, -2, 2^-126, 65536 */
    const float want16[] = {1.0f, -2.0f, 0x1p-24f, 65504.0f};
    const float want_b[] = {1.0f, -2.0f, 0x1p-126f, 65536.0f};
    const float one = 1.0f;
    for (int i = 0; i < 2; i++) {
        const struct kt_linear_desc d = {4, 1, i ? KT_BF16 : KT_F16, i ? bf16 : f16, NULL, 0};
        struct kt_linear *l = NULL;
        float y[4];
        assert_int_equal(0, k.linear_create(&l, q, &d));
        assert_int_equal(0, k.linear(q, l, &(struct kt_linear_args){.x = &one, .y = y, .m = 1}));
        assert_memory_equal(y, i ? want_b : want16, sizeof(y));
        k.linear_destroy(&l);
    }
}

struct conv_case {
    struct kt_conv_desc d;
    int t, h, w, with_past, with_residual, relu;
};

/* The value the filter sees at input frame t (negative: before x) of channel c. */
static long double conv_input(const struct conv_case *cc, const float *x, const float *past,
                              const int at[3], int c)
{
    const int up = cc->d.upsample ? 2 : 1;
    if (at[1] < 0 || at[2] < 0 || at[1] >= up * cc->h || at[2] >= up * cc->w) {
        return 0.0L;
    }
    const float *src = at[0] < 0 ? past : x;
    const int t = at[0] < 0 ? at[0] + cc->d.kt - 1 : at[0];
    return src ? src[((t * cc->h + at[1] / up) * cc->w + at[2] / up) * cc->d.c_in + c] : 0.0L;
}

static void check_conv(const struct conv_case *cc)
{
    struct kt_conv_desc d = cc->d;
    const int up = d.upsample ? 2 : 1, taps = d.kt * d.kh * d.kw;
    const int t_out = d.causal ? cc->t : (cc->t - d.kt) / d.st + 1;
    const int h_out = (up * cc->h + d.pad_top + d.pad_bottom - d.kh) / d.sh + 1;
    const int w_out = (up * cc->w + d.pad_left + d.pad_right - d.kw) / d.sw + 1;
    const size_t frame = (size_t)cc->h * cc->w * d.c_in,
                 n = (size_t)t_out * h_out * w_out * d.c_out;
    float *w = random_array((size_t)d.c_out * d.c_in * taps, 1), *b = random_array(d.c_out, 2);
    float *x = random_array(frame * cc->t, 3), *past = random_array(frame * d.kt, 4);
    float *residual = random_array(n, 5), *y = calloc(n, sizeof(*y));
    d.weight = w, d.bias = b;
    struct kt_conv *c = NULL;
    assert_int_equal(0, k.conv_create(&c, q, &d));
    const struct kt_conv_args a = {.x = x,
                                   .past = cc->with_past ? past : NULL,
                                   .y = y,
                                   .t_in = cc->t,
                                   .h = cc->h,
                                   .w = cc->w,
                                   .relu = cc->relu,
                                   .residual = cc->with_residual ? residual : NULL};
    assert_int_equal(0, k.conv(q, c, &a));
    for (size_t i = 0; i < n; i++) {
        const int o = (int)(i % d.c_out), ox = (int)(i / d.c_out % w_out);
        const int oy = (int)(i / d.c_out / w_out % h_out), ot = (int)(i / d.c_out / w_out / h_out);
        long double sum = b[o];
        for (int tap = 0; tap < taps; tap++) {
            const int dt = tap / (d.kh * d.kw), dy = tap / d.kw % d.kh, dx = tap % d.kw;
            const int at[3] = {ot * d.st + dt - (d.causal ? d.kt - 1 : 0),
                               oy * d.sh + dy - d.pad_top, ox * d.sw + dx - d.pad_left};
            for (int ci = 0; ci < d.c_in; ci++) {
                sum += conv_input(cc, x, a.past, at, ci) * w[(o * d.c_in + ci) * taps + tap];
            }
        }
        sum += cc->with_residual ? residual[i] : 0.0L;
        assert_close(y[i], cc->relu && sum < 0.0L ? 0.0L : sum);
    }
    k.conv_destroy(&c);
    free(w), free(b), free(x), free(past), free(residual), free(y);
}

static void test_conv(void **state)
{
    (void)state;
    const struct kt_conv_desc causal = {.c_in = 3,
                                        .c_out = 4,
                                        .kt = 3,
                                        .kh = 3,
                                        .kw = 3,
                                        .st = 1,
                                        .sh = 1,
                                        .sw = 1,
                                        .pad_top = 1,
                                        .pad_bottom = 1,
                                        .pad_left = 1,
                                        .pad_right = 1,
                                        .causal = 1};
    struct kt_conv_desc flat = causal, down = causal, up = causal, time = causal;
    flat.kt = 1, flat.causal = 0;
    down.kt = 1, down.causal = 0, down.sh = down.sw = 2, down.pad_top = down.pad_left = 0;
    up.kt = 1, up.upsample = 1, up.causal = 0;
    time.causal = 0, time.st = 2, time.kh = time.kw = 1;
    time.pad_top = time.pad_bottom = time.pad_left = time.pad_right = 0;
    check_conv(&(struct conv_case){causal, 2, 4, 5, 1, 1, 0});
    check_conv(&(struct conv_case){causal, 1, 4, 5, 0, 0, 1});
    check_conv(&(struct conv_case){flat, 2, 3, 3, 0, 1, 1});
    check_conv(&(struct conv_case){down, 1, 6, 8, 0, 0, 0});
    check_conv(&(struct conv_case){up, 2, 3, 4, 0, 0, 0});
    check_conv(&(struct conv_case){time, 5, 2, 3, 0, 0, 0});
}

static void test_norms(void **state)
{
    (void)state;
    enum { M = 6, DIM = 10, GROUPS = 3, LD = 23 };
    float *x = random_array(M * DIM, 1), *mod = random_array(GROUPS * LD, 2), y[M * DIM];
    const struct kt_layer_norm_args ln = {x, y, mod, mod + DIM, M, DIM, 2, LD, 1.0f, 1e-6f};
    assert_int_equal(0, k.layer_norm(q, &ln));
    for (int r = 0; r < M; r++) {
        long double mean = 0.0L, var = 0.0L;
        for (int i = 0; i < DIM; i++) {
            mean += x[r * DIM + i] / (long double)DIM;
        }
        for (int i = 0; i < DIM; i++) {
            var += (x[r * DIM + i] - mean) * (x[r * DIM + i] - mean) / (long double)DIM;
        }
        const float *scale = mod + r / 2 * LD, *shift = scale + DIM;
        for (int i = 0; i < DIM; i++) {
            const long double n = (x[r * DIM + i] - mean) / sqrtl(var + 1e-6f);
            assert_close(y[r * DIM + i], n * (1.0L + scale[i]) + shift[i]);
        }
    }
    assert_int_equal(0,
                     k.rms_norm(q, &(struct kt_rms_norm_args){x, y, mod, 2, 8, 10, 9, 1e-6f, 0}));
    for (int r = 0; r < 2; r++) {
        long double squares = 0.0L;
        for (int i = 0; i < 8; i++) {
            squares += (long double)x[r * 10 + i] * x[r * 10 + i];
        }
        for (int i = 0; i < 8; i++) {
            assert_close(y[r * 9 + i], x[r * 10 + i] / sqrtl(squares / 8 + 1e-6f) * mod[i]);
        }
    }
    for (int silu = 0; silu < 2; silu++) {
        memset(x, 0, DIM * sizeof(*x)); /* pixel 0: the 1e-12 floor */
        assert_int_equal(
            0, k.channel_norm(q, &(struct kt_channel_norm_args){x, y, mod, M, DIM, silu, 0}));
        for (int i = 0; i < M * DIM; i++) {
            long double squares = 0.0L;
            for (int c = 0; c < DIM; c++) {
                squares += (long double)x[i / DIM * DIM + c] * x[i / DIM * DIM + c];
            }
            const long double v = x[i] / fmaxl(sqrtl(squares), 1e-12L) * sqrtl(DIM) * mod[i % DIM];
            assert_close(y[i], silu ? v / (1.0L + expl(-v)) : v);
        }
    }
    free(x), free(mod);
}

static void test_rope(void **state)
{
    (void)state;
    enum { M = 2, HEADS = 2, D = 4, LD = 10 };
    float *x = random_array(M * LD, 1), cos_sin[2][M * D / 2], y[M * LD] = {0};
    for (int i = 0; i < M * D / 2; i++) {
        cos_sin[0][i] = cosf(0.3f * i + 1);
        cos_sin[1][i] = sinf(0.3f * i + 1);
    }
    assert_int_equal(
        0, k.rope(q, &(struct kt_rope_args){x, y, cos_sin[0], cos_sin[1], M, HEADS, D, LD, LD}));
    for (int r = 0; r < M; r++) {
        for (int j = 0; j < HEADS * D; j += 2) {
            const long double re = x[r * LD + j], im = x[r * LD + j + 1];
            const long double c = cos_sin[0][r * D / 2 + j % D / 2],
                              s = cos_sin[1][r * D / 2 + j % D / 2];
            assert_close(y[r * LD + j], re * c - im * s);
            assert_close(y[r * LD + j + 1], re * s + im * c);
        }
        assert_true(y[r * LD + HEADS * D] == 0.0f);
    }
    free(x);
}

static void test_attention(void **state)
{
    (void)state;
    enum { TQ = 3, TK = 5, H = 2, D = 4, LD = 9 };
    float *qq = random_array(TQ * LD, 1), *kk = random_array(TK * LD, 2),
          *vv = random_array(TK * LD, 3);
    float *bias = random_array(H * TQ * TK, 4), y[TQ * H * D];
    const struct kt_attention_args a = {qq, kk, vv, y, TQ,   TK,   H,    D,
                                        LD, LD, LD, 0, bias, 0.7f, 1.5f, 0};
    assert_int_equal(0, k.attention(q, &a));
    for (int i = 0; i < TQ * H * D; i++) {
        const int r = i / (H * D), h = i / D % H;
        long double total = 0.0L, sum = 0.0L;
        for (int j = 0; j < TK; j++) {
            long double dot = 0.0L;
            for (int c = 0; c < D; c++) {
                dot += (long double)qq[r * LD + h * D + c] * kk[j * LD + h * D + c];
            }
            const long double p =
                expl(dot * 0.7f + bias[(h * TQ + r) * TK + j] + (j == TK - 1 ? 1.5L : 0.0L));
            total += p;
            sum += p * vv[j * LD + h * D + i % D];
        }
        assert_close(y[i], sum / total);
    }
    free(qq), free(kk), free(vv), free(bias);
}

static void test_elementwise(void **state)
{
    (void)state;
    enum { M = 4, DIM = 3, LD = 5 };
    float *x = random_array(M * DIM, 1), *y = random_array(M * DIM, 2),
          *gate = random_array(2 * LD, 3);
    float was[M * DIM], out[M * DIM];
    for (int gated = 0; gated < 2; gated++) {
        memcpy(was, x, sizeof(was));
        assert_int_equal(0, k.residual(q, &(struct kt_residual_args){x, y, gated ? gate : NULL, M,
                                                                     DIM, 2, LD, 0}));
        for (int i = 0; i < M * DIM; i++) {
            const long double g = gated ? gate[i / DIM / 2 * LD + i % DIM] : 1.0L;
            assert_close(x[i], was[i] + g * y[i]);
        }
    }
    assert_int_equal(0, k.mul_gelu(q, out, x, y, M * DIM));
    for (int i = 0; i < M * DIM; i++) {
        assert_close(out[i], x[i] * gelu(y[i]));
    }
    assert_int_equal(0, k.tanh3(q, out, x, M * DIM));
    for (int i = 0; i < M * DIM; i++) {
        assert_close(out[i], 3.0L * tanhl(x[i] / 3.0L));
    }
    assert_int_equal(0, k.relu(q, out, x, M * DIM));
    for (int i = 0; i < M * DIM; i++) {
        assert_true(out[i] == (x[i] > 0.0f ? x[i] : 0.0f));
    }
    for (int noisy = 0; noisy < 2; noisy++) {
        memcpy(was, x, sizeof(was));
        assert_int_equal(0, k.sample_step(q, &(struct kt_sample_step_args){x, y, noisy ? out : NULL,
                                                                           0.75f, 0.3f, M * DIM}));
        for (int i = 0; i < M * DIM; i++) {
            const long double x0 = was[i] - 0.75L * y[i], next = 0.3f;
            assert_close(x[i], noisy ? (1.0L - next) * x0 + next * out[i] : x0);
        }
    }
    free(x), free(y), free(gate);
}

/* Values equal to their own flat index, so that every move can be read off. */
static void fill_index(float *x, int n)
{
    for (int i = 0; i < n; i++) {
        x[i] = (float)i;
    }
}

static void test_patches(void **state)
{
    (void)state;
    enum { F = 2, C = 3, H = 4, W = 6, N = F * C * H * W };
    float planar[N], tokens[N], back[N];
    fill_index(planar, N);
    assert_int_equal(0, k.patchify(q, &(struct kt_patch_args){planar, tokens, F, C, H, W, 2, 2}));
    /* frame 1, channel 2, y 3, x 4: token (1, 1, 2), vector place (c, ph, pw) = (2, 1, 0) */
    assert_true(tokens[(1 * 6 + 1 * 3 + 2) * 12 + (2 * 2 + 1) * 2 + 0] ==
                planar[((1 * C + 2) * H + 3) * W + 4]);
    fill_index(tokens, N);
    assert_int_equal(0, k.unpatchify(q, &(struct kt_patch_args){tokens, back, F, C, H, W, 2, 2}));
    /* the same place read as (ph, pw, c) */
    assert_true(back[((1 * C + 2) * H + 3) * W + 4] ==
                tokens[(1 * 6 + 1 * 3 + 2) * 12 + (1 * 2 + 0) * C + 2]);
    double sum = 0.0;
    for (int i = 0; i < N; i++) {
        sum += back[i] * (double)back[i];
    }
    assert_true(sum == (double)(N - 1) * N * (2 * N - 1) / 6); /* a permutation */
    const struct kt_patch_args odd = {planar, tokens, F, C, 3, W, 2, 2};
    assert_int_equal(-EINVAL, k.patchify(q, &odd));
}

static void test_layouts(void **state)
{
    (void)state;
    enum { T = 2, H = 3, W = 2, C = 4, N = T * H * W * C };
    float x[N], y[4 * N];
    const float scale[C] = {1, 2, 3, 4}, shift[C] = {5, 6, 7, 8};
    fill_index(x, N);
    assert_int_equal(0, k.upsample2x(q, y, x, T, H, W, C));
    assert_true(y[((1 * 6 + 5) * 4 + 3) * C + 2] == x[((1 * 3 + 2) * 2 + 1) * C + 2]);
    assert_int_equal(0, k.split_frames(q, y, x, T, H, W, 2, 2));
    assert_true(y[((1 * 2 + 1) * 6 + 4) * 2 + 1] == x[(1 * 6 + 4) * 4 + 3]);
    assert_int_equal(0, k.concat_channels(q, y, x, x + 6, 3, 2, 1));
    assert_true(y[3] == x[2] && y[4] == x[3] && y[5] == x[7]);
    assert_int_equal(0, k.to_channels_last(q, y, x, T, C, H, W, scale, shift));
    assert_true(y[(1 * 6 + 5) * C + 3] == x[(1 * C + 3) * 6 + 5] * 4 + 8);
    assert_int_equal(0, k.to_channels_last(q, y, x, T, C, H, W, NULL, NULL));
    float back[N];
    assert_int_equal(0, k.to_planar(q, back, y, T, H, W, C));
    assert_memory_equal(back, x, sizeof(x));
    assert_int_equal(0, k.copy_rows(q, y, 12, x, 20, 3, 8));
    assert_true(y[6] == x[10] && y[7] == x[11]);
}

/* BT.709 colour bars at 100 %, limited range: the published 8-bit codes. */
static void test_i420(void **state)
{
    (void)state;
    static const struct {
        float r, g, b;
        uint8_t y, u, v;
    } bars[] = {
        {1, 1, 1, 235, 128, 128}, {1, 1, 0, 219, 16, 138}, {0, 1, 1, 188, 154, 16},
        {0, 1, 0, 173, 42, 26},   {1, 0, 1, 78, 214, 230}, {1, 0, 0, 63, 102, 240},
        {0, 0, 1, 32, 240, 118},  {0, 0, 0, 16, 128, 128},
    };
    for (size_t i = 0; i < sizeof(bars) / sizeof(bars[0]); i++) {
        float rgb[12];
        uint8_t out[7] = {0, 0, 0, 0, 0, 0, 99};
        for (int p = 0; p < 4; p++) { /* raw = 2 v - 1, and clamped beyond */
            rgb[p] = 2.2f * bars[i].r - 1.1f;
            rgb[4 + p] = 2.2f * bars[i].g - 1.1f;
            rgb[8 + p] = 2.2f * bars[i].b - 1.1f;
        }
        const struct kt_i420_args a = {rgb, out, 6, 1, 2, 2, 0.5f, 0.5f};
        assert_int_equal(0, k.to_i420(q, &a));
        const uint8_t want[7] = {bars[i].y, bars[i].y, bars[i].y, bars[i].y,
                                 bars[i].u, bars[i].v, 99};
        assert_memory_equal(out, want, sizeof(want));
    }
    /* chroma is the mean of the 2x2: two red and two blue pixels */
    const float mixed[12] = {1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1};
    uint8_t out[6];
    assert_int_equal(0, k.to_i420(q, &(struct kt_i420_args){mixed, out, 6, 1, 2, 2, 1.0f, 0.0f}));
    const uint8_t want[6] = {63, 32, 63, 32, 171, 179};
    assert_memory_equal(out, want, sizeof(want));
    const struct kt_i420_args odd = {mixed, out, 6, 1, 3, 2, 1.0f, 0.0f};
    assert_int_equal(-EINVAL, k.to_i420(q, &odd));
}

static void assert_normals(const float *got, const uint32_t words[4])
{
    const long double two_pi = 6.28318530717958647693L;
    for (int i = 0; i < 4; i += 2) {
        const long double u = (words[i] + 1.0L) / 4294967296.0L,
                          turn = words[i + 1] / 4294967296.0L;
        const long double radius = sqrtl(-2.0L * logl(u));
        assert_close(got[i], radius * cosl(two_pi * turn));
        assert_close(got[i + 1], radius * sinl(two_pi * turn));
    }
}

static void test_noise(void **state)
{
    (void)state;
    /* Random123's known answer for philox4x32-10 with counter and key all zero. */
    const uint32_t zero[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    float a[10], b[7];
    assert_int_equal(0, k.noise(q, a, 10, 0, 0));
    assert_normals(a, zero);
    assert_int_equal(0, k.noise(q, b, 7, 0, 0));
    assert_memory_equal(a, b, sizeof(b)); /* a prefix does not depend on how many are drawn */
    assert_int_equal(0, k.noise(q, b, 7, 0, (uint64_t)1 << 32));
    assert_memory_not_equal(a, b, sizeof(b));
    assert_int_equal(0, k.noise(q, b, 7, (uint64_t)1 << 32, 0));
    assert_memory_not_equal(a, b, sizeof(b));

    enum { N = 1 << 18 };
    float *many = malloc(N * sizeof(*many));
    assert_int_equal(0, k.noise(q, many, N, 42, 7));
    double m1 = 0.0, m2 = 0.0, m4 = 0.0;
    for (int i = 0; i < N; i++) {
        m1 += many[i] / (double)N;
        m2 += many[i] * (double)many[i] / N;
        m4 += many[i] * (double)many[i] * many[i] * many[i] / N;
    }
    assert_true(fabs(m1) < 0.01 && fabs(m2 - 1.0) < 0.015 && fabs(m4 - 3.0) < 0.1); /* > 5 sigma */
    free(many);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),      cmocka_unit_test(test_half_weights),
        cmocka_unit_test(test_conv),        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_rope),        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_elementwise), cmocka_unit_test(test_patches),
        cmocka_unit_test(test_layouts),     cmocka_unit_test(test_i420),
        cmocka_unit_test(test_noise),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
