#!/bin/sh
# golden.sh KINETYPE CASE: one golden case, on the fast kernels and on the plain C reference.
set -eu
[ -d "$2" ] || { echo "no golden case at $2"; exit 77; }
"$1" golden "$2"
"$1" golden --reference "$2"
