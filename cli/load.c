/* `kinetype load`: clients that type, and what they saw. */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "load/load.h"
#include "load/report.h"
#include "proto/control.h"

struct words {
    const char *url, *script, *json, *token, *codec, *cut, *transition;
    int clients, seed, no_decode, refresh_hz, steps;
    double seconds;
};

static int parse(int argc, char **argv, struct words *w)
{
    const struct kt_option options[] = {
        {"url", KT_OPTION_TEXT, &w->url, 0, 0, "the server, ws://127.0.0.1:8080/v1/live"},
        {"script", KT_OPTION_TEXT, &w->script, 0, 0, "what is typed (config/typing/README.md)"},
        {"clients", KT_OPTION_INT, &w->clients, 1, KT_LOAD_CLIENTS_MAX, "how many people, 1"},
        {"seconds", KT_OPTION_NUMBER, &w->seconds, 0.1, 86400, "how long they type, 60"},
        {"json", KT_OPTION_TEXT, &w->json, 0, 0, "write the report there"},
        {"seed", KT_OPTION_INT, &w->seed, 0, INT_MAX, "of the times between keys, 1"},
        {"token", KT_OPTION_TEXT, &w->token, 0, 0, "the server's, if it has one"},
        {"cut", KT_OPTION_TEXT, &w->cut, 0, 0, "ask for a cut rule: latent, block"},
        {"transition", KT_OPTION_TEXT, &w->transition, 0, 0, "ask for model, cut or scene"},
        {"steps", KT_OPTION_INT, &w->steps, 0, 16, "denoising steps; 0 automatic"},
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

/* The place of `word` in a list, 0 for none. */
static int choose(const char *option, const char *word, const char *const *names, int64_t *out)
{
    char expected[128] = "";
    *out = 0;
    for (int i = 0; word && names[i]; i++) {
        if (strcmp(word, names[i]) == 0) {
            *out = i;
            return 0;
        }
        strncat(expected, i ? ", " : "", sizeof(expected) - strlen(expected) - 1);
        strncat(expected, names[i], sizeof(expected) - strlen(expected) - 1);
    }
    return word ? bad(option, expected, word) : 0;
}

static int prepare(const struct words *w, struct kt_load_params *p)
{
    static const char *const cuts[] = {"latent", "block", NULL};
    static const char *const transitions[] = {"model", "cut", "scene", NULL};
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
    const int rc = choose("cut", w->cut, cuts, &p->cut);
    return rc ? rc : choose("transition", w->transition, transitions, &p->transition);
}

static int publish(struct kt_load_results *r, const struct words *w, const struct kt_load_params *p)
{
    const struct kt_report_facts facts = {.params = p,
                                          .script_path = w->script,
                                          .cut = w->cut,
                                          .transition = w->transition,
                                          .rss_mib = -1,
                                          .wasted_device_ms = -1};
    json_t *report = kt_report_json(r, &facts);
    int rc = report ? 0 : -ENOMEM;
    if (rc == 0) {
        kt_report_print(report, stdout);
        rc = w->json ? json_dump_file(report, w->json, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) : 0;
    }
    if (rc < 0) {
        fprintf(stderr, "kinetype load: cannot write %s\n", w->json ? w->json : "the report");
    }
    json_decref(report);
    return rc;
}

int kt_command_load(int argc, char **argv)
{
    struct words w = {.url = "ws://127.0.0.1:8080/v1/live",
                      .codec = "vp8",
                      .clients = 1,
                      .seed = 1,
                      .steps = -1,
                      .seconds = 60};
    struct kt_load_params params;
    struct kt_load_results results = {0};
    struct kt_script script = {0};
    struct kt_error err = {0};
    int rc = parse(argc, argv, &w);
    rc = rc ? rc : prepare(&w, &params);
    if (rc) {
        return rc == 1 ? 0 : rc;
    }
    params.script = &script;
    rc = kt_script_read(&script, w.script, &err);
    rc = rc < 0 ? rc : kt_load_run(&results, &params, &err);
    if (rc < 0) {
        fprintf(stderr, "kinetype load: %s\n", err.text);
    } else {
        rc = publish(&results, &w, &params);
        rc = rc < 0 || kt_report_broken(&results) ? -EIO : 0;
    }
    kt_results_free(&results);
    kt_script_free(&script);
    return rc < 0 ? 1 : 0;
}
