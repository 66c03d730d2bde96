"""Why there is no plan, in words and numbers (R17)."""

from dataclasses import dataclass, replace

from orchestrator.core.room.eviction import YIELDS, Stance, Yielding, say
from orchestrator.core.room.instants import Ends, clock, ends, possible_at, when
from orchestrator.core.room.ledger import Ledger
from orchestrator.core.room.networks import holders, lack
from orchestrator.core.room.placement import (
    host_beside,
    least_bytes,
    placements,
    usable_devices,
)
from orchestrator.core.room.question import Question
from orchestrator.core.room.quota import held_bytes, over_quota
from orchestrator.core.values.refusals import Blocker, Refusal, RefusalCode
from orchestrator.core.values.residents import Resident
from orchestrator.core.values.specs import ModelName, ModelSpec
from orchestrator.core.values.vram import DeviceId, DeviceKind, to_mb

BLOCKERS_SAID_MAX = 3  # in the sentence
BLOCKERS_NAMED_MAX = 16  # an answer is read by people
UNREADABLE_RETRY_S = 5.0  # the driver is asked again about as often


def explain(question: Question, ledger: Ledger) -> Refusal:
    """Why there is no plan, with the numbers."""
    spec = question.spec
    devices = usable_devices(spec, ledger)
    readable = [device for device in devices if ledger.readable(device)]
    needed = least_bytes(spec, ledger, devices)
    smallest = min(
        (held_bytes(placement, ledger) for placement in placements(spec, ledger, devices)),
        default=None,
    )
    if smallest is None:
        return _never(spec, ledger, devices, readable)
    if question.quota is not None and smallest > question.quota.left_bytes:
        return over_quota(spec.name, smallest, question.quota)
    if (no_network := _no_network(question, ledger, needed)) is not None:
        return no_network
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
    possible = possible_at(question, ledger)
    obstacles = [there for device in looked_at for there in _obstacles(question, ledger, device)]
    blockers = [_blocker(question, there) for there in obstacles[:BLOCKERS_NAMED_MAX]]
    foreign = sum(ledger.foreign_bytes(device) for device in looked_at)
    named = ", ".join(
        f"{blocker.model or 'other processes'} ({blocker.why})"
        for blocker in blockers[:BLOCKERS_SAID_MAX]
    )
    at_s, soon = possible.known_s, ""
    said = {blocker.ends_s for blocker in blockers[:BLOCKERS_SAID_MAX]}
    if at_s is not None and at_s > question.now_s and at_s not in said:
        soon = f" There can be room {when(at_s, question.now_s, question.ahead_s)}."
    return Refusal(
        code=RefusalCode.NO_ROOM,
        detail=f"{spec.name} needs {to_mb(needed)} MB{of_what} and {to_mb(available)} MB can be "
        f"used now; in the way: {named or 'bytes on their way back from the driver'}.{soon}",
        remedy=_remedy(obstacles),
        needed_bytes=needed,
        available_bytes=available,
        foreign_bytes=foreign,
        room_bytes=roomiest[0],
        host_room_bytes=host_room,
        short_beside=short,
        blockers=tuple(blockers),
        retry_after_s=_retry_after_s(question, possible),
        possible_s=possible.known_s,
        earliest_s=possible.earliest_s,
        lasting=_barred_for_good(question, ledger, devices),
    )


def _no_network(question: Question, ledger: Ledger, needed_bytes: int) -> Refusal | None:
    """Where no server gives up the network that it has for itself; None: it has one, or can."""
    spec, networks = question.spec, question.networks
    held = holders(spec, ledger, networks)
    stances = [question.stance(each) for each in held]
    gives = [YIELDS[taken] for taken in stances]
    in_the_way = [
        _Obstacle(device, ledger.occupied_bytes(each, device), each, taken)
        for each, taken in zip(held, stances, strict=True)
        if not question.evicts or YIELDS[taken] in (Yielding.NO, Yielding.NEVER)
        for device in each.placement.devices[:1]
    ]
    if len(held) - len(in_the_way) >= lack(spec, ledger, networks):
        return None
    count = len(networks[spec.service])
    blockers = [_blocker(question, there) for there in in_the_way[:BLOCKERS_NAMED_MAX]]
    named = ", ".join(f"{each.model} ({each.why})" for each in blockers[:BLOCKERS_SAID_MAX])
    unsaid = len(in_the_way) - BLOCKERS_SAID_MAX
    more = f" and {unsaid} more" if unsaid > 0 else ""
    possible = possible_at(question, ledger)
    return Refusal(
        code=RefusalCode.NO_ROOM,
        detail=f"{spec.name} needs a network of its own, and each of the {count} of service "
        f"{spec.service} has a model in it; in the way: {named}{more}. Nothing was evicted.",
        remedy=f"Unload one, or name more in services.{spec.service}.networks: models that share "
        "one would reach each other.",
        needed_bytes=needed_bytes,
        blockers=tuple(blockers),
        retry_after_s=_retry_after_s(question, possible),
        possible_s=possible.known_s,
        earliest_s=possible.earliest_s,
        lasting=gives.count(Yielding.NEVER) >= count,
    )


def for_free_room_only(refusal: Refusal) -> Refusal:
    """The same, for callers for whom no resident may leave."""
    if refusal.code is not RefusalCode.NO_ROOM or refusal.lasting:
        return refusal
    return replace(
        refusal,
        detail=f"{refusal.detail} No resident may leave for this load (`evict: never`).",
        remedy="Leave `evict` out to have idle models leave for it, or unload one.",
        possible_s=None,
        earliest_s=0.0,
    )


def hopeless(refusal: Refusal, model: ModelName, now_s: float, ahead_s: float) -> Refusal:
    """The same, for callers who do not wait until there can be room."""
    at_s = refusal.earliest_s
    at = clock(at_s + ahead_s)
    return replace(
        refusal,
        detail=f"{refusal.detail} There is no room before {at}, and no caller of {model} waits so "
        "long.",
        remedy="Retry then, unload what is in the way, or ask with a higher priority.",
        retry_after_s=at_s - now_s,
        possible_s=refusal.possible_s or at_s,
    )


def _retry_after_s(question: Question, possible: Ends) -> float:
    """When it is known, or cannot be sooner; else as often as things change."""
    at_s = possible.earliest_s if possible.known_s is None else possible.known_s
    usual_s = question.rules.min_residency_s or 1.0
    return max(at_s - question.now_s, 1.0) if question.now_s < at_s else usual_s


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
                held
                for resident, held in ledger.occupants(device)
                if YIELDS[question.stance(resident)] is Yielding.NEVER
            )
            if share > ledger.limit_bytes(device) - fixed:
                break
        else:
            return False
    return True


@dataclass(frozen=True, slots=True)
class _Obstacle:
    """What is in the way on a device: a resident with its stance, or bytes that are not ours."""

    device: DeviceId
    held_bytes: int
    resident: Resident | None = None
    taken: Stance | None = None


def _obstacles(question: Question, ledger: Ledger, device: DeviceId) -> list[_Obstacle]:
    """The largest first."""
    found = []
    for resident, held in ledger.occupants(device):
        taken = question.stance(resident)
        if not question.evicts or YIELDS[taken] in (Yielding.NO, Yielding.NEVER):
            found.append(_Obstacle(device, held, resident, taken))
    if (foreign := ledger.foreign_bytes(device)) and ledger.foreign_matters(device):
        found.append(_Obstacle(device, foreign))
    return sorted(found, key=lambda there: -there.held_bytes)


def _blocker(question: Question, there: _Obstacle) -> Blocker:
    """In words."""
    if there.resident is None or there.taken is None:
        why = f"they hold {to_mb(there.held_bytes)} MB"
        return Blocker(device=there.device, held_bytes=there.held_bytes, why=why)
    now_s, ends_s = question.now_s, ends(question, there.resident).known_s
    why = say(there.taken, there.resident, now_s)
    if ends_s is not None and ends_s > now_s:
        why += f"; it can leave {when(ends_s, now_s, question.ahead_s)}"
    return Blocker(
        device=there.device,
        held_bytes=there.held_bytes,
        why=why,
        model=there.resident.name,
        lasting=YIELDS[there.taken] is Yielding.NEVER,
        ends_s=ends_s,
    )


def _remedy(obstacles: list[_Obstacle]) -> str:
    if any(there.taken and YIELDS[there.taken] is Yielding.NEVER for there in obstacles):
        return "Unpin or unload (`force`) what is pinned, or wait for the others to finish."
    if any(there.resident is None for there in obstacles):
        return "Wait, or end the other processes that hold VRAM on the device."
    return "Wait: a model in use is drained when its time has come. A higher priority waits less."
