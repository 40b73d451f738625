/* `kinetype generate`: a prompt, and switches at given seconds, to a file. Offline: everything is
 * computed, nothing paced. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/files/sink.h"
#include "engine/base/clock.h"
#include "engine/engine.h"

enum { SWITCHES_MAX = 64, BAR_CELLS = 30 };

struct prompt_switch {
    double seconds;
    const char *text;
    enum kt_transition transition;
};

struct generate {
    const char *model, *prompt, *output, *sheet, *seed_text;
    const char *switch_words[SWITCHES_MAX];
    const char *device, *precision;
    int switch_count, scene, steps, threads, quiet;
    double seconds;
    struct prompt_switch switches[SWITCHES_MAX];
    uint64_t seed;

    struct kt_engine *e;
    struct kt_engine_info info;
    struct kt_sink *sinks[2];
    uint8_t *pictures;
    size_t picture_bytes;
    int written, total, next_switch;
    int64_t start_ns;
    double last_line_ms;
    struct kt_error err;
};

/* "3.0:a blue ball" -> seconds and text. */
static int parse_switch(struct generate *g, int i)
{
    char *end;
    const char *word = g->switch_words[i];
    errno = 0;
    double seconds = strtod(word, &end);
    if (end == word || *end != ':' || end[1] == '\0' || errno || !(seconds >= 0)) {
        return kt_fail(&g->err, -EINVAL,
                       "--switch: expected SECONDS:TEXT, as in 3.0:\"a blue ball\", "
                       "found '%s'",
                       word);
    }
    if (seconds >= g->seconds) {
        return kt_fail(&g->err, -EINVAL, "--switch: at %g s, but the video ends at %g s", seconds,
                       g->seconds);
    }
    if (i > 0 && seconds <= g->switches[i - 1].seconds) {
        return kt_fail(&g->err, -EINVAL, "--switch: expected rising times, found %g after %g",
                       seconds, g->switches[i - 1].seconds);
    }
    g->switches[i] =
        (struct prompt_switch){.seconds = seconds,
                               .text = end + 1,
                               .transition = g->scene ? KT_TRANSITION_SCENE : KT_TRANSITION_MODEL};
    return 0;
}

static int parse_seed(struct generate *g)
{
    char *end;
    errno = 0;
    g->seed = strtoull(g->seed_text, &end, 10);
    if (errno || end == g->seed_text || *end || g->seed_text[0] == '-') {
        return kt_fail(&g->err, -EINVAL,
                       "--seed: expected a whole number from 0 to %llu, found '%s'",
                       (unsigned long long)UINT64_MAX, g->seed_text);
    }
    return 0;
}

static int check(struct generate *g)
{
    int rc = parse_seed(g);
    for (int i = 0; i < g->switch_count && rc == 0; i++) {
        rc = parse_switch(g, i);
    }
    if (rc == 0 && !g->prompt) {
        rc = kt_fail(&g->err, -EINVAL, "--prompt is missing");
    }
    if (rc == 0 && !g->output && !g->sheet) {
        rc = kt_fail(&g->err, -EINVAL, "-o FILE is missing (.webm, .y4m or .png)");
    }
    return rc;
}

static int open_sinks(struct generate *g)
{
    const char *paths[2] = {g->output, g->sheet};
    int rc = 0;
    for (int i = 0; i < 2 && rc == 0; i++) {
        struct kt_sink_params p = {.path = paths[i],
                                   .width = g->info.width,
                                   .height = g->info.height,
                                   .fps = g->info.fps,
                                   .pictures = g->total};
        rc = paths[i] ? kt_sink_open(&g->sinks[i], &p, &g->err) : 0;
    }
    return rc;
}

/* A bar that redraws itself on a terminal, a plain line every two seconds elsewhere. */
static void show_progress(struct generate *g)
{
    double ms = kt_ms_since(g->start_ns), fps = g->written * 1000.0 / (ms > 1 ? ms : 1);
    int done = g->written == g->total;
    if (g->quiet || (!done && ms - g->last_line_ms < (isatty(STDERR_FILENO) ? 100 : 2000))) {
        return;
    }
    g->last_line_ms = ms;
    if (!isatty(STDERR_FILENO)) {
        fprintf(stderr, "%d of %d frames, %.1f frames/s\n", g->written, g->total, fps);
        return;
    }
    int filled = g->written * BAR_CELLS / g->total;
    fprintf(stderr, "\r[");
    for (int i = 0; i < BAR_CELLS; i++) {
        fputc(i < filled ? '#' : '.', stderr);
    }
    fprintf(stderr, "] %d/%d frames, %.1f frames/s %s", g->written, g->total, fps,
            done ? "\n" : "");
}

static int use_prompt(struct generate *g, struct kt_timeline **t, const char *text,
                      enum kt_transition tr)
{
    struct kt_context *c = NULL;
    int rc = kt_context_from_text(g->e, &c, text, strlen(text), &g->err);
    if (rc == 0) {
        rc = *t ? kt_timeline_switch(*t, c, tr, 0, &g->err)
                : kt_timeline_create(g->e, t, g->seed, c, &g->err);
    }
    kt_context_unref(&c);
    return rc;
}

static int write_latent(struct generate *g, struct kt_timeline *t)
{
    int frames = kt_timeline_decode(t, g->pictures, g->picture_bytes, &g->err), rc = 0;
    for (int f = 0; f < frames && g->written < g->total && rc == 0; f++) {
        for (int i = 0; i < 2 && rc == 0; i++) {
            rc = g->sinks[i] ? kt_sink_write(g->sinks[i],
                                             g->pictures + g->picture_bytes * (size_t)f, &g->err)
                             : 0;
        }
        g->written++;
        show_progress(g);
    }
    return frames < 0 ? frames : rc;
}

/* Prompts whose time has come take effect before the next block (LongLive's own cut). */
static int due_switches(struct generate *g, struct kt_timeline **t)
{
    int rc = 0;
    double now = (double)g->written / g->info.fps;
    while (rc == 0 && g->next_switch < g->switch_count &&
           g->switches[g->next_switch].seconds <= now) {
        const struct prompt_switch *s = &g->switches[g->next_switch++];
        rc = use_prompt(g, t, s->text, s->transition);
    }
    return rc;
}

static int make_video(struct generate *g)
{
    struct kt_timeline *t = NULL;
    int rc = use_prompt(g, &t, g->prompt, KT_TRANSITION_MODEL);
    g->start_ns = kt_now_ns();
    while (rc == 0 && g->written < g->total) {
        rc = due_switches(g, &t);
        if (rc == 0) {
            rc = kt_timeline_block(t, g->steps, &g->err);
        }
        while (rc == 0 && g->written < g->total &&
               kt_timeline_decoded(t) < kt_timeline_latents(t)) {
            rc = write_latent(g, t);
        }
    }
    kt_timeline_destroy(&t);
    return rc;
}

static int run(struct generate *g)
{
    struct kt_engine_params p = {.model_dir = g->model,
                                 .timelines_max = 1,
                                 .device = {.kind = g->device, .threads = g->threads}};
    int rc = kt_precision_parse(&p.device.precision, g->precision, &g->err);
    if (rc == 0) {
        rc = kt_engine_open(&g->e, &p, &g->err);
    }
    if (rc < 0) {
        return rc;
    }
    kt_engine_get_info(g->e, &g->info);
    if (g->info.width == 0) {
        return kt_fail(&g->err, -EINVAL, "model '%s' has no VAE", g->model);
    }
    g->total = (int)lround(g->seconds * g->info.fps);
    g->total = g->total ? g->total : 1;
    g->picture_bytes = (size_t)g->info.width * (size_t)g->info.height * 3 / 2;
    g->pictures = malloc(g->picture_bytes * (size_t)g->info.frames_per_latent);
    rc = g->pictures ? open_sinks(g) : kt_fail(&g->err, -ENOMEM, "out of memory");
    return rc < 0 ? rc : make_video(g);
}

static int finish(struct generate *g, int rc)
{
    for (int i = 0; i < 2; i++) {
        if (rc < 0) {
            kt_sink_abort(&g->sinks[i]);
        } else {
            rc = kt_sink_close(&g->sinks[i], &g->err);
        }
    }
    kt_engine_close(&g->e);
    free(g->pictures);
    return rc;
}

/* --switch may come many times, which the option table does not know: collected here and taken out.
 */
static int collect_switches(struct generate *g, int argc, char **argv)
{
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        const char *value = NULL;
        if (strcmp(argv[i], "--switch") == 0 && i + 1 < argc) {
            value = argv[++i];
        } else if (strncmp(argv[i], "--switch=", 9) == 0) {
            value = argv[i] + 9;
        } else {
            argv[kept++] = argv[i];
        }
        if (value && g->switch_count == SWITCHES_MAX) {
            fprintf(stderr, "kinetype generate: at most %d switches\n", SWITCHES_MAX);
            return -1;
        }
        if (value) {
            g->switch_words[g->switch_count++] = value;
        }
    }
    return kept;
}

int kt_command_generate(int argc, char **argv)
{
    struct generate g = {.model = "models/demo",
                         .seconds = 10,
                         .seed_text = "7",
                         .device = "cpu",
                         .precision = "auto"};
    const char *switch_help = NULL;
    const struct kt_option options[] = {
        {"model", KT_OPTION_TEXT, &g.model, 0, 0, "model directory (models/demo)"},
        {"prompt", KT_OPTION_TEXT, &g.prompt, 0, 0, "what to show"},
        {"switch", KT_OPTION_TEXT, &switch_help, 0, 0,
         "S:TEXT, a new prompt at second S; may be repeated"},
        {"scene", KT_OPTION_FLAG, &g.scene, 0, 0,
         "switches replace the scene instead of keeping it"},
        {"seconds", KT_OPTION_NUMBER, &g.seconds, 0.05, 86400, "length (10)"},
        {"seed", KT_OPTION_TEXT, &g.seed_text, 0, 0, "64-bit seed (7)"},
        {"steps", KT_OPTION_INT, &g.steps, 0, 16, "denoising steps, 0: the model's list"},
        {"device", KT_OPTION_TEXT, &g.device, 0, 0, "cpu, cuda or cuda:N (cpu)"},
        {"precision", KT_OPTION_TEXT, &g.precision, 0, 0, KT_PRECISION_LIST("") " (auto)"},
        {"threads", KT_OPTION_INT, &g.threads, 0, 1024, "CPU threads, 0: all cores"},
        {"output", KT_OPTION_TEXT, &g.output, 0, 0,
         "or -o: file.webm, .y4m or .png (contact sheet)"},
        {"sheet", KT_OPTION_TEXT, &g.sheet, 0, 0, "a contact sheet (.png) beside the output"},
        {"quiet", KT_OPTION_FLAG, &g.quiet, 0, 0, "no progress"},
        {NULL, KT_OPTION_FLAG, NULL, 0, 0, NULL},
    };
    int count = collect_switches(&g, argc, argv);
    int rc = count < 0 ? 2
                       : kt_arguments_parse(count, argv, options,
                                            "generate --prompt TEXT -o FILE [options]");
    if (rc) {
        return rc == 1 ? 0 : rc;
    }
    rc = check(&g);
    int usage = rc < 0;
    if (rc == 0) {
        rc = run(&g);
    }
    rc = finish(&g, rc);
    if (rc < 0) {
        fprintf(stderr, "kinetype generate: %s\n", g.err.text[0] ? g.err.text : strerror(-rc));
        return usage ? 2 : 1;
    }
    if (!g.quiet) {
        fprintf(stderr, "wrote %s\n", g.output ? g.output : g.sheet);
    }
    return 0;
}
