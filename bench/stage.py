"""What the benchmarks of the daemon share: a daemon to measure, light callers, plain tables.

Run as a program it is the bare server that the daemon is compared with: whatever its callers wait
for is the machine's doing and the client's.
"""

import asyncio
import contextlib
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvloop

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.scenarios.daemon import Daemon, config, free_port, model, running  # noqa: E402 - the path first

__all__ = ["Caller", "Daemon", "bare_server", "config", "cpu_s", "daemon", "free_port", "model"]

CPUCLOCK_SCHED = 2
ANSWER_S_MAX = 60.0
BARE_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


# --- what is measured ----------------------------------------------------------------------------


@contextmanager
def daemon(models, **sections) -> Iterator[Daemon]:
    """A real daemon in a process of its own, gone with all it started when the block ends."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        running(Path(folder), config(models, **sections)) as started,
    ):
        yield started


@contextmanager
def bare_server() -> Iterator[int]:
    """The port of a process that answers every request at once with a few fixed bytes."""
    with subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            yield int(server.stdout.readline())
        finally:
            server.kill()


def cpu_s(pid: int) -> float:
    """The processor time that a process has used since it started, with threads that have ended:
    by its clock, to the nanosecond (the number of it is the kernel's `MAKE_PROCESS_CPUCLOCK`).
    """
    return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)


# --- who measures --------------------------------------------------------------------------------


class Caller(asyncio.Protocol):
    """One kept connection; an answer is timed when its last byte is read from the socket."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[tuple[float, bytes]] | None = None
        self._input = b""

    @classmethod
    async def to(cls, port: int) -> "Caller":
        loop = asyncio.get_running_loop()
        _, caller = await loop.create_connection(cls, "127.0.0.1", port)
        return caller

    async def get(self, path: str) -> tuple[float, bytes]:
        """The seconds it took, and the body."""
        return await self._ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    async def post(self, path: str, body: bytes) -> tuple[float, bytes]:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return await self._ask(head.encode() + body)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    async def _ask(self, request: bytes) -> tuple[float, bytes]:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        began_s = time.perf_counter()
        self._transport.write(request)
        async with asyncio.timeout(ANSWER_S_MAX):
            ended_s, body = await self._answer
        return ended_s - began_s, body

    def connection_made(self, transport) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError(f"the server hung up: {error}"))

    def data_received(self, data: bytes) -> None:
        now_s = time.perf_counter()
        self._input += data
        head, end, body = self._input.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        self._input = b""
        if self._answer is None or self._answer.done():
            return
        if head.split(b" ", 2)[1] == b"200":
            self._answer.set_result((now_s, body))
        else:
            self._answer.set_exception(AssertionError((head + body).decode()))


def _length(head: bytes) -> int:
    lengths = [line[15:] for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"]
    return int(lengths[0])


def measured(work) -> object:
    """Run a coroutine on the fast loop, for the client shall not be what is measured."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


# --- what is told --------------------------------------------------------------------------------


def say_load(when: str) -> None:
    one, five, _ = os.getloadavg()
    print(f"{when}: load average {one:.2f} (1 min) {five:.2f} (5 min), {os.cpu_count()} cores")


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that so many percent do not exceed."""
    return sorted(samples)[max(0, math.ceil(len(samples) * percent / 100) - 1)]


def say_times(label: str, times_s: Sequence[float], baseline_s: Sequence[float] = ()) -> None:
    """One line: how many, minimum, median, p95, p99, maximum in ms; medians against a baseline."""
    columns = " ".join(
        f"{name} {value * 1e3:8.2f}"
        for name, value in (
            ("min", min(times_s)),
            ("p50", percentile(times_s, 50)),
            ("p95", percentile(times_s, 95)),
            ("p99", percentile(times_s, 99)),
            ("max", max(times_s)),
        )
    )
    ratio = percentile(times_s, 50) / percentile(baseline_s, 50) if baseline_s else None
    tail = f"  p50 x{ratio:.2f}" if ratio is not None else ""
    print(f"{label:44s} n {len(times_s):5d}  {columns} ms{tail}")


class _Bare(asyncio.Protocol):
    def connection_made(self, transport) -> None:
        self._transport = transport

    def data_received(self, _data: bytes) -> None:
        self._transport.write(BARE_ANSWER)


async def _serve_bare() -> None:
    server = await asyncio.get_running_loop().create_server(_Bare, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve_bare())
