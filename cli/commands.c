#include "cli/command.h"

#include <stddef.h>

const struct kt_command_entry kt_commands[] = {
    {"serve", "--config FILE [options]", "live video in the browser", kt_command_serve},
    {"generate", "--prompt TEXT -o FILE", "a video file from prompts", kt_command_generate},
    {"golden", "[--reference] DIR", "compare the engine with a golden case", kt_command_golden},
    {"bench", "[MODEL] [options]", "frames per second, milliseconds per stage", kt_command_bench},
    {"pictures", "LIST --frames A-B -o FILE", "raw frames of many streams, for a judge",
     kt_command_pictures},
    {"previews", "LIST [options]", "ways to show a prompt early, compared", kt_command_previews},
    {"load", "--script FILE [options]", "clients that type, and what they saw", kt_command_load},
    {"simulate", "[options]", "the scheduler on a virtual clock", kt_command_simulate},
    {"replay", "LOG --model DIR [-o FILE]", "the pictures of a decision log, compared and again",
     kt_command_replay},
    {"info", "MODEL", "what a model directory holds", kt_command_info},
    {NULL, NULL, NULL, NULL},
};
