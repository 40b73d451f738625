/* The output queue.
 *
 * Texts (receipts) are small and must not be lost: they go first, and a client that lets 1024 of
 * them (more than the bursts that it may send can cause) or 512 KiB pile up has stopped reading and
 * is closed. Pictures are never dropped behind the encoder, because each refers to the one before
 * it; instead, no further picture is encoded while three wait (soft limit), which stops the device
 * through the chain of queues in front. Only a flush drops pictures, because the next one is a key
 * picture by rule. The hard limit of eight is what may be in flight when the soft limit is met; it
 * cannot be passed by a correct caller. A client whose oldest packet is five seconds old is closed
 * (client.c). Previews (stream 1) overtake the pictures: they are of the epoch after them. One
 * preview more than eight is dropped, since nothing refers to it but its like.
 *
 * The socket buffer behind us is bounded by TCP_NOTSENT_LOWAT (loop.c), and one packet at most lies
 * in libwebsockets. */
#include "server/outq.h"

#include "engine/base/assert.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct kt_packet_pool {
    struct kt_packet *packets, *free;
    uint8_t *bytes;
    int count, free_count;
};

int kt_packet_pool_create(struct kt_packet_pool **pool, int count, size_t bytes)
{
    struct kt_packet_pool *p = calloc(1, sizeof(*p));
    const size_t stride = (KT_PACKET_HEADROOM + bytes + 63) / 64 * 64;
    if (p) {
        p->packets = calloc((size_t)count, sizeof(*p->packets));
        p->bytes = malloc((size_t)count * stride);
        p->count = count;
    }
    if (!p || !p->packets || !p->bytes) {
        kt_packet_pool_destroy(&p);
        return -ENOMEM;
    }
    for (int i = 0; i < count; i++) {
        struct kt_packet *packet = &p->packets[i];
        packet->pool = p;
        packet->cap = bytes;
        packet->data = p->bytes + (size_t)i * stride + KT_PACKET_HEADROOM;
        packet->next = p->free;
        p->free = packet;
        p->free_count++;
    }
    *pool = p;
    return 0;
}

void kt_packet_pool_destroy(struct kt_packet_pool **pool)
{
    struct kt_packet_pool *p = *pool;
    *pool = NULL;
    if (p) {
        KT_ASSERT(!p->packets || !p->bytes || p->free_count == p->count);
        free(p->packets);
        free(p->bytes);
        free(p);
    }
}

struct kt_packet *kt_packet_take(struct kt_packet_pool *pool)
{
    struct kt_packet *p = pool->free;
    if (p) {
        pool->free = p->next;
        pool->free_count--;
        p->next = NULL;
        p->n = 0;
    }
    return p;
}

int kt_packet_pool_free(const struct kt_packet_pool *pool)
{
    return pool->free_count;
}

struct kt_packet *kt_packet_text(const char *s)
{
    const size_t n = strlen(s);
    struct kt_packet *p = malloc(sizeof(*p) + KT_PACKET_HEADROOM + n);
    if (p) {
        memset(p, 0, sizeof(*p));
        p->data = (uint8_t *)(p + 1) + KT_PACKET_HEADROOM;
        p->n = p->cap = n;
        memcpy(p->data, s, n); /* NOLINT(bugprone-not-null-terminated-result): p->n counts it */
    }
    return p;
}

void kt_packet_release(struct kt_packet **packet)
{
    struct kt_packet *p = packet ? *packet : NULL;
    if (!p) {
        return;
    }
    *packet = NULL;
    if (!p->pool) {
        free(p);
        return;
    }
    p->next = p->pool->free;
    p->pool->free = p;
    p->pool->free_count++;
}

void kt_outq_init(struct kt_outq *q)
{
    memset(q, 0, sizeof(*q));
    q->texts_end = &q->texts;
    q->pictures_end = &q->pictures;
}

void kt_outq_clear(struct kt_outq *q)
{
    for (struct kt_packet *p; (p = kt_outq_pop(q));) {
        kt_packet_release(&p);
    }
}

static int is_preview(const struct kt_packet *p)
{
    return p->pool && p->header.stream == KT_STREAM_PREVIEW;
}

static void push_preview(struct kt_outq *q, struct kt_packet *p)
{
    struct kt_packet **at = &q->pictures;
    if (q->preview_count == KT_OUTQ_PREVIEWS_MAX) {
        q->previews_dropped++;
        kt_packet_release(&p);
        return;
    }
    while (*at && is_preview(*at)) {
        at = &(*at)->next;
    }
    p->next = *at;
    *at = p;
    q->pictures_end = p->next ? q->pictures_end : &p->next;
    q->preview_count++;
}

int kt_outq_push(struct kt_outq *q, struct kt_packet *p, int64_t now_us)
{
    const int over = p->pool ? !is_preview(p) && q->picture_count >= KT_OUTQ_PICTURES_MAX
                             : q->text_count >= KT_OUTQ_TEXTS_MAX ||
                                   q->text_bytes + p->n > KT_OUTQ_TEXT_BYTES_MAX;
    if (over) {
        kt_packet_release(&p);
        return -ENOBUFS;
    }
    p->queued_us = now_us;
    p->next = NULL;
    if (is_preview(p)) {
        push_preview(q, p);
    } else if (p->pool) {
        *q->pictures_end = p;
        q->pictures_end = &p->next;
        q->picture_count++;
    } else {
        *q->texts_end = p;
        q->texts_end = &p->next;
        q->text_count++;
        q->text_bytes += p->n;
    }
    return 0;
}

struct kt_packet *kt_outq_pop(struct kt_outq *q)
{
    struct kt_packet *p = q->texts;
    if (p) {
        q->texts = p->next;
        q->texts_end = q->texts ? q->texts_end : &q->texts;
        q->text_count--;
        q->text_bytes -= p->n;
        return p;
    }
    p = q->pictures;
    if (p) {
        q->pictures = p->next;
        q->pictures_end = q->pictures ? q->pictures_end : &q->pictures;
        *(is_preview(p) ? &q->preview_count : &q->picture_count) -= 1;
    }
    return p;
}

/* Up to and without `pictures`, `previews`: epochs. */
static void drop_before(struct kt_outq *q, uint32_t pictures, uint32_t previews)
{
    struct kt_packet **at = &q->pictures;
    while (*at) {
        struct kt_packet *p = *at;
        const int preview = is_preview(p);
        if (p->header.epoch < (preview ? previews : pictures)) {
            *at = p->next;
            *(preview ? &q->preview_count : &q->picture_count) -= 1;
            *(preview ? &q->previews_dropped : &q->flushed) += 1;
            kt_packet_release(&p);
        } else {
            at = &p->next;
        }
    }
    q->pictures_end = at;
}

void kt_outq_flush(struct kt_outq *q, uint32_t epoch)
{
    drop_before(q, epoch, epoch);
}

void kt_outq_drop_previews(struct kt_outq *q, uint32_t epoch)
{
    drop_before(q, 0, epoch + 1);
}

int kt_outq_room(const struct kt_outq *q)
{
    return q->picture_count < KT_OUTQ_PICTURES_SOFT;
}

int kt_outq_empty(const struct kt_outq *q)
{
    return !q->texts && !q->pictures;
}

int64_t kt_outq_oldest_us(const struct kt_outq *q)
{
    const int64_t text = q->texts ? q->texts->queued_us : INT64_MAX;
    const int64_t picture = q->pictures ? q->pictures->queued_us : INT64_MAX;
    return text < picture ? text : picture;
}
