"""The bare server that a swap is compared with: stopped, started and asked with nobody between."""

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bench_docker
import httpx
from stage import Daemon, cpu_s

from orchestrator.core.values.vram import MiB
from orchestrator.devices.fake import FakeDevices, FakeDeviceSpec
from tests.scenarios.containers import Engine
from tests.scenarios.daemon import chat, free_port

NAMES = ("a", "b")
VRAM_MB = 20_000
READY_LINE = b"model loaded"  # llama-server's, and the stand-in's


def first_byte(http: httpx.Client, url: str, name: str) -> float:
    """Seconds until the answer of the model begins, with its first token."""
    body = {"model": name, "stream": True, "max_tokens": 1, **chat()}
    began_s = time.perf_counter()
    with http.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as answer:
        assert answer.status_code == httpx.codes.OK, answer.read()
        next(answer.iter_bytes())
        return time.perf_counter() - began_s


@dataclass
class ByHand:
    """One server at a time, stopped, started and asked as a person would with a script."""

    words: Sequence[str]
    port: int = field(default_factory=free_port)
    server: subprocess.Popen[bytes] | None = None
    http: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False))

    def swap(self) -> dict[str, float]:
        """Seconds to the first byte of the answer, step by step."""
        began_s = time.perf_counter()
        self.stop()
        stopped_s = time.perf_counter()
        self._start()
        ready_s = time.perf_counter()
        first_byte(self.http, f"http://127.0.0.1:{self.port}", NAMES[0])
        answered_s = time.perf_counter()
        return {
            "end": stopped_s - began_s,
            "start and ready": ready_s - stopped_s,
            "answer": answered_s - ready_s,
        }

    def cpu_s(self) -> float:
        """What the server has taken of the processor since it was started."""
        assert self.server is not None
        return cpu_s(self.server.pid)

    def _start(self) -> None:
        """Return when it says that it is ready: it is not slowed by anybody who asks it."""
        words = [word.replace("{port}", str(self.port)) for word in self.words]
        self.server = subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        assert self.server.stderr is not None
        for line in self.server.stderr:
            if READY_LINE in line:
                break
        threading.Thread(target=self.server.stderr.read, daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait()


@contextmanager
def bare_stand_in(load_s: float, tokens_per_s: int = 1000, slots: int = 1) -> Iterator[ByHand]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        room = FakeDeviceSpec(name="as much as it wants", total_bytes=1 << 60)
        FakeDevices(time.time, Path(folder), [room])
        words = [sys.executable, "-P", "-m", "orchestrator.stand_in.server", "--model", "a"]
        words += ["--port", "{port}", "--load-s", str(load_s), "--tokens-per-s", str(tokens_per_s)]
        words += ["--slots", str(slots)]
        words += ["--claims", folder, "--device", f"fake-0={VRAM_MB * MiB}"]
        bare = ByHand(words)
        try:
            yield bare
        finally:
            bare.stop()


@contextmanager
def bare_llama(started: Daemon) -> Iterator[ByHand]:
    """With the words that the daemon has started it with."""
    words = started.servers()[0].cmdline()
    words[words.index("--port") + 1] = "{port}"
    bare = ByHand(words)
    try:
        yield bare
    finally:
        bare.stop()


@dataclass
class InDocker:
    """The same with `docker stop`, `docker rm` and `docker run`."""

    hand: bench_docker.ByHand
    http: httpx.Client = field(default_factory=lambda: httpx.Client(trust_env=False))

    def swap(self) -> dict[str, float]:
        began_s = time.perf_counter()
        self.hand.stop()
        stopped_s = time.perf_counter()
        url = self.hand.start()
        ready_s = time.perf_counter()
        first_byte(self.http, url, NAMES[0])
        answered_s = time.perf_counter()
        return {
            "end": stopped_s - began_s,
            "start and ready": ready_s - stopped_s,
            "answer": answered_s - ready_s,
        }


@contextmanager
def in_docker(started: Daemon, engine: Engine) -> Iterator[InDocker]:
    hand = bench_docker.ByHand(engine.url, engine.only(started))
    try:
        yield InDocker(hand)
    finally:
        hand.stop()
