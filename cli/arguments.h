/* Command-line options as people know them: `--name value`, `--name=value`, `--flag`, and
 * positional words. One table per command; every mistake is an error that names it.
 *
 * Thread-safety: pure. */
#ifndef KT_CLI_ARGUMENTS_H
#define KT_CLI_ARGUMENTS_H

enum kt_option_kind { KT_OPTION_FLAG, KT_OPTION_INT, KT_OPTION_NUMBER, KT_OPTION_TEXT };

struct kt_option {
    const char *name; /* without dashes; "" for the next positional word (TEXT only) */
    enum kt_option_kind kind;
    void *out;       /* int *, int *, double *, const char ** */
    double min, max; /* of numbers */
    const char *help;
};

/* Parses argv[1..argc). The table ends with a NULL name. Returns 0; or 2 (wrong usage, said on
 * stderr with the nearest option); or 1 when --help was asked for and printed. `usage` is the line
 * after "usage: kinetype ". */
int kt_arguments_parse(int argc, char **argv, const struct kt_option *options, const char *usage);

#endif
