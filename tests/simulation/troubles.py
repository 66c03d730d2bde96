"""Faults that come by themselves, again and again through the day, where they are on."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import DeviceId, DeviceState, GiB
from orchestrator.errors import StartFailed
from tests.simulation.catalogue import MODELS, SPARE
from tests.simulation.faults import Fault
from tests.simulation.world import DEVICES

if TYPE_CHECKING:
    from tests.simulation.day import Day

GPUS = (DeviceId("g0"), DeviceId("g1"))
LOOK_S = 0.05


async def _crash(day: "Day", rng: random.Random) -> None:
    """At any event or effect, of which some hundred come in a minute."""
    while True:
        life = await day.up()
        life.steps_left = rng.randint(1, 3000)
        await life.ended.wait()


async def _restart(day: "Day", rng: random.Random) -> None:
    while True:
        await asyncio.sleep(rng.uniform(30, 300))
        life = await day.up()
        life.stops_residents = rng.random() < 0.3
        life.told_to_end.set()
        await life.ended.wait()


async def _standstill(day: "Day", rng: random.Random) -> None:
    """Timers do not run for a while; all that was due comes afterwards."""
    while True:
        await asyncio.sleep(rng.uniform(20, 200))
        life = await day.up()
        life.still_until_s = day.world.now_s() + rng.uniform(2, 40)


async def _foreign(day: "Day", rng: random.Random) -> None:
    """A neighbour's job: grows by and by, and goes."""
    while True:
        await asyncio.sleep(rng.uniform(5, 90))
        device = rng.choice(GPUS)
        for _ in range(rng.randint(1, 4)):
            held = day.world.strangers[device].get("neighbour", 0)
            day.world.take(device, "neighbour", held + rng.randint(1, 6) * GiB // 2)
            await asyncio.sleep(rng.uniform(0, 15))
        await asyncio.sleep(rng.uniform(0, 60))
        day.world.take(device, "neighbour", 0)


async def _bytes_taken(day: "Day", rng: random.Random) -> None:
    """What a stopped model gives back is taken before the daemon can have it."""
    free = {device: day.world.free_bytes(device) for device in GPUS}
    while True:
        await asyncio.sleep(LOOK_S)
        for device in GPUS:
            now_free = day.world.free_bytes(device)
            back_bytes, free[device] = now_free - free[device], now_free
            if back_bytes > GiB and day.world.fires(Fault.BYTES_TAKEN):
                day.world.take(device, "vulture", back_bytes)
                free[device] = day.world.free_bytes(device)
                day.spawn(_give_back(day, device, rng.uniform(5, 90)))


async def _give_back(day: "Day", device: DeviceId, after_s: float) -> None:
    await asyncio.sleep(after_s)
    day.world.take(device, "vulture", 0)


async def _device_away(day: "Day", rng: random.Random) -> None:
    while True:
        await asyncio.sleep(rng.uniform(10, 150))
        device = rng.choice(sorted(DEVICES))
        state = rng.choice([DeviceState.UNREADABLE, DeviceState.LOST])
        day.world.set_fault(device, state)
        await asyncio.sleep(rng.choice([1.0, 10.0, 60.0]) * rng.random())
        day.world.set_fault(device, DeviceState.OK)


async def _runtime_silent(day: "Day", rng: random.Random) -> None:
    while True:
        await asyncio.sleep(rng.uniform(10, 120))
        services = rng.choice([day.catalogue.services, day.catalogue.services[:1]])
        for service in services:
            day.world.silent_since_s[service] = day.world.now_s()
        await asyncio.sleep(rng.choice([1.0, 10.0, 40.0]) * rng.random())
        for service in services:
            day.world.silent_since_s.pop(service, None)


async def _hangs(day: "Day", rng: random.Random) -> None:
    while True:
        await asyncio.sleep(rng.uniform(2, 30))
        if running := sorted(day.world.running):
            until_s = day.world.now_s() + rng.choice([2.0, 40.0])
            day.world.hung_until_s[rng.choice(running)] = until_s


async def _killed(day: "Day", rng: random.Random) -> None:
    while True:
        await asyncio.sleep(rng.uniform(3, 40))
        up = sorted(i for i, server in day.world.running.items() if server.up_s is not None)
        if up:
            day.world.kill(rng.choice(up))


async def _started_again(day: "Day", rng: random.Random) -> None:
    """`docker start` by hand, soon after an end or long after it."""
    world = day.world
    while True:
        await asyncio.sleep(rng.uniform(1, 60))
        ended = sorted(
            instance
            for instance, server in world._ended.items()
            if instance not in world.running and not world.runs(server.launch.model)
        )
        if ended:
            instance = rng.choice(ended[-3:])
            world.asked_for.discard(instance)
            with suppress(StartFailed):
                world.start_again(instance)
                world.stopped.discard(instance)


async def _file_missing(day: "Day", rng: random.Random) -> None:
    while True:
        await asyncio.sleep(rng.uniform(5, 60))
        model = ModelName(rng.choice(MODELS + SPARE))
        day.world.absent.add(model)
        await asyncio.sleep(rng.uniform(5, 60))
        day.world.absent.discard(model)


Trouble = Callable[["Day", random.Random], Coroutine[Any, Any, None]]
TROUBLES: dict[Fault, Trouble] = {
    Fault.CRASH: _crash,
    Fault.RESTART: _restart,
    Fault.STANDSTILL: _standstill,
    Fault.FOREIGN: _foreign,
    Fault.BYTES_TAKEN: _bytes_taken,
    Fault.DEVICE_AWAY: _device_away,
    Fault.RUNTIME_SILENT: _runtime_silent,
    Fault.HANGS: _hangs,
    Fault.KILLED: _killed,
    Fault.STARTED_AGAIN: _started_again,
    Fault.FILE_MISSING: _file_missing,
}
