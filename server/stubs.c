/* What a build without the network and codec parts answers (meson option `server`). */
#include "cli/command.h"

#include <stdio.h>

int kt_command_serve(int argc, char **argv)
{
    fprintf(stderr,
            "kinetype %s: not in this build; install libuv, libwebsockets, libvpx, libjpeg and "
            "libyuv and configure with -Dserver=enabled\n",
            argv[0]);
    return 1;
}
