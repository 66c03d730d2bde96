#!/bin/sh
# Plan, load, ask, give back: with nothing but curl.
#
#   examples/curl.sh [MODEL] [QUESTION]        ORCHESTRATOR_URL says where the daemon is
set -eu

url=${ORCHESTRATOR_URL:-http://127.0.0.1:8000}
model=${1:-chat}
question=${2:-What is the capital of France?}
owner=curl-example

# JSON in, JSON out. An answer of 400 or more is shown, with its reason and its remedy, and ends this.
ask() {
    answer=$(curl -sS -w '\n%{http_code}' -H 'Content-Type: application/json' -d "$2" "$1")
    code=${answer##*
}
    answer=${answer%
*}
    if [ "$code" -ge 400 ]; then
        printf '%s\n' "$answer" >&2
        exit 1
    fi
    printf '%s\n' "$answer"
}

# The text as the inside of a JSON string.
quoted() {
    printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g' | tr '\n\t' '  '
}

echo "== what a load would do"
ask "$url/models/plan" "{\"model\": \"$(quoted "$model")\"}"

echo "== load it, and keep it for ten minutes at most"
loaded=$(ask "$url/models/load" \
    "{\"model\": \"$(quoted "$model")\", \"owner\": \"$owner\", \"lease_seconds\": 600}")
printf '%s\n' "$loaded"
# Whatever happens from here on, it is given back.
trap 'echo "== give it back"
ask "$url/models/unload" "{\"model\": \"$(quoted "$model")\", \"owner\": \"$owner\"}"' EXIT

echo "== ask the model itself"
endpoint=$(printf '%s' "$loaded" | sed -n 's/.*"endpoint":"\([^"]*\)".*/\1/p')
ask "$endpoint/v1/chat/completions" \
    "{\"messages\": [{\"role\": \"user\", \"content\": \"$(quoted "$question")\"}], \"max_tokens\": 64}"
