"""Runs model servers as processes of their own session, which outlive this daemon.

What is ours is told by variables in the process's environment, so a server is found again even
if the daemon was killed between starting it and writing that down. Nothing here signals a pid:
every signal goes through a pidfd whose start time was compared (`table.py`).
"""

import asyncio
import os
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from orchestrator.access.resident_keys import FOLDER as KEYS_FOLDER
from orchestrator.access.resident_keys import ResidentKeys
from orchestrator.core.values.residents import InstanceId
from orchestrator.core.values.specs import ModelName
from orchestrator.errors import NotStopped, StartFailed, Unreachable
from orchestrator.ports import Exit, Found, Handle, Launch, Running
from orchestrator.runtimes.process import logs
from orchestrator.runtimes.process.ending import ServerEnding
from orchestrator.runtimes.process.failures import cannot_be_watched, no_port, unwritable_log
from orchestrator.runtimes.process.handle import HOST, RUNTIME, ServerRef
from orchestrator.runtimes.process.keyed import key_file, told
from orchestrator.runtimes.process.logs import ServerLogs
from orchestrator.runtimes.process.ports import listens, reserved_port
from orchestrator.runtimes.process.spawn import (
    INHERITED,
    MARK_IDENTITY,
    MARK_INSTANCE,
    MARK_MODEL,
    MARK_PORT,
    child_environment,
    spawn,
)
from orchestrator.runtimes.process.table import (
    PidHandle,
    Process,
    ProcessTree,
    boot_id,
    marked,
    out_of_memory_kills,
    read_process,
    read_table,
    seniority,
)
from orchestrator.runtimes.unshared import Unshared

T = TypeVar("T")

EXIT_LOG_LINES = 50  # enough for llama.cpp's last words, which are what a failure is read from
PORTS_APART = 64  # a port is not given twice to servers that start at about the same time
TABLE_FRESH_S = 2.0  # one look at all processes serves every question for pids meanwhile
ENDED_KEPT_MAX = 64  # exit codes that are kept for a `wait` that comes after the end


class _Watch:
    """Sees the end of one process, reaps it if it is our child, and wakes all who wait for it."""

    def __init__(self, pid_handle: PidHandle) -> None:
        self._pid_handle = pid_handle
        self._loop = asyncio.get_running_loop()
        self._oom_kills = out_of_memory_kills()
        self.stopping = False
        self.out_of_memory = False
        self.ended: asyncio.Future[int | None] = self._loop.create_future()
        self._loop.add_reader(pid_handle.descriptor, self._end)

    def _end(self) -> None:
        self._loop.remove_reader(self._pid_handle.descriptor)
        code = self._pid_handle.reap()
        self._pid_handle.close()
        # The kernel counts its out-of-memory kills but does not say whom it killed.
        killed = code == -signal.SIGKILL and not self.stopping
        self.out_of_memory = killed and self._oom_kills != out_of_memory_kills()
        self.ended.set_result(code)

    def close(self) -> None:
        if not self.ended.done():
            self._loop.remove_reader(self._pid_handle.descriptor)
            self._pid_handle.close()
            self.ended.cancel()


class ProcessRuntime(Unshared):
    name = RUNTIME

    def __init__(
        self,
        state_dir: Path,
        identity: str,
        environment: Mapping[str, str],
        *,
        descriptors: int | None = None,
        keys: ResidentKeys | None = None,
        gateway: str = "",
    ) -> None:
        """`identity` tells our processes from those of another daemon's state directory;
        `environment` is where the few variables that servers inherit are taken from; `descriptors`
        is their limit of open files, None: ours; `gateway` is where clients ask for servers that
        have `keys`.

        Raise OSError where there is no /proc.
        """
        self._identity = identity
        self._descriptors = descriptors
        self._keys = keys or ResidentKeys(state_dir / KEYS_FOLDER)
        self._gateway = gateway
        self._inherited = {k: v for k, v in environment.items() if k in INHERITED}
        self._logs = ServerLogs(state_dir / "logs")
        self._boot = boot_id()
        self._watches: dict[tuple[int, int], _Watch] = {}
        self._ports: deque[int] = deque(maxlen=PORTS_APART)
        self._tree = ProcessTree({}, {})
        self._tree_s = float("-inf")
        self._ending = ServerEnding(identity)

    async def start(self, launch: Launch) -> Running:
        port = self._free_port(launch)
        # Not a task: ending the loop cancels all tasks, and a thread cannot be taken back.
        spawning = asyncio.get_running_loop().run_in_executor(None, self._spawn, launch, port)
        try:
            server, pid_handle = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            await _to_the_end(self._undo(spawning))
            raise
        try:
            self._remember(server, _Watch(pid_handle))
        except OSError as error:
            pid_handle.close()
            with suppress(NotStopped):  # it carries our marks: `discover` finds it
                await self._ending.end(server, grace_s=0)
            raise StartFailed(cannot_be_watched(launch, str(error))) from error
        return told(server, self._keys, self._gateway)

    def foresee_stop(self, handle: Handle) -> None:
        """Its processes are looked for meanwhile."""
        with suppress(Unreachable):  # its stop will say so
            server = ServerRef.of(handle)
            if server.boot == self._boot:
                self._ending.foresee(server)

    async def stop(self, handle: Handle, *, grace_s: float) -> None:
        server = ServerRef.of(handle)
        if server.boot != self._boot:
            return
        try:
            watch = self._watch(server)
        except Unreachable as error:
            raise NotStopped(str(error)) from error
        if watch is None:
            await self._ending.end(server, grace_s)
            self._keys.drop(server.authority)
            return
        watch.stopping = True
        try:
            await self._ending.end(server, grace_s)
            await asyncio.shield(watch.ended)  # reaped, if it was our child
            self._keys.drop(server.authority)
        finally:
            watch.stopping = watch.ended.done()

    async def wait(self, handle: Handle) -> Exit:
        """Child processes of a server that died are killed: no handle leads to them any more."""
        server = ServerRef.of(handle)
        watch = self._watch(server)
        code = None
        if watch is not None:
            code = await asyncio.shield(watch.ended)
        if server.boot == self._boot and not (watch is not None and watch.stopping):
            with suppress(NotStopped, OSError):  # it has ended; `stop` says it if a child is left
                await self._ending.kill(server)
        return Exit(
            code=code,
            # A SIGKILL may also be the kernel's, for memory.
            stopped=code in (0, -signal.SIGTERM),
            out_of_memory=watch is not None and watch.out_of_memory,
            log_tail=await self._last_words(handle),
        )

    async def _last_words(self, handle: Handle) -> tuple[str, ...]:
        """An exit without its log is still an exit."""
        with suppress(Unreachable):
            return await self.log_tail(handle, EXIT_LOG_LINES)
        return ()

    async def listens(self, handle: Handle) -> bool:
        server = ServerRef.of(handle)

        def look() -> bool:
            if listens((server.pid,), server.port):
                return True
            return listens(ProcessTree.of(read_table()).attached(server.pid), server.port)

        return await _told(look, f"who listens on port {server.port}")

    async def alive(self, handle: Handle) -> bool:
        server = ServerRef.of(handle)
        try:
            return self._runs(server, read_process(server.pid))
        except OSError as error:
            raise Unreachable(f"the kernel does not tell about {server.pid}: {error}") from error

    async def discover(self) -> Sequence[Found]:
        servers = await _told(self._marked_servers, "what runs")
        keys, gateway = self._keys, self._gateway
        return [
            Found(instance=t.instance, model=t.model, running=told(t, keys, gateway))
            for t in servers
        ]

    async def pids(self, handle: Handle) -> frozenset[int]:
        """As of two seconds ago at most, but for the server itself."""
        server = ServerRef.of(handle)
        now_s = asyncio.get_running_loop().time()
        if now_s - self._tree_s >= TABLE_FRESH_S:
            self._tree_s = now_s  # before the look: a second caller meanwhile takes the old one
            self._tree = await _told(lambda: ProcessTree.of(read_table()), "what runs")
        if not await self.alive(handle):
            return frozenset()
        return frozenset({server.pid}) | self._tree.attached(server.pid)

    async def log_tail(self, handle: Handle, lines: int) -> tuple[str, ...]:
        log = ServerRef.of(handle).log
        return await _told(lambda: logs.tail(log, lines), f"what stands in {log}")

    async def log_size(self, handle: Handle) -> int:
        log = ServerRef.of(handle).log
        return await _told(lambda: logs.size(log), f"the size of {log}")

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
                port = reserved_port(HOST)
            except OSError as error:
                raise StartFailed(no_port(launch, error)) from error
            if port not in self._ports:
                self._ports.append(port)
                return port
        raise StartFailed(no_port(launch, None))

    def _spawn(self, launch: Launch, port: int) -> tuple[ServerRef, PidHandle]:
        """Runs in a thread: a program may lie on a disk that sleeps."""
        key = key_file(self._keys, launch, port)
        try:
            log = self._logs.open(launch.model, launch.instance)
        except OSError as error:
            raise StartFailed(unwritable_log(launch, error)) from error
        try:
            env = child_environment(launch, port, self._inherited, self._identity)
            process, pid_handle = spawn(
                launch,
                port,
                log=log,
                env=env,
                descriptors=self._descriptors,
                key_file=key,
            )
        finally:
            os.close(log)
        return self._ref(process, launch.instance, launch.model, port), pid_handle

    def _ref(
        self, process: Process, instance: InstanceId, model: ModelName, port: int
    ) -> ServerRef:
        return ServerRef(
            instance=instance,
            model=model,
            pid=process.pid,
            started=process.started,
            boot=self._boot,
            port=port,
            log=self._logs.path(model, instance).absolute(),
        )

    async def _undo(self, spawning: Awaitable[tuple[ServerRef, PidHandle]]) -> None:
        try:
            server, pid_handle = await spawning
        except StartFailed:
            return
        self._remember(server, _Watch(pid_handle))
        await self.stop(server.running.handle, grace_s=0)

    # --- watching and stopping ---------------------------------------------------------------

    def _remember(self, server: ServerRef, watch: _Watch) -> None:
        self._watches[server.pid, server.started] = watch
        ended = [key for key, known in self._watches.items() if known.ended.done()]
        for key in ended[: max(0, len(ended) - ENDED_KEPT_MAX)]:
            del self._watches[key]

    def _watch(self, server: ServerRef) -> _Watch | None:
        """None if it had ended before it was watched."""
        watch = self._watches.get((server.pid, server.started))
        if watch is None and server.boot == self._boot:
            try:
                pid_handle = PidHandle.take(server.pid, server.started)
                watch = None if pid_handle is None else _Watch(pid_handle)
            except OSError as error:
                raise Unreachable(f"{server.instance} cannot be watched: {error}") from error
            if watch is not None:
                self._remember(server, watch)
        return watch

    def _runs(self, server: ServerRef, process: Process | None) -> bool:
        return (
            process is not None
            and server.boot == self._boot
            and process.started == server.started
            and not process.ended
        )

    def _marked_servers(self) -> list[ServerRef]:
        table = read_table()
        names = (MARK_IDENTITY, MARK_INSTANCE, MARK_MODEL, MARK_PORT)
        leaders: dict[str, ServerRef] = {}
        marks = marked(table, names)
        for process in sorted(table.values(), key=seniority):
            if process.pid not in marks or process.pid == os.getpid():
                continue
            identity, instance, model, port = marks[process.pid]
            if identity != self._identity or instance in leaders or not port.isdecimal():
                continue
            leaders[instance] = self._ref(
                process, InstanceId(instance), ModelName(model), int(port)
            )
        return [leaders[instance] for instance in sorted(leaders)]


async def _told(look: Callable[[], T], what: str) -> T:
    """In a thread. Raise Unreachable if the kernel does not tell."""
    try:
        return await asyncio.to_thread(look)
    except OSError as error:
        raise Unreachable(f"the kernel does not tell {what}: {error}") from error


async def _to_the_end(work: Awaitable[T]) -> T:
    """Finish the work, however often the caller is cancelled; it must be bounded."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait({task})
    return task.result()
