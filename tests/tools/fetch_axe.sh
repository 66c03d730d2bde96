#!/usr/bin/env bash
# Fetches axe-core, which says what of a page people cannot use who do not see or do not use a mouse.
#
#   tests/tools/fetch_axe.sh            fetch it if it is missing; the last line printed is the file
#   tests/tools/fetch_axe.sh --check    print the file if it is there; exit 3 if not
#
# Needs npm.
set -euo pipefail

version=4.14.1
sum=29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c
home=${XDG_CACHE_HOME:-$HOME/.cache}/vram-orchestrator/axe
file=$home/axe.min.js

whole() { printf '%s  %s\n' "$sum" "$file" | sha256sum --check --status 2>/dev/null; }

if [[ ${1:-} == --check ]]; then
  whole || exit 3
elif ! whole; then
  mkdir -p "$home"
  cd "$home"
  npm pack --silent "axe-core@$version" >/dev/null
  tar -xzOf "axe-core-$version.tgz" package/axe.min.js >"$file"
  rm "axe-core-$version.tgz"
  whole || { echo "fetch_axe: axe-core $version is not what it was" >&2; exit 1; }
fi
echo "$file"
