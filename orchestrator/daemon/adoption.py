"""Taking over what runs (R11): at the start what the registry knows, later what others start."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from orchestrator.conductor.conductor import Conductor
from orchestrator.conductor.strange import Strange
from orchestrator.core.life.reconcile import Sight, Verdict, come_back, reconcile
from orchestrator.core.room.placement import placements, usable_devices
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.messages import Recovered
from orchestrator.core.values.residents import (
    InstanceId,
    Placement,
    ReadyState,
    Resident,
    ResidentState,
)
from orchestrator.core.values.specs import ModelSpec, ModelSpecs, ServiceName
from orchestrator.errors import Failed
from orchestrator.ports import Drivers, Engine, Found, Running, Runtime
from orchestrator.records import Memory, ResidentRecord

log = logging.getLogger("orchestrator")


async def recover(conductor: Conductor, memory: Memory, catalogue: ModelSpecs) -> None:
    """Adopt what is healthy, go on with what was begun, remove what is ours and broken."""
    now_s = conductor.clock()
    known = [record for record in memory.residents if _has_drivers(record, conductor.drivers)]
    runtimes = list(dict.fromkeys(drivers.runtime for drivers in conductor.drivers.values()))
    services = {record.resident.instance: record.resident.spec.service for record in known}

    def drivers_of(life: Found) -> Drivers | None:
        """Of the service that the life was written down with, else of its model's."""
        spec = catalogue.get(life.model)
        service = services.get(life.instance, spec.service if spec else None)
        return conductor.drivers.get(service) if service is not None else None

    discovered, silent = await _discover(runtimes, drivers_of, conductor.strange)
    remembered, unseen = await _still_there(known, discovered, conductor.drivers, conductor.strange)
    found = list((discovered | remembered).values())
    engines = {
        life.instance: drivers.engine for life in found if (drivers := drivers_of(life)) is not None
    }
    sights = await _look(found, engines, silent, conductor.strange)
    adoptable = {
        life.instance: _draw_up(life.instance, catalogue[life.model], conductor, now_s)
        for life in found
        if life.model in catalogue and catalogue[life.model].service in conductor.drivers
    }
    verdict = reconcile(
        [record.resident for record in known],
        sights,
        {instance: drawn for instance, drawn in adoptable.items() if drawn is not None},
        now_s,
    )
    running = {life.instance: life.running for life in found}
    for resident in verdict.residents:
        if resident.instance in running:
            conductor.lives.know(resident, running[resident.instance])
    conductor.tell(Recovered(verdict.residents, memory.leases, unseen=unseen, pins=memory.pins))
    for resident in verdict.residents:
        conductor.lives.resume(resident)
    _say_unknown(conductor, [life for life in found if life.instance not in services], verdict)
    unknown = [r.resident.instance for r in memory.residents if r not in known]
    for instance in (*verdict.forget, *unknown):
        await conductor.registry.residents.drop(instance)
    await _remove([running[instance] for instance in verdict.remove], runtimes, conductor.strange)


def _say_unknown(conductor: Conductor, lives: Iterable[Found], verdict: Verdict) -> None:
    """Servers that carry our mark and are not in the registry: it was lost, or lacks a row."""
    residents = {resident.name: resident for resident in verdict.residents}
    for life in lives:
        present = residents.get(life.model)
        if present is not None and present.instance == life.instance:
            became, why = "taken over", ""
        elif present is not None:
            became, why = "removed", "another server of this model runs"
        else:
            became, why = "removed", "nothing in the catalogue wants it as it is"
        conductor.say(
            Decide(
                kind=DecisionKind.ADOPT,
                model=life.model,
                text=f"{life.model} runs as {life.instance}, of which the registry knows nothing: "
                f"it is {became}.",
                why=why,
                remedy="If the registry was lost, pins and leases have to be set again.",
            )
        )


async def adopt(conductor: Conductor, catalogue: ModelSpecs) -> None:
    """Take over named containers that were started from outside, once they answer.

    One that fails is left alone: its owner looks after it.
    """
    shared = [
        spec
        for spec in catalogue.values()
        if spec.service in conductor.drivers
        and conductor.drivers[spec.service].shared
        and spec.failed is None
    ]
    adopted = await asyncio.gather(*(_adopt_soon(conductor, spec) for spec in shared))
    if any(adopted):
        await conductor.sensors.sample()  # again: now these bytes belong to a resident


async def take_back(conductor: Conductor, catalogue: ModelSpecs, runtime: Runtime) -> None:
    """A container of ours that had ended, and was started again from outside, is a resident again.

    Of two copies of one model the one that the scheduler knows stays. A container whose model is
    not in the configuration is removed. A runtime that does not answer is asked again soon.
    """
    known = {
        resident.instance
        for resident in conductor.scheduler.state.ledger.residents
        if resident.state is not ResidentState.RELEASING
    }
    with suppress(Failed):
        for found in await runtime.returned(known):
            spec = catalogue.get(found.model)
            drivers = conductor.drivers.get(spec.service) if spec is not None else None
            if spec is None:
                await _remove([found.running], [runtime], conductor.strange)
            elif drivers is not None and drivers.runtime is runtime:
                await _take_back(conductor, found, spec, drivers)


async def _take_back(conductor: Conductor, found: Found, spec: ModelSpec, drivers: Drivers) -> None:
    state = conductor.scheduler.state
    now_s = conductor.clock()
    life = conductor.lives.life(found.instance) or _draw_up(found.instance, spec, conductor, now_s)
    engines = {found.instance: drivers.engine}
    (sight,) = await _look([found], engines, frozenset(), conductor.strange)
    present = state.ledger.resident(found.model)
    resident = life and come_back(life, sight, present, now_s)
    if resident is not None:
        conductor.lives.know(resident, found.running)
        conductor.tell(Recovered((resident,), why="somebody started it again"))
        conductor.lives.resume(resident)
    elif present is None or present.instance != found.instance:
        await _remove([found.running], [drivers.runtime], conductor.strange)


async def _adopt_soon(conductor: Conductor, spec: ModelSpec) -> bool:
    """Whether it was adopted; one that cannot be looked at now is tried again after ADOPT_S."""
    with conductor.strange.noted(f"adopting {spec.name}"), suppress(Failed):
        return await _adopt(conductor, spec)
    return False


async def _adopt(conductor: Conductor, spec: ModelSpec) -> bool:
    scheduler, drivers = conductor.scheduler, conductor.drivers[spec.service]
    if scheduler.state.ledger.resident(spec.name) is not None:
        return False
    now_s = conductor.clock()
    instance = scheduler.new_instance(spec.name, now_s)
    drawn = _draw_up(instance, spec, conductor, now_s)
    if drawn is None:
        return False
    running = await drivers.runtime.already(drivers.engine.launch(instance, spec, drawn.placement))
    if running is None:
        return False
    readiness = await drivers.engine.readiness(running.endpoint)
    if readiness.state is not ReadyState.READY:
        return False
    if scheduler.state.ledger.resident(spec.name) is not None:
        return False  # a load has found it meanwhile
    resident = replace(
        drawn,
        endpoint=running.endpoint,
        slots=readiness.slots,
        ready_s=now_s,
        unpromised=True,
    )
    conductor.lives.know(resident, running)
    conductor.tell(Recovered((resident,), why="somebody else started it"))
    conductor.lives.resume(resident)
    return True


def _has_drivers(record: ResidentRecord, drivers: Mapping[ServiceName, Drivers]) -> bool:
    spec = record.resident.spec
    return spec.plain_room or spec.service in drivers


async def _discover(
    runtimes: Iterable[Runtime], drivers_of: Callable[[Found], Drivers | None], strange: Strange
) -> tuple[dict[InstanceId, Found], frozenset[str]]:
    """What runs; and the names of runtimes that do not answer.

    Two services on one container engine see each other's containers, but only the runtime of the
    service that made a container knows where it answers.
    """
    found: dict[InstanceId, Found] = {}
    silent = set()
    for runtime in runtimes:
        lives: Sequence[Found] | None = None
        with strange.noted(f"finding what runs on {runtime.name}"):
            try:
                lives = await runtime.discover()
            except Failed as error:
                log.warning("runtime %s does not answer: %s", runtime.name, error)
        if lives is None:
            silent.add(runtime.name)
            continue
        for life in lives:
            drivers = drivers_of(life)
            is_its_own = drivers is not None and drivers.runtime is runtime
            if is_its_own or life.instance not in found:
                found[life.instance] = life
    return found, frozenset(silent)


async def _still_there(
    known: Sequence[ResidentRecord],
    discovered: Mapping[InstanceId, Found],
    drivers: Mapping[ServiceName, Drivers],
    strange: Strange,
) -> tuple[dict[InstanceId, Found], frozenset[InstanceId]]:
    """What is found again only by its handle: what we did not make carries no mark of ours.

    Where the runtime does not answer now, it is believed to run; those instances are also returned
    as the second part.
    """
    found, unseen = {}, set()
    for record in known:
        resident, running = record.resident, record.running
        if running is None or resident.instance in discovered:
            continue
        service = resident.spec.service
        alive: bool | None = None
        with strange.noted(f"asking {service} whether a server runs"), suppress(Failed):
            alive = await drivers[service].runtime.alive(running.handle)
        if alive is None:
            unseen.add(resident.instance)
        if alive is not False:
            found[resident.instance] = Found(
                instance=resident.instance, model=resident.name, running=running
            )
    return found, frozenset(unseen)


async def _look(
    found: Sequence[Found],
    engines: Mapping[InstanceId, Engine],
    silent: frozenset[str],
    strange: Strange,
) -> list[Sight]:
    async def sight(life: Found) -> Sight:
        endpoint = life.running.endpoint
        engine = engines.get(life.instance)
        if engine is None:
            health = ReadyState.BROKEN  # ours, and nothing in the configuration wants it
        elif life.running.handle.runtime in silent:
            health = ReadyState.READY  # as it was when the runtime last answered
        else:
            health = ReadyState.READY  # as it was, should the look break off
            with strange.noted("asking a server whether it is ready"):
                health = (await engine.readiness(endpoint)).state
        return Sight(instance=life.instance, model=life.model, endpoint=endpoint, health=health)

    return await asyncio.gather(*map(sight, found))


def _draw_up(
    instance: InstanceId, spec: ModelSpec, conductor: Conductor, now_s: float
) -> Resident | None:
    """A resident for a life that runs and is not in the registry."""
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


async def _remove(lives: Sequence[Running], runtimes: Sequence[Runtime], strange: Strange) -> None:
    by_name = {runtime.name: runtime for runtime in runtimes}
    for life in lives:
        with (
            strange.noted("removing what is not wanted"),
            suppress(Failed),
        ):  # it carries our mark: the next start tries again
            await by_name[life.handle.runtime].stop(life.handle, grace_s=1.0)
