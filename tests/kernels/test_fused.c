/* What fused ops are compared with (kernels/fused.c), held to formulas: rounding to e4m3 against
 * the format's own values, the ops against kernels.h written out in long double, and their 8-bit
 * forms, bit for bit, against the rounded values of the plain ones. */
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
static uint64_t state_bits;

static int setup(void **state)
{
    (void)state;
    state_bits = 88172645463325252u;
    kt_kernels_cpu(&k, KT_CPU_REF);
    return k.queue_create(&q, &(struct kt_queue_params){.threads = 1});
}

static int teardown(void **state)
{
    (void)state;
    k.queue_destroy(&q);
    return 0;
}

static void fill(float *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++) {
        state_bits ^= state_bits << 13, state_bits ^= state_bits >> 7;
        state_bits ^= state_bits << 17;
        x[i] = scale * (float)((int32_t)(state_bits >> 32)) * 0x1p-31f;
    }
}

static void assert_close(float got, long double want)
{
    if (!(fabsl(got - want) <= 1e-6L * fabsl(want) + 1e-6L)) {
        fail_msg("got %.9g, want %.12Lg", (double)got, want);
    }
}

/* ---- e4m3 ---- */

/* Code 0 to 126: 4 bits of exponent, biased by 7, 3 of mantissa; 127 is no number. */
static float value_of(int code)
{
    const int exponent = code >> 3, mantissa = code & 7;
    return exponent ? ldexpf((float)(8 + mantissa), exponent - 10) : ldexpf((float)mantissa, -9);
}

/* The nearest by search; of two equally near ones the even code. */
static float nearest(float x)
{
    int best = 0;
    for (int code = 1; code < 127; code++) {
        const double d = fabs((double)fabsf(x) - value_of(code));
        const double least = fabs((double)fabsf(x) - value_of(best));
        if (d < least || (d == least && code % 2 == 0)) {
            best = code;
        }
    }
    return copysignf(value_of(best), x);
}

static void assert_rounds(float x)
{
    assert_true(kt_f8_round(x) == nearest(x));
    assert_true(kt_f8_round(-x) == nearest(-x));
    assert_true(signbit(kt_f8_round(-x)) && !signbit(kt_f8_round(x)));
}

static void rounding_is_to_nearest_even(void **state)
{
    (void)state;
    for (int code = 0; code < 127; code++) {
        const float here = value_of(code), half = (here + value_of(code + 1)) / 2;
        assert_true(kt_f8_round(here) == here);
        assert_rounds(here);
        if (code < 126) {
            assert_rounds(half);
            assert_rounds(nextafterf(half, 0));
            assert_rounds(nextafterf(half, INFINITY));
        }
    }
    for (int i = 0; i < 4096; i++) {
        float x;
        fill(&x, 1, ldexpf(1, i % 24 - 12));
        assert_rounds(fabsf(x));
    }
    assert_true(kt_f8_round(KT_F8_LARGEST) == 448 && value_of(126) == KT_F8_LARGEST);
    assert_true(kt_f8_round(1e30f) == 448 && kt_f8_round(-INFINITY) == -448);
    assert_true(isnan(kt_f8_round(NAN)));
}

static void scales_take_the_largest_to_the_largest(void **state)
{
    (void)state;
    const float x[] = {1, -3.5f, 2, 0};
    assert_true(kt_f8_scale(0) == 1);
    assert_true(kt_f8_scale(2) == 224);
    assert_true(kt_f8_scale_of(x, 4) == 128); /* 448 / 3.5 */
    assert_true(kt_f8_scale_of(x, 1) == 448);
    assert_true(kt_f8_scale_of(x + 3, 1) == 1);
}

/* got is what e4m3 keeps of plain * scale. */
static void assert_rounded(const float *got, const float *plain, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++) {
        if (got[i] != nearest(plain[i] * scale)) {
            fail_msg("%zu: got %.9g of %.9g", i, (double)got[i], (double)(plain[i] * scale));
        }
    }
}

/* ---- residual and norm ---- */

enum { M = 3, DIM = 6 };

static void check_residual_norm(const float *y, const float *gate, float scale_one)
{
    float x[M * DIM], given[M * DIM], again[M * DIM], h[M * DIM], h8[M * DIM], mod[2 * DIM];
    fill(given, M * DIM, 3);
    fill(mod, 2 * DIM, 1);
    memcpy(x, given, sizeof(x));
    memcpy(again, given, sizeof(again));
    struct kt_residual_norm_args a = {x, y, gate, h, mod, mod + DIM, M, DIM, scale_one, 1e-6f, 0};
    assert_int_equal(kt_residual_norm(&k, q, &a), 0);
    for (int r = 0; r < M; r++) {
        long double sum = 0, squares = 0;
        for (int i = r * DIM; i < (r + 1) * DIM; i++) {
            assert_close(x[i], given[i] + (y ? y[i] : 0.0L) * (gate ? gate[i % DIM] : 1.0L));
            sum += x[i];
            squares += (long double)x[i] * x[i];
        }
        const long double mean = sum / DIM, root = sqrtl(squares / DIM - mean * mean + 1e-6L);
        for (int i = 0; i < DIM; i++) {
            assert_close(h[r * DIM + i],
                         (x[r * DIM + i] - mean) / root * (scale_one + mod[i]) + mod[DIM + i]);
        }
    }
    a.x = again;
    a.h = h8;
    a.h_scale = 37;
    assert_int_equal(kt_residual_norm(&k, q, &a), 0);
    assert_memory_equal(again, x, sizeof(x));
    assert_rounded(h8, h, M * DIM, 37);
}

static void residual_norm_adds_then_normalises(void **state)
{
    (void)state;
    float y[M * DIM], gate[DIM];
    fill(y, M * DIM, 2);
    fill(gate, DIM, 1);
    check_residual_norm(y, gate, 1);
    check_residual_norm(y, NULL, 0);
    check_residual_norm(NULL, NULL, 1);
    check_residual_norm(NULL, gate, 0);
}

static int own_rc, own_calls;
static int own_residual_norm(struct kt_queue *queue, const struct kt_residual_norm_args *a)
{
    (void)queue, (void)a;
    own_calls++;
    return own_rc;
}

static void a_table_s_own_op_comes_first(void **state)
{
    (void)state;
    float x[DIM] = {1, 2}, h[DIM] = {0}, mod[DIM] = {0};
    struct kt_kernels own = k;
    own.residual_norm = own_residual_norm;
    struct kt_residual_norm_args a = {x, NULL, NULL, h, mod, mod, 1, DIM, 1, 1e-6f, 0};
    own_calls = own_rc = 0;
    assert_int_equal(kt_residual_norm(&own, q, &a), 0);
    own_rc = -EIO;
    assert_int_equal(kt_residual_norm(&own, q, &a), -EIO);
    assert_true(h[0] == 0);
    own_rc = -EOPNOTSUPP;
    assert_int_equal(kt_residual_norm(&own, q, &a), 0);
    assert_int_equal(own_calls, 3);
    assert_true(h[0] != 0);
}

/* ---- store ---- */

enum {
    HEADS = 2,
    HEAD = 4,
    D = HEADS * HEAD,
    LD = 3 * D + 1,
    LD_Q = D + 3,
    ROWS = 6,
    SKIP = 2,
    ROW0 = 3,
    WINDOW = 9,
    PAGE = 2,
    PAGES = 2,
};

struct store {
    float qkv[ROWS * LD], norm[2 * D], cos[ROWS * HEAD / 2], sin[ROWS * HEAD / 2];
    float q_out[ROWS * LD_Q], window_k[WINDOW * D], window_v[WINDOW * D];
    float page_k[PAGES][PAGE * D], page_v[PAGES][PAGE * D];
};

static const float UNTOUCHED = 1234567;

static void poison(float *x, int n)
{
    for (int i = 0; i < n; i++) {
        x[i] = UNTOUCHED;
    }
}

static void store(struct store *s, int turned, int ld_q, float scale)
{
    void *page_k[PAGES] = {s->page_k[0], s->page_k[1]},
         *page_v[PAGES] = {s->page_v[0], s->page_v[1]};
    poison(s->q_out, ROWS * LD_Q);
    poison(s->window_k, WINDOW * D);
    poison(s->window_v, WINDOW * D);
    const struct kt_kv_store_args a = {.q = s->qkv,
                                       .k = s->qkv + D,
                                       .v = s->qkv + 2 * (size_t)D,
                                       .ld = LD,
                                       .rows = ROWS,
                                       .heads = HEADS,
                                       .head_dim = HEAD,
                                       .norm_q = s->norm,
                                       .norm_k = s->norm + D,
                                       .cos = s->cos,
                                       .sin = s->sin,
                                       .eps = 1e-5f,
                                       .q_out = s->q_out,
                                       .ld_q = ld_q,
                                       .skip = SKIP,
                                       .window_k = s->window_k,
                                       .window_v = s->window_v,
                                       .row0 = ROW0,
                                       .ld_v = WINDOW,
                                       .page_k = page_k,
                                       .page_v = page_v,
                                       .page_rows = PAGE,
                                       .page_turned = turned,
                                       .q_scale = scale,
                                       .k_scale = 2 * scale,
                                       .v_scale = 3 * scale};
    assert_int_equal(kt_kv_store(&k, q, &a), 0);
}

/* Row r of q (which 0) or k (1), normalised; then, with `turned`, turned. */
static long double expected(const struct store *given, int which, int r, int i, int turned)
{
    const float *x = given->qkv + (size_t)r * LD + (size_t)which * D;
    const float *weight = given->norm + (size_t)which * D;
    long double squares = 0;
    for (int j = 0; j < D; j++) {
        squares += (long double)x[j] * x[j];
    }
    const long double root = sqrtl(squares / D + 1e-5L);
    const long double c = given->cos[r * HEAD / 2 + i % HEAD / 2];
    const long double s = given->sin[r * HEAD / 2 + i % HEAD / 2];
    const long double here = x[i] / root * weight[i], other = x[i ^ 1] / root * weight[i ^ 1];
    return !turned ? here : i % 2 ? other * s + here * c : here * c - other * s;
}

static void check_plain(const struct store *s, const struct store *given, int turned, int ld_q)
{
    for (int i = 0; i < ROWS * D; i++) {
        assert_close(s->q_out[i / D * ld_q + i % D], expected(given, 0, i / D, i % D, 1));
    }
    for (int w = 0; w < WINDOW; w++) {
        const int r = w - ROW0 + SKIP, in = w >= ROW0 && r < ROWS;
        for (int i = 0; i < D; i++) {
            if (!in) {
                assert_true(s->window_k[w * D + i] == UNTOUCHED);
                assert_true(s->window_v[w * D + i] == UNTOUCHED);
                continue;
            }
            assert_close(s->window_k[w * D + i], expected(given, 1, r, i, 1));
            assert_true(s->window_v[w * D + i] == given->qkv[r * LD + 2 * D + i]);
        }
    }
    for (int p = 0; p < PAGES; p++) {
        for (int i = 0; i < PAGE * D; i++) {
            const int r = SKIP + p * PAGE + i / D;
            assert_close(s->page_k[p][i], expected(given, 1, r, i % D, turned));
            assert_true(s->page_v[p][i] == given->qkv[r * LD + 2 * D + i % D]);
        }
    }
}

static void store_normalises_turns_and_keeps(void **state)
{
    (void)state;
    struct store given, plain, eight;
    for (int which = 0; which < 4; which++) {
        const int turned = which & 1, ld_q = which & 2 ? LD_Q : D;
        fill(given.qkv, ROWS * LD, 2);
        fill(given.norm, 2 * (size_t)D, 1.5f);
        for (int i = 0; i < ROWS * HEAD / 2; i++) {
            given.cos[i] = cosf(0.3f * (float)i + 1);
            given.sin[i] = sinf(0.3f * (float)i + 1);
        }
        plain = eight = given;
        store(&plain, turned, ld_q, 0);
        check_plain(&plain, &given, turned, ld_q);
        store(&eight, turned, ld_q, 19);
        for (size_t r = 0; r < ROWS; r++) {
            assert_rounded(eight.q_out + r * (size_t)ld_q, plain.q_out + r * (size_t)ld_q, D, 19);
        }
        const size_t at = (size_t)ROW0 * D, n = (size_t)(ROWS - SKIP) * D;
        assert_rounded(eight.window_k + at, plain.window_k + at, n, 38);
        assert_rounded(eight.window_v + at, plain.window_v + at, n, 57);
        assert_true(eight.window_k[at - 1] == UNTOUCHED && eight.window_k[at + n] == UNTOUCHED);
        assert_true(eight.window_v[at - 1] == UNTOUCHED && eight.window_v[at + n] == UNTOUCHED);
        assert_memory_equal(eight.page_k, plain.page_k,
                            sizeof(plain.page_k)); /* [kv], never [f8] */
        assert_memory_equal(eight.page_v, plain.page_v, sizeof(plain.page_v));
    }
}

/* A page's rows as they are: no queries, no norm; with unturned pages their turns. */
static void store_loads_a_page(void **state)
{
    (void)state;
    float page[2][PAGE * D], window[2][WINDOW * D], cos[PAGE * HEAD / 2], sin[PAGE * HEAD / 2];
    fill(page[0], 2 * (size_t)PAGE * D, 1);
    fill(cos, PAGE * HEAD / 2, 1);
    fill(sin, PAGE * HEAD / 2, 1);
    struct kt_kv_store_args a = {.k = page[0],
                                 .v = page[1],
                                 .ld = D,
                                 .rows = PAGE,
                                 .heads = HEADS,
                                 .head_dim = HEAD,
                                 .window_k = window[0],
                                 .window_v = window[1],
                                 .row0 = ROW0};
    assert_int_equal(kt_kv_store(&k, q, &a), 0);
    assert_memory_equal(window[0] + (size_t)ROW0 * D, page[0], sizeof(page[0]));
    assert_memory_equal(window[1] + (size_t)ROW0 * D, page[1], sizeof(page[1]));
    a.cos = cos;
    a.sin = sin;
    assert_int_equal(kt_kv_store(&k, q, &a), 0);
    for (int i = 0; i < PAGE * D; i += 2) {
        const long double re = page[0][i], im = page[0][i + 1];
        const long double c = cos[i / D * HEAD / 2 + i % HEAD / 2];
        const long double s = sin[i / D * HEAD / 2 + i % HEAD / 2];
        assert_close(window[0][ROW0 * D + i], re * c - im * s);
        assert_close(window[0][ROW0 * D + i + 1], re * s + im * c);
    }
}

/* Several pages at once are what one after the other gives, each with its own turns. */
static void store_loads_pages_together(void **state)
{
    (void)state;
    float page[4][PAGE * D], cos[2 * PAGE * HEAD / 2], sin[2 * PAGE * HEAD / 2];
    float want[2][WINDOW * D], got[2][WINDOW * D];
    fill(page[0], 4 * (size_t)PAGE * D, 1);
    fill(cos, 2 * PAGE * HEAD / 2, 1);
    fill(sin, 2 * PAGE * HEAD / 2, 1);
    memset(want, 0, sizeof(want));
    memset(got, 0, sizeof(got));
    struct kt_kv_store_args a = {.ld = D, .heads = HEADS, .head_dim = HEAD, .page_rows = PAGE};
    for (int i = 0; i < 2; i++) {
        a.k = page[i], a.v = page[2 + i];
        a.rows = PAGE, a.row0 = ROW0 + i * PAGE;
        a.cos = cos + (ptrdiff_t)i * PAGE * HEAD / 2, a.sin = sin + (ptrdiff_t)i * PAGE * HEAD / 2;
        a.window_k = want[0], a.window_v = want[1];
        assert_int_equal(kt_kv_store(&k, q, &a), 0);
    }
    const void *from_k[2] = {page[0], page[1]}, *from_v[2] = {page[2], page[3]};
    a.k = NULL, a.v = NULL, a.from_k = from_k, a.from_v = from_v;
    a.rows = 2 * PAGE, a.row0 = ROW0, a.cos = cos, a.sin = sin;
    a.window_k = got[0], a.window_v = got[1];
    assert_int_equal(kt_kv_store(&k, q, &a), 0);
    assert_memory_equal(want, got, sizeof(want));
}

/* ---- 8-bit linear and attention ---- */

static void linear_has_rounded_weights(void **state)
{
    (void)state;
    enum { N = 5, K = 7 };
    const float x_scale = 11;
    float w[N * K], bias[N], x[M * K], y[M * N], y8[M * N], largest = 0;
    struct kt_linear *l = NULL;
    fill(w, N * K, 2);
    w[3] = -2.5f; /* the largest has a sign */
    fill(bias, N, 1);
    fill(x, M * K, 40);
    struct kt_linear_desc d = {N, K, KT_F32, w, bias, x_scale};
    assert_int_equal(kt_linear_create(&k, &l, q, &d), 0);
    struct kt_linear_args a = {x, y, M, 0, 0, KT_ACT_NONE, 0, 0};
    assert_int_equal(kt_linear(&k, q, l, &a, N), 0);
    for (int i = 0; i < N * K; i++) {
        largest = fmaxf(largest, fabsf(w[i]));
    }
    for (int i = 0; i < M * N; i++) {
        long double sum = bias[i % N];
        for (int j = 0; j < K; j++) {
            const float kept = nearest(w[i % N * K + j] * (448 / largest));
            sum += (long double)x[i / N * K + j] * kept / (448 / largest * x_scale);
        }
        assert_close(y[i], sum);
    }
    a.y = y8;
    a.y_scale = 21;
    assert_int_equal(kt_linear(&k, q, l, &a, N), 0);
    assert_rounded(y8, y, M * N, 21);
    k.linear_destroy(&l);
    d.dtype = KT_BF16;
    assert_int_equal(kt_linear_create(&k, &l, q, &d), -ENOTSUP);
    assert_null(l);
}

static void attention_gives_rounded_rows(void **state)
{
    (void)state;
    enum { TQ = 3, TK = 5 };
    float in[TQ * D + 2 * TK * D], y[TQ * D], y8[TQ * D];
    fill(in, sizeof(in) / sizeof(in[0]), 20);
    struct kt_attention_args a = {.q = in,
                                  .k = in + (size_t)TQ * D,
                                  .v = in + (size_t)TQ * D + (size_t)TK * D,
                                  .y = y,
                                  .tq = TQ,
                                  .tk = TK,
                                  .heads = HEADS,
                                  .head_dim = HEAD,
                                  .scale = 0.01f};
    assert_int_equal(kt_attention(&k, q, &a), 0);
    a.f8 = 1;
    a.y = y8;
    a.ld_v = WINDOW * D; /* of the table's own layout: not of these rows */
    assert_int_equal(kt_attention(&k, q, &a), 0);
    assert_rounded(y8, y, TQ * D, 1);
}

static void a_table_without_8_bits_says_so(void **state)
{
    (void)state;
    float x[DIM] = {0}, w[1] = {1};
    struct kt_linear *l = NULL;
    struct kt_kernels none = k;
    none.f8_size = 0;
    none.to_f8 = NULL;
    const struct kt_residual_norm_args n = {x, NULL, NULL, x, x, x, 1, DIM, 1, 1e-6f, 2};
    assert_int_equal(kt_residual_norm(&none, q, &n), -ENOTSUP);
    const struct kt_kv_store_args s = {.k = x, .v = x, .rows = 1, .heads = 1, .k_scale = 2};
    assert_int_equal(kt_kv_store(&none, q, &s), -ENOTSUP);
    const struct kt_linear_desc d = {1, 1, KT_F32, w, NULL, 2};
    assert_int_equal(kt_linear_create(&none, &l, q, &d), -ENOTSUP);
    assert_null(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding_is_to_nearest_even),
        cmocka_unit_test(scales_take_the_largest_to_the_largest),
        cmocka_unit_test(residual_norm_adds_then_normalises),
        cmocka_unit_test(a_table_s_own_op_comes_first),
        cmocka_unit_test(store_normalises_turns_and_keeps),
        cmocka_unit_test(store_loads_a_page),
        cmocka_unit_test(store_loads_pages_together),
        cmocka_unit_test(linear_has_rounded_weights),
        cmocka_unit_test(attention_gives_rounded_rows),
        cmocka_unit_test(a_table_without_8_bits_says_so),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
