/* A 64-bit hash of bytes: how the decision log names latents and pictures, and what keys of lists
 * of values are made of. Not cryptographic: it tells accidents apart, not attacks.
 *
 * Four lanes take 8 bytes each a turn, so that a core hashes several GB/s. The value depends on the
 * bytes, their number and the seed alone (words are read little-endian), and is part of the log's
 * format: tests/engine/test_hash.c holds vectors.
 *
 * Thread-safety: pure. */
#ifndef KT_ENGINE_BASE_HASH_H
#define KT_ENGINE_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t kt_hash64(const void *data, size_t n, uint64_t seed);

#endif
