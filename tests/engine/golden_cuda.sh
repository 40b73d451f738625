#!/bin/sh
# golden_cuda.sh KINETYPE CASE: one golden case on the first card, in fp32. 77 where there is none.
set -eu
[ -d "$2" ] || { echo "no golden case at $2"; exit 77; }
"$1" golden --device cuda --precision fp32 "$2" 2>&1 || status=$?
[ "${status-0}" -eq 0 ] && exit 0
if "$1" golden --device cuda --precision fp32 "$2" 2>&1 | grep -q "device 'cuda'"; then
    exit 77
fi
exit "$status"
