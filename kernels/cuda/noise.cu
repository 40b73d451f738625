/* Standard normals from a counter: ref_noise.c explains the numbers. The same operations in the
 * same order, each correctly rounded (this file is compiled without fused multiply-add), so that a
 * timeline has the same noise on every device. */
#include "kernels/cuda/vec.cuh"

__device__ static void philox4x32_10(uint32_t c[4], uint64_t seed)
{
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        const uint32_t a = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, b = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[0] = a;
        c[1] = (uint32_t)p1;
        c[2] = b;
        c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

__device__ static double log_unit(double x)
{
    uint64_t bits = (uint64_t)__double_as_longlong(x);
    int e = (int)(bits >> 52) - 1023;
    bits = (bits & 0x000FFFFFFFFFFFFFull) | 0x3FF0000000000000ull;
    double m = __longlong_as_double((long long)bits);
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

__device__ static void turn_cos_sin(double u, double *cos_out, double *sin_out)
{
    const int quarter = (int)(4.0 * u + 0.5);
    const double a = (4.0 * u - quarter) * 1.57079632679489661923, a2 = a * a;
    double c = 0.0, s = 0.0;
    for (int k = 14; k >= 2; k -= 2) {
        c = a2 / (k * (k - 1)) * (1.0 - c);
        s = a2 / (k * (k + 1)) * (1.0 - s);
    }
    c = 1.0 - c;
    s = a * (1.0 - s);
    switch (quarter & 3) {
    case 0: *cos_out = c, *sin_out = s; break;
    case 1: *cos_out = -s, *sin_out = c; break;
    case 2: *cos_out = -c, *sin_out = -s; break;
    default: *cos_out = s, *sin_out = -c; break;
    }
}

__device__ static void normal_pair(float out[2], uint32_t a, uint32_t b)
{
    const double radius = sqrt(-2.0 * log_unit(((double)a + 1.0) * 0x1p-32));
    double c, s;
    turn_cos_sin((double)b * 0x1p-32, &c, &s);
    out[0] = (float)(radius * c);
    out[1] = (float)(radius * s);
}

__global__ void noise(float *out, int n, uint64_t seed, uint64_t stream)
{
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    uint32_t words[4] = {i, 0, (uint32_t)stream, (uint32_t)(stream >> 32)};
    float normals[4];
    philox4x32_10(words, seed);
    normal_pair(normals, words[0], words[1]);
    normal_pair(normals + 2, words[2], words[3]);
    for (int j = 0; j < 4 && (int64_t)i * 4 + j < n; j++) {
        out[(size_t)i * 4 + j] = normals[j];
    }
}

extern "C" cudaError_t ktc_noise(cudaStream_t s, float *out, int n, uint64_t seed, uint64_t stream)
{
    if (n == 0) {
        return cudaSuccess;
    }
    noise<<<ktc_blocks((size_t)n, 4 * 128), 128, 0, s>>>(out, n, seed, stream);
    return cudaGetLastError();
}
