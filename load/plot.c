#include "load/plot.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 1080, HEIGHT = 800, POINTS_MAX = 4096 };

struct group {
    const char *hit, *name, *colour;
};

/* Colours that people who see few of them can tell apart (Okabe and Ito). */
static const struct group groups[] = {
    {"ready", "drafted", "#009e73"},
    {"begun", "begun", "#e69f00"},
    {"cold", "cold", "#0072b2"},
};
enum { GROUPS = sizeof(groups) / sizeof(groups[0]) };

struct panel {
    FILE *out;
    double x, y, w, h;   /* of the axes, in the picture */
    double x_max, y_max; /* of the values; both axes begin at 0 */
};

static double px(const struct panel *p, double v)
{
    return p->x + p->w * (v < p->x_max ? v : p->x_max) / p->x_max;
}

static double py(const struct panel *p, double v)
{
    return p->y + p->h * (1 - (v < p->y_max ? v : p->y_max) / p->y_max);
}

/* ---- text and axes ---- */

static void text(FILE *out, double x, double y, const char *attributes, const char *s)
{
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
    for (; *s; s++) {
        switch (*s) {
        case '&': fputs("&amp;", out); break;
        case '<': fputs("&lt;", out); break;
        case '>': fputs("&gt;", out); break;
        default: fputc((unsigned char)*s < 0x20 ? ' ' : *s, out);
        }
    }
    fprintf(out, "</text>\n");
}

/* 1, 2 or 5 times a power of ten, so that there are about `count` steps. */
static double nice_step(double max, int count)
{
    const double raw = max / count, power = pow(10, floor(log10(raw)));
    const double first = raw / power;
    return power * (first <= 1 ? 1 : first <= 2 ? 2 : first <= 5 ? 5 : 10);
}

static double nice_max(double max, int count)
{
    const double step = nice_step(max > 0 ? max : 1, count);
    return step * ceil((max > 0 ? max : 1) / step);
}

static void axis_x(const struct panel *p, const char *label)
{
    const double step = nice_step(p->x_max, 6);
    char s[32];
    for (int i = 0; i * step <= p->x_max * 1.0001; i++) {
        const double x = px(p, i * step);
        fprintf(p->out, "<path class=\"grid\" d=\"M%.1f %.1fv%.1f\"/>\n", x, p->y, p->h);
        snprintf(s, sizeof(s), "%g", i * step);
        text(p->out, x, p->y + p->h + 18, "text-anchor=\"middle\" class=\"tick\"", s);
    }
    text(p->out, p->x + p->w, p->y + p->h + 36, "text-anchor=\"end\" class=\"label\"", label);
}

static void axis_y(const struct panel *p, const char *format, double factor)
{
    const double step = nice_step(p->y_max, 5);
    char s[32];
    for (int i = 0; i * step <= p->y_max * 1.0001; i++) {
        const double y = py(p, i * step);
        fprintf(p->out, "<path class=\"grid\" d=\"M%.1f %.1fh%.1f\"/>\n", p->x, y, p->w);
        snprintf(s, sizeof(s), format, i * step * factor);
        text(p->out, p->x - 8, y + 4, "text-anchor=\"end\" class=\"tick\"", s);
    }
}

static void title(const struct panel *p, const char *s)
{
    text(p->out, p->x, p->y - 14, "class=\"title\"", s);
}

/* ---- what is in the report ---- */

static const json_t *at(const json_t *o, const char *a, const char *b)
{
    const json_t *inner = json_object_get(o, a);
    return b ? json_object_get(inner, b) : inner;
}

static double value(const json_t *o, const char *a, const char *b)
{
    return json_number_value(at(o, a, b));
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int in_group(const json_t *row, const struct group *g)
{
    const char *hit = json_string_value(json_object_get(row, "hit"));
    return hit && strcmp(hit, g->hit) == 0 && !json_is_true(json_object_get(row, "opening"));
}

/* The sorted values of one column of one group's commits. */
static int column(const json_t *report, const struct group *g, const char *name, double *out)
{
    size_t i;
    json_t *row;
    int n = 0;
    json_array_foreach (json_object_get(report, "samples"), i, row) {
        const json_t *v = json_object_get(row, name);
        if (json_is_number(v) && in_group(row, g) && n < POINTS_MAX) {
            out[n++] = json_number_value(v);
        }
    }
    qsort(out, (size_t)n, sizeof(*out), ascending);
    return n;
}

/* Where the axis of latencies ends: all but the slowest hundredth fit. */
static double latency_max(const json_t *report, double *scratch)
{
    double max = 100;
    for (int g = 0; g < GROUPS; g++) {
        const int n = column(report, &groups[g], "shown_ms", scratch);
        if (n > 0) {
            const double last = scratch[(int)ceil(0.99 * n) - 1];
            max = last > max ? last : max;
        }
    }
    return nice_max(max * 1.05, 6);
}

/* ---- panels ---- */

static void draw_steps(const struct panel *p, const double *v, int n, const char *colour,
                       const char *dash)
{
    fprintf(p->out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\" %s d=\"M%.1f %.1f",
            colour, dash, px(p, v[0]), py(p, 0));
    for (int i = 0; i < n; i++) {
        fprintf(p->out, "H%.1fV%.1f", px(p, v[i]), py(p, (i + 1.0) / n));
    }
    fprintf(p->out, "\"/>\n");
}

/* Below the axis, where no curve can be. */
static void draw_key(const struct panel *p, int g, int n)
{
    char s[64];
    const double x = p->x + g * 110, y = p->y + p->h + 36;
    snprintf(s, sizeof(s), "%s (%d)", groups[g].name, n);
    fprintf(p->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" fill=\"%s\"/>\n", x,
            y - 11, groups[g].colour);
    text(p->out, x + 18, y, "class=\"tick\"", s);
}

static void draw_distribution(struct panel p, const json_t *report, double *scratch)
{
    title(&p, "Enter to first new picture (dashed: received)");
    axis_x(&p, "ms");
    axis_y(&p, "%.0f %%", 100);
    for (int g = 0; g < GROUPS; g++) {
        int n = column(report, &groups[g], "received_ms", scratch);
        if (n > 0) {
            draw_steps(&p, scratch, n, groups[g].colour,
                       "stroke-dasharray=\"3 4\" opacity=\"0.7\"");
        }
        n = column(report, &groups[g], "shown_ms", scratch);
        if (n > 0) {
            draw_steps(&p, scratch, n, groups[g].colour, "");
        }
        draw_key(&p, g, n);
    }
}

static void draw_medians(const struct panel *p, const json_t *report)
{
    size_t i;
    json_t *row;
    json_array_foreach (json_object_get(report, "by_pause"), i, row) {
        const json_t *p50 = at(row, "shown_ms", "p50"), *to = json_object_get(row, "to_ms");
        if (json_is_number(p50)) {
            const double from = px(p, value(row, "from_ms", NULL));
            const double end = px(p, json_is_null(to) ? p->x_max : json_number_value(to));
            fprintf(p->out, "<path stroke=\"#333\" stroke-width=\"2\" d=\"M%.1f %.1fH%.1f\"/>\n",
                    from + 2, py(p, json_number_value(p50)), end - 2);
        }
    }
}

static void draw_pauses(struct panel p, const json_t *report)
{
    size_t i;
    json_t *row;
    title(&p, "Shown, by the pause before Enter (bars: medians)");
    axis_x(&p, "ms of pause");
    axis_y(&p, "%.0f ms", 1);
    json_array_foreach (json_object_get(report, "samples"), i, row) {
        const json_t *shown = json_object_get(row, "shown_ms");
        for (int g = 0; g < GROUPS && json_is_number(shown); g++) {
            if (in_group(row, &groups[g])) {
                fprintf(p.out,
                        "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" fill=\"%s\" opacity=\"0.75\"/>\n",
                        px(&p, value(row, "pause_ms", NULL)), py(&p, json_number_value(shown)),
                        groups[g].colour);
            }
        }
    }
    draw_medians(&p, report);
}

static const char *const stage_colours[] = {"#999999", "#cc79a7", "#e69f00", "#0072b2",
                                            "#56b4e9", "#009e73", "#f0e442", "#d55e00"};
enum { STAGES = sizeof(stage_colours) / sizeof(stage_colours[0]) };

static double draw_stage_bar(const struct panel *p, const json_t *stages, double y, double height)
{
    const char *name;
    json_t *stage;
    double sum = 0;
    int i = 0;
    json_object_foreach ((json_t *)stages, name, stage) {
        const double ms = json_number_value(json_object_get(stage, "p50"));
        if (p && ms > 0 && i < STAGES) {
            fprintf(p->out,
                    "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n",
                    px(p, sum), y, px(p, sum + ms) - px(p, sum), height, stage_colours[i]);
        }
        sum += ms;
        i++;
    }
    return sum;
}

static void draw_stage_keys(const struct panel *p, const json_t *stages)
{
    const char *name;
    json_t *unused;
    int i = 0;
    json_object_foreach ((json_t *)stages, name, unused) {
        const double x = p->x + (i % 4) * p->w / 4, y = p->y + p->h + 56 + (i / 4) * 20;
        if (i < STAGES) {
            fprintf(p->out,
                    "<rect x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"12\" fill=\"%s\"/>\n", x,
                    y - 11, stage_colours[i++]);
            text(p->out, x + 18, y, "class=\"tick\"", name);
        }
    }
}

static void draw_stages(struct panel p, const json_t *report)
{
    char s[64];
    p.x_max = 10;
    for (int g = 0; g < GROUPS; g++) {
        const double sum = draw_stage_bar(NULL, at(report, "stages", groups[g].name), 0, 0);
        p.x_max = sum > p.x_max ? sum : p.x_max;
    }
    p.x_max = nice_max(p.x_max * 1.05, 6);
    title(&p, "Work behind first pictures (medians, stacked)");
    axis_x(&p, "ms");
    for (int g = 0; g < GROUPS; g++) {
        const json_t *stages = at(report, "stages", groups[g].name);
        const double y = p.y + p.h * (g + 0.2) / GROUPS, height = p.h * 0.6 / GROUPS;
        const double sum = draw_stage_bar(&p, stages, y, height);
        text(p.out, p.x - 8, y + height / 2 + 5, "text-anchor=\"end\" class=\"tick\"",
             groups[g].name);
        if (sum > 0) {
            snprintf(s, sizeof(s), "%.0f", sum);
            text(p.out, px(&p, sum) + 6, y + height / 2 + 5, "class=\"tick\"", s);
        }
    }
    draw_stage_keys(&p, at(report, "stages", "cold"));
}

/* ---- numbers ---- */

struct column {
    FILE *out;
    double x, y;
};

static void line(struct column *c, const char *name, const char *s)
{
    text(c->out, c->x, c->y, "class=\"label\"", name);
    text(c->out, c->x + 150, c->y, "class=\"number\"", s);
    c->y += 24;
}

static void line_ms(struct column *c, const json_t *report, const char *name, const char *group)
{
    char s[96];
    const json_t *p = at(report, group, "shown_ms");
    if (json_integer_value(json_object_get(p, "n")) > 0) {
        snprintf(s, sizeof(s), "p50 %.0f, p95 %.0f, p99 %.0f ms (%lld)", value(p, "p50", NULL),
                 value(p, "p95", NULL), value(p, "p99", NULL),
                 (long long)json_integer_value(json_object_get(p, "n")));
        line(c, name, s);
    }
}

static void draw_numbers(struct column c, const json_t *report)
{
    char s[128];
    line_ms(&c, report, "drafted, shown", "drafted");
    line_ms(&c, report, "begun, shown", "begun");
    line_ms(&c, report, "cold, shown", "cold");
    line_ms(&c, report, "preview, shown", "preview");
    if (json_is_number(json_object_get(report, "hit_rate"))) {
        snprintf(s, sizeof(s), "%.0f %% of %.0f answered", 100 * value(report, "hit_rate", NULL),
                 value(report, "commits", "applied"));
        line(&c, "hit rate", s);
    }
    snprintf(s, sizeof(s), "%.2f of %.0f per second (lowest %.2f)", value(report, "fps", NULL),
             value(report, "server", "fps"), value(report, "fps_lowest", NULL));
    line(&c, "pictures", s);
    snprintf(s, sizeof(s), "%.0f, %.0f ms in all, longest %.0f", value(report, "stalls", "count"),
             value(report, "stalls", "total_ms"), value(report, "stalls", "longest_ms"));
    line(&c, "stalls", s);
    snprintf(s, sizeof(s), "%.0f stale, %.0f deadline misses, %.0f gaps",
             value(report, "stale_frames", NULL), value(report, "deadline_misses", NULL),
             value(report, "drops", "gaps"));
    line(&c, "faults", s);
    if (json_is_number(json_object_get(report, "wasted_device_ms"))) {
        snprintf(s, sizeof(s), "%.0f ms", value(report, "wasted_device_ms", NULL));
        line(&c, "wasted device time", s);
    }
    if (json_is_number(at(report, "server", "rss_mib"))) {
        snprintf(s, sizeof(s), "%.0f MiB", value(report, "server", "rss_mib"));
        line(&c, "server memory", s);
    }
}

static void draw_head(FILE *out, const json_t *report)
{
    char s[256];
    const char *script = json_string_value(at(report, "run", "script"));
    const char *slash = script ? strrchr(script, '/') : NULL;
    char *settings = json_dumps(at(report, "run", "settings"), JSON_COMPACT | JSON_ENCODE_ANY);
    const char *model = json_string_value(at(report, "server", "model"));
    snprintf(s, sizeof(s), "kinetype load: %s %.0fx%.0f, %.0f of %.0f clients, %.0f s, %s",
             model ? model : "?", value(report, "server", "width"),
             value(report, "server", "height"), value(report, "clients", "opened"),
             value(report, "clients", "asked"), value(report, "run", "seconds"),
             slash    ? slash + 1
             : script ? script
                      : "");
    text(out, 70, 38, "class=\"head\"", s);
    if (settings && strcmp(settings, "null") != 0) {
        text(out, 70, 60, "class=\"label\"", settings);
    }
    free(settings);
}

int kt_plot_write(const json_t *report, FILE *out)
{
    double *scratch = malloc(POINTS_MAX * sizeof(*scratch));
    if (!scratch) {
        return -ENOMEM;
    }
    const double latency = latency_max(report, scratch);
    fprintf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
        "height=\"%d\" font-family=\"DejaVu Sans, sans-serif\">\n<style>.head{font-size:20px;"
        "font-weight:bold}.title{font-size:15px;font-weight:bold}.tick{font-size:13px;fill:#444}"
        ".label{font-size:14px;fill:#444}.number{font-size:14px;fill:#000}"
        ".grid{stroke:#ddd;fill:none}</style>\n<rect width=\"100%%\" height=\"100%%\" "
        "fill=\"#fff\"/>\n",
        WIDTH, HEIGHT, WIDTH, HEIGHT);
    draw_head(out, report);
    draw_distribution((struct panel){out, 90, 110, 420, 250, latency, 1}, report, scratch);
    draw_pauses((struct panel){out, 620, 110, 420, 250, 1600, latency}, report);
    draw_stages((struct panel){out, 90, 490, 420, 180, 1, 1}, report);
    text(out, 600, 476, "class=\"title\"", "Numbers");
    draw_numbers((struct column){out, 600, 510}, report);
    fprintf(out, "</svg>\n");
    free(scratch);
    return ferror(out) ? -EIO : 0;
}
