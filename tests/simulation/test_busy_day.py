"""The whole daemon but its sockets on an unreliable machine. Re-run a seed to replay it.

Held in every seed: nobody is served by what does not run, nobody in use is stopped, no start
finds too little room, every ticket ends once and within its bound, no lease leaks, and in the end
what the daemon believes is what runs.
"""

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from orchestrator.catalogue.learned import Experience
from orchestrator.conductor.conductor import Conductor
from orchestrator.conductor.history import History
from orchestrator.core.life.grants import bound_s
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.values.leases import LeaseKind
from orchestrator.core.values.messages import (
    Effect,
    Grant,
    Requested,
    UnloadRequested,
)
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import ModelName, ModelSpec, room_spec
from orchestrator.core.values.tickets import Ticket
from orchestrator.core.values.vram import DeviceId, DeviceState, GiB
from orchestrator.errors import Denied
from orchestrator.ports import Drivers
from orchestrator.runtimes.fake.engine import FakeWorldEngine
from orchestrator.runtimes.fake.runtime import FakeWorld
from orchestrator.runtimes.fake.script import Fate
from tests.factories import CheckedScheduler, spec
from tests.simulation.virtual_time import run
from tests.standins.memory import MemoryRegistry

CLIENTS = 40
DAY_S = 900.0
SEEDS = 300
SEEDS_QUICK = 30  # of them in `make check`; `make test` lives through the others as well
RULES = Rules(
    patience_s=30,
    patience_loads=2,
    min_residency_s=5,
    drain_timeout_s=60,
    protect_idle_s=60,
    release_timeout_s=5,
)


@dataclass
class Day:
    """One seed's machine, models and what its clients met with."""

    rng: random.Random
    visible: bool
    outcomes: list[str] = field(default_factory=list)
    waits: list[tuple[float, float]] = field(default_factory=list)  # waited, promised bound
    doomed: set[asyncio.Task] = field(default_factory=set)  # to be cancelled with their grant

    def __post_init__(self) -> None:
        totals = {DeviceId("g0"): 24 * GiB, DeviceId("g1"): 16 * GiB, DeviceId("host"): 32 * GiB}
        self.world = FakeWorld(
            totals,
            self.rng,
            visible=self.visible,
            fate=Fate(
                start_s=(0.0, 1.0),
                load_s=(1.0, 20.0),
                stop_s=(0.1, 3.0),
                start_fails=0.08,
                dies=0.05,
                dies_after_s=(5.0, 300.0),
                stop_fails=0.03,
            ),
        )
        self.specs = {
            name: spec(
                name,
                gib=self.rng.randint(2, 26),
                host_gib=self.rng.choice([0, 0, 3]),
                priority=self.rng.randint(4, 6),
                span=self.rng.choice([1, 1, 1, 2]),
                ttl_s=self.rng.choice([None, 60]),
                load_s=10,
            )
            for name in (ModelName(each) for each in "abcdef")
        }

    def conductor(self, tasks: asyncio.TaskGroup) -> Conductor:
        engine, clock = FakeWorldEngine(self.world), asyncio.get_running_loop().time
        service = next(iter(self.specs.values())).service
        drivers = {service: Drivers(engine=engine, runtime=self.world.runtime, stop_grace_s=2)}
        return Conductor(
            scheduler=CheckedScheduler(self.specs, Ledger(headroom_bytes=GiB // 4), RULES),
            devices=self.world,
            drivers=drivers,
            registry=MemoryRegistry(),
            history=History(epoch="simulation"),
            clock=clock,
            tasks=tasks,
            experience=Experience(),
        )

    def runs(self, name: str) -> bool:
        return any(thing.launch.model == name for thing in self.world.running.values())

    # --- who lives in it -----------------------------------------------------------------------

    async def client(self, conductor: Conductor) -> None:
        """Wants a model for a while; may lose patience, or be told no."""
        await asyncio.sleep(self.rng.uniform(0, DAY_S * 2 / 3))
        wanted = self.specs[self.rng.choice(list(self.specs))]
        asked_s = conductor.clock()
        promised_s = promised_bound(conductor, wanted)
        try:
            async with asyncio.timeout(self.rng.choice([15, 4000])):
                async with conductor.lease(wanted) as grant:
                    self.waits.append((conductor.clock() - asked_s, promised_s))
                    # It may have died in this very instant; it was not stopped.
                    await self.use(conductor, grant)
            self.outcomes.append("served")
        except Denied:
            self.waits.append((conductor.clock() - asked_s, promised_s))
            self.outcomes.append("denied")
        except TimeoutError:
            self.outcomes.append("withdrawn")

    async def use(self, conductor: Conductor, grant: Grant) -> None:
        until_s = conductor.clock() + self.rng.uniform(0, 40)
        while conductor.clock() < until_s:
            resident = conductor.scheduler.state.by_instance(grant.resident.instance)
            if resident is None or resident.state is ResidentState.RELEASING:
                return  # its server died: nobody can help that
            assert resident.state in (ResidentState.READY, ResidentState.DRAINING), (
                f"{resident.instance} is {resident.state} while it is leased"
            )
            await asyncio.sleep(1)

    async def tenant(self, conductor: Conductor) -> None:
        """Leases plain room, and really fills it."""
        await asyncio.sleep(self.rng.uniform(0, DAY_S / 2))
        size_bytes = self.rng.randint(1, 8) * GiB
        room = room_spec(ModelName(f"lease-{self.rng.randrange(10**9)}"), size_bytes, "g0", 5)
        ticket = conductor.next_ticket()
        wish = Requested(
            ticket=ticket,
            spec=room,
            priority=5,
            hold=LeaseKind.ROOM,
            owner="tenant",
            lease_s=40,
            deadline_s=conductor.clock() + 100,
        )
        try:
            await conductor.wish(wish)
        except Denied:
            self.outcomes.append("no room")

    async def operator(self, conductor: Conductor) -> None:
        """Unloads now and then, sometimes by force."""
        await asyncio.sleep(self.rng.uniform(100, DAY_S / 2))
        ticket = conductor.next_ticket()
        unload = UnloadRequested(
            ticket=ticket,
            model=self.rng.choice(list(self.specs)),
            deadline_s=conductor.clock() + 30,
        )
        try:
            await conductor.unload(unload)
        except Denied:
            self.outcomes.append("in use")

    async def neighbour(self) -> None:
        """Somebody's game: takes bytes and gives them back; the driver stumbles as well."""
        g1 = DeviceId("g1")
        await asyncio.sleep(self.rng.uniform(50, DAY_S / 3))
        self.world.set_foreign(g1, min(self.world.free_bytes(g1), 3 * GiB))
        await asyncio.sleep(self.rng.uniform(10, 100))
        self.world.set_foreign(g1, 0)
        self.world.set_fault(g1, DeviceState.UNREADABLE)
        await asyncio.sleep(self.rng.uniform(1, 30))
        self.world.set_fault(g1, DeviceState.OK)


def promised_bound(conductor: Conductor, wanted: ModelSpec) -> float:
    return bound_s(conductor.scheduler.state, wanted)


async def busy_day(day: Day) -> None:
    async with asyncio.TaskGroup() as tasks:
        conductor = day.conductor(tasks)
        doom(day, conductor)
        await conductor.sensors.sample()
        background = [
            tasks.create_task(conductor.sensors.keep_up()),
            tasks.create_task(every(4.0, conductor.sensors.sample)),
            tasks.create_task(every(1.0, conductor.sensors.tick)),
        ]
        people = [tasks.create_task(day.client(conductor)) for _ in range(CLIENTS)]
        people += [tasks.create_task(day.tenant(conductor)) for _ in range(2)]
        people += [tasks.create_task(day.operator(conductor)) for _ in range(2)]
        people.append(tasks.create_task(day.neighbour()))
        for victim in people[:CLIENTS:5]:
            tasks.create_task(cancel_later(day, victim))
        await asyncio.wait(people)
        await until_it_is_quiet(conductor)
        await check_the_end(day, conductor, people[:CLIENTS])
        for task in background:
            task.cancel()
        conductor.close()


async def until_it_is_quiet(conductor: Conductor) -> None:
    """Leases expire, stops that failed are tried again, bytes come back."""
    for _ in range(60):
        await asyncio.sleep(10)
        state = conductor.scheduler.state
        moving = [r for r in state.ledger.residents if r.state is not ResidentState.READY]
        if not (moving or state.leases or len(state.queue)):
            return


async def every(seconds: float, act) -> None:
    while True:
        await act()
        await asyncio.sleep(seconds)


async def cancel_later(day: Day, victim: asyncio.Task) -> None:
    """Half of them at any time; the others in the very tick of their grant: see `doom`."""
    if day.rng.random() < 0.5:
        await asyncio.sleep(day.rng.uniform(0, DAY_S))
        victim.cancel()
    else:
        day.doomed.add(victim)


def doom(day: Day, conductor: Conductor) -> None:
    """Cancel who is doomed after its grant and before it wakes, which chance never hits."""
    wish, perform = conductor.wish, conductor._perform
    callers: dict[Ticket, asyncio.Task | None] = {}

    def wish_and_note(wanted: Requested) -> asyncio.Future[Grant]:
        callers[wanted.ticket] = asyncio.current_task()
        return wish(wanted)

    def perform_and_cancel(effect: Effect) -> None:
        perform(effect)
        caller = callers.get(effect.ticket) if isinstance(effect, Grant) else None
        if caller in day.doomed:
            caller.cancel()

    conductor.wish = wish_and_note  # type: ignore[method-assign]
    conductor._perform = perform_and_cancel  # type: ignore[method-assign]


async def check_the_end(day: Day, conductor: Conductor, clients: list[asyncio.Task]) -> None:
    state = conductor.scheduler.state
    served = [each for each in day.outcomes if each in ("served", "denied", "withdrawn")]
    cancelled = sum(task.cancelled() for task in clients)
    assert len(served) + cancelled == CLIENTS, "a ticket was dropped"
    assert not len(state.queue), "somebody still waits"
    assert not state.leases, f"a lease leaked: {state.leases}"
    assert not [each for each in state.ledger.residents if each.lease_count], "a count leaked"
    assert not day.world.complaints, day.world.complaints
    believed = {each.instance for each in state.ledger.residents}
    assert believed == set(day.world.running), "belief and world disagree"
    for waited_s, promised_s in day.waits:
        assert waited_s <= promised_s + 30, f"waited {waited_s:.0f} s of {promised_s:.0f}"


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(seed, marks=[pytest.mark.more_seeds] if seed >= SEEDS_QUICK else [])
        for seed in range(SEEDS)
    ],
)
def test_busy_day(seed: int) -> None:
    run(busy_day(Day(random.Random(seed), visible=seed % 2 == 0)))
