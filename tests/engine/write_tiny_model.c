/* write_tiny_model DIR SPIECE: a model directory with random weights, for tests that start the
 * whole program. */
#include <stdio.h>

#include "tests/engine/tiny_model.h"

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: write_tiny_model DIR SPIECE\n");
        return 2;
    }
    struct tiny_model_options options = {.window = 12, .sink = 3, .block = 3, .spiece = argv[2]};
    return tiny_model_write(argv[1], &options) < 0;
}
