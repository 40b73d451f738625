#include "cli/command.h"

#include <stddef.h>

const struct kt_command_entry kt_commands[] = {
    {"serve", "--config FILE [options]", "live video in the browser", kt_command_serve},
    {"golden", "[--reference] DIR", "compare the engine with a golden case", kt_command_golden},
    {"bench", "[MODEL] [options]", "", kt_command_bench},
    {"info", "MODEL", "", kt_command_info},
    {NULL, NULL, NULL, NULL},
};
