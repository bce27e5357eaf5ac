#!/usr/bin/env bash
# Run commands in a clean checkout of HEAD on another release of Debian or Ubuntu, as root. `make test-debian` calls this.
#
#   .ci/release.sh SUITE COMMAND ...      each COMMAND is a line for the shell, such as 'make test'
#
# The release lies in .cache/SUITE. The next run finds it there, with the packages and the .venv that were installed. Its
# commands have this machine's kernel and see its processes, because some of what is measured are kernel threads. They have
# mounts and, once everything is installed, a network of their own. When this script ends, by a signal too, it ends every
# process in there, and with the last of them the mounts and the network are gone. After a kill -9 the next run does this.
set -euo pipefail
cd "$(dirname "$0")/.."
suite=$1
shift
[[ "$suite" =~ ^[a-z]+$ ]] || { echo "'$suite' is no release: name one such as trixie" >&2; exit 2; }
root=$PWD/.cache/$suite
checkout=/srv/ids_repro # where other users can read it, whom some tests play
mkdir -p .cache
exec 9>".cache/$suite.lock"
flock -n 9 || { echo "another run uses $root: wait until it has ended" >&2; exit 2; }

child=
number=TERM
stop() { # the first signal asks the command to end, which puts back what it changed; the next one ends it at once
    stopped=$1
    [ -z "$child" ] || kill -"$number" "$child" 2>/dev/null || true
    number=KILL
}
end_all() { # end every process whose root is the release
    local process left=yes
    while [ -n "$left" ]; do
        left=
        for process in /proc/[0-9]*; do
            [ "$process/root" -ef "$root" ] || continue
            kill -KILL "${process#/proc/}" 2>/dev/null || true
            left=yes
        done
        [ -z "$left" ] || sleep 0.05
    done
}
run() { # run a program in a session of its own, where a terminal's signals do not reach it, and wait for it
    local code
    [ -z "${stopped:-}" ] || exit "$stopped"
    setsid setpriv --pdeathsig TERM "$@" 9>&- </dev/null &
    child=$!
    while wait "$child" && code=0 || code=$?; kill -0 "$child" 2>/dev/null; do :; done
    child=
    [ -z "${stopped:-}" ] || exit "$stopped"
    return "$code"
}
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'stop 129' HUP
trap end_all EXIT
end_all

# What happens in the new mount namespace: the release becomes the root, and the old root is gone.
inside='
mount --make-rprivate /
mount --bind "$0" "$0"
cd "$0"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t bpf bpf sys/fs/bpf
mount --rbind /dev dev
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs tmpfs run
mkdir run/lock
ip link set lo up
pivot_root . .
umount -l .
cd /root
exec env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM="${TERM:-dumb}" PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" no_proxy="${no_proxy:-}" bash -euc "$1"'
within() { # within NAMESPACES COMMAND: run a line for the shell in the release
    run unshare --mount $1 bash -euc "$inside" "$root" "$2"
}
timed() { # timed NAME FUNCTION ...: say how long something took and how it ended
    local name=$1 start=$SECONDS code=0
    shift
    echo "== $suite: $name"
    "$@" || code=$?
    echo "== $suite: $name: $((SECONDS - start)) s$([ $code = 0 ] || echo ", failed with exit code $code")"
    return $code
}
make_release() {
    rm -rf "$root.part"
    # universe: Ubuntu's second half, of which Debian's releases have no part
    local packages=apt,ca-certificates,git,make
    run unshare --mount mmdebstrap --mode=root --variant=minbase --include=$packages "$suite" "$root.part" &&
        sed -i '/ubuntu/s/ main$/ main universe/' "$root.part/etc/apt/sources.list" && mv "$root.part" "$root"
}

[ -d "$root" ] || timed "make the release" make_release
# The machine's way to the registries.
cp -L /etc/resolv.conf "$root/etc/"
echo "127.0.0.1 localhost" >"$root/etc/hosts"
[ ! -d /usr/local/share/ca-certificates ] || cp -rT /usr/local/share/ca-certificates "$root/usr/local/share/ca-certificates"
[ -z "$(git -c safe.directory="$PWD" status --porcelain)" ] || echo "== $suite: what is not committed is not tested"
git -c safe.directory="$PWD" bundle create -q "$root/root/head.bundle" HEAD
within "" "update-ca-certificates >/dev/null 2>&1
    git init -q $checkout
    cd $checkout
    git fetch -q /root/head.bundle HEAD
    git checkout -qf --detach FETCH_HEAD
    git clean -qffdx -e .venv -e '*.egg-info'
    rm -rf /tmp/* /root/head.bundle"
timed "install what is missing" within "" "cd $checkout; make -s system-lab system-dpdk venv"
failed=0
for command; do
    timed "$command" within --net "cd $checkout; $command" || failed=1
done
exit $failed
