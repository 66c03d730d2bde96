"""Real parts for tests with Docker: an engine, a tiny image, and our guard in front of the engine.

Nothing here starts an engine for the whole machine: `tests/tools/start_dockerd.sh` does.
"""

import functools
import hashlib
import io
import os
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests

from orchestrator.access.resident_keys import ResidentKeys
from orchestrator.runtimes.docker.closed import Doors
from tests.parts import require

ROOT = Path(__file__).parents[2]
START = ROOT / "tests" / "tools" / "start_dockerd.sh"
IMAGE = "vram-sleeper:test"
PROBER = "vram-prober:test"
CONTENT = "content-"  # begins the tag that says what a test image is made of
SOCKETS = ("/var/run/docker.sock", "/tmp/vram-orchestrator-dockerd/docker.sock")
RUN = str(os.getpid())  # in names and labels: several runs may share one engine
GUARD_IDENTITY = f"guarded-{RUN}"


@functools.cache
def engine_url() -> str | None:
    """The engine that tests may use: the one named by DOCKER_HOST, else one that is there."""
    candidates = [os.getenv("DOCKER_HOST", ""), *(f"unix://{path}" for path in SOCKETS)]
    return next((url for url in candidates if url and answers(url)), None)


def answers(url: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:  # the SDK leaves sockets that fail to connect
        if probe.connect_ex(url.removeprefix("unix://")) != 0:
            return False
    try:
        with closing(docker.APIClient(base_url=url, version="auto", timeout=5)) as client:
            return bool(client.ping())
    except (docker.errors.DockerException, requests.RequestException):
        return False


def need_engine() -> str:
    require("docker")
    url = engine_url()
    assert url is not None
    return url


@functools.cache
def sleeper() -> bytes:
    """The stand-in server as one static binary."""
    require("compiler")
    with tempfile.TemporaryDirectory() as scratch:
        binary = Path(scratch) / "sleeper"
        source = ROOT / "tests" / "standins" / "sleeper.c"
        subprocess.run(["gcc", "-O1", "-static", "-s", "-o", binary, source], check=True)
        return binary.read_bytes()


def import_image(url: str) -> str:
    """Give the engine the stand-in as an image, and return its name. No registry is asked."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for directory in ("dev", "etc", "models", "proc", "sys", "tmp"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        binary = tarfile.TarInfo("sleeper")
        binary.size, binary.mode = len(sleeper()), 0o755
        tar.addfile(binary, io.BytesIO(sleeper()))
    content = hashlib.sha256(packed.getvalue()).hexdigest()
    with closing(docker.APIClient(base_url=url, version="auto")) as client:
        if not has_image(client, IMAGE, content):
            name, _, tag = IMAGE.partition(":")
            client.import_image_from_data(packed.getvalue(), repository=name, tag=tag)
            note_content(client, IMAGE, content)
    return IMAGE


def prober_image(url: str) -> str:
    """The stand-in for a server that was taken over, in the place of llama-server."""
    require("compiler")
    with tempfile.TemporaryDirectory() as scratch:
        binary = Path(scratch) / "llama-server"
        source = ROOT / "tests" / "standins" / "prober.c"
        subprocess.run(["gcc", "-O1", "-static", "-s", "-o", binary, source], check=True)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for folder in ("dev", "etc", "proc", "run", "sys", "tmp", "usr", "usr/bin"):
                entry = tarfile.TarInfo(folder)
                # Anybody's, as a careless image has it: the root is read-only all the same. What
                # Docker puts at /dev takes its mode from here, and is in memory.
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755 if folder == "dev" else 0o777
                tar.addfile(entry)
            tar.add(binary, "usr/bin/llama-server")
    with closing(docker.APIClient(base_url=url, version="auto")) as client:
        repository, _, tag = PROBER.partition(":")
        client.import_image_from_data(packed.getvalue(), repository=repository, tag=tag)
    return PROBER


def has_image(client: docker.APIClient, name: str, content: str) -> bool:
    """Whether the engine has that test image, made of the same content."""
    try:
        return _image_id(client, _named_for(name, content)) == _image_id(client, name)
    except docker.errors.ImageNotFound:
        return False


def _image_id(client: docker.APIClient, name: str) -> str:
    """Raise ImageNotFound. The SDK's own types say nothing of it."""
    inspect: Callable[[str], dict[str, Any]] = client.inspect_image
    return str(inspect(name)["Id"])


def note_content(client: docker.APIClient, name: str, content: str) -> None:
    """Name a new test image for its content too, and remove those of earlier contents.

    A second name and no label: containers inherit the labels of their image.
    """
    current = _named_for(name, content)
    repository, _, tag = current.partition(":")
    client.tag(name, repository, tag)
    for image in client.images(name=repository):
        for each in image["RepoTags"] or ():
            if each.startswith(f"{repository}:{CONTENT}") and each != current:
                with suppress(docker.errors.APIError):  # a container of another run still uses it
                    client.remove_image(each)


def _named_for(name: str, content: str) -> str:
    return f"{name.partition(':')[0]}:{CONTENT}{content[:16]}"


def doors() -> Doors:
    """Of containers that no daemon has made: their keys are in a folder of this run."""
    folder = os.getenv("TMPDIR", tempfile.gettempdir())
    return Doors(ResidentKeys(Path(folder) / f"server-keys-{RUN}"), "http://127.0.0.1:1")


def remove_all(url: str, label: str) -> None:
    """Remove every container that carries this label, and then every network."""
    with closing(docker.APIClient(base_url=url, version="auto")) as client:
        for found in client.containers(all=True, filters={"label": label}):
            client.remove_container(found["Id"], force=True, v=True)
        for network in client.networks(filters={"label": label}):
            client.remove_network(network["Id"])


@contextmanager
def guard(engine: str, **settings: str) -> Iterator[str]:
    """Our real guard on a real nginx in front of `engine`; the URL of its socket."""
    require("nginx")
    with tempfile.TemporaryDirectory(prefix="guard-") as directory:
        here = Path(directory)
        text = (ROOT / "nginx" / "docker-guard.conf").read_text()
        text = text.replace("/run/docker-guard", directory)
        text = text.replace("unix:/var/run/docker.sock", engine.replace("unix://", "unix:"))
        (here / "guard.conf").write_text(text)
        environment = {"PATH": os.getenv("PATH", ""), "GUARD_IDENTITY": GUARD_IDENTITY, **settings}
        with (here / "log").open("wb") as log:
            nginx = subprocess.Popen(
                ["nginx", "-e", "stderr", "-p", ROOT / "nginx", "-c", here / "guard.conf"],
                env=environment,
                stdout=log,
                stderr=log,
            )
            try:
                _wait_until_listening(nginx, here / "docker.sock", here / "log")
                yield f"unix://{directory}/docker.sock"
            finally:
                nginx.terminate()
                nginx.wait(10)


@dataclass(frozen=True)
class PrivateEngine:
    """An engine that a test may stop, freeze and kill: nobody else uses it."""

    url: str
    environment: dict[str, str]

    @property
    def pid(self) -> int:
        return int((Path(self.environment["DOCKERD_DIR"]) / "docker.pid").read_text())

    def start(self) -> None:
        subprocess.run([START], env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        subprocess.run([START, "--stop"], env=self.environment, check=True)


@contextmanager
def private_engine(*flags: str) -> Iterator[PrivateEngine]:
    """An engine of its own, in a network of its own: where nothing can be published."""
    require("dockerd")
    with tempfile.TemporaryDirectory(prefix="dockerd-", ignore_cleanup_errors=True) as directory:
        environment = {
            "PATH": os.getenv("PATH", ""),
            "DOCKERD_DIR": directory,
            "DOCKERD_PRIVATE": "1",
            "DOCKERD_FLAGS": " ".join(flags),
        }
        engine = PrivateEngine(f"unix://{directory}/docker.sock", environment)
        engine.start()
        try:
            yield engine
        finally:
            engine.stop()
            # With live restore an engine leaves its data root mounted on itself.
            subprocess.run(["umount", "-l", f"{directory}/data"], check=False, capture_output=True)


def _wait_until_listening(nginx: "subprocess.Popen[bytes]", path: Path, log: Path) -> None:
    for _ in range(200):
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        assert nginx.poll() is None, log.read_text()
        time.sleep(0.02)
    raise AssertionError(log.read_text())
