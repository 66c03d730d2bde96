"""How residents are made to leave: asked while they serve, told once they are idle (R5)."""

from dataclasses import replace
from typing import assert_never

from orchestrator.core.life.state import Reservation, State
from orchestrator.core.room.eviction import STUBBORN_S
from orchestrator.core.values.messages import Decide, DecisionKind, Effect, Evict, Remember
from orchestrator.core.values.residents import (
    SERVING,
    ForNewcomer,
    ForOtherSettings,
    ForUnload,
    Leaving,
    Resident,
    ResidentState,
)
from orchestrator.core.values.specs import ModelName
from orchestrator.core.values.vram import to_mb

OTHER_SETTINGS = "it is asked for with other settings"
STUCK_RETRY_S = 30.0  # a stop that failed is tried again; container engines recover by themselves
STOP_RETRIED = (
    f"It is stopped as soon as that works, tried every {STUCK_RETRY_S:.0f} s; else do so by hand."
)


def evict(
    state: State, resident: Resident, now_s: float, why: str, *, force: bool = False
) -> list[Effect]:
    """Tell a resident to go. A request that it still serves is cut only by `force` (R5)."""
    assert force or not resident.in_use, f"{resident.instance} is in use"
    effects = state.drop_leases(resident)
    resident = state.current(resident)
    if resident.state is ResidentState.RESERVED:
        return effects + cancel_reservation(state, resident)
    if resident.spec.plain_room:
        return effects + state.forget(resident)
    going = state.move(resident, ResidentState.UNLOADING, now_s, why)
    verb = "Stopping" if force else "Evicting"
    return [
        *effects,
        Remember(going),
        Decide(
            kind=DecisionKind.EVICT,
            model=going.name,
            text=f"{verb} {going.name} ({to_mb(going.placement.total_bytes)} MB): {why}.",
            why=why,
        ),
        Evict(going, force),
    ]


def retry_stop(state: State, resident: Resident, now_s: float) -> list[Effect]:
    """Try a stop that failed once more."""
    going = state.move(resident, ResidentState.UNLOADING, now_s)
    return [Remember(going), Evict(going, force=True)]


def cancel_reservation(state: State, resident: Resident) -> list[Effect]:
    """Give up promised room. Victims that were told to go still go; the others stay."""
    state.reservations.pop(resident.name, None)
    return state.forget(resident)


# --- drains ----------------------------------------------------------------------------------


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
    victims = [
        resident
        for instance in reservation.victims
        if (resident := state.by_instance(instance)) is not None
    ]
    newcomer = state.ledger.resident(model)
    assert newcomer is not None, "a reservation has its resident"
    if any(resident.name in state.pinned for resident in victims):
        return cancel_reservation(state, newcomer)  # pinned since then
    busy = [resident for resident in victims if resident.in_use]
    if not busy:
        return depart(state, model, reservation, now_s)
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


def _progress_settings(state: State, resident: Resident, now_s: float) -> list[Effect]:
    """It drains because it is asked for with other settings."""
    cause = next(
        (reason for reason in resident.leaving if isinstance(reason, ForOtherSettings)), None
    )
    if cause is None or not _holds(state, resident, cause):
        return []
    if not resident.in_use:
        return evict(state, resident, now_s, OTHER_SETTINGS)
    if now_s >= cause.until_s:
        left = tuple(reason for reason in resident.leaving if reason != cause)
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
    return []


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
    for instance in reservation.victims:
        resident = state.by_instance(instance)
        if resident is None:
            continue
        reservation.waiting_for.add(instance)
        if resident.state in SERVING or resident.state is ResidentState.LOADING:  # started again
            why = (
                resident.why_leaving
                if resident.state is ResidentState.DRAINING
                else f"{model} needs the room; {resident.why_leaving or 'it is idle'}"
            )
            effects += evict(state, resident, now_s, why)
    return effects
