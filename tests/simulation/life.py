"""One life of the daemon in the simulated world: from its recovery to its crash or its end.

All of it but sockets and SQLite: the conductor with its sensors and timers, adoption, a registry in
memory that outlives it. A crash may fall before any event and before any effect; from then on
nothing that the daemon would do reaches the world.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from orchestrator.catalogue.learned import Experience
from orchestrator.conductor.conductor import Conductor
from orchestrator.conductor.history import History
from orchestrator.core.values.decisions import Decide
from orchestrator.core.values.messages import (
    AskUse,
    Effect,
    Event,
    Evict,
    Grant,
    Load,
    Requested,
    ShutdownBegan,
)
from orchestrator.core.values.specs import ModelSpec, ServiceName
from orchestrator.core.values.tickets import Ticket
from orchestrator.daemon.adoption import recover, take_back
from orchestrator.gateway.routes import RouteTable
from orchestrator.ports import Drivers, Runtime
from orchestrator.records import Memory
from orchestrator.registry.tables import Table
from tests.simulation.catalogue import Catalogue
from tests.simulation.faults import Fault
from tests.simulation.watch import Watch, WatchedLedger, WatchedScheduler
from tests.simulation.world import Bringer, Engine, Wire, World
from tests.standins.memory import MemoryRegistry

TICK_S = 1.0
SAMPLE_S = 4.0
LOOK_S = 2.0
ADOPT_S = 2.0
STOP_GRACE_S = 2.0
LOAD_DEADLINE_S = 60.0
STOP_ALL_S = 120.0
DISK_SLOW_S = 3.0
NOTES_APART = 8

K = TypeVar("K")
V = TypeVar("V")
Outlives = Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]


class ConnectionLost(Exception):
    """The daemon ended before it answered."""


class _Crashed(Exception):
    pass


@contextmanager
def suppress_crash() -> Iterator[None]:
    try:
        yield
    except* _Crashed:
        pass


class Disk(MemoryRegistry):
    """What one life reads and writes of the rows that outlive it."""

    def __init__(self, rows: Any, world: World, dead: Callable[[], bool]) -> None:
        super().__init__()
        self._values = rows
        self._world = world
        self._dead = dead
        self._last: asyncio.Event | None = None  # write: they arrive in the order of the queue

    async def change(self, table: Table[K, V], key: K, value: V | None) -> bool:
        before, self._last = self._last, asyncio.Event()
        written = self._last
        try:
            if self._world.fires(Fault.DISK_SLOW):
                await asyncio.sleep(self._world.draw((0.0, DISK_SLOW_S)))
            if before is not None:
                await before.wait()
            if self._dead():
                return False
            return await super().change(table, key, value)
        finally:
            written.set()


class MortalConductor(Conductor):
    """Does nothing more once its life has ended."""

    its_life: "Life"
    notes = 0

    def _note(self) -> None:
        """Snapshots are a sixth of a day's time: the history hears of some changes only."""
        self.notes += 1
        if self.notes % NOTES_APART == 0:
            super()._note()
        else:
            self._noting = None

    def tell(self, event: Event) -> None:
        self.its_life.step()
        if not self.its_life.dead:
            super().tell(event)

    def _perform(self, effect: Effect) -> None:
        self.its_life.step()
        if not self.its_life.dead:
            self.its_life.check_routes(effect)
            if isinstance(effect, Load):
                self.its_life.world.decided(effect.resident.instance)
            super()._perform(effect)
            self.its_life.doom(effect)

    def say(self, decision: Decide) -> None:
        self.its_life.watch.decisions[decision.kind] += 1
        super().say(decision)

    def wish(self, wanted: Requested) -> asyncio.Future[Grant]:
        self.its_life.callers[wanted.ticket] = asyncio.current_task()
        return super().wish(wanted)


class Life:
    def __init__(
        self,
        *,
        world: World,
        catalogue: Catalogue,
        watch: Watch,
        rows: Any,
        outlives: Outlives,
    ) -> None:
        self.world = world
        self.catalogue = catalogue
        self.watch = watch
        self.dead = False
        self.ended = asyncio.Event()
        self.told_to_end = asyncio.Event()
        self.stops_residents = False
        self.steps_left: int | None = None  # until it crashes
        self.still_until_s = 0.0
        self.callers: dict[Ticket, asyncio.Task[Any] | None] = {}
        self.doomed: set[asyncio.Task[Any]] = set()  # cancelled after their grant, before they wake
        self.registry = Disk(rows, world, lambda: self.dead)
        self._outlives = outlives
        self.routes = RouteTable()
        self.conductor: MortalConductor

    # --- its end -----------------------------------------------------------------------------

    def step(self) -> None:
        if self.steps_left is not None and not self.dead:
            self.steps_left -= 1
            if self.steps_left <= 0:
                self.dead = True
                self.told_to_end.set()

    def check_routes(self, effect: Effect) -> None:
        """A server is asked and stopped with its way closed."""
        asked = effect.residents if isinstance(effect, AskUse) else ()
        going = (effect.resident,) if isinstance(effect, Evict) else asked
        for resident in going:
            route = self.routes.find(resident.name)
            if route is not None and route.instance == resident.instance:
                self.watch.found("route", f"{effect} while its route is open")

    def doom(self, effect: Effect) -> None:
        caller = self.callers.get(effect.ticket) if isinstance(effect, Grant) else None
        if caller is not None and caller in self.doomed:
            caller.cancel()

    async def within(self, work: Coroutine[Any, Any, V], *, doomed: bool = False) -> V:
        """What comes of the work. Raise ConnectionLost if the daemon ends before that."""
        task = asyncio.create_task(work)
        ended = asyncio.create_task(self.ended.wait())
        if doomed:
            self.doomed.add(task)
        try:
            await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        finally:
            ended.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
            raise ConnectionLost
        if task.cancelled():
            raise ConnectionLost  # by its doom
        return task.result()

    # --- its course --------------------------------------------------------------------------

    async def run(self, on_up: Callable[["Life"], None]) -> None:
        """Return when it has ended. Raise what was found meanwhile."""
        memory = await self.registry.recall()
        with suppress_crash():
            await self._serve(memory, on_up)
        self.conductor.close()
        self.routes.close()
        self.world.routed.clear()  # their connections ended with it
        self.watch.life_ends(crashed=self.dead)
        self.dead = True
        self.ended.set()

    async def _serve(self, memory: Memory, on_up: Callable[["Life"], None]) -> None:
        async with asyncio.TaskGroup() as tasks:
            self.conductor = self._conductor(memory, tasks)
            self.watch.life_begins(self.conductor.scheduler.state, self.world)
            background = await self._begin(memory, tasks)
            if not self.dead:
                on_up(self)
            await self.told_to_end.wait()
            if self.dead:
                raise _Crashed
            await self._end()
            for task in background:
                task.cancel()
            self.conductor.close()

    def _conductor(self, memory: Memory, tasks: asyncio.TaskGroup) -> MortalConductor:
        ledger = WatchedLedger(self.watch)
        scheduler = WatchedScheduler(
            self.catalogue.specs, ledger, self.catalogue.rules, networks=self.catalogue.networks
        )
        scheduler.watch = self.watch
        conductor = MortalConductor(
            scheduler=scheduler,
            devices=self.world,
            drivers=self._drivers(),
            registry=self.registry,
            history=History(epoch="simulation"),
            clock=asyncio.get_running_loop().time,
            tasks=tasks,
            experience=Experience(
                memory.learned,
                devices=lambda: [ledger.reading(device).device for device in ledger.devices],
            ),
            routes=self.routes,
        )
        self.routes.connect(tell=conductor.tell, specs=lambda: self.catalogue.specs)
        conductor.its_life = self
        return conductor

    def _drivers(self) -> dict[ServiceName, Drivers]:
        engine = Engine(self.world)
        return {
            service: Drivers(
                engine=engine,
                runtime=Wire(self.world, service, self._outlives, lambda: self.dead),
                supplies=(Bringer(self.world),),
                stop_grace_s=STOP_GRACE_S,
                load_deadline_s=LOAD_DEADLINE_S,
            )
            for service in self.catalogue.services
        }

    async def _begin(self, memory: Memory, tasks: asyncio.TaskGroup) -> list[asyncio.Task[Any]]:
        conductor = self.conductor
        conductor.tell(self.catalogue.rules_changed)
        conductor.start_from(memory)
        await conductor.sensors.sample()
        await recover(conductor, memory, self.catalogue.specs)
        await conductor.sensors.sample()
        timers = (
            self._every(SAMPLE_S, conductor.sensors.sample),
            self._every(TICK_S, conductor.sensors.tick),
            self._every(LOOK_S, conductor.sensors.look_at_use),
            *(self._take_back(drivers.runtime) for drivers in conductor.drivers.values()),
            conductor.sensors.keep_up(),
        )
        return [tasks.create_task(timer) for timer in timers]

    async def _take_back(self, runtime: Runtime) -> None:
        """As `daemon/serve` does."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(ADOPT_S):
                    await runtime.stirred()
            await self._while_it_stands_still()
            await take_back(self.conductor, self.catalogue.specs, runtime)

    async def _while_it_stands_still(self) -> None:
        now_s = asyncio.get_running_loop().time
        while now_s() < self.still_until_s:
            await asyncio.sleep(self.still_until_s - now_s())

    async def _every(self, seconds: float, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await self._while_it_stands_still()
            await act()
            await asyncio.sleep(seconds)

    async def _end(self) -> None:
        """As `daemon/serve` ends."""
        self.conductor.tell(ShutdownBegan(stop_residents=self.stops_residents))
        if self.stops_residents:
            await self.conductor.sensors.until_nobody_is_left(STOP_ALL_S)

    def believed(self, spec: ModelSpec) -> ModelSpec:
        """With what was learned of it, as an order resolves it."""
        return self.conductor._experience.believed(spec)
