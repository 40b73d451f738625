#!/bin/sh
# live.sh PYTHON SERVER DRIVER: behaviour of the live server over loopback; 77 where there is no Python.
[ "$1" = none ] && exit 77
exec "$1" "$(dirname "$0")/live.py" "$2" "$3"
