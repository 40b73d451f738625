#include "cli/command.h"

#include <stddef.h>

const struct kt_command_entry kt_commands[] = {
    {"golden", "[--reference] DIR", "compare the engine with a golden case", kt_cli_golden},
    {NULL, NULL, NULL, NULL},
};
