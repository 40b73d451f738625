/* What a build without the network and codec parts answers. */
#include <stdio.h>

#include "cli/command.h"

int kt_command_load(int argc, char **argv)
{
    fprintf(stderr, "kinetype load: not in this build; install libuv, libwebsockets and libvpx and "
                    "configure with -Dserver=enabled\n");
    return 1;
}
