"""Runs model servers as processes of their own session, which outlive this daemon.

What is ours is told by variables in the process's environment, so a server is found again even
if the daemon was killed between starting it and writing that down. Nothing here signals a pid:
every signal goes through a pidfd whose start time was compared (`process_table.py`).
"""

import asyncio
import os
import signal
import socket
from collections import deque
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from orchestrator.core.values.residents import Endpoint, InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.errors import StartFailed, StopFailed, Unreachable
from orchestrator.ports import Exit, Found, Handle, Launch, Running
from orchestrator.runtimes.process import logs
from orchestrator.runtimes.process.logs import ServerLogs
from orchestrator.runtimes.process.spawn import (
    HOST,
    INHERITED,
    MARK_IDENTITY,
    MARK_INSTANCE,
    MARK_MODEL,
    MARK_PORT,
    child_environment,
    no_port,
    spawn,
    unwritable_log,
)
from orchestrator.runtimes.process.table import (
    Grip,
    Kinship,
    Process,
    attached,
    boot_id,
    grips,
    kinship,
    marked,
    out_of_memory_kills,
    read_process,
    read_table,
    seniority,
    wait_until_ended,
)
from orchestrator.runtimes.unshared import Unshared

T = TypeVar("T")

HANDLE_VERSION = 1

KILL_WAIT_S = 5.0  # after SIGKILL; longer means that it hangs in the kernel, in a driver
EXIT_LOG_LINES = 50  # enough for llama.cpp's last words, which are what a failure is read from
PORTS_APART = 64  # a port is not given twice to servers that start at about the same time
TABLE_FRESH_S = 2.0  # one look at all processes serves everybody who asks for pids meanwhile
ENDED_KEPT_MAX = 64  # exit codes kept for who asks after the end


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thing:
    """A handle's fields, parsed."""

    instance: InstanceId
    model: ModelName
    pid: int
    started: int
    boot: str
    port: int
    log: Path

    @classmethod
    def of(cls, handle: Handle) -> "_Thing":
        """Raise Unreachable if the handle is not one of ours."""
        fields = handle.fields
        if handle.runtime != ProcessRuntime.name or handle.version != HANDLE_VERSION:
            raise Unreachable(f"not a process's handle: {handle.runtime} {handle.version}")
        try:
            return cls(
                instance=InstanceId(str(fields["instance"])),
                model=ModelName(str(fields["model"])),
                pid=int(fields["pid"]),
                started=int(fields["started"]),
                boot=str(fields["boot"]),
                port=int(fields["port"]),
                log=Path(str(fields["log"])),
            )
        except (KeyError, ValueError) as error:
            raise Unreachable(f"a process cannot be found by this handle: {error}") from error

    @property
    def running(self) -> Running:
        fields: dict[str, str | int | float] = {
            "instance": self.instance,
            "model": self.model,
            "pid": self.pid,
            "started": self.started,
            "boot": self.boot,
            "port": self.port,
            "log": str(self.log),
        }
        return Running(
            handle=Handle(runtime=ProcessRuntime.name, version=HANDLE_VERSION, fields=fields),
            endpoint=Endpoint(f"http://{HOST}:{self.port}"),
        )


class _Watch:
    """Sees the end of one process, reaps it if it is our child, and tells everybody who waits."""

    def __init__(self, grip: Grip) -> None:
        self._grip = grip
        self._loop = asyncio.get_running_loop()
        self._oom_kills = out_of_memory_kills()
        self.stopping = False
        self.out_of_memory = False
        self.ended: asyncio.Future[int | None] = self._loop.create_future()
        self._loop.add_reader(grip.descriptor, self._end)

    def _end(self) -> None:
        self._loop.remove_reader(self._grip.descriptor)
        code = self._grip.reap()
        self._grip.close()
        # The kernel counts its out-of-memory kills but does not say whom it killed.
        killed = code == -signal.SIGKILL and not self.stopping
        self.out_of_memory = killed and self._oom_kills != out_of_memory_kills()
        self.ended.set_result(code)

    def close(self) -> None:
        if not self.ended.done():
            self._loop.remove_reader(self._grip.descriptor)
            self._grip.close()
            self.ended.cancel()


class ProcessRuntime(Unshared):
    name = "process"

    def __init__(self, state_dir: Path, identity: str, environment: Mapping[str, str]) -> None:
        """`identity` tells our processes from those of another daemon's state directory;
        `environment` is where the few variables that servers inherit are taken from.

        Raise OSError where there is no /proc.
        """
        self._identity = identity
        self._inherited = {k: v for k, v in environment.items() if k in INHERITED}
        self._logs = ServerLogs(state_dir / "logs")
        self._boot = boot_id()
        self._watches: dict[tuple[int, int], _Watch] = {}
        self._ports: deque[int] = deque(maxlen=PORTS_APART)
        self._kinship = Kinship({}, {})
        self._kinship_s = float("-inf")

    async def start(self, launch: Launch) -> Running:
        port = self._free_port(launch)
        # Not a task: ending the loop cancels all tasks, and a thread cannot be taken back.
        spawning = asyncio.get_running_loop().run_in_executor(None, self._spawn, launch, port)
        try:
            thing, grip = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            await _to_the_end(self._undo(spawning))
            raise
        self._remember(thing, _Watch(grip))
        return thing.running

    async def stop(self, handle: Handle, *, grace_s: float) -> None:
        thing = _Thing.of(handle)
        if thing.boot != self._boot:
            return
        try:
            watch = self._watch(thing)
        except Unreachable as error:
            raise StopFailed(str(error)) from error
        if watch is None:
            await self._end(thing, grace_s)
            return
        watch.stopping = True
        try:
            await self._end(thing, grace_s)
            await asyncio.shield(watch.ended)  # reaped, if it was our child
        finally:
            watch.stopping = watch.ended.done()

    async def wait(self, handle: Handle) -> Exit:
        """What a dead server leaves behind is killed: nobody answers for it any more."""
        thing = _Thing.of(handle)
        watch = self._watch(thing)
        code = None
        if watch is not None:
            code = await asyncio.shield(watch.ended)
        if thing.boot == self._boot and not (watch is not None and watch.stopping):
            with suppress(StopFailed, OSError):  # it has ended; `stop` says so if more is left
                await self._kill(thing)
        return Exit(
            code=code,
            # A SIGKILL may also be the kernel's, for memory.
            stopped=code in (0, -signal.SIGTERM),
            out_of_memory=watch is not None and watch.out_of_memory,
            log_tail=await self.log_tail(handle, EXIT_LOG_LINES),
        )

    async def alive(self, handle: Handle) -> bool:
        thing = _Thing.of(handle)
        try:
            return self._runs(thing, read_process(thing.pid))
        except OSError as error:
            raise Unreachable(f"the kernel does not tell about {thing.pid}: {error}") from error

    async def discover(self) -> Sequence[Found]:
        try:
            things = await asyncio.to_thread(self._marked_things)
        except OSError as error:
            raise Unreachable(f"the kernel does not tell what runs: {error}") from error
        return [Found(instance=t.instance, model=t.model, running=t.running) for t in things]

    async def pids(self, handle: Handle) -> frozenset[int]:
        """As of two seconds ago at most, but for the server itself."""
        thing = _Thing.of(handle)
        now_s = asyncio.get_running_loop().time()
        if now_s - self._kinship_s >= TABLE_FRESH_S:
            self._kinship_s = now_s  # at once: others who ask meanwhile do not look as well
            self._kinship = await asyncio.to_thread(lambda: kinship(read_table()))
        if not await self.alive(handle):
            return frozenset()
        return frozenset({thing.pid}) | attached(self._kinship, thing.pid)

    async def log_tail(self, handle: Handle, lines: int) -> tuple[str, ...]:
        return await asyncio.to_thread(logs.tail, _Thing.of(handle).log, lines)

    async def log_size(self, handle: Handle) -> int:
        return await asyncio.to_thread(logs.size, _Thing.of(handle).log)

    async def trim_logs(self) -> int:
        """Cut the logs that have grown too large; say how many. To be called now and then."""
        return await asyncio.to_thread(self._logs.trim)

    async def close(self) -> None:
        """Leave everything running; stop watching it."""
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()

    # --- starting ----------------------------------------------------------------------------

    def _free_port(self, launch: Launch) -> int:
        for _ in range(2 * PORTS_APART):
            try:
                with socket.socket() as probe:
                    probe.bind((HOST, 0))
                    port: int = probe.getsockname()[1]
            except OSError as error:
                raise StartFailed(no_port(launch, error)) from error
            if port not in self._ports:
                self._ports.append(port)
                return port
        raise StartFailed(no_port(launch, None))

    def _spawn(self, launch: Launch, port: int) -> tuple[_Thing, Grip]:
        """Runs in a thread: a program may lie on a disk that sleeps."""
        try:
            log = self._logs.open(launch.model, launch.instance)
        except OSError as error:
            raise StartFailed(unwritable_log(launch, error)) from error
        try:
            env = child_environment(launch, port, self._inherited, self._identity)
            process, grip = spawn(launch, port, log=log, env=env)
        finally:
            os.close(log)
        return self._thing(process, launch.instance, launch.model, port), grip

    def _thing(self, process: Process, instance: InstanceId, model: ModelName, port: int) -> _Thing:
        return _Thing(
            instance=instance,
            model=model,
            pid=process.pid,
            started=process.started,
            boot=self._boot,
            port=port,
            log=self._logs.path(model, instance).absolute(),
        )

    async def _undo(self, spawning: Awaitable[tuple[_Thing, Grip]]) -> None:
        try:
            thing, grip = await spawning
        except StartFailed:
            return
        self._remember(thing, _Watch(grip))
        await self.stop(thing.running.handle, grace_s=0)

    # --- watching and stopping ---------------------------------------------------------------

    def _remember(self, thing: _Thing, watch: _Watch) -> None:
        self._watches[thing.pid, thing.started] = watch
        ended = [key for key, each in self._watches.items() if each.ended.done()]
        for key in ended[: max(0, len(ended) - ENDED_KEPT_MAX)]:
            del self._watches[key]

    def _watch(self, thing: _Thing) -> _Watch | None:
        """None if it had ended before anybody watched it."""
        watch = self._watches.get((thing.pid, thing.started))
        if watch is None and thing.boot == self._boot:
            try:
                grip = Grip.take(thing.pid, thing.started)
            except OSError as error:
                raise Unreachable(f"{thing.instance} cannot be watched: {error}") from error
            if grip is not None:
                watch = _Watch(grip)
                self._remember(thing, watch)
        return watch

    async def _end(self, thing: _Thing, grace_s: float) -> None:
        try:
            kin = await asyncio.to_thread(self._kin, thing)
            await _signal(kin, signal.SIGTERM, grace_s, leader=thing.pid)
            await self._kill(thing)
        except OSError as error:
            raise StopFailed(f"{thing.instance} is not verified gone: {error}") from error

    async def _kill(self, thing: _Thing) -> None:
        """Return when nothing of it is left. Raise StopFailed, OSError."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + KILL_WAIT_S
        while kin := await asyncio.to_thread(self._kin, thing):
            left_s = deadline_s - loop.time()
            if left_s <= 0:
                pids = ", ".join(str(process.pid) for process in kin)
                raise StopFailed(f"{thing.instance} still runs after SIGKILL (pid {pids})")
            await _signal(kin, signal.SIGKILL, left_s, leader=thing.pid)

    def _runs(self, thing: _Thing, process: Process | None) -> bool:
        return (
            process is not None
            and thing.boot == self._boot
            and process.started == thing.started
            and not process.ended
        )

    def _kin(self, thing: _Thing) -> list[Process]:
        """All that runs of it: the server, who came from it, and who carries its marks."""
        table = read_table()
        ours = {
            pid
            for pid, marks in marked(table, (MARK_IDENTITY, MARK_INSTANCE)).items()
            if marks == (self._identity, thing.instance)
        }
        leader = table.get(thing.pid)
        if leader is not None and leader.started == thing.started:
            ours |= {thing.pid} | attached(kinship(table), thing.pid)
        ours.discard(os.getpid())
        return [table[pid] for pid in sorted(ours) if not table[pid].ended]

    def _marked_things(self) -> list[_Thing]:
        table = read_table()
        names = (MARK_IDENTITY, MARK_INSTANCE, MARK_MODEL, MARK_PORT)
        leaders: dict[str, _Thing] = {}
        marks = marked(table, names)
        for process in sorted(table.values(), key=seniority):
            if process.pid not in marks or process.pid == os.getpid():
                continue
            identity, instance, model, port = marks[process.pid]
            if identity != self._identity or instance in leaders or not port.isdecimal():
                continue
            leaders[instance] = self._thing(
                process, InstanceId(instance), ModelName(model), int(port)
            )
        return [leaders[instance] for instance in sorted(leaders)]


async def _signal(
    kin: Sequence[Process], number: signal.Signals, timeout_s: float, *, leader: int
) -> None:
    """Return when all have ended, or when the time is over."""
    with grips(kin) as held:
        for grip in held:
            grip.send(number)
        await wait_until_ended(held, timeout_s)
        for grip in held:
            if grip.pid != leader:  # whose exit code is for its watch
                grip.reap()  # ours only where orphans become ours: as the first of a container


async def _to_the_end(work: Awaitable[T]) -> T:
    """Finish the work, however often the caller is cancelled; it must be bounded."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return task.result()
