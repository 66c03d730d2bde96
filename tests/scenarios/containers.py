"""Real llama.cpp in real containers for the daemon: an image, an engine to look at, a network."""

import ctypes
import functools
import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import docker.errors

from orchestrator.runtimes.docker.create import LABEL_IDENTITY, LABEL_MODEL
from tests.contracts import docker_parts as parts
from tests.scenarios.daemon import ROOT, Daemon, config, free_port
from tests.scenarios.world import THREADS, smollm_file

IMAGE = "vram-scenario-llama:test"
LABEL = "vram-orchestrator.scenario"  # on containers that somebody else has made
CLONE_NEWNET = 0x40000000
CARD_MB = 1000
MODEL_MB = 700  # of what is declared; by its file the small model takes some more


@functools.cache
def _built() -> tuple[Path, str]:
    """Where the server was built, and what an image of it would consist of."""
    tool = parts.ROOT / "tests" / "tools" / "build_llama_cpp.sh"
    said = subprocess.run([tool, "--check"], check=True, capture_output=True, text=True).stdout
    built = Path(said.strip().splitlines()[-1])
    content = hashlib.sha256(str(built).encode())
    recipes = ("Dockerfile.cpu", "entrypoint", "healthcheck", "gather-server.sh")
    for recipe in (*recipes, "prepare-cpu.sh"):
        content.update((ROOT / "llama_service" / recipe).read_bytes())
    return built, content.hexdigest()


def llama_image(url: str) -> str:
    """Our CPU image out of what the tests have built already. No registry is asked."""
    built, content = _built()
    with (
        closing(docker.APIClient(base_url=url, version="auto", timeout=60)) as client,
        tempfile.TemporaryDirectory() as context,
    ):
        if not parts.has_image(client, IMAGE, content):
            prepare = ROOT / "llama_service" / "prepare-cpu.sh"
            subprocess.run([prepare, built, context], check=True)
            said = client.build(
                path=context,
                dockerfile="llama_service/Dockerfile.cpu",
                target="packed",
                tag=IMAGE,
                rm=True,
                decode=True,
            )
            wrong = [each for each in said if "error" in each]
            assert not wrong, wrong
            parts.note_content(client, IMAGE, content)
    return IMAGE


def smollm(service: str = "llama-cpp", **more: Any) -> dict[str, Any]:
    return {
        "service": service,
        "file": str(smollm_file().resolve()),
        "context_size": 1024,
        "threads": THREADS,
        "jinja": False,  # its own template would add a system prompt that misleads it
    } | more


def llama_service(**more: Any) -> dict[str, Any]:
    models = str(smollm_file().resolve().parent)
    return {"engine": "llama_cpp", "runtime": "docker", "image": IMAGE, "models_dir": models} | more


def settings(
    models: dict[str, Any], services: dict[str, Any] | None = None, **sections: Any
) -> dict[str, Any]:
    """A card that one model fits on, and a service of containers beside the stand-in's."""
    card = {"name": "Fake", "total_mb": CARD_MB, "release_lag_s": 0}
    rehearsal = {"engine": "fake", "runtime": "process"}
    return config(
        models,
        devices=sections.pop("devices", {"fake": [card]}),
        services={"rehearsal": rehearsal, "llama-cpp": llama_service()} | (services or {}),
        **sections,
    )


class Engine:
    """A Docker Engine as a bystander sees it, who can do everything by hand."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = docker.APIClient(base_url=url, version="auto", timeout=60)

    def close(self) -> None:
        with suppress(docker.errors.APIError):
            parts.remove_all(self.url, f"{LABEL}={parts.RUN}")
        self.client.close()

    def containers(self, daemon: Daemon, model: str | None = None) -> list[dict[str, Any]]:
        """All that this daemon has made, whatever their state, as inspected."""
        labels = [f"{LABEL_IDENTITY}={daemon.identity()}"]
        labels += [f"{LABEL_MODEL}={model}"] if model else []
        listed = self.client.containers(all=True, filters={"label": labels})
        return [self.client.inspect_container(each["Id"]) for each in listed]

    def only(self, daemon: Daemon, model: str | None = None) -> dict[str, Any]:
        (found,) = self.containers(daemon, model)
        return found

    def clean_up(self, daemon: Daemon) -> None:
        parts.remove_all(self.url, f"{LABEL_IDENTITY}={daemon.identity()}")

    def make_named(
        self, name: str, *command: str, image: str = parts.IMAGE, restart: str = "no"
    ) -> tuple[str, str]:
        """A container as compose would define it, not started; its name and its address."""
        port = free_port()
        name = f"{name}-{parts.RUN}"
        models = str(smollm_file().resolve().parent)
        with suppress(docker.errors.NotFound):
            self.client.remove_container(name, force=True)
        self.client.create_container(
            image,
            list(command),
            name=name,
            entrypoint=[],
            labels={LABEL: parts.RUN},
            ports=[8000],
            host_config=self.client.create_host_config(
                port_bindings={8000: ("127.0.0.1", port)},
                binds={models: {"bind": models, "mode": "ro"}},
                restart_policy={"Name": restart},
            ),
        )
        return name, f"http://127.0.0.1:{port}"

    def runs(self, name: str) -> bool:
        return bool(self.client.inspect_container(name)["State"]["Running"])


@contextmanager
def opened_engine() -> Iterator[Engine]:
    """With the images that containers are made of."""
    engine = Engine(parts.need_engine())
    parts.import_image(engine.url)
    llama_image(engine.url)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def running_on(
    engine: Engine,
    directory: Path,
    said: dict[str, Any],
    *,
    kind: type[Daemon] = Daemon,
    host: str | None = None,
    executed: bool = False,
    **environment: str,
) -> Iterator[Daemon]:
    """A daemon on that engine, by way of `host`; cleaned up after with all its containers."""
    daemon = kind(directory, said)
    daemon.executed = executed
    daemon.environment |= {"DOCKER_HOST": host or engine.url} | environment
    try:
        daemon.start()
        yield daemon
        assert "Traceback" not in daemon.log(), daemon.log()
    finally:
        daemon.clean_up()
        engine.clean_up(daemon)


@contextmanager
def starting_on(engine: Engine, folder: Path) -> Iterator[Callable[..., Daemon]]:
    """Start daemons, each in a directory of its own: `start(models, services, **sections)`."""
    with ExitStack() as stack:

        def start(
            models: dict[str, Any],
            services: dict[str, Any] | None = None,
            *,
            kind: type[Daemon] = Daemon,
            host: str | None = None,
            **sections: Any,
        ) -> Daemon:
            directory = Path(tempfile.mkdtemp(prefix="daemon-", dir=folder))
            said = settings(models, services, **sections)
            return stack.enter_context(running_on(engine, directory, said, kind=kind, host=host))

        yield start


@contextmanager
def inside_network_of(pid: int) -> Iterator[None]:
    """This thread and the programs it starts are in the network of that process meanwhile."""
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(network: int) -> None:
        if libc.setns(network, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "only root may enter a network")

    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        enter(theirs)
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        try:
            yield
        finally:
            enter(ours)
    finally:
        os.close(ours)
        os.close(theirs)
