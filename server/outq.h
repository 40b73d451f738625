/* What waits to be written to one client, and the packets it waits in. The essay on limits is in
 * outq.c.
 *
 * Thread-safety: queue and pool belong to the loop thread; between taking a packet and giving it
 * back its bytes may be written by the one thread that holds it. */
#ifndef KT_SERVER_OUTQ_H
#define KT_SERVER_OUTQ_H

#include "proto/media.h"

#include <stddef.h>
#include <stdint.h>

enum {
    KT_PACKET_HEADROOM = 64, /* the WebSocket header is written in front of the payload, in place */
    KT_OUTQ_TEXTS_MAX = 1024,
    KT_OUTQ_TEXT_BYTES_MAX = 512 * 1024,
    KT_OUTQ_PICTURES_SOFT = 3,
    KT_OUTQ_PICTURES_MAX = 8,
    KT_OUTQ_PREVIEWS_MAX = 8,
};

struct kt_packet_pool;

struct kt_packet {
    struct kt_packet *next;
    struct kt_packet_pool *pool; /* NULL: a text, from malloc */
    struct kt_media_header
        header;      /* pictures: packed into the bytes when the payload is complete */
    uint64_t number; /* pictures: the pacer's */
    int64_t queued_us;
    size_t n, cap; /* bytes of the message, and room for it */
    uint8_t *data; /* KT_PACKET_HEADROOM writable bytes lie in front */
};

/* `count` packets of `bytes` each, in one block. -ENOMEM. */
int kt_packet_pool_create(struct kt_packet_pool **pool, int count, size_t bytes);
void kt_packet_pool_destroy(struct kt_packet_pool **pool);     /* every packet must be back */
struct kt_packet *kt_packet_take(struct kt_packet_pool *pool); /* NULL: none is free */
int kt_packet_pool_free(const struct kt_packet_pool *pool);
/* A text packet with a copy of s; NULL without memory. */
struct kt_packet *kt_packet_text(const char *s);
/* Back to the pool, or freed. Accepts NULL and *NULL. */
void kt_packet_release(struct kt_packet **p);

struct kt_outq {
    struct kt_packet *texts, **texts_end;
    struct kt_packet *pictures, **pictures_end;
    int text_count, picture_count, preview_count; /* previews stand first among the pictures */
    size_t text_bytes;
    uint64_t flushed, previews_dropped; /* ever */
};

void kt_outq_init(struct kt_outq *q);
void kt_outq_clear(struct kt_outq *q);
/* Takes the packet. -ENOBUFS past the hard limit: the packet is released, the client must be
 * closed. One preview too many is only released. */
int kt_outq_push(struct kt_outq *q, struct kt_packet *p, int64_t now_us);
/* The next one to write (texts first), or NULL; the caller releases it. */
struct kt_packet *kt_outq_pop(struct kt_outq *q);
/* Drops pictures of epochs before `epoch`. */
void kt_outq_flush(struct kt_outq *q, uint32_t epoch);
/* Drops previews of epochs up to `epoch`, whose own pictures come now. */
void kt_outq_drop_previews(struct kt_outq *q, uint32_t epoch);
/* 1 while another picture may be encoded for this client. */
int kt_outq_room(const struct kt_outq *q);
int kt_outq_empty(const struct kt_outq *q);
/* When the oldest waiting packet was queued, or INT64_MAX. */
int64_t kt_outq_oldest_us(const struct kt_outq *q);

#endif
