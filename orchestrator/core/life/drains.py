"""How residents are asked to leave: while they serve, and once more when they are idle (R5)."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import assert_never

from orchestrator.core.life.evictions import (
    ask,
    cancel_reservation,
    evict,
    let_go,
    must_be_asked,
    take_aside,
)
from orchestrator.core.life.questions import urgency
from orchestrator.core.life.state import Reservation, State
from orchestrator.core.room.eviction import STUBBORN_S, YIELDS, Urgency, Yielding, stance
from orchestrator.core.values.decisions import Decide, DecisionKind
from orchestrator.core.values.messages import Effect, Remember, UseAnswered
from orchestrator.core.values.residents import (
    SERVING,
    ForIdleness,
    ForNewcomer,
    ForOtherSettings,
    ForUnload,
    InstanceId,
    Leaving,
    Resident,
    ResidentState,
    UseAnswer,
)
from orchestrator.core.values.specs import ModelName

OTHER_SETTINGS = "it is asked for with other settings"


def ask_to_leave(
    state: State, resident: Resident, cause: Leaving, now_s: float, why: str
) -> list[Effect]:
    """Grant nothing more on it. It leaves when its use has ended, unless every cause ends first."""
    if cause in resident.leaving:
        return []
    asked = replace(resident, leaving=(*resident.leaving, cause))
    state.ledger.put(asked)
    if resident.state is ResidentState.DRAINING:
        return []  # it has been said
    draining = state.move(asked, ResidentState.DRAINING, now_s, why)
    return [
        Decide(
            kind=DecisionKind.DRAIN,
            model=resident.name,
            text=f"{resident.name} serves what it has begun and takes nothing new: {why}.",
            why=why,
        ),
        Remember(draining),
    ]


def resume_kept(state: State, now_s: float) -> list[Effect]:
    """A resident serves again when the last cause for which it was to leave has ended."""
    effects: list[Effect] = []
    for resident in list(state.ledger.residents):
        holding = tuple(cause for cause in resident.leaving if _holds(state, resident, cause))
        if holding != resident.leaving:
            resident = replace(resident, leaving=holding)  # noqa: PLW2901 - the same one
            state.ledger.put(resident)
        if resident.state is ResidentState.DRAINING and not holding:
            ready = replace(resident.become(ResidentState.READY, now_s), why_leaving="")
            state.ledger.put(ready)
            effects.append(Remember(ready))
    return effects


def _holds(state: State, resident: Resident, cause: Leaving) -> bool:
    """Whether the other side still wants it gone, and may: a pin yields to its own unload only."""
    if isinstance(cause, ForUnload):
        return cause.ticket in state.unloads
    if resident.state is ResidentState.DRAINING and resident.name in state.pinned:
        return False
    match cause:
        case ForNewcomer(model):
            reservation = state.reservations.get(model)
            return reservation is not None and resident.instance in reservation.victims
        case ForOtherSettings():
            line = state.queue.line(resident.name)
            return line is not None and line.wants_other_than(resident)
        case ForIdleness():
            wanted = resident.in_use or state.queue.line(resident.name) is not None
            return resident.look is not None and not wanted
        case _:
            assert_never(cause)


def progress_drains(state: State, now_s: float) -> list[Effect]:
    """Residents that were asked to leave go once idle; one that stays busy too long is let be."""
    effects: list[Effect] = []
    for model, reservation in list(state.reservations.items()):
        if not reservation.departing:
            effects += _progress_plan(state, model, reservation, now_s)
    for resident in list(state.ledger.residents):
        if resident.state is ResidentState.DRAINING:
            effects += _progress_settings(state, resident, now_s)
    return effects


def _progress_plan(
    state: State, model: ModelName, reservation: Reservation, now_s: float
) -> list[Effect]:
    """All victims of a plan go together, once all are idle; or none does, and we plan again."""
    victims = _victims(state, reservation)
    newcomer = state.ledger.resident(model)
    assert newcomer is not None, "a reservation has its resident"
    if any(resident.name in state.pinned for resident in victims):
        return cancel_reservation(state, newcomer)  # pinned since then
    if victims and not state.ledger.could_have(newcomer.placement, victims):
        return cancel_reservation(state, newcomer)  # they would leave in vain
    if victims and not _still_asks(state, model, reservation.urgency, now_s):
        return cancel_reservation(state, newcomer)  # who remains is planned for anew
    busy = [resident for resident in victims if resident.in_use]
    if not busy:
        return _ask_or_depart(state, model, reservation, victims, now_s)
    if not reservation.drains:
        return [_say_in_use(model, busy), *cancel_reservation(state, newcomer)]
    if now_s < reservation.drain_until_s:
        return []
    for resident in busy:
        _let_be(state, resident, model, now_s)
    names = ", ".join(resident.name for resident in busy)
    return [
        Decide(
            kind=DecisionKind.DRAIN,
            model=model,
            text=f"{names} did not fall idle within "
            f"{state.rules.drain_timeout_s:.0f} s; planning again for {model}.",
            why="a running request is never cut",
        ),
        *cancel_reservation(state, newcomer),
    ]


def _still_asks(state: State, model: ModelName, planned: Urgency, now_s: float) -> bool:
    """Whether those who wait on may ask as much of residents as those for whom it was planned."""
    line = state.queue.line(model)
    if line is None or not line.evicts:
        return False
    now = urgency(state, line, now_s)
    return now.priority >= planned.priority and now.due >= planned.due


def _victims(state: State, reservation: Reservation) -> list[Resident]:
    """Those that are still there."""
    found = map(state.by_instance, reservation.victims)
    return [resident for resident in found if resident is not None]


def _ask_or_depart(
    state: State,
    model: ModelName,
    reservation: Reservation,
    victims: Sequence[Resident],
    now_s: float,
) -> list[Effect]:
    """All are idle as far as is known: ask those that serve, all at once."""
    serving = [resident for resident in victims if must_be_asked(resident)]
    if not serving:
        return depart(state, model, reservation, now_s)
    if all(resident.look is not None for resident in serving):
        return []  # their answers are on the way
    cause = ForNewcomer(model, reservation.drain_until_s)
    effects: list[Effect] = []
    for resident in serving:
        if resident.state is ResidentState.READY:  # it had left, and others have started it again
            why = f"{model} needs the room, which was promised before it was started again"
            effects += take_aside(state, resident, cause, now_s, why)
    return effects + ask(state, [resident.name for resident in serving], now_s)


def _say_in_use(model: ModelName, busy: Sequence[Resident]) -> Decide:
    names = ", ".join(resident.name for resident in busy)
    return Decide(
        kind=DecisionKind.DRAIN,
        model=model,
        text=f"{names} turned out to be in use; planning again for {model}.",
        why="a running request is never cut",
    )


def _progress_settings(state: State, resident: Resident, now_s: float) -> list[Effect]:
    """It drains because it is asked for with other settings."""
    cause = next(
        (reason for reason in resident.leaving if isinstance(reason, ForOtherSettings)), None
    )
    if cause is None or not _holds(state, resident, cause):
        return []
    if not resident.in_use:
        return let_go(state, resident, cause, now_s, OTHER_SETTINGS)
    if cause.until_s is not None and now_s < cause.until_s:
        return []
    left = tuple(reason for reason in resident.leaving if reason != cause)
    if cause.until_s is None:
        state.ledger.put(replace(resident, leaving=left))
        return [_say_in_use(resident.name, [resident])]
    _let_be(state, replace(resident, leaving=left), resident.name, now_s)
    return [
        Decide(
            kind=DecisionKind.DRAIN,
            model=resident.name,
            text=f"{resident.name} did not fall idle within "
            f"{state.rules.drain_timeout_s:.0f} s; it goes on with the settings it has.",
            why="a running request is never cut",
        )
    ]


def _let_be(state: State, resident: Resident, newcomer: ModelName, now_s: float) -> None:
    """Not to be asked again for a while by the one for whom it drained in vain."""
    others = tuple(
        (model, until_s)
        for model, until_s in resident.resisted
        if model != newcomer and now_s < until_s
    )
    resisted = (*others, (newcomer, now_s + STUBBORN_S))
    state.ledger.put(replace(resident, resisted=resisted))


def depart(state: State, model: ModelName, reservation: Reservation, now_s: float) -> list[Effect]:
    """The victims go now. From here on the plan is carried through."""
    reservation.departing = True
    effects: list[Effect] = []
    for resident in _victims(state, reservation):
        reservation.waiting_for.add(resident.instance)
        if resident.state in SERVING or resident.state is ResidentState.LOADING:  # started again
            why = (
                resident.why_leaving
                if resident.state is ResidentState.DRAINING
                else f"{model} needs the room; {resident.why_leaving or 'it is idle'}"
            )
            effects += evict(state, resident, now_s, why, asked=must_be_asked(resident))
    return effects


# --- the last look ----------------------------------------------------------------------------


def hear_use(state: State, event: UseAnswered, now_s: float) -> list[Effect]:
    """Who said that it is idle goes in this very call; who is in use stays, and is planned for.

    One that was seen busy since it was asked may have begun something after it: it is asked anew.
    """
    effects: list[Effect] = []
    idle: list[InstanceId] = []
    for instance, answer in event.answers.items():
        resident = state.by_instance(instance)
        if resident is None or resident.state not in SERVING:
            continue  # it has gone, or was forced out, meanwhile
        if answer.busy is not None:
            seen = resident.seen_in_use(now_s, busy=answer.busy, used=answer.used)
        else:
            seen = resident  # as it was last seen
        asked = resident.look is not None and resident.look.number == event.look
        if asked:
            seen = replace(seen, look=None)
        if seen is not resident:
            state.ledger.put(seen)
        if asked and answer.unanswered:
            effects.append(_say_unanswered(seen, answer))
        overtaken = resident.busy and answer.busy is not None
        if asked and not seen.in_use and not overtaken:
            idle.append(instance)
    return effects + _let_idle_go(state, idle, now_s)


def _let_idle_go(state: State, idle: Collection[InstanceId], now_s: float) -> list[Effect]:
    effects: list[Effect] = []
    for instance in idle:
        resident = state.by_instance(instance)
        if resident is None:
            continue
        if any(
            not isinstance(cause, ForNewcomer) and _wants_gone(state, resident, cause)
            for cause in resident.leaving
        ):
            effects += evict(state, resident, now_s, resident.why_leaving, asked=True)
    for model, reservation in list(state.reservations.items()):
        if not reservation.departing:
            effects += _let_plan_go(state, model, reservation, idle, now_s)
    return effects


def _wants_gone(state: State, resident: Resident, cause: Leaving) -> bool:
    """As `_holds`, of one whose look has just ended."""
    if isinstance(cause, ForIdleness):
        return resident.name not in state.pinned and state.queue.line(resident.name) is None
    return _holds(state, resident, cause)


def _let_plan_go(
    state: State,
    model: ModelName,
    reservation: Reservation,
    idle: Collection[InstanceId],
    now_s: float,
) -> list[Effect]:
    """The plan is carried out if all its victims are idle, and would still give way to it."""
    victims = _victims(state, reservation)
    serving = [resident for resident in victims if must_be_asked(resident)]
    if not serving or any(resident.instance not in idle for resident in serving):
        return []
    newcomer = state.ledger.resident(model)
    assert newcomer is not None, "a reservation has its resident"
    staying = [victim for victim in serving if not _gives_way(state, victim, reservation, now_s)]
    if not staying:
        return depart(state, model, reservation, now_s)
    return [_say_in_use(model, staying), *cancel_reservation(state, newcomer)]


def _gives_way(state: State, victim: Resident, reservation: Reservation, now_s: float) -> bool:
    """What was used since it was planned to leave may be protected by that (R7)."""
    taken = stance(
        replace(victim, state=ResidentState.READY),
        reservation.urgency,
        state.rules,
        now_s,
        pinned=victim.name in state.pinned,
    )
    return YIELDS[taken] in (Yielding.NOW, Yielding.AFTER_DRAIN)


def _say_unanswered(resident: Resident, answer: UseAnswer) -> Decide:
    held = "in use, as it was last seen" if resident.in_use else "idle, as it was last seen"
    return Decide(
        kind=DecisionKind.DRAIN,
        model=resident.name,
        text=f"{resident.name} did not say whether it is in use ({answer.unanswered}): it counts "
        f"as {held}.",
        why=answer.unanswered,
        remedy="Its log says what it does; a server that hangs is unloaded by force.",
    )


def end_overdue_looks(state: State, now_s: float) -> list[Effect]:
    """An answer that never comes is no answer."""
    effects: list[Effect] = []
    for resident in list(state.ledger.residents):
        if resident.look is not None and now_s >= resident.look.until_s:
            unanswered = UseAnswer(busy=None, unanswered="no answer came")
            answered = UseAnswered(resident.look.number, {resident.instance: unanswered})
            effects += hear_use(state, answered, now_s)
    return effects
