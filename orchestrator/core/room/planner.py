"""Where a model would go, and who must leave for it. Pure: same ledger, same plan.

`find` is the question the scheduler asks again and again; `plan` asks it once and, where the
answer is no, says why in words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from orchestrator.core.room.eviction import (
    YIELDS,
    Policy,
    Stance,
    Urgency,
    Yielding,
    least_regretted,
    say,
    stance,
)
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.room.placement import (
    bytes_on,
    host_beside,
    least_bytes,
    placements,
    usable_devices,
)
from orchestrator.core.room.victims import Candidate, least_regretted_set
from orchestrator.core.values.refusals import Blocker, Refusal, RefusalCode
from orchestrator.core.values.residents import Placement, Resident
from orchestrator.core.values.rules import Rules
from orchestrator.core.values.specs import Fallback, ModelName, ModelSpec, ServiceName
from orchestrator.core.values.vram import DeviceId, DeviceKind, to_mb

# Of many devices on which a resident would have to leave, those that lack least are looked at.
EVICTING_PLACEMENTS_MAX = 16
BLOCKERS_NAMED_MAX = 16  # an answer is read by people
UNREADABLE_RETRY_S = 5.0  # the driver is asked again about as often


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A wish, and everything about the moment that is not in the ledger."""

    spec: ModelSpec
    urgency: Urgency
    rules: Rules
    now_s: float
    pinned: frozenset[ModelName] = frozenset()
    silent: frozenset[ServiceName] = frozenset()  # whose runtime does not answer: cannot be stopped
    policy: Policy = least_regretted
    evicts: bool = True  # False: only into room that is free anyway


@dataclass(frozen=True, slots=True)
class Plan:
    spec: ModelSpec
    placement: Placement
    evict: tuple[Resident, ...] = ()
    drains: bool = False  # one of them is in use and is let finish first
    reasons: Mapping[ModelName, str] = field(default_factory=dict)  # why each of them leaves


def plan(question: Question, ledger: Ledger) -> Plan | Refusal:
    """The plan that is regretted least, or the refusal that says what stands in the way."""
    return find(question, ledger) or explain(question, ledger)


def possible(question: Question, ledger: Ledger) -> Question:
    """The same; under lesser settings, where they are allowed and it will never be otherwise."""
    found = plan(question, ledger)
    if isinstance(found, Refusal) and found.lasting:
        fallback = fitting(question, ledger)
        if fallback is not None:
            return replace(question, spec=question.spec.degraded(fallback))
    return question


def fitting(question: Question, ledger: Ledger) -> Fallback | None:
    """The first lesser settings under which there is room, or will be."""
    for fallback in question.spec.fallbacks:
        found = plan(replace(question, spec=question.spec.degraded(fallback)), ledger)
        if isinstance(found, Plan) or not found.lasting:
            return fallback
    return None


def find(question: Question, ledger: Ledger) -> Plan | None:
    """The least regretted plan. Ties go to the placement that keeps most room."""
    devices = usable_devices(question.spec, ledger)
    possible = list(placements(question.spec, ledger, devices))
    shortages = [_shortage(placement, ledger) for placement in possible]
    roomy = [placement for placement, short in zip(possible, shortages, strict=True) if not short]
    if roomy:
        return Plan(question.spec, min(roomy, key=lambda placement: _room_left(placement, ledger)))
    if not question.evicts:
        return None
    by_shortage = sorted(
        zip(possible, shortages, strict=True),
        key=lambda pair: (sum(pair[1].values()), pair[0].devices),
    )
    plans = []
    for placement, shortage in by_shortage[:EVICTING_PLACEMENTS_MAX]:
        chosen = _choose_victims(question, ledger, shortage)
        if chosen is not None:
            plans.append(_as_plan(question, ledger, placement, chosen))
    return min(plans, key=lambda keyed: keyed[0])[1] if plans else None


def explain(question: Question, ledger: Ledger) -> Refusal:
    """Why there is no plan, with the numbers."""
    spec = question.spec
    devices = usable_devices(spec, ledger)
    readable = [device for device in devices if ledger.readable(device)]
    needed = least_bytes(spec, ledger, devices)
    if not any(True for _ in placements(spec, ledger, devices)):
        return _never(spec, ledger, devices, readable)
    roomiest = sorted((ledger.available_bytes(d) for d in readable), reverse=True)
    available = sum(roomiest[: spec.span])
    looked_at, of_what = readable, ""
    host = _host_of_gpus(ledger, devices)
    host_room = None if host is None else ledger.available_bytes(host)
    beside = spec.footprint.host_bytes
    short = host if available >= needed and host_room is not None and host_room < beside else None
    if short is not None and host_room is not None:
        needed, available, looked_at = beside, host_room, [short]
        of_what = f" of {short}'s RAM beside its GPU"
    blockers = [blocker for device in looked_at for blocker in _blockers(question, ledger, device)]
    foreign = sum(ledger.foreign_bytes(device) for device in looked_at)
    named = ", ".join(
        f"{blocker.model or 'other processes'} ({blocker.why})" for blocker in blockers[:3]
    )
    return Refusal(
        code=RefusalCode.NO_ROOM,
        detail=f"{spec.name} needs {to_mb(needed)} MB{of_what} and {to_mb(available)} MB can be "
        f"used now; in the way: {named or 'bytes on their way back from the driver'}.",
        remedy=_remedy(blockers),
        needed_bytes=needed,
        available_bytes=available,
        foreign_bytes=foreign,
        room_bytes=roomiest[0],
        host_room_bytes=host_room,
        short_beside=short,
        blockers=tuple(blockers[:BLOCKERS_NAMED_MAX]),
        retry_after_s=question.rules.min_residency_s or 1.0,
        lasting=_barred_for_good(question, ledger, devices),
    )


def out_of_reach(question: Question, ledger: Ledger) -> bool:
    """A quick no: on no device could enough residents possibly give way.

    Never says no where `find` would find a plan; costs a look at each device, not at residents.
    """
    spec = question.spec
    if spec.span > 1 or question.urgency.due:
        return False
    for device in usable_devices(spec, ledger):
        movable = ledger.yieldable_bytes(device, below_priority=question.urgency.priority)
        if bytes_on(spec, ledger, device) <= ledger.free_bytes(device) + movable:
            return False
    return True


def _shortage(placement: Placement, ledger: Ledger) -> dict[DeviceId, int]:
    missing = {device: share - ledger.free_bytes(device) for device, share in placement.shares}
    return {device: lack for device, lack in missing.items() if lack > 0}


def _room_left(placement: Placement, ledger: Ledger) -> tuple[object, ...]:
    left = sum(ledger.free_bytes(device) - share for device, share in placement.shares)
    return (len(placement.shares), -left, placement.devices)


def _choose_victims(
    question: Question, ledger: Ledger, shortage: Mapping[DeviceId, int]
) -> tuple[Candidate, ...] | None:
    """Idle residents if they suffice; with those in use, to be drained, only if they do not."""
    if any(ledger.yieldable_bytes(device) < lack for device, lack in shortage.items()):
        return None
    now: list[Candidate] = []
    after_drain: list[Candidate] = []
    for resident in {r.name: r for device in shortage for r in ledger.on(device)}.values():
        if resident.name == question.spec.name:
            continue
        gives_way = YIELDS[_stance(question, resident)]
        if gives_way in (Yielding.NO, Yielding.NEVER):
            continue
        frees = {device: ledger.occupied_bytes(resident, device) for device in shortage}
        candidate = Candidate(resident, question.policy(resident, question.now_s), frees)
        (now if gives_way is Yielding.NOW else after_drain).append(candidate)
    chosen = least_regretted_set(now, shortage)
    if chosen is None and after_drain:
        chosen = least_regretted_set(now + after_drain, shortage)
    return chosen


def _as_plan(
    question: Question, ledger: Ledger, placement: Placement, chosen: tuple[Candidate, ...]
) -> tuple[tuple[object, ...], Plan]:
    drains = any(candidate.resident.in_use for candidate in chosen)
    key = (
        2 if drains else 1,
        max(candidate.resident.priority for candidate in chosen),
        sum(candidate.regret for candidate in chosen),
        *_room_left(placement, ledger),
    )
    evict = tuple(
        sorted((candidate.resident for candidate in chosen), key=lambda victim: victim.name)
    )
    reasons = {
        victim.name: say(_stance(question, victim), victim, question.now_s) for victim in evict
    }
    return key, Plan(question.spec, placement, evict, drains, reasons)


def _stance(question: Question, resident: Resident) -> Stance:
    return stance(
        resident,
        question.urgency,
        question.rules,
        question.now_s,
        pinned=resident.name in question.pinned,
        silent=resident.spec.service in question.silent,
    )


def _never(
    spec: ModelSpec, ledger: Ledger, devices: list[DeviceId], readable: list[DeviceId]
) -> Refusal:
    needed = least_bytes(spec, ledger, devices)
    if devices and len(readable) < len(devices):
        problems = [
            f"{device}: {ledger.reading(device).problem or 'cannot be read'}"
            for device in devices
            if device not in readable
        ]
        return Refusal(
            code=RefusalCode.DEVICE_UNREADABLE,
            detail=f"{spec.name} cannot be placed: nobody can say what is free. "
            + "; ".join(problems[:4]),
            remedy="Nothing is planned on a device that cannot be read; retry when it answers.",
            needed_bytes=needed,
            retry_after_s=UNREADABLE_RETRY_S,
        )
    host = _host_of_gpus(ledger, devices)
    host_room = None if host is None else ledger.limit_bytes(host)
    if host is not None and _only_host_lacks(spec, ledger, readable, host):
        return _never_beside(spec, ledger, readable, host)
    largest = max((ledger.limit_bytes(device) for device in readable), default=0)
    where = "on an empty device" if readable else "because no device answers to its `devices`"
    return Refusal(
        code=RefusalCode.DOES_NOT_FIT,
        detail=f"{spec.name} needs {to_mb(needed)} MB; the most that can be had {where} is "
        f"{to_mb(largest)} MB. Nothing was evicted.",
        remedy="Retrying will not help: choose a smaller quantization, context or cache type, "
        "or let it span several devices.",
        needed_bytes=needed,
        available_bytes=sum(ledger.available_bytes(device) for device in readable),
        foreign_bytes=sum(ledger.foreign_bytes(device) for device in readable),
        room_bytes=largest,
        host_room_bytes=host_room,
    )


def _host_of_gpus(ledger: Ledger, devices: list[DeviceId]) -> DeviceId | None:
    """The host whose RAM holds what the GPUs do not, if its bytes are accounted for."""
    if not any(ledger.reading(device).device.kind is DeviceKind.GPU for device in devices):
        return None
    host = host_beside(ledger)
    return None if host in devices else host


def _only_host_lacks(
    spec: ModelSpec, ledger: Ledger, readable: list[DeviceId], host: DeviceId
) -> bool:
    if spec.footprint.host_bytes <= ledger.limit_bytes(host):
        return False
    without = replace(spec, footprint=replace(spec.footprint, host_bytes=0))
    gpus = [device for device in readable if ledger.reading(device).device.kind is DeviceKind.GPU]
    return any(True for _ in placements(without, ledger, gpus))


def _never_beside(
    spec: ModelSpec, ledger: Ledger, readable: list[DeviceId], host: DeviceId
) -> Refusal:
    needed, limit = spec.footprint.host_bytes, ledger.limit_bytes(host)
    return Refusal(
        code=RefusalCode.DOES_NOT_FIT,
        detail=f"{spec.name} needs {to_mb(needed)} MB of {host}'s RAM beside its GPU; the most "
        f"that can be had there is {to_mb(limit)} MB. Nothing was evicted.",
        remedy="Retrying will not help: leave more layers to the GPU, or choose a smaller "
        "quantization.",
        needed_bytes=needed,
        available_bytes=ledger.available_bytes(host),
        foreign_bytes=ledger.foreign_bytes(host),
        room_bytes=max(ledger.limit_bytes(device) for device in readable),
        host_room_bytes=limit,
        short_beside=host,
    )


def _barred_for_good(question: Question, ledger: Ledger, devices: list[DeviceId]) -> bool:
    """Whether what never gives way leaves no room, even if all other residents were gone."""
    for placement in placements(question.spec, ledger, devices):
        for device, share in placement.shares:
            fixed = sum(
                ledger.occupied_bytes(resident, device)
                for resident in ledger.on(device)
                if YIELDS[_stance(question, resident)] is Yielding.NEVER
            )
            if share > ledger.limit_bytes(device) - fixed:
                break
        else:
            return False
    return True


def _blockers(question: Question, ledger: Ledger, device: DeviceId) -> list[Blocker]:
    found = []
    for resident in ledger.on(device):
        taken = _stance(question, resident)
        if YIELDS[taken] in (Yielding.NO, Yielding.NEVER):
            found.append(
                Blocker(
                    device=device,
                    held_bytes=ledger.occupied_bytes(resident, device),
                    why=say(taken, resident, question.now_s),
                    model=resident.name,
                    lasting=YIELDS[taken] is Yielding.NEVER,
                )
            )
    if (foreign := ledger.foreign_bytes(device)) and ledger.foreign_matters(device):
        found.append(
            Blocker(device=device, held_bytes=foreign, why=f"they hold {to_mb(foreign)} MB")
        )
    return sorted(found, key=lambda blocker: -blocker.held_bytes)


def _remedy(blockers: list[Blocker]) -> str:
    if any(blocker.lasting for blocker in blockers):
        return "Unpin or unload (`force`) what is pinned, or wait for the others to finish."
    if any(blocker.model is None for blocker in blockers):
        return "Wait, or end the other processes that hold VRAM on the device."
    return "Wait: a model in use is drained when its time has come. A higher priority waits less."
