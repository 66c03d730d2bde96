"""Why there is no plan, in words and numbers (R17)."""

from dataclasses import replace

from orchestrator.core.room.eviction import YIELDS, Yielding, say
from orchestrator.core.room.instants import Ends, clock, ends, possible_at, when
from orchestrator.core.room.ledger import Ledger
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
    blockers = [blocker for device in looked_at for blocker in _blockers(question, ledger, device)]
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
        remedy=_remedy(blockers),
        needed_bytes=needed,
        available_bytes=available,
        foreign_bytes=foreign,
        room_bytes=roomiest[0],
        host_room_bytes=host_room,
        short_beside=short,
        blockers=tuple(blockers[:BLOCKERS_NAMED_MAX]),
        retry_after_s=_retry_after_s(question, possible),
        possible_s=possible.known_s,
        earliest_s=possible.earliest_s,
        lasting=_barred_for_good(question, ledger, devices),
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
                ledger.occupied_bytes(resident, device)
                for resident in ledger.on(device)
                if YIELDS[question.stance(resident)] is Yielding.NEVER
            )
            if share > ledger.limit_bytes(device) - fixed:
                break
        else:
            return False
    return True


def _blockers(question: Question, ledger: Ledger, device: DeviceId) -> list[Blocker]:
    found = []
    for resident in ledger.on(device):
        taken = question.stance(resident)
        if not question.evicts or YIELDS[taken] in (Yielding.NO, Yielding.NEVER):
            found.append(_blocker(question, ledger, device, resident))
    if (foreign := ledger.foreign_bytes(device)) and ledger.foreign_matters(device):
        found.append(
            Blocker(device=device, held_bytes=foreign, why=f"they hold {to_mb(foreign)} MB")
        )
    return sorted(found, key=lambda blocker: -blocker.held_bytes)


def _blocker(question: Question, ledger: Ledger, device: DeviceId, resident: Resident) -> Blocker:
    taken, now_s = question.stance(resident), question.now_s
    ends_s = ends(question, resident).known_s
    why = say(taken, resident, now_s)
    if ends_s is not None and ends_s > now_s:
        why += f"; it can leave {when(ends_s, now_s, question.ahead_s)}"
    return Blocker(
        device=device,
        held_bytes=ledger.occupied_bytes(resident, device),
        why=why,
        model=resident.name,
        lasting=YIELDS[taken] is Yielding.NEVER,
        ends_s=ends_s,
    )


def _remedy(blockers: list[Blocker]) -> str:
    if any(blocker.lasting for blocker in blockers):
        return "Unpin or unload (`force`) what is pinned, or wait for the others to finish."
    if any(blocker.model is None for blocker in blockers):
        return "Wait, or end the other processes that hold VRAM on the device."
    return "Wait: a model in use is drained when its time has come. A higher priority waits less."
