/* The one binary: finds the sub-command and runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"

static void print_usage(FILE *out)
{
    fprintf(out, "usage: kinetype COMMAND ...\n\n");
    for (const struct kt_command_entry *c = kt_commands; c->name; c++) {
        fprintf(out, "  %-9s %-28s %s\n", c->name, c->arguments, c->summary);
    }
}

/* libgomp reads its wait policy when it is loaded, before main: spinning worker threads would take
 * the cores that the encoder and the browser need. So the program starts itself once more with the
 * policy set, unless somebody chose one. */
static void set_wait_policy(char **argv)
{
    if (!getenv("OMP_WAIT_POLICY") && setenv("OMP_WAIT_POLICY", "passive", 1) == 0) {
        execv("/proc/self/exe", argv);
        /* Without /proc (a bare chroot) it runs on with the default policy. */
    }
}

int main(int argc, char **argv)
{
    set_wait_policy(argv);
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_usage(argc < 2 ? stderr : stdout);
        return argc < 2 ? 2 : 0;
    }
    for (const struct kt_command_entry *c = kt_commands; c->name; c++) {
        if (strcmp(argv[1], c->name) == 0) {
            return c->run(argc - 1, argv + 1);
        }
    }
    fprintf(stderr, "kinetype: unknown command '%s'\n\n", argv[1]);
    print_usage(stderr);
    return 2;
}
