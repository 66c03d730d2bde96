"""The real daemon in a process of its own, with fake devices and stand-in servers by default."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from orchestrator.runtimes.process.ports import reserved_port
from tests.preloaded import Forked, Order, preloaded

STDIN = 0
START_S = 60.0  # a cold start on a busy machine; on an idle one it takes about one second
PATIENCE_S = 60.0
POLL_S = 0.05  # an answer takes some milliseconds of two processes
ROOT = Path(__file__).parents[2]


def free_port() -> int:
    return reserved_port("127.0.0.1")


def model(vram_mb: int, **more: Any) -> dict[str, Any]:
    fake = {"load_s": 0.1} | more.pop("fake", {})
    return {"service": "rehearsal", "vram_mb": vram_mb, "fake": fake} | more


def config(models: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """A card of 32 GB that gives bytes back after 0.2 s, and nobody who keeps others waiting."""
    devices = {
        "source": "fake",
        "headroom_mb": 0,
        "sample_interval_s": 0.2,
        "fake": [{"name": "Fake 32 GB", "total_mb": 32768, "release_lag_s": 0.2}],
    } | sections.pop("devices", {})
    scheduling = {"min_residency_s": 0, "stop_grace_s": 2} | sections.pop("scheduling", {})
    return {
        "state_dir": "./state",
        "devices": devices,
        "scheduling": scheduling,
        "services": {"rehearsal": {"engine": "fake", "runtime": "process"}},
        "models": models,
    } | sections


class Daemon:
    """Talks to one daemon; starts, kills and starts it again on the same state directory."""

    def __init__(self, directory: Path, settings: dict[str, Any]) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.configure(settings)
        self.http = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.environment = dict(os.environ)  # noqa: TID251 - the daemon runs as from a shell
        self.executed = False  # see tests/preloaded.py for what needs that
        self.prefix: tuple[str, ...] = ()  # words before the program, where it is executed
        self.words: tuple[str, ...] = ()  # of `serve`, beside its configuration and port
        self.program = "orchestrator"  # what is executed
        self.import_path: tuple[Path, ...] = (ROOT,)  # beside the interpreter's own

    def configure(self, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.file = self.directory / "orchestrator.yaml"
        self.file.write_text(yaml.safe_dump(settings))

    # --- its life --------------------------------------------------------------------------------

    def start(self) -> float:
        """Return after how many seconds it answered."""
        began = time.monotonic()
        own = ("--config", str(self.file), "--port", str(self.port))
        arguments = ("serve", *own, *self.words)
        environment = self.environment | {"PYTHONPATH": os.pathsep.join(map(str, self.import_path))}
        with (self.directory / "daemon.log").open("ab") as log:
            if self.executed or any(name.startswith("LD_") for name in environment):
                self.process = subprocess.Popen(
                    [*self.prefix, sys.executable, "-m", self.program, *arguments],
                    cwd=self.directory,
                    env=environment,
                    stdout=log,
                    stderr=log,
                )
            else:
                self.process = _fork(arguments, self.directory, environment, log.fileno())
        while time.monotonic() - began < START_S:
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended: {self.log()}")
            try:
                if self.http.get("/health").status_code == 200:
                    return time.monotonic() - began
            except httpx.TransportError:
                time.sleep(0.02)
        raise AssertionError(f"the daemon did not answer: {self.log()}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout=PATIENCE_S)

    def log(self) -> str:
        return (self.directory / "daemon.log").read_text()

    def clean_up(self) -> None:
        """Leave nothing of this state directory running."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        for server in self.servers():
            server.kill()
        self.http.close()

    def servers(self, model_name: str | None = None) -> list[psutil.Process]:
        """The model servers that run for this state directory."""
        found = []
        for process in psutil.process_iter(["environ"]):
            environ = process.info["environ"] or {}
            ours = environ.get("VRAM_ORCHESTRATOR_IDENTITY") == self.identity()
            if ours and model_name in (None, environ.get("VRAM_ORCHESTRATOR_MODEL")):
                found.append(process)
        return [each for each in found if each.is_running() and each.status() != "zombie"]

    def identity(self) -> str:
        path = self.directory / "state" / "identity"
        return path.read_text().strip() if path.exists() else "none"

    # --- what its users do -----------------------------------------------------------------------

    def post(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        return self.http.post(path, json={} if body is None else body, **options)

    def load(self, name: str, **more: Any) -> dict[str, Any]:
        answer = self.post("/models/load", {"model": name} | more)
        assert answer.status_code == 200, answer.text
        return object_of(answer)

    def refused(self, name: str, **more: Any) -> dict[str, Any]:
        answer = self.post("/models/load", {"model": name} | more)
        assert answer.status_code >= 400, answer.text
        return object_of(answer)

    def unload(self, name: str, **more: Any) -> dict[str, Any]:
        answer = self.post("/models/unload", {"model": name} | more)
        assert answer.status_code == 200, answer.text
        return object_of(answer)

    def status(self) -> dict[str, Any]:
        return object_of(self.http.get("/models/status"))

    def loaded(self) -> dict[str, str]:
        """Who is there, in which state."""
        return {name: each["status"] for name, each in self.status()["loaded_models"].items()}

    def decisions(self, kind: str | None = None, model_name: str | None = None) -> list[Any]:
        """Oldest first."""
        query = {"limit": 500} | ({"model": model_name} if model_name else {})
        events = self.http.get("/events", params=query).json()["events"]
        return [each for each in reversed(events) if kind in (None, each["kind"])]

    def device(self, **changes: Any) -> None:
        answer = self.http.put("/devices/fake-0/fake", json=changes)
        assert answer.status_code == 200, answer.text

    def until(
        self, holds: Callable[[dict[str, Any]], bool], what: str, patience_s: float = PATIENCE_S
    ) -> dict[str, Any]:
        """Ask for the status until it is as expected, and return it."""
        deadline = time.monotonic() + patience_s
        while True:
            status = self.status()
            if holds(status):
                return status
            if time.monotonic() > deadline:
                raise AssertionError(f"never: {what}\n{json.dumps(status)}\n{self.log()}")
            time.sleep(POLL_S)

    def until_loaded(self, **expected: str) -> dict[str, Any]:
        return self.until(lambda _: self.loaded() == expected, f"loaded models are {expected}")

    def talk(self, name: str, seconds: float = 0.0, **more: Any) -> httpx.Response:
        """A chat that goes straight to the model's server and lasts so long."""
        return httpx.post(
            self.endpoint(name) + "/v1/chat/completions", json=chat(seconds, **more), timeout=60
        )

    def endpoint(self, name: str) -> str:
        return str(self.status()["loaded_models"][name]["endpoint"])


def object_of(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object that is the body."""
    body = answer.json()
    assert isinstance(body, dict), answer.text
    return body


def chat(seconds: float = 0.0, text: str = "hello", **more: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": text}],
        "max_tokens": max(1, round(seconds * 50)),  # at the stand-in's 50 tokens per second
    } | more


def command(directory: Path, *words: str, **variables: str) -> tuple[int, str]:
    """`orchestrator` with these words, to its end: the exit code and all that it said. `variables`
    are of the environment.
    """
    log = directory / "command.log"
    with log.open("wb") as said:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # noqa: TID251 - as from a shell
        process = _fork(words, directory, environment | variables, said.fileno())
    try:
        return process.wait(PATIENCE_S), log.read_text()
    finally:
        process.kill()


def begun(directory: Path, log: str, *words: str) -> Forked:
    """`orchestrator` with these words, to go on; what it says is in the log."""
    with (directory / log).open("ab") as said:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}  # noqa: TID251 - as from a shell
        return _fork(words, directory, environment, said.fileno())


def _fork(
    words: Sequence[str], directory: Path, environment: Mapping[str, str], log: int
) -> Forked:
    order = Order(words, str(directory), environment)
    return preloaded("tests.scenarios.daemon_program").fork(order, (STDIN, log, log))


@contextmanager
def running(
    directory: Path, settings: dict[str, Any], kind: type[Daemon] = Daemon
) -> Iterator[Daemon]:
    daemon = kind(directory, settings)
    try:
        daemon.start()
        yield daemon
    finally:
        daemon.clean_up()
