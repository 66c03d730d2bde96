"""Taking over what goes on (R11): at start what was believed in, later what others start."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from orchestrator.conductor.conductor import Conductor
from orchestrator.core.life.reconcile import Health, Sight, come_back, reconcile
from orchestrator.core.room.placement import placements, usable_devices
from orchestrator.core.values.messages import Recovered
from orchestrator.core.values.residents import InstanceId, Placement, Resident, ResidentState
from orchestrator.core.values.specs import ModelSpec, ModelSpecs, ServiceName
from orchestrator.errors import StopFailed, Unreachable
from orchestrator.ports import (
    Drivers,
    Engine,
    Found,
    Memory,
    ReadyState,
    ResidentRecord,
    Running,
    Runtime,
)

log = logging.getLogger("orchestrator")

_HEALTH = {
    ReadyState.READY: Health.READY,
    ReadyState.STARTING: Health.STARTING,
    ReadyState.BROKEN: Health.BROKEN,
}


async def recover(conductor: Conductor, memory: Memory, catalogue: ModelSpecs) -> None:
    """Adopt what is healthy, go on with what was begun, remove what is ours and broken."""
    now_s = conductor.clock()
    known = [record for record in memory.residents if _has_drivers(record, conductor.drivers)]
    runtimes = list(dict.fromkeys(each.runtime for each in conductor.drivers.values()))
    services = {record.resident.instance: record.resident.spec.service for record in known}

    def belongs_to(each: Found, runtime: Runtime) -> bool:
        """Whether this runtime's word about it counts: its service is run by it."""
        spec = catalogue.get(each.model)
        service = services.get(each.instance, spec.service if spec else None)
        drivers = conductor.drivers.get(service) if service is not None else None
        return drivers is not None and drivers.runtime is runtime

    discovered, silent = await _discover(runtimes, belongs_to)
    remembered, unseen = await _still_there(known, discovered, conductor.drivers)
    found = list((discovered | remembered).values())
    engines = _engines(found, known, catalogue, conductor.drivers)
    sights = await _look(found, engines, silent)
    adoptable = {
        each.instance: _draw_up(each.instance, catalogue[each.model], conductor, now_s)
        for each in found
        if each.model in catalogue and catalogue[each.model].service in conductor.drivers
    }
    verdict = reconcile(
        [record.resident for record in known],
        sights,
        {instance: drawn for instance, drawn in adoptable.items() if drawn is not None},
        now_s,
    )
    running = {each.instance: each.running for each in found}
    for resident in verdict.residents:
        if resident.instance in running:
            conductor.know(resident, running[resident.instance])
    conductor.tell(Recovered(verdict.residents, memory.leases, unseen=unseen, pins=memory.pins))
    for resident in verdict.residents:
        conductor.resume(resident)
    unknown = [r.resident.instance for r in memory.residents if r not in known]
    for instance in (*verdict.forget, *unknown):
        await conductor.registry.residents.drop(instance)
    await _remove([running[each] for each in verdict.remove], runtimes)


async def adopt(conductor: Conductor, catalogue: ModelSpecs) -> None:
    """Take over what somebody else has started and a model of ours stands for.

    Only what answers: a container of other people's that fails is theirs to look after.
    """
    shared = [
        spec
        for spec in catalogue.values()
        if spec.service in conductor.drivers and conductor.drivers[spec.service].shared
    ]
    adopted = await asyncio.gather(*(_adopt(conductor, spec) for spec in shared))
    if any(adopted):
        await conductor.sensors.sample()  # now we know whose bytes those are


async def take_back(conductor: Conductor, catalogue: ModelSpecs, runtime: Runtime) -> None:
    """What is ours, had ended, and was started again by somebody goes on as a resident.

    Of two copies of one model the one that the scheduler knows stays. What nothing in the
    configuration wants is removed. A runtime that does not answer is asked again soon.
    """
    residents = conductor.scheduler.state.ledger.residents
    known = {each.instance for each in residents if each.state is not ResidentState.RELEASING}
    with suppress(Unreachable):
        for found in await runtime.returned(known):
            spec = catalogue.get(found.model)
            drivers = conductor.drivers.get(spec.service) if spec is not None else None
            if spec is None:
                await _remove([found.running], [runtime])
            elif drivers is not None and drivers.runtime is runtime:
                await _take_back(conductor, found, spec, drivers)


async def _take_back(conductor: Conductor, found: Found, spec: ModelSpec, drivers: Drivers) -> None:
    state = conductor.scheduler.state
    now_s = conductor.clock()
    life = conductor.life(found.instance) or _draw_up(found.instance, spec, conductor, now_s)
    (sight,) = await _look([found], {found.instance: drivers.engine}, frozenset())
    present = state.ledger.resident(found.model)
    resident = life and come_back(life, sight, present, now_s)
    if resident is not None:
        conductor.know(resident, found.running)
        conductor.tell(Recovered((resident,), why="somebody started it again"))
        conductor.resume(resident)
    elif present is None or present.instance != found.instance:
        await _remove([found.running], [drivers.runtime])


async def _adopt(conductor: Conductor, spec: ModelSpec) -> bool:
    scheduler, drivers = conductor.scheduler, conductor.drivers[spec.service]
    if scheduler.state.ledger.resident(spec.name) is not None:
        return False
    now_s = conductor.clock()
    instance = scheduler.new_instance(spec.name, now_s)
    drawn = _draw_up(instance, spec, conductor, now_s)
    if drawn is None:
        return False
    try:
        running = await drivers.runtime.already(
            drivers.engine.launch(instance, spec, drawn.placement)
        )
    except Unreachable:
        return False  # looked at again soon
    if running is None:
        return False
    readiness = await drivers.engine.readiness(running.endpoint)
    if readiness.state is not ReadyState.READY:
        return False
    if scheduler.state.ledger.resident(spec.name) is not None:
        return False  # a load has found it meanwhile
    resident = replace(drawn, endpoint=running.endpoint, ready_s=now_s)
    conductor.know(resident, running)
    conductor.tell(Recovered((resident,), why="somebody else started it"))
    conductor.resume(resident)
    return True


def _has_drivers(record: ResidentRecord, drivers: Mapping[ServiceName, Drivers]) -> bool:
    spec = record.resident.spec
    return spec.plain_room or spec.service in drivers


async def _discover(
    runtimes: Iterable[Runtime], belongs_to: Callable[[Found, Runtime], bool]
) -> tuple[dict[InstanceId, Found], frozenset[str]]:
    """What runs; and which runtimes do not answer, whose things keep their last known state.

    Two services on one container engine see each other's containers, but only the one that
    made a container knows where it answers.
    """
    found: dict[InstanceId, Found] = {}
    silent = set()
    for runtime in runtimes:
        try:
            for each in await runtime.discover():
                if each.instance not in found or belongs_to(each, runtime):
                    found[each.instance] = each
        except Unreachable as error:
            log.warning("runtime %s does not answer: %s", runtime.name, error)
            silent.add(runtime.name)
    return found, frozenset(silent)


async def _still_there(
    known: Sequence[ResidentRecord],
    discovered: Mapping[InstanceId, Found],
    drivers: Mapping[ServiceName, Drivers],
) -> tuple[dict[InstanceId, Found], frozenset[InstanceId]]:
    """Things of somebody else's making carry no mark of ours: their handles find them again.

    Whose runtime cannot tell now is believed to be there; those come a second time, by themselves.
    """
    found, unseen = {}, set()
    for record in known:
        resident, running = record.resident, record.running
        if running is None or resident.instance in discovered:
            continue
        try:
            alive = await drivers[resident.spec.service].runtime.alive(running.handle)
        except Unreachable:
            alive = True
            unseen.add(resident.instance)
        if alive:
            found[resident.instance] = Found(
                instance=resident.instance, model=resident.name, running=running
            )
    return found, frozenset(unseen)


def _engines(
    found: Sequence[Found],
    known: Sequence[ResidentRecord],
    catalogue: ModelSpecs,
    drivers: Mapping[ServiceName, Drivers],
) -> dict[InstanceId, Engine]:
    services = {record.resident.instance: record.resident.spec.service for record in known}
    engines = {}
    for each in found:
        spec = catalogue.get(each.model)
        service = services.get(each.instance) or (spec.service if spec else None)
        if service is not None and service in drivers:
            engines[each.instance] = drivers[service].engine
    return engines


async def _look(
    found: Sequence[Found], engines: Mapping[InstanceId, Engine], silent: frozenset[str]
) -> list[Sight]:
    async def health(each: Found) -> Health:
        engine = engines.get(each.instance)
        if engine is None:
            return Health.BROKEN  # ours, and nothing in the configuration wants it
        if each.running.handle.runtime in silent:
            return Health.READY
        return _HEALTH[(await engine.readiness(each.running.endpoint)).state]

    healths = await asyncio.gather(*(health(each) for each in found))
    return [
        Sight(
            instance=each.instance,
            model=each.model,
            endpoint=each.running.endpoint,
            health=seen,
        )
        for each, seen in zip(found, healths, strict=True)
    ]


def _draw_up(
    instance: InstanceId, spec: ModelSpec, conductor: Conductor, now_s: float
) -> Resident | None:
    """A resident for something that runs and was never written down, or whose row was lost."""
    ledger = conductor.scheduler.state.ledger
    shares: Placement | None = next(placements(spec, ledger, usable_devices(spec, ledger)), None)
    if shares is None:
        return None
    return Resident(
        instance=instance,
        spec=spec,
        placement=shares,
        state=ResidentState.READY,
        state_since_s=now_s,
        last_used_s=now_s,
        priority=spec.priority,
        ttl_s=spec.ttl_s,
    )


async def _remove(things: Sequence[Running], runtimes: Sequence[Runtime]) -> None:
    by_name = {runtime.name: runtime for runtime in runtimes}
    for thing in things:
        with suppress(StopFailed):  # still ours at the next start, and tried again then
            await by_name[thing.handle.runtime].stop(thing.handle, grace_s=1.0)
