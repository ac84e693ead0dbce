#!/usr/bin/env bash
# Run a command in a container without network, /proc and /sys: bare.sh COMMAND ...
set -euo pipefail
if [ "${1:-}" != --inside ]; then exec unshare --mount --net --pid --ipc --uts --fork "$0" --inside "$@"; fi
shift
mount --make-rprivate /
mount -t tmpfs -o ro nothing /proc
mount -t tmpfs -o ro nothing /sys
exec "$@"
