#!/bin/sh
# Prepares a build context for the target `packed` of Dockerfile.cpu from a server that is built.
#
#   prepare-cpu.sh BIN_DIR CONTEXT
#   docker build -f CONTEXT/llama_service/Dockerfile.cpu --target packed -t llama-service:cpu CONTEXT
#
# No registry is asked and nothing is compiled: seconds, where building inside takes minutes.
set -eu

bin=$1 context=$2
here=$(cd "${0%/*}" && pwd)
mkdir -p "$context/llama_service"
cp "$here/Dockerfile.cpu" "$here/entrypoint" "$here/healthcheck" "$context/llama_service/"
"$here/gather-server.sh" "$bin" "$context/rootfs" --whole
