#include "proto/media.h"
#include "tests/proto/test.h"
#include "tests/proto/vectors.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static const char *vectors_dir;

/* The byte diagram of proto/PROTOCOL.md, written out once by hand. */
static void literal_bytes(void **state)
{
    static const uint8_t expected[KT_MEDIA_HEADER_BYTES] = {
        0x4b, 0x54, 1,    1,                            /* "KT", version, picture */
        0,    2,    0x00, 0x07,                         /* stream, VP9, key | first | flush */
        0x01, 0x02, 0x03, 0x04,                         /* seq */
        0x05, 0x06, 0x07, 0x08,                         /* epoch */
        0x09, 0x0a, 0x0b, 0x0c,                         /* revision */
        4,    3,    0x00, 0x48,                         /* steps, fade, header bytes */
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, /* frame */
        0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, /* pts */
        0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38, /* server_us */
        0,    1,    0,    2,    0,    3,    0,    4,    0, 5, 0, 6, 0, 7, 1, 8, /* timings */
        0x03, 0x40, 0x01, 0xe0,                                                 /* 832 x 480 */
        0x00, 0x01, 0x02, 0x03,                                                 /* payload bytes */
    };
    const struct kt_media_header h = {
        .codec = KT_CODEC_VP9,
        .steps = 4,
        .fade = 3,
        .flags = KT_MEDIA_KEY | KT_MEDIA_FIRST | KT_MEDIA_FLUSH,
        .seq = 0x01020304,
        .epoch = 0x05060708,
        .revision = 0x090a0b0c,
        .frame = 0x1112131415161718,
        .pts_us = 0x2122232425262728,
        .server_us = 0x3132333435363738,
        .timings = {1, 2, 3, 4, 5, 6, 7, 0x108},
        .width = 832,
        .height = 480,
        .payload_bytes = 0x00010203,
    };
    uint8_t bytes[KT_MEDIA_HEADER_BYTES];
    memset(bytes, 0xee, sizeof(bytes));
    kt_media_pack(bytes, &h);
    assert_memory_equal(bytes, expected, sizeof(expected));
}

static void stamp_changes_three_fields(void **state)
{
    uint8_t a[KT_MEDIA_HEADER_BYTES], b[KT_MEDIA_HEADER_BYTES];
    struct kt_media_header h = {.codec = KT_CODEC_VP8, .width = 2, .height = 2};
    kt_media_pack(a, &h);
    kt_media_stamp(a, 0xa1b2c3d4, 0x0102030405060708, 0x1122);
    h.seq = 0xa1b2c3d4;
    h.server_us = 0x0102030405060708;
    h.timings[KT_TIMING_SEND] = 0x1122;
    kt_media_pack(b, &h);
    assert_memory_equal(a, b, sizeof(a));
}

static void timings_saturate(void **state)
{
    assert_int_equal(kt_media_timing(0), 0);
    assert_int_equal(kt_media_timing(-3), 0);
    assert_int_equal(kt_media_timing(NAN), 0);
    assert_int_equal(kt_media_timing(0.04), 0);
    assert_int_equal(kt_media_timing(0.1), 1);
    assert_int_equal(kt_media_timing(123.44), 1234);
    assert_int_equal(kt_media_timing(6553.5), 65535);
    assert_int_equal(kt_media_timing(1e9), 65535);
    assert_int_equal(kt_media_timing(INFINITY), 65535);
}

static uint64_t number(const json_t *header, const char *key)
{
    const json_t *v = json_object_get(header, key);
    return json_is_string(v) ? strtoull(json_string_value(v), NULL, 10)
                             : (uint64_t)json_integer_value(v);
}

static struct kt_media_header header_of(const json_t *v, size_t payload)
{
    const json_t *j = json_object_get(v, "header");
    static const char *const flags[] = {"key", "first", "flush", "late"};
    struct kt_media_header h = {
        .stream = (uint8_t)number(j, "stream"),
        .codec = (uint8_t)kt_codec_from_name(vector_string(j, "codec")),
        .steps = (uint8_t)number(j, "steps"),
        .fade = (uint8_t)number(j, "fade"),
        .seq = (uint32_t)number(j, "seq"),
        .epoch = (uint32_t)number(j, "epoch"),
        .revision = (uint32_t)number(j, "revision"),
        .frame = number(j, "frame"),
        .pts_us = number(j, "pts_us"),
        .server_us = number(j, "server_us"),
        .width = (uint16_t)number(j, "width"),
        .height = (uint16_t)number(j, "height"),
        .payload_bytes = (uint32_t)payload,
    };
    for (int i = 0; i < 4; i++) {
        h.flags |= (uint16_t)(json_is_true(json_object_get(j, flags[i])) << i);
    }
    for (size_t i = 0; i < KT_TIMING_COUNT; i++) {
        h.timings[i] =
            (uint16_t)json_integer_value(json_array_get(json_object_get(j, "timings"), i));
    }
    return h;
}

static void good_vectors(void **state)
{
    json_t *root = vectors_load(vectors_dir, "media.json");
    assert_non_null(root);
    size_t i;
    json_t *v;
    assert_true(json_array_size(json_object_get(root, "good")) >= 5);
    json_array_foreach (json_object_get(root, "good"), i, v) {
        uint8_t bytes[256], packed[KT_MEDIA_HEADER_BYTES];
        const int n = vector_hex(vector_string(v, "hex"), bytes, sizeof(bytes));
        assert_true(n >= KT_MEDIA_HEADER_BYTES);
        struct kt_media_header h = header_of(v, (size_t)n - KT_MEDIA_HEADER_BYTES), read;
        kt_media_pack(packed, &h);
        assert_memory_equal(packed, bytes, KT_MEDIA_HEADER_BYTES);
        assert_int_equal(kt_media_unpack(&read, bytes, (size_t)n, NULL), 0);
        kt_media_pack(packed, &read);
        assert_memory_equal(packed, bytes, KT_MEDIA_HEADER_BYTES);
    }
    json_decref(root);
}

static void bad_vectors(void **state)
{
    json_t *root = vectors_load(vectors_dir, "media.json");
    assert_non_null(root);
    size_t i;
    json_t *v;
    assert_true(json_array_size(json_object_get(root, "bad")) >= 10);
    json_array_foreach (json_object_get(root, "bad"), i, v) {
        uint8_t bytes[256];
        struct kt_media_header h;
        struct kt_fault fault;
        const int n = vector_hex(vector_string(v, "hex"), bytes, sizeof(bytes));
        assert_true(n >= 0);
        assert_int_equal(kt_media_unpack(&h, bytes, (size_t)n, &fault), -EBADMSG);
        assert_string_equal(fault.field, vector_string(v, "field"));
    }
    json_decref(root);
}

int main(int argc, char **argv)
{
    vectors_dir = argc > 1 ? argv[1] : "proto/vectors";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(literal_bytes),    cmocka_unit_test(stamp_changes_three_fields),
        cmocka_unit_test(timings_saturate), cmocka_unit_test(good_vectors),
        cmocka_unit_test(bad_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
