#!/bin/sh
# Brings NVIDIA's compiler for CUDA and prints its root as the last line: a step of build-server.sh.
#
#   cuda-compiler.sh DIR      uses the toolkit of this machine, or installs one into DIR (1.2 GB)
#
# A toolkit counts where nvcc is on PATH or in /usr/local/cuda: that of a base image (a Jetson's, an
# older CUDA for an older driver). Otherwise the whole compiler comes from PyPI, pinned by the
# hashes in requirements/cuda.lock; no GPU and no driver is needed to compile.
set -eu

into=$1
here=$(cd "${0%/*}" && pwd)

die() {
    echo "cuda-compiler: $1" >&2
    exit 1
}

nvcc=$(command -v nvcc || command -v /usr/local/cuda/bin/nvcc || true)
if [ -n "$nvcc" ]; then
    nvcc=$(readlink -f "$nvcc")
    echo "${nvcc%/bin/nvcc}"
    exit 0
fi

root=$into/nvidia/cu13
if [ ! -f "$into/complete" ]; then
    rm -rf "$into"
    python3 -m venv "$into/venv"
    "$into/venv/bin/pip" install -q --no-deps --require-hashes --target "$into" \
        --requirement "$here/../requirements/cuda.lock" \
        || die "cannot install the compiler: is the package index reachable?"
    rm -rf "$into/venv"
    # The wheels hold what programs load, under full names; a linker asks for the short ones.
    ln -sfn lib "$root/lib64"
    for library in cudart cublas cublasLt; do
        found=$(cd "$root/lib" && ls "lib$library.so".* 2>/dev/null | head -n 1)
        [ -n "$found" ] || die "no lib$library in $root/lib"
        ln -sf "$found" "$root/lib/lib$library.so"
    done
    "$root/bin/nvcc" --version >/dev/null || die "$root/bin/nvcc does not start"
    touch "$into/complete"
fi
echo "$root"
