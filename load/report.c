#include "load/report.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* Which commits a row of the report is about. */
struct choice {
    int hit;                        /* enum kt_hit, or -1: any */
    int pause_from_ms, pause_to_ms; /* [from, to) */
    const char *cut;                /* NULL: any */
};

static const struct choice every = {-1, 0, INT32_MAX, NULL};
static const int pauses_ms[] = {0, 350, 600, 900, 1200, INT32_MAX};
static const char *const stages[KT_TIMING_COUNT] = {"queue",  "text",    "recache", "denoise",
                                                    "decode", "convert", "encode",  "send"};

static json_t *number(double x)
{
    return json_real((double)(int64_t)(x * 1000 + (x < 0 ? -0.5 : 0.5)) / 1000);
}

static json_t *percentiles(struct kt_tally *s)
{
    const struct kt_percentiles p = kt_tally_percentiles(s);
    json_t *o = json_object();
    json_object_set_new(o, "p50", p.n ? number(p.p50) : json_null());
    json_object_set_new(o, "p95", p.n ? number(p.p95) : json_null());
    json_object_set_new(o, "p99", p.n ? number(p.p99) : json_null());
    json_object_set_new(o, "n", json_integer(p.n));
    return o;
}

static int chosen(const struct choice *w, const struct kt_commit *c)
{
    return c->applied && !c->opening && (w->hit < 0 || w->hit == (int)c->hit) &&
           c->pause_ms >= w->pause_from_ms && c->pause_ms < w->pause_to_ms &&
           (!w->cut || strcmp(w->cut, c->cut) == 0);
}

static json_t *latency(const struct kt_load_results *r, const struct choice *w, size_t moment)
{
    struct kt_tally s = {0};
    for (int i = 0; i < r->commit_count; i++) {
        const struct kt_commit *c = &r->commits[i];
        const int64_t at = *(const int64_t *)((const char *)c + moment);
        if (at && chosen(w, c)) {
            kt_tally_add(&s, (double)(at - c->sent_us) * 1e-3);
        }
    }
    json_t *o = percentiles(&s);
    kt_tally_free(&s);
    return o;
}

#define MOMENT(member) offsetof(struct kt_commit, member)

static void set_latencies(json_t *o, const struct kt_load_results *r, const struct choice *w)
{
    json_object_set_new(o, "received_ms", latency(r, w, MOMENT(received_us)));
    json_object_set_new(o, "decoded_ms", latency(r, w, MOMENT(decoded_us)));
    json_object_set_new(o, "shown_ms", latency(r, w, MOMENT(shown_us)));
}

static json_t *latencies(const struct kt_load_results *r, const struct choice *w)
{
    json_t *o = json_object();
    set_latencies(o, r, w);
    return o;
}

static int64_t count(const struct kt_load_results *r, const struct choice *w)
{
    int64_t n = 0;
    for (int i = 0; i < r->commit_count; i++) {
        n += chosen(w, &r->commits[i]);
    }
    return n;
}

/* Commits whose draft was so far, of all answered ones. */
static json_t *rate(const struct kt_load_results *r, struct choice w, enum kt_hit hit)
{
    const int64_t all = count(r, &w);
    w.hit = (int)hit;
    return all ? number((double)count(r, &w) / (double)all) : json_null();
}

static json_t *by_pause(const struct kt_load_results *r)
{
    json_t *rows = json_array();
    for (size_t i = 0; i + 1 < sizeof(pauses_ms) / sizeof(pauses_ms[0]); i++) {
        const struct choice w = {-1, pauses_ms[i], pauses_ms[i + 1], NULL};
        json_t *o = json_object();
        json_object_set_new(o, "from_ms", json_integer(w.pause_from_ms));
        json_object_set_new(o, "to_ms",
                            w.pause_to_ms == INT32_MAX ? json_null() : json_integer(w.pause_to_ms));
        json_object_set_new(o, "n", json_integer(count(r, &w)));
        json_object_set_new(o, "hit_rate", rate(r, w, KT_HIT_READY));
        set_latencies(o, r, &w);
        json_array_append_new(rows, o);
    }
    return rows;
}

static json_t *by_cut(const struct kt_load_results *r)
{
    json_t *o = json_object();
    for (int i = 0; i < r->commit_count; i++) {
        const struct choice w = {-1, 0, INT32_MAX, r->commits[i].cut};
        if (w.cut[0] && !json_object_get(o, w.cut)) {
            json_t *row = latencies(r, &w);
            json_object_set_new(row, "n", json_integer(count(r, &w)));
            json_object_set_new(o, w.cut, row);
        }
    }
    return o;
}

/* ---- stages ---- */

static json_t *switch_stages(const struct kt_load_results *r, enum kt_hit hit)
{
    const struct choice w = {(int)hit, 0, INT32_MAX, NULL};
    json_t *o = json_object();
    for (int t = 0; t < KT_TIMING_COUNT; t++) {
        struct kt_tally s = {0};
        for (int i = 0; i < r->commit_count; i++) {
            if (chosen(&w, &r->commits[i]) && r->commits[i].received_us) {
                kt_tally_add(&s, r->commits[i].timings[t] * 0.1);
            }
        }
        json_object_set_new(o, stages[t], percentiles(&s));
        kt_tally_free(&s);
    }
    return o;
}

static json_t *picture_stages(struct kt_load_results *r)
{
    json_t *o = json_object();
    for (int t = 0; t < KT_TIMING_COUNT; t++) {
        json_object_set_new(o, stages[t], percentiles(&r->stage_ms[t]));
    }
    json_object_set_new(o, "transit", percentiles(&r->transit_ms));
    json_object_set_new(o, "client_decode", percentiles(&r->decode_ms));
    return o;
}

/* ---- the parts ---- */

static json_t *text(const char *s)
{
    return s ? json_string(s) : json_null();
}

/* The `set` message without its type; null: as the server has it. */
static json_t *settings(const char *message)
{
    json_t *o = message ? json_loads(message, 0, NULL) : NULL;
    json_object_del(o, "type");
    return o ? o : json_null();
}

static json_t *run_part(const struct kt_load_results *r, const struct kt_report_facts *f)
{
    const struct kt_load_params *p = f->params;
    char seed[24];
    snprintf(seed, sizeof(seed), "%llu", (unsigned long long)p->seed);
    return json_pack("{s:s s:o s:i s:o s:o s:s s:s s:b s:i s:o}", //
                     "url", p->url,                               //
                     "script", text(f->script_path),              //
                     "clients", p->clients,                       //
                     "seconds", number(r->seconds),               //
                     "seconds_asked", number(p->seconds),         //
                     "seed", seed,                                //
                     "codec", kt_codec_name(p->codec),            //
                     "decode", p->decode,                         //
                     "refresh_hz", p->refresh_hz,                 //
                     "settings", settings(p->settings));
}

static json_t *maybe(double x)
{
    return x < 0 ? json_null() : number(x);
}

static json_t *server_part(const struct kt_load_results *r, const struct kt_report_facts *f)
{
    return json_pack("{s:s s:i s:i s:i s:i s:i s:s s:o s:o}", "model", r->model, "width", r->width,
                     "height", r->height, "fps", r->target_fps, "steps", r->steps, "steps_lowest",
                     r->steps_lowest, "codec", r->codec, "rss_mib", maybe(f->after.rss_mib),
                     "rss_mib_before", maybe(f->before.rss_mib));
}

static json_t *clients_part(struct kt_load_results *r)
{
    return json_pack("{s:i s:i s:i s:i s:i s:o}", "asked", r->clients, "opened", r->opened,
                     "refused", r->refused, "queued", r->queued, "lost", r->lost, "queue_ms",
                     percentiles(&r->queue_ms));
}

static json_t *commits_part(const struct kt_load_results *r)
{
    const int64_t *e = r->commits_ended;
    int64_t opening = 0;
    for (int i = 0; i < r->commit_count; i++) {
        opening += r->commits[i].opening;
    }
    return json_pack("{s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I}",         //
                     "sent", r->commits_sent,                             //
                     "applied", e[KT_COMMIT_SHOWN] + e[KT_COMMIT_PASSED], //
                     "shown", e[KT_COMMIT_SHOWN],                         //
                     "passed", e[KT_COMMIT_PASSED],                       //
                     "overtaken", e[KT_COMMIT_OVERTAKEN],                 //
                     "failed", e[KT_COMMIT_FAILED],                       //
                     "unanswered", e[KT_COMMIT_UNANSWERED],               //
                     "opening", opening,                                  //
                     "edits", r->edits_sent,                              //
                     "resyncs", r->resyncs);
}

static json_t *drops_part(const struct kt_load_results *r)
{
    return json_pack("{s:I s:I s:I s:I s:I s:I}", "gaps", r->gaps, "flushed", r->flushed,
                     "overflowed", r->overflowed, "outdated", r->outdated, "decode_errors",
                     r->decode_errors, "key_requests", r->key_requests);
}

static json_t *stalls_part(const struct kt_load_results *r)
{
    return json_pack("{s:I s:o s:o}", "count", r->stalls, "total_ms",
                     number((double)r->stall_us * 1e-3), "longest_ms",
                     number((double)r->stall_longest_us * 1e-3));
}

static json_t *pictures_part(const struct kt_load_results *r)
{
    return json_pack("{s:I s:I s:I s:I s:I s:I}", "received", r->received, "shown", r->shown,
                     "previews", r->previews, "keys", r->keys, "bytes", r->bytes, "rebased",
                     r->rebased);
}

static json_t *preview_part(const struct kt_load_results *r)
{
    json_t *o = json_object();
    json_object_set_new(o, "received_ms", latency(r, &every, MOMENT(preview_received_us)));
    json_object_set_new(o, "shown_ms", latency(r, &every, MOMENT(preview_shown_us)));
    return o;
}

static json_t *errors_part(const struct kt_load_results *r)
{
    json_t *o = json_object();
    for (int i = 0; i < KT_ERROR_CODES_MAX && r->errors[i].n; i++) {
        json_object_set_new(o, r->errors[i].code, json_integer(r->errors[i].n));
    }
    return o;
}

/* ---- every commit ---- */

static json_t *since(const struct kt_commit *c, int64_t at_us)
{
    return at_us ? number((double)(at_us - c->sent_us) * 1e-3) : json_null();
}

static json_t *commit_row(const struct kt_load_results *r, const struct kt_commit *c)
{
    static const char *const ends[KT_COMMIT_END_COUNT] = {"open",      "shown",  "passed",
                                                          "overtaken", "failed", "unanswered"};
    static const char *const hits[KT_HIT_COUNT] = {"cold", "begun", "ready"};
    return json_pack("{s:i s:o s:i s:s s:b s:s s:s s:o s:o s:o s:o s:o s:o}",   //
                     "client", c->client,                                       //
                     "at_s", number((double)(c->sent_us - r->begin_us) * 1e-6), //
                     "pause_ms", c->pause_ms,                                   //
                     "end", ends[c->end],                                       //
                     "opening", c->opening,                                     //
                     "hit", hits[c->hit],                                       //
                     "cut", c->cut,                                             //
                     "applied_ms", since(c, c->applied_us),                     //
                     "received_ms", since(c, c->received_us),                   //
                     "decoded_ms", since(c, c->decoded_us),                     //
                     "shown_ms", since(c, c->shown_us),                         //
                     "preview_ms", since(c, c->preview_shown_us),               //
                     "transit_ms",
                     c->transit_us < 0 ? json_null() : number((double)c->transit_us * 1e-3));
}

static json_t *commit_rows(const struct kt_load_results *r)
{
    json_t *rows = json_array();
    for (int i = 0; i < r->commit_count; i++) {
        json_array_append_new(rows, commit_row(r, &r->commits[i]));
    }
    return rows;
}

static void set_screen(json_t *o, struct kt_load_results *r)
{
    const double lowest = r->fps.count ? (kt_tally_percentiles(&r->fps), r->fps.value[0]) : 0;
    json_object_set_new(o, "fps", number(r->fps.seen ? r->fps.sum / (double)r->fps.seen : 0));
    json_object_set_new(o, "fps_lowest", number(lowest));
    json_object_set_new(o, "stalls", stalls_part(r));
    json_object_set_new(o, "stale_frames", json_integer(r->stale));
    json_object_set_new(o, "disordered", json_integer(r->disordered));
    json_object_set_new(o, "wrong_revision", json_integer(r->wrong_revision));
    json_object_set_new(o, "deadline_misses", json_integer(r->late + r->missed));
    json_object_set_new(o, "late_pictures", json_integer(r->late));
    json_object_set_new(o, "drops", drops_part(r));
    json_object_set_new(o, "pictures", pictures_part(r));
}

/* What the counters grew by during the run. */
static double growth(double before, double after)
{
    return before < 0 || after < before ? -1 : after - before;
}

static void set_device(json_t *o, const struct kt_report_facts *f)
{
    const double wasted = growth(f->before.wasted_ms, f->after.wasted_ms);
    const double busy = growth(f->before.busy_ms, f->after.busy_ms);
    json_object_set_new(o, "wasted_device_ms", maybe(wasted));
    json_object_set_new(o, "busy_device_ms", maybe(busy));
    json_object_set_new(o, "wasted_share", maybe(wasted < 0 || busy <= 0 ? -1 : wasted / busy));
}

/* What the server counted meanwhile; what is no counter, as it is at the end. */
static json_t *metrics_part(const struct kt_report_facts *f)
{
    json_t *o = json_object();
    for (int i = 0; i < f->after.count; i++) {
        const char *name = f->after.value[i].name;
        double x = f->after.value[i].value;
        for (int b = 0; strstr(name, "_total") && b < f->before.count; b++) {
            x -= strcmp(f->before.value[b].name, name) == 0 ? f->before.value[b].value : 0;
        }
        json_object_set_new(o, name, number(x));
    }
    return o;
}

json_t *kt_report_json(struct kt_load_results *r, const struct kt_report_facts *f)
{
    static const struct choice ready = {KT_HIT_READY, 0, INT32_MAX, NULL},
                               begun = {KT_HIT_BEGUN, 0, INT32_MAX, NULL},
                               cold = {KT_HIT_COLD, 0, INT32_MAX, NULL};
    json_t *o = json_object();
    json_object_set_new(o, "report", json_string("kinetype load"));
    json_object_set_new(o, "version", json_integer(1));
    json_object_set_new(o, "run", run_part(r, f));
    json_object_set_new(o, "server", server_part(r, f));
    json_object_set_new(o, "clients", clients_part(r));
    json_object_set_new(o, "commits", commits_part(r));
    json_object_set_new(o, "drafted", latencies(r, &ready));
    json_object_set_new(o, "begun", latencies(r, &begun));
    json_object_set_new(o, "cold", latencies(r, &cold));
    json_object_set_new(o, "all", latencies(r, &every));
    json_object_set_new(o, "preview", preview_part(r));
    json_object_set_new(o, "hit_rate", rate(r, every, KT_HIT_READY));
    json_object_set_new(o, "begun_rate", rate(r, every, KT_HIT_BEGUN));
    json_object_set_new(o, "by_pause", by_pause(r));
    json_object_set_new(o, "by_cut", by_cut(r));
    set_screen(o, r);
    set_device(o, f);
    json_object_set_new(o, "stages",
                        json_pack("{s:o s:o s:o s:o}", "cold", switch_stages(r, KT_HIT_COLD),
                                  "begun", switch_stages(r, KT_HIT_BEGUN), "drafted",
                                  switch_stages(r, KT_HIT_READY), "pictures", picture_stages(r)));
    json_object_set_new(o, "rtt_ms", percentiles(&r->rtt_ms));
    json_object_set_new(o, "errors", errors_part(r));
    json_object_set_new(o, "bad_messages", json_integer(r->bad_messages));
    json_object_set_new(o, "problem", r->problem[0] ? json_string(r->problem) : json_null());
    json_object_set_new(o, "metrics", metrics_part(f));
    json_object_set_new(o, "samples", commit_rows(r));
    return o;
}

int kt_report_broken(const struct kt_load_results *r)
{
    return r->decode_errors > 0 || r->bad_messages > 0 || r->stale > 0 || r->disordered > 0 ||
           r->wrong_revision > 0 || r->gaps > 0 || r->lost > 0 || r->opened == 0;
}
