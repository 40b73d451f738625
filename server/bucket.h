/* A token bucket: `burst` at once, `per_s` in the long run.
 *
 * Thread-safety: plain data, one thread at a time. */
#ifndef KT_SERVER_BUCKET_H
#define KT_SERVER_BUCKET_H

#include <stdint.h>

struct kt_bucket {
    double tokens, per_s, burst;
    int64_t at_us;
};

static inline void kt_bucket_init(struct kt_bucket *b, double per_s, double burst, int64_t now_us)
{
    *b = (struct kt_bucket){burst, per_s, burst, now_us};
}

/* 0 when a token was taken; else the milliseconds until there is one. */
static inline int kt_bucket_take(struct kt_bucket *b, int64_t now_us)
{
    b->tokens += (double)(now_us - b->at_us) * 1e-6 * b->per_s;
    b->tokens = b->tokens > b->burst ? b->burst : b->tokens;
    b->at_us = now_us;
    if (b->tokens >= 1 - 1e-9) { /* halves and tenths add up to a whole one */
        b->tokens = b->tokens > 1 ? b->tokens - 1 : 0;
        return 0;
    }
    return (int)((1 - b->tokens) / b->per_s * 1e3) + 1;
}

#endif
