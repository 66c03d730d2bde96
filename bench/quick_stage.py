"""The bare server of `quick.py`, the ways to it, and what a fixed piece of work costs on them.

Run as a program it is that server: it answers a chat at once, or streams for as long as it is
listened to.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import bench_streams
import uvloop
from stage import Caller, config, cpu_s, percentile

from tests.scenarios.daemon import free_port, running
from tests.scenarios.edged import EdgedDaemon

PATH = bench_streams.PATH
CHAT = json.dumps({"model": "a", "messages": [{"role": "user", "content": "hi"}]}).encode()
ANSWER = json.dumps({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}).encode()
AT_ONCE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(ANSWER),
    ANSWER,
)


class Answering(bench_streams.Speaking):
    """A chat that asks for no stream is answered when all of it has come."""

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._input = b""

    def data_received(self, data: bytes) -> None:
        self._input += data
        head, ended, body = self._input.partition(b"\r\n\r\n")
        if not ended or len(body) < self._length(head):
            return
        self._input = b""
        if head.startswith(b"POST") and b'"stream"' not in body:
            self._transport.write(AT_ONCE)
        else:
            super().data_received(head)

    @staticmethod
    def _length(head: bytes) -> int:
        lines = head.lower().split(b"\r\n")
        return sum(int(line[15:]) for line in lines if line.startswith(b"content-length:"))


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", port)
    await server.serve_forever()


@dataclass(frozen=True)
class Way:
    port: int
    carriers: frozenset[int]  # the processes whose time is counted

    def cpu_s(self) -> float:
        return sum(cpu_s(pid) for pid in self.carriers)


@contextmanager
def ways() -> Iterator[dict[str, Way]]:
    """To the same server: straight, through the edge, and through the relay."""
    with ExitStack() as stack:
        here = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-quick-")))
        server = free_port()
        words = [sys.executable, __file__, str(server)]
        stack.callback(bench_streams.begun(words).kill)
        at = {"engine": "llama_cpp", "runtime": "external", "url": f"http://127.0.0.1:{server}"}
        wishes = config({"a": {"service": "there", "vram_mb": 10}}, services={"there": at})
        daemon = stack.enter_context(running(here, wishes, EdgedDaemon))
        assert isinstance(daemon, EdgedDaemon)
        daemon.load("a")
        while daemon.post(PATH, json.loads(CHAT)).headers.raw[-1][0] != b"X-Model":
            time.sleep(0.1)  # the edge does not carry it yet
        relay = int(str(daemon.beside.base_url).rpartition(":")[2])
        ports = {"bare": server, "edge": daemon.edge_port, "relay": relay}
        yield {
            name: Way(port, frozenset(each.pid for each in bench_streams.carriers(port)))
            for name, port in ports.items()
        }


async def one_after_another(port: int, times: int) -> float:
    """Seconds of the fastest tenth: whoever shares the processor spares some of them."""
    caller = await Caller.to(port)
    taken_s = [(await caller.post(PATH, CHAT))[0] for _ in range(times)]
    caller.close()
    return percentile(taken_s, 10)


def cost(way: Way, work: Callable[[], int]) -> float:
    """Seconds of processor for one of those that the work says it was."""
    before_s = way.cpu_s()
    began = time.perf_counter()
    done = work()
    assert done > 0, f"nothing came within {time.perf_counter() - began:.0f} s"
    return (way.cpu_s() - before_s) / done


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
