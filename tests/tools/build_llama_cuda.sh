#!/usr/bin/env bash
# Builds llama.cpp's server for NVIDIA GPUs, on a machine that needs none, and prints the directory
# that holds it as the last line. What was built once is used again; a build that was interrupted
# goes on. 144 files for the GPU: half an hour on two idle cores, which is why CI has no part in it.
#
#   tests/tools/build_llama_cuda.sh            build, or answer at once from the cache
#   tests/tools/build_llama_cuda.sh --check    print the directory if it is there; exit 3 if not
#
# The directory holds opt/llama (the server with all its libraries, as in the image), packed.tar.xz
# (the same without cuBLAS, for a machine that has its own) and build.txt (seconds, sizes, kernels).
# CUDA_ARCHITECTURES (90: H100 and H200) and JOBS may be set. The steps and the sources are those of
# the image, llama_service/Dockerfile.
set -euo pipefail

cd "$(dirname "$0")/../.."
service=llama_service
version=$(sed -n 's/^ARG LLAMA_CPP_VERSION=//p' $service/Dockerfile)
sha256=$(sed -n 's/^ARG LLAMA_CPP_SHA256=//p' $service/Dockerfile)
architectures=${CUDA_ARCHITECTURES:-90}
jobs=${JOBS:-2}
flags_hash=$({
  grep -o -e '-D[A-Z_a-z]*=[A-Za-z]*' $service/build-server.sh
  cat requirements/cuda.lock
  uname -m
} | sha256sum | cut -c1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vram-orchestrator
home=$cache/llama-cuda-$version-sm_${architectures//;/_}-$flags_hash

die() {
  printf 'build_llama_cuda: %s\n' "$1" >&2
  exit "${2:-1}"
}

ready() {
  [[ -f $home/complete ]]
}

if ready; then
  echo "$home"
  exit 0
fi
[[ ${1:-} == --check ]] && die "no build in $home: run tests/tools/build_llama_cuda.sh" 3
for tool in cmake make g++ python3 sha256sum flock strip xz tar; do
  command -v "$tool" >/dev/null || die "needs $tool: install it and run this again"
done

# One builder at a time: whoever comes second waits for the first and takes its result.
mkdir -p "$cache"
exec 9>"$home.lock"
flock 9
if ready; then
  echo "$home"
  exit 0
fi

began=$(date +%s)
log=$home.log
rm -rf "$home"
if ! LLAMA_CPP_VERSION=$version LLAMA_CPP_SHA256=$sha256 CUDA_ARCHITECTURES=$architectures JOBS=$jobs \
  WORK=$home.work nice -n 19 $service/build-server.sh "$home" >>"$log" 2>&1; then
  tail -n 20 "$log" >&2
  die "the build failed; the whole log is $log, and $home.work goes on from there"
fi
seconds=$(($(date +%s) - began))

server=$home/opt/llama
"$server/llama-server" --version >/dev/null 2>&1 || die "the built llama-server does not start"
tar -C "$home/opt" --exclude='libcublas*' -cf - llama | nice -n 19 xz -6 >"$home/packed.tar.xz"
{
  echo "seconds of the last run: $seconds, with $jobs compilers at a time"
  echo "libggml-cuda.so, stripped: $(stat -Lc %s "$server/libggml-cuda.so.0") bytes"
  echo "packed, without cuBLAS: $(stat -c %s "$home/packed.tar.xz") bytes"
  echo "kernels, as cuobjdump counts its files:"
  cat "$server/kernels.txt"
} >"$home/build.txt"
rm -rf "$home.work"
touch "$home/complete"
echo "$home"
