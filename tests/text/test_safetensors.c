/* safetensors files: what is written is read back, and every way a file can be wrong is refused
 * with a message that says what was expected and what was found. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "engine/weights/dtype.h"
#include "engine/weights/safetensors.h"
#include "tests/text/tmp_dir.h"

/* A file image: header length as given (or the real one), header text, `data` bytes 0, 1, 2, ... */
struct image {
    uint8_t bytes[4096];
    size_t n;
};

static struct image image_of(const char *header, size_t data)
{
    struct image im = {.n = 8 + strlen(header) + data};

    assert_true(im.n <= sizeof(im.bytes));
    im.bytes[0] = (uint8_t)strlen(header);
    im.bytes[1] = (uint8_t)(strlen(header) >> 8);
    memcpy(im.bytes + 8, header, strlen(header));
    for (size_t i = 0; i < data; i++) {
        im.bytes[8 + strlen(header) + i] = (uint8_t)i;
    }
    return im;
}

static int open_image(struct kt_safetensors **st, void **state, const struct image *im,
                      struct kt_error *err)
{
    err->text[0] = 0;
    return kt_safetensors_open(st, tmp_dir_write(*state, "t.safetensors", im->bytes, im->n), err);
}

/* Opening must fail with `code`, name the file, and say `words`. */
static void refuse_image(void **state, const struct image *im, int code, const char *words)
{
    struct kt_safetensors *st;
    struct kt_error err;
    const int r = open_image(&st, state, im, &err);

    if (r != code || !strstr(err.text, words) || !strstr(err.text, "t.safetensors: ")) {
        fail_msg("expected %d and '%s', got %d and '%s'", code, words, r, err.text);
    }
    assert_null(st);
}

static void refuse(void **state, const char *header, size_t data, const char *words)
{
    const struct image im = image_of(header, data);
    refuse_image(state, &im, -EBADMSG, words);
}

/* One tensor "a" with the given fields. */
#define ENTRY(dtype, shape, offsets)                                                               \
    "{\"a\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void reads_a_good_file(void **state)
{
    const struct image im =
        image_of("{\"__metadata__\":{\"format\":\"pt\"},"
                 "\"b\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[8,16]},"
                 "\"e\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[8,8]},"
                 "\"a\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]},"
                 "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[16,20]}}  ",
                 20);
    struct kt_safetensors *st;
    struct kt_error err;

    assert_int_equal(open_image(&st, state, &im, &err), 0);
    assert_int_equal(kt_safetensors_count(st), 4);
    assert_string_equal(kt_safetensors_at(st, 0)->name, "a");
    assert_string_equal(kt_safetensors_at(st, 3)->name, "s");
    assert_non_null(strstr(kt_safetensors_path(st), "t.safetensors"));

    const struct kt_tensor *a = kt_safetensors_find(st, "a");
    assert_int_equal(a->dtype, KT_F16);
    assert_int_equal(a->rank, 2);
    assert_int_equal(a->count, 4);
    assert_int_equal(a->bytes, 8);
    assert_int_equal(((const uint8_t *)a->data)[7], 7);
    assert_int_equal(((const uint8_t *)kt_safetensors_find(st, "b")->data)[0], 8);
    assert_int_equal(kt_safetensors_find(st, "e")->count, 0);
    assert_int_equal(kt_safetensors_find(st, "s")->count, 1);
    assert_null(kt_safetensors_find(st, "c"));
    assert_null(kt_safetensors_find(st, "__metadata__"));
    kt_safetensors_close(&st);
    assert_null(st);
    kt_safetensors_close(&st);
    kt_safetensors_close(NULL);
}

static void refuses_malformed_entries(void **state)
{
    refuse(state, "[1]", 0, "header: expected a JSON object, found an array");
    refuse(state, "{\"a\":3}", 0, "tensor 'a': expected an object, found an integer");
    refuse(state, ENTRY("3", "[1]", "[0,4]"), 4,
           "tensor 'a': dtype: expected a string, found an integer");
    refuse(state, ENTRY("\"F64\"", "[1]", "[0,8]"), 8,
           "tensor 'a': dtype: expected F32, F16, BF16, I32 or I64, found F64");
    refuse(state, ENTRY("\"F32\"", "4", "[0,4]"), 4, "shape: expected an array, found an integer");
    refuse(state, ENTRY("\"F32\"", "[1.0]", "[0,4]"), 4,
           "shape: expected integers, found a fraction");
    refuse(state, ENTRY("\"F32\"", "[-1]", "[0,4]"), 4,
           "shape: expected sizes of 0 or more, found -1");
    refuse(state, ENTRY("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4,
           "shape: expected at most 8 dimensions, found 9");
    refuse(state, ENTRY("\"F32\"", "[4294967296,4294967296]", "[0,4]"), 4, "do not fit in memory");
    refuse(state, ENTRY("\"F32\"", "[2305843009213693952]", "[0,4]"), 4, "do not fit in memory");
    refuse(state, ENTRY("\"F32\"", "[0,4294967296,4294967296]", "[0,0]"), 0,
           "do not fit in memory");
    refuse(state, ENTRY("\"F32\"", "[1]", "7"), 4, "data_offsets: expected an array of 2 integers");
    refuse(state, ENTRY("\"F32\"", "[1]", "[0,4,4]"), 4, "data_offsets: expected an array of 2");
    refuse(state, ENTRY("\"F32\"", "[1]", "[0,\"4\"]"), 4,
           "data_offsets: expected integers, found a string");
    refuse(state, ENTRY("\"F32\"", "[1]", "[-4,0]"), 4, "found [-4, 0]");
    refuse(state, ENTRY("\"F32\"", "[1]", "[4,0]"), 4, "found [4, 0]");
    refuse(state, ENTRY("\"F32\"", "[1]", "[0,8]"), 4,
           "<= 4 (the bytes after the header), found [0, 8]");
    refuse(state, ENTRY("\"F32\"", "[1]", "[0,9223372036854775807]"), 4,
           "found [0, 9223372036854775807]");
    refuse(state, ENTRY("\"F32\"", "[2]", "[0,4]"), 4, "expected 8 bytes for F32 [2], found 4");
    refuse(state, "{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
           "dtype: expected a string, found nothing");
    refuse(state, "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4,
           "shape: expected an array, found nothing");
    refuse(state, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4,
           "data_offsets: expected an array of 2");
    refuse(state, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"code\":\"x\"}}",
           4, "expected the fields dtype, shape and data_offsets, found 'code'");
    refuse(state, "{\"__metadata__\":7}", 0,
           "__metadata__: expected an object of strings, found an integer");
    refuse(state, "{\"__metadata__\":{\"a\":null}}", 0, "found null in it");
    refuse(state, "{\"x\\u001b[2J\":3}", 0, "tensor 'x?[2J'");
}

static void refuses_malformed_json(void **state)
{
    refuse(state, "", 0, "header: malformed JSON at byte 0");
    refuse(state, "{\"a\":", 0, "header: malformed JSON at byte 5");
    refuse(state, "{\"a\":{\"dtype\":\"F32\",\"shape\":[NaN],\"data_offsets\":[0,4]}}", 4,
           "malformed JSON");
    refuse(state, ENTRY("\"F32\"", "[99999999999999999999]", "[0,4]"), 4, "malformed JSON");
    refuse(state, "{\"a\":1,\"a\":1}", 0, "duplicate object key");
    refuse(state, "{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "duplicate object key");
    refuse(state, "{} x", 0, "malformed JSON");
    refuse(state, "{\"\xff\":1}", 0, "malformed JSON");
    refuse(state, "{\"a\\u0000b\":1}", 0, "malformed JSON");
}

static void refuses_deep_nesting(void **state)
{
    struct image im = image_of("", 0);

    memset(im.bytes + 8, '[', 4000);
    im.n = 4008;
    im.bytes[0] = 4000 & 0xFF;
    im.bytes[1] = 4000 >> 8;
    refuse_image(state, &im, -EBADMSG, "maximum parsing depth");
}

static void refuses_bad_layout(void **state)
{
#define TWO(x, y)                                                                                  \
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" x "},"                             \
    "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" y "}}"
    refuse(state, TWO("[0,4]", "[0,4]"), 8,
           "expected to begin at 4, where the tensor before it ends, found 0 (overlap)");
    refuse(state, TWO("[0,4]", "[2,6]"), 8, "tensor 'b': data_offsets: expected to begin at 4");
    refuse(state, TWO("[0,4]", "[8,12]"), 12, "found 8 (gap)");
    refuse(state, TWO("[4,8]", "[8,12]"), 12, "expected to begin at 0");
    refuse(state, TWO("[0,4]", "[4,8]"), 9,
           "expected 8 bytes of tensors after the header, found 9");
    refuse(state, "{}", 1, "expected 0 bytes of tensors after the header, found 1");
}

static void refuses_bad_header_lengths(void **state)
{
    struct image im = image_of("{}", 0);

    im.bytes[7] = 0x10; /* 2^60 */
    refuse_image(state, &im, -EBADMSG,
                 "header length: expected at most 16777216 bytes, found 11529215");
    memset(im.bytes, 0xFF, 8);
    refuse_image(state, &im, -EBADMSG, "found 18446744073709551615");
    im = image_of("{}", 0);
    im.bytes[0] = 3;
    refuse_image(state, &im, -EBADMSG, "the file has 2 bytes after it, but it says 3");
}

static void refuses_every_truncation(void **state)
{
    struct image whole = image_of(ENTRY("\"F32\"", "[2]", "[0,8]"), 8);
    struct kt_safetensors *st;
    struct kt_error err;

    assert_int_equal(open_image(&st, state, &whole, &err), 0);
    kt_safetensors_close(&st);
    for (size_t n = 0; n < whole.n; n++) {
        struct image cut = whole;
        cut.n = n;
        refuse_image(state, &cut, -EBADMSG, n < 8 ? "expected at least 8 bytes" : "");
    }
    whole.n++; /* over-long */
    refuse_image(state, &whole, -EBADMSG, "expected 8 bytes of tensors after the header, found 9");
}

static void refuses_what_is_no_file(void **state)
{
    struct kt_safetensors *st;
    struct kt_error err;

    assert_int_equal(kt_safetensors_open(&st, tmp_dir_at(*state, "none"), &err), -ENOENT);
    assert_non_null(strstr(err.text, "/none: cannot open: No such file"));
    assert_int_equal(kt_safetensors_open(&st, "/", &err), -EISDIR);
    assert_non_null(strstr(err.text, "found a directory"));
    assert_int_equal(mkfifo(tmp_dir_at(*state, "fifo"), 0600), 0);
    assert_int_equal(kt_safetensors_open(&st, tmp_dir_at(*state, "fifo"), &err), -EINVAL);
    assert_non_null(strstr(err.text, "expected a regular file"));
    assert_int_equal(kt_safetensors_open(&st, tmp_dir_at(*state, "none"), NULL), -ENOENT);
}

static void states_what_it_expected(void **state)
{
    const struct image im =
        image_of("{\"blocks.0.w\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]},"
                 "\"ids\":{\"dtype\":\"I32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
                 12);
    const int64_t shape[] = {2, 1}, other[] = {2, 3};
    const struct kt_tensor *t;
    struct kt_safetensors *st;
    struct kt_error err;
    float *f;

    assert_int_equal(open_image(&st, state, &im, &err), 0);
    assert_int_equal(kt_safetensors_expect(st, &t, shape, 2, &err, "blocks.%d.%s", 0, "w"), 0);
    assert_ptr_equal(t, kt_safetensors_find(st, "blocks.0.w"));

    assert_int_equal(kt_safetensors_expect(st, &t, shape, 2, &err, "block.%d.w", 0), -ENOENT);
    assert_null(t);
    assert_non_null(strstr(err.text,
                           "t.safetensors: tensor 'block.0.w': expected a float tensor [2, 1], "
                           "found no such tensor (nearest name: 'blocks.0.w')"));
    assert_int_equal(kt_safetensors_expect(st, &t, other, 2, &err, "blocks.0.w"), -EBADMSG);
    assert_non_null(strstr(err.text, "expected F32, F16 or BF16 [2, 3], found F32 [2, 1]"));
    assert_int_equal(kt_safetensors_expect(st, &t, shape, 1, &err, "blocks.0.w"), -EBADMSG);
    assert_non_null(strstr(err.text, "expected F32, F16 or BF16 [2], found F32 [2, 1]"));
    assert_int_equal(kt_safetensors_load_f32(st, &f, (int64_t[]){1}, 1, &err, "ids"), -EBADMSG);
    assert_non_null(strstr(err.text, "found I32 [1]"));
    assert_null(f);
    assert_int_equal(kt_safetensors_expect(st, &t, shape, 2, &err, "%0300d", 1), -ENAMETOOLONG);

    assert_int_equal(kt_safetensors_load_f32(st, &f, shape, 2, &err, "blocks.%d.w", 0), 0);
    assert_memory_equal(f, kt_safetensors_find(st, "blocks.0.w")->data, 8);
    free(f);
    kt_safetensors_close(&st);
}

static float f32_of(enum kt_dtype dtype, uint16_t bits)
{
    uint8_t unaligned[3] = {0, (uint8_t)bits, (uint8_t)(bits >> 8)};
    float f;

    kt_dtype_to_f32(dtype, unaligned + 1, &f, 1);
    return f;
}

/* Every one of the 65,536 half floats against the definition of the format. */
static void converts_halves_exactly(void **state)
{
    (void)state;
    for (uint32_t h = 0; h <= 0xFFFF; h++) {
        const float sign = h & 0x8000 ? -1 : 1;
        const int exponent = (int)(h >> 10 & 0x1F);
        const float mantissa = (float)(h & 0x3FF);
        const float f = f32_of(KT_F16, (uint16_t)h);
        float expected;

        if (exponent == 31) {
            assert_true(mantissa != 0 ? isnan(f) : isinf(f) && (f < 0) == (sign < 0));
            continue;
        }
        expected = exponent ? ldexpf(1 + mantissa / 1024, exponent - 15) : ldexpf(mantissa, -24);
        expected *= sign;
        assert_memory_equal(&f, &expected, sizeof(f));
    }
}

static void converts_bfloats_exactly(void **state)
{
    (void)state;
    for (uint32_t h = 0; h <= 0xFFFF; h++) {
        const float f = f32_of(KT_BF16, (uint16_t)h);
        const uint32_t expected = h << 16;
        assert_memory_equal(&f, &expected, sizeof(f));
    }
}

static void writes_what_it_reads(void **state)
{
    const float f[] = {1, -2.5f, 3e-42f, NAN, INFINITY, 0};
    const int64_t ids[] = {7, -9};
    const struct kt_tensor tensors[] = {
        {.name = "zz", .dtype = KT_F32, .rank = 2, .shape = {2, 3}, .data = f},
        {.name = "ids", .dtype = KT_I64, .rank = 1, .shape = {2}, .data = ids},
        {.name = "none", .dtype = KT_F16, .rank = 2, .shape = {0, 5}},
    };
    struct kt_safetensors *st;
    struct kt_error err;
    struct stat info;
    char path[128];

    strcpy(path, tmp_dir_at(*state, "w.safetensors"));
    assert_int_equal(kt_safetensors_write(path, tensors, 3, &err), 0);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0644);
    assert_int_equal(kt_safetensors_open(&st, path, &err), 0);
    assert_int_equal(kt_safetensors_count(st), 3);
    const struct kt_tensor *t = kt_safetensors_find(st, "zz");
    assert_memory_equal(t->data, f, sizeof(f));
    assert_int_equal((uintptr_t)t->data % 8, 0);
    assert_memory_equal(kt_safetensors_find(st, "ids")->data, ids, sizeof(ids));
    assert_int_equal(kt_safetensors_find(st, "none")->shape[1], 5);
    kt_safetensors_close(&st);

    assert_int_equal(kt_safetensors_write(path, NULL, 0, &err), 0);
    assert_int_equal(kt_safetensors_open(&st, path, &err), 0);
    assert_int_equal(kt_safetensors_count(st), 0);
    kt_safetensors_close(&st);
}

static void refuses_to_write_nonsense(void **state)
{
    const float f[2] = {0};
    const struct kt_tensor good = {
        .name = "a", .dtype = KT_F32, .rank = 1, .shape = {2}, .data = f};
    struct kt_tensor bad[2] = {good, good};
    struct kt_error err;
    char path[128];

    strcpy(path, tmp_dir_at(*state, "bad.safetensors"));
    assert_int_equal(kt_safetensors_write(path, bad, 2, &err), -EINVAL);
    assert_non_null(strstr(err.text, "tensor 'a': a name twice"));
    bad[0].name = "__metadata__";
    assert_int_equal(kt_safetensors_write(path, bad, 2, &err), -EINVAL);
    bad[0] = good;
    bad[0].shape[0] = -1;
    assert_int_equal(kt_safetensors_write(path, bad, 1, &err), -EINVAL);
    bad[0] = good;
    bad[0].rank = 9;
    assert_int_equal(kt_safetensors_write(path, bad, 1, &err), -EINVAL);
    bad[0] = good;
    bad[0].name = "\xff";
    assert_int_equal(kt_safetensors_write(path, bad, 1, &err), -EINVAL);
    assert_int_not_equal(stat(path, &(struct stat){0}), 0);
    assert_int_equal(kt_safetensors_write("/nowhere/a.safetensors", &good, 1, &err), -ENOENT);
    assert_non_null(strstr(err.text, "/nowhere/a.safetensors: cannot write"));
}

/* A geometry without files: matrices keep the size of what goes through them, norms are near 1, and
 * a tensor larger than the pool is whole. */
static void makes_up_weights(void **state)
{
    struct kt_safetensors *st;
    struct kt_error err = {{0}};
    const struct kt_tensor *t;
    float *a, *b;
    double squares = 0;
    assert_int_equal(kt_safetensors_open_random(&st, &err), 0);
    const int64_t matrix[] = {64, 4096}, vector[] = {4096}, large[] = {5000, 4096};
    assert_int_equal(kt_safetensors_load_f32(st, &a, matrix, 2, &err, "a.weight"), 0);
    assert_int_equal(kt_safetensors_load_f32(st, &b, matrix, 2, &err, "a.weight"), 0);
    assert_memory_equal(a, b, 64 * 4096 * sizeof(float));
    for (int i = 0; i < 64 * 4096; i++) {
        squares += (double)a[i] * a[i];
    }
    assert_true(squares / (64 * 4096) > 0.9 / 4096 && squares / (64 * 4096) < 1.1 / 4096);
    free(b);
    assert_int_equal(kt_safetensors_load_f32(st, &b, vector, 1, &err, "norm.weight"), 0);
    for (int i = 0; i < 4096; i++) {
        assert_true(b[i] > 0.5f && b[i] < 1.5f);
    }
    assert_int_equal(kt_safetensors_expect(st, &t, large, 2, &err, "large.weight"), 0);
    const uint16_t *values = t->data;
    assert_int_equal(values[0], values[(32 << 20) / 2]); /* the pool again, mapped once more */
    assert_true(values[t->count - 1] != 0 || values[t->count - 2] != 0);
    free(a);
    free(b);
    kt_safetensors_close(&st);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_good_file),         cmocka_unit_test(refuses_malformed_entries),
        cmocka_unit_test(refuses_malformed_json),    cmocka_unit_test(refuses_deep_nesting),
        cmocka_unit_test(refuses_bad_layout),        cmocka_unit_test(refuses_bad_header_lengths),
        cmocka_unit_test(refuses_every_truncation),  cmocka_unit_test(refuses_what_is_no_file),
        cmocka_unit_test(states_what_it_expected),   cmocka_unit_test(converts_halves_exactly),
        cmocka_unit_test(converts_bfloats_exactly),  cmocka_unit_test(writes_what_it_reads),
        cmocka_unit_test(refuses_to_write_nonsense), cmocka_unit_test(makes_up_weights),
    };
    return cmocka_run_group_tests(tests, tmp_dir_make, tmp_dir_remove);
}
