#include "sim/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int is_of(const struct kt_sim_sample *s, int hit)
{
    return hit == KT_SIM_ANY_HIT || s->hit == hit || (hit == KT_SIM_DRAFTED && s->hit > 0);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value that a share `q` of all lies at or below. */
static double quantile(const double *sorted, size_t n, double q)
{
    size_t i = (size_t)ceil(q * (double)n);
    return n ? sorted[i ? i - 1 : 0] : 0;
}

/* Sorts `values`. */
static struct kt_sim_percentiles percentiles(double *values, size_t n)
{
    struct kt_sim_percentiles p = {.n = n};
    double sum = 0;
    qsort(values, n, sizeof(*values), by_value);
    for (size_t i = 0; i < n; i++) {
        sum += values[i];
    }
    p.p50 = quantile(values, n, 0.50);
    p.p95 = quantile(values, n, 0.95);
    p.p99 = quantile(values, n, 0.99);
    p.mean = n ? sum / (double)n : 0;
    return p;
}

struct kt_sim_percentiles kt_sim_latency(const struct kt_sim_report *r, int hit, double low,
                                         double high, int received)
{
    double *values = malloc((r->sample_count + 1) * sizeof(*values));
    size_t n = 0;
    if (!values) {
        return (struct kt_sim_percentiles){0};
    }
    for (size_t i = 0; i < r->sample_count; i++) {
        const struct kt_sim_sample *s = &r->samples[i];
        if (is_of(s, hit) && s->pause_ms >= low && s->pause_ms < high) {
            values[n++] = received ? s->received_ms : s->shown_ms;
        }
    }
    struct kt_sim_percentiles p = percentiles(values, n);
    free(values);
    return p;
}

struct kt_sim_percentiles kt_sim_preview_latency(const struct kt_sim_report *r)
{
    double *values = malloc((r->sample_count + 1) * sizeof(*values));
    size_t n = 0;
    if (!values) {
        return (struct kt_sim_percentiles){0};
    }
    for (size_t i = 0; i < r->sample_count; i++) {
        if (r->samples[i].preview_ms >= 0) {
            values[n++] = r->samples[i].preview_ms;
        }
    }
    struct kt_sim_percentiles p = percentiles(values, n);
    free(values);
    return p;
}

double kt_sim_hit_rate(const struct kt_sim_report *r)
{
    uint64_t shown = r->hits + r->warm + r->cold;
    return shown ? (double)r->hits / (double)shown : 0;
}

double kt_sim_waste(const struct kt_sim_report *r)
{
    double known = r->useful_ms + r->wasted_ms;
    return known > 0 ? r->wasted_ms / known : 0;
}

int kt_sim_sustained(const struct kt_sim_report *r)
{
    double minutes = r->playing_ms / 60000.0;
    return r->slow_ms <= 0.01 * r->playing_ms && (double)r->holes < minutes;
}

/* ---- JSON ---- */

static json_t *milliseconds(double ms)
{
    return json_real(round(ms * 10) / 10);
}

static json_t *share(double x)
{
    return json_real(round(x * 1e4) / 1e4);
}

static json_t *latency_json(const struct kt_sim_report *r, int hit, double low, double high)
{
    struct kt_sim_percentiles s = kt_sim_latency(r, hit, low, high, 0);
    struct kt_sim_percentiles v = kt_sim_latency(r, hit, low, high, 1);
    return json_pack("{s:I,s:{s:o,s:o,s:o},s:{s:o,s:o,s:o}}", "n", (json_int_t)s.n, "shown_ms",
                     "p50", milliseconds(s.p50), "p95", milliseconds(s.p95), "p99",
                     milliseconds(s.p99), "received_ms", "p50", milliseconds(v.p50), "p95",
                     milliseconds(v.p95), "p99", milliseconds(v.p99));
}

static json_t *preview_json(const struct kt_sim_report *r)
{
    struct kt_sim_percentiles s = kt_sim_preview_latency(r);
    return json_pack("{s:I,s:{s:o,s:o,s:o}}", "n", (json_int_t)s.n, "shown_ms", "p50",
                     milliseconds(s.p50), "p95", milliseconds(s.p95), "p99", milliseconds(s.p99));
}

static json_t *by_pause(const struct kt_sim_report *r)
{
    static const double edges[] = {0, 200, 500, 800, 1100, 1500, 1e9};
    json_t *list = json_array();
    for (size_t i = 0; i + 1 < sizeof(edges) / sizeof(edges[0]); i++) {
        struct kt_sim_percentiles all =
            kt_sim_latency(r, KT_SIM_ANY_HIT, edges[i], edges[i + 1], 0);
        struct kt_sim_percentiles hit = kt_sim_latency(r, 2, edges[i], edges[i + 1], 0);
        if (all.n > 0) {
            json_array_append_new(list,
                                  json_pack("{s:f,s:f,s:I,s:o,s:o,s:o}", "pause_ms_from", edges[i],
                                            "pause_ms_to", edges[i + 1], "n", (json_int_t)all.n,
                                            "hit_rate", share((double)hit.n / (double)all.n), "p50",
                                            milliseconds(all.p50), "p95", milliseconds(all.p95)));
        }
    }
    return list;
}

static json_t *policy_json(const struct kt_policy *p)
{
    return json_pack("{s:i,s:i,s:i,s:i,s:f,s:f,s:f,s:f,s:i,s:i}", "decode_lead", p->decode_lead,
                     "depth", p->depth, "checkpoint_every", p->checkpoint_every, "drafts",
                     p->drafts, "text_after_ms", p->text_after_ms, "draft_after_ms",
                     p->draft_after_ms, "draft_keep_ms", p->draft_keep_ms, "reserve_ms",
                     p->reserve_ms, "drafts_first", p->drafts_first, "fifo", p->fifo);
}

static json_t *world_json(const struct kt_sim_params *p)
{
    return json_pack("{s:i,s:i,s:f,s:I,s:s,s:i,s:f,s:f,s:i,s:i,s:b,s:o}", "devices", p->devices,
                     "sessions", p->sessions, "seconds", p->seconds, "seed", (json_int_t)p->seed,
                     "costs", p->costs.name, "steps", p->settings.steps, "pause_ms_from",
                     p->people.enter_ms.low, "pause_ms_to", p->people.enter_ms.high, "cut",
                     (int)p->cut, "recache", p->recache, "preview", p->settings.preview, "policy",
                     policy_json(&p->policy));
}

static json_t *sessions_json(const struct kt_sim_report *r)
{
    return json_pack("{s:i,s:i,s:i,s:i,s:o,s:o,s:i,s:b,s:o}", "let_in", r->sessions_in,
                     "queued_ever", r->queued_ever, "queued_at_end", r->sessions_queued, "left",
                     r->sessions_left, "queue_ms_mean", milliseconds(r->queue_ms_mean),
                     "queue_ms_max", milliseconds(r->queue_ms_max), "per_device_max",
                     r->at_once_max, "sustained", kt_sim_sustained(r), "start_ms_mean",
                     milliseconds(r->start_ms_mean));
}

static json_t *commits_json(const struct kt_sim_report *r)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o}", "made", (json_int_t)r->commits, "applied",
                     (json_int_t)r->applied, "overtaken", (json_int_t)r->overtaken, "open",
                     (json_int_t)r->open_commits, "ready", (json_int_t)r->hits, "begun",
                     (json_int_t)r->warm, "cold", (json_int_t)r->cold, "hit_rate",
                     share(kt_sim_hit_rate(r)));
}

static json_t *video_json(const struct kt_sim_report *r)
{
    double minutes = r->playing_ms / 60000;
    return json_pack(
        "{s:I,s:I,s:I,s:o,s:o,s:o,s:o,s:I,s:I,s:o,s:I}", "pictures", (json_int_t)r->pictures,
        "holes", (json_int_t)r->holes, "sessions_with_holes", (json_int_t)r->holey_sessions,
        "holes_per_minute", share(minutes > 0 ? (double)r->holes / minutes : 0), "hole_ms",
        milliseconds(r->hole_ms), "hole_max_ms", milliseconds(r->hole_max_ms), "slow",
        share(r->playing_ms > 0 ? r->slow_ms / r->playing_ms : 0), "stale", (json_int_t)r->stale,
        "sent_and_replaced", (json_int_t)r->unshown, "jump_frames_mean",
        share(r->flushes ? (double)r->jump_frames / (double)r->flushes : 0), "jump_frames_max",
        (json_int_t)r->jump_max);
}

/* What the pages and tails of one device take at the costs' resolution. */
static double pools_gb(const struct kt_sim_params *p, const struct kt_sim_report *r)
{
    return (r->pages_max * p->costs.page_mb + r->tails_max * p->costs.tail_mb) / 1000;
}

static json_t *memory_json(const struct kt_sim_params *p, const struct kt_sim_report *r)
{
    return json_pack("{s:i,s:i,s:i,s:i,s:i,s:i,s:o}", "pages_used_max", r->pages_used_max,
                     "pages_max", r->pages_max, "tails_used_max", r->tails_used_max, "tails_max",
                     r->tails_max, "pictures_used_max", r->frames_used_max, "pictures_max",
                     r->frames_max, "pools_gb", milliseconds(pools_gb(p, r)));
}

static json_t *device_json(const struct kt_sim_params *p, const struct kt_sim_report *r)
{
    json_t *jobs = json_object();
    for (int i = 1; i < KT_JOB_KINDS; i++) {
        if (r->jobs[i] > 0) {
            json_object_set_new(jobs, kt_job_name((enum kt_job_kind)i),
                                json_pack("{s:I,s:o}", "n", (json_int_t)r->jobs[i], "ms",
                                          milliseconds(r->job_ms[i])));
        }
    }
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "use", share(r->busy_ms / r->device_ms),
                     "busy_ms", milliseconds(r->busy_ms), "useful_ms", milliseconds(r->useful_ms),
                     "wasted_ms", milliseconds(r->wasted_ms), "wasted_share",
                     share(kt_sim_waste(r)), "memory", memory_json(p, r), "jobs", jobs);
}

static json_t *faults_json(const struct kt_sim_report *r)
{
    const struct kt_sim_faults *f = &r->faults;
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:s}", "jobs", (json_int_t)f->jobs, "memory",
                     (json_int_t)f->memory, "idle", (json_int_t)f->idle, "promoted",
                     (json_int_t)f->promoted, "lost", (json_int_t)f->lost, "backwards",
                     (json_int_t)r->backwards, "starved", (json_int_t)r->starved, "wait_max_ms",
                     milliseconds(r->wait_max_ms), "first", f->first);
}

json_t *kt_sim_report_json(const struct kt_sim_params *p, const struct kt_sim_report *r)
{
    return json_pack("{s:o,s:o,s:o,s:{s:o,s:o,s:o,s:o,s:o,s:o,s:o},s:o,s:o,s:o,s:I}", "world",
                     world_json(p), "sessions", sessions_json(r), "commits", commits_json(r),
                     "enter_to_picture", "all", latency_json(r, KT_SIM_ANY_HIT, 0, 1e9), "drafted",
                     latency_json(r, KT_SIM_DRAFTED, 0, 1e9), "ready", latency_json(r, 2, 0, 1e9),
                     "begun", latency_json(r, 1, 0, 1e9), "cold", latency_json(r, 0, 0, 1e9),
                     "preview", preview_json(r), "by_pause", by_pause(r), "video", video_json(r),
                     "device", device_json(p, r), "faults", faults_json(r), "events",
                     (json_int_t)r->events);
}
