/* The encoder as `bench` sees it: the server's own where it is built, none elsewhere (bare
 * machines).
 *
 * Thread-safety: one thread. */
#ifndef KT_CLI_BENCH_ENCODER_H
#define KT_CLI_BENCH_ENCODER_H

#include <stdint.h>

struct kt_bench_encoder;

int kt_bench_encoder_open(struct kt_bench_encoder **e, int width, int height, int fps);
void kt_bench_encoder_close(struct kt_bench_encoder **e);            /* NULL and *NULL accepted */
const char *kt_bench_encoder_name(const struct kt_bench_encoder *e); /* "none" of NULL */

/* Encodes one I420 picture; returns its bytes, or a negative errno. */
int kt_bench_encoder_run(struct kt_bench_encoder *e, const uint8_t *i420);

#endif
