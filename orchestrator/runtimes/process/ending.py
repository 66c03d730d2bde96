"""Ends what runs of a server: itself, its descendants, and whatever else carries its marks."""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.core.values.residents import InstanceId
from orchestrator.errors import NotStopped
from orchestrator.runtimes.process.handle import ServerRef
from orchestrator.runtimes.process.spawn import MARK_IDENTITY, MARK_INSTANCE
from orchestrator.runtimes.process.table import (
    Process,
    ProcessTree,
    ancestors,
    marked,
    pid_handles,
    read_table,
    wait_until_ended,
)
from orchestrator.steps import step

KILL_WAIT_S = 5.0  # after SIGKILL; longer means that it hangs in the kernel, in a driver
LOOK_FRESH_S = 0.1  # one takes some 10 ms, or several times that on a busy machine


@dataclass(frozen=True, slots=True)
class Belongings:
    """What runs of a server, at one look."""

    processes: tuple[Process, ...]
    reapers: frozenset[int] | None  # who adopts those whose parent ends; None: it is not known


class ServerEnding:
    def __init__(self, identity: str) -> None:
        """`identity` tells our processes from those of another daemon's state directory."""
        self._identity = identity
        # Looks for ends that may follow, and when each was begun.
        self._looks: dict[InstanceId, tuple[float, asyncio.Future[Belongings]]] = {}

    def foresee(self, server: ServerRef) -> None:
        """Look for its processes now: its end may follow at once."""
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        for instance, (begun_s, look) in list(self._looks.items()):
            if look.done() and now_s - begun_s >= LOOK_FRESH_S:
                del self._looks[instance]  # no end followed
        look = loop.run_in_executor(None, self._look, server, None)
        look.add_done_callback(_heard)
        self._looks[server.instance] = (now_s, look)

    async def end(self, server: ServerRef, grace_s: float) -> None:
        """Return when nothing of it is left. Raise NotStopped."""
        try:
            with step("find its processes", server.model):
                found = await self._belongings(server)
            with step("end", server.model):
                await _signal(found.processes, signal.SIGTERM, grace_s, leader=server.pid)
            with step("verify the end", server.model):
                await self.kill(server, found.reapers)
        except OSError as error:
            raise NotStopped(f"{server.instance} is not verified gone: {error}") from error

    async def kill(self, server: ServerRef, reapers: frozenset[int] | None = None) -> None:
        """Return when nothing of it is left. Raise NotStopped, OSError.

        `reapers` are those that an earlier look has found.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + KILL_WAIT_S
        while processes := (await asyncio.to_thread(self._look, server, reapers)).processes:
            left_s = deadline_s - loop.time()
            if left_s <= 0:
                pids = ", ".join(str(process.pid) for process in processes)
                raise NotStopped(f"{server.instance} still runs after SIGKILL (pid {pids})")
            await _signal(processes, signal.SIGKILL, left_s, leader=server.pid)

    async def _belongings(self, server: ServerRef) -> Belongings:
        """As of the look that was begun a moment ago, if any was. Raise OSError."""
        begun_s, look = self._looks.pop(server.instance, (0.0, None))
        if look is not None:
            with suppress(OSError):  # the next one may succeed
                found = await look
                if asyncio.get_running_loop().time() - begun_s < LOOK_FRESH_S:
                    return found
        return await asyncio.to_thread(self._look, server, None)

    def _look(self, server: ServerRef, reapers: frozenset[int] | None) -> Belongings:
        """Runs in a thread. Raise OSError."""
        table = read_table()
        ours = set()
        leader = table.get(server.pid)
        if leader is not None and leader.started == server.started:
            ours = {server.pid} | ProcessTree.of(table).attached(server.pid)
            reapers = ancestors(table, leader.parent)
        names = (MARK_IDENTITY, MARK_INSTANCE)
        given = marked(table, names, since=server.started, reapers=reapers)
        marks = (self._identity, server.instance)
        ours |= {pid for pid, values in given.items() if values == marks}
        ours.discard(os.getpid())
        running = tuple(table[pid] for pid in sorted(ours) if not table[pid].ended)
        return Belongings(running, reapers)


def _heard(look: "asyncio.Future[Belongings]") -> None:
    """A look that failed, and that no end has asked for, is no news."""
    if not look.cancelled():
        look.exception()


async def _signal(
    processes: Sequence[Process], number: signal.Signals, timeout_s: float, *, leader: int
) -> None:
    """Return when all have ended, or when the time is over."""
    with pid_handles(processes) as held:
        for pid_handle in held:
            pid_handle.send(number)
        await wait_until_ended(held, timeout_s)
        for pid_handle in held:
            if pid_handle.pid != leader:  # whose exit code is for its watch
                pid_handle.reap()  # it is our child where we are process 1 of a container
