#!/usr/bin/env bash
# Installs a real n8n, and the tools that lint and build a community node, for the tests.
#
#   tests/tools/install_n8n.sh            install what is missing; the last line printed is the
#                                         directory, with server/ and node-tools/ in it
#   tests/tools/install_n8n.sh --check    print the directory if all is there; exit 3 if not
#
# A cold install takes some minutes and 2 GB; what is there is used again until a package.json in
# tests/tools/n8n/ changes. Needs Node 20 or newer, npm, and a package registry that npm reaches.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
home=${XDG_CACHE_HOME:-$HOME/.cache}/vram-orchestrator/n8n

die() {
  printf 'install_n8n: %s\n' "$1" >&2
  exit "${2:-1}"
}

# Says whether the part was installed from the package.json as it is now.
ready() {
  cmp -s "$here/n8n/$1/package.json" "$home/$1/complete"
}

# $1: the part; the rest: flags for npm.
install() {
  local part=$1 log=$home/$1.log
  shift
  ready "$part" && return
  rm -rf "${home:?}/$part"
  mkdir -p "$home/$part"
  cp "$here/n8n/$part/package.json" "$home/$part/"
  # Without --legacy-peer-deps n8n's own peers conflict; `npm ci` fails on the optional packages
  # of other platforms.
  (cd "$home/$part" && nice -n 10 npm install --legacy-peer-deps --no-audit --no-fund \
    --no-package-lock "$@") >"$log" 2>&1 || {
    tail -n 20 "$log" >&2
    die "npm could not install $part; the whole log is $log"
  }
  cp "$here/n8n/$part/package.json" "$home/$part/complete"
}

if ready server && ready node-tools; then
  echo "$home"
  exit 0
fi
[[ ${1:-} == --check ]] && die "no n8n in $home: run tests/tools/install_n8n.sh" 3
for tool in node npm flock; do
  command -v "$tool" >/dev/null || die "needs $tool: install Node 20 or newer and run this again"
done
(($(node -p 'process.versions.node.split(".")[0]') >= 20)) || die "needs Node 20, found $(node -v)"

# One installer at a time: whoever comes second waits for the first and takes its result.
mkdir -p "$home"
exec 9>"$home.lock"
flock 9
install server
# The build needs none of the install scripts; one of them would compile a sandbox.
install node-tools --ignore-scripts
echo "$home"
