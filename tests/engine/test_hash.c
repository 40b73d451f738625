/* The hash is part of the decision log's format: its values must not change, and equal hashes must
 * mean equal bytes as far as chance goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/base/hash.h"

static void values_stay(void **state)
{
    static const struct {
        int n;
        uint64_t seed, hash;
    } vectors[] = {
        {0, 0, 0x4436c11dd3c0b06fu},   {0, 1, 0x1e4f9305adf3be3du},   {1, 0, 0x28e8b42541264236u},
        {7, 0, 0xfb86f90ccfa655c0u},   {8, 0, 0x83d9c60b9f0077f0u},   {9, 0, 0xb7a4d94965ec0353u},
        {9, 1, 0x9d0ccad65a3a9c50u},   {31, 0, 0x3ca4585acd6818bcu},  {32, 0, 0x44d4ef10e3f4a27bu},
        {33, 0, 0x8a06d786823d9831u},  {64, 0, 0x712f30c3eb0f5eeeu},  {64, 1, 0xf825bb20c1b4f349u},
        {100, 0, 0xa7c26be53d701b9cu}, {128, 0, 0x59ca41c5deaa893fu},
    };
    unsigned char bytes[128];
    for (int i = 0; i < 128; i++) {
        bytes[i] = (unsigned char)(i * 7 + 1);
    }
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        uint64_t h = kt_hash64(bytes, (size_t)vectors[i].n, vectors[i].seed);
        if (h != vectors[i].hash) {
            fail_msg("%d bytes, seed %llu: expected 0x%016llx, found 0x%016llx", vectors[i].n,
                     (unsigned long long)vectors[i].seed, (unsigned long long)vectors[i].hash,
                     (unsigned long long)h);
        }
    }
}

static void where_bytes_lie_does_not_matter(void **state)
{
    unsigned char bytes[100], moved[116];
    for (int i = 0; i < 100; i++) {
        bytes[i] = (unsigned char)(i * 31);
    }
    for (int offset = 0; offset < 16; offset++) {
        memcpy(moved + offset, bytes, 100);
        assert_true(kt_hash64(moved + offset, 100, 5) == kt_hash64(bytes, 100, 5));
    }
}

/* Each bit of input flips each bit of output about half of the time. */
static void one_bit_changes_half(void **state)
{
    enum { BYTES = 72, ROUNDS = 64 };
    unsigned char bytes[BYTES];
    int flips[64] = {0}, pairs = 0;
    uint64_t random = 1;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < BYTES; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (unsigned char)(random >> 56);
        }
        uint64_t before = kt_hash64(bytes, BYTES, 0);
        for (int bit = 0; bit < BYTES * 8; bit++, pairs++) {
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            uint64_t changed = before ^ kt_hash64(bytes, BYTES, 0);
            bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
            int count = __builtin_popcountll(changed);
            assert_in_range(count, 8, 56);
            for (int i = 0; i < 64; i++) {
                flips[i] += changed >> i & 1;
            }
        }
    }
    for (int i = 0; i < 64; i++) {
        assert_in_range(flips[i], pairs * 48 / 100, pairs * 52 / 100);
    }
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Short inputs, zeros of every length, and numbers counted up: no two alike. */
static void similar_inputs_do_not_collide(void **state)
{
    enum { COUNT = 200000, ZEROS = 4096 };
    static const unsigned char zeros[ZEROS];
    uint64_t *h = malloc((COUNT * 2 + ZEROS) * sizeof(*h));
    size_t n = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t word[5] = {1, 2, 3, 4, i};
        h[n++] = kt_hash64(&i, 8, 0);
        h[n++] = kt_hash64(word, sizeof(word), 0);
    }
    for (size_t i = 0; i < ZEROS; i++) {
        h[n++] = kt_hash64(zeros, i, 1);
    }
    qsort(h, n, sizeof(*h), compare);
    for (size_t i = 1; i < n; i++) {
        assert_true(h[i] != h[i - 1]);
    }
    free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_stay),
        cmocka_unit_test(where_bytes_lie_does_not_matter),
        cmocka_unit_test(one_bit_changes_half),
        cmocka_unit_test(similar_inputs_do_not_collide),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
