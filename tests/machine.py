"""A conductor on a fake machine in virtual time: for tests of everything that acts."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from orchestrator.catalogue.learned import Experience
from orchestrator.conductor.conductor import Conductor
from orchestrator.conductor.history import History
from orchestrator.core.life.scheduler import Scheduler
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.values.residents import Endpoint, InstanceId
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import FakeBehaviour, ModelSpec, ServiceName
from orchestrator.core.values.vram import DeviceId, GiB
from orchestrator.gateway.routes import RouteTable
from orchestrator.ports import Clock, Drivers, Handle, Running
from orchestrator.records import Registry
from orchestrator.runtimes.fake.engine import FakeWorldEngine
from orchestrator.runtimes.fake.runtime import HANDLE_VERSION, SCHEME, FakeWorld
from orchestrator.runtimes.fake.script import Fate
from tests.factories import spec
from tests.standins.memory import MemoryRegistry

SERVICE = ServiceName("rehearsal")
TICK_S = 1.0


def world(*, gib: float = 24, fate: Fate | None = None, **changes: object) -> FakeWorld:
    """One card whose bytes come back at once, where nothing goes wrong unless it is told to."""
    said = {"release_lag_s": (0.0, 0.0), "strict": True, **changes}
    devices = {DeviceId("g0"): int(gib * GiB)}
    return FakeWorld(devices, random.Random(0), fate=fate, **said)  # type: ignore[arg-type]


def model(name: str, *, gib: float = 8, behaviour: FakeBehaviour | None = None) -> ModelSpec:
    """One that loads for two seconds, unless it behaves otherwise."""
    return replace(spec(name, gib=gib), fake=behaviour or FakeBehaviour(load_s=2.0))


def running(instance: str) -> Running:
    """What the fake runtime says of a thing of that name."""
    handle = Handle(runtime="fake", version=HANDLE_VERSION, fields={"instance": instance})
    return Running(handle=handle, endpoint=Endpoint(f"{SCHEME}{InstanceId(instance)}"))


def drivers(
    there: FakeWorld, engine: FakeWorldEngine | None = None, **changes: Any
) -> dict[ServiceName, Drivers]:
    chosen = engine or FakeWorldEngine(there)
    return {SERVICE: Drivers(engine=chosen, runtime=there.runtime, **changes)}


@asynccontextmanager
async def conducting(
    there: FakeWorld,
    *specs: ModelSpec,
    registry: Registry | None = None,
    by: Mapping[ServiceName, Drivers] | None = None,
    rules: Rules | None = None,
    experience: Experience | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Conductor]:
    """The shell with its sensors and its ticks, but no recovery and no sockets."""
    routes = RouteTable()
    async with asyncio.TaskGroup() as tasks:
        conductor = Conductor(
            scheduler=Scheduler({each.name: each for each in specs}, Ledger(), rules or Rules()),
            devices=there,
            drivers=drivers(there) if by is None else by,
            registry=registry or MemoryRegistry(),
            history=History(epoch="test"),
            clock=clock or asyncio.get_running_loop().time,
            tasks=tasks,
            experience=experience or Experience(),
            routes=routes,
        )
        routes.connect(tell=conductor.tell, specs=lambda: conductor.scheduler.state.catalogue)
        await conductor.sensors.sample()
        background = [
            tasks.create_task(conductor.sensors.keep_up()),
            tasks.create_task(every(TICK_S, conductor.sensors.tick)),
        ]
        try:
            yield conductor
        finally:
            for task in background:
                task.cancel()
            conductor.close()
            routes.close()


async def every(seconds: float, act: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await act()


async def until(condition: Callable[[], bool], timeout_s: float = 600.0) -> None:
    """Virtual seconds cost nothing; a condition that never holds is a TimeoutError all the same."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.01)
