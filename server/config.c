#include "server/config.h"

#include "proto/media.h"
#include "proto/nearest.h"
#include "server/auth.h"
#include "server/encode/worker.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum key_type {
    KEY_INT,
    KEY_BOOL,
    KEY_STRING,
    KEY_PATH,
    KEY_NAMES,
    KEY_SEED,
    KEY_CODECS,
    KEY_PRECISION,
    KEY_RECACHE,
    KEY_LOG
};

struct key {
    const char *name;
    enum key_type type;
    int min, max; /* KEY_INT, KEY_RECACHE: value; KEY_STRING, KEY_PATH: bytes */
    size_t offset;
    const char *option; /* on the command line, or NULL */
};

#define AT(member) offsetof(struct kt_serve_config, member)

static const struct key keys[] = {
    {"model", KEY_PATH, 1, KT_PATH_BYTES_MAX - 1, AT(model), "--model"},
    {"web", KEY_PATH, 0, KT_PATH_BYTES_MAX - 1, AT(web), "--web"},
    {"device", KEY_STRING, 1, 15, AT(device), "--device"},
    {"precision", KEY_PRECISION, 0, 0, AT(precision), "--precision"},
    {"threads", KEY_INT, 0, 1024, AT(threads), "--threads"},
    {"random_weights", KEY_BOOL, 0, 0, AT(random), "--random"},
    {"tiny_vae", KEY_BOOL, 0, 0, AT(tiny_vae), "--tiny-vae"},
    {"window", KEY_INT, 0, 64, AT(window), "--window"},
    {"checkpoints", KEY_INT, 0, 64, AT(checkpoints), "--checkpoints"},
    {"listen", KEY_STRING, 1, 63, AT(listen), "--listen"},
    {"port", KEY_INT, 0, 65535, AT(port), "--port"},
    {"token", KEY_STRING, 0, KT_TOKEN_BYTES_MAX, AT(token), "--token"},
    {"origins", KEY_NAMES, 0, 255, AT(origins), NULL},
    {"hosts", KEY_NAMES, 0, 255, AT(hosts), NULL},
    {"sessions_max", KEY_INT, 1, 64, AT(sessions_max), "--sessions"},
    {"connections_max", KEY_INT, 2, 1024, AT(connections_max), NULL},
    {"steps", KEY_INT, 0, KT_STEPS_LIMIT, AT(steps), "--steps"},
    {"seed", KEY_SEED, 0, 0, AT(seed), "--seed"},
    {"prompt", KEY_STRING, 0, KT_TEXT_BYTES_MAX, AT(prompt), "--prompt"},
    {"decode_lead_latents", KEY_INT, 1, 4, AT(decode_lead_latents), NULL},
    {"drafts", KEY_BOOL, 0, 0, AT(drafts), NULL},
    {"text_after_ms", KEY_INT, 0, 10000, AT(text_after_ms), NULL},
    {"draft_after_ms", KEY_INT, 0, 10000, AT(draft_after_ms), NULL},
    {"preview", KEY_BOOL, 0, 0, AT(preview), NULL},
    {"recache", KEY_RECACHE, 1, KT_WINDOW_LIMIT, AT(recache), "--recache"},
    {"speculation_depth", KEY_INT, 0, KT_DEPTH_LIMIT, AT(speculation_depth), NULL},
    {"checkpoint_every_latents", KEY_INT, 0, 4096, AT(checkpoint_every_latents), NULL},
    {"archive_mib", KEY_INT, 0, 1 << 20, AT(archive_mib), NULL},
    {"decision_log", KEY_PATH, 0, KT_PATH_BYTES_MAX - 1, AT(decision_log), "--decision-log"},
    {"queue_max", KEY_INT, 0, 1024, AT(queue_max), NULL},
    {"metrics_listen", KEY_STRING, 1, 63, AT(metrics_listen), "--metrics-listen"},
    {"metrics_port", KEY_INT, 0, 65535, AT(metrics_port), "--metrics-port"},
    {"codecs", KEY_CODECS, 0, 0, AT(codecs), NULL},
    {"encode_threads", KEY_INT, 0, KT_ENCODE_THREADS_MAX, AT(encode_threads), NULL},
    {"bitrate_kbps", KEY_INT, 0, 100000, AT(bitrate_kbps), NULL},
    {"jpeg_quality", KEY_INT, 1, 100, AT(jpeg_quality), NULL},
    {"log", KEY_LOG, 0, 0, AT(log), "--log"},
};
enum { KEYS = sizeof(keys) / sizeof(keys[0]) };

static const char *const log_names[] = {"error", "warn", "info", "debug", NULL};

void kt_serve_config_init(struct kt_serve_config *c)
{
    memset(c, 0, sizeof(*c));
    snprintf(c->model, sizeof(c->model), "models/demo");
    snprintf(c->web, sizeof(c->web), "web");
    snprintf(c->device, sizeof(c->device), "cpu");
    snprintf(c->listen, sizeof(c->listen), "127.0.0.1");
    c->port = 8080;
    c->checkpoints = 2;
    c->sessions_max = 2;
    c->connections_max = 64;
    c->decode_lead_latents = 2;
    c->drafts = c->preview = 1;
    c->recache = KT_CHANGE_FULL;
    c->text_after_ms = 40;
    c->draft_after_ms = 220;
    c->speculation_depth = 1;
    c->checkpoint_every_latents = 6;
    c->archive_mib = 256;
    c->queue_max = 16;
    snprintf(c->metrics_listen, sizeof(c->metrics_listen), "127.0.0.1");
    c->codecs =
        (struct kt_codec_list){4, {KT_CODEC_H264, KT_CODEC_VP8, KT_CODEC_VP9, KT_CODEC_JPEG}};
    c->jpeg_quality = 85;
    c->log = KT_LOG_INFO;
}

static void free_names(char **names)
{
    for (int i = 0; i < KT_NAMES_MAX; i++) {
        free(names[i]);
        names[i] = NULL;
    }
}

void kt_serve_config_free(struct kt_serve_config *c)
{
    free_names(c->origins);
    free_names(c->hosts);
}

/* ---- one value ---- */

struct place {
    const char *where;     /* the file, or "command line" */
    const char *directory; /* for KEY_PATH; "" for the current one */
};

static int refuse(const struct place *p, const struct key *k, const char *expected,
                  const char *found, struct kt_error *err)
{
    return kt_fail(err, -EBADMSG, "%s: %s: expected %s, found %s", p->where,
                   k->option && strcmp(p->where, "command line") == 0 ? k->option : k->name,
                   expected, found);
}

static int set_int(struct kt_serve_config *c, const struct key *k, const json_t *v,
                   const struct place *p, struct kt_error *err)
{
    char expected[64], found[32] = "something else";
    snprintf(expected, sizeof(expected), "an integer from %d to %d", k->min, k->max);
    if (json_is_integer(v)) {
        const json_int_t x = json_integer_value(v);
        if (x >= k->min && x <= k->max) {
            *(int *)((char *)c + k->offset) = (int)x;
            return 0;
        }
        snprintf(found, sizeof(found), "%lld", (long long)x);
    }
    return refuse(p, k, expected, found, err);
}

static int set_bool(struct kt_serve_config *c, const struct key *k, const json_t *v,
                    const struct place *p, struct kt_error *err)
{
    if (!json_is_boolean(v)) {
        return refuse(p, k, "true or false", "something else", err);
    }
    *(int *)((char *)c + k->offset) = json_is_true(v);
    return 0;
}

static int set_string(struct kt_serve_config *c, const struct key *k, const json_t *v,
                      const struct place *p, struct kt_error *err)
{
    char expected[64];
    snprintf(expected, sizeof(expected), "a string of %d to %d bytes", k->min, k->max);
    if (!json_is_string(v)) {
        return refuse(p, k, expected, "something else", err);
    }
    const char *s = json_string_value(v);
    const char *base = k->type == KEY_PATH && s[0] != '/' ? p->directory : "";
    const size_t n = strlen(base) + json_string_length(v);
    if (json_string_length(v) < (size_t)k->min || n > (size_t)k->max) {
        char found[32];
        snprintf(found, sizeof(found), "%zu bytes", n);
        return refuse(p, k, expected, found, err);
    }
    if (k->type == KEY_PATH && !s[0]) {
        base = ""; /* an empty path stays empty */
    }
    char *out = (char *)c + k->offset;
    snprintf(out, n + 1, "%s%s", base, s);
    return 0;
}

static int set_names(struct kt_serve_config *c, const struct key *k, const json_t *v,
                     const struct place *p, struct kt_error *err)
{
    char **names = (char **)((char *)c + k->offset);
    if (!json_is_array(v) || json_array_size(v) > KT_NAMES_MAX) {
        return refuse(p, k, "an array of at most 16 strings", "something else", err);
    }
    free_names(names);
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_t *name = json_array_get(v, i);
        if (!json_is_string(name) || json_string_length(name) > (size_t)k->max) {
            return refuse(p, k, "an array of short strings", "something else", err);
        }
        names[i] = strdup(json_string_value(name));
        if (!names[i]) {
            return kt_fail(err, -ENOMEM, "out of memory");
        }
    }
    return 0;
}

static int set_seed(struct kt_serve_config *c, const struct key *k, const json_t *v,
                    const struct place *p, struct kt_error *err)
{
    const char *s = json_string_value(v);
    errno = 0;
    const unsigned long long x = s ? strtoull(s, NULL, 10) : 0;
    if (!s || strlen(s) > 20 || strspn(s, "0123456789") != strlen(s) || errno == ERANGE) {
        return refuse(p, k,
                      "a string with a decimal number of 64 bits, or \"\" for a new one each time",
                      s ? s : "something else", err);
    }
    *(struct kt_seed *)((char *)c + k->offset) = (struct kt_seed){s[0] != '\0', x};
    return 0;
}

static int set_codecs(struct kt_serve_config *c, const struct key *k, const json_t *v,
                      const struct place *p, struct kt_error *err)
{
    struct kt_codec_list list = {0};
    for (size_t i = 0; i < json_array_size(v) && i < KT_CODECS_MAX; i++) {
        const char *name = json_string_value(json_array_get(v, i));
        const enum kt_media_codec codec = name ? kt_codec_from_name(name) : KT_CODEC_NONE;
        if (codec == KT_CODEC_NONE) {
            return refuse(p, k, "\"h264\", \"vp8\", \"vp9\", \"jpeg\"",
                          name ? name : "something else", err);
        }
        list.codec[list.count++] = (uint8_t)codec;
    }
    if (list.count == 0) {
        return refuse(p, k, "an array with at least one codec", "none", err);
    }
    *(struct kt_codec_list *)((char *)c + k->offset) = list;
    return 0;
}

static int set_precision(struct kt_serve_config *c, const struct key *k, const json_t *v,
                         const struct place *p, struct kt_error *err)
{
    const char *s = json_string_value(v);
    struct kt_error ignored;
    if (!s || kt_precision_parse(&c->precision, s, &ignored) < 0) {
        return refuse(p, k, KT_PRECISION_LIST("\""), s ? s : "something else", err);
    }
    return 0;
}

/* In the protocol's words. */
static int set_recache(struct kt_serve_config *c, const struct key *k, const json_t *v,
                       const struct place *p, struct kt_error *err)
{
    const char *s = json_string_value(v);
    const int full = s && strcmp(s, "full") == 0;
    char expected[64], found[32] = "something else";
    if (full || (s && strcmp(s, "checkpoint") == 0)) {
        c->recache = full ? KT_CHANGE_FULL : KT_CHANGE_CHECKPOINT;
        return 0;
    }
    if (json_is_integer(v) && json_integer_value(v) >= k->min && json_integer_value(v) <= k->max) {
        c->recache = (int)json_integer_value(v);
        return 0;
    }
    if (json_is_integer(v)) {
        snprintf(found, sizeof(found), "%lld", (long long)json_integer_value(v));
    }
    snprintf(expected, sizeof(expected), "\"full\", \"checkpoint\" or latents from %d to %d",
             k->min, k->max);
    return refuse(p, k, expected, s ? s : found, err);
}

static int set_log(struct kt_serve_config *c, const struct key *k, const json_t *v,
                   const struct place *p, struct kt_error *err)
{
    const char *s = json_string_value(v);
    for (int i = 0; s && log_names[i]; i++) {
        if (strcmp(s, log_names[i]) == 0) {
            c->log = (enum kt_log_level)i;
            return 0;
        }
    }
    return refuse(p, k, "\"error\", \"warn\", \"info\" or \"debug\"", s ? s : "something else",
                  err);
}

typedef int (*set_fn)(struct kt_serve_config *, const struct key *, const json_t *,
                      const struct place *, struct kt_error *);
static const set_fn setters[] = {
    [KEY_INT] = set_int,       [KEY_BOOL] = set_bool,           [KEY_STRING] = set_string,
    [KEY_PATH] = set_string,   [KEY_NAMES] = set_names,         [KEY_SEED] = set_seed,
    [KEY_CODECS] = set_codecs, [KEY_PRECISION] = set_precision, [KEY_RECACHE] = set_recache,
    [KEY_LOG] = set_log,
};

/* ---- the file ---- */

void kt_config_strip_comments(char *text)
{
    int in_string = 0;
    for (char *s = text; *s; s++) {
        if (in_string && *s == '\\' && s[1]) {
            s++;
        } else if (*s == '"') {
            in_string = !in_string;
        } else if (*s == '\n') {
            in_string = 0;
        } else if (!in_string && s[0] == '/' && s[1] == '/') {
            for (; *s && *s != '\n'; s++) {
                *s = ' ';
            }
            if (!*s) {
                return;
            }
        }
    }
}

static int read_text(const char *path, char **out, struct kt_error *err)
{
    enum { CONFIG_BYTES_MAX = 256 * 1024 };
    FILE *f = fopen(path, "rb");
    if (!f) {
        return kt_fail(err, -ENOENT, "%s: cannot be read: %s", path, strerror(errno));
    }
    char *text = calloc(1, CONFIG_BYTES_MAX + 1);
    const size_t n = text ? fread(text, 1, CONFIG_BYTES_MAX, f) : 0;
    const int failed = ferror(f), more = n == CONFIG_BYTES_MAX;
    fclose(f);
    if (!text || failed || more || strlen(text) != n) {
        free(text);
        return kt_fail(err, -EBADMSG, "%s: not a text file of at most 256 KiB", path);
    }
    *out = text;
    return 0;
}

static const struct key *find_key(const char *name)
{
    for (int i = 0; i < KEYS; i++) {
        if (strcmp(keys[i].name, name) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

static int set_all(struct kt_serve_config *c, json_t *root, const struct place *p,
                   struct kt_error *err)
{
    const char *name;
    json_t *v;
    json_object_foreach (root, name, v) {
        const struct key *k = find_key(name);
        if (!k) {
            const char *names[KEYS + 1] = {0};
            for (int i = 0; i < KEYS; i++) {
                names[i] = keys[i].name;
            }
            return kt_fail(err, -EBADMSG, "%s: unknown key \"%s\"; did you mean \"%s\"?", p->where,
                           name, kt_nearest_name(name, names));
        }
        const int rc = setters[k->type](c, k, v, p, err);
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int kt_serve_config_load(struct kt_serve_config *c, const char *path, struct kt_error *err)
{
    char *text = NULL;
    int rc = read_text(path, &text, err);
    if (rc < 0) {
        return rc;
    }
    kt_config_strip_comments(text);
    json_error_t error;
    json_t *root = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (!json_is_object(root)) {
        rc = root ? kt_fail(err, -EBADMSG, "%s: expected one JSON object", path)
                  : kt_fail(err, -EBADMSG, "%s:%d:%d: %s", path, error.line, error.column,
                            error.text);
    } else {
        char directory[KT_PATH_BYTES_MAX] = "";
        const char *slash = strrchr(path, '/');
        if (slash) {
            snprintf(directory, sizeof(directory), "%.*s", (int)(slash - path + 1), path);
        }
        rc = set_all(c, root, &(struct place){path, directory}, err);
    }
    json_decref(root);
    return rc;
}

/* ---- the command line ---- */

static int set_option(struct kt_serve_config *c, const struct key *k, const char *text,
                      struct kt_error *err)
{
    json_t *v = NULL;
    if (k->type == KEY_BOOL) {
        v = json_true();
    } else if (k->type == KEY_INT || k->type == KEY_RECACHE) {
        char *end;
        errno = 0;
        const long long x = strtoll(text, &end, 10);
        v = *text && !*end && !errno ? json_integer(x) : json_string(text);
    } else {
        v = json_string(text);
    }
    if (!v) {
        return kt_fail(err, -EINVAL, "command line: %s: the value is not valid UTF-8", k->option);
    }
    const int rc = setters[k->type](c, k, v, &(struct place){"command line", ""}, err);
    json_decref(v);
    return rc < 0 ? -EINVAL : 0;
}

static const struct key *find_option(const char *name)
{
    for (int i = 0; i < KEYS; i++) {
        if (keys[i].option && strcmp(keys[i].option, name) == 0) {
            return &keys[i];
        }
    }
    return NULL;
}

static int unknown_option(const char *name, struct kt_error *err)
{
    const char *names[KEYS + 2] = {"--config"};
    int n = 1;
    for (int i = 0; i < KEYS; i++) {
        if (keys[i].option) {
            names[n++] = keys[i].option;
        }
    }
    return kt_fail(err, -EINVAL, "command line: unknown option %s; did you mean %s?", name,
                   kt_nearest_name(name, names));
}

int kt_serve_config_arguments(struct kt_serve_config *c, int argc, char **argv,
                              struct kt_error *err)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 1; i < argc; i++) {
            if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
                return 1;
            }
            const int is_config = strcmp(argv[i], "--config") == 0;
            const struct key *k = find_option(argv[i]);
            if (!is_config && !k) {
                return unknown_option(argv[i], err);
            }
            const int is_flag = k && k->type == KEY_BOOL;
            if (!is_flag && i + 1 >= argc) {
                return kt_fail(err, -EINVAL, "command line: %s needs a value", argv[i]);
            }
            const char *value = is_flag ? "" : argv[++i];
            int rc = 0;
            if (pass == 0 && is_config) {
                rc = kt_serve_config_load(c, value, err);
            } else if (pass == 1 && k) {
                rc = set_option(c, k, value, err);
            }
            if (rc < 0) {
                return rc;
            }
        }
    }
    return 0;
}

int kt_serve_config_check(const struct kt_serve_config *c, struct kt_error *err)
{
    if (!kt_auth_is_loopback(c->listen) && !c->token[0]) {
        return kt_fail(
            err, -EINVAL,
            "listen: %s can be reached by others, so a token is needed (--token or \"token\")",
            c->listen);
    }
    if (c->metrics_port && !kt_auth_is_loopback(c->metrics_listen) && !c->token[0]) {
        return kt_fail(err, -EINVAL,
                       "metrics_listen: %s can be reached by others, so a token is needed (--token "
                       "or \"token\"); whoever scrapes sends it as Authorization: Bearer",
                       c->metrics_listen);
    }
    return 0;
}
