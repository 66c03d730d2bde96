"""A container's command, taken apart."""

import pytest

from orchestrator.cli.importing.docker_run import taken_apart

RUN = (
    "docker run --rm -it --gpus all -p ${PORT}:8080 -v /srv/models:/models:ro --name=a"
    " --mount type=bind,source=/srv/x,target=/x -e A=1 --network host ghcr.io/ggml-org/llama.cpp:server -m /models/a.gguf"
)


def test_options_image_and_arguments_are_told_apart():
    run = taken_apart(RUN.split())
    assert run.image == "ghcr.io/ggml-org/llama.cpp:server"
    assert run.arguments == ["-m", "/models/a.gguf"]
    assert run.mounts == [("/srv/models", "/models"), ("/srv/x", "/x")]
    assert run.ports == [("${PORT}", "8080")]
    assert (run.env, run.network) == (["A=1"], "host")
    assert run.serves_llama == ""


def test_a_path_inside_is_one_of_the_host():
    run = taken_apart(RUN.split())
    assert run.outside("/models/sub/a.gguf") == "/srv/models/sub/a.gguf"
    assert run.outside("/app/a.gguf") is None


@pytest.mark.parametrize(
    ("words", "serves"),
    [
        ("podman run org/toolbox llama-server -m a", "llama-server"),
        ("docker run --entrypoint /app/llama-server org/box -m a", "/app/llama-server"),
        ("docker run --device /dev/kfd ghcr.io/ggml-org/llama.cpp:server -m a", None),
        ("docker run vllm/vllm-openai --model a", None),
        ("docker run ghcr.io/ggml-org/llama.cpp:full --server", ""),
        ("docker run ghcr.io/ggml-org/llama.cpp:full bash", None),
    ],
)
def test_a_llama_server_is_known_by_its_image_or_its_program(words, serves):
    assert taken_apart(words.split()).serves_llama == serves


@pytest.mark.parametrize(
    "words", ["llama-server -m a", "docker stop a", "docker run --rm", "docker"]
)
def test_what_runs_no_container_is_none(words):
    assert taken_apart(words.split()) is None
