/* `kinetype load`: clients that type, and what they saw. */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "load/load.h"
#include "load/plot.h"
#include "load/report.h"
#include "load/scrape.h"

struct words {
    const char *url, *script, *json, *token, *codec, *cut, *transition, *recache;
    const char *plot, *from, *metrics;
    int server_pid, clients, seed, no_decode, refresh_hz, steps, blend, depth, draft, preview;
    double seconds;
};

enum { UNSAID = -1, BLEND_MAX = 16, DEPTH_MAX = 4, WINDOW_MAX = 1024, STEPS_MAX = 16 };

static int parse(int argc, char **argv, struct words *w)
{
    const struct kt_option options[] = {
        {"url", KT_OPTION_TEXT, &w->url, 0, 0, "the server, ws://127.0.0.1:8080/v1/live"},
        {"script", KT_OPTION_TEXT, &w->script, 0, 0, "what is typed (config/typing/README.md)"},
        {"clients", KT_OPTION_INT, &w->clients, 1, KT_LOAD_CLIENTS_MAX, "how many people, 1"},
        {"seconds", KT_OPTION_NUMBER, &w->seconds, 0.1, 86400, "how long they type, 60"},
        {"json", KT_OPTION_TEXT, &w->json, 0, 0, "write the report there"},
        {"plot", KT_OPTION_TEXT, &w->plot, 0, 0, "draw it there, as SVG"},
        {"from", KT_OPTION_TEXT, &w->from, 0, 0, "run nothing: the report of an earlier run"},
        {"metrics", KT_OPTION_TEXT, &w->metrics, 0, 0,
         "the server's, http://127.0.0.1:9464/metrics"},
        {"server-pid", KT_OPTION_INT, &w->server_pid, 1, INT_MAX, "memory of that process instead"},
        {"seed", KT_OPTION_INT, &w->seed, 0, INT_MAX, "of the times between keys, 1"},
        {"token", KT_OPTION_TEXT, &w->token, 0, 0, "the server's, if it has one"},
        {"cut", KT_OPTION_TEXT, &w->cut, 0, 0, "set: now, latent or block"},
        {"transition", KT_OPTION_TEXT, &w->transition, 0, 0, "set: model, cut, scene or blend"},
        {"blend", KT_OPTION_INT, &w->blend, 1, BLEND_MAX, "set: blocks of a blend"},
        {"recache", KT_OPTION_TEXT, &w->recache, 0, 0, "set: full, checkpoint or latents"},
        {"draft", KT_OPTION_INT, &w->draft, 0, 1, "set: 1 or 0, to draft while typing"},
        {"preview", KT_OPTION_INT, &w->preview, 0, 1, "set: 1 or 0, to show previews"},
        {"depth", KT_OPTION_INT, &w->depth, 0, DEPTH_MAX, "set: blocks made ahead"},
        {"steps", KT_OPTION_INT, &w->steps, 0, STEPS_MAX, "denoising steps; 0 automatic"},
        {"codec", KT_OPTION_TEXT, &w->codec, 0, 0, "vp8 (default), vp9, or others undecoded"},
        {"no-decode", KT_OPTION_FLAG, &w->no_decode, 0, 0,
         "believe the pictures; for many clients"},
        {"refresh", KT_OPTION_INT, &w->refresh_hz, 0, 1000,
         "show on a display of so many Hz; 0: when due"},
        {NULL, KT_OPTION_FLAG, NULL, 0, 0, NULL},
    };
    return kt_arguments_parse(argc, argv, options, "load --script FILE [options]");
}

static int bad(const char *option, const char *expected, const char *found)
{
    fprintf(stderr, "kinetype load: --%s: expected %s, found '%s'\n", option, expected, found);
    return 2;
}

static int one_of(const char *option, const char *word, const char *const *names)
{
    char expected[128] = "";
    for (int i = 0; word && names[i]; i++) {
        if (strcmp(word, names[i]) == 0) {
            return 0;
        }
        strncat(expected, i ? ", " : "", sizeof(expected) - strlen(expected) - 1);
        strncat(expected, names[i], sizeof(expected) - strlen(expected) - 1);
    }
    return word ? bad(option, expected, word) : 0;
}

/* "full", "checkpoint" or a number of latents. */
static int read_recache(const char *word, json_t **out)
{
    char *end;
    *out = NULL;
    if (!word) {
        return 0;
    }
    const long latents = strtol(word, &end, 10);
    if (strcmp(word, "full") == 0 || strcmp(word, "checkpoint") == 0) {
        *out = json_string(word);
    } else if (end == word || *end || latents < 1 || latents > WINDOW_MAX) {
        return bad("recache", "full, checkpoint or a number of latents from 1", word);
    } else {
        *out = json_integer(latents);
    }
    return 0;
}

static void put(json_t *o, const char *name, json_t *value)
{
    if (value) {
        json_object_set_new(o, name, value);
    }
}

static json_t *text(const char *word)
{
    return word ? json_string(word) : NULL;
}

/* The `set` message, or NULL when nothing was asked for. Drafts are made as a session's settings
 * say, so the settings are changed and commits say nothing of their own. */
static int make_settings(const struct words *w, char **out)
{
    static const char *const cuts[] = {"now", "latent", "block", NULL};
    static const char *const transitions[] = {"model", "cut", "scene", "blend", NULL};
    json_t *recache;
    int rc = one_of("cut", w->cut, cuts);
    rc = rc ? rc : one_of("transition", w->transition, transitions);
    rc = rc ? rc : read_recache(w->recache, &recache);
    if (rc) {
        return rc;
    }
    json_t *o = json_object();
    put(o, "cut", text(w->cut));
    put(o, "transition", text(w->transition));
    put(o, "recache", recache);
    put(o, "blend", w->blend == UNSAID ? NULL : json_integer(w->blend));
    put(o, "depth", w->depth == UNSAID ? NULL : json_integer(w->depth));
    put(o, "draft", w->draft == UNSAID ? NULL : json_boolean(w->draft));
    put(o, "preview", w->preview == UNSAID ? NULL : json_boolean(w->preview));
    *out = NULL;
    if (json_object_size(o) > 0) {
        put(o, "type", json_string("set"));
        *out = json_dumps(o, JSON_COMPACT);
    }
    json_decref(o);
    return 0;
}

static int prepare(const struct words *w, struct kt_load_params *p)
{
    if (!w->script) {
        fprintf(stderr, "kinetype load: --script FILE is needed (config/typing has some)\n");
        return 2;
    }
    *p = (struct kt_load_params){.url = w->url,
                                 .token = w->token,
                                 .codec = kt_codec_from_name(w->codec),
                                 .clients = w->clients,
                                 .decode = !w->no_decode,
                                 .refresh_hz = w->refresh_hz,
                                 .steps = w->steps,
                                 .seconds = w->seconds,
                                 .seed = (uint64_t)w->seed};
    if (p->codec == KT_CODEC_NONE) {
        return bad("codec", "vp8, vp9, jpeg or h264", w->codec);
    }
    if (p->decode && p->codec != KT_CODEC_VP8 && p->codec != KT_CODEC_VP9) {
        return bad("codec", "vp8 or vp9, or --no-decode beside it", w->codec);
    }
    return 0;
}

static int write_plot(const json_t *report, const char *path)
{
    FILE *f = fopen(path, "we");
    if (!f) {
        return -errno;
    }
    const int rc = kt_plot_write(report, f);
    return fclose(f) == 0 ? rc : -EIO;
}

static int failed(const char *what)
{
    fprintf(stderr, "kinetype load: cannot write %s\n", what);
    return 1;
}

static int publish(const json_t *report, const struct words *w)
{
    kt_report_print(report, stdout);
    if (w->json && json_dump_file(report, w->json, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) < 0) {
        return failed(w->json);
    }
    return w->plot && write_plot(report, w->plot) < 0 ? failed(w->plot) : 0;
}

/* Prints and draws an earlier run once more. */
static int again(const struct words *w)
{
    json_error_t error;
    json_t *report = json_load_file(w->from, 0, &error);
    const char *kind = json_string_value(json_object_get(report, "report"));
    if (!kind || strcmp(kind, "kinetype load") != 0) {
        fprintf(stderr, "kinetype load: --from: expected a report of this command, found %s%s%s\n",
                w->from, report ? "" : ": ", report ? "" : error.text);
        json_decref(report);
        return 1;
    }
    const int rc = publish(report, w);
    json_decref(report);
    return rc;
}

static int look(const struct words *w, struct kt_scrape *m, struct kt_error *err)
{
    kt_scrape_clear(m);
    int rc = w->metrics ? kt_scrape_fetch(m, w->metrics, err) : 0;
    if (rc == 0 && w->server_pid) {
        rc = kt_scrape_process(m, w->server_pid, err);
    }
    return rc;
}

struct ending {
    const struct words *words;
    struct kt_scrape *after;
    struct kt_load_results *results;
};

/* A server that is gone at the end is the run's finding, not a reason to lose the report. */
static void look_once_more(void *arg)
{
    const struct ending *e = arg;
    struct kt_error lost = {0};
    if (look(e->words, e->after, &lost) < 0) {
        kt_results_problem(e->results, lost.text);
    }
}

static int measure(const struct words *w, struct kt_load_params *p, struct kt_load_results *r,
                   struct kt_error *err)
{
    struct kt_report_facts facts = {.params = p, .script_path = w->script};
    struct ending ending = {w, &facts.after, r};
    p->leaving = look_once_more;
    p->leaving_arg = &ending;
    kt_scrape_clear(&facts.after);
    int rc = look(w, &facts.before, err);
    rc = rc < 0 ? rc : kt_load_run(r, p, err);
    if (rc < 0) {
        fprintf(stderr, "kinetype load: %s\n", err->text);
        return 1;
    }
    json_t *report = kt_report_json(r, &facts);
    rc = report ? publish(report, w) : failed("the report");
    json_decref(report);
    return rc ? rc : kt_report_broken(r);
}

static int run(const struct words *w, struct kt_load_params *p)
{
    struct kt_load_results *results = calloc(1, sizeof(*results));
    struct kt_script script = {0};
    struct kt_error err = {0};
    int rc = 1;
    p->script = &script;
    if (!results || kt_script_read(&script, w->script, &err) < 0) {
        fprintf(stderr, "kinetype load: %s\n", results ? err.text : "out of memory");
    } else {
        rc = measure(w, p, results, &err);
        kt_results_free(results);
    }
    kt_script_free(&script);
    free(results);
    return rc;
}

int kt_command_load(int argc, char **argv)
{
    struct words w = {.url = "ws://127.0.0.1:8080/v1/live",
                      .codec = "vp8",
                      .clients = 1,
                      .seed = 1,
                      .steps = UNSAID,
                      .blend = UNSAID,
                      .depth = UNSAID,
                      .draft = UNSAID,
                      .preview = UNSAID,
                      .seconds = 60};
    struct kt_load_params params;
    char *settings = NULL;
    int rc = parse(argc, argv, &w);
    if (rc == 0 && w.from) {
        return again(&w);
    }
    rc = rc ? rc : prepare(&w, &params);
    rc = rc ? rc : make_settings(&w, &settings);
    if (rc) {
        return rc == 1 ? 0 : rc;
    }
    params.settings = settings;
    rc = run(&w, &params);
    free(settings);
    return rc;
}
