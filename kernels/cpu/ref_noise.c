/* Standard normals from a counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011) and the Box-Muller transform.
 *
 * Value 4i + j of (seed, stream) comes from Philox with key (seed low, seed high) and counter
 * (i low, i high, stream low, stream high): words (0, 1) give values j = 0, 1 and words (2, 3) j =
 * 2, 3, as radius * cos and radius * sin. Nothing here depends on what was drawn before.
 *
 * A timeline replays bit for bit only if its noise does, so this is the one code for every level,
 * and it calls nothing of libm but sqrt: the library's log, sin and cos choose their code by CPU,
 * ours are short series of correctly rounded operations. They are good to 1e-12, far below the fp32
 * that comes out. */
#include "kernels/cpu/ref.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static void philox4x32_10(uint32_t out[4], const uint32_t counter[4], uint64_t seed)
{
    uint32_t c[4] = {counter[0], counter[1], counter[2], counter[3]};
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        const uint32_t next[4] = {(uint32_t)(p1 >> 32) ^ c[1] ^ k0, (uint32_t)p1,
                                  (uint32_t)(p0 >> 32) ^ c[3] ^ k1, (uint32_t)p0};
        memcpy(c, next, sizeof(c));
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    memcpy(out, c, sizeof(c));
}

/* ln(x) of a normal x in (0, 1]: x = m * 2^e with m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh(s) with
 * s = (m-1)/(m+1), |s| < 0.1716, whose series ends below 1e-15 after ten terms. */
static double log_unit(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    int e = (int)(bits >> 52) - 1023;
    bits = (bits & 0x000FFFFFFFFFFFFFu) | 0x3FF0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof(m));
    if (m > 1.41421356237309505) {
        m *= 0.5;
        e++;
    }
    const double s = (m - 1.0) / (m + 1.0), s2 = s * s;
    double series = 0.0;
    for (int k = 19; k >= 1; k -= 2) {
        series = series * s2 + 1.0 / k;
    }
    return 2.0 * s * series + e * 0.69314718055994530942;
}

/* cos and sin of a quarter turn times f, f in [-1/2, 1/2]: Taylor to 1e-15. */
static void quarter_cos_sin(double f, double *cos_out, double *sin_out)
{
    const double a = f * 1.57079632679489661923, a2 = a * a;
    double c = 0.0, s = 0.0;
    for (int k = 14; k >= 2; k -= 2) { /* 1 - a2/(1*2) (1 - a2/(3*4) (...)) */
        c = a2 / (k * (k - 1)) * (1.0 - c);
        s = a2 / (k * (k + 1)) * (1.0 - s);
    }
    *cos_out = 1.0 - c;
    *sin_out = a * (1.0 - s);
}

/* cos and sin of 2 pi u, u in [0, 1) a multiple of 2^-32: the reduction to a quarter turn is exact.
 */
static void turn_cos_sin(double u, double *cos_out, double *sin_out)
{
    const int quarter = (int)(4.0 * u + 0.5);
    double c, s;
    quarter_cos_sin(4.0 * u - quarter, &c, &s);
    switch (quarter & 3) {
    case 0: *cos_out = c, *sin_out = s; break;
    case 1: *cos_out = -s, *sin_out = c; break;
    case 2: *cos_out = -c, *sin_out = -s; break;
    default: *cos_out = s, *sin_out = -c; break;
    }
}

static void normal_pair(float out[2], uint32_t a, uint32_t b)
{
    const double radius = sqrt(-2.0 * log_unit(((double)a + 1.0) * 0x1p-32));
    double c, s;
    turn_cos_sin((double)b * 0x1p-32, &c, &s);
    out[0] = (float)(radius * c);
    out[1] = (float)(radius * s);
}

int kt_ref_noise(struct kt_queue *q, float *out, int n, uint64_t seed, uint64_t stream)
{
    if (n < 0) {
        return -EINVAL;
    }
    q->stats.launches++;
    for (int i = 0; i < n; i += 4) {
        const uint32_t counter[4] = {(uint32_t)(i / 4), 0, (uint32_t)stream,
                                     (uint32_t)(stream >> 32)};
        uint32_t words[4];
        float normals[4];
        philox4x32_10(words, counter, seed);
        normal_pair(normals, words[0], words[1]);
        normal_pair(normals + 2, words[2], words[3]);
        memcpy(out + i, normals, (size_t)(n - i < 4 ? n - i : 4) * sizeof(float));
    }
    return 0;
}
