/* kinetype serve: puts the parts together and takes them apart in the reverse order: stop the loop,
 * then join the encoder's thread, then the lane's, then destroy. */
#include "cli/command.h"

#include "engine/journal.h"
#include "engine/lane.h"
#include "server/config.h"
#include "server/encode/nvenc.h"
#include "server/http.h"
#include "server/hub.h"
#include "server/loop.h"
#include "server/session.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Wakes come from threads that start before the loop exists. */
struct waker {
    _Atomic(struct kt_loop *) loop;
};

struct server {
    struct kt_serve_config config;
    struct kt_log log;
    struct kt_policy policy;
    struct waker waker;
    struct kt_engine *engine;
    struct kt_engine_params model;
    struct kt_live live;
    struct kt_site *site;
    struct kt_hub *hub;
    struct kt_loop *loop;
};

static void wake(void *arg)
{
    struct waker *w = arg;
    /* Acquire: the loop's memory was written before it was published. */
    struct kt_loop *loop = atomic_load_explicit(&w->loop, memory_order_acquire);
    if (loop) {
        kt_loop_wake(loop);
    }
}

static void drop_packet(struct kt_packet *p)
{
    kt_packet_release(&p);
}

/* Everything is allocated when the model is opened, so this is what the server takes. */
static void log_memory(struct server *s)
{
    enum { POOLS = 64 };
    struct kt_device_pool pool[POOLS];
    const struct kt_device *dev = kt_engine_device(s->engine);
    const int n = kt_device_pools(dev, pool, POOLS);
    double mib = 0;
    for (int i = 0; i < n && i < POOLS; i++) {
        mib += (double)pool[i].bytes / 1048576;
        kt_log(&s->log, KT_LOG_DEBUG, "%9.1f MiB %s", (double)pool[i].bytes / 1048576,
               pool[i].name);
    }
    kt_log(&s->log, KT_LOG_INFO, "%.1f MiB on the device%s", mib,
           dev->weights_count > 0 ? "" : " besides the weights of linears and filters");
}

static int open_model(struct server *s, struct kt_error *err)
{
    const struct kt_serve_config *c = &s->config;
    s->model = (struct kt_engine_params){
        .model_dir = c->model,
        .device = {.kind = c->device, .precision = c->precision, .threads = c->threads},
        .random_weights = c->random,
        .window = c->window,
        .tiny_vae = c->tiny_vae,
        .timelines_max = 2 * c->sessions_max, /* each with a branch */
        .snapshots_max = c->checkpoints > 0 ? c->checkpoints * c->sessions_max : -1,
        .contexts_max =
            8 * c->sessions_max + 8, /* most that tracks, wishes and blends hold; an LRU */
    };
    int rc = kt_engine_open(&s->engine, &s->model, err);
    if (rc < 0) {
        return rc;
    }
    log_memory(s);
    s->live.model = kt_engine_config(s->engine);
    kt_engine_get_info(s->engine, &s->live.video);
    s->live.steps_max = s->live.model->sampler.steps;
    const int window = s->live.model->sampler.local_attn_size;
    s->live.window = window > 0 && window < KT_WINDOW_LIMIT ? window : KT_WINDOW_LIMIT;
    if (c->recache != KT_CHANGE_CHECKPOINT && c->recache > s->live.window) {
        return kt_fail(err, -EINVAL, "recache: expected at most the model's window, %d, found %d",
                       s->live.window, c->recache);
    }
    if (s->live.video.width < 2 || s->live.video.fps < 1) {
        return kt_fail(err, -EBADMSG, "%s: has no video size or rate; expected a model with a VAE",
                       c->model);
    }
    return kt_word_list_open(&s->live.words, s->live.model->vocabulary.known_words, err);
}

static int take_out(struct kt_codec_list *list, enum kt_media_codec codec)
{
    int kept = 0;
    for (int i = 0; i < list->count; i++) {
        if (list->codec[i] != codec) {
            list->codec[kept++] = list->codec[i];
        }
    }
    const int taken = list->count - kept;
    list->count = kept;
    return taken;
}

/* Offers H.264 only when a session with this server's settings opens; else says why, once. */
static int open_nvenc(struct server *s, struct kt_error *err)
{
    const struct kt_nvenc_params params = {.device = 0};
    const struct kt_encoder_params trial = {.width = s->live.video.width,
                                            .height = s->live.video.height,
                                            .fps = s->live.video.fps,
                                            .bitrate_kbps = s->config.bitrate_kbps};
    struct kt_codec_list others = s->config.codecs;
    struct kt_error why;
    if (!take_out(&others, KT_CODEC_H264)) {
        return 0;
    }
    if (kt_nvenc_open(&s->live.nvenc, &params, &trial, &why) == 0) {
        kt_log(&s->log, KT_LOG_INFO, "h264 by NVENC: %s", kt_nvenc_codec_string(s->live.nvenc));
        return 0;
    }
    if (others.count == 0) {
        return kt_fail(err, -ENODEV, "codecs: h264 alone is listed: %s", why.text);
    }
    s->config.codecs = others;
    kt_log(&s->log, KT_LOG_INFO, "pictures are encoded on the CPU: %s", why.text);
    return 0;
}

/* The rest of the cores has the device's work to do, where that is a CPU, or to feed the card. */
static int encode_threads(const struct kt_serve_config *c)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (c->encode_threads > 0) {
        return c->encode_threads;
    }
    return cores < 4                           ? 1
           : cores / 4 < KT_ENCODE_THREADS_MAX ? (int)cores / 4
                                               : KT_ENCODE_THREADS_MAX;
}

static int open_pictures(struct server *s, struct kt_error *err)
{
    const int rc = open_nvenc(s, err);
    if (rc < 0) {
        return rc;
    }
    const int sessions = s->config.sessions_max;
    const struct kt_encode_worker_params worker = {
        .sessions_max = sessions,
        .threads = encode_threads(&s->config),
        /* pictures in flight, one close, and opens: a resume may follow a resume */
        .cap = sessions * (KT_IN_FLIGHT_MAX + KT_PREVIEWS_IN_FLIGHT_MAX + 1) + 64,
        .wake = wake,
        .wake_arg = &s->waker,
    };
    const int packets = sessions * (KT_OUTQ_PICTURES_MAX + KT_IN_FLIGHT_MAX + KT_OUTQ_PREVIEWS_MAX +
                                    KT_PREVIEWS_IN_FLIGHT_MAX);
    const size_t bytes =
        KT_MEDIA_HEADER_BYTES + kt_encoder_packet_bytes(s->live.video.width, s->live.video.height);
    if (kt_packet_pool_create(&s->live.pool, packets, bytes) < 0) {
        return kt_fail(err, -ENOMEM, "out of memory for %d packets of %zu bytes", packets, bytes);
    }
    return kt_encode_worker_start(&s->live.worker, &worker, err);
}

static int open_loop(struct server *s, struct kt_error *err)
{
    struct kt_loop_params p = {.listen = s->config.listen,
                               .port = s->config.port,
                               .metrics_listen = s->config.metrics_listen,
                               .metrics_port = s->config.metrics_port,
                               .connections_max = s->config.connections_max,
                               .log = &s->log};
    int rc = kt_hub_create(&s->hub, &s->live, s->site, err);
    if (rc < 0) {
        return rc;
    }
    kt_hub_handlers(s->hub, &p.handlers);
    rc = kt_loop_open(&s->loop, &p, err);
    if (rc == 0) {
        kt_hub_set_loop(s->hub, s->loop);
        atomic_store_explicit(&s->waker.loop, s->loop, memory_order_release);
    }
    return rc;
}

/* "%t" in the path becomes the time, so that every start has a log of its own. -ENAMETOOLONG. */
static int log_path(const char *pattern, char *out, size_t cap)
{
    const char *at = strstr(pattern, "%t");
    const time_t now = time(NULL);
    struct tm utc;
    char when[32];
    gmtime_r(&now, &utc);
    strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &utc);
    const int n = at ? snprintf(out, cap, "%.*s%s%s", (int)(at - pattern), pattern, when, at + 2)
                     : snprintf(out, cap, "%s", pattern);
    return n < (int)cap ? 0 : -ENAMETOOLONG;
}

static int open_journal(struct server *s, struct kt_lane_params *lane, struct kt_error *err)
{
    struct kt_journal_head head = {0};
    char path[KT_PATH_BYTES_MAX];
    const struct kt_journal_params params = {.path = path, .head = &head};
    if (!s->config.decision_log[0]) {
        return 0;
    }
    if (log_path(s->config.decision_log, path, sizeof(path)) < 0) {
        return kt_fail(err, -ENAMETOOLONG, "decision_log: the path is too long");
    }
    int rc = kt_journal_describe(&head, lane, &s->model, err);
    rc = rc < 0 ? rc : kt_journal_open(&s->live.journal, &params, err);
    if (rc < 0) {
        return kt_fail_prefix(err, rc, "decision_log");
    }
    lane->record = kt_journal_record;
    lane->record_arg = s->live.journal;
    kt_log(&s->log, KT_LOG_INFO, "decisions are written to %s", path);
    return 0;
}

static void close_journal(struct server *s)
{
    struct kt_journal_stats last = {0};
    if (!s->live.journal) {
        return;
    }
    kt_journal_close(&s->live.journal, &last);
    kt_log(&s->log, last.error || last.lost ? KT_LOG_WARN : KT_LOG_INFO,
           "decision log: %llu records, %llu lost%s%s", (unsigned long long)last.written,
           (unsigned long long)last.lost, last.error ? ": " : "",
           last.error ? strerror(-last.error) : "");
}

static int open_lane(struct server *s, struct kt_error *err)
{
    struct kt_lane_params params = {.engine = s->engine,
                                    .sessions_max = s->config.sessions_max,
                                    .wake = wake,
                                    .wake_arg = &s->waker};
    params.policy = s->policy;
    params.archive_bytes = (size_t)s->config.archive_mib << 20;
    const int rc = open_journal(s, &params, err);
    return rc < 0 ? rc : kt_lane_open(&s->live.lane, &params, err);
}

/* The address before the model: a second server fails at once. Nothing is answered before the loop
 * runs, and the lane comes last, because from then on wakes arrive. */
static int open_server(struct server *s, struct kt_error *err)
{
    int rc = kt_site_open(&s->site, s->config.web, err);
    rc = rc < 0 ? rc : open_loop(s, err);
    rc = rc < 0 ? rc : open_model(s, err);
    rc = rc < 0 ? rc : open_pictures(s, err);
    rc = rc < 0 ? rc : open_lane(s, err);
    return rc;
}

/* Connections first (their handlers use the rest), then the threads, then what they used. No thread
 * wakes a loop that is gone: both are joined before the loop's memory is freed. */
static void close_server(struct server *s)
{
    if (s->loop) {
        kt_loop_shut(s->loop);
    }
    if (s->hub) {
        kt_hub_drop(s->hub);
    }
    kt_encode_worker_stop(&s->live.worker, drop_packet);
    kt_nvenc_close(&s->live.nvenc);
    kt_lane_close(&s->live.lane);
    close_journal(s); /* it has every record now */
    kt_loop_close(&s->loop);
    kt_hub_destroy(&s->hub);
    kt_packet_pool_destroy(&s->live.pool);
    kt_word_list_close(&s->live.words);
    kt_engine_close(&s->engine);
    kt_site_close(&s->site);
    kt_serve_config_free(&s->config);
}

static void greet(const struct server *s)
{
    const char *host = strcmp(s->config.listen, "0.0.0.0") == 0 ? "127.0.0.1" : s->config.listen;
    const char *format = strchr(host, ':') ? "http://[%s]:%d/\n" : "http://%s:%d/\n";
    kt_log(&s->log, KT_LOG_INFO, "model %s: %dx%d, %d fps, %d steps", s->live.model->name,
           s->live.video.width, s->live.video.height, s->live.video.fps, s->live.steps_max);
    if (kt_loop_metrics_port(s->loop)) {
        kt_log(&s->log, KT_LOG_INFO, "metrics on %s port %d", s->config.metrics_listen,
               kt_loop_metrics_port(s->loop));
    }
    printf(format, host, kt_loop_port(s->loop));
    fflush(stdout);
}

static void choose_policy(struct server *s)
{
    const struct kt_serve_config *c = &s->config;
    kt_policy_default(&s->policy);
    s->policy.decode_lead = c->decode_lead_latents;
    s->policy.depth = c->speculation_depth;
    s->policy.checkpoint_every = c->checkpoint_every_latents;
    s->policy.drafts = c->drafts;
    s->policy.text_after_ms = c->text_after_ms;
    s->policy.draft_after_ms = c->draft_after_ms;
    s->live.settings = kt_settings_default();
    s->live.settings.draft = c->drafts;
    s->live.settings.preview = c->preview;
    s->live.settings.depth = c->speculation_depth;
    s->live.settings.change.recache = c->recache;
}

static void help(void)
{
    printf("usage: kinetype serve [--config FILE] [option ...]\n\n"
           "Serves the page on / and live sessions on /v1/live. The options override the file\n"
           "(see config/demo.json, which explains every key):\n\n"
           "  --model DIR    --web DIR      --device cpu   --threads N\n"
           "  --listen IP    --port N       --token TEXT   --sessions N\n"
           "  --steps N      --seed N       --prompt TEXT  --log LEVEL\n"
           "  --metrics-listen IP           --metrics-port N\n"
           "  --decision-log FILE           --recache N\n"
           "  --window N     --tiny-vae     --random       --checkpoints N\n\n"
           "It binds 127.0.0.1; any other address needs --listen and a token. SIGINT and SIGTERM\n"
           "stop it in order.\n");
}

static int configure(struct server *s, int argc, char **argv, struct kt_error *err)
{
    kt_serve_config_init(&s->config);
    int rc = kt_serve_config_arguments(&s->config, argc, argv, err);
    if (rc == 0) {
        rc = kt_serve_config_check(&s->config, err);
    }
    s->log.level = s->config.log;
    choose_policy(s);
    s->live.config = &s->config;
    s->live.log = &s->log;
    return rc;
}

int kt_command_serve(int argc, char **argv)
{
    struct kt_error err = {0};
    struct server *s = calloc(1, sizeof(*s));
    if (!s) {
        fprintf(stderr, "kinetype serve: out of memory\n");
        return 1;
    }
    int rc = configure(s, argc, argv, &err);
    if (rc == 1) {
        help();
    } else if (rc == 0) {
        rc = open_server(s, &err);
        if (rc == 0) {
            greet(s);
            kt_loop_run(s->loop);
            rc = kt_hub_failed(s->hub) ? -EIO : 0;
        }
    }
    if (rc < 0 && err.text[0]) {
        fprintf(stderr, "kinetype serve: %s\n", err.text);
    }
    close_server(s);
    free(s);
    return rc < 0 ? 1 : 0;
}
