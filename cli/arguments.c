#include "cli/arguments.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/name.h"

static const char *kind_name(enum kt_option_kind kind)
{
    switch (kind) {
    case KT_OPTION_INT: return "N";
    case KT_OPTION_NUMBER: return "X";
    case KT_OPTION_TEXT: return "TEXT";
    case KT_OPTION_FLAG: break;
    }
    return "";
}

static void print_help(const struct kt_option *options, const char *usage, FILE *out)
{
    fprintf(out, "usage: kinetype %s\n", usage);
    for (const struct kt_option *o = options; o->name; o++) {
        if (o->name[0]) {
            fprintf(out, "  --%-14s %-5s %s\n", o->name, kind_name(o->kind), o->help);
        }
    }
}

static const struct kt_option *find(const struct kt_option *options, const char *name,
                                    size_t length)
{
    for (const struct kt_option *o = options; o->name; o++) {
        if (o->name[0] && strlen(o->name) == length && strncmp(o->name, name, length) == 0) {
            return o;
        }
    }
    return NULL;
}

static int unknown(const struct kt_option *options, const char *command, const char *word)
{
    const char *names[64];
    int n = 0;
    for (const struct kt_option *o = options; o->name && n < 64; o++) {
        if (o->name[0]) {
            names[n++] = o->name;
        }
    }
    int nearest = kt_name_nearest(word + 2, names, (size_t)n);
    fprintf(stderr, "kinetype %s: unknown option '%s'", command, word);
    if (nearest >= 0) {
        fprintf(stderr, "; did you mean '--%s'?", names[nearest]);
    }
    fprintf(stderr, "\n");
    return 2;
}

static int set_value(const struct kt_option *o, const char *command, const char *value)
{
    char *end;
    if (o->kind == KT_OPTION_TEXT) {
        *(const char **)o->out = value;
        return 0;
    }
    errno = 0;
    double x = strtod(value, &end);
    int whole = o->kind == KT_OPTION_INT;
    if (errno || end == value || *end || !(x >= o->min && x <= o->max) ||
        (whole && x != (double)(long long)x)) {
        fprintf(stderr, "kinetype %s: --%s: expected %s from %.15g to %.15g, found '%s'\n", command,
                o->name, whole ? "a whole number" : "a number", o->min, o->max, value);
        return 2;
    }
    if (whole) {
        *(int *)o->out = (int)x;
    } else {
        *(double *)o->out = x;
    }
    return 0;
}

static int take_positional(const struct kt_option *options, const char *command, char *word,
                           int *positional)
{
    int at = 0;
    for (const struct kt_option *o = options; o->name; o++) {
        if (!o->name[0] && at++ == *positional) {
            *(const char **)o->out = word;
            ++*positional;
            return 0;
        }
    }
    fprintf(stderr, "kinetype %s: unexpected argument '%s'\n", command, word);
    return 2;
}

int kt_arguments_parse(int argc, char **argv, const struct kt_option *options, const char *usage)
{
    int positional = 0;
    for (int i = 1; i < argc; i++) {
        char *word = argv[i];
        if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            print_help(options, usage, stdout);
            return 1;
        }
        if (word[0] == '-' && word[1] == 'o' && word[2] == '\0') {
            word = "--output";
        }
        if (strncmp(word, "--", 2) != 0) {
            if (take_positional(options, argv[0], word, &positional)) {
                return 2;
            }
            continue;
        }
        const char *equals = strchr(word, '=');
        size_t length = equals ? (size_t)(equals - word - 2) : strlen(word + 2);
        const struct kt_option *o = find(options, word + 2, length);
        if (!o) {
            return unknown(options, argv[0], word);
        }
        if (o->kind == KT_OPTION_FLAG) {
            if (equals) {
                fprintf(stderr, "kinetype %s: --%s takes no value\n", argv[0], o->name);
                return 2;
            }
            *(int *)o->out = 1;
            continue;
        }
        const char *value = equals ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
        if (!value) {
            fprintf(stderr, "kinetype %s: --%s: a value is missing\n", argv[0], o->name);
            return 2;
        }
        if (set_value(o, argv[0], value)) {
            return 2;
        }
    }
    return 0;
}
