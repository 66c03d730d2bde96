"""The document's flow beside `make run`, from a checkout in which nothing has been set up."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests import walks
from tests.pace import crowd
from tests.scenarios.daemon import PATIENCE_S, POLL_S, ROOT, free_port
from tests.scenarios.n8n import N8n, Relay

pytestmark = [pytest.mark.n8n, pytest.mark.real_model]

SETUP_S = 240.0  # an environment of its own: all of the lock is installed
READ = ("orchestrator", "requirements")  # by the set-up and the daemon
READ_TOO = ("Makefile", "pyproject.toml", "README.md", "LICENSE")


@dataclass(frozen=True)
class Checkout:
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    for name in READ:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in READ_TOO:
        shutil.copy(ROOT / name, tmp_path)
    return Checkout(tmp_path, free_port())


@pytest.fixture
def made(checkout: Checkout) -> Iterator["subprocess.Popen[bytes]"]:
    """`make run`, as from a shell."""
    environ = dict(os.environ)  # noqa: TID251 - as from a shell
    for name in ("ORCHESTRATOR_CONFIG", "PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL"):
        environ.pop(name, None)
    with (checkout.folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["make", "run", f"PORT={checkout.port}"],
            cwd=checkout.folder,
            env=environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(httpx.TransportError):
            order = {"model": "default", "force": True}
            httpx.post(f"{checkout.url}/models/unload", json=order, timeout=30, trust_env=False)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(PATIENCE_S)


def test_the_documents_flow_runs_beside_make_run(
    n8n: N8n, checkout: Checkout, made: "subprocess.Popen[bytes]", record_property: walks.Record
) -> None:
    """n8n is on the same machine, under no name: the workflow is imported and executed as it is."""
    walk = walks.Walk("n8n beside make run", record_property)
    walk.types("make run")
    while not checkout.answers():
        assert made.poll() is None, checkout.log
        assert walk.seconds < SETUP_S * crowd(), checkout.log
        time.sleep(POLL_S)
    walk.types("n8n import:workflow --input=workflows/llama-chat-example.json")
    walk.types("Execute workflow")
    relay = Relay(lambda: checkout.url)  # its port 8000 is not this machine's, which may be taken
    try:
        n8n.hosts.clear()
        n8n.hosts["localhost"] = relay.address
        run = n8n.execute("vram-chat")
    finally:
        relay.close()
    walk.ends()
    assert run.succeeded, run.text
    assert run.output("Settings")["orchestrator"] == "http://localhost:8000"
    assert run.output("Load")["model"] == "smollm2"
    assert run.output("Load")["endpoint"].startswith("http://127.0.0.1:")
    assert run.output("Process")["answer"]
    assert run.output("Process")["model"] == "smollm2", "in an answer is what was asked for"
    assert run.output("Unload")["status"] == "unloaded"
    assert httpx.get(f"{checkout.url}/models/status", trust_env=False).json()["loaded_models"] == {}
