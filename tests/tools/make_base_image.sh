#!/usr/bin/env bash
# Gives the Docker Engine a Debian with Python and nginx to build on, and prints the image's name.
# No container registry is asked: the root comes from Debian's mirror, by debootstrap, as root.
#
#   tests/tools/make_base_image.sh            make it, or answer at once from the engine
#   tests/tools/make_base_image.sh --check    print the name if the engine has it; exit 3 if not
#
# The root (350 MB) is kept in the user's cache, so that another engine gets it in seconds.
set -euo pipefail

SUITE=bookworm
PACKAGES=python3,python3-venv,ca-certificates,openssl,nginx-light,libnginx-mod-http-lua,lua-cjson

die() {
  printf 'make_base_image: %s\n' "$1" >&2
  exit "${2:-1}"
}

key=$(printf '%s %s %s\n' "$SUITE" "$PACKAGES" "$(uname -m)" | sha256sum | cut -c1-12)
image=vram-test-base:$key
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vram-orchestrator
root=$cache/debian-root-$key.tar

command -v docker >/dev/null || die "needs docker: apt-get install docker.io" 3
if docker image inspect "$image" >/dev/null 2>&1; then
  echo "$image"
  exit 0
fi
[[ ${1:-} == --check ]] && die "the engine has no $image: run tests/tools/make_base_image.sh" 3

mkdir -p "$cache"
exec 9>"$root.lock"
flock 9
if [[ ! -s $root ]]; then
  command -v debootstrap >/dev/null || die "needs debootstrap: apt-get install debootstrap"
  ((EUID == 0)) || die "debootstrap needs root"
  work=$(mktemp -d "$cache/debian-root.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  nice -n 10 debootstrap --variant=minbase --include="$PACKAGES" "$SUITE" "$work/root" \
    >"$root.log" 2>&1 || {
    tail -n 5 "$root.log" >&2
    die "debootstrap failed; the whole log is $root.log"
  }
  rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
  # dpkg has made these; a container brings its own.
  rm -rf "$work"/root/dev/* "$work"/root/proc/* "$work"/root/sys/*
  tar -C "$work/root" -cf "$root.new" .
  mv "$root.new" "$root"
fi
docker import "$root" "$image" >/dev/null
echo "$image"
