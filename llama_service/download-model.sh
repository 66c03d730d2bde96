#!/bin/sh
# Downloads a model into the Hugging Face cache and prints the path of its first file.
#
#   download-model.sh NAME|REPO[:FILE]               --help says more
#   download-model.sh --if-missing NAME|REPO[:FILE]  asks nobody if it is there
#
# HF_HOME is where it goes (default ~/.cache/huggingface), HF_ENDPOINT where it comes from, HF_TOKEN
# who asks. A download that ended early goes on where it ended. The work is done by orchestrator.hub,
# which needs Python 3.11 and httpx; PYTHON names another Python.
set -eu

here=$(cd "${0%/*}" && pwd)
root=$here
[ -e "$root/orchestrator/hub" ] || root=${here%/*}
[ -e "$root/orchestrator/hub" ] || {
    echo "download-model: orchestrator/hub is neither in $here nor above it" >&2
    exit 1
}
for python in "${PYTHON:-}" "$root/.venv/bin/python" python3; do
    if [ -n "$python" ] && command -v "$python" >/dev/null &&
        "$python" -c 'import sys, httpx; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        PYTHONPATH=$root exec "$python" -m orchestrator.hub "$@"
    fi
done
echo "download-model: needs Python 3.11 with httpx: python3 -m pip install httpx" >&2
exit 1
