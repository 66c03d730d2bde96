"""Who lives in a day: each comes again and again, with a dice of its own.

So a day without some of them is the same day for the others, which is how a failing one is shrunk.
"""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.core.life.questions import question
from orchestrator.core.life.queue import Line, Wish
from orchestrator.core.room.planner import Plan, plan, possible
from orchestrator.core.values.leases import Lease, LeaseKind
from orchestrator.core.values.messages import (
    Grant,
    PinChanged,
    Released,
    Renewed,
    Requested,
    UnloadRequested,
)
from orchestrator.core.values.residents import ResidentState
from orchestrator.core.values.specs import ModelName, ModelSpec, room_spec
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.errors import Denied
from orchestrator.gateway.routes import Route
from tests.simulation.catalogue import BOUNDS, SPARE, longer
from tests.simulation.faults import Fault
from tests.simulation.life import ConnectionLost, Life

if TYPE_CHECKING:
    from tests.simulation.day import Day

GONE = (Denied, ConnectionLost, TimeoutError)


@dataclass
class Person:
    """One of a kind. `comes` is one visit; the next follows after a pause."""

    day: "Day"
    rng: random.Random
    pause_s: tuple[float, float]

    async def lives(self) -> None:
        loop = asyncio.get_running_loop()
        while loop.time() < self.day.plan.length_s:
            await asyncio.sleep(self.rng.uniform(*self.pause_s))
            with suppress(ConnectionLost):
                await self.comes(await self.day.up())

    async def comes(self, life: Life) -> None:
        raise NotImplementedError

    def some_spec(self, life: Life) -> ModelSpec:
        """As configured, mostly; what is believed of it is what was learned."""
        specs = self.day.catalogue.specs
        wanted = specs[self.rng.choice(sorted(specs))]
        if self.rng.random() < 0.2:
            wanted = longer(wanted, self.rng.choice([2048, 8192, 8192, 16384]))
        return life.believed(wanted)

    def priority(self, spec: ModelSpec) -> int:
        return spec.priority if self.rng.random() < 0.6 else self.rng.randint(1, 9)


class Caller(Person):
    """A request through the gateway: holds the model while it is answered."""

    async def comes(self, life: Life) -> None:
        spec = self.some_spec(life)
        doomed = self.day.world.fires(Fault.CALLER_LEAVES_AT_GRANT)
        patience_s = 4000.0
        if self.day.world.fires(Fault.CALLER_LEAVES):
            patience_s = self.rng.choice([0.05, 2.0, 15.0])
        uses_s = self.rng.choice([0.1, 3.0, 40.0]) * self.rng.random()
        with suppress(Denied, TimeoutError):
            async with asyncio.timeout(patience_s):
                await life.within(self._use(life, spec, uses_s), doomed=doomed)

    async def _use(self, life: Life, spec: ModelSpec, uses_s: float) -> None:
        conductor = life.conductor
        async with conductor.lease(spec, priority=self.priority(spec)) as grant:
            until_s = conductor.clock() + uses_s
            while conductor.clock() < until_s:
                if not self.day.still_serves(life, grant.resident):
                    return
                await asyncio.sleep(min(1.0, uses_s))


class Loader(Person):
    """`POST /models/load` without an owner: with settings, a pin, a ttl, a deadline."""

    async def comes(self, life: Life) -> None:
        spec = self.some_spec(life)
        deadline_s = life.conductor.clock() + self.rng.uniform(1, 60)
        wish = Requested(
            ticket=life.conductor.next_ticket(),
            spec=spec,
            priority=self.priority(spec),
            ttl_s=self.rng.choice([None, None, 5.0, 60.0]),
            pin=self.rng.random() < 0.04,
            deadline_s=deadline_s if self.rng.random() < 0.3 else None,
        )
        with suppress(Denied):
            grant = await life.within(_answer(life, wish))
            assert grant.lease is None
            self.day.uses_directly(self.rng, grant.resident.instance)


class Modest(Person):
    """Loads only where no resident has to leave; waits no longer than bytes take to come back."""

    async def comes(self, life: Life) -> None:
        spec = self.some_spec(life)
        wish = Requested(
            ticket=life.conductor.next_ticket(),
            spec=spec,
            priority=self.priority(spec),
            evicts=False,
        )
        with suppress(Denied):
            await life.within(_answer(life, wish))


class Owner(Person):
    """A workflow: leases a model, works, renews, releases; or forgets to, or unloads."""

    async def comes(self, life: Life) -> None:
        spec = self.some_spec(life)
        wish = Requested(
            ticket=life.conductor.next_ticket(),
            spec=spec,
            priority=self.priority(spec),
            hold=LeaseKind.OWNER,
            lease_s=self.rng.choice([3.0, 20.0, 60.0]),
            owner=(owner := f"owner-{self.rng.randrange(3)}"),
            key=owner,
            bounds=BOUNDS.get(owner, ()),
        )
        try:
            async with asyncio.timeout(self.rng.choice([5.0, 4000.0])):
                grant = await life.within(_answer(life, wish))
        except TimeoutError:
            life.conductor.withdraw(wish.ticket)
            return
        except Denied:
            return
        assert grant.lease is not None
        await self._works(grant.lease, spec)

    async def _works(self, lease: Lease, spec: ModelSpec) -> None:
        for _ in range(self.rng.randint(0, 6)):
            self.day.uses_directly(self.rng, lease.instance)
            await asyncio.sleep(self.rng.uniform(0.5, 15))
            life = await self.day.up()
            if lease.id not in life.conductor.scheduler.state.leases:
                return
            if self.rng.random() < 0.7:
                expires_s = life.conductor.clock() + self.rng.choice([2.0, 20.0])
                life.conductor.tell(Renewed(lease.id, expires_s))
        life = await self.day.up()
        ending = self.rng.random()
        if ending < 0.4:
            life.conductor.tell(Released(lease.id))
        elif ending < 0.7:
            owner = None if self.rng.random() < 0.3 else lease.owner
            named = lease.id if owner is None else None
            with suppress(Denied):
                await _unload(life, self.rng, spec.name, owner=owner, lease=named)


class Tenant(Person):
    """Leases plain room and fills it; ends a little late at times."""

    async def comes(self, life: Life) -> None:
        size_bytes = self.rng.randint(1, 8) * GiB
        device = DeviceId(self.rng.choice(["g0", "g1"]))
        name = f"lease-{self.rng.randrange(10**9)}"
        wish = Requested(
            ticket=life.conductor.next_ticket(),
            spec=room_spec(ModelName(name), size_bytes, device, self.rng.randint(3, 7)),
            priority=5,
            hold=LeaseKind.ROOM,
            owner="tenant",
            lease_s=self.rng.uniform(5, 60),
            deadline_s=life.conductor.clock() + self.rng.uniform(0, 100),
        )
        with suppress(Denied):
            grant = await life.within(_answer(life, wish))
            assert grant.lease is not None
            await asyncio.sleep(self.rng.uniform(0, 5))
            self.day.world.take(device, name, size_bytes)
            await asyncio.sleep(self.rng.uniform(0, 30))
            self.day.world.take(device, name, 0)
            if self.rng.random() < 0.5:
                (await self.day.up()).conductor.tell(Released(grant.lease.id))


class Passer(Person):
    """Sends requests straight to servers, without a ticket."""

    async def comes(self, life: Life) -> None:
        running = sorted(self.day.world.running)
        if running:
            self.day.uses_directly(self.rng, self.rng.choice(running))


class Client(Person):
    """A warm request: takes the route of its model, as the gateway does, and asks nobody."""

    async def comes(self, life: Life) -> None:
        specs = self.day.catalogue.specs
        route = life.routes.find(self.rng.choice(sorted(specs)))
        if route is None:
            return
        patience_s = 4000.0
        if self.day.world.fires(Fault.CALLER_LEAVES):
            patience_s = self.rng.choice([0.0, 0.05, 2.0, 15.0])
        uses_s = self.rng.choice([0.01, 1.0, 40.0]) * self.rng.random()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await life.within(self._use(life, route, uses_s))

    async def _use(self, life: Life, route: Route, uses_s: float) -> None:
        if not await life.routes.place(route, self.rng.randint(1, 9)):
            return
        if route.instance not in self.day.world.running:
            life.routes.leave(route)  # nobody listens there, and nobody has been told yet
            return
        routed = self.day.world.routed.setdefault(route.instance, [])
        began_s = life.conductor.clock()
        routed.append(began_s)
        try:
            await asyncio.sleep(uses_s)
        finally:
            if began_s in routed:
                routed.remove(began_s)
            life.routes.leave(route)


class Operator(Person):
    """Unloads, also by force; pins and unpins."""

    async def comes(self, life: Life) -> None:
        model = ModelName(self.rng.choice(sorted(self.day.catalogue.specs)))
        chance = self.rng.random()
        if chance < 0.25:
            life.conductor.tell(PinChanged(model, pinned=self.rng.random() < 0.4))
        else:
            with suppress(Denied):
                await _unload(life, self.rng, model, force=chance > 0.75)


class Editor(Person):
    """PUT, DELETE and reload."""

    async def comes(self, life: Life) -> None:
        catalogue, conductor = self.day.catalogue, life.conductor
        name = ModelName(self.rng.choice(SPARE))
        chance = self.rng.random()
        if chance < 0.3:
            conductor.tell(catalogue.put(name))
        elif chance < 0.5:
            resident = conductor.scheduler.state.ledger.resident(name)
            if name in catalogue.specs and resident is None:  # the desk refuses it else
                conductor.tell(catalogue.delete(name))
        else:
            for event in catalogue.reload():
                conductor.tell(event)


class Planner(Person):
    """Asks what a load would do, and looks at the status; then does it."""

    async def comes(self, life: Life) -> None:
        conductor, state = life.conductor, life.conductor.scheduler.state
        version = state.ledger.version
        snapshot = conductor.snapshot()
        spec = self.some_spec(life)
        now_s = conductor.clock()
        wish = Requested(ticket=conductor.next_ticket(), spec=spec, priority=spec.priority)
        line = Line(spec.name)
        line.add(Wish(wish, now_s, now_s))
        asked = possible(question(state, line, now_s), state.ledger)
        found = plan(asked, state.ledger)
        if state.ledger.version != version:
            life.watch.found("plan", "a plan or a status changed something")
        undisturbed = not snapshot.queue and not state.shutting_down
        answer = conductor.wish(wish)
        if isinstance(found, Plan) and undisturbed and not life.dead:
            self._compare(life, found)
        with suppress(Denied):
            await life.within(_wait(answer))

    def _compare(self, life: Life, planned: Plan) -> None:
        """What was planned is what is done, where nothing has to be looked at before."""
        state, name = life.conductor.scheduler.state, planned.spec.name
        reservation = state.reservations.get(name)
        resident = state.ledger.resident(name)
        if reservation is None or resident is None:
            return
        if resident.state is ResidentState.RESERVED and resident.state_since_s == (
            life.conductor.clock()
        ):
            victims = {victim.instance for victim in planned.evict}
            if victims != set(reservation.victims) or resident.placement != planned.placement:
                text = f"planned {planned}, and reserved {resident.placement} for {reservation}"
                life.watch.found("plan", text)


async def _wait(answer: "asyncio.Future[Grant]") -> Grant:
    return await answer


async def _answer(life: Life, wish: Requested) -> Grant:
    """A caller who goes away withdraws."""
    try:
        return await life.conductor.wish(wish)
    except asyncio.CancelledError:
        life.conductor.withdraw(wish.ticket)
        raise


async def _unload(
    life: Life, rng: random.Random, model: ModelName, *, force: bool = False, **whose: object
) -> None:
    conductor = life.conductor
    wanted = UnloadRequested(
        ticket=conductor.next_ticket(),
        model=model,
        force=force,
        deadline_s=conductor.clock() + rng.choice([0.0, 5.0, 30.0]),
        **whose,  # type: ignore[arg-type]
    )

    async def unload() -> None:
        try:
            await conductor.unload(wanted)
        except asyncio.CancelledError:
            conductor.withdraw(wanted.ticket)
            raise

    leaves = life.world.fires(Fault.CALLER_LEAVES)
    with suppress(TimeoutError):
        async with asyncio.timeout(rng.uniform(0, 5) if leaves else 4000):
            await life.within(unload())


KINDS: dict[str, tuple[type[Person], int, tuple[float, float]]] = {
    "caller": (Caller, 8, (0.0, 40.0)),
    "loader": (Loader, 3, (0.0, 60.0)),
    "modest": (Modest, 1, (0.0, 40.0)),
    "owner": (Owner, 3, (0.0, 60.0)),
    "tenant": (Tenant, 2, (0.0, 120.0)),
    "passer": (Passer, 2, (0.0, 20.0)),
    "client": (Client, 4, (0.0, 10.0)),
    "operator": (Operator, 1, (0.0, 60.0)),
    "editor": (Editor, 1, (10.0, 150.0)),
    "planner": (Planner, 1, (0.0, 60.0)),
}
