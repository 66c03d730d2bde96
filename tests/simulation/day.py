"""One day: who lives in it, what goes wrong, and how it ends. The same plan is the same day."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from orchestrator.core.values.residents import SERVING, InstanceId, Resident, ResidentState
from orchestrator.core.values.vram import DeviceState
from tests.simulation.catalogue import Catalogue, networks_of
from tests.simulation.faults import Fault, faults_of
from tests.simulation.life import Life
from tests.simulation.people import KINDS
from tests.simulation.troubles import TROUBLES
from tests.simulation.virtual_time import run
from tests.simulation.watch import Watch
from tests.simulation.world import DEVICES, Cut, World

DAY_S = 400.0
QUIET_S_MAX = 1500.0  # leases run out, stops are tried again, late bytes come back
DOWN_S = (2.0, 20.0)
SETTLED_LOOK_S = 5.0
DAY_S_MAX = 8000.0  # of a day, its people and its quiet end: some 2000 mostly
YOUNG_S = 0.02  # between the answer "idle" and the stop
QUIET_LOOKS = 3  # by then the daemon has seen what was done behind its back


@dataclass(frozen=True)
class DayPlan:
    seed: int
    length_s: float = DAY_S
    faults: frozenset[Fault] = frozenset()
    people: frozenset[str] = frozenset(KINDS)
    crowd: float = 1.0  # how many of each kind, of the usual number

    @classmethod
    def of(cls, seed: int) -> "DayPlan":
        return cls(seed=seed, faults=faults_of(seed))


@dataclass
class Day:
    plan: DayPlan
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        seed = self.plan.seed
        self.rng = random.Random(f"{seed}/day")
        networks = networks_of(seed)
        self.world = World(seed, self.plan.faults, networks)
        self.catalogue = Catalogue(random.Random(f"{seed}/catalogue"), networks)
        self.rows: Any = defaultdict(dict)  # what is on the disk
        self.life: Life | None = None
        self._is_up = asyncio.Event()
        self._over = False
        self._begun: set[asyncio.Task[Any]] = set()  # by a daemon, and not ended with it

    # --- for those who live in it ------------------------------------------------------------

    async def up(self) -> Life:
        """The daemon, when it serves."""
        while True:
            await self._is_up.wait()
            life = self.life
            if life is not None and not life.told_to_end.is_set():
                return life
            await asyncio.sleep(0.5)

    def still_serves(self, life: Life, granted: Resident) -> bool:
        """Whether who holds it is still served; a finding if it was taken away from under it.

        The lease ended with the server that was granted. If others start that again before its
        holder looks, it has the same name, has been ready at another time or not yet, and is
        nobody's: it may load, or be stopped at once because its room is another model's by now.
        """
        if life.dead:
            return False
        resident = life.conductor.scheduler.state.by_instance(granted.instance)
        if resident is None or resident.state is ResidentState.RELEASING:
            return False  # its server died: nobody can help that
        if resident.ready_s != granted.ready_s:
            return False  # it died, and others have started it again already
        if resident.instance in self.watch.forced:
            return False
        if resident.state not in SERVING:
            self.watch.found("held", f"{resident.instance} is {resident.state} while it is leased")
        return True

    def uses_directly(self, rng: random.Random, instance: InstanceId) -> None:
        """A request straight to the server, for a while."""
        if self.world.begin_use(instance):
            self.spawn(self._ends_use(instance, rng.choice([0.05, 1.0, 15.0]) * rng.random()))

    async def _ends_use(self, instance: InstanceId, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self.world.end_use(instance)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Goes on whatever becomes of the daemon."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return task

    def outlives(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begun by a daemon; if that dies, the machine goes on with it."""
        task = self.spawn(work)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    # --- its course ------------------------------------------------------------------------------

    async def live(self) -> None:
        """Raise what was found, as Finding or in a group."""
        async with asyncio.TaskGroup() as tasks:
            daemon = tasks.create_task(self._keep_it_up())
            await self.up()
            kinds = [(name, *KINDS[name]) for name in sorted(self.plan.people)]
            people = [
                tasks.create_task(
                    kind(self, random.Random(f"{self.plan.seed}/{name}/{number}"), pause_s).lives()
                )
                for name, kind, count, pause_s in kinds
                for number in range(max(1, round(count * self.plan.crowd)))
            ]
            troubles = [
                tasks.create_task(TROUBLES[fault](self, random.Random(f"{self.plan.seed}/{fault}")))
                for fault in sorted(self.plan.faults & TROUBLES.keys())
            ]
            await asyncio.wait(people)
            for task in troubles:
                task.cancel()
            await asyncio.gather(*troubles, return_exceptions=True)
            await self._until_it_is_quiet()
            self._check_the_end()
            self._over = True
            if self.life is not None:
                self.life.told_to_end.set()
            await daemon
        if self.watch.findings:
            check, text = self.watch.findings[0]
            raise AssertionError(f"{check}: {text}")

    async def _keep_it_up(self) -> None:
        """Start the daemon again, each time that it has ended."""
        while not self._over:
            self.life = Life(
                world=self.world,
                catalogue=self.catalogue,
                watch=self.watch,
                rows=self.rows,
                outlives=self.outlives,
            )
            await self.life.run(lambda _: self._is_up.set())
            self._is_up.clear()
            if not self._over:
                await asyncio.sleep(self.rng.uniform(*DOWN_S))
                self._lose_rows()

    def _lose_rows(self) -> None:
        for table in ("residents", "leases"):
            for key in list(self.rows[table]):
                if self.world.fires(Fault.DISK_LOSES):
                    del self.rows[table][key]

    async def _until_it_is_quiet(self) -> None:
        self.world.faults = frozenset()
        self.world.absent.clear()
        self.world.silent_since_s.clear()
        self.world.hung_until_s = dict.fromkeys(self.world.hung_until_s, 0.0)
        for device in DEVICES:
            self.world.set_fault(device, DeviceState.OK)
            for stranger in list(self.world.strangers[device]):
                self.world.take(device, stranger, 0)
        looks, misjudged, began_s = 0, set[InstanceId](), asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - began_s < QUIET_S_MAX:
            await asyncio.sleep(SETTLED_LOOK_S)
            life = await self.up()
            life.steps_left, life.still_until_s = None, 0.0
            state = life.conductor.scheduler.state
            moving = [r for r in state.ledger.residents if r.state is not ResidentState.READY]
            quiet = not (moving or state.leases or len(state.queue) or self._begun)
            looks = looks + 1 if quiet else 0
            seen_before, misjudged = misjudged, self._misjudged()
            # A server may die between any two looks, and the daemon reads the devices before it
            # counts it as dead: a belief is wrong only if it is wrong at two looks in a row.
            if looks >= QUIET_LOOKS and misjudged <= seen_before:
                return

    def _misjudged(self) -> set[InstanceId]:
        """What is believed in and does not run, and what runs and is not believed in."""
        assert self.life is not None
        residents = self.life.conductor.scheduler.state.ledger.residents
        return {each.instance for each in residents} ^ set(self.world.running)

    def _check_the_end(self) -> None:
        assert self.life is not None
        state, watch = self.life.conductor.scheduler.state, self.watch
        if len(state.queue):
            watch.found("end", f"somebody still waits: {state.queue.lines()[0].first}")
        if state.leases:
            watch.found("end", f"a lease leaked: {state.leases}")
        if self.rows["leases"]:
            watch.found("end", f"of leases that have ended is written: {list(self.rows['leases'])}")
        if state.unloads or watch.tickets:
            watch.found("end", f"nobody answered {state.unloads} {watch.tickets}")
        if self.world.complaints:
            watch.found("world", self.world.complaints[0])
        for cut in self.world.cuts:
            if not self._may_cut(cut):
                watch.found("cut", f"{cut}: stopped while it was used")
        for instance in self.world.running:
            if passing := self.life.routes.under_way(instance):
                watch.found("end", f"{passing} requests are counted on their way to {instance}")
        if self._misjudged():
            believed = {each.instance for each in state.ledger.residents}
            text = f"believed in: {sorted(believed)}; run: {sorted(self.world.running)}"
            watch.found("belief", text)

    def _may_cut(self, cut: Cut) -> bool:
        """By force; or it did not answer when it was asked; or the request came after that, or to a
        server that nobody had been told of yet. One that took a route was counted: nothing but
        force excuses it.
        """
        if cut.routed:
            return cut.instance in self.watch.forced
        hangs = cut.instance in self.world.hung_until_s
        younger = cut.stopped_s - cut.used_since_s <= YOUNG_S
        untold = cut.instance in self.watch.untold
        return cut.instance in self.watch.forced or hangs or younger or untold


def live(plan: DayPlan) -> Watch:
    """What was seen of the day, with what was found."""
    day: list[Day] = []

    async def whole() -> None:
        day.append(Day(plan))
        async with asyncio.timeout(DAY_S_MAX):  # a daemon that never ends keeps a day from ending
            await day[0].live()

    try:
        run(whole())
    except BaseException as error:
        if not day or isinstance(error, KeyboardInterrupt):
            raise
        if not day[0].watch.findings:
            day[0].watch.findings.append(("raised", _said(error)))
    return day[0].watch


def _said(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return repr(error)
