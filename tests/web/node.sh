#!/bin/sh
# Runs node with the given arguments, or exits 77 (cannot run here) when it is missing or too old.
node=$(command -v node || command -v nodejs) || { echo "node is not installed"; exit 77; }
major=$("$node" -p 'process.versions.node.split(".")[0]') || exit 77
[ "$major" -ge 18 ] || { echo "node $major is too old: 18 is needed"; exit 77; }
exec "$node" "$@"
