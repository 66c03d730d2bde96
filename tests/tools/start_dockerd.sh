#!/bin/sh
# Makes sure that a Docker Engine answers, and prints the DOCKER_HOST that reaches it.
#
#   export DOCKER_HOST="$(tests/tools/start_dockerd.sh)"
#   tests/tools/start_dockerd.sh --stop        ends the engine that this script started
#
# An engine that already answers (DOCKER_HOST, else the usual socket) is used as it is. Otherwise
# one is started with a data root, sockets and a log of its own under $DOCKERD_DIR (default
# /tmp/vram-orchestrator-dockerd); running the script again finds it. The stand-in GPU hook of
# tests/standins is on that engine's PATH, so it accepts GPU requests on a machine without a GPU.
# DOCKERD_PRIVATE=1 never looks for another engine and gives this one a network namespace of its
# own: two engines in one would take each other's bridge away. DOCKERD_FLAGS adds flags.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
dir=${DOCKERD_DIR:-/tmp/vram-orchestrator-dockerd}
socket=$dir/docker.sock
wait_s=60

# The engine that this script started and that still runs; nothing if there is none.
own_pid() {
    pid=$(cat "$dir/docker.pid" 2>/dev/null) || return 0
    # A number in an old file may be anybody's by now.
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ] && echo "$pid" || rm -f "$dir/docker.pid"
}

answers() {
    [ "$(curl -s -m 5 --unix-socket "$1" http://engine/_ping 2>/dev/null)" = OK ]
}

if [ "${1:-}" = --stop ]; then
    pid=$(own_pid)
    [ -n "$pid" ] || exit 0
    kill "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    exit 0
fi

if [ -z "${DOCKERD_PRIVATE:-}" ]; then
    case ${DOCKER_HOST:-} in
        unix://*) if answers "${DOCKER_HOST#unix://}"; then echo "$DOCKER_HOST"; exit 0; fi ;;
    esac
    if answers /var/run/docker.sock; then echo unix:///var/run/docker.sock; exit 0; fi
fi
if answers "$socket"; then echo "unix://$socket"; exit 0; fi

command -v dockerd >/dev/null || {
    echo "no Docker Engine: apt-get install docker.io iptables" >&2
    exit 1
}
[ -z "$(own_pid)" ] || { echo "the engine of $dir/docker.pid runs but does not answer" >&2; exit 1; }
mkdir -p "$dir/bin" "$dir/data" "$dir/exec"
ln -sf "$here/../standins/nvidia-container-runtime-hook" "$dir/bin/nvidia-container-runtime-hook"

start() { # $1: storage driver
    # shellcheck disable=SC2086 - flags are words
    PATH="$dir/bin:$PATH" setsid nohup ${DOCKERD_PRIVATE:+unshare --net} dockerd --host "unix://$socket" --storage-driver "$1" \
        --data-root "$dir/data" --exec-root "$dir/exec" --pidfile "$dir/docker.pid" \
        ${DOCKERD_FLAGS:-} >>"$dir/dockerd.log" 2>&1 </dev/null &
    dockerd=$!
    deadline=$(($(date +%s) + wait_s))
    until answers "$socket"; do
        kill -0 "$dockerd" 2>/dev/null || return 1
        [ "$(date +%s)" -lt "$deadline" ] || { kill "$dockerd"; return 1; }
        sleep 0.1
    done
}

# vfs copies whole layers but works on every file system, overlay2 does not.
start overlay2 || start vfs || {
    echo "dockerd does not start; the end of $dir/dockerd.log:" >&2
    tail -n 5 "$dir/dockerd.log" >&2
    exit 1
}
echo "unix://$socket"
