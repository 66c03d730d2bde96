#!/bin/sh
# `make up`: the compose stack from nothing, or again. Writes .env where there is none, has the images built,
# makes the model's container without starting it, and starts the rest.
#
#   MODELS   where your GGUF files lie       (for a new .env alone, like the next two)
#   PROFILE  gpu or cpu, and more with commas; the first by whether there is an NVIDIA driver
#   MODEL    which of them the container llama-cpp serves; the first by its name, if not said
set -eu

die() {
    echo "make up: $*" >&2
    exit 1
}

docker info >/dev/null 2>&1 || die "Docker does not answer: is it installed and started, and may you use it?"
if docker compose version >/dev/null 2>&1; then
    compose="docker compose"
elif command -v docker-compose >/dev/null; then
    compose=docker-compose
else
    die "there is no compose: install docker-compose-plugin (or docker-compose 1.29)"
fi

if [ -e .env ]; then
    [ -z "${MODELS:-}" ] || echo "make up: .env is there and stays as it is; MODELS is not used"
else
    [ -n "${MODELS:-}" ] || die "say where your models are: make up MODELS=/srv/models"
    [ -d "$MODELS" ] || die "there is no folder $MODELS"
    MODELS=$(cd "$MODELS" && pwd)
    case $MODELS in *[,:]*) die "$MODELS has a comma or a colon, which compose takes for something else" ;; esac
    if [ -z "${PROFILE:-}" ]; then
        PROFILE=cpu
        [ ! -e /proc/driver/nvidia/version ] || PROFILE=gpu
    fi
    if [ -z "${MODEL:-}" ]; then
        MODEL=$(cd "$MODELS" && find . -name '*.gguf' ! -iname '*mmproj*' | sed 's|^\./||' | sort | head -n 1)
    fi
    export MODELS PROFILE MODEL
    awk -F= '
        $1 == "COMPOSE_PROFILES" { print $1 "=" ENVIRON["PROFILE"]; next }
        $1 == "MODELS_DIR" { print $1 "=" ENVIRON["MODELS"]; next }
        $1 == "MODEL_PATH" { print $1 "=" ENVIRON["MODEL"]; next }
        { print }
    ' .env.example >.env.new
    mv .env.new .env
    echo "make up: .env says: COMPOSE_PROFILES=$PROFILE, MODELS_DIR=$MODELS, MODEL_PATH=${MODEL:-}"
fi

said() { sed -n "s/^$1=//p" .env | tail -n 1; }
models=$(said MODELS_DIR)
model=$(said MODEL_PATH)
case ,$(said COMPOSE_PROFILES), in *,cpu,*) llama=llama-cpp-cpu ;; *) llama=llama-cpp ;; esac
if [ -n "$model" ] && [ ! -e "$models/${model#"$models"/}" ]; then
    echo "make up: $model is not in $models: llama-cpp serves nothing until MODEL_PATH in .env names a file there"
fi
# The containers run as user 65534, which is in no group of yours.
closed=$(find "$models" \( -type d ! -perm -o=rx \) -o \( -name '*.gguf' ! -perm -o=r \) 2>/dev/null | head -n 1)
[ -z "$closed" ] || echo "make up: user 65534 of the containers may not read $closed: chmod -R o+rX '$models'"

$compose up --no-start $llama
$compose up -d
cat <<NEXT
It is up. What is next:
  docker exec model-orchestrator orchestrator status     what is loaded, and how much room there is
  docker exec model-orchestrator orchestrator doctor     what is missing
  echo "127.0.0.1 orchestrator.lan llama.lan" | sudo tee -a /etc/hosts     then https://orchestrator.lan
NEXT
