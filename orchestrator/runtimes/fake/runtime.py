"""A whole machine in memory: devices, what runs on them, and everything that can go wrong.

For simulations in virtual time and for tests: no process, no thread, no socket, no clock but the
event loop's. `FakeWorld` is the truth: it implements `Devices`, its `runtime` starts and stops
servers in it, and `engine.py` talks for them. It notices at once when more is started on a device
than fits, or a model twice, whatever the daemon believes.
"""

import asyncio
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.core.values.failures import Failure, FailureReason, Silence
from orchestrator.core.values.residents import Endpoint, InstanceId
from orchestrator.core.values.specs import FakeFailure, ModelName
from orchestrator.core.values.vram import (
    Device,
    DeviceId,
    DeviceKind,
    DeviceState,
    ProcessUse,
    Reading,
)
from orchestrator.errors import NotStopped, StartFailed, Unreachable
from orchestrator.ports import Clock, Exit, Found, Handle, Launch, Running
from orchestrator.runtimes.fake.script import Fate, Mishap, Range, Script
from orchestrator.runtimes.unshared import Unshared

HANDLE_VERSION = 1
KILLED = -9
TERMINATED = -15
FIRST_PID = 1000  # looks like one, and none of them is real
OUT_OF_MEMORY_LINE = "fake: out of memory"
SCHEME = "fake://"  # of endpoints: no client can connect to one by mistake


@dataclass(slots=True, kw_only=True, eq=False)
class _FakeServer:
    """A server that runs, with the bytes that it will hold in the end."""

    launch: Launch
    script: Script
    pid: int
    held: Mapping[DeviceId, int]
    up_s: float | None = None  # when `start` returned
    full_s: float = 0.0  # when it holds everything
    ready_s: float = float("inf")
    log: list[str] = field(default_factory=list)
    death: asyncio.TimerHandle | None = None
    waiting: list[asyncio.Future[Exit]] = field(default_factory=list)

    def taken(self, device: DeviceId, now_s: float) -> int:
        """Bytes arrive evenly while it loads."""
        if self.up_s is None:
            return 0
        if now_s >= self.full_s:
            return self.held.get(device, 0)
        part = (now_s - self.up_s) / (self.full_s - self.up_s)
        return int(self.held.get(device, 0) * part)


@dataclass(frozen=True, slots=True)
class _Lagging:
    """Bytes of a dead server that the device has not given back yet."""

    device: DeviceId
    size_bytes: int
    until_s: float


class FakeWorld:
    def __init__(
        self,
        devices: Mapping[DeviceId, int],
        rng: random.Random,
        *,
        release_lag_s: Range = (0.0, 1.5),
        visible: bool = True,
        strict: bool = False,
        fate: Fate | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`devices` maps ids to total bytes. If not `visible`, the driver shows no pids.

        What breaks the house rules is noted in `complaints`; if `strict`, it also raises
        AssertionError on the spot. Otherwise a start that finds no room fails with out_of_memory.
        """
        self.rng = rng
        self.fate = fate or Fate()
        self.fates: dict[ModelName, Fate] = {}  # for single models, in place of `fate`
        self.next_mishaps: list[tuple[ModelName, Mishap]] = []  # they happen once, for certain
        self.running: dict[InstanceId, _FakeServer] = {}
        self.complaints: list[str] = []
        self.starts: list[ModelName] = []
        self.runtime = FakeRuntime(self)
        self.visible = visible
        self._strict = strict
        self._release_lag_s = release_lag_s
        self._totals = dict(devices)
        self._clock = clock
        self._foreign: dict[DeviceId, int] = {}
        self._faults: dict[DeviceId, tuple[DeviceState, str]] = {}
        self._lagging: list[_Lagging] = []
        self._exits: dict[InstanceId, Exit] = {}
        self._ended: dict[InstanceId, _FakeServer] = {}
        self.silence: Silence | None = None  # what the runtime is told to say of itself
        self.stirred = asyncio.Event()  # a server was started again from outside
        self._pids = FIRST_PID

    # --- the port of devices -----------------------------------------------------------------

    async def read(self, pids: frozenset[int] | None) -> tuple[Reading, ...]:
        return tuple(self._reading(device, pids) for device in self._totals)

    async def close(self) -> None:
        """Nothing is held."""

    # --- changed from outside ------------------------------------------------------------------

    def set_foreign(self, device: DeviceId, size_bytes: int) -> None:
        """Foreign processes hold so much from now on."""
        self._foreign[device] = size_bytes

    def set_fault(self, device: DeviceId, state: DeviceState, problem: str = "told to") -> None:
        self._faults[device] = (state, problem)

    def kill(self, instance: InstanceId, *, line: str = "", code: int = KILLED) -> None:
        """The server dies now; the runtime cannot tell that it was killed on purpose."""
        server = self.running[instance]
        if line:
            server.log.append(line)
        self.end(server, code)

    def start_again(self, instance: InstanceId) -> None:
        """An instance that had ended runs again, as after a `docker start` by hand."""
        ended = self._ended[instance]
        self.runtime.let_live(self.begin(ended.launch, ended.script))
        self.starts.pop()  # the daemon did not ask for it
        self.stirred.set()

    def free_bytes(self, device: DeviceId) -> int:
        """What is really free now, with what loads counted as it is so far."""
        now_s = self.now_s()
        taken = sum(server.taken(device, now_s) for server in self.running.values())
        return max(0, self._totals[device] - self._fixed(device) - taken)

    # --- what the runtime does in it ---------------------------------------------------------

    def now_s(self) -> float:
        return asyncio.get_running_loop().time() if self._clock is None else self._clock()

    def draw(self, between: Range) -> float:
        return self.rng.uniform(*between)

    def fate_of(self, model: ModelName) -> Fate:
        return self.fates.get(model, self.fate)

    def mishap(self, model: ModelName, mishap: Mishap) -> bool:
        """Whether it happens now: because a test asked for it, or by chance."""
        if (model, mishap) in self.next_mishaps:
            self.next_mishaps.remove((model, mishap))
            return True
        chance: float = getattr(self.fate_of(model), mishap)
        return self.rng.random() < chance

    def begin(self, launch: Launch, script: Script) -> _FakeServer:
        """Charge everything it will take. Raise StartFailed if that does not fit."""
        assert launch.instance not in self.running, f"{launch.instance} is started twice"
        self.starts.append(launch.model)
        if any(server.launch.model == launch.model for server in self.running.values()):
            self._complain(f"{launch.model} is started while it runs")
        appetite = self.draw(self.fate_of(launch.model).appetite)
        held: dict[DeviceId, int] = {}
        for device, share in script.shares:
            held[device] = held.get(device, 0) + int(share * appetite)
        for device, size_bytes in held.items():
            self._check_room(launch, device, size_bytes)
        self._pids += 1
        server = _FakeServer(launch=launch, script=script, pid=self._pids, held=held)
        self.running[launch.instance] = server
        return server

    def let_start(self, model: ModelName) -> None:
        """Raise StartFailed if the model's fate says so."""
        if self.mishap(model, Mishap.START_FAILS):
            reason = self.rng.choice(self.fate_of(model).start_reasons)
            raise StartFailed(Failure(reason=reason, detail=f"{model} did not start"))

    def end(self, server: _FakeServer, code: int | None) -> None:
        """It is gone; its bytes come back after the lag. Ending twice is not an error."""
        if self.running.get(server.launch.instance) is not server:
            return
        now_s = self.now_s()
        lag_s = self.draw(self._release_lag_s)
        for device in server.held:
            lagging = _Lagging(device, server.taken(device, now_s), now_s + lag_s)
            self._lagging.append(lagging)
        del self.running[server.launch.instance]
        if server.death is not None:
            server.death.cancel()
        stopped = code in (0, TERMINATED)
        exit_ = Exit(code=code, stopped=stopped, log_tail=tuple(server.log))
        self._exits[server.launch.instance] = exit_
        self._ended[server.launch.instance] = server
        for waiting in server.waiting:
            if not waiting.done():
                waiting.set_result(exit_)

    def answers(self, instance: InstanceId) -> bool:
        """Whether it runs and has loaded."""
        server = self.running.get(instance)
        return server is not None and self.now_s() >= server.ready_s

    def exit_of(self, instance: InstanceId) -> Exit:
        return self._exits.get(instance, Exit(code=None))

    def _check_room(self, launch: Launch, device: DeviceId, size_bytes: int) -> None:
        promised = sum(server.held.get(device, 0) for server in self.running.values())
        missing = self._fixed(device) + promised + size_bytes - self._totals[device]
        if missing > 0:
            self._complain(f"{launch.model} is started on {device}, which lacks {missing} bytes")
            failure = Failure(
                reason=FailureReason.OUT_OF_MEMORY,
                detail=f"{device} is out of memory",
                log_tail=(OUT_OF_MEMORY_LINE,),
                asked_bytes=size_bytes,
            )
            raise StartFailed(failure)

    def _complain(self, complaint: str) -> None:
        self.complaints.append(complaint)
        assert not self._strict, complaint

    def _fixed(self, device: DeviceId) -> int:
        """Bytes that no running server holds: foreign, or not given back yet."""
        now_s = self.now_s()
        self._lagging = [lag for lag in self._lagging if lag.until_s > now_s]
        lagging = sum(lag.size_bytes for lag in self._lagging if lag.device == device)
        return self._foreign.get(device, 0) + lagging

    def _reading(self, device: DeviceId, pids: frozenset[int] | None) -> Reading:
        kind = DeviceKind.HOST if device == "host" else DeviceKind.GPU
        state, problem = self._faults.get(device, (DeviceState.OK, ""))
        reading = Reading(
            device=Device(id=device, name=f"Fake {device}", kind=kind),
            read_s=self.now_s(),
            state=state,
            problem=problem,
        )
        if state is not DeviceState.OK:
            return reading
        return replace(
            reading,
            total_bytes=self._totals[device],
            free_bytes=self.free_bytes(device),
            utilization_percent=0.0,
            processes=None if pids is None else self._processes(device, pids),
        )

    def _processes(self, device: DeviceId, pids: frozenset[int]) -> tuple[ProcessUse, ...]:
        now_s = self.now_s()
        return tuple(
            ProcessUse(pid=server.pid, used_bytes=server.taken(device, now_s))
            for server in self.running.values()
            if self.visible and server.pid in pids and server.taken(device, now_s)
        )


class FakeRuntime(Unshared):
    name = "fake"

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    async def start(self, launch: Launch) -> Running:
        world, fate = self._world, self._world.fate_of(launch.model)
        try:
            script = Script.of(launch.argv)
        except (ValueError, KeyError, TypeError) as error:
            failure = Failure(reason=FailureReason.ARGUMENTS, detail=f"not a script: {error}")
            raise StartFailed(failure) from error
        server = world.begin(launch, script)
        try:
            await asyncio.sleep(world.draw(fate.start_s))
            world.let_start(launch.model)
        except BaseException:  # cancelled too: nothing is left behind
            world.end(server, None)
            raise
        self.let_live(server)
        return _running(launch.instance)

    async def stop(self, handle: Handle, *, grace_s: float) -> None:
        world, server = self._world, self._find(handle)
        if server is None:
            return
        fate = world.fate_of(server.launch.model)
        if world.mishap(server.launch.model, Mishap.STOP_HANGS):
            await asyncio.sleep(fate.stop_hang_s)
            raise NotStopped(f"{server.launch.instance} did not end in {fate.stop_hang_s} s")
        behaviour = server.script.behaviour
        stop_s = world.draw(fate.stop_s) if behaviour is None else behaviour.stop_s
        polite = stop_s < grace_s and not (behaviour and behaviour.ignore_sigterm)
        await asyncio.sleep(stop_s if polite else grace_s)
        if world.mishap(server.launch.model, Mishap.STOP_FAILS):
            raise NotStopped(f"{server.launch.instance} still runs after it was killed")
        world.end(server, TERMINATED if polite else KILLED)

    async def wait(self, handle: Handle) -> Exit:
        server = self._find(handle)
        if server is None:
            return self._world.exit_of(_instance(handle))
        waiting: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        server.waiting.append(waiting)
        try:
            return await waiting
        finally:
            server.waiting.remove(waiting)

    async def alive(self, handle: Handle) -> bool:
        return self._find(handle) is not None

    async def discover(self) -> Sequence[Found]:
        return [
            Found(instance=instance, model=server.launch.model, running=_running(instance))
            for instance, server in sorted(self._world.running.items())
            if server.up_s is not None
        ]

    async def stirred(self) -> None:
        await self._world.stirred.wait()
        self._world.stirred.clear()

    async def returned(self, known: Collection[InstanceId]) -> Sequence[Found]:
        return [found for found in await self.discover() if found.instance not in known]

    def silence(self) -> Silence | None:
        return self._world.silence

    async def pids(self, handle: Handle) -> frozenset[int]:
        server = self._find(handle)
        return frozenset({server.pid}) if server and self._world.visible else frozenset()

    async def log_tail(self, handle: Handle, lines: int) -> tuple[str, ...]:
        server = self._find(handle)
        log = self._world.exit_of(_instance(handle)).log_tail if server is None else server.log
        return tuple(log[-lines:]) if lines > 0 else ()

    async def log_size(self, handle: Handle) -> int:
        return sum(len(line) + 1 for line in await self.log_tail(handle, 1 << 30))

    def _find(self, handle: Handle) -> _FakeServer | None:
        return self._world.running.get(_instance(handle))

    def let_live(self, server: _FakeServer) -> None:
        """Decide when it is ready and when it dies, if ever."""
        world, script, model = self._world, server.script, server.launch.model
        fate = world.fate_of(model)
        loop, behaviour = asyncio.get_running_loop(), script.behaviour
        server.up_s = world.now_s()
        server.log.extend(f"line {number}" for number in range(script.log_lines))
        load_s = world.draw(fate.load_s) if behaviour is None else behaviour.load_s
        fail = FakeFailure.NONE if behaviour is None else behaviour.fail
        never = world.rng.random() < fate.never_ready or fail is FakeFailure.NEVER_READY
        server.full_s = server.up_s + load_s
        server.ready_s = float("inf") if never else server.full_s
        dies_s, code, line = script.exits_after_s, script.exit_code, f"fake: {model} ends"
        if fail in (FakeFailure.EXITS, FakeFailure.OUT_OF_MEMORY):
            server.ready_s = float("inf")
            dies_s, code = load_s, 1
            line = OUT_OF_MEMORY_LINE if fail is FakeFailure.OUT_OF_MEMORY else line
        elif behaviour is not None and behaviour.dies_after_s is not None:
            dies_s, code = behaviour.dies_after_s, 1
        elif world.rng.random() < fate.dies:
            dies_s, code = world.draw(fate.dies_after_s), 1

        def die() -> None:
            server.log.append(line)
            world.end(server, code)

        if dies_s is not None:
            server.death = loop.call_later(dies_s, die)


def _running(instance: InstanceId) -> Running:
    handle = Handle(runtime="fake", version=HANDLE_VERSION, fields={"instance": instance})
    return Running(handle=handle, endpoint=Endpoint(f"{SCHEME}{instance}"))


def _instance(handle: Handle) -> InstanceId:
    if handle.runtime != "fake" or handle.version != HANDLE_VERSION:
        raise Unreachable(f"not a fake server's handle: {handle.runtime} {handle.version}")
    return InstanceId(str(handle.fields["instance"]))
