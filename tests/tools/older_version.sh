#!/usr/bin/env bash
# Sets up an older version of this program out of git, to be swapped for the present one and back.
#
#   tests/tools/older_version.sh [COMMIT]            unpack it; the last line printed is its folder
#   tests/tools/older_version.sh --check [COMMIT]    print the folder if it is there; exit 3 if not
#
# Without COMMIT it is the newest one whose registry had an older schema. It runs in the present
# environment (PYTHONPATH), whose libraries are the newer ones: PYTHON is its interpreter.
set -euo pipefail
cd "$(dirname "$0")/../.."

check=
if [[ ${1:-} == --check ]]; then
  check=1
  shift
fi
steps=orchestrator/registry/migrations.py
told() { git show "$1:$steps" | grep -c '^    Migration($'; }

if [[ -n ${1:-} ]]; then
  commit=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "older_version: no commit $1" >&2; exit 3; }
else
  now=$(told HEAD 2>/dev/null) || exit 3
  commit=
  for changed in $(git log --format=%H -- $steps); do
    before=$(git rev-parse --verify --quiet "$changed^") || break # as far as a shallow clone knows
    if (($(told "$before") < now)); then
      commit=$before
      break
    fi
  done
  [[ -n $commit ]] || { echo "older_version: this clone has no older schema in its history" >&2; exit 3; }
fi

folder=${XDG_CACHE_HOME:-$HOME/.cache}/vram-orchestrator/older/$commit
if [[ ! -d $folder ]]; then
  [[ -z $check ]] || exit 3
  made=$folder.making.$$
  mkdir -p "$made"
  git archive "$commit" orchestrator pyproject.toml | tar -x -C "$made"
  (cd / && PYTHONPATH=$made "${PYTHON:-$OLDPWD/.venv/bin/python}" -m orchestrator --help >/dev/null) || {
    rm -r "$made"
    echo "older_version: $commit does not start with the libraries of the present environment" >&2
    exit 1
  }
  mv -T "$made" "$folder" 2>/dev/null || rm -r "$made" # another one was quicker
fi
echo "$folder"
