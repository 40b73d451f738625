/* What a build without codecs answers. */
#include <stdio.h>

#include "cli/command.h"

int kt_command_generate(int argc, char **argv)
{
    fprintf(stderr,
            "kinetype generate: not in this build; install libavformat, libpng and what the "
            "server needs, and configure with -Dserver=enabled\n");
    return 1;
}
