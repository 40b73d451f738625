/* What `kinetype bench` measured, and how it is told: JSON with the names that issue trackers and
 * plots rely on, or a few lines for people.
 *
 * Thread-safety: one thread. */
#ifndef KT_CLI_BENCH_REPORT_H
#define KT_CLI_BENCH_REPORT_H

#include "engine/engine.h"

enum { KT_SAMPLES_MAX = 4096 };

struct kt_samples {
    double ms[KT_SAMPLES_MAX];
    int count;
};

/* Median of what was added, 0 of nothing. */
double kt_samples_median(struct kt_samples *s);
void kt_samples_add(struct kt_samples *s, double ms); /* those beyond the cap are dropped */

struct kt_bench_result {
    struct kt_engine *e; /* still open: geometry and memory are read from it */
    const char *precision, *encoder;
    int steps, text_tokens, random;
    struct kt_samples text, block, recache, decode, convert, encode, snapshot;
    double first_frame_ms, warm_up_ms, fps, encoded_bytes_per_s;
    struct kt_queue_stats per_block; /* of one block with its decoding, after warm-up */
    uint64_t device_allocs_per_block;
};

void kt_bench_report_json(struct kt_bench_result *r);
void kt_bench_report_text(struct kt_bench_result *r);

#endif
