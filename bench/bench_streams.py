"""How late pieces of streams come: many at once, direct, through the edge, the relay and peers.

    python bench/bench_streams.py [--streams 64 256] [--rounds 3] [--seconds 4]

A server sends a token on every stream, 20 times a second, with the time at which it did; the delay
is until the client has it. All ways are measured in turns, round by round; medians of the rounds
are told, and how much later than direct. Beside it stands the processor time that a thousand pieces
take of what carries them. Needs nginx with Lua.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import charts
import peers
import psutil
import stage
import uvloop
from stage import config, measured, percentile, say_load

from tests.scenarios.daemon import free_port, running
from tests.scenarios.edged import EdgedDaemon

LATER_MS_MAX = 5.0
EVERY_S = 0.05  # between two tokens of a stream: 20 a second
SETTLE_S = 1.0  # after all have begun
PATH = "/v1/chat/completions"
BODY = json.dumps({"model": "a", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
STAMP = b'"stamp":'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]"


# --- the server ----------------------------------------------------------------------------------


class Speaking(asyncio.Protocol):
    """Streams for as long as it is listened to."""

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"POST") and self._timer is None:
            self._transport.write(HEAD)
            self._next_s = self._loop.time()
            self._say()
        elif data.startswith(b"GET"):
            self._transport.write(JSON_HEAD)

    def _say(self) -> None:
        token = {"choices": [{"index": 0, "delta": {"content": " hello"}}], "model": "a"}
        event = b"data: %b,%b%d}\n\n" % (
            json.dumps(token).encode()[:-1],
            STAMP,
            time.monotonic_ns(),
        )
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._next_s += EVERY_S
        self._timer = self._loop.call_at(self._next_s, self._say)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()


async def speak(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Speaking, "127.0.0.1", port)
    await server.serve_forever()


def begun(words: list[str]) -> subprocess.Popen[bytes]:
    """In a session of its own: on a busy machine the kernel shares by sessions."""
    return subprocess.Popen(words, start_new_session=True)


# --- its listeners -------------------------------------------------------------------------------


class Listening(asyncio.Protocol):
    def __init__(self, delays_s: list[float]) -> None:
        self.begun = asyncio.Event()
        self._delays_s = delays_s
        self._rest = b""

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.write(
            f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
        )

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        *whole, self._rest = (self._rest + data).split(b"}\n\n")
        for event in whole:
            self.begun.set()
            self._delays_s.append((now_ns - int(event.rpartition(STAMP)[2])) / 1e9)


async def listen(port: int, streams: int, seconds: float) -> list[float]:
    """The delay of every piece, once all streams have begun."""
    loop = asyncio.get_running_loop()
    delays_s: list[float] = []
    listeners = []
    for n in range(streams):
        _, one = await loop.create_connection(lambda: Listening(delays_s), "127.0.0.1", port)
        listeners.append(one)
        await asyncio.sleep(EVERY_S / streams * (n % 7))  # streams are in no step with one another
    async with asyncio.timeout(60):
        for one in listeners:
            await one.begun.wait()
    await asyncio.sleep(SETTLE_S)
    delays_s.clear()
    await asyncio.sleep(seconds)
    heard = list(delays_s)
    for one in listeners:
        one.transport.abort()
    return heard


# --- the ways ------------------------------------------------------------------------------------


@contextmanager
def ways(room: peers.Room) -> Iterator[dict[str, tuple[int, list[psutil.Process]]]]:
    """Of each way its port, and the processes that carry on it."""
    with ExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-streams-")))
        server = free_port()
        stack.callback(begun([sys.executable, __file__, "--speak", str(server)]).terminate)
        at = {"engine": "llama_cpp", "runtime": "external", "url": f"http://127.0.0.1:{server}"}
        wishes = config({"a": {"service": "there", "vram_mb": 10}}, services={"there": at})
        daemon = stack.enter_context(running(here, wishes, EdgedDaemon))
        assert isinstance(daemon, EdgedDaemon)
        daemon.load("a")
        relay = int(str(daemon.beside.base_url).rpartition(":")[2])
        ports = {"edge": daemon.edge_port, "relay": relay}
        for peer in room.with_any_server():
            stack.callback(peer.stop)
            peer.start([peers.Model("a", at=server)])
            ports[peer.name] = peer.port
        yield {"direct": (server, [])} | {
            name: (port, [*carriers(port)]) for name, port in ports.items()
        }


def carriers(port: int) -> set[psutil.Process]:
    """Who listens there; of nginx all that share the socket, of which the kernel names one."""
    found = {
        psutil.Process(each.pid)
        for each in psutil.net_connections("tcp")
        if each.laddr and each.laddr.port == port and each.status == "LISTEN" and each.pid
    }
    for one in [process for process in found if process.name() == "nginx"]:
        parent = one.parent()
        master = parent if parent is not None and parent.name() == "nginx" else one
        found |= {master, *master.children()}
    return found


def cpu_s(processes: list[psutil.Process]) -> float:
    return sum(stage.cpu_s(process.pid) for process in processes)


def measure(room: peers.Room, streams: int, rounds: int, seconds: float) -> None:
    delays_ms: dict[str, list[float]] = {}
    middles_ms: dict[str, list[float]] = {}
    cost_ms: dict[str, list[float]] = {}
    with ways(room) as table:
        for _ in range(rounds):
            for name, (port, processes) in table.items():
                before_s = cpu_s(processes)
                heard = measured(listen(port, streams, seconds))
                share = seconds / (seconds + SETTLE_S)
                taken_s = (cpu_s(processes) - before_s) * share
                delays_ms.setdefault(name, []).append(1e3 * percentile(heard, 99))
                middles_ms.setdefault(name, []).append(1e3 * percentile(heard, 50))
                cost_ms.setdefault(name, []).append(1e6 * taken_s / len(heard))
    for name, values in delays_ms.items():
        delayed = f"Streaming, {streams} streams: pieces come later than direct, p99"
        later = [one - direct for one, direct in zip(values, delays_ms["direct"], strict=True)]
        later_ms = statistics.median(later)
        print(
            f"{streams:4d} streams, {name:17s}: p50 {statistics.median(middles_ms[name]):6.2f} ms, "
            f"p99 {statistics.median(values):6.2f} ms, {later_ms:+6.2f} ms to direct; "
            f"{statistics.median(cost_ms[name]):5.1f} ms of processor a thousand pieces"
        )
        if name != "direct":
            costs = cost_ms[name]
            charts.bar(delayed, "ms", name, later_ms, later)
            carried = f"Streaming, {streams} streams: processor of a thousand pieces"
            charts.bar(carried, "ms", name, statistics.median(costs), costs)
        if name in ("edge", "relay"):
            verdict = "reached" if later_ms <= LATER_MS_MAX else "MISSED"
            print(f"{'':21s}at most {LATER_MS_MAX:g} ms later: {verdict}")


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--streams", type=int, nargs="+", default=[64, 256])
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=4)
    peers.add_options(arguments)
    charts.add_option(arguments)
    arguments.add_argument("--speak", type=int, help=argparse.SUPPRESS)
    said = arguments.parse_args()
    if said.speak is not None:
        with contextlib.suppress(KeyboardInterrupt):
            uvloop.run(speak(said.speak))
        return
    room = peers.in_the_room(said)
    say_load("before")
    room.say()
    print(f"not here: {', '.join(p.name for p in room.peers if p.own_server)}, behind which only")
    print("a real model can stand, which speaks slower than what is measured")
    for streams in said.streams:
        measure(room, streams, said.rounds, said.seconds)
    say_load("after")
    charts.keep(said.json)


if __name__ == "__main__":
    main()
