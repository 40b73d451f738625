#!/bin/sh
# check.sh COMPILER... -- ROOT HEADER: the header must compile alone, as C17, without a warning.
set -eu
compiler=
while [ "$1" != -- ]; do
    compiler="$compiler $1"
    shift
done
root=$2 header=$3
printf '#include "%s"\n#include "%s"\ntypedef int kt_not_empty;\n' "$header" "$header" |
    $compiler -std=c17 -D_GNU_SOURCE -Wall -Wextra -Wno-psabi -Werror -I"$root" -x c -fsyntax-only -
