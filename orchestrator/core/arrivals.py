"""How residents come: considered, reserved, started, ready (R1, R4, R6)."""

from dataclasses import replace

from orchestrator.core.departures import depart, drain, evict
from orchestrator.core.eviction import Urgency
from orchestrator.core.failures import Breaker
from orchestrator.core.footprints import Footprint, Provenance
from orchestrator.core.grants import deny_line, grant, serves
from orchestrator.core.messages import (
    Check,
    Checked,
    Decide,
    DecisionKind,
    Effect,
    Learn,
    Load,
    Loaded,
    Remember,
)
from orchestrator.core.planner import Plan, Question, explain, find, out_of_reach
from orchestrator.core.queue import Line
from orchestrator.core.refusals import Refusal, RefusalCode
from orchestrator.core.residents import Placement, Resident, ResidentState
from orchestrator.core.setbacks import cannot_start, out_of_memory_for_good
from orchestrator.core.specs import ModelName
from orchestrator.core.state import Reservation, State
from orchestrator.core.vram import DeviceKind, to_mb

# A server that computes on the GPU takes nearly all of what it was promised; one that found no
# GPU takes nothing, or the few MiB that asking the driver costs.
FALLBACK_FRACTION = 0.1
# One decision looks at so many lines at most; the others are looked at when they have moved up.
LINES_CONSIDERED_MAX = 32


def consider_lines(state: State, now_s: float) -> list[Effect]:
    """Ask the same question of every line, the most important and the oldest first."""
    effects: list[Effect] = []
    considered = 0
    for line in state.queue.lines():
        if state.ledger.resident(line.model) is None:
            considered += 1
            if considered > LINES_CONSIDERED_MAX and line.explained:
                continue
        effects += consider(state, line, now_s)
    return effects


def consider(state: State, line: Line, now_s: float) -> list[Effect]:
    resident = state.ledger.resident(line.model)
    if resident is not None:
        return _meet(state, line, resident, now_s)
    return _place(state, line, now_s)


def _meet(state: State, line: Line, resident: Resident, now_s: float) -> list[Effect]:
    """The model is there, or on its way in or out."""
    if resident.state is not ResidentState.READY:
        return []
    effects: list[Effect] = []
    for wish in list(line.wishes.values()):
        if serves(resident, wish.request.spec):
            state.queue.remove(wish.request.ticket)
            effects += grant(state, wish, resident, now_s, already_loaded=False)
            resident = state.current(resident)
    state.retried.pop(line.model, None)
    state.stubborn.pop(line.model, None)
    if line.wishes:
        effects += _replace(state, line, resident, now_s)
    return effects


def _replace(state: State, line: Line, resident: Resident, now_s: float) -> list[Effect]:
    """It runs with other settings than are asked for: it leaves as any victim would."""
    if resident.name in state.pinned:
        return deny_line(
            state,
            line,
            Refusal(
                code=RefusalCode.PINNED,
                detail=f"{resident.name} is pinned with other settings.",
                remedy="Unpin it, or ask for the settings it runs with.",
            ),
        )
    if not resident.in_use:
        return evict(state, resident, now_s, "it is asked for with other settings")
    if line.priority > resident.priority or is_due(state, line, now_s):
        return drain(state, resident, now_s, "it is asked for with other settings")
    return []


def is_due(state: State, line: Line, now_s: float) -> bool:
    return now_s - line.arrived_s >= state.rules.patience_for(line.spec.load_s)


def question(state: State, line: Line, now_s: float) -> Question:
    return Question(
        spec=line.spec,
        urgency=Urgency(
            priority=line.priority,
            due=is_due(state, line, now_s),
            ignores=frozenset(state.stubborn.get(line.model, ())),
        ),
        rules=state.rules,
        now_s=now_s,
        pinned=frozenset(state.pinned),
        policy=state.policy,
        evicts=line.evicts,
    )


def _place(state: State, line: Line, now_s: float) -> list[Effect]:
    breaker = state.breakers.get(line.model)
    if breaker is not None and breaker.refuses(now_s):
        return deny_line(state, line, _breaker_open(line.model, breaker, now_s))
    asked = question(state, line, now_s)
    if line.explained and out_of_reach(asked, state.ledger):
        return []
    found = find(asked, state.ledger)
    if found is not None:
        if found.evict and not line.checked:
            return _check_first(line)
        return _reserve(state, line, found, now_s)
    if line.explained:
        return []
    line.explained = True
    refusal = explain(asked, state.ledger)
    if refusal.lasting and line.model in state.retried:
        return out_of_memory_for_good(state, line, now_s)
    return deny_line(state, line, refusal) if refusal.lasting else []


def _check_first(line: Line) -> list[Effect]:
    """Nobody leaves for a model that could not start anyway."""
    if line.check_began:
        return []
    line.check_began = True
    return [Check(line.spec)]


def checked(state: State, event: Checked, now_s: float) -> list[Effect]:
    """Its line goes on from here, or hears at once why it never will."""
    line = state.queue.line(event.model)
    if line is None or state.ledger.resident(event.model) is not None:
        return []
    line.checked = True
    return [] if event.failure is None else cannot_start(state, line, event.failure, now_s)


def _reserve(state: State, line: Line, found: Plan, now_s: float) -> list[Effect]:
    """Promise the room, then ask the victims to leave."""
    newcomer = Resident(
        instance=state.new_instance(line.model, now_s),
        spec=found.spec,
        placement=found.placement,
        state=ResidentState.RESERVED,
        state_since_s=now_s,
        last_used_s=now_s,
        priority=max(line.priority, found.spec.priority) if line.evicts else found.spec.priority,
        ttl_s=found.spec.ttl_s,
    )
    state.ledger.put(newcomer)
    evicted = tuple(each.name for each in found.evict)
    state.evicted_for[line.model] = evicted
    reservation = Reservation(
        victims={each.instance: each.name for each in found.evict},
        drain_until_s=now_s + state.rules.drain_timeout_s,
    )
    state.reservations[line.model] = reservation
    where = " and ".join(
        f"{to_mb(share)} MB on {device}" for device, share in found.placement.shares
    )
    leaving = "; ".join(f"{name} leaves ({why})" for name, why in found.reasons.items())
    effects: list[Effect] = [
        Remember(newcomer),
        Decide(
            kind=DecisionKind.RESERVE,
            model=line.model,
            text=f"{line.model} gets {where}"
            + (f"; {leaving}." if leaving else "; nobody has to leave."),
            why=leaving or "there is room",
            evicted=evicted,
        ),
    ]
    for victim in found.evict:
        state.ledger.put(replace(state.current(victim), why_leaving=found.reasons[victim.name]))
    if not found.drains:
        return effects + depart(state, line.model, reservation, now_s)
    for victim in found.evict:
        why = f"{line.model} needs the room; {found.reasons[victim.name]}"
        effects += drain(state, state.current(victim), now_s, why)
    return effects


def start_cleared(state: State, now_s: float) -> list[Effect]:
    """Start every newcomer whose victims are gone and whose bytes are really there (R2, R3)."""
    effects: list[Effect] = []
    for model, reservation in list(state.reservations.items()):
        if reservation.waiting_for or not reservation.departing:
            continue
        newcomer = state.ledger.resident(model)
        assert newcomer is not None, "a reservation has its resident"
        if not _read_since_reserved(state, newcomer):
            continue
        if state.ledger.has_now(newcomer):
            del state.reservations[model]
            effects += _start(state, newcomer, now_s)
        elif _taken_by_others(state, newcomer):
            del state.reservations[model]
            effects += state.forget(newcomer)
            effects.append(
                Decide(
                    kind=DecisionKind.RESERVE,
                    model=model,
                    text=f"The room kept for {model} was taken by processes that are not ours; "
                    "planning again.",
                    why="foreign bytes grew",
                )
            )
    return effects


def _read_since_reserved(state: State, newcomer: Resident) -> bool:
    """A reading from before the promise does not know who has helped himself since."""
    return all(
        state.ledger.reading(device).read_s >= newcomer.state_since_s
        for device in newcomer.placement.devices
    )


def _taken_by_others(state: State, newcomer: Resident) -> bool:
    """Not a matter of waiting for a load or a release beside it: the account is overdrawn."""
    return any(state.ledger.free_bytes(device) < 0 for device in newcomer.placement.devices)


def _start(state: State, newcomer: Resident, now_s: float) -> list[Effect]:
    if newcomer.spec.plain_room:
        ready = state.move(newcomer, ResidentState.READY, now_s)
        state.ledger.put(replace(ready, ready_s=now_s))
        line = state.queue.line(newcomer.name)
        return [Remember(ready), *(_meet_room(state, line, ready, now_s) if line else [])]
    loading = state.move(newcomer, ResidentState.LOADING, now_s)
    return [
        Remember(loading),
        Decide(
            kind=DecisionKind.LOAD,
            model=loading.name,
            text=f"Loading {loading.name} on {', '.join(loading.placement.devices)}.",
        ),
        Load(loading),
    ]


def _meet_room(state: State, line: Line, ready: Resident, now_s: float) -> list[Effect]:
    effects: list[Effect] = []
    for wish in list(line.wishes.values()):
        state.queue.remove(wish.request.ticket)
        effects += grant(state, wish, state.current(ready), now_s, already_loaded=False)
    return effects


def loaded(state: State, event: Loaded, now_s: float) -> list[Effect]:
    """It answers: charge what it was seen to take, and learn it."""
    resident = state.by_instance(event.instance)
    if resident is None or resident.state is not ResidentState.LOADING:
        return []  # told to go while it came up: what takes it down also ends this
    name = resident.name
    evicted = state.evicted_for.get(name, ())
    problem = _fallback(state, resident, event)
    believed = resident.spec.footprint, resident.placement
    footprint, placement = believed if problem else _measured(state, resident, event)
    ready = replace(
        resident.become(ResidentState.READY, now_s),
        spec=replace(resident.spec, footprint=footprint, load_s=event.load_s),
        placement=placement,
        endpoint=event.endpoint,
        ready_s=now_s,
        last_used_s=now_s,
        settled_until_s=now_s + state.rules.min_residency_s if evicted else 0.0,
        problem=problem.text if problem else "",
    )
    state.ledger.put(ready)
    for device in placement.devices:
        state.ledger.settle(device)
    effects: list[Effect] = [
        Remember(ready),
        Learn(
            model=name,
            spec=ready.spec,
            footprint=footprint,
            placement=placement,
            load_s=event.load_s,
        ),
        Decide(
            kind=DecisionKind.LOADED,
            model=name,
            text=f"{name} is ready after {event.load_s:.1f} s and takes "
            f"{to_mb(placement.total_bytes)} MB ({footprint.provenance}).",
            evicted=evicted,
        ),
    ]
    return [*effects, problem] if problem else effects


def _fallback(state: State, resident: Resident, event: Loaded) -> Decide | None:
    """Said of a server that answers but took no VRAM: it computes on the processor, slowly."""
    if resident.endpoint is not None:
        return None  # adopted while it loaded: what it held by then is not told from foreign bytes
    if resident.spec.serving.gpu_layers == 0:
        return None  # as the operator wants it
    shares = [
        (device, share)
        for device, share in resident.placement.shares
        if state.ledger.reading(device).device.kind is DeviceKind.GPU
    ]
    if not shares or not all(state.ledger.readable(device) for device, _ in shares):
        return None
    held = event.measured or {}
    taken = [held.get(on, state.ledger.unexplained_bytes(on, resident)) for on, _ in shares]
    if sum(taken) >= FALLBACK_FRACTION * sum(share for _, share in shares):
        return None
    return Decide(
        kind=DecisionKind.FAIL,
        model=resident.name,
        text=f"{resident.name} answers, but took no VRAM of the "
        f"{to_mb(sum(share for _, share in shares))} MB that it was given: it computes on the "
        "processor.",
        why="no VRAM taken",
        remedy="Its log says why it did not use the GPU: a driver it does not find, a build "
        "without GPU support, or settings that offload no layer.",
    )


def _all_on_gpus(state: State, placement: Placement) -> bool:
    return all(
        state.ledger.reading(device).device.kind is DeviceKind.GPU for device in placement.devices
    )


def _measured(state: State, resident: Resident, event: Loaded) -> tuple[Footprint, Placement]:
    """What to charge from now on. Host RAM is touched lazily: there a load shows only a part."""
    believed = resident.spec.footprint
    if not event.measured:
        return believed, resident.placement
    shares = []
    exact = True
    for device, share in resident.placement.shares:
        seen = event.measured.get(device)
        on_gpu = state.ledger.reading(device).device.kind is DeviceKind.GPU
        if seen is None or (not on_gpu and seen <= share):
            exact = exact and not on_gpu
            shares.append((device, share))
        else:
            shares.append((device, seen))
    placement = Placement(tuple(shares))
    if not exact or (placement == resident.placement and not _all_on_gpus(state, placement)):
        return believed, placement
    first = placement.shares[0][0]
    alone = state.ledger.reading(first).device.kind is not DeviceKind.GPU
    device_bytes = sum(
        share
        for device, share in placement.shares
        if alone or state.ledger.reading(device).device.kind is DeviceKind.GPU
    )
    return (
        Footprint(
            device_bytes=device_bytes,
            host_bytes=0 if alone else placement.total_bytes - device_bytes,
            provenance=Provenance.MEASURED,
        ),
        placement,
    )


def _breaker_open(model: ModelName, breaker: Breaker, now_s: float) -> Refusal:
    cause = breaker.cause
    assert cause is not None, "a breaker opens for a cause"
    wait_s = breaker.retry_after_s(now_s)
    return Refusal(
        code=RefusalCode.BREAKER_OPEN,
        detail=f"{model} failed {breaker.failures} time(s) in a row, last with {cause.reason}: "
        f"{cause.detail} It is tried again in {wait_s:.0f} s.",
        remedy=cause.remedy or "Mend the cause; a changed configuration is tried at once.",
        retry_after_s=wait_s,
        failure=cause,
    )
