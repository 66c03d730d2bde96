"""A fake machine with the day's faults: what the daemon reaches of it, through wires that can fail.

The machine lives on when the daemon dies. What the daemon had begun by then goes on without it, or
does not: a wire decides by chance.
"""

import asyncio
import math
import random
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.core.room.networks import NO_NETWORKS, Networks
from orchestrator.core.values.failures import Failure, FailureReason, Silence
from orchestrator.core.values.footprints import Footprint
from orchestrator.core.values.residents import Endpoint, InstanceId, ReadyState
from orchestrator.core.values.specs import ModelName, ModelSpec, ServiceName
from orchestrator.core.values.vram import DeviceId, DeviceState, GiB, Reading
from orchestrator.errors import NotStopped, StartFailed, Unreachable
from orchestrator.ports import Exit, Found, Handle, Launch, Readiness, Running, Tell, Use
from orchestrator.runtimes.fake.engine import FakeWorldEngine
from orchestrator.runtimes.fake.runtime import SCHEME, FakeWorld
from orchestrator.runtimes.fake.script import Fate, Script
from tests.simulation.faults import RATES, Fault

DEVICES = {DeviceId("g0"): 24 * GiB, DeviceId("g1"): 16 * GiB, DeviceId("host"): 32 * GiB}
START_SLOW_S = 8.0
STOP_HANG_S = 20.0
DRIVER_S = (0.005, 0.05, 0.2)  # how long a reading takes on one day or another
DRIVER_SLOW_S = 3.0
BEHIND_S = 120.0  # so long what others have started may still matter
UNANSWERED_S = 5.0  # what a call takes that is given up
BRING_S = (2.0, 60.0)


@dataclass(frozen=True)
class Cut:
    """A server was stopped while somebody used it directly, or by a route."""

    instance: InstanceId
    used_since_s: float
    stopped_s: float
    routed: bool = False


def fate_of(faults: frozenset[Fault]) -> Fate:
    def chance(fault: Fault, how_often: float) -> float:
        return how_often if fault in faults else 0.0

    reasons = (FailureReason.EXITED, FailureReason.ARGUMENTS, FailureReason.PORT)
    runs_out = (FailureReason.OUT_OF_MEMORY,) if Fault.RUNS_OUT in faults else ()
    return Fate(
        start_s=(0.0, 1.0),
        load_s=(0.5, 12.0),
        stop_s=(0.05, 2.5),
        start_fails=max(chance(Fault.START_FAILS, 0.1), chance(Fault.RUNS_OUT, 0.15)),
        start_reasons=(*(reasons if Fault.START_FAILS in faults else ()), *runs_out * 2) or reasons,
        never_ready=chance(Fault.NEVER_READY, 0.2),
        dies=chance(Fault.DIES, 0.2),
        dies_after_s=(0.5, 100.0),
        stop_fails=chance(Fault.STOP_FAILS, 0.2),
        stop_hangs=chance(Fault.STOP_HANGS, 0.1),
        stop_hang_s=STOP_HANG_S,
    )


class World(FakeWorld):
    """Complains only of what the daemon could have known when it started something."""

    def __init__(
        self, seed: int, faults: frozenset[Fault], networks: Networks = NO_NETWORKS
    ) -> None:
        late = Fault.BYTES_LATE in faults
        super().__init__(
            DEVICES,
            random.Random(f"{seed}/world"),
            visible=Fault.DRIVER_HIDES not in faults,
            fate=fate_of(faults),
            release_lag_s=(0.0, 40.0) if late else (0.0, 1.5),
        )
        self.seed = seed
        self._networks = networks
        self.faults = faults
        # Where what runs is not what was written down, its charge is a guess.
        self.guessed = faults & {Fault.STARTED_AGAIN, Fault.DISK_LOSES, Fault.TAKES_MORE}
        self._chance = random.Random(f"{seed}/chance")
        self._driver_s = self._chance.choice(DRIVER_S)
        self.strangers: dict[DeviceId, dict[str, int]] = {device: {} for device in DEVICES}
        self.users: dict[InstanceId, list[float]] = {}  # since when they use it directly
        self.served: dict[InstanceId, int] = {}
        self.hung_until_s: dict[InstanceId, float] = {}
        self.silent_since_s: dict[ServiceName, float] = {}
        self.absent: set[ModelName] = set()  # models whose files are not here
        self.stopped: set[InstanceId] = set()
        self.routed: dict[InstanceId, list[float]] = {}  # since when requests took its route
        self.cuts: list[Cut] = []
        self.asked_for: set[InstanceId] = set()
        self._read_s: dict[DeviceId, float] = {}
        self._decided: dict[InstanceId, dict[DeviceId, float]] = {}  # on which readings
        self._grew_s: dict[DeviceId, float] = {}  # when strangers last took bytes
        self.behind_s: dict[DeviceId, float] = {}  # when others last started a server there
        for model in "abcdefgh":
            if self.fires(Fault.TAKES_NOTHING):
                self.fates[ModelName(model)] = replace(self.fate, appetite=(0.0, 0.0))
            elif self.fires(Fault.TAKES_MORE):
                self.fates[ModelName(model)] = replace(self.fate, appetite=(0.9, 1.3))

    def fires(self, fault: Fault) -> bool:
        return fault in self.faults and self._chance.random() < RATES.get(fault, 1.0)

    # --- strangers and direct users ------------------------------------------------------------

    def take(self, device: DeviceId, who: str, size_bytes: int) -> int:
        """A stranger holds so much from now on, as far as it is there."""
        mine = self.strangers[device]
        held = min(size_bytes, mine.get(who, 0) + self.free_bytes(device))
        if held > mine.pop(who, 0):
            self._grew_s[device] = self.now_s()
        if held:
            mine[who] = held
        self.set_foreign(device, sum(mine.values()))
        return held

    def begin_use(self, instance: InstanceId) -> bool:
        """A request that goes straight to the server; False if it does not answer."""
        if not self.answers(instance) or self.hung(instance):
            return False
        self.users.setdefault(instance, []).append(self.now_s())
        return True

    def end_use(self, instance: InstanceId) -> bool:
        """False if it was cut, or its server died."""
        users = self.users.get(instance)
        if not users:
            return False
        users.pop()
        self.served[instance] = self.served.get(instance, 0) + 1
        return True

    def hung(self, instance: InstanceId) -> bool:
        return self.now_s() < self.hung_until_s.get(instance, 0.0)

    def runs(self, model: ModelName) -> bool:
        return any(server.launch.model == model for server in self.running.values())

    def end(self, server: Any, code: int | None) -> None:
        super().end(server, code)
        self.users.pop(server.launch.instance, None)
        self.routed.pop(server.launch.instance, None)  # cut by its death

    # --- what is known of it ---------------------------------------------------------------------

    async def read(self, pids: frozenset[int] | None) -> tuple[Reading, ...]:
        readings = await super().read(pids)
        slow = self.fires(Fault.DRIVER_SLOW)
        await asyncio.sleep(self._chance.uniform(0, DRIVER_SLOW_S) if slow else self._driver_s)
        for reading in readings:
            if reading.state is DeviceState.OK:
                self._read_s[reading.device.id] = reading.read_s
        return readings

    def decided(self, instance: InstanceId) -> None:
        """The daemon has decided to start it, on what it knew by then."""
        self._decided[instance] = dict(self._read_s)

    def begin(self, launch: Launch, script: Script) -> Any:
        """A second copy is a complaint, unless the first was started behind the daemon's back."""
        behind = any(
            instance not in self.asked_for and server.launch.model == launch.model
            for instance, server in self.running.items()
        )
        complaints = len(self.complaints)
        try:
            self._take_network(launch)
            return super().begin(launch, script)
        finally:
            if behind or launch.instance not in self.asked_for:
                del self.complaints[complaints:]

    def _take_network(self, launch: Launch) -> None:
        """Raise StartFailed where each of those that it could have has a server in it."""
        pool = self._networks.get(launch.service)
        if pool is None or launch.instance not in self.asked_for:
            return
        alike = [
            instance
            for instance, server in self.running.items()
            if self._networks.get(server.launch.service) == pool
        ]
        if len(alike) < len(pool):
            return
        if self.asked_for.issuperset(alike):
            self._complain(f"{launch.model} is started, and no network is free: {alike}")
        reason = FailureReason.RUNTIME_UNAVAILABLE
        raise StartFailed(Failure(reason=reason, detail="every network has a server in it"))

    def start_again(self, instance: InstanceId) -> None:
        for device, _ in Script.of(self._ended[instance].launch.argv).shares:
            self.behind_s[device] = self.now_s()
        super().start_again(instance)

    def _check_room(self, launch: Launch, device: DeviceId, size_bytes: int) -> None:
        complaints = len(self.complaints)
        try:
            super()._check_room(launch, device, size_bytes)
        except StartFailed:
            if self._surprised(launch, device, size_bytes):
                del self.complaints[complaints:]
            raise

    def _surprised(self, launch: Launch, device: DeviceId, size_bytes: int) -> bool:
        """Whether the daemon could not have known of the lack."""
        read_s = self._decided.get(launch.instance, {}).get(device, -1.0)
        if self._grew_s.get(device, -1.0) >= read_s:
            return True
        late_bytes = self._fixed(device) - self._foreign.get(device, 0)
        if late_bytes and self.now_s() - self.behind_s.get(device, -math.inf) < BEHIND_S:
            return True  # of one that was started behind the daemon's back, and has ended since
        if size_bytes > _share(launch, device) or launch.instance not in self.asked_for:
            return True
        return any(
            instance not in self.asked_for
            or (server.held.get(device, 0) > _share(server.launch, device))
            for instance, server in self.running.items()
            if server.full_s >= read_s or server.up_s is None
        )


def _share(launch: Launch, device: DeviceId) -> int:
    return sum(share for on, share in Script.of(launch.argv).shares if on == device)


class Wire:
    """What a runtime of one life of the daemon reaches: silent at times, cut off after its death.

    `outlives` runs a coroutine as the machine's own task; `dead` says whether the daemon still is.
    """

    name = "fake"

    def __init__(
        self,
        world: World,
        service: ServiceName,
        outlives: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        dead: Callable[[], bool],
    ) -> None:
        self._world = world
        self._service = service
        self._outlives = outlives
        self._dead = dead
        self._inner = world.runtime

    def silence(self) -> Silence | None:
        since_s = self._world.silent_since_s.get(self._service)
        if since_s is None:
            return None
        for_s = self._world.now_s() - since_s
        return Silence(who=f"the runtime of {self._service}", for_s=for_s, problem="told to.")

    async def _answers(self) -> None:
        stumbles = self._world.fires(Fault.RUNTIME_STUMBLES)
        if self._service in self._world.silent_since_s or stumbles:
            await asyncio.sleep(UNANSWERED_S if stumbles else 0.1)
            raise Unreachable(f"the runtime of {self._service} does not answer")

    async def start(self, launch: Launch) -> Running:
        await self._answers()
        self._world.asked_for.add(launch.instance)
        if self._world.fires(Fault.START_SLOW):
            await asyncio.sleep(self._world.draw((1.0, START_SLOW_S)))
        running: Running = await self._unless_dead(self._inner.start(launch))
        return running

    def foresee_stop(self, handle: Handle) -> None:
        self._inner.foresee_stop(handle)

    async def stop(self, handle: Handle, *, grace_s: float) -> None:
        try:
            await self._answers()
        except Unreachable as silent:
            raise NotStopped(str(silent)) from silent
        if self._world.fires(Fault.STOP_SLOW):
            await asyncio.sleep(self._world.draw((1.0, grace_s + 1)))
        await self._unless_dead(self._stop(handle, grace_s))

    async def _stop(self, handle: Handle, grace_s: float) -> None:
        world, instance = self._world, InstanceId(str(handle.fields["instance"]))
        await self._inner.stop(handle, grace_s=grace_s)
        if instance not in world.running:  # others may have started it again at once
            world.stopped.add(instance)

    async def _unless_dead(self, work: Coroutine[Any, Any, Any]) -> Any:
        task = self._outlives(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not self._dead():
                task.cancel()
                await asyncio.wait({task})
            raise

    async def wait(self, handle: Handle) -> Exit:
        ended = await self._inner.wait(handle)
        while self._service in self._world.silent_since_s:
            await asyncio.sleep(0.5)
        return ended

    async def listens(self, handle: Handle) -> bool:
        await self._answers()
        return await self._inner.listens(handle)

    async def alive(self, handle: Handle) -> bool:
        await self._answers()
        return await self._inner.alive(handle)

    async def discover(self) -> Sequence[Found]:
        await self._answers()
        return await self._inner.discover()  # as one container engine for all services

    async def stirred(self) -> None:
        await self._inner.stirred()

    async def returned(self, known: Collection[InstanceId]) -> Sequence[Found]:
        await self._answers()
        return await self._inner.returned(known)

    async def already(self, launch: Launch) -> Running | None:
        return await self._inner.already(launch)

    async def pids(self, handle: Handle) -> frozenset[int]:
        if self._world.fires(Fault.PIDS_HANG):
            await asyncio.sleep(UNANSWERED_S)
        if self._service in self._world.silent_since_s:
            raise Unreachable(f"the runtime of {self._service} does not answer")
        return await self._inner.pids(handle)

    async def log_tail(self, handle: Handle, lines: int) -> tuple[str, ...]:
        await self._answers()
        return await self._inner.log_tail(handle, lines)

    async def log_size(self, handle: Handle) -> int:
        await self._answers()
        return await self._inner.log_size(handle)


class Engine(FakeWorldEngine):
    """Talks for servers that may hang and may be in use by others."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._there = world

    async def check(self, spec: ModelSpec) -> Failure | None:
        await asyncio.sleep(0.01)
        if spec.name in self._there.absent:
            return Failure(
                reason=FailureReason.MODEL_FILE,
                detail=f"the file of {spec.name} is not there.",
                remedy="Put it back.",
            )
        return None

    async def readiness(self, endpoint: Endpoint) -> Readiness:
        if self._there.hung(_instance(endpoint)):
            return Readiness(ReadyState.STARTING)
        return await super().readiness(endpoint)

    async def use(self, endpoint: Endpoint) -> Use:
        instance = _instance(endpoint)
        if self._there.hung(instance):
            await asyncio.sleep(UNANSWERED_S)
            raise Unreachable(f"{endpoint.url} does not answer")
        await super().use(endpoint)  # raises where no server listens
        users = self._there.users.get(instance, [])
        served = float(self._there.served.get(instance, 0))
        return Use(busy_slots=len(users), served_total=served)

    async def unload(self, endpoint: Endpoint, spec: ModelSpec) -> None:
        """Called immediately before the stop: who uses the server now is cut."""
        instance, now_s = _instance(endpoint), self._there.now_s()
        self._there.cuts += [
            Cut(instance, since_s, now_s) for since_s in self._there.users.get(instance, [])
        ]
        self._there.cuts += [
            Cut(instance, since_s, now_s, routed=True)
            for since_s in self._there.routed.get(instance, [])
        ]


class Bringer:
    """Brings models of a hub: tells their size first, then takes its time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = random.Random(f"{world.seed}/bringer")

    async def would_bring(self, spec: ModelSpec) -> bool:
        return spec.hub is not None and spec.file is None

    async def bring(self, spec: ModelSpec, tell: Tell) -> ModelSpec | Failure:
        if spec.hub is None:
            return spec
        await asyncio.sleep(0.1)
        if spec.footprint.unknown:
            return replace(spec, footprint=Footprint(device_bytes=4 * GiB))
        if spec.file is None:
            left_s = self._rng.uniform(*BRING_S)
            while left_s > 0:
                tell(f"{left_s:.0f} s to go")
                await asyncio.sleep(min(left_s, 2.0))
                left_s -= 2.0
        return replace(spec, file=f"/models/{spec.name}.gguf")


def _instance(endpoint: Endpoint) -> InstanceId:
    return InstanceId(endpoint.url.removeprefix(SCHEME))
