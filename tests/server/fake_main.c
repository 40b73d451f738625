/* kinetype-fake: `kinetype serve` with the lane of fake_lane.c. */
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "serve") != 0) {
        fprintf(stderr, "usage: kinetype-fake serve [options of kinetype serve]\n");
        return 2;
    }
    return kt_command_serve(argc - 1, argv + 1);
}
