#!/bin/sh
# Starts the orchestrator in its container; signals reach it, because it takes this script's place.
#
# The socket guard knows the orchestrator's containers by a label with its identity, and has to be
# told it before there is one: ORCHESTRATOR_IDENTITY is written into the state directory once.
set -eu

if [ -n "${CONFIGURATION_FILE:-}" ]; then
    echo "container-start: ORCHESTRATOR_CONFIG=$CONFIGURATION_FILE in .env is not read any more: put the file into" \
        "a folder, as orchestrator.yaml, and name that: ORCHESTRATOR_CONFIG_DIR=./config" >&2
    exit 2
fi
identity=${ORCHESTRATOR_IDENTITY:-}
file=${STATE_DIR:-/var/lib/orchestrator}/identity
if [ -n "$identity" ]; then
    if [ ! -s "$file" ]; then
        echo "$identity" >"$file"
    elif [ "$(cat "$file")" != "$identity" ]; then
        echo "container-start: this state belongs to $(cat "$file"), not to $identity:" \
            "set ORCHESTRATOR_IDENTITY=$(cat "$file") in .env, or use another volume" >&2
        exit 2
    fi
fi
exec orchestrator "$@"
