"""Daemons without the second or two that they take to import: forked from a process that has done so.

Each is a process of its own with its own pid, environment, directory, streams, signals and exit
code, and ends as any Python program does. What executing it would do besides: it would import all
again, obey the loader's variables (LD_...), be in the network of the thread that started it, and
show its own environment in /proc. A test of one of these executes it: `Daemon.executed`.
"""

import atexit
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ORDER_BYTES_MAX = 1 << 17  # nearly all of it environment
END_S = 10.0


@dataclass(frozen=True)
class Order:
    arguments: tuple[str, ...]  # of `orchestrator`
    directory: str
    environment: dict[str, str]
    log: str


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
            assert said, "the process that forks daemons has ended"
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


def fork(order: Order) -> Forked:
    told, tells = socket.socketpair()
    with tells:
        socket.send_fds(_preloaded(), [json.dumps(asdict(order)).encode()], [tells.fileno()])
    return Forked(told)


@functools.cache
def _preloaded() -> socket.socket:
    """To the process that forks: one for all tests of this process. It ends when nobody listens."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno())],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait(END_S)

    atexit.register(end)
    return ours


# --- in the process that forks -------------------------------------------------------------------


def await_order(orders: socket.socket) -> Order | None:
    """Return an order in a process forked for it; None in the one that forks, at its end."""
    tellers: dict[int, tuple[int, socket.socket]] = {}  # by pidfd
    while True:
        for ready in select.select([orders, *tellers], [], [])[0]:
            if ready is not orders:
                pid, teller = tellers.pop(ready)
                os.close(ready)
                _, status = os.waitpid(pid, 0)
                with teller, suppress(BrokenPipeError):  # whoever asked for it is gone
                    teller.send(str(os.waitstatus_to_exitcode(status)).encode())
                continue
            text, handed, *_ = socket.recv_fds(orders, ORDER_BYTES_MAX, 1)
            if not text:
                return None
            teller = socket.socket(fileno=handed[0])
            pid = os.fork()
            if pid == 0:
                for each in (orders, teller, *(other for _, other in tellers.values())):
                    each.close()
                for handle in tellers:
                    os.close(handle)
                return Order(**json.loads(text))
            tellers[os.pidfd_open(pid)] = pid, teller
            teller.send(str(pid).encode())


def become(order: Order) -> None:
    """What executing a program would have done."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order.directory)
    os.environ.clear()  # noqa: TID251 - this is where the environment is made
    os.environ.update(order.environment)  # noqa: TID251 - as above
    log = os.open(order.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    os.close(log)


def main(descriptor: str) -> int:
    # Only in this process: all that a daemon imports, also later, and what it makes only once.
    import httpcore  # noqa: F401, PLC0415
    import uvicorn.protocols.http.auto  # noqa: PLC0415
    import uvicorn.protocols.websockets.auto  # noqa: F401, PLC0415

    import orchestrator.daemon.serve  # noqa: F401, PLC0415
    from orchestrator.__main__ import main as command  # noqa: PLC0415
    from orchestrator.config import DEFAULT_CONFIG, load_services  # noqa: PLC0415

    load_services(DEFAULT_CONFIG)

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever orders decides when it ends
    gc.freeze()
    order = await_order(socket.socket(fileno=int(descriptor)))
    if order is None:
        return 0
    become(order)
    return command(order.arguments)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
