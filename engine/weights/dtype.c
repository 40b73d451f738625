#include "engine/weights/dtype.h"

#include <string.h>

#include "engine/base/assert.h"

static const struct {
    const char *name;
    size_t size;
    int is_float;
} DTYPES[] = {
    [KT_F32] = {"F32", 4, 1}, [KT_F16] = {"F16", 2, 1}, [KT_BF16] = {"BF16", 2, 1},
    [KT_I32] = {"I32", 4, 0}, [KT_I64] = {"I64", 8, 0},
};
enum { DTYPE_COUNT = sizeof(DTYPES) / sizeof(DTYPES[0]) };

static int is_known(enum kt_dtype dtype)
{
    return (unsigned)dtype < DTYPE_COUNT;
}

const char *kt_dtype_name(enum kt_dtype dtype)
{
    return is_known(dtype) ? DTYPES[dtype].name : "?";
}

int kt_dtype_from_name(const char *name)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(name, DTYPES[i].name) == 0) {
            return i;
        }
    }
    return -1;
}

size_t kt_dtype_size(enum kt_dtype dtype)
{
    return is_known(dtype) ? DTYPES[dtype].size : 0;
}

int kt_dtype_is_float(enum kt_dtype dtype)
{
    return is_known(dtype) && DTYPES[dtype].is_float;
}

static float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static float half_to_float(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t exponent = (h >> 10) & 0x1F;
    const uint32_t mantissa = h & 0x3FF;

    if (exponent == 0x1F) {
        return float_of_bits(sign | 0x7F800000 | mantissa << 13);
    }
    if (exponent != 0) {
        return float_of_bits(sign | (exponent + 112) << 23 | mantissa << 13);
    }
    /* Subnormal: a multiple of 2^-24, which fp32 holds exactly as a normal number. */
    const float magnitude = (float)mantissa * 0x1p-24f;
    return sign ? -magnitude : magnitude;
}

void kt_dtype_to_f32(enum kt_dtype dtype, const void *src, float *out, size_t n)
{
    const uint8_t *bytes = src;
    uint16_t h;

    KT_ASSERT(kt_dtype_is_float(dtype));
    if (n == 0) {
        return; /* src may be NULL then */
    }
    if (dtype == KT_F32) {
        memcpy(out, src, n * sizeof(*out));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        memcpy(&h, bytes + 2 * i, sizeof(h));
        out[i] = dtype == KT_F16 ? half_to_float(h) : float_of_bits((uint32_t)h << 16);
    }
}
