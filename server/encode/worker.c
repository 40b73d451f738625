#include "server/encode/worker.h"

#include "engine/base/assert.h"
#include "engine/base/clock.h"
#include "engine/base/ring.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct bench { /* where a thread works */
    struct kt_encode_worker *worker;
    pthread_t thread;
    pthread_cond_t ordered;
    struct kt_ring orders; /* room for all that may be unanswered */
};

struct kt_encode_worker {
    pthread_mutex_t mutex; /* held for a copy of one item, never across work */
    struct bench benches[KT_ENCODE_THREADS_MAX];
    int threads; /* that were started */
    struct kt_ring answers;
    int unanswered; /* loop thread only */
    int stop;
    struct kt_encode_worker_params params;
    struct kt_encoder *(*encoders)[KT_MEDIA_STREAMS]; /* by session, its thread only */
};

/* ---- the threads ---- */

static void encode_picture(struct kt_encoder *enc, struct kt_encode_order *o)
{
    const int64_t start = kt_now_ns();
    if (!enc) {
        o->rc = kt_fail(&o->error, -ENODEV, "encoder: not open");
    } else {
        if (o->want_key) {
            kt_encoder_request_key(enc);
        }
        const struct kt_encode_job job = {.i420 = o->frame->data,
                                          .nv12 = o->frame->nv12,
                                          .pts_us = o->pts_us,
                                          .duration_us = o->duration_us,
                                          .out = o->packet->data + KT_MEDIA_HEADER_BYTES,
                                          .cap = o->packet->cap - KT_MEDIA_HEADER_BYTES};
        o->rc = kt_encoder_encode(enc, &job, &o->key, &o->error);
    }
    kt_frame_unref(&o->frame);
    o->encode_ms = kt_ms_since(start);
}

static void close_encoders(struct kt_encode_worker *w, uint32_t session)
{
    for (int i = 0; i < KT_MEDIA_STREAMS; i++) {
        kt_encoder_close(&w->encoders[session][i]);
    }
}

static void obey(struct kt_encode_worker *w, struct kt_encode_order *o)
{
    struct kt_encoder **enc = &w->encoders[o->session][o->stream];
    switch (o->kind) {
    case KT_ENCODE_OPEN:
        kt_encoder_close(enc);
        o->rc = kt_encoder_open(enc, &o->params, &o->error);
        break;
    case KT_ENCODE_PICTURE: encode_picture(*enc, o); break;
    case KT_ENCODE_CLOSE: close_encoders(w, o->session); break;
    }
}

static int next_order(struct bench *b, struct kt_encode_order *o)
{
    struct kt_encode_worker *w = b->worker;
    pthread_mutex_lock(&w->mutex);
    while (!w->stop && b->orders.count == 0) {
        pthread_cond_wait(&b->ordered, &w->mutex);
    }
    const int going = !w->stop && kt_ring_take(&b->orders, o);
    pthread_mutex_unlock(&w->mutex);
    return going;
}

static void *run(void *arg)
{
    struct bench *b = arg;
    struct kt_encode_worker *w = b->worker;
    struct kt_encode_order o;
    while (next_order(b, &o)) {
        obey(w, &o);
        pthread_mutex_lock(&w->mutex);
        const int rc = kt_ring_put(&w->answers, &o);
        KT_ASSERT(rc == 0); /* as large as what may be unanswered */
        pthread_mutex_unlock(&w->mutex);
        w->params.wake(w->params.wake_arg);
    }
    for (int i = (int)(b - w->benches); i < w->params.sessions_max; i += w->params.threads) {
        close_encoders(w, (uint32_t)i);
    }
    return NULL;
}

/* ---- the loop's side ---- */

static int start_thread(struct kt_encode_worker *w, struct bench *b)
{
    b->worker = w;
    if (kt_ring_init(&b->orders, sizeof(struct kt_encode_order), w->params.cap) < 0) {
        return -ENOMEM;
    }
    pthread_cond_init(&b->ordered, NULL);
    if (pthread_create(&b->thread, NULL, run, b) != 0) {
        pthread_cond_destroy(&b->ordered);
        kt_ring_finish(&b->orders);
        return -ENOMEM;
    }
    return 0;
}

static void join_threads(struct kt_encode_worker *w)
{
    pthread_mutex_lock(&w->mutex);
    w->stop = 1;
    for (int i = 0; i < w->threads; i++) {
        pthread_cond_signal(&w->benches[i].ordered);
    }
    pthread_mutex_unlock(&w->mutex);
    for (int i = 0; i < w->threads; i++) {
        pthread_join(w->benches[i].thread, NULL);
    }
}

/* The threads have ended. */
static void worker_free(struct kt_encode_worker *w)
{
    for (int i = 0; i < w->threads; i++) {
        pthread_cond_destroy(&w->benches[i].ordered);
        kt_ring_finish(&w->benches[i].orders);
    }
    kt_ring_finish(&w->answers);
    free(w->encoders);
    pthread_mutex_destroy(&w->mutex);
    free(w);
}

int kt_encode_worker_start(struct kt_encode_worker **out, const struct kt_encode_worker_params *p,
                           struct kt_error *err)
{
    struct kt_encode_worker *w = calloc(1, sizeof(*w));
    if (!w) {
        return kt_fail(err, -ENOMEM, "encoder: out of memory");
    }
    KT_ASSERT(p->threads >= 1 && p->threads <= KT_ENCODE_THREADS_MAX);
    w->params = *p;
    w->params.threads = p->threads < p->sessions_max ? p->threads : p->sessions_max;
    pthread_mutex_init(&w->mutex, NULL);
    w->encoders = calloc((size_t)p->sessions_max, sizeof(*w->encoders));
    int rc =
        w->encoders ? kt_ring_init(&w->answers, sizeof(struct kt_encode_order), p->cap) : -ENOMEM;
    while (rc == 0 && w->threads < w->params.threads) {
        rc = start_thread(w, &w->benches[w->threads]);
        w->threads += rc == 0;
    }
    if (rc < 0) {
        join_threads(w);
        worker_free(w);
        return kt_fail(err, -ENOMEM, "encoder: cannot start its threads");
    }
    *out = w;
    return 0;
}

static void drop_orders(struct kt_ring *ring, void (*drop)(struct kt_packet *packet))
{
    struct kt_encode_order o;
    while (kt_ring_take(ring, &o)) {
        kt_frame_unref(&o.frame);
        if (o.packet) {
            drop(o.packet);
        }
    }
}

void kt_encode_worker_stop(struct kt_encode_worker **worker, void (*drop)(struct kt_packet *packet))
{
    struct kt_encode_worker *w = *worker;
    *worker = NULL;
    if (!w) {
        return;
    }
    join_threads(w);
    for (int i = 0; i < w->threads; i++) {
        drop_orders(&w->benches[i].orders, drop);
    }
    drop_orders(&w->answers, drop);
    worker_free(w);
}

int kt_encode_worker_order(struct kt_encode_worker *w, const struct kt_encode_order *order)
{
    if (w->unanswered == w->params.cap) {
        return -EAGAIN;
    }
    struct bench *b = &w->benches[order->session % (uint32_t)w->threads];
    w->unanswered++;
    pthread_mutex_lock(&w->mutex);
    const int rc = kt_ring_put(&b->orders, order);
    pthread_cond_signal(&b->ordered);
    pthread_mutex_unlock(&w->mutex);
    KT_ASSERT(rc == 0);
    return 0;
}

int kt_encode_worker_unanswered(const struct kt_encode_worker *w)
{
    return w->unanswered;
}

int kt_encode_worker_poll(struct kt_encode_worker *w, struct kt_encode_order *answer)
{
    pthread_mutex_lock(&w->mutex);
    const int got = kt_ring_take(&w->answers, answer);
    pthread_mutex_unlock(&w->mutex);
    w->unanswered -= got;
    return got;
}
