"""When what stands in the way of a wish will have ended, as far as that is known (R17)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from orchestrator.core.room.eviction import Stance
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.room.networks import holders, lack
from orchestrator.core.room.placement import placements, usable_devices
from orchestrator.core.room.question import Question
from orchestrator.core.values.residents import Placement, Resident
from orchestrator.core.values.vram import DeviceId

PLACEMENTS_MAX = 16  # of many devices, so many are looked at
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Ends:
    """Instants. `earliest_s`: not before, unless a caller, an operator or a crash intervenes."""

    earliest_s: float
    known_s: float | None  # by then, if nothing new comes in between; None: nobody knows


def ends(question: Question, resident: Resident) -> Ends:
    """When the resident gives way to that wish."""
    now_s, rules = question.now_s, question.rules
    released_s = _released(question, resident)
    match question.stance(resident):
        case Stance.IN_USE | Stance.LESS_IMPORTANT | Stance.OUTWAITED | Stance.LEASED_ROOM:
            return Ends(now_s, released_s)
        case Stance.PINNED:
            return Ends(math.inf, None)
        case Stance.IDLE:
            return Ends(now_s, now_s)
        case Stance.MORE_IMPORTANT:
            protected_s = min(rules.protect_idle_s, _ttl(resident))
            used_s = now_s if resident.in_use else resident.last_used_s
            if not resident.in_use:
                return Ends(used_s + protected_s, used_s + protected_s)
            return Ends(
                used_s + protected_s, None if released_s is None else released_s + protected_s
            )
        case Stance.JUST_ARRIVED:
            settled_s = resident.settled_until_s
            if not resident.in_use:
                settled_s = min(settled_s, resident.last_used_s + _ttl(resident))
            known_s = None if released_s is None else max(released_s, settled_s)
            return Ends(settled_s, known_s)
        case Stance.STUBBORN:
            wisher = question.urgency.wisher
            let_be_s = now_s if wisher is None else resident.resists_until_s(wisher)
            return Ends(now_s, let_be_s if released_s is None else min(released_s, let_be_s))
        case Stance.UNSETTLED | Stance.UNREACHABLE:
            return Ends(now_s, None)


def _released(question: Question, resident: Resident) -> float | None:
    """When it is out of use; what a client does that did not come through us has no known end."""
    if not resident.in_use:
        return question.now_s
    return None if resident.busy else question.leases_end(resident.instance)


def _ttl(resident: Resident) -> float:
    """After so long without use it leaves by itself."""
    return math.inf if resident.ttl_s is None else resident.ttl_s


def possible_at(question: Question, ledger: Ledger) -> Ends:
    """When there could be room for that wish: at the placement where that is soonest."""
    devices = usable_devices(question.spec, ledger)
    possible = list(islice(placements(question.spec, ledger, devices), PLACEMENTS_MAX + 1))
    network = _network_free_at(question, ledger)
    found = [
        _both(network, _free_at(question, ledger, placement))
        for placement in possible[:PLACEMENTS_MAX]
    ]
    known = [at.known_s for at in found if at.known_s is not None]
    earliest_s = min((at.earliest_s for at in found), default=math.inf)
    if len(possible) > PLACEMENTS_MAX or math.isinf(earliest_s):
        earliest_s = question.now_s  # nothing is ruled out
    return Ends(earliest_s, min(known) if known else None)


def _free_at(question: Question, ledger: Ledger, placement: Placement) -> Ends:
    by_device = [
        _device_free_at(question, ledger, device, share) for device, share in placement.shares
    ]
    known = [at.known_s for at in by_device]
    return Ends(
        max(at.earliest_s for at in by_device),
        None if None in known else max(at_s for at_s in known if at_s is not None),
    )


def _network_free_at(question: Question, ledger: Ledger) -> Ends:
    """When enough servers have given up the networks that they have for themselves."""
    short = lack(question.spec, ledger, question.networks)
    if not short:
        return Ends(question.now_s, question.now_s)
    found = [ends(question, each) for each in holders(question.spec, ledger, question.networks)]
    known_s = _enough_at(((at.known_s, 1) for at in found if at.known_s is not None), short)
    earliest_s = _enough_at(((at.earliest_s, 1) for at in found), short)
    return Ends(earliest_s, None if known_s == math.inf else known_s)


def _both(one: Ends, other: Ends) -> Ends:
    known = (one.known_s, other.known_s)
    return Ends(
        max(one.earliest_s, other.earliest_s),
        None if None in known else max(at_s for at_s in known if at_s is not None),
    )


def _device_free_at(question: Question, ledger: Ledger, device: DeviceId, share: int) -> Ends:
    """When residents that end one after the other have freed enough. Foreign bytes may go now."""
    now_s = question.now_s
    lack = share - ledger.free_bytes(device)
    if lack <= 0:
        return Ends(now_s, now_s)
    earliest = [(now_s, ledger.foreign_bytes(device))]
    known: list[tuple[float, int]] = []
    for resident, held in ledger.occupants(device):
        if resident.name == question.spec.name:
            continue
        at = ends(question, resident)
        earliest.append((at.earliest_s, held))
        if at.known_s is not None:
            known.append((at.known_s, held))
    known_s = _enough_at(known, lack)
    return Ends(_enough_at(earliest, lack), None if known_s == math.inf else known_s)


def _enough_at(frees: Iterable[tuple[float, int]], lack: int) -> float:
    for at_s, held in sorted(frees, key=lambda pair: pair[0]):
        lack -= held
        if lack <= 0:
            return at_s
    return math.inf


def when(at_s: float, now_s: float, ahead_s: float) -> str:
    """In words, for a sentence: "in 77 s, at 17:36:35 UTC"; the wall clock is ahead by so much."""
    return f"in {math.ceil(at_s - now_s)} s, at {clock(at_s + ahead_s)}"


def clock(at_s: float) -> str:
    second = math.ceil(at_s) % DAY_S
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02} UTC"
