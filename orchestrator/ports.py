"""Every way this daemon can touch the world, beside its registry (`records.py`).

What a method may raise stands in its docstring; drivers turn what the kernel and other programs do
to them (OSError, bytes that make no sense) into that. Anything else is a mistake of ours: the
conductor logs it, and goes on with what it knows without that answer.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from orchestrator.core.values.failures import Failure, Silence
from orchestrator.core.values.residents import (
    Endpoint,
    InstanceId,
    Placement,
    ReadyState,
    Resident,
)
from orchestrator.core.values.snapshot import RunsAs
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.core.values.vram import DeviceId, Reading


class Clock(Protocol):
    def __call__(self) -> float:
        """Seconds since the epoch at the daemon's start, and never back from there."""


# --- devices ---------------------------------------------------------------------------------


class Devices(Protocol):
    async def read(self, pids: frozenset[int] | None) -> tuple[Reading, ...]:
        """What every device says now. Never raises: a device that fails says so in its reading.

        `pids` are our own processes, whose use is wanted in `Reading.processes`; None means
        that it is not wanted this time (the process list is the dear part of a reading).
        """

    async def close(self) -> None:
        """Hold nothing any more. Never raises."""


class ChangeableDevices(Protocol):
    """Devices that do what they are told, for trials and tests."""

    def set(
        self, device_id: DeviceId, *, foreign_bytes: int | None = None, fault: Any = None
    ) -> None:
        """Change what is given. Raise KeyError: no such device, ValueError: no such amount.

        `fault` is "unreadable", "lost" or None (mended).
        """


# --- engines and runtimes --------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """What an engine asks a runtime to run. Neutral: a process and a container both can."""

    instance: InstanceId
    model: ModelName
    service: ServiceName
    argv: tuple[str, ...] = ()  # may hold tokens, as PORT_TOKEN, which the runtime fills in
    env: Mapping[str, str] = field(default_factory=dict)
    image: str | None = None
    container: str | None = None  # defined by compose or a person: started and stopped by name
    url: str | None = None  # of a server that runs elsewhere: nothing is started
    mounts: tuple[Path, ...] = ()  # read-only
    devices: tuple[DeviceId, ...] = ()
    stop_grace_s: float = 10.0


PORT_TOKEN = "{port}"  # noqa: S105 - a place holder, not a secret
HOST_TOKEN = "{host}"  # noqa: S105
KEY_FILE_TOKEN = "{key_file}"  # noqa: S105


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """What a runtime needs to find a server again. JSON, versioned; no secrets."""

    runtime: str
    version: int
    fields: Mapping[str, str | int | float]

    @property
    def runs_as(self) -> RunsAs:
        """For people. A handle has the `pid` of a process, the `id` of a container, or neither;
        one that was written before containers had it, their name.
        """
        pid = self.fields.get("pid")
        container = self.fields.get("id") or self.fields.get("container")
        return RunsAs(
            process_id=None if pid is None else int(pid),
            container_id=None if container is None else str(container),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    handle: Handle
    endpoint: Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a server ended. `code` is None where it is not known (it was not our child)."""

    code: int | None
    stopped: bool = False  # asked to end from outside: not by itself, and not for memory
    out_of_memory: bool = False  # the kernel or Docker killed it for memory
    log_tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A server of ours that runs, seen after a restart."""

    instance: InstanceId
    model: ModelName
    running: Running


class Runtime(Protocol):
    name: str

    async def start(self, launch: Launch) -> Running:
        """Return when the server runs (not: is ready). Raise StartFailed, leaving nothing behind.

        Raise Unreachable if it was not even tried. If the caller is cancelled meanwhile, nothing is
        left behind either.
        """

    def foresee_stop(self, handle: Handle) -> None:
        """A stop may follow at once: what it needs to know may be found out meanwhile. Changes
        nothing, waits for nothing and never raises.
        """

    async def stop(self, handle: Handle, *, grace_s: float) -> None:
        """Return when the server is verified gone; stopping what is gone already is not an error.
        Raise NotStopped or Unreachable if it is not.
        """

    async def wait(self, handle: Handle) -> Exit:
        """Return as soon as the server has ended, however. May be awaited by several tasks. Raise
        Unreachable if its end cannot be watched now: it may well run on.
        """

    async def listens(self, handle: Handle) -> bool:
        """Whether the server itself listens at its endpoint: something else may have been given its
        port. True where only it can. Raise Unreachable if that is not known.
        """

    async def alive(self, handle: Handle) -> bool:
        """Whether the server of `handle` runs now. Raise Unreachable if that is not known."""

    async def discover(self) -> Sequence[Found]:
        """All that runs and is ours, in the registry or not. Raise Unreachable if not known."""

    async def stirred(self) -> None:
        """Return when a server of ours may have been started again from outside. Never raises."""

    async def returned(self, known: Collection[InstanceId]) -> Sequence[Found]:
        """Servers of ours beside `known`, which had ended and were started again from outside.
        Empty where an end is for good. Raise Unreachable if it is not known.
        """

    async def already(self, launch: Launch) -> Running | None:
        """The server that the launch would start, if it was started from outside; else None.

        Not looked for where only we start servers. Raise Unreachable if it is not known.
        """

    def silence(self) -> Silence | None:
        """Since when it owes us an answer; None if it answers. Known without asking."""

    async def pids(self, handle: Handle) -> frozenset[int]:
        """The process ids as the driver counts them, children included; empty if not visible. Raise
        Unreachable if they are not known now.
        """

    async def log_tail(self, handle: Handle, lines: int) -> tuple[str, ...]:
        """Its last lines; empty if there is no log. Raise Unreachable if it cannot be read."""

    async def log_size(self, handle: Handle) -> int:
        """A number that grows while the server writes to its log. Raise Unreachable likewise."""


@dataclass(frozen=True, slots=True)
class Readiness:
    state: ReadyState
    detail: str = ""
    heard: bool = False  # something answers at its address, though it is not ready
    # Of a ready one: the tokens that each request at a time may have; empty: it does not tell.
    slots: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Use:
    """The server's own view of its use. None: it does not tell."""

    busy_slots: int | None
    served_total: float | None  # any counter that grows with every request served
    # Its own counters and gauges by their names, where it has such: shown, and not understood.
    figures: Mapping[str, float] = field(default_factory=dict, compare=False)


class Launcher(Protocol):
    """Knows what to run for a model; speaks to no server."""

    def launch(self, instance: InstanceId, spec: ModelSpec, placement: Placement) -> Launch:
        """What to run. Pure: same spec and placement, same launch; never raises."""

    async def check(self, spec: ModelSpec) -> Failure | None:
        """What is wrong with the spec's files or binary, found before any model is evicted. Never
        raises: what cannot be looked at is what is wrong.
        """


class Talker(Protocol):
    """Speaks to one kind of server, wherever it runs."""

    @property
    def tells_use(self) -> bool:
        """Whether its servers say if they are in use. Else only leases protect their clients."""

    async def readiness(self, endpoint: Endpoint) -> Readiness:
        """One probe. Never raises; never counts as use."""

    async def use(self, endpoint: Endpoint) -> Use:
        """One look at the server's counters. Raise Unreachable if it does not answer, and of these
        CannotAsk if that says nothing of the server.
        """

    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """Have a server that is not ours give its memory back. Raise Unreachable if it keeps it."""


class Engine(Launcher, Talker, Protocol):
    """One kind of server: how it is launched, what it says, and why it ended."""

    def classify(self, exit_: Exit, /) -> Failure:
        """Why a server ended, read from its exit and the tail of its log. Pure; never raises."""


# --- routes ------------------------------------------------------------------------------------


class Routes(Protocol):
    """Ways to ready servers that requests take without asking: standing grants."""

    def follow(self, residents: Iterable[Resident]) -> None:
        """Open a way to every resident that may be granted now, and close all other ways.

        At once for requests that pass through this process; `passing` waits for the others.
        """

    def under_way(self, instance: InstanceId) -> int:
        """The requests that are on their way at a server, as last heard."""

    async def passing(self, instances: Collection[InstanceId]) -> Mapping[InstanceId, int | None]:
        """The requests under way at these, counted after every closing has arrived wherever
        requests pass; None if that cannot be told. Takes a second at most; never raises.
        """


# --- supplies --------------------------------------------------------------------------------

Tell = Callable[[str], None]  # how far something is, in words; may be called from the loop only


class Supply(Protocol):
    async def would_bring(self, spec: ModelSpec) -> bool:
        """Whether something is not here that `bring` would fetch. Fetches nothing; never raises."""

    async def bring(self, spec: ModelSpec, tell: Tell) -> ModelSpec | Failure:
        """The spec with everything of this kind at hand, or why that is not to be had.

        Of a spec whose footprint is unknown only that is found out, and nothing is brought; a
        supply that knows nothing of it gives it back as it is. Takes as long as a download takes,
        and calls `tell` at least every few seconds meanwhile. If cancelled it soon ends; what has
        arrived is kept for the next time. Never raises: what is in the way is the Failure.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """What one service runs on, with the operator's patience for it."""

    engine: Engine
    runtime: Runtime
    supplies: tuple[Supply, ...] = ()  # of what may be missing here before a start
    shared: bool = False  # its server may also be started from outside: by compose, or a person
    stop_grace_s: float = 10.0
    load_deadline_s: float = 600.0
