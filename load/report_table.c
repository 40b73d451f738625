/* The report as a table for people: reads the JSON, so that both say the same. */
#include "load/report.h"

#include <jansson.h>

static const json_t *at(const json_t *o, const char *a, const char *b)
{
    const json_t *inner = json_object_get(o, a);
    return b ? json_object_get(inner, b) : inner;
}

static double value(const json_t *o, const char *a, const char *b)
{
    return json_number_value(at(o, a, b));
}

static long long whole(const json_t *o, const char *a, const char *b)
{
    return (long long)json_integer_value(at(o, a, b));
}

static void print_number(FILE *out, const json_t *v)
{
    if (json_is_number(v)) {
        fprintf(out, " %8.1f", json_number_value(v));
    } else {
        fprintf(out, " %8s", "-");
    }
}

static void print_percentiles(FILE *out, const char *name, const char *what, const json_t *p)
{
    fprintf(out, "  %-12s %-10s %6lld", name, what,
            (long long)json_integer_value(json_object_get(p, "n")));
    print_number(out, json_object_get(p, "p50"));
    print_number(out, json_object_get(p, "p95"));
    print_number(out, json_object_get(p, "p99"));
    fprintf(out, "\n");
}

static void print_latencies(FILE *out, const json_t *r)
{
    static const char *const groups[] = {"drafted", "begun", "cold", "preview"};
    static const char *const whats[] = {"received_ms", "decoded_ms", "shown_ms"};
    fprintf(out, "\nEnter to the first new picture, ms\n  %-12s %-10s %6s %8s %8s %8s\n", "", "",
            "n", "p50", "p95", "p99");
    for (int g = 0; g < 4; g++) {
        for (int i = 0; i < 3; i++) {
            const json_t *p = at(r, groups[g], whats[i]);
            if (p && json_integer_value(json_object_get(p, "n")) > 0) {
                char what[16];
                snprintf(what, sizeof(what), "%.*s", i == 0 ? 8 : i == 1 ? 7 : 5, whats[i]);
                print_percentiles(out, groups[g], what, p);
            }
        }
    }
}

static void print_pauses(FILE *out, const json_t *r)
{
    size_t i;
    json_t *row;
    fprintf(out, "\nby the pause before Enter, shown ms\n  %-14s %6s %6s %8s %8s\n", "pause", "n",
            "hits", "p50", "p95");
    json_array_foreach (json_object_get(r, "by_pause"), i, row) {
        char name[32];
        const json_t *to = json_object_get(row, "to_ms");
        if (json_is_null(to)) {
            snprintf(name, sizeof(name), "over %.2f s", value(row, "from_ms", NULL) / 1000);
        } else {
            snprintf(name, sizeof(name), "%.2f to %.2f s", value(row, "from_ms", NULL) / 1000,
                     json_number_value(to) / 1000);
        }
        fprintf(out, "  %-14s %6lld", name, whole(row, "n", NULL));
        const json_t *hits = json_object_get(row, "hit_rate");
        if (json_is_null(hits)) {
            fprintf(out, " %6s", "-");
        } else {
            fprintf(out, " %5.0f%%", json_number_value(hits) * 100);
        }
        print_number(out, at(row, "shown_ms", "p50"));
        print_number(out, at(row, "shown_ms", "p95"));
        fprintf(out, "\n");
    }
}

static void print_stages(FILE *out, const json_t *r)
{
    enum { COLUMNS = 4 };
    static const char *const columns[COLUMNS] = {"drafted", "begun", "cold", "pictures"};
    static const char *const names[COLUMNS] = {"first, drafted", "first, begun", "first, cold",
                                               "all"};
    const json_t *all = at(r, "stages", "pictures");
    const char *stage;
    json_t *unused;
    fprintf(out, "\nwork behind a picture, ms (first: of a commit)\n  %-14s", "");
    for (int i = 0; i < COLUMNS; i++) {
        fprintf(out, "  %16s", names[i]);
    }
    fprintf(out, "\n  %-14s", "");
    for (int i = 0; i < COLUMNS; i++) {
        fprintf(out, " %8s %8s", "p50", "p95");
    }
    fprintf(out, "\n");
    json_object_foreach ((json_t *)all, stage, unused) {
        fprintf(out, "  %-14s", stage);
        for (int i = 0; i < COLUMNS; i++) {
            const json_t *p = json_object_get(at(r, "stages", columns[i]), stage);
            print_number(out, json_object_get(p, "p50"));
            print_number(out, json_object_get(p, "p95"));
        }
        fprintf(out, "\n");
    }
}

static void print_optional(FILE *out, const char *name, const json_t *v, const char *unit)
{
    if (json_is_number(v)) {
        fprintf(out, "  %-18s %.1f%s\n", name, json_number_value(v), unit);
    }
}

static void print_head(FILE *out, const json_t *r)
{
    fprintf(out, "%s %lldx%lld at %lld/s, %s: %lld of %lld clients, %.1f s",
            json_string_value(at(r, "server", "model")), whole(r, "server", "width"),
            whole(r, "server", "height"), whole(r, "server", "fps"),
            json_string_value(at(r, "server", "codec")), whole(r, "clients", "opened"),
            whole(r, "clients", "asked"), value(r, "run", "seconds"));
    if (whole(r, "clients", "refused") + whole(r, "clients", "queued") +
        whole(r, "clients", "lost")) {
        fprintf(out, " (%lld refused, %lld queued, %lld lost)", whole(r, "clients", "refused"),
                whole(r, "clients", "queued"), whole(r, "clients", "lost"));
    }
    fprintf(out, "\n");
}

static void print_screen(FILE *out, const json_t *r)
{
    fprintf(out, "\n  %-18s %.2f per second and client (lowest %.2f), %lld shown of %lld\n",
            "pictures", value(r, "fps", NULL), value(r, "fps_lowest", NULL),
            whole(r, "pictures", "shown"), whole(r, "pictures", "received"));
    fprintf(out, "  %-18s %lld, %.0f ms in all, longest %.0f ms\n", "stalls",
            whole(r, "stalls", "count"), value(r, "stalls", "total_ms"),
            value(r, "stalls", "longest_ms"));
    fprintf(out, "  %-18s %lld\n", "stale pictures", whole(r, "stale_frames", NULL));
    fprintf(out, "  %-18s %lld (%lld announced as late)\n", "deadline misses",
            whole(r, "deadline_misses", NULL), whole(r, "late_pictures", NULL));
    fprintf(out, "  %-18s %lld gaps, %lld flushed, %lld overflowed, %lld not decoded\n", "drops",
            whole(r, "drops", "gaps"), whole(r, "drops", "flushed"),
            whole(r, "drops", "overflowed"), whole(r, "drops", "decode_errors"));
}

static void print_commits(FILE *out, const json_t *r)
{
    fprintf(out, "  %-18s %lld sent: %lld applied, %lld overtaken, %lld failed, %lld unanswered\n",
            "commits", whole(r, "commits", "sent"), whole(r, "commits", "applied"),
            whole(r, "commits", "overtaken"), whole(r, "commits", "failed"),
            whole(r, "commits", "unanswered"));
    const json_t *hits = json_object_get(r, "hit_rate");
    if (json_is_number(hits)) {
        fprintf(out, "  %-18s %.0f %% drafted, %.0f %% begun\n", "hit rate",
                json_number_value(hits) * 100, value(r, "begun_rate", NULL) * 100);
    }
    print_optional(out, "wasted device time", json_object_get(r, "wasted_device_ms"), " ms");
    print_optional(out, "device time", json_object_get(r, "busy_device_ms"), " ms");
    print_optional(out, "server memory", at(r, "server", "rss_mib"), " MiB");
    print_optional(out, "round trip", at(r, "rtt_ms", "p50"), " ms");
}

static void print_errors(FILE *out, const json_t *r)
{
    const char *code;
    json_t *n;
    json_object_foreach (json_object_get(r, "errors"), code, n) {
        fprintf(out, "  error %-12s %lld\n", code, (long long)json_integer_value(n));
    }
    if (json_is_string(json_object_get(r, "problem"))) {
        fprintf(out, "  first problem      %s\n", json_string_value(json_object_get(r, "problem")));
    }
}

void kt_report_print(const json_t *r, FILE *out)
{
    print_head(out, r);
    print_latencies(out, r);
    print_pauses(out, r);
    print_stages(out, r);
    print_screen(out, r);
    print_commits(out, r);
    print_errors(out, r);
}
