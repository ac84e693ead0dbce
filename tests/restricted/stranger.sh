#!/usr/bin/env bash
# Run a command as a user whom /etc/passwd does not know, without a home: stranger.sh COMMAND ...
# Python, the clone and the model may lie in a folder that only root may enter; for the command alone such a folder
# is laid open with an overlay of the same files.
set -euo pipefail
if [ "${1:-}" != --inside ]; then exec unshare --mount "$0" --inside "$@"; fi
shift
mount --make-rprivate /
python=$(python -c 'import sys; print(sys.base_prefix)')
for path in "$python" "$PWD" "$(realpath "$MODEL")" "$TMP"; do
  closed=()
  while [ "$path" != / ]; do
    [ $((0$(stat -c %a "$path") & 1)) = 1 ] || closed=("$path" ${closed[@]+"${closed[@]}"})
    path=$(dirname "$path")
  done
  for folder in ${closed[@]+"${closed[@]}"}; do
    if [ $((0$(stat -c %a "$folder") & 1)) = 1 ]; then continue; fi
    layers=$(mktemp --directory --tmpdir=/dev/shm)
    mount -t tmpfs layers "$layers"
    mkdir --mode=755 "$layers/upper" "$layers/work"
    mount -t overlay overlay -o "lowerdir=$folder,upperdir=$layers/upper,workdir=$layers/work" "$folder"
  done
done
exec setpriv --reuid=12345 --regid=12345 --clear-groups --no-new-privs env -u HOME "$@"
