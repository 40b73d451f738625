#include "sim/memory.h"

#include <errno.h>
#include <string.h>

#include "engine/base/assert.h"

int kt_sim_memory_init(struct kt_sim_memory *m, const struct kt_sim_memory_params *p,
                       struct kt_device *host, struct kt_error *err)
{
    int lists = p->shape.window + p->shape.slack + p->block_latents;
    int items = p->timelines_max * lists + p->snapshots_max * p->shape.slack + p->shape.window;
    int clean = p->timelines_max * lists + p->snapshots_max * (p->shape.window + p->shape.slack) +
                p->shape.window;
    items = p->percent ? items * p->percent / 100 : items;
    *m = (struct kt_sim_memory){.p = *p};
    int rc = kt_slab_init(&m->pages, host, 1, items, "pages");
    rc = rc < 0 ? rc : kt_slab_init(&m->clean, host, 1, clean, "latents");
    if (rc < 0) {
        return kt_fail(err, rc, "simulated device: out of memory");
    }
    return kt_tail_pool_open(
        &m->tails, host, 1,
        p->timelines_max * (p->tails_kept + 1) + p->snapshots_max * KT_SIM_SNAPSHOT_TAILS, err);
}

void kt_sim_memory_finish(struct kt_sim_memory *m)
{
    kt_tail_pool_close(&m->tails);
    kt_slab_finish(&m->clean);
    kt_slab_finish(&m->pages);
}

static int take(struct kt_sim_memory *m, struct kt_slab *slab, struct kt_slab_item **out, int n)
{
    if (slab->count - slab->used < n) {
        m->refused++;
        return -ENOBUFS;
    }
    for (int i = 0; i < n; i++) {
        out[i] = kt_slab_take(slab);
    }
    if (m->pages.used > m->pages_used_max) {
        m->pages_used_max = m->pages.used;
    }
    return 0;
}

void kt_sim_stream_clear(struct kt_sim_stream *s)
{
    if (s->there) {
        kt_history_clear(&s->h);
        s->there = 0;
    }
}

int kt_sim_stream_fork(struct kt_sim_memory *m, struct kt_sim_stream *dst,
                       const struct kt_sim_stream *src, int64_t at)
{
    KT_ASSERT(!dst->there && src->there);
    kt_history_copy(&dst->h, &src->h);
    dst->there = 1;
    int rc = at < dst->h.latents ? kt_history_rewind(&dst->h, &m->p.shape, at) : 0;
    if (rc < 0 || at > dst->h.latents) {
        kt_sim_stream_clear(dst);
        return -ERANGE;
    }
    return 0;
}

void kt_sim_stream_snapshot(struct kt_sim_stream *dst, const struct kt_sim_stream *src)
{
    KT_ASSERT(!dst->there && src->there);
    kt_history_copy(&dst->h, &src->h);
    kt_history_trim_tails(&dst->h, KT_SIM_SNAPSHOT_TAILS);
    dst->there = 1;
}

int kt_sim_stream_recache(struct kt_sim_memory *m, struct kt_sim_stream *s, int keep_sink,
                          int limit)
{
    struct kt_recache_plan plan;
    struct kt_slab_item *pages[KT_SLOTS_MAX];
    if (s->h.latents == 0) {
        return 0;
    }
    kt_history_plan_recache(&s->h, &m->p.shape, keep_sink, limit, &plan);
    int rc = take(m, &m->pages, pages, plan.frames);
    if (rc == 0) {
        kt_history_apply_recache(&s->h, &m->p.shape, &plan, pages);
    }
    return rc < 0 ? rc : plan.frames;
}

int kt_sim_stream_append(struct kt_sim_memory *m, struct kt_sim_stream *s)
{
    struct kt_slab_item *pages[KT_SLACK_MAX], *clean[KT_SLACK_MAX];
    int n = m->p.block_latents, rc = take(m, &m->pages, pages, n);
    if (rc < 0) {
        return rc;
    }
    rc = take(m, &m->clean, clean, n);
    for (int i = 0; i < n; i++) {
        if (rc < 0) {
            kt_slab_unref(&pages[i]);
        } else {
            kt_history_append(&s->h, &m->p.shape, pages[i], clean[i]);
        }
    }
    return rc;
}

static int push_tail(struct kt_sim_memory *m, struct kt_sim_stream *s)
{
    struct kt_vae_tail *tail = kt_tail_take(m->tails);
    if (!tail) {
        m->refused++;
        return -ENOBUFS;
    }
    kt_history_push_tail(&s->h, tail, m->p.tails_kept);
    if (kt_tail_pool_in_use(m->tails) > m->tails_used_max) {
        m->tails_used_max = kt_tail_pool_in_use(m->tails);
    }
    return 0;
}

int kt_sim_stream_decode(struct kt_sim_memory *m, struct kt_sim_stream *s)
{
    return s->h.decoded < s->h.latents ? push_tail(m, s) : -EAGAIN;
}

int kt_sim_stream_resume(struct kt_sim_memory *m, struct kt_sim_stream *s, int64_t at)
{
    struct kt_slab_item *pages[KT_SLOTS_MAX], *clean[KT_SLOTS_MAX];
    int n = at < m->p.shape.window ? (int)at : m->p.shape.window;
    KT_ASSERT(!s->there);
    int rc = take(m, &m->pages, pages, n);
    if (rc < 0) {
        return rc;
    }
    rc = take(m, &m->clean, clean, n);
    if (rc < 0) {
        for (int i = 0; i < n; i++) {
            kt_slab_unref(&pages[i]);
        }
        return rc;
    }
    memset(&s->h, 0, sizeof(s->h));
    s->there = 1;
    for (int i = 0; i < n; i++) {
        kt_history_append(&s->h, &m->p.shape, pages[i], clean[i]);
    }
    s->h.latents = s->h.floor = at;
    s->h.decoded = at - 1;
    rc = push_tail(m, s);
    if (rc < 0) {
        kt_sim_stream_clear(s);
    }
    return rc < 0 ? rc : n;
}
