#!/usr/bin/env bash
# Run a command where it meets no other test: in network, mount and PID namespaces of its own, with an empty BPF file
# system and empty folders for named network namespaces, locks and temporary files.
set -euo pipefail
[ "${1:-}" = inside ] || {
	mkdir -p /run/netns /run/ids_repro
	exec unshare --net --mount --pid --fork --kill-child --mount-proc "$0" inside "$@"
}
shift
mount --make-rprivate /
for folder in /run/netns /run/ids_repro; do
	mount -t tmpfs -o mode=755 tmpfs "$folder"
done
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
chmod 1777 "$TMPDIR"
"$@"
