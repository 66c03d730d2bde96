"""How residents come: considered, reserved, started, ready (R1, R4, R6)."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.core.life import free_room, outages
from orchestrator.core.life.attribution import attribute, baseline, silent_fallback
from orchestrator.core.life.charges import payer
from orchestrator.core.life.drains import ask_to_leave, depart
from orchestrator.core.life.evictions import ask, evict, must_be_asked, take_aside
from orchestrator.core.life.files import check_first
from orchestrator.core.life.grants import deny, deny_line, grant
from orchestrator.core.life.other_settings import make_way
from orchestrator.core.life.questions import question, urgency
from orchestrator.core.life.queue import Line
from orchestrator.core.life.sentences import given_up_said, known_as, slots_said
from orchestrator.core.life.setbacks import (
    breaker_open,
    give_up,
    out_of_memory_for_good,
    ran_out_of_memory,
)
from orchestrator.core.life.state import Habit, Reservation, State
from orchestrator.core.room.explanation import explain, hopeless
from orchestrator.core.room.planner import Plan, find, fitting, out_of_reach
from orchestrator.core.room.question import Question
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.messages import (
    Deny,
    Effect,
    Learn,
    Load,
    Loaded,
    Remember,
)
from orchestrator.core.values.refusals import Refusal, RefusalCode
from orchestrator.core.values.residents import (
    ForNewcomer,
    Resident,
    ResidentState,
)
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import to_mb

# One decision looks at so many lines at most; the others are looked at when they have moved up.
LINES_CONSIDERED_MAX = 32


def consider_lines(state: State, now_s: float) -> list[Effect]:
    """Ask the same question of every line, the most important and the oldest first."""
    effects: list[Effect] = []
    considered = 0
    for line in state.queue.lines():
        if state.ledger.resident(line.model) is None:
            considered += 1
            waits = line.explained and (line.evicts or line.ours)  # the modest do not
            if considered > LINES_CONSIDERED_MAX and waits:
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
        if wish.restores or resident.serves(wish.request.spec):  # ours: it is back, however it runs
            if resident.silent_since_s is not None:
                continue  # until it answers, or leaves
            state.queue.remove(wish.request.ticket)
            effects += grant(state, wish, resident, now_s, already_loaded=False)
            resident = state.current(resident)
    state.retried.pop(line.model, None)
    if others := line.others_than(resident):
        effects += make_way(state, line, others, resident, now_s)
    return effects


def _place(state: State, line: Line, now_s: float) -> list[Effect]:
    silence = state.silent.get(line.spec.service)
    if silence is not None:
        return deny_line(state, line, outages.refusal(line.model, silence))
    breaker = state.breakers.get(line.model)
    if breaker is not None and breaker.refuses(now_s) and not breaker.cause_outside:
        return deny_line(state, line, breaker_open(line.model, breaker, now_s))
    if line.waits_for_files:
        return []  # goes on when its file has been looked at
    if line.spec.footprint.unknown or (breaker is not None and breaker.refuses(now_s)):
        return check_first(line, line.spec)
    asked = question(state, line, now_s)
    if line.evicts and line.last.ends_by_s < line.earliest_s:
        line.explained = False  # it came meanwhile, and does not wait so long
    if line.explained and line.evicts and out_of_reach(asked, state.ledger):
        return []
    found = find(asked, state.ledger)
    lacks = line.evicts and (found is None or bool(found.evict))
    if lacks and (given_up := free_room.cancel_unasked(state)):
        return given_up + _place(state, line, now_s)
    if found is not None:
        if found.evict and not state.ledger.could_have(found.placement, found.evict):
            return []  # more is taken than is accounted for: the next reading says whose it is
        if (found.evict or line.spec.supplied) and not line.checked and not line.spec.plain_room:
            return check_first(line, line.spec)
        return _reserve(state, line, found, now_s)
    return _without_plan(state, line, asked, now_s)


def _without_plan(state: State, line: Line, asked: Question, now_s: float) -> list[Effect]:
    """It waits, goes on with less, or hears why it never will be."""
    if not line.evicts and (denied := free_room.deny_without_room(state, line, asked)):
        return denied
    if line.explained and (line.evicts or line.ours):
        return []  # it waits; who lets no resident leave does not, whatever was said before
    line.explained = True
    refusal = explain(asked, state.ledger)
    if refusal.lasting and (fallback := fitting(asked, state.ledger)) is not None:
        effects = give_up(state, line.spec, fallback, refusal.detail)
        return effects + _place(state, line, now_s)
    more_than_there_is = refusal.code is RefusalCode.DOES_NOT_FIT
    if more_than_there_is and ran_out_of_memory(state, line.model):
        return out_of_memory_for_good(state, line, now_s)
    if refusal.lasting:
        return deny(state, line.deciding, refusal)
    line.earliest_s = refusal.earliest_s
    return _deny_hopeless(state, line, refusal, now_s)


def _deny_hopeless(state: State, line: Line, refusal: Refusal, now_s: float) -> list[Effect]:
    """Callers whose wait ends before there can be room hear so now."""
    ending = [wish for wish in line.wishes.values() if wish.ends_by_s < refusal.earliest_s]
    if not ending or not line.evicts:
        return []
    said = hopeless(refusal, line.model, now_s, state.ahead_s)
    effects: list[Effect] = [
        Decide(
            kind=DecisionKind.REFUSE,
            model=line.model,
            text=said.detail,
            why=said.code,
            remedy=said.remedy,
        )
    ]
    for wish in ending:
        state.queue.remove(wish.request.ticket)
        effects.append(Deny(wish.request.ticket, said))
    state.ledger.touch()
    return effects


def _reserve(state: State, line: Line, found: Plan, now_s: float) -> list[Effect]:
    """Promise the room, then ask the victims to leave."""
    habit = state.habits.get(line.model, Habit())
    newcomer = Resident(
        instance=state.new_instance(line.model, now_s),
        spec=found.spec,
        placement=found.placement,
        state=ResidentState.RESERVED,
        state_since_s=now_s,
        last_used_s=now_s,
        priority=max(line.priority, found.spec.priority) if line.evicts else found.spec.priority,
        ttl_s=found.spec.ttl_s,
        use_began_s=habit.use_began_s,
        use_gap_s=habit.use_gap_s,
        unasked=line.ours,
        key=payer(state, line.deciding).key,
    )
    state.ledger.put(newcomer)
    evicted = _note_evicted(state, line.model, found.evict)
    reservation = Reservation(
        victims={victim.instance: victim.name for victim in found.evict},
        drain_until_s=now_s + state.rules.drain_timeout_s,
        urgency=urgency(state, line, now_s),
        drains=found.drains,
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
    cause = ForNewcomer(line.model, reservation.drain_until_s)
    for victim in found.evict:
        why = f"{line.model} needs the room; {found.reasons[victim.name]}"
        if victim.state is ResidentState.LOADING:  # it came by itself: no caller is made to wait
            effects += evict(state, state.current(victim), now_s, why)
        elif found.drains:
            effects += ask_to_leave(state, state.current(victim), cause, now_s, why)
        elif must_be_asked(victim):
            effects += take_aside(state, state.current(victim), cause, now_s, why)
        else:
            state.ledger.put(replace(state.current(victim), leaving=(cause,), why_leaving=why))
    if found.drains:
        return effects
    asked = [victim.name for victim in found.evict if must_be_asked(victim)]
    if asked:
        return effects + ask(state, asked, now_s)
    return effects + depart(state, line.model, reservation, now_s)


def _note_evicted(
    state: State, model: ModelName, victims: Sequence[Resident]
) -> tuple[ModelName, ...]:
    """Remember who leaves for it: who left for a first try that failed has left for the second."""
    evicted = tuple(victim.name for victim in victims)
    before = state.evicted_for.get(model, ()) if model in state.retried else ()
    state.evicted_for[model] = tuple(dict.fromkeys((*before, *evicted)))
    return evicted


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
        elif _taken_by_others(state, newcomer) and now_s >= reservation.late_until_s:
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
    """A reading older than the reservation misses bytes taken since."""
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
    state.baselines[loading.instance] = baseline(state, loading)
    return [
        Remember(loading),
        Decide(
            kind=DecisionKind.LOAD,
            model=loading.name,
            text=f"Loading {loading.name} on {', '.join(loading.placement.devices)}.",
            key=loading.key,
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
    name, evicted = resident.name, state.evicted_for.get(resident.name, ())
    seen = attribute(state, resident, event)
    problem = silent_fallback(state, resident, event)
    footprint, placement = (
        (resident.spec.footprint, resident.placement) if problem else (seen.footprint, seen.charge)
    )
    line = state.queue.line(name)
    contested = bool(evicted) or (line is not None and line.wants_other_than(resident))
    ready = replace(
        resident.become(ResidentState.READY, now_s),
        spec=replace(
            resident.spec,
            footprint=footprint,
            predicted=resident.spec.predicted or resident.spec.footprint,
            load_s=event.load_s,
        ),
        placement=placement,
        endpoint=event.endpoint,
        slots=event.slots,
        ready_s=now_s,
        last_used_s=now_s,
        settled_until_s=now_s + state.rules.residency_for(event.load_s) if contested else 0.0,
        problem=problem.text if problem else "",
    )
    state.ledger.put(ready)
    state.baselines.pop(ready.instance, None)
    for device in placement.devices:
        state.ledger.settle(device)
    effects: list[Effect] = [
        Remember(ready),
        Learn(
            model=name,
            spec=resident.spec,
            footprint=footprint,
            placement=placement,
            load_s=event.load_s,
            measured=None if problem else seen.measurement,
            sighted=None if problem else seen.sighting,
            instance=ready.instance,
            layers=seen.layers,
        ),
        Decide(
            kind=DecisionKind.LOADED,
            model=name,
            text=f"{name} is ready after {event.load_s:.1f} s and takes "
            f"{to_mb(placement.total_bytes)} MB ({known_as(footprint, seen.doubt)})."
            + slots_said(ready)
            + given_up_said(ready),
            why=", ".join(ready.spec.given_up),
            evicted=evicted,
        ),
    ]
    return [*effects, problem] if problem else effects
