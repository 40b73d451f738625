/* Sub-commands of the `kinetype` binary: one function each, listed in cli/commands.c.
 *
 * A command gets argv with its own name at [0], prints results to stdout and errors to stderr, and
 * returns the process's exit status: 0 done, 1 failed, 2 wrong usage. */
#ifndef KT_CLI_COMMAND_H
#define KT_CLI_COMMAND_H

struct kt_command_entry {
    const char *name;
    const char *arguments; /* for the usage line */
    const char *summary;
    int (*run)(int argc, char **argv);
};

extern const struct kt_command_entry kt_commands[]; /* ends with a NULL name */

int kt_command_generate(int argc, char **argv);
int kt_command_golden(int argc, char **argv);
int kt_command_bench(int argc, char **argv);
int kt_command_pictures(int argc, char **argv);
int kt_command_previews(int argc, char **argv);
int kt_command_info(int argc, char **argv);
int kt_command_simulate(int argc, char **argv);
int kt_command_load(int argc, char **argv);
int kt_command_replay(int argc, char **argv);
int kt_command_serve(int argc, char **argv); /* server/serve.c, or stubs.c where it is not built */

#endif
