#include "server/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void head(FILE *f, const char *name, const char *type, const char *help)
{
    fprintf(f, "# HELP kinetype_%s %s\n# TYPE kinetype_%s %s\n", name, help, name, type);
}

static void gauge(FILE *f, const char *name, double value, const char *help)
{
    head(f, name, "gauge", help);
    fprintf(f, "kinetype_%s %.17g\n", name, value);
}

/* `name` ends in _total. */
static void counter(FILE *f, const char *name, uint64_t value, const char *help)
{
    head(f, name, "counter", help);
    fprintf(f, "kinetype_%s %llu\n", name, (unsigned long long)value);
}

static void seconds_counter(FILE *f, const char *name, double ms, const char *help)
{
    head(f, name, "counter", help);
    fprintf(f, "kinetype_%s %.17g\n", name, ms * 1e-3);
}

static void labelled(FILE *f, const char *name, const char *label, const char *value, double x)
{
    fprintf(f, "kinetype_%s{%s=\"%s\"} %.17g\n", name, label, value, x);
}

/* Label values may hold anything; the format escapes three characters. */
static void print_escaped(FILE *f, const char *s)
{
    for (; *s; s++) {
        if (*s == '\n') {
            fputs("\\n", f);
        } else {
            if (*s == '"' || *s == '\\') {
                fputc('\\', f);
            }
            fputc(*s, f);
        }
    }
}

static void print_build(FILE *f, const struct kt_metrics *m)
{
    head(f, "build_info", "gauge", "What runs here; the value is always 1.");
    fprintf(f, "kinetype_build_info{version=\"");
    print_escaped(f, m->version);
    fprintf(f, "\",model=\"");
    print_escaped(f, m->model);
    fprintf(f, "\",device=\"");
    print_escaped(f, m->device);
    fprintf(f, "\"} 1\n");
    gauge(f, "ready", m->ready, "1 when the model is warm.");
    if (m->resident_bytes) {
        /* The name that every exporter uses, so that dashboards find it. */
        fprintf(f,
                "# HELP process_resident_memory_bytes Resident memory size in bytes.\n"
                "# TYPE process_resident_memory_bytes gauge\n"
                "process_resident_memory_bytes %zu\n",
                m->resident_bytes);
    }
}

static void print_hub(FILE *f, const struct kt_metrics *m)
{
    const struct kt_counts *c = m->counts;
    head(f, "sessions", "gauge", "Sessions by state; a sleeping one may be resumed.");
    labelled(f, "sessions", "state", "awake", m->sessions_awake);
    labelled(f, "sessions", "state", "asleep", m->sessions_asleep);
    labelled(f, "sessions", "state", "closing", m->sessions_closing);
    gauge(f, "sessions_limit", m->sessions_max, "Places for sessions.");
    gauge(f, "connections", m->clients, "WebSockets that are open.");
    gauge(f, "queue_length", m->waiting, "Clients that wait for a place.");
    gauge(f, "admit_steps", m->lane->admit_steps,
          "Denoising steps that one more session could have; 0: it would have to wait.");
    counter(f, "sessions_opened_total", c->sessions, "Sessions that got a place.");
    counter(f, "sessions_closed_total", c->closed, "Sessions that ended.");
    seconds_counter(f, "sessions_seconds_total", (double)c->stayed_us * 1e-3,
                    "How long the sessions that ended were, together.");
    counter(f, "queued_total", m->queued, "Clients that had to wait.");
    counter(f, "refused_total", m->refused, "Clients that were sent away.");
}

static void print_prompts(FILE *f, const struct kt_metrics *m)
{
    const struct kt_board_counters *b = &m->lane->board;
    counter(f, "commits_total", b->commits, "Prompts that were committed.");
    head(f, "commit_hits_total", "counter",
         "Commits by how far their draft was: ready to be shown, begun, or not there.");
    labelled(f, "commit_hits_total", "hit", "ready", (double)b->hits);
    labelled(f, "commit_hits_total", "hit", "begun", (double)b->warm);
    labelled(f, "commit_hits_total", "hit", "cold", (double)b->cold);
    counter(f, "commits_overtaken_total", b->overtaken,
            "Commits that never took effect because another one came.");
    counter(f, "prompts_applied_total", m->counts->applied, "Epochs that began.");
    counter(f, "prompts_failed_total", m->counts->failed, "Prompts that could not be used.");
    counter(f, "drafts_total", b->drafts, "Branches that were begun for a draft.");
    counter(f, "drafts_ready_total", m->counts->drafted, "Drafts whose first pictures were ready.");
    gauge(f, "drafts", m->lane->drafts_now, "Branches that are there now.");
    counter(f, "promotions_total", b->promotions, "Branches that were shown.");
    counter(f, "branches_dropped_total", b->drops, "Branches that were thrown away.");
    gauge(f, "speculation_depth_latents", m->lane->depth_now,
          "Latents made ahead and not decoded, all sessions.");
}

static void print_device(FILE *f, const struct kt_metrics *m)
{
    const struct kt_lane_stats *l = m->lane;
    seconds_counter(f, "device_busy_seconds_total", l->board.busy_ms, "Device time used.");
    seconds_counter(f, "device_wasted_seconds_total", l->board.wasted_ms,
                    "Device time of branches and blocks that were never shown.");
    head(f, "evictions_total", "counter", "What was given up for want of memory.");
    labelled(f, "evictions_total", "what", "draft", (double)l->board.evicted_drafts);
    labelled(f, "evictions_total", "what", "checkpoint", (double)l->board.evicted_checkpoints);
    labelled(f, "evictions_total", "what", "block", (double)l->board.evicted_blocks);
    gauge(f, "pages_used", l->pages_used, "Pages of the K/V cache in use.");
    gauge(f, "pages_limit", l->pages_max, "Pages of the K/V cache.");
    gauge(f, "vae_tails_used", l->tails_used, "Decoder states in use.");
    gauge(f, "contexts_used", l->contexts_used, "Encoded prompts that are kept.");
    gauge(f, "archive_bytes", (double)l->archive_bytes, "Host memory of cold latents.");
    gauge(f, "frames_free", l->frames_free, "Picture buffers that are free.");
    gauge(f, "frames_limit", l->frames_total, "Picture buffers.");
    head(f, "ring_length", "gauge", "What waits between the loop and the lane.");
    labelled(f, "ring_length", "ring", "commands", l->commands_waiting);
    labelled(f, "ring_length", "ring", "events", l->events_waiting);
    counter(f, "commands_dropped_total", l->commands_dropped,
            "Commands that another one overtook in the lane.");
    counter(f, "events_stalled_total", l->events_stalled,
            "Times the lane waited because its events were not taken.");
    counter(f, "decisions_total", l->records, "Records for the decision log.");
    counter(f, "decisions_written_total", m->journal.written, "Records in the decision log.");
    counter(f, "decisions_lost_total", m->journal.lost,
            "Records that the decision log has no line for.");
}

static void print_pictures(FILE *f, const struct kt_metrics *m)
{
    const struct kt_counts *c = m->counts;
    counter(f, "frames_decoded_total", m->lane->frames, "Pictures that the decoder made.");
    counter(f, "frames_discarded_total", m->lane->discarded_frames,
            "Pictures decoded and never handed on.");
    counter(f, "previews_decoded_total", m->lane->previews, "Preview pictures made.");
    counter(f, "pictures_total", c->pictures, "Pictures handed to a client's queue.");
    counter(f, "pictures_key_total", c->key_pictures, "Key pictures among them.");
    counter(f, "pictures_late_total", c->late,
            "Pictures after a stall or a pause: their time had passed.");
    counter(f, "pictures_flushed_total", c->flushed,
            "Encoded pictures that a newer prompt replaced before they were sent.");
    counter(f, "pictures_dropped_total", c->dropped,
            "Raw pictures that a newer prompt replaced before they were encoded.");
    counter(f, "previews_total", c->previews, "Preview pictures handed to a client's queue.");
    counter(f, "previews_dropped_total", c->previews_dropped,
            "Preview pictures that were overtaken or too many.");
    counter(f, "encode_failures_total", c->encode_failures, "Pictures that the encoder refused.");
    counter(f, "sent_bytes_total", c->sent_bytes, "Bytes of pictures handed to sockets.");
    gauge(f, "raw_pictures", m->raw_pictures, "Pictures that wait for their moment.");
    gauge(f, "encode_queue_length", m->encode_waiting, "Orders that the encoder has to answer.");
    head(f, "outq_length", "gauge", "What waits to be written to clients.");
    labelled(f, "outq_length", "kind", "pictures", m->outq_pictures);
    labelled(f, "outq_length", "kind", "texts", m->outq_texts);
    gauge(f, "outq_text_bytes", m->outq_bytes, "Bytes of the texts among it.");
    gauge(f, "packets_free", m->packets_free, "Packets for pictures that are free.");
}

static void histogram(FILE *f, const char *name, const char *stage, const struct kt_stage_stats *s)
{
    uint64_t below = 0;
    for (int i = 0; i < KT_HISTOGRAM; i++) {
        const double bound = kt_stage_bound_ms(i);
        below += s->bucket[i];
        if (isfinite(bound)) {
            fprintf(f, "kinetype_%s_bucket{stage=\"%s\",le=\"%g\"} %llu\n", name, stage,
                    bound * 1e-3, (unsigned long long)below);
        }
    }
    /* From one reading: a count taken a moment later could disagree. */
    fprintf(f, "kinetype_%s_bucket{stage=\"%s\",le=\"+Inf\"} %llu\n", name, stage,
            (unsigned long long)below);
    fprintf(f, "kinetype_%s_sum{stage=\"%s\"} %.17g\n", name, stage, s->sum_ms * 1e-3);
    fprintf(f, "kinetype_%s_count{stage=\"%s\"} %llu\n", name, stage, (unsigned long long)below);
}

static void print_stages(FILE *f, const struct kt_metrics *m)
{
    static const enum kt_job_kind device_work[] = {KT_JOB_TEXT,  KT_JOB_CUT,    KT_JOB_BEGIN,
                                                   KT_JOB_STEP,  KT_JOB_COMMIT, KT_JOB_CACHE,
                                                   KT_JOB_BLEND, KT_JOB_DECODE, KT_JOB_PREVIEW};
    head(f, "stage_seconds", "histogram", "Time that one piece of work took.");
    for (size_t i = 0; i < sizeof(device_work) / sizeof(device_work[0]); i++) {
        histogram(f, "stage_seconds", kt_job_name(device_work[i]), &m->lane->stage[device_work[i]]);
    }
    histogram(f, "stage_seconds", "encode", &m->counts->encode);
}

char *kt_metrics_print(const struct kt_metrics *m, size_t *n)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, n);
    if (!f) {
        return NULL;
    }
    print_build(f, m);
    print_hub(f, m);
    print_prompts(f, m);
    print_device(f, m);
    print_pictures(f, m);
    print_stages(f, m);
    const int failed = ferror(f);
    if (fclose(f) != 0 || failed) {
        free(text);
        return NULL;
    }
    return text;
}

size_t kt_metrics_resident_bytes(void)
{
    unsigned long long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    const int read = f ? fscanf(f, "%llu %llu", &size, &resident) : 0;
    if (f) {
        fclose(f);
    }
    return read == 2 ? (size_t)resident * (size_t)sysconf(_SC_PAGESIZE) : 0;
}
