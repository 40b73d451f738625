/* The encoder threads: a session's orders are obeyed in order and by one thread, one that takes
 * long holds up its own thread's sessions only, and stopping gives back what was not done. */
#include "server/encode/worker.h"
#include "tests/proto/test.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

enum { SESSIONS = 5, THREADS = 2, EACH = 20, CAP = 256 };

/* ---- encoders that only note who calls them ---- */

struct kt_encoder {
    pthread_t owner;
    int pictures;
};

static sem_t gate; /* a picture of duration 1 waits for it */
static int released, misused;

int kt_encoder_open(struct kt_encoder **e, const struct kt_encoder_params *p, struct kt_error *err)
{
    *e = calloc(1, sizeof(**e));
    (*e)->owner = pthread_self();
    return 0;
}

int kt_encoder_encode(struct kt_encoder *e, const struct kt_encode_job *job, int *key,
                      struct kt_error *err)
{
    __atomic_fetch_add(&misused, !pthread_equal(e->owner, pthread_self()), __ATOMIC_RELAXED);
    if (job->duration_us == 1) {
        sem_wait(&gate);
    }
    *key = 0;
    return ++e->pictures;
}

void kt_encoder_request_key(struct kt_encoder *e)
{
    (void)e;
}

void kt_encoder_close(struct kt_encoder **e)
{
    __atomic_fetch_add(&misused, *e && !pthread_equal((*e)->owner, pthread_self()),
                       __ATOMIC_RELAXED);
    free(*e);
    *e = NULL;
}

void kt_frame_unref(struct kt_frame **f)
{
    __atomic_fetch_add(&released, *f != NULL, __ATOMIC_RELAXED);
    *f = NULL;
}

/* ---- */

static sem_t answered;
static struct kt_frame frame;
static struct kt_packet packet;
static int dropped;

static void wake(void *arg)
{
    (void)arg;
    sem_post(&answered);
}

static void drop(struct kt_packet *p)
{
    dropped += p == &packet;
}

static struct kt_encode_worker *start(int threads)
{
    const struct kt_encode_worker_params p = {
        .sessions_max = SESSIONS, .threads = threads, .cap = CAP, .wake = wake};
    struct kt_encode_worker *w = NULL;
    struct kt_error err;
    released = misused = dropped = 0;
    sem_init(&gate, 0, 0);
    sem_init(&answered, 0, 0);
    assert_int_equal(kt_encode_worker_start(&w, &p, &err), 0);
    return w;
}

static void order(struct kt_encode_worker *w, enum kt_encode_kind kind, int session, int blocks)
{
    const struct kt_encode_order o = {.kind = kind,
                                      .session = (uint32_t)session,
                                      .frame = kind == KT_ENCODE_PICTURE ? &frame : NULL,
                                      .packet = kind == KT_ENCODE_PICTURE ? &packet : NULL,
                                      .duration_us = blocks};
    assert_int_equal(kt_encode_worker_order(w, &o), 0);
}

static struct kt_encode_order next_answer(struct kt_encode_worker *w)
{
    struct kt_encode_order o;
    sem_wait(&answered);
    assert_int_equal(kt_encode_worker_poll(w, &o), 1);
    return o;
}

static void in_order_and_by_one_thread(int threads)
{
    struct kt_encode_worker *w = start(threads);
    int seen[SESSIONS] = {0};
    for (int s = 0; s < SESSIONS; s++) {
        order(w, KT_ENCODE_OPEN, s, 0);
    }
    for (int i = 0; i < EACH; i++) {
        for (int s = 0; s < SESSIONS; s++) {
            order(w, KT_ENCODE_PICTURE, s, 0);
        }
    }
    for (int i = 0; i < SESSIONS * (EACH + 1); i++) {
        const struct kt_encode_order o = next_answer(w);
        if (o.kind == KT_ENCODE_PICTURE) {
            assert_int_equal(o.rc, ++seen[o.session]);
            assert_null(o.frame);
            assert_ptr_equal(o.packet, &packet);
        }
    }
    assert_int_equal(kt_encode_worker_unanswered(w), 0);
    for (int s = 0; s < SESSIONS; s++) {
        assert_int_equal(seen[s], EACH);
    }
    kt_encode_worker_stop(&w, drop);
    assert_int_equal(misused, 0);
    assert_int_equal(released, SESSIONS * EACH);
    assert_int_equal(dropped, 0);
}

static void one_thread(void **state)
{
    (void)state;
    in_order_and_by_one_thread(1);
}

static void several_threads(void **state)
{
    (void)state;
    in_order_and_by_one_thread(THREADS);
    in_order_and_by_one_thread(KT_ENCODE_THREADS_MAX); /* more than sessions */
}

static void a_slow_picture_holds_up_its_thread_only(void **state)
{
    (void)state;
    struct kt_encode_worker *w = start(THREADS);
    for (int s = 0; s < 3; s++) {
        order(w, KT_ENCODE_OPEN, s, 0);
        next_answer(w);
    }
    order(w, KT_ENCODE_PICTURE, 0, 1); /* sessions 0 and 2 share a thread */
    order(w, KT_ENCODE_PICTURE, 2, 0);
    order(w, KT_ENCODE_PICTURE, 1, 0);
    assert_int_equal(next_answer(w).session, 1);
    assert_int_equal(kt_encode_worker_unanswered(w), 2);
    sem_post(&gate);
    assert_int_equal(next_answer(w).session, 0);
    assert_int_equal(next_answer(w).session, 2);
    kt_encode_worker_stop(&w, drop);
    assert_int_equal(misused, 0);
}

static void stopping_gives_back_what_was_not_done(void **state)
{
    (void)state;
    struct kt_encode_worker *w = start(THREADS);
    order(w, KT_ENCODE_OPEN, 0, 0);
    order(w, KT_ENCODE_PICTURE, 0, 1);
    for (int i = 0; i < EACH; i++) {
        order(w, KT_ENCODE_PICTURE, 0, 1);
    }
    for (int i = 0; i < EACH + 1; i++) {
        sem_post(&gate); /* it may do some of them, or all, before it is told */
    }
    kt_encode_worker_stop(&w, drop);
    assert_null(w);
    assert_int_equal(released, EACH + 1);
    assert_int_equal(dropped, EACH + 1);
    assert_int_equal(misused, 0);
}

static void a_full_worker_refuses(void **state)
{
    (void)state;
    struct kt_encode_worker *w = start(THREADS);
    order(w, KT_ENCODE_OPEN, 1, 0);
    for (int i = 1; i < CAP; i++) {
        order(w, KT_ENCODE_PICTURE, 1, 1);
    }
    const struct kt_encode_order one_more = {.kind = KT_ENCODE_CLOSE, .session = 0};
    assert_int_equal(kt_encode_worker_order(w, &one_more), -EAGAIN);
    for (int i = 1; i < CAP; i++) {
        sem_post(&gate);
    }
    kt_encode_worker_stop(&w, drop);
    assert_int_equal(dropped, CAP - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread),
        cmocka_unit_test(several_threads),
        cmocka_unit_test(a_slow_picture_holds_up_its_thread_only),
        cmocka_unit_test(stopping_gives_back_what_was_not_done),
        cmocka_unit_test(a_full_worker_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
