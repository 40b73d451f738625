#include "cli/bench_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <jansson.h>

enum { POOLS_MAX = 64 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

double kt_samples_median(struct kt_samples *s)
{
    if (s->count == 0) {
        return 0;
    }
    qsort(s->ms, (size_t)s->count, sizeof(s->ms[0]), by_value);
    return s->ms[s->count / 2];
}

void kt_samples_add(struct kt_samples *s, double ms)
{
    if (s->count < KT_SAMPLES_MAX) {
        s->ms[s->count++] = ms;
    }
}

static double peak_rss_mib(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_maxrss / 1024.0;
}

static int steps_of(const struct kt_bench_result *r)
{
    return r->steps ? r->steps : kt_engine_config(r->e)->sampler.steps;
}

static json_t *stages(struct kt_bench_result *r)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "text", kt_samples_median(&r->text),
                     "denoise_block", kt_samples_median(&r->block), "recache",
                     kt_samples_median(&r->recache), "vae_decode", kt_samples_median(&r->decode),
                     "convert", kt_samples_median(&r->convert), "encode",
                     kt_samples_median(&r->encode));
}

static json_t *counts(const struct kt_bench_result *r)
{
    const struct kt_queue_stats *q = &r->per_block;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "launches", (json_int_t)q->launches, "syncs",
                     (json_int_t)q->syncs, "uploads", (json_int_t)q->uploads, "downloads",
                     (json_int_t)q->downloads, "bytes_downloaded", (json_int_t)q->bytes_downloaded,
                     "allocations", (json_int_t)q->allocs + (json_int_t)r->device_allocs_per_block);
}

static json_t *pools(const struct kt_bench_result *r)
{
    struct kt_device_pool pool[POOLS_MAX];
    json_t *out = json_object();
    int n = kt_device_pools(kt_engine_device(r->e), pool, POOLS_MAX);
    for (int i = 0; i < n && i < POOLS_MAX; i++) {
        json_object_set_new(out, pool[i].name, json_real((double)pool[i].bytes / 1048576.0));
    }
    return out;
}

void kt_bench_report_json(struct kt_bench_result *r)
{
    const struct kt_model_config *c = kt_engine_config(r->e);
    const struct kt_device *dev = kt_engine_device(r->e);
    struct kt_engine_info info;
    kt_engine_get_info(r->e, &info);
    json_t *report =
        json_pack("{s:s, s:b, s:s, s:i, s:s, s:i, s:i, s:i, s:i, s:i}", "model", c->name,
                  "random_weights", r->random, "device", dev->k.name, "threads", dev->threads,
                  "precision", r->precision, "steps", steps_of(r), "width", info.width, "height",
                  info.height, "window", c->sampler.local_attn_size, "model_fps", info.fps);
    if (!report) {
        return;
    }
    json_object_set_new(report, "fps_end_to_end", json_real(r->fps));
    json_object_set_new(report, "first_frame_ms", json_real(r->first_frame_ms));
    json_object_set_new(report, "warm_up_ms", json_real(r->warm_up_ms));
    json_object_set_new(report, "peak_rss_mib", json_real(peak_rss_mib()));
    json_object_set_new(report, "encoder", json_string(r->encoder));
    json_object_set_new(report, "encoded_bytes_per_s", json_real(r->encoded_bytes_per_s));
    json_object_set_new(report, "text_tokens", json_integer(r->text_tokens));
    json_object_set_new(report, "stage_ms", stages(r));
    json_object_set_new(report, "snapshot_restore_us",
                        json_real(1000.0 * kt_samples_median(&r->snapshot)));
    json_object_set_new(report, "snapshot_bytes_copied",
                        json_integer((json_int_t)info.snapshot_bytes_copied));
    json_object_set_new(report, "per_block", counts(r));
    json_object_set_new(report, "device_memory_mib", pools(r));
    json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(5));
    printf("\n");
    json_decref(report);
}

void kt_bench_report_text(struct kt_bench_result *r)
{
    const struct kt_model_config *c = kt_engine_config(r->e);
    const struct kt_device *dev = kt_engine_device(r->e);
    struct kt_engine_info info;
    kt_engine_get_info(r->e, &info);
    printf("%s on %s, %d threads, %d steps: %.1f frames/s end to end (the video plays at %d)\n",
           c->name, dev->k.name, dev->threads, steps_of(r), r->fps, info.fps);
    printf("first frame %.0f ms after start, warm-up %.0f ms, peak memory %.0f MiB\n",
           r->first_frame_ms, r->warm_up_ms, peak_rss_mib());
    printf("medians: text %.1f, block %.1f (%d latents), recache %.1f, decode %.1f a latent, "
           "convert %.2f, encode %.2f a frame (ms)\n",
           kt_samples_median(&r->text), kt_samples_median(&r->block), info.block_latents,
           kt_samples_median(&r->recache), kt_samples_median(&r->decode),
           kt_samples_median(&r->convert), kt_samples_median(&r->encode));
    printf("a block and its frames: %llu launches, %llu syncs, %llu copies to the host, %llu "
           "allocations; snapshot and restore %.1f us\n",
           (unsigned long long)r->per_block.launches, (unsigned long long)r->per_block.syncs,
           (unsigned long long)r->per_block.downloads,
           (unsigned long long)r->per_block.allocs + (unsigned long long)r->device_allocs_per_block,
           1000.0 * kt_samples_median(&r->snapshot));
}
