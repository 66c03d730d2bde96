"""Where a model would go, and who must leave for it. Pure: same ledger, same plan.

`find` is the question the scheduler asks again and again; `plan` asks it once and, where the
answer is no, says why in words.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from orchestrator.core.room.eviction import (
    YIELDS,
    Yielding,
    say,
)
from orchestrator.core.room.explanation import explain
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.room.networks import OF_ITS_OWN, holders, lack
from orchestrator.core.room.placement import (
    bytes_on,
    placements,
    usable_devices,
)
from orchestrator.core.room.question import Question
from orchestrator.core.room.quota import held_bytes
from orchestrator.core.room.victims import Candidate, least_regretted_set
from orchestrator.core.values.refusals import Refusal
from orchestrator.core.values.residents import LEAVING, Placement, Resident
from orchestrator.core.values.specs import Fallback, ModelName, ModelSpec
from orchestrator.core.values.vram import DeviceId

# Of many devices on which a resident would have to leave, those that lack least are looked at.
EVICTING_PLACEMENTS_MAX = 16


@dataclass(frozen=True, slots=True)
class Plan:
    spec: ModelSpec
    placement: Placement
    evict: tuple[Resident, ...] = ()
    drains: bool = False  # one of them is in use and is let finish first
    reasons: Mapping[ModelName, str] = field(default_factory=dict)  # why each of them leaves


class Fits(StrEnum):
    NOW = "now"
    AFTER_EVICTIONS = "after_evictions"  # others have to leave first
    NEVER = "never"  # not even on empty devices


def fits(spec: ModelSpec, ledger: Ledger) -> Fits | None:
    """Whether there is room for it, whoever asks: by sizes alone. None: nobody can say."""
    there = ledger.resident(spec.name)
    if there is not None and there.state not in LEAVING:
        return Fits.NOW
    devices = usable_devices(spec, ledger)
    if spec.footprint.unknown or not devices:
        return None
    possible = list(placements(spec, ledger, devices))
    if not possible:
        return Fits.NEVER if all(map(ledger.readable, devices)) else None
    roomy = any(not _shortage(placement, ledger) for placement in possible)
    return Fits.NOW if roomy else Fits.AFTER_EVICTIONS


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
    possible = [
        placement
        for placement in placements(question.spec, ledger, devices)
        if question.quota is None or held_bytes(placement, ledger) <= question.quota.left_bytes
    ]
    missing = lack(question.spec, ledger, question.networks)
    network = {OF_ITS_OWN: missing} if missing else {}
    shortages = [_shortage(placement, ledger) | network for placement in possible]
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
    return {device: short for device, short in missing.items() if short > 0}


def _room_left(placement: Placement, ledger: Ledger) -> tuple[object, ...]:
    left = sum(ledger.free_bytes(device) - share for device, share in placement.shares)
    return (len(placement.shares), -left, placement.devices)


def _choose_victims(
    question: Question, ledger: Ledger, shortage: Mapping[DeviceId, int]
) -> tuple[Candidate, ...] | None:
    """Idle residents if they suffice; with those in use, to be drained, only if they do not."""
    devices = [device for device in shortage if device != OF_ITS_OWN]
    if any(ledger.yieldable_bytes(device) < shortage[device] for device in devices):
        return None
    alike = holders(question.spec, ledger, question.networks) if OF_ITS_OWN in shortage else ()
    there = [*alike, *(resident for device in devices for resident in ledger.on(device))]
    now: list[Candidate] = []
    after_drain: list[Candidate] = []
    for resident in {each.name: each for each in there}.values():
        if resident.name == question.spec.name:
            continue
        gives_way = YIELDS[question.stance(resident)]
        if gives_way in (Yielding.NO, Yielding.NEVER):
            continue
        frees = {device: ledger.occupied_bytes(resident, device) for device in devices}
        frees[OF_ITS_OWN] = int(resident in alike)
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
        victim.name: say(question.stance(victim), victim, question.now_s) for victim in evict
    }
    return key, Plan(question.spec, placement, evict, drains, reasons)
