/* `kinetype simulate`: the scheduler on a virtual clock, with people who type and devices that cost
 * what real ones were measured to cost. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "sim/replay.h"
#include "sim/report.h"

static const char usage[] = "simulate [options]";

struct simulate {
    int devices, sessions, places, seed, steps, all, fit, no_preview;
    double seconds, pause_from, pause_to, jitter, stay;
    const char *costs, *policy, *cut, *recache, *json, *replay;
};

/* ---- the policy's fields by name ---- */

struct field {
    const char *name;
    size_t offset;
    int whole;
};

#define WHOLE(name)                                                                                \
    {                                                                                              \
#name, offsetof(struct kt_policy, name), 1                                                 \
    }
#define NUMBER(name)                                                                               \
    {                                                                                              \
#name, offsetof(struct kt_policy, name), 0                                                 \
    }

static const struct field fields[] = {
    WHOLE(decode_lead),    WHOLE(depth),          WHOLE(checkpoint_every),
    WHOLE(drafts),         NUMBER(text_after_ms), NUMBER(draft_after_ms),
    NUMBER(draft_keep_ms), NUMBER(reserve_ms),    WHOLE(drafts_first),
    WHOLE(fifo),
};

static int set_field(struct kt_policy *p, const char *name, size_t n, const char *value)
{
    char *end;
    double x = strtod(value, &end);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        const struct field *f = &fields[i];
        if (strlen(f->name) != n || strncmp(f->name, name, n) != 0) {
            continue;
        }
        if (end == value || (*end && *end != ',') || x < 0 || x > 1e6) {
            fprintf(stderr, "kinetype simulate: --policy: %s: expected a number, found '%s'\n",
                    f->name, value);
            return -EINVAL;
        }
        if (f->whole) {
            *(int *)((char *)p + f->offset) = (int)x;
        } else {
            *(double *)((char *)p + f->offset) = x;
        }
        return 0;
    }
    fprintf(stderr, "kinetype simulate: --policy: there is no '%.*s'; there are:", (int)n, name);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        fprintf(stderr, " %s", fields[i].name);
    }
    fprintf(stderr, "\n");
    return -EINVAL;
}

/* "default", "fifo", "k=v,k=v", "fifo,depth=0". */
static int parse_policy(struct kt_policy *p, const char *text)
{
    int rc = 0;
    for (const char *at = text; rc == 0 && *at; at += *at == ',') {
        size_t n = strcspn(at, ",="), all = strcspn(at, ",");
        if (at[n] == '=') {
            rc = set_field(p, at, n, at + n + 1);
        } else if (n == 4 && strncmp(at, "fifo", 4) == 0) {
            p->fifo = 1;
            p->drafts = 0;
        } else if (n != 7 || strncmp(at, "default", 7) != 0) {
            fprintf(stderr,
                    "kinetype simulate: --policy: expected default, fifo or NAME=VALUE, found "
                    "'%.*s'\n",
                    (int)all, at);
            rc = -EINVAL;
        }
        at += all;
    }
    return rc;
}

/* ---- parameters ---- */

static int parse_cut(enum kt_cut *cut, const char *word)
{
    static const char *const names[] = {"latent", "block", "now"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(word, names[i]) == 0) {
            *cut = (enum kt_cut)i;
            return 0;
        }
    }
    fprintf(stderr, "kinetype simulate: --cut: expected now, latent or block, found '%s'\n", word);
    return -EINVAL;
}

static int parse_recache(int *recache, const char *word)
{
    char *end;
    long latents = strtol(word, &end, 10);
    if (strcmp(word, "full") == 0 || strcmp(word, "checkpoint") == 0) {
        *recache = word[0] == 'f' ? KT_RECACHE_FULL : KT_RECACHE_CHECKPOINT;
        return 0;
    }
    if (*end || latents < 1 || latents > 64) {
        fprintf(stderr,
                "kinetype simulate: --recache: expected full, checkpoint or latents from 1 to 64, "
                "found '%s'\n",
                word);
        return -EINVAL;
    }
    *recache = (int)latents;
    return 0;
}

static const struct kt_sim_costs *find_costs(const char *name)
{
    const struct kt_sim_costs *c = kt_sim_costs_find(name);
    if (!c) {
        fprintf(stderr, "kinetype simulate: --costs: there is no '%s'; there are:\n", name);
        for (c = kt_sim_costs_presets; c->name; c++) {
            fprintf(stderr, "  %-16s %s\n", c->name, c->what);
        }
        return NULL;
    }
    return c;
}

static int fill(const struct simulate *o, struct kt_sim_params *p)
{
    const struct kt_sim_costs *costs = find_costs(o->costs);
    if (!costs) {
        return -EINVAL;
    }
    kt_sim_params_default(p, costs);
    p->devices = o->devices;
    p->sessions = o->sessions;
    p->places = o->places;
    p->seconds = o->seconds;
    p->seed = (uint64_t)o->seed;
    p->jitter = o->jitter;
    p->settings.steps = o->steps;
    p->people.enter_ms = (struct kt_sim_span){o->pause_from, o->pause_to};
    p->stay_s = (struct kt_sim_span){0.5 * o->stay, 1.5 * o->stay};
    p->door = o->all ? KT_SIM_DOOR_ALL : KT_SIM_DOOR_BOARD;
    int rc = parse_policy(&p->policy, o->policy);
    p->settings.preview = !o->no_preview && !p->policy.fifo; /* the peers have none */
    rc = rc < 0 ? rc : parse_cut(&p->cut, o->cut);
    return rc < 0 ? rc : parse_recache(&p->recache, o->recache);
}

/* ---- results ---- */

static void print_percentiles(const char *name, struct kt_sim_percentiles s)
{
    if (s.n > 0) {
        printf("  %-8s %7zu   p50 %6.0f   p95 %6.0f   p99 %6.0f ms\n", name, s.n, s.p50, s.p95,
               s.p99);
    }
}

static void print_latency(const char *name, const struct kt_sim_report *r, int hit)
{
    print_percentiles(name, kt_sim_latency(r, hit, 0, 1e9, 0));
}

static void print_report(const struct kt_sim_params *p, const struct kt_sim_report *r)
{
    printf("%d sessions on %d devices (%s), %g s\n", p->sessions, p->devices, p->costs.name,
           p->seconds);
    printf("  let in   %7d   at most %d on a device; %d queued, %.1f s on average\n",
           r->sessions_in, r->at_once_max, r->queued_ever, r->queue_ms_mean / 1000);
    printf("  video    %s 16 frames/s: %llu holes in %.1f minutes, worst %.0f ms, %.1f %% slower\n",
           kt_sim_sustained(r) ? "sustains" : "does NOT sustain", (unsigned long long)r->holes,
           r->playing_ms / 60000, r->hole_max_ms,
           r->playing_ms > 0 ? 100 * r->slow_ms / r->playing_ms : 0);
    printf("  commits  %7llu   hit rate %.1f %%, overtaken %llu, not yet shown %llu\n",
           (unsigned long long)r->commits, 100 * kt_sim_hit_rate(r),
           (unsigned long long)r->overtaken, (unsigned long long)r->open_commits);
    printf("Enter to the first new picture shown:\n");
    print_latency("all", r, KT_SIM_ANY_HIT);
    print_latency("ready", r, 2);
    print_latency("begun", r, 1);
    print_latency("cold", r, 0);
    print_percentiles("preview", kt_sim_preview_latency(r));
    printf("  device   %6.1f %% in use, %.1f %% of that wasted; pages %d of %d\n",
           100 * r->busy_ms / r->device_ms, 100 * kt_sim_waste(r), r->pages_used_max, r->pages_max);
    if (r->faults.first[0]) {
        printf("  FAULT    %s\n", r->faults.first);
    }
}

static int write_json(const char *path, const struct kt_sim_params *p,
                      const struct kt_sim_report *r)
{
    json_t *json = kt_sim_report_json(p, r);
    const size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(9);
    int rc = !json                    ? -1
             : strcmp(path, "-") == 0 ? json_dumpf(json, stdout, flags)
                                      : json_dump_file(json, path, flags);
    if (rc == 0 && strcmp(path, "-") == 0) {
        printf("\n");
    }
    json_decref(json);
    if (rc < 0) {
        fprintf(stderr, "kinetype simulate: cannot write %s\n", path);
    }
    return rc;
}

static int has_faults(const struct kt_sim_report *r)
{
    const struct kt_sim_faults *f = &r->faults;
    return f->jobs || f->memory || f->idle || f->promoted || f->lost || r->stale || r->backwards;
}

static int run_once(const struct simulate *o, struct kt_sim_params *p)
{
    struct kt_sim_report r;
    struct kt_error err = {{0}};
    if (kt_sim_run(p, &r, &err) < 0) {
        fprintf(stderr, "kinetype simulate: %s\n", err.text);
        return 1;
    }
    if (!o->json || strcmp(o->json, "-") != 0) {
        print_report(p, &r);
    }
    int rc = (o->json && write_json(o->json, p, &r) < 0) || has_faults(&r);
    kt_sim_report_finish(&r);
    return rc;
}

/* How many sessions one device carries: one more each time, until the video is not sustained. */
static int run_fit(struct kt_sim_params *p)
{
    struct kt_error err = {{0}};
    int carried = 0, sustained = 1;
    p->devices = 1;
    p->door = KT_SIM_DOOR_ALL;
    for (int n = 1; sustained && n <= 64; n++) {
        struct kt_sim_report r;
        p->sessions = p->places = n;
        if (kt_sim_run(p, &r, &err) < 0) {
            fprintf(stderr, "kinetype simulate: %s\n", err.text);
            return 1;
        }
        sustained = kt_sim_sustained(&r);
        carried = sustained ? n : carried;
        printf(
            "%2d sessions: %s, %.2f holes a minute, hit rate %.0f %%, all p50 %.0f p95 %.0f ms\n",
            n, sustained ? "sustained" : "NOT sustained", (double)r.holes / (r.playing_ms / 60000),
            100 * kt_sim_hit_rate(&r), kt_sim_latency(&r, KT_SIM_ANY_HIT, 0, 1e9, 0).p50,
            kt_sim_latency(&r, KT_SIM_ANY_HIT, 0, 1e9, 0).p95);
        kt_sim_report_finish(&r);
    }
    printf("%s: %d sessions a device\n", p->costs.name, carried);
    return 0;
}

static int run_replay(const char *path)
{
    struct kt_sim_replay r;
    struct kt_error err = {{0}};
    if (kt_sim_replay(path, &r, &err) < 0) {
        fprintf(stderr, "kinetype simulate: %s: %s\n", path, err.text);
        return 1;
    }
    printf("%s: the policy agrees: %llu jobs after %llu commands in %.1f s, %llu pictures\n", path,
           (unsigned long long)r.jobs, (unsigned long long)r.commands, r.seconds,
           (unsigned long long)r.pictures);
    return 0;
}

int kt_command_simulate(int argc, char **argv)
{
    struct simulate o = {.devices = 1,
                         .sessions = 1,
                         .places = 16,
                         .seed = 1,
                         .seconds = 300,
                         .pause_from = 200,
                         .pause_to = 1500,
                         .jitter = 0.05,
                         .costs = "h200-fp8",
                         .policy = "default",
                         .cut = "now",
                         .recache = "full"};
    struct kt_sim_params p;
    const struct kt_option options[] = {
        {"devices", KT_OPTION_INT, &o.devices, 1, 100000, "devices (1)"},
        {"sessions", KT_OPTION_INT, &o.sessions, 1, 1000000, "sessions that come (1)"},
        {"seconds", KT_OPTION_NUMBER, &o.seconds, 1, 1e6, "of virtual time (300)"},
        {"seed", KT_OPTION_INT, &o.seed, 0, 2147483647, "the same seed, the same report (1)"},
        {"costs", KT_OPTION_TEXT, &o.costs, 0, 0, "what work costs (h200-fp8); 'list' lists them"},
        {"policy", KT_OPTION_TEXT, &o.policy, 0, 0, "default, fifo, or field=value,..."},
        {"cut", KT_OPTION_TEXT, &o.cut, 0, 0, "now (default), latent or block"},
        {"recache", KT_OPTION_TEXT, &o.recache, 0, 0, "full (default), checkpoint or latents"},
        {"no-preview", KT_OPTION_FLAG, &o.no_preview, 0, 0, "nothing shows before the pictures"},
        {"steps", KT_OPTION_INT, &o.steps, 0, 4, "per block; 0: automatic"},
        {"pause-from", KT_OPTION_NUMBER, &o.pause_from, 0, 1e6, "ms before Enter, at least (200)"},
        {"pause-to", KT_OPTION_NUMBER, &o.pause_to, 0, 1e6, "at most (1500)"},
        {"stay", KT_OPTION_NUMBER, &o.stay, 0, 1e6, "seconds a session stays; 0: to the end"},
        {"jitter", KT_OPTION_NUMBER, &o.jitter, 0, 0.9, "of costs: 1 +- this (0.05)"},
        {"places", KT_OPTION_INT, &o.places, 1, 1024, "sessions a device can hold (16)"},
        {"all", KT_OPTION_FLAG, &o.all, 0, 0, "let everybody in, whatever it does to the video"},
        {"fit", KT_OPTION_FLAG, &o.fit, 0, 0, "how many sessions does one device carry?"},
        {"json", KT_OPTION_TEXT, &o.json, 0, 0, "write the report there; '-': to stdout alone"},
        {"replay", KT_OPTION_TEXT, &o.replay, 0, 0,
         "does the policy agree with this decision log?"},
        {NULL, KT_OPTION_FLAG, NULL, 0, 0, NULL},
    };
    int rc = kt_arguments_parse(argc, argv, options, usage);
    if (rc) {
        return rc == 1 ? 0 : rc;
    }
    if (o.replay) {
        return run_replay(o.replay);
    }
    if (fill(&o, &p) < 0) {
        return 2;
    }
    return o.fit ? run_fit(&p) : run_once(&o, &p);
}
