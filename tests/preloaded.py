"""Programs without the second or two that they take to import: forked from a process that has done so.

Each is a process of its own with its own pid, environment, directory, streams, signals and exit
code, and ends as any Python program does. What executing it would do besides: it would import all
again, obey the loader's variables (LD_...), be in the network of the thread that started it, and
show its own environment in /proc. A test of one of these executes it.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
ORDER_BYTES_MAX = 1 << 17  # nearly all of it environment
END_S = 10.0


@dataclass(frozen=True)
class Order:
    arguments: Sequence[str]
    directory: str
    environment: Mapping[str, str]


class Forked:
    """One process, as `subprocess.Popen` would show it."""

    def __init__(self, told: socket.socket) -> None:
        self._told = told  # first the pid, then the exit code
        self.pid = int(told.recv(32))
        self._handle = os.pidfd_open(self.pid)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended(timeout)
        if code is None:
            raise TimeoutError(f"process {self.pid} still runs after {timeout} s")
        return code

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            said = self._told.recv(32)
            assert said, "the process that forks has ended"
            self.returncode = int(said)
            self._told.close()
            os.close(self._handle)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


class Preloaded:
    """A process that has imported a module, and forks to run its `main`."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, module, str(theirs.fileno())],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def fork(self, order: Order, streams: tuple[int, int, int]) -> Forked:
        """Run it with these descriptors as standard input, output and error."""
        told, tells = socket.socketpair()
        with tells:
            text = json.dumps(asdict(order)).encode()
            socket.send_fds(self._orders, [text], [tells.fileno(), *streams])
        return Forked(told)

    def close(self) -> None:
        self._orders.close()
        self._process.wait(END_S)


@functools.cache
def preloaded(module: str, **loader: str) -> Preloaded:
    """One for all tests of this process that want the same; `loader` are variables of the loader."""
    environment = {**os.environ, **loader}  # noqa: TID251 - as from a shell
    started = Preloaded(module, environment)
    atexit.register(started.close)
    return started


# --- in the process that forks -------------------------------------------------------------------


def await_order(orders: socket.socket) -> Order | None:
    """Return an order in a process forked for it; None in the one that forks, at its end."""
    tellers: dict[int, tuple[int, socket.socket]] = {}  # by pidfd
    while True:
        waiting: list[socket.socket | int] = [orders, *tellers]
        for ready in select.select(waiting, [], [])[0]:
            if isinstance(ready, int):
                pid, teller = tellers.pop(ready)
                os.close(ready)
                _, status = os.waitpid(pid, 0)
                with teller, suppress(BrokenPipeError):  # whoever asked for it is gone
                    teller.send(str(os.waitstatus_to_exitcode(status)).encode())
                continue
            text, handed, *_ = socket.recv_fds(orders, ORDER_BYTES_MAX, 4)
            if not text:
                return None
            teller, *streams = socket.socket(fileno=handed[0]), *handed[1:]
            pid = os.fork()
            if pid == 0:
                for each in (orders, teller, *(other for _, other in tellers.values())):
                    each.close()
                for number, stream in enumerate(streams):
                    os.dup2(stream, number)
            for descriptor in (*streams, *(tellers if pid == 0 else ())):
                os.close(descriptor)
            if pid == 0:
                return Order(**json.loads(text))
            tellers[os.pidfd_open(pid)] = pid, teller
            teller.send(str(pid).encode())


def become(order: Order) -> None:
    """What executing a program would have done."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order.directory)
    os.environ.clear()  # noqa: TID251 - this is where the environment is made
    os.environ.update(order.environment)  # noqa: TID251 - as above


def main(name: str, descriptor: str) -> int:
    module = importlib.import_module(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever orders decides when it ends
    gc.freeze()
    order = await_order(socket.socket(fileno=int(descriptor)))
    if order is None:
        return 0
    become(order)
    return int(module.main(order.arguments))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
