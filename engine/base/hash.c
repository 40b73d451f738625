#include "engine/base/hash.h"

#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "kt_hash64 reads words as they lie: little-endian machines only"
#endif

/* Odd, and with about as many ones as zeros: fractions of pi, e, sqrt 2 and the golden ratio. */
static const uint64_t k_lane[4] = {0x243f6a8885a308d3u, 0xb7e151628aed2a6bu, 0x6a09e667f3bcc909u,
                                   0x9e3779b97f4a7c15u};

static inline uint64_t rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static inline uint64_t turn(uint64_t lane, uint64_t word, uint64_t k)
{
    return rotate((lane ^ word) * k, 29); /* loses nothing of either */
}

static inline uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 32) * 0xd6e8feb86659fd93u;
    x = (x ^ x >> 29) * k_lane[1];
    return x ^ x >> 32;
}

static inline uint64_t word_at(const unsigned char *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof(w));
    return w;
}

uint64_t kt_hash64(const void *data, size_t n, uint64_t seed)
{
    const unsigned char *p = data;
    uint64_t lane[4], h = mix(seed ^ (uint64_t)n * k_lane[3]);
    size_t left = n;
    for (int i = 0; i < 4; i++) {
        lane[i] = seed + k_lane[i];
    }
    for (; left >= 32; left -= 32, p += 32) {
        for (int i = 0; i < 4; i++) {
            lane[i] = turn(lane[i], word_at(p + 8 * i), k_lane[i]);
        }
    }
    for (int i = 0; left > 0; i++) {
        unsigned char last[8] = {0};
        size_t some = left < 8 ? left : 8;
        memcpy(last, p, some);
        lane[i] = turn(lane[i], word_at(last), k_lane[i]);
        left -= some;
        p += some;
    }
    for (int i = 0; i < 4; i++) {
        h = mix(h ^ lane[i]) + k_lane[i];
    }
    return mix(h);
}
