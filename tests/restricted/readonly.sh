#!/usr/bin/env bash
# Run a command where nothing at all can be written, /tmp and /dev/shm included: readonly.sh COMMAND ...
set -euo pipefail
if [ "${1:-}" != --inside ]; then exec unshare --mount "$0" --inside "$@"; fi
shift
mount --make-rprivate /
findmnt --raw --noheadings --output TARGET | grep -vE '^/(proc|sys)' | while read -r target; do
  mount -o remount,bind,ro "$target" 2> /dev/null || echo "$target stays writable" >&2
done
exec "$@"
